//! The name server of a container: it knows the containers in the same networks, and the host.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use super::EngineError;
use super::connection::NetworkMode;
use super::containers::Record;
use crate::container::request::resolution::ContainerLink;
use crate::dns::{self, Directory, Pointer, Server, Servers, Sockets};
use crate::netns::NetNs;
use crate::network::{Diversion, ExposedPort, Neighbour, Neighbours, Networks, PortRange};

/// What the host is called, as Docker and others call it.
const HOST: [&str; 3] = ["host.docker.internal", "host.containers.internal", "gateway.docker.internal"];
/// The host's own servers.
pub(super) const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Whether a container has a name server of its own: where it has networks of its own, or can get some.
pub(super) fn has_one(mode: &NetworkMode) -> bool {
    matches!(mode, NetworkMode::Default | NetworkMode::Network(_))
}

/// Opens the name server of a container whose namespace is pinned here, before its command can ask.
pub(super) fn open(
    networks: &Networks,
    record: &Record,
    netns: &NetNs,
    pin: &Path,
) -> Result<Option<Server>, EngineError> {
    if !has_one(&record.network.mode) {
        return Ok(None);
    }
    let keeps_free = wants_port(record);
    let address = SocketAddr::new(dns::ADDRESS.into(), if keeps_free { 0 } else { dns::PORT });
    let failed = |source| EngineError::Io { action: "open the container's name server", source };
    let sockets = netns.run(|| Sockets::open(address))?.map_err(failed)?;
    if keeps_free {
        let (udp, tcp) = (sockets.udp.local_addr(), sockets.tcp.local_addr());
        let (udp, tcp) = (udp.map_err(failed)?.port(), tcp.map_err(failed)?.port());
        networks
            .divert_name_queries(netns, Diversion { address: dns::ADDRESS, port: dns::PORT, udp, tcp })?;
    }
    let resolution = &record.config.settings.resolution;
    let servers = if resolution.servers.is_empty() {
        Servers::OfHost { list: RESOLV_CONF.into() }
    } else {
        Servers::Given { servers: resolution.servers.clone(), netns: NetNs::open(pin)? }
    };
    let book = Book { neighbours: networks.neighbours_of(&record.id), links: resolution.links.clone() };
    Ok(Some(Server::new(sockets, Box::new(book), servers)))
}

/// Whether the container says that it has a server at port 53 itself.
fn wants_port(record: &Record) -> bool {
    let port = PortRange { first: dns::PORT, last: dns::PORT };
    let exposed = record.config.settings.exposed.iter().filter_map(|text| text.parse::<ExposedPort>().ok());
    let published = record.network.ports.iter().map(|request| request.container);
    exposed.map(|exposed| exposed.container).chain(published).any(|range| range.overlaps(port))
}

/// The names that one container knows.
#[derive(Debug)]
struct Book {
    neighbours: Neighbours,
    links: Vec<ContainerLink>,
}

impl Directory for Book {
    fn addresses(&self, name: &str, _: IpAddr) -> Option<Vec<IpAddr>> {
        if HOST.contains(&name) {
            return Some(self.neighbours.host());
        }
        let linked = self.links.iter().find(|link| link.alias.eq_ignore_ascii_case(name));
        linked
            .and_then(|link| self.neighbours.addresses(link.container.short()))
            .or_else(|| self.neighbours.addresses(name))
    }

    fn name_of(&self, address: IpAddr, _: IpAddr) -> Pointer {
        match self.neighbours.holder(address) {
            Neighbour::Container(name, network) => Pointer::Name(format!("{name}.{network}")),
            Neighbour::Nobody => Pointer::Nobody,
            Neighbour::Elsewhere => Pointer::Elsewhere,
        }
    }

    fn reaches_outside(&self, _: IpAddr) -> bool {
        self.neighbours.reaches_outside()
    }
}
