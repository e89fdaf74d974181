//! A subnet as the allocator counts it. Of an IPv4 subnet, address number 0 is the network address, the last
//! one the broadcast address, and what lies between can be handed out. Of an IPv6 subnet, number 0 is the
//! anycast address of its routers, and all others can be handed out.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, IPv4 first.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The widest subnet that is managed. Of IPv4 that is 16,777,216 addresses, one character each in the file.
    pub(super) const fn shortest_prefix(self) -> u8 {
        match self {
            Self::V4 => 8,
            Self::V6 => 16,
        }
    }

    /// The smallest subnet: room for a gateway and a container, two in IPv6.
    pub(super) const fn longest_prefix(self) -> u8 {
        match self {
            Self::V4 => 30,
            Self::V6 => 126,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// How many addresses of an IPv6 subnet are handed out and kept track of: the first ones.
const MANAGED_V6_BITS: u8 = 16;

/// Why a subnet was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubnetError {
    /// Neither `A.B.C.D/N` nor `X::Y/N`.
    #[error("\"{0}\" is not a subnet: expected ADDRESS/PREFIX, such as 192.168.0.0/24 or fd00:18::/64")]
    Malformed(String),
    /// Fewer addresses than a gateway and one container need.
    #[error("{0} is too small for a network: the smallest is a /{longest}", longest = Family::of(.0.addr()).longest_prefix())]
    TooSmall(IpNet),
    /// More addresses than are managed.
    #[error("{0} is too large for a network: the largest is a /{shortest}", shortest = Family::of(.0.addr()).shortest_prefix())]
    TooLarge(IpNet),
    /// An address range that no container can use.
    #[error("{net} cannot be a network: it holds {what} addresses")]
    NotUsable {
        /// The refused subnet.
        net: IpNet,
        /// What its addresses are for.
        what: &'static str,
    },
}

/// A subnet between /8 and /30, in IPv6 between /16 and /126, with no host bits set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "IpNet", into = "IpNet")]
pub struct Subnet(IpNet);

impl Subnet {
    /// The subnet that `net` lies in; host bits are dropped.
    ///
    /// # Errors
    /// Too small, too large, or a range that is not for unicast between hosts.
    pub fn new(net: IpNet) -> Result<Self, SubnetError> {
        let net = net.trunc();
        let family = Family::of(net.addr());
        if net.prefix_len() > family.longest_prefix() {
            return Err(SubnetError::TooSmall(net));
        }
        if net.prefix_len() < family.shortest_prefix() {
            return Err(SubnetError::TooLarge(net));
        }
        let what = match net {
            IpNet::V4(net) => unusable4(net),
            IpNet::V6(net) => unusable6(net),
        };
        what.map_or(Ok(Self(net)), |what| Err(SubnetError::NotUsable { net, what }))
    }

    /// Parses `ADDRESS/PREFIX`; the second value is the address where it had host bits: the wanted gateway.
    ///
    /// # Errors
    /// As [`Subnet::new`], and [`SubnetError::Malformed`].
    pub fn parse_with_gateway(text: &str) -> Result<(Self, Option<IpAddr>), SubnetError> {
        let net: IpNet = text.parse().map_err(|_| SubnetError::Malformed(text.to_owned()))?;
        let subnet = Self::new(net)?;
        Ok((subnet, (net.addr() != net.network()).then(|| net.addr())))
    }

    /// The subnet as a prefix.
    #[must_use]
    pub fn net(self) -> IpNet {
        self.0
    }

    /// Its family.
    #[must_use]
    pub fn family(self) -> Family {
        Family::of(self.0.addr())
    }

    /// An address with the subnet's prefix length: what a device is given.
    #[must_use]
    pub fn interface(self, address: IpAddr) -> IpNet {
        // The prefix length is one of the same family, so it always fits.
        IpNet::new(address, self.0.prefix_len()).unwrap_or_else(|_| address.into())
    }

    /// How many of its addresses are managed, those that are never handed out among them: in IPv4 all, in
    /// IPv6 65,536 at most.
    #[must_use]
    pub fn size(self) -> u32 {
        let bits = self.0.max_prefix_len() - self.0.prefix_len();
        1 << match self.family() {
            Family::V4 => bits,
            Family::V6 => bits.min(MANAGED_V6_BITS),
        }
    }

    /// How many of these can be handed out.
    #[must_use]
    pub fn usable(self) -> u32 {
        self.size() - 1 - u32::from(self.is_reserved(self.size() - 1))
    }

    /// The address with the given number.
    #[must_use]
    pub fn address(self, number: u32) -> IpAddr {
        match self.0 {
            IpNet::V4(net) => IpAddr::V4(u32::from(net.network()).wrapping_add(number).into()),
            IpNet::V6(net) => IpAddr::V6(u128::from(net.network()).wrapping_add(number.into()).into()),
        }
    }

    /// Whether it is an address of the subnet, managed or not.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }

    /// The number of an address, or `None` outside the subnet and outside what is managed of it.
    #[must_use]
    pub fn number(self, address: IpAddr) -> Option<u32> {
        let distance = match (self.0, address) {
            (IpNet::V4(net), IpAddr::V4(address)) => {
                u128::from(u32::from(address)).checked_sub(u32::from(net.network()).into())
            }
            (IpNet::V6(net), IpAddr::V6(address)) => u128::from(address).checked_sub(net.network().into()),
            _ => None,
        };
        distance.and_then(|number| u32::try_from(number).ok()).filter(|number| *number < self.size())
    }

    /// Whether the number is that of an address that no host may have.
    #[must_use]
    pub fn is_reserved(self, number: u32) -> bool {
        number == 0 || (self.family() == Family::V4 && number == self.size() - 1)
    }

    /// Whether a host may have the address.
    #[must_use]
    pub fn is_host_address(self, address: IpAddr) -> bool {
        self.contains(address) && self.number(address).is_none_or(|number| !self.is_reserved(number))
    }

    /// Whether an address of one is an address of the other.
    #[must_use]
    pub fn overlaps(self, other: IpNet) -> bool {
        // `contains` is false across families.
        self.0.contains(&other.network()) || other.contains(&self.0.network())
    }
}

fn unusable4(net: Ipv4Net) -> Option<&'static str> {
    match net.network().octets()[0] {
        0 => Some("\"this host\""),
        127 => Some("loopback"),
        224.. => Some("multicast or reserved"),
        _ => net.network().is_link_local().then_some("link-local"),
    }
}

/// By the registry of IPv6 address space; no allowed prefix is shorter than the ones asked for here.
fn unusable6(net: Ipv6Net) -> Option<&'static str> {
    match net.network().segments()[0] {
        0..=0x00ff => Some("loopback, embedded IPv4 or reserved"),
        0xfe80..=0xfebf => Some("link-local"),
        0xff00.. => Some("multicast"),
        _ => None,
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

impl TryFrom<IpNet> for Subnet {
    type Error = SubnetError;
    fn try_from(net: IpNet) -> Result<Self, SubnetError> {
        Self::new(net)
    }
}

impl From<Subnet> for IpNet {
    fn from(subnet: Subnet) -> IpNet {
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
        let (subnet, gateway) = Subnet::parse_with_gateway("fd00:18::9/64").unwrap();
        assert_eq!(subnet.to_string(), "fd00:18::/64");
        assert_eq!(gateway, Some("fd00:18::9".parse().unwrap()));
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
            "fd00::/127",
            "fd00::1/128",
            "fd00::/15",
            "::/16",
            "::1/126",
            "::ffff:10.0.0.0/120",
            "64:ff9b::/96",
            "fe80::/64",
            "ff02::/16",
            "fd00::/129",
            "fd00::",
            "fd00::g/64",
            "fd00:::/64",
        ] {
            assert!(bad.parse::<Subnet>().is_err(), "{bad:?} was accepted");
        }
        for good in ["10.0.0.0/8", "10.0.0.0/30", "fd00::/16", "fd00::/126", "2001:db8::/64"] {
            assert!(good.parse::<Subnet>().is_ok(), "{good} was refused");
        }
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
    fn of_an_ipv6_subnet_the_first_65536_addresses_are_managed() {
        let subnet: Subnet = "fd00:18::/64".parse().unwrap();
        assert_eq!((subnet.size(), subnet.usable()), (65_536, 65_535));
        assert_eq!(subnet.address(65_535).to_string(), "fd00:18::ffff");
        assert_eq!(subnet.number("fd00:18::ffff".parse().unwrap()), Some(65_535));
        let beyond = "fd00:18::1:0".parse().unwrap();
        assert_eq!(subnet.number(beyond), None);
        assert!(subnet.contains(beyond) && subnet.is_host_address(beyond));
        // The anycast address of the subnet's routers (RFC 4291, 2.6.1) is not given out; there is no broadcast.
        assert!(subnet.is_reserved(0) && !subnet.is_reserved(65_535));
        assert!(!subnet.is_host_address("fd00:18::".parse().unwrap()));
        let small: Subnet = "fd00:18::8/126".parse().unwrap();
        assert_eq!((small.size(), small.usable()), (4, 3));
        assert_eq!(small.number("10.0.0.1".parse().unwrap()), None);
    }

    #[test]
    fn overlap_is_symmetric_containment() {
        let subnet: Subnet = "10.1.2.0/24".parse().unwrap();
        assert!(subnet.overlaps("10.0.0.0/8".parse().unwrap()));
        assert!(subnet.overlaps("10.1.2.7/32".parse().unwrap()));
        assert!(!subnet.overlaps("10.1.3.0/24".parse().unwrap()));
        assert!(!subnet.overlaps("fd00::/8".parse().unwrap()));
        let subnet: Subnet = "fd00:18::/64".parse().unwrap();
        assert!(subnet.overlaps("fd00::/16".parse().unwrap()));
        assert!(!subnet.overlaps("fd00:18:0:1::/64".parse().unwrap()));
        assert!(!subnet.overlaps("0.0.0.0/0".parse().unwrap()));
    }
}
