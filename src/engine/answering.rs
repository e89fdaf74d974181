//! The name server of a network of another engine's: a process of its own, which answers at the network's gateways until the
//! network is removed.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::SigSet;

use super::launch::{Job, Supervisors, refuse};
use super::{EngineError, resolver};
use crate::container::life::protocol::{Message as _, Reply};
use crate::container::life::supervisor::SupervisorError;
use crate::container::run::{capability, runtime::RuntimeError};
use crate::dns::{self, Directory, Pointer, Server, Servers, Sockets, Watched};
use crate::names::NetworkName;
use crate::network::{NameServerClients, Neighbour, Networks};
use crate::sys;

/// The domain of all names, which Podman has its containers search.
pub const NAMES_DOMAIN: &str = "dns.podman";
/// Room for a question or an answer by UDP. A longer answer is one that the client has to ask for by TCP.
const BUFFER: usize = 4096;

/// Starts the name server of a network that is to have one, and waits until it answers.
pub(super) fn start(supervisors: &Supervisors, network: &NetworkName) -> Result<(), EngineError> {
    match supervisors.detached(Job::Answer(network.clone()))? {
        Ok(()) => Ok(()),
        Err(()) => Err(EngineError::ConnectionLost),
    }
}

/// Opens what it takes; nothing if there is another server already, or the network has gone meanwhile.
pub(super) fn open(networks: &Networks, network: &NetworkName) -> Result<Vec<Server>, EngineError> {
    let open = |gateway: IpAddr| Sockets::open(SocketAddr::new(gateway, dns::PORT));
    let Some((network, opened)) = networks.name_servers().become_one(network, open)? else {
        return Ok(Vec::new());
    };
    let server = |sockets| {
        let servers = Servers::OfHost { list: resolver::RESOLV_CONF.into() };
        Server::new(
            sockets,
            Box::new(Book { clients: networks.clients_of_name_server(network.clone()) }),
            servers,
        )
    };
    Ok(opened.into_iter().map(server).collect())
}

/// Tells whoever started this process that questions are answered, and answers them. Returns only if there is nothing to
/// answer.
pub(super) fn answer(
    mut servers: Vec<Server>,
    client: UnixStream,
    on_start: impl Fn() -> Result<(), SupervisorError>,
) -> Result<(), EngineError> {
    if let Err(error) = prepare(on_start) {
        refuse(&client, &error);
        return Err(error);
    }
    let mut started = Vec::new();
    Reply::Started.encode(&mut started);
    // Who has been killed meanwhile needs no answer.
    std::io::Write::write_all(&mut &client, &started).ok();
    drop(client);
    // Only memory is at stake.
    sys::shrink_memory().ok();
    let failed = |errno: Errno| EngineError::Io { action: "wait for questions", source: errno.into() };
    let mut buffer = vec![0; BUFFER];
    while !servers.is_empty() {
        for (place, watched) in wait(&servers).map_err(failed)? {
            servers[place].serve(watched, &mut buffer);
        }
        servers.iter_mut().for_each(Server::expire);
    }
    Ok(())
}

/// Everything that may fail before questions are answered.
fn prepare(on_start: impl Fn() -> Result<(), SupervisorError>) -> Result<(), EngineError> {
    on_start()?;
    // It reads records and sends packets; nothing of that takes more than being root's.
    capability::give_up_all().map_err(RuntimeError::from)?;
    let unblocked = SigSet::all().thread_unblock();
    unblocked.map_err(|errno| EngineError::Io { action: "receive signals", source: errno.into() })
}

/// Waits until something has happened, and returns which server it concerns, and what it is.
fn wait(servers: &[Server]) -> Result<Vec<(usize, Watched)>, Errno> {
    let mut sources = Vec::new();
    let mut fds = Vec::new();
    for (place, server) in servers.iter().enumerate() {
        for (watched, fd, flags) in server.watched() {
            sources.push((place, watched));
            fds.push(PollFd::new(fd, flags));
        }
    }
    let deadline = servers.iter().filter_map(Server::deadline).min();
    let timeout = deadline.map_or(PollTimeout::NONE, |deadline| {
        // Rounded up, so that the last turn does not spin.
        let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
    });
    match poll(&mut fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(errno),
    }
    let has_happened = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| events != PollFlags::empty());
    let happened = sources.into_iter().zip(fds.iter().map(has_happened));
    Ok(happened.filter(|(_, has_happened)| *has_happened).map(|(source, _)| source).collect())
}

/// The names that those who ask at a gateway know.
#[derive(Debug)]
struct Book {
    clients: NameServerClients,
}

impl Directory for Book {
    fn addresses(&self, name: &str, client: IpAddr) -> Option<Vec<IpAddr>> {
        self.clients.addresses(below_domain(name).unwrap_or(name), client)
    }

    fn name_of(&self, address: IpAddr, client: IpAddr) -> Pointer {
        match self.clients.holder(address, client) {
            Neighbour::Container(name, _) => Pointer::Name(format!("{name}.{NAMES_DOMAIN}")),
            Neighbour::Nobody => Pointer::Nobody,
            Neighbour::Elsewhere => Pointer::Elsewhere,
        }
    }

    fn reaches_outside(&self, client: IpAddr) -> bool {
        self.clients.reaches_outside(client)
    }

    fn serves(&self, client: IpAddr) -> bool {
        self.clients.has(client)
    }

    fn is_own(&self, name: &str) -> bool {
        name == NAMES_DOMAIN || below_domain(name).is_some()
    }

    fn servers_for(&self, client: IpAddr) -> Option<Vec<IpAddr>> {
        self.clients.servers(client)
    }

    fn is_here(&self, address: IpAddr) -> bool {
        self.clients.is_gateway(address)
    }

    /// From a network that leads nowhere, no question gets out either. Whoever asks could write any address of the network
    /// into a packet, also that of a container that has another network.
    fn passes_on(&self) -> bool {
        self.clients.leads_outside()
    }

    /// A container is one client, however many sockets it opens.
    fn asker(&self, client: SocketAddr) -> SocketAddr {
        SocketAddr::new(client.ip(), 0)
    }
}

/// What stands before the domain.
fn below_domain(name: &str) -> Option<&str> {
    name.strip_suffix(NAMES_DOMAIN)?.strip_suffix('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_before_the_domain() {
        assert_eq!(below_domain("web.dns.podman"), Some("web"));
        assert_eq!(below_domain("web.front.dns.podman"), Some("web.front"));
        for other in ["dns.podman", "webdns.podman", "web", "web.dns.podman.example"] {
            assert_eq!(below_domain(other), None, "{other}");
        }
    }
}
