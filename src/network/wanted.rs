//! What somebody who is to be connected asks for, and what the ends of its pair are called.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::endpoint::{Endpoint, Route};
use super::error::NetworkError;
use super::owner::Owner;
use super::subnet::Family;
use crate::names::{IF_NAME_MAX, IfName, NetworkName};
use crate::netlink::MacAddress;

/// How many digits of the container's id name the host's end of the pair, unless that name is taken.
const HOST_IF_DIGITS: usize = 5;
/// The same for what another engine has attached.
const ATTACHED_DIGITS: usize = 8;

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
    /// No default route is to lead through the network.
    #[serde(skip_serializing_if = "is_default")]
    pub no_default_route: bool,
    /// Further routes.
    #[serde(skip_serializing_if = "is_default")]
    pub routes: Vec<Route>,
    /// The first and the last of the addresses that may be chosen, at most once for each family; those of the network where
    /// it is left out.
    #[serde(skip_serializing_if = "is_default")]
    pub within: Vec<(IpAddr, IpAddr)>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
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

/// The name of the host's end of the pair, so many digits longer than usual: the shortest names are those of its earlier
/// endpoints. Other engines expect devices that are called `veth`.
pub(super) fn host_if(owner: &Owner, longer: usize) -> Result<IfName, NetworkError> {
    let (prefix, digits) = match owner {
        Owner::Attachment(_) => ("veth", ATTACHED_DIGITS),
        Owner::Container { .. } | Owner::Namespace { .. } => ("", HOST_IF_DIGITS),
    };
    let digits = (digits + longer).min(IF_NAME_MAX - prefix.len());
    Ok(format!("{prefix}{}", &owner.id().as_str()[..digits]).parse()?)
}

/// The interface that another engine names; else `eth0` or the next name that none of the others has, of several the one
/// with this place among them.
pub(super) fn container_if(owner: &Owner, others: &[Endpoint], place: usize) -> Result<IfName, NetworkError> {
    if let Some(attachment) = owner.attachment() {
        return Ok(attachment.key.interface.clone());
    }
    let is_free = |name: &String| others.iter().all(|other| other.container_if.as_str() != name);
    let mut free = (0_u32..).map(|number| format!("eth{number}")).filter(is_free);
    Ok(free.nth(place).unwrap_or_default().parse()?)
}
