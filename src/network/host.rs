//! What the host already uses: its addresses, routes and resolvers.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use sha2::{Digest as _, Sha256};

use super::record::Network;
use super::subnet::{Family, Subnet};
use crate::names::IfName;
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
    Address(IpNet),
    /// A route of the host.
    #[error("the host's route to {0}")]
    Route(IpNet),
}

/// All address ranges that a new network must not overlap.
#[derive(Debug)]
pub(super) struct Occupied {
    ranges: Vec<(IpNet, Occupant)>,
    /// The host's name servers. A user may have them in a network's subnet, but no subnet that is chosen freely
    /// contains one.
    resolvers: Vec<IpAddr>,
}

impl Occupied {
    /// Asks the kernel, and adds the given networks. What belongs to the bridges of these networks is only
    /// listed once, as the network's.
    ///
    /// # Errors
    /// The kernel refused a listing.
    pub(super) fn find(networks: &[Network], socket: &mut RouteSocket) -> Result<Self, RequestError> {
        let mut ranges = Self::by(networks).ranges;
        // The subnet of an address is in use on its link, not only the address.
        for found in socket.addresses()? {
            ranges.push((found.address, Occupant::Address(found.address)));
        }
        for found in socket.routes()? {
            ranges.push((found.destination, Occupant::Route(found.destination)));
        }
        Ok(Self { ranges, resolvers: resolvers() })
    }

    /// What these networks use.
    pub(super) fn by(networks: &[Network]) -> Self {
        let mut ranges: Vec<(IpNet, Occupant)> = Vec::new();
        for network in networks {
            let name = || network.name.to_string();
            let subnets = network.blocks().map(|block| block.subnet);
            ranges.extend(subnets.map(|subnet| (subnet.net(), Occupant::Network { name: name(), subnet })));
        }
        Self { ranges, resolvers: Vec::new() }
    }

    /// A host that uses nothing.
    #[cfg(test)]
    pub(super) const fn nothing() -> Self {
        Self { ranges: Vec::new(), resolvers: Vec::new() }
    }

    /// Who has addresses of the subnet.
    #[must_use]
    pub(super) fn occupant_of(&self, subnet: Subnet) -> Option<&Occupant> {
        self.ranges.iter().find(|(range, _)| subnet.overlaps(*range)).map(|(_, occupant)| occupant)
    }

    /// The first free subnet of the pool that networks without a subnet of their own come from.
    #[must_use]
    pub(super) fn first_free(&self, pool: Pool) -> Option<Subnet> {
        // What lies outside the pool is looked at once, not for every candidate.
        let near: Vec<IpNet> =
            self.ranges.iter().map(|(range, _)| *range).filter(|r| pool.overlaps(*r)).collect();
        let is_free = |subnet: &Subnet| {
            !near.iter().any(|range| subnet.overlaps(*range))
                && !self.resolvers.iter().any(|address| subnet.contains(*address))
        };
        let mut candidates = pool.net.subnets(pool.subnet_prefix).ok()?;
        candidates.find_map(|net| Subnet::new(net).ok().filter(is_free))
    }
}

/// Where the subnets of networks without `--subnet` come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    net: IpNet,
    subnet_prefix: u8,
}

/// The pool of IPv4 subnets.
const POOL_V4: Ipv4Addr = Ipv4Addr::new(10, 89, 0, 0);
const POOL_V4_PREFIX: u8 = 16;
const POOL_V4_SUBNET_PREFIX: u8 = 24;
/// A site's prefix and the prefixes of its links (RFC 4193, 3.1).
const ULA_PREFIX: u8 = 48;
const ULA_SUBNET_PREFIX: u8 = 64;
/// Where the id that is the machine's own is kept (machine-id(5)).
const MACHINE_ID: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];

impl Pool {
    /// The /24s of 10.89.0.0/16, or the /64s of this machine's unique local prefix.
    #[must_use]
    pub(super) fn of(family: Family) -> Self {
        match family {
            Family::V4 => Self {
                net: Ipv4Net::new_assert(POOL_V4, POOL_V4_PREFIX).into(),
                subnet_prefix: POOL_V4_SUBNET_PREFIX,
            },
            Family::V6 => Self { net: unique_local(&machine_id()).into(), subnet_prefix: ULA_SUBNET_PREFIX },
        }
    }

    fn overlaps(self, range: IpNet) -> bool {
        self.net.contains(&range.network()) || range.contains(&self.net.network())
    }
}

/// `every /24 of 10.89.0.0/16`
impl std::fmt::Display for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "every /{} of {}", self.subnet_prefix, self.net)
    }
}

/// The prefix fd00::/8 with forty bits that another machine hardly has (RFC 4193, 3.2): of a digest, because the
/// id itself is to stay on the machine.
fn unique_local(machine_id: &[u8]) -> Ipv6Net {
    let digest =
        Sha256::new().chain_update("mydocker unique local prefix").chain_update(machine_id).finalize();
    let mut bytes = [0; 16];
    bytes[0] = 0xfd;
    bytes[1..6].copy_from_slice(&digest[..5]);
    Ipv6Net::new_assert(bytes.into(), ULA_PREFIX)
}

/// The machine's id. One without is given another prefix at each boot: networks that exist keep theirs.
fn machine_id() -> Vec<u8> {
    let read = |path: &&str| std::fs::read(path).ok().filter(|id| !id.trim_ascii().is_empty());
    let id = MACHINE_ID.iter().find_map(read).map(|id| id.trim_ascii().to_vec());
    id.or_else(|| crate::process::boot_id().ok().map(|id| id.as_bytes().to_vec())).unwrap_or_default()
}

/// The name servers of the host: its own list, and the one behind a local stub.
fn resolvers() -> Vec<IpAddr> {
    let files = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
    let texts = files.iter().filter_map(|path| std::fs::read_to_string(path).ok());
    texts.flat_map(|text| name_servers(&text)).collect()
}

/// The addresses of `nameserver` lines (resolv.conf(5)).
fn name_servers(text: &str) -> Vec<IpAddr> {
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next()? == "nameserver").then_some(())?;
        // A link-local address may name its link: `fe80::1%eth0`.
        words.next()?.split('%').next()?.parse().ok()
    });
    servers.collect()
}

/// The device of the host's default route.
pub(super) fn default_device(family: Family) -> Option<IfName> {
    let (path, radix) = match family {
        Family::V4 => ("/proc/net/route", 10),
        Family::V6 => ("/proc/net/ipv6_route", 16),
    };
    let table = std::fs::read_to_string(path).ok()?;
    let parse = |line| if family == Family::V4 { default_route4(line) } else { default_route6(line) };
    let defaults = table.lines().filter_map(parse).filter(|(device, _)| *device != "lo");
    // Of several, that with the least metric counts.
    let metric = |text: &str, radix| u32::from_str_radix(text, radix).unwrap_or(u32::MAX);
    defaults.min_by_key(|(_, text)| metric(text, radix))?.0.parse().ok()
}

/// Device and metric, if a line of `/proc/net/route` is a default route.
fn default_route4(line: &str) -> Option<(&str, &str)> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [device, "00000000", _, _, _, _, metric, "00000000", ..] = fields[..] else { return None };
    Some((device, metric))
}

/// The same of `/proc/net/ipv6_route`.
fn default_route6(line: &str) -> Option<(&str, &str)> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [destination, "00", _, _, _, metric, _, _, _, device] = fields[..] else { return None };
    destination.bytes().all(|digit| digit == b'0').then_some((device, metric))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::super::record::tests::network;
    use super::*;

    fn occupied(ranges: &[&str]) -> Occupied {
        let route = |text: &&str| {
            let net: IpNet = text.parse().unwrap();
            (net, Occupant::Route(net))
        };
        Occupied { ranges: ranges.iter().map(route).collect(), resolvers: Vec::new() }
    }

    #[test]
    fn the_pool_skips_what_is_occupied() {
        let pool = Pool::of(Family::V4);
        let first = |ranges: &[&str]| occupied(ranges).first_free(pool).map(|subnet| subnet.to_string());
        assert_eq!(first(&[]).as_deref(), Some("10.89.0.0/24"));
        assert_eq!(first(&["10.89.0.0/23", "10.89.2.7/32"]).as_deref(), Some("10.89.3.0/24"));
        assert_eq!(first(&["10.0.0.0/8"]), None);
        assert_eq!(pool.to_string(), "every /24 of 10.89.0.0/16");
        let mut occupied = occupied(&["10.89.1.0/24", "fd00::/8"]);
        occupied.resolvers = name_servers("search x\nnameserver 10.89.0.53\n#nameserver 10.89.2.1\n");
        assert_eq!(occupied.first_free(pool).unwrap().to_string(), "10.89.2.0/24");
    }

    #[test]
    fn the_unique_local_prefix_is_the_machines_own() {
        let (one, other) = (unique_local(b"one"), unique_local(b"other"));
        assert_ne!(one, other);
        assert_eq!(one, unique_local(b"one"));
        assert_eq!((one.network().octets()[0], one.prefix_len()), (0xfd, 48));
        let pool = Pool { net: one.into(), subnet_prefix: 64 };
        let first = occupied(&[]).first_free(pool).unwrap();
        assert_eq!(first.net(), Ipv6Net::new_assert(one.network(), 64).into());
        let second = occupied(&[&first.to_string(), "::/0"][..1]).first_free(pool).unwrap();
        assert_eq!(
            u128::from(one.network()) + (1 << 64),
            match second.net() {
                IpNet::V6(net) => u128::from(net.network()),
                IpNet::V4(net) => panic!("{net}"),
            }
        );
    }

    #[test]
    fn name_servers_are_read_as_the_resolver_reads_them() {
        let text = "; nameserver 10.0.0.1\nnameserver\t192.0.2.53 \n nameserver fe80::1%eth0\nnameserver x\nnameserver";
        let expected: [IpAddr; 2] = [[192, 0, 2, 53].into(), "fe80::1".parse::<Ipv6Addr>().unwrap().into()];
        assert_eq!(name_servers(text), expected);
    }

    #[test]
    fn an_occupant_is_named() {
        let subnet = network("net0", "10.1.0.0/24").ipv4.unwrap().subnet;
        let occupant = Occupant::Network { name: "net0".to_owned(), subnet };
        let occupied = Occupied { ranges: vec![(subnet.net(), occupant)], resolvers: Vec::new() };
        let occupant = occupied.occupant_of("10.1.0.128/25".parse().unwrap()).unwrap();
        assert_eq!(occupant.to_string(), "network net0 (10.1.0.0/24)");
    }
}
