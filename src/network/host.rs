//! What the host already uses: its addresses and routes, and its listening sockets.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use ipnet::{IpNet, Ipv4Net};

use super::port::PortMapping;
use super::record::Network;
use super::subnet::Subnet;
use crate::netlink::{RequestError, RouteSocket, find_listeners};

/// Something that has addresses a new network wants.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Occupant {
    /// Another network.
    #[error("network {name} ({subnet})")]
    Network {
        /// Its name.
        name: String,
        /// Its subnet.
        subnet: Subnet,
    },
    /// An address of the host.
    #[error("the host's address {0}")]
    Address(Ipv4Net),
    /// A route of the host.
    #[error("the host's route to {0}")]
    Route(Ipv4Net),
}

/// All address ranges that a new network must not overlap.
#[derive(Debug)]
pub(super) struct Occupied {
    ranges: Vec<(Ipv4Net, Occupant)>,
}

impl Occupied {
    /// Asks the kernel, and adds the given networks. What belongs to the bridges of these networks is only
    /// listed once, as the network's.
    ///
    /// # Errors
    /// The kernel refused a listing.
    pub(super) fn find(networks: &[Network], socket: &mut RouteSocket) -> Result<Self, RequestError> {
        let mut ranges: Vec<(Ipv4Net, Occupant)> = networks
            .iter()
            .map(|network| {
                let (name, subnet) = (network.name.to_string(), network.subnet);
                (subnet.net(), Occupant::Network { name, subnet })
            })
            .collect();
        // The subnet of an address is in use on its link, not only the address.
        for found in socket.addresses()? {
            if let IpNet::V4(address) = found.address {
                ranges.push((address, Occupant::Address(address)));
            }
        }
        for found in socket.routes()? {
            if let IpNet::V4(destination) = found.destination {
                ranges.push((destination, Occupant::Route(destination)));
            }
        }
        Ok(Self { ranges })
    }

    /// Who has addresses of the subnet.
    #[must_use]
    pub(super) fn occupant_of(&self, subnet: Subnet) -> Option<&Occupant> {
        self.ranges.iter().find(|(range, _)| subnet.overlaps(*range)).map(|(_, occupant)| occupant)
    }

    /// The first free subnet of the pool that networks without a subnet of their own come from.
    #[must_use]
    pub(super) fn first_free(&self) -> Option<Subnet> {
        let pool = Ipv4Net::new_assert(POOL, POOL_PREFIX);
        let mut candidates = pool.subnets(POOL_SUBNET_PREFIX).ok()?;
        candidates.find_map(|net| Subnet::new(net).ok().filter(|subnet| self.occupant_of(*subnet).is_none()))
    }
}

/// The pool for networks without `--subnet`.
pub(super) const POOL: Ipv4Addr = Ipv4Addr::new(10, 89, 0, 0);
/// The pool's prefix length.
pub(super) const POOL_PREFIX: u8 = 16;
/// The prefix length of each network from the pool.
pub(super) const POOL_SUBNET_PREFIX: u8 = 24;

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

/// The first socket of the host that holds one of the ports. A published port would take its traffic away.
///
/// Where the kernel cannot tell (built without `INET_DIAG`), nobody is found.
#[must_use]
pub(super) fn listener_on(mapping: &PortMapping) -> Option<HostListener> {
    let ports = mapping.host.first..=mapping.host.last;
    let listeners = find_listeners(mapping.proto.number(), ports).unwrap_or_else(|error| {
        tracing::debug!(%error, "cannot list the host's listening sockets");
        Vec::new()
    });
    let found = listeners.into_iter().find(|l| l.conflicts_with(mapping.host_ip.into()))?;
    Some(HostListener { address: found.address, port: found.port, process: process_with_socket(found.inode) })
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
    use super::super::record::tests::network;
    use super::*;

    fn occupied(ranges: &[&str]) -> Occupied {
        let route = |text: &&str| {
            let net: Ipv4Net = text.parse().unwrap();
            (net, Occupant::Route(net))
        };
        Occupied { ranges: ranges.iter().map(route).collect() }
    }

    #[test]
    fn the_pool_skips_what_is_occupied() {
        let first = |ranges: &[&str]| occupied(ranges).first_free().map(|subnet| subnet.to_string());
        assert_eq!(first(&[]).as_deref(), Some("10.89.0.0/24"));
        assert_eq!(first(&["10.89.0.0/23", "10.89.2.7/32"]).as_deref(), Some("10.89.3.0/24"));
        assert_eq!(first(&["10.0.0.0/8"]), None);
    }

    #[test]
    fn an_occupant_is_named() {
        let plan = network("net0", "10.1.0.0/24");
        let occupied = Occupied {
            ranges: vec![(
                plan.subnet.net(),
                Occupant::Network { name: "net0".to_owned(), subnet: plan.subnet },
            )],
        };
        let occupant = occupied.occupant_of("10.1.0.128/25".parse().unwrap()).unwrap();
        assert_eq!(occupant.to_string(), "network net0 (10.1.0.0/24)");
    }

    #[test]
    fn the_process_behind_a_socket_is_named() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let one = super::super::port::PortRange { first: port, last: port };
        let mapping = PortMapping {
            host_ip: Ipv4Addr::UNSPECIFIED,
            host: one,
            container: one,
            proto: crate::nft::Proto::Tcp,
        };
        let found = listener_on(&mapping).unwrap();
        assert!(found.process.unwrap().contains(&format!("(pid {})", std::process::id())));
    }
}
