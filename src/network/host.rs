//! What the host already uses: its addresses and routes.

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};

use super::record::Network;
use super::subnet::Subnet;
use crate::netlink::{RequestError, RouteSocket};

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
}
