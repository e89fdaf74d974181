//! Endpoint records: which container has which address of which network, and which ports it publishes.
//!
//! ```text
//! RUN_ROOT/network/endpoints/NETWORK/ADDRESS
//! ```
//!
//! The file is named by the address, so an address has one holder by construction; an endpoint with two addresses
//! has its record under both. It is written before the address is marked as taken and removed after it was marked
//! as free: a record whose owner is dead is void, and the next holder of the address replaces it. Nothing here
//! survives a reboot, just as the interfaces.
//!
//! Most endpoints are containers'. Those of namespaces that are not (`namespace`) have that instead of processes to
//! answer for them, and an id of their own in the place of a container's.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::namespace::Namespace;
use super::port::PortMapping;
use super::record::RecordError;
use super::subnet::Family;
use crate::names::{ContainerId, IfName, NetworkName};
use crate::netlink::MacAddress;
use crate::process::Process;
use crate::store::{self, Durability, Layout};

/// An address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InterfaceAddress {
    /// The address, with the prefix length of the subnet.
    pub net: IpNet,
    /// Where the default route of its family leads; `None` where there is none.
    pub gateway: Option<IpAddr>,
}

impl InterfaceAddress {
    /// The address alone.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.net.addr()
    }

    /// Its family.
    #[must_use]
    pub fn family(&self) -> Family {
        Family::of(self.address())
    }
}

/// A container's place in a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// The network.
    pub network: NetworkName,
    /// The container.
    pub container: ContainerId,
    /// The container's name, for messages.
    pub container_name: String,
    /// The container's first process and its supervisor: when both have ended, this record is void.
    pub owners: Vec<Process>,
    /// The namespace, where it is no container's; where it has no `owners`, it answers for this record itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Namespace>,
    /// Its place among the endpoints of its namespace, in order of connecting.
    #[serde(default)]
    pub position: u32,
    /// The container's addresses: one of each family that the network has, IPv4 first.
    pub addresses: Vec<InterfaceAddress>,
    /// Its Ethernet address.
    pub mac: MacAddress,
    /// The device on the host, a port of the network's bridge.
    pub host_if: IfName,
    /// The device in the container.
    pub container_if: IfName,
    /// The published ports.
    pub ports: Vec<PortMapping>,
}

impl Endpoint {
    /// Whether the endpoint is in use: one of its owners is alive, or its namespace is still there.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        match &self.namespace {
            Some(namespace) if self.owners.is_empty() => namespace.is_there(),
            _ => self.owners.iter().any(|owner| owner.is_alive()),
        }
    }

    /// Who it is, for messages.
    #[must_use]
    pub fn holder(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("namespace {}", namespace.path().display()),
            None => format!("container {}", self.container_name),
        }
    }

    /// The comment of its ports' elements: the container's name, or its short id where the name cannot be a
    /// comment.
    #[must_use]
    pub fn comment(&self) -> &str {
        let name = &self.container_name;
        // A namespace is called by its path.
        let is_plain = !name.contains(|c: char| c == '"' || c.is_control());
        if name.len() <= crate::nft::COMMENT_MAX && is_plain {
            &self.container_name
        } else {
            self.container.short()
        }
    }

    fn of(&self, family: Family) -> Option<&InterfaceAddress> {
        self.addresses.iter().find(|address| address.family() == family)
    }

    /// Its IPv4 address, with the prefix length of the subnet.
    #[must_use]
    pub fn ipv4(&self) -> Option<Ipv4Net> {
        self.of(Family::V4).and_then(|address| match address.net {
            IpNet::V4(net) => Some(net),
            IpNet::V6(_) => None,
        })
    }

    /// Its IPv6 address, with the prefix length of the subnet.
    #[must_use]
    pub fn ipv6(&self) -> Option<Ipv6Net> {
        self.of(Family::V6).and_then(|address| match address.net {
            IpNet::V6(net) => Some(net),
            IpNet::V4(_) => None,
        })
    }

    /// Where the default route of a family leads.
    #[must_use]
    pub fn gateway(&self, family: Family) -> Option<IpAddr> {
        self.of(family).and_then(|address| address.gateway)
    }

    /// Where the default routes of these families lead.
    pub(super) fn gateways(&self, families: &[Family]) -> impl Iterator<Item = IpAddr> {
        let of_family = |address: &&InterfaceAddress| families.contains(&address.family());
        self.addresses.iter().filter(of_family).filter_map(|address| address.gateway)
    }

    /// Whether both are one container's connection in one run of it.
    fn is_same_as(&self, other: &Self) -> bool {
        self.container == other.container && self.owners == other.owners && self.namespace == other.namespace
    }
}

fn path(layout: &Layout, network: &NetworkName, address: IpAddr) -> PathBuf {
    directory(layout, network).join(address.to_string())
}

fn directory(layout: &Layout, network: &NetworkName) -> PathBuf {
    layout.endpoints().join(network)
}

/// Writes the record, under each address.
///
/// # Errors
/// The file system refused.
pub(super) fn save(layout: &Layout, endpoint: &Endpoint) -> Result<(), RecordError> {
    for address in &endpoint.addresses {
        let path = path(layout, &endpoint.network, address.address());
        let error = |source| RecordError::Io { path: path.clone(), source };
        let text = serde_json::to_vec(endpoint).map_err(|e| error(e.into()))?;
        match store::write_atomic(&path, &text, Durability::Process) {
            // Only the first endpoint of a network finds no directory.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                store::make_directories(&directory(layout, &endpoint.network)).map_err(error)?;
                store::write_atomic(&path, &text, Durability::Process).map_err(error)?;
            }
            other => other.map_err(error)?,
        }
    }
    Ok(())
}

/// Removes the record of an address. To be called only while it is still this endpoint's own.
///
/// # Errors
/// The file system refused.
pub(super) fn remove(layout: &Layout, network: &NetworkName, address: IpAddr) -> Result<(), RecordError> {
    let path = path(layout, network, address);
    store::remove_if_exists(&path).map_err(|source| RecordError::Io { path, source })
}

/// The holder of an address; a record that cannot be read counts as none, because it is never written but
/// whole.
///
/// # Errors
/// The file exists but the file system does not give it out.
pub(super) fn load(
    layout: &Layout,
    network: &NetworkName,
    address: IpAddr,
) -> Result<Option<Endpoint>, RecordError> {
    let path = path(layout, network, address);
    let bytes = store::read_if_exists(&path).map_err(|source| RecordError::Io { path, source })?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// All endpoints of a network, those of dead owners among them.
///
/// # Errors
/// The directory cannot be read.
pub(super) fn load_all(layout: &Layout, network: &NetworkName) -> Result<Vec<Endpoint>, RecordError> {
    let path = directory(layout, network);
    let names = store::list(&path).map_err(|source| RecordError::Io { path, source })?;
    let mut endpoints: Vec<Endpoint> = Vec::with_capacity(names.len());
    for address in names.iter().filter_map(|name| name.parse().ok()) {
        let Some(found) = load(layout, network, address)? else { continue };
        match endpoints.iter_mut().find(|endpoint| endpoint.is_same_as(&found)) {
            // Killed between two addresses, the record of the first knows of no second.
            Some(known) if known.addresses.len() < found.addresses.len() => *known = found,
            Some(_) => {}
            None => endpoints.push(found),
        }
    }
    Ok(endpoints)
}

/// Removes the directory of a network that is gone, and the mark that its addresses are announced.
///
/// # Errors
/// The file system refused.
pub(super) fn remove_all(layout: &Layout, network: &NetworkName) -> Result<(), RecordError> {
    let mark = layout.announcing().join(network);
    store::remove_if_exists(&mark).map_err(|source| RecordError::Io { path: mark, source })?;
    let path = directory(layout, network);
    store::remove_tree_if_exists(&path).map_err(|source| RecordError::Io { path, source })
}
