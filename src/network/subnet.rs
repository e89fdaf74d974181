//! An IPv4 subnet as the allocator counts it: address number 0 is the network address, the last one the
//! broadcast address, and what lies between can be handed out.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// The widest subnet that is managed: 16,777,216 addresses, one character each in the file.
pub(super) const SHORTEST_PREFIX: u8 = 8;
/// The smallest subnet with room for a gateway and a container.
pub(super) const LONGEST_PREFIX: u8 = 30;

/// Why a subnet was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubnetError {
    /// Not `A.B.C.D/N`.
    #[error("\"{0}\" is not an IPv4 subnet: expected ADDRESS/PREFIX, such as 192.168.0.0/24")]
    Malformed(String),
    /// IPv6 networks are not there yet.
    #[error("\"{0}\" is an IPv6 subnet: networks are IPv4 only in this version")]
    Ipv6(String),
    /// Fewer addresses than a gateway and one container need.
    #[error("{0} is too small for a network: the smallest is a /{LONGEST_PREFIX}")]
    TooSmall(Ipv4Net),
    /// More addresses than are managed.
    #[error("{0} is too large for a network: the largest is a /{SHORTEST_PREFIX}")]
    TooLarge(Ipv4Net),
    /// An address range that no container can use.
    #[error("{net} cannot be a network: it holds {what} addresses")]
    NotUsable {
        /// The refused subnet.
        net: Ipv4Net,
        /// What its addresses are for.
        what: &'static str,
    },
}

/// A subnet between /8 and /30, with no host bits set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Ipv4Net", into = "Ipv4Net")]
pub struct Subnet(Ipv4Net);

impl Subnet {
    /// The subnet that `net` lies in; host bits are dropped.
    ///
    /// # Errors
    /// Too small, too large, or a range that is not for unicast between hosts.
    pub fn new(net: Ipv4Net) -> Result<Self, SubnetError> {
        let net = net.trunc();
        if net.prefix_len() > LONGEST_PREFIX {
            return Err(SubnetError::TooSmall(net));
        }
        if net.prefix_len() < SHORTEST_PREFIX {
            return Err(SubnetError::TooLarge(net));
        }
        let first = net.network();
        let what = match first.octets()[0] {
            0 => "\"this host\"",
            127 => "loopback",
            224.. => "multicast or reserved",
            _ if first.is_link_local() => "link-local",
            _ => return Ok(Self(net)),
        };
        Err(SubnetError::NotUsable { net, what })
    }

    /// Parses `ADDRESS/PREFIX`; the second value is the address where it had host bits: the wanted gateway.
    ///
    /// # Errors
    /// As [`Subnet::new`], and [`SubnetError::Malformed`].
    pub fn parse_with_gateway(text: &str) -> Result<(Self, Option<Ipv4Addr>), SubnetError> {
        let net: Ipv4Net = text.parse().map_err(|_| {
            if text.parse::<ipnet::Ipv6Net>().is_ok() {
                SubnetError::Ipv6(text.to_owned())
            } else {
                SubnetError::Malformed(text.to_owned())
            }
        })?;
        let subnet = Self::new(net)?;
        Ok((subnet, (net.addr() != net.network()).then(|| net.addr())))
    }

    /// The subnet as a prefix.
    #[must_use]
    pub fn net(self) -> Ipv4Net {
        self.0
    }

    /// How many addresses it has, the two that are never handed out among them.
    #[must_use]
    pub fn size(self) -> u32 {
        1 << (32 - u32::from(self.0.prefix_len()))
    }

    /// The address with the given number.
    #[must_use]
    pub fn address(self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.0.network()).wrapping_add(number))
    }

    /// The number of an address, or `None` outside the subnet.
    #[must_use]
    pub fn number(self, address: Ipv4Addr) -> Option<u32> {
        self.0.contains(&address).then(|| u32::from(address) - u32::from(self.0.network()))
    }

    /// Whether the number belongs to the network or the broadcast address.
    #[must_use]
    pub fn is_reserved(self, number: u32) -> bool {
        number == 0 || number == self.size() - 1
    }

    /// Whether an address of one is an address of the other.
    #[must_use]
    pub fn overlaps(self, other: Ipv4Net) -> bool {
        self.0.contains(&other.network()) || other.contains(&self.0.network())
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Subnet {
    type Err = SubnetError;
    fn from_str(text: &str) -> Result<Self, SubnetError> {
        Self::parse_with_gateway(text).map(|(subnet, _)| subnet)
    }
}

impl TryFrom<Ipv4Net> for Subnet {
    type Error = SubnetError;
    fn try_from(net: Ipv4Net) -> Result<Self, SubnetError> {
        Self::new(net)
    }
}

impl From<Subnet> for Ipv4Net {
    fn from(subnet: Subnet) -> Ipv4Net {
        subnet.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_bits_name_the_gateway() {
        let (subnet, gateway) = Subnet::parse_with_gateway("162.16.0.1/24").unwrap();
        assert_eq!((subnet.to_string().as_str(), gateway), ("162.16.0.0/24", Some([162, 16, 0, 1].into())));
        assert_eq!(Subnet::parse_with_gateway("162.16.0.0/24").unwrap().1, None);
    }

    #[test]
    fn refuses_what_cannot_be_a_network() {
        for bad in [
            "",
            "192.168.0.0",
            "192.168.0.0/33",
            "192.168.0.0./24",
            "300.0.0.0/24",
            "10.0.0.0/31",
            "10.0.0.1/32",
            "10.0.0.0/7",
            "0.0.0.0/8",
            "127.0.0.0/24",
            "224.0.0.0/24",
            "240.0.0.0/8",
            "169.254.0.0/16",
            "fd00::/64",
        ] {
            assert!(bad.parse::<Subnet>().is_err(), "{bad:?} was accepted");
        }
        assert!("10.0.0.0/8".parse::<Subnet>().is_ok());
        assert!("10.0.0.0/30".parse::<Subnet>().is_ok());
    }

    #[test]
    fn numbers_and_addresses_are_each_others_inverse() {
        let subnet: Subnet = "10.1.0.0/16".parse().unwrap();
        assert_eq!(subnet.size(), 65_536);
        for number in [0, 1, 255, 256, 65_535] {
            assert_eq!(subnet.number(subnet.address(number)), Some(number));
        }
        assert_eq!(subnet.number([10, 2, 0, 0].into()), None);
        assert!(subnet.is_reserved(0) && subnet.is_reserved(65_535) && !subnet.is_reserved(1));
    }

    #[test]
    fn overlap_is_symmetric_containment() {
        let subnet: Subnet = "10.1.2.0/24".parse().unwrap();
        assert!(subnet.overlaps("10.0.0.0/8".parse().unwrap()));
        assert!(subnet.overlaps("10.1.2.7/32".parse().unwrap()));
        assert!(!subnet.overlaps("10.1.3.0/24".parse().unwrap()));
    }
}
