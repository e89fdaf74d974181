//! Which sockets of the host hold ports that are to be published, and whose they are.

use std::cell::LazyCell;
use std::net::IpAddr;
use std::path::Path;

use super::endpoint::Endpoint;
use super::port::{PortMapping, PortRange, PortRequest};
use crate::netlink::{Listener, find_listeners};
use crate::nft::Proto;

/// A process of the host that listens on a port that is to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostListener {
    /// Where it listens.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// `NAME (pid N)`, where the process could be found.
    pub process: Option<String>,
}

/// The sockets of the host that hold ports, of the protocols that are asked for.
#[derive(Debug)]
pub(super) struct Listeners(Vec<(Proto, Listener)>);

impl std::fmt::Display for HostListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let process = self.process.as_deref().unwrap_or("a process of the host");
        write!(f, "{process} listens on {}", std::net::SocketAddr::new(self.address, self.port))
    }
}

impl Listeners {
    /// None, for who does not mind.
    pub(super) fn none() -> Self {
        Self(Vec::new())
    }

    /// All that listen, or have a datagram socket bound.
    #[must_use]
    pub(super) fn all() -> Self {
        let any = PortRange { first: 1, last: 1 };
        Self::find(&[Proto::Tcp, Proto::Udp].map(|proto| PortRequest {
            host_ip: None,
            host: None,
            container: any,
            proto,
        }))
    }

    /// Asks the kernel once for each protocol and family.
    ///
    /// A kernel without `INET_DIAG` cannot answer: then no listener is found.
    #[must_use]
    pub(super) fn find(requests: &[PortRequest]) -> Self {
        let mut found = Vec::new();
        for proto in [Proto::Tcp, Proto::Udp] {
            let mut wanted = requests.iter().filter(|request| request.proto == proto).peekable();
            if wanted.peek().is_none() {
                continue;
            }
            // Of one port the kernel can be asked alone. Free ports may be anywhere.
            let ports = wanted.map(PortRequest::fixed).reduce(|one, other| {
                let (one, other) = (one?, other?);
                Some(PortRange { first: one.first.min(other.first), last: one.last.max(other.last) })
            });
            let ports = ports.flatten().map_or(1..=u16::MAX, |ports| ports.first..=ports.last);
            match find_listeners(proto.number(), ports) {
                Ok(listeners) => found.extend(listeners.into_iter().map(|listener| (proto, listener))),
                Err(error) => tracing::debug!(%error, %proto, "cannot list the host's listening sockets"),
            }
        }
        Self(found)
    }

    /// The first that holds one of these ports. A published port would take its traffic away.
    #[must_use]
    pub(super) fn on(&self, mapping: &PortMapping) -> Option<&Listener> {
        let holds = |(proto, listener): &&(Proto, Listener)| {
            *proto == mapping.proto
                && (mapping.host.first..=mapping.host.last).contains(&listener.port)
                && listener.conflicts_with(mapping.host_ip)
        };
        self.0.iter().find(holds).map(|(_, listener)| listener)
    }
}

impl HostListener {
    /// Finds out whose socket it is, for an error.
    #[must_use]
    pub(super) fn name(listener: &Listener) -> Self {
        let Listener { address, port, inode, .. } = *listener;
        Self { address, port, process: process_with_socket(inode) }
    }
}

/// Processes of the host that listen on a port that one of the endpoints publishes: nobody who comes by the host's
/// address reaches them. Each with the endpoint's owner.
#[must_use]
pub(super) fn shadowed(endpoints: &[Endpoint]) -> Vec<(String, HostListener)> {
    let listeners = LazyCell::new(Listeners::all);
    let of = |endpoint: &Endpoint| {
        let holders: Vec<_> = endpoint.ports.iter().filter_map(|port| listeners.on(port)).collect();
        holders
            .into_iter()
            .map(|holder| (endpoint.owner.name(), HostListener::name(holder)))
            .collect::<Vec<_>>()
    };
    // Other engines keep sockets on the ports of their containers, so that nobody else takes them.
    let may_be = |endpoint: &&Endpoint| !endpoint.ports.is_empty() && endpoint.owner.attachment().is_none();
    endpoints.iter().filter(may_be).flat_map(of).collect()
}

/// Whether an address is one of this host's own, to which a socket can be bound.
#[must_use]
pub(super) fn has_address(address: IpAddr) -> bool {
    std::net::UdpSocket::bind((address, 0)).is_ok()
}

/// Looks through `/proc` for the process that has the socket open. Only done to name it in an error.
fn process_with_socket(inode: u32) -> Option<String> {
    let wanted = format!("socket:[{inode}]");
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let directory = entry.path();
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let Ok(descriptors) = std::fs::read_dir(directory.join("fd")) else { continue };
        let holds = |path: &Path| std::fs::read_link(path).is_ok_and(|to| to.as_os_str() == wanted.as_str());
        if descriptors.flatten().any(|descriptor| holds(&descriptor.path())) {
            let name = std::fs::read_to_string(directory.join("comm")).unwrap_or_default();
            return Some(format!("{} (pid {pid})", name.trim_end()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_behind_a_socket_is_named() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        for request in [format!("{port}:80"), "80".to_owned()] {
            let request: PortRequest = request.parse().unwrap();
            let one = PortRange { first: port, last: port };
            let on = |host_ip: &str, proto| {
                let host_ip = host_ip.parse().unwrap();
                let mapping = PortMapping { host_ip, host: one, container: one, proto };
                Listeners::find(std::slice::from_ref(&request)).on(&mapping).map(HostListener::name)
            };
            let process = on("0.0.0.0", Proto::Tcp).unwrap().process.unwrap();
            assert!(process.contains(&format!("(pid {})", std::process::id())), "{process}");
            assert_eq!(on("127.0.0.2", Proto::Tcp), None);
            assert_eq!(on("0.0.0.0", Proto::Udp), None);
        }
    }

    #[test]
    fn an_address_of_this_host_is_told_from_others() {
        assert!(has_address("127.0.0.2".parse().unwrap()));
        assert!(!has_address("192.0.2.77".parse().unwrap()));
    }
}
