//! What somebody who is to be connected asks for, and what the ends of its pair are called.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::endpoint::Endpoint;
use super::error::NetworkError;
use super::owner::Owner;
use super::subnet::Family;
use crate::names::{ContainerId, IF_NAME_MAX, IfName, NetworkName};
use crate::netlink::MacAddress;

/// How many digits of the container's id name the host's end of the pair, unless that name is taken.
pub(super) const HOST_IF_DIGITS: usize = 5;

/// A container that is to be connected.
#[derive(Debug, Clone)]
pub struct ConnectRequest<'a> {
    /// The network.
    pub network: &'a NetworkName,
    /// Who is to be connected.
    pub owner: &'a Owner,
    /// The endpoints that the namespace has already, in order of connecting.
    pub others: &'a [Endpoint],
    /// What it asks for.
    pub wanted: &'a Wanted,
}

/// What somebody asks for in a network; what is left out is chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Wanted {
    /// The IPv4 address; the lowest free one where it is left out.
    pub ip: Option<Ipv4Addr>,
    /// The IPv6 address.
    pub ip6: Option<Ipv6Addr>,
    /// The Ethernet address; the one that follows from the IP address where it is left out.
    pub mac: Option<MacAddress>,
    /// Further names in the network.
    pub aliases: Vec<String>,
}

impl Wanted {
    /// The wanted address of a family.
    #[must_use]
    pub(super) fn address(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.ip.map(IpAddr::V4),
            Family::V6 => self.ip6.map(IpAddr::V6),
        }
    }
}

/// The name of the host's end of a container's pair, so many digits longer than usual: the shortest names are those of
/// its earlier endpoints.
pub(super) fn host_if(container: &ContainerId, longer: usize) -> Result<IfName, NetworkError> {
    let digits = (HOST_IF_DIGITS + longer).min(IF_NAME_MAX);
    Ok(container.as_str()[..digits].parse()?)
}

/// `eth0` or the next name that none of the others has; of several, the one with this place among them.
pub(super) fn free_interface(others: &[Endpoint], place: usize) -> Result<IfName, NetworkError> {
    let is_free = |name: &String| others.iter().all(|other| other.container_if.as_str() != name);
    let mut free = (0_u32..).map(|number| format!("eth{number}")).filter(is_free);
    Ok(free.nth(place).unwrap_or_default().parse()?)
}
