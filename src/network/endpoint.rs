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
//! Most endpoints are containers'; `owner` has those of other namespaces as well.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::namespace::Namespace;
use super::owner::Owner;
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

/// A way to somewhere, beside those that follow from the addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Where to.
    pub to: IpNet,
    /// Through whom; `None` for who is on the link itself.
    pub gateway: Option<IpAddr>,
    /// The less, the earlier it is taken; the kernel's own choice where it is left out.
    pub metric: Option<u32>,
}

/// A place in a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct Endpoint {
    /// The network.
    pub network: NetworkName,
    /// Whose it is.
    pub owner: Owner,
    /// Its place among the endpoints of its namespace, in order of connecting.
    pub position: u32,
    /// Its addresses: one of each family that the network has, IPv4 first.
    pub addresses: Vec<InterfaceAddress>,
    /// Its Ethernet address.
    pub mac: MacAddress,
    /// The device on the host, a port of the network's bridge.
    pub host_if: IfName,
    /// The device in the namespace.
    pub container_if: IfName,
    /// Whether nothing that arrives changes where its addresses are: in a network that checks sources.
    pub is_tied: bool,
    /// The published ports.
    pub ports: Vec<PortMapping>,
    /// Further names of a container in the network.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Further routes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
}

/// An endpoint as it may be written down: earlier versions had the members of its owner one by one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    network: NetworkName,
    owner: Option<Owner>,
    container: Option<ContainerId>,
    container_name: Option<String>,
    owners: Option<Vec<Process>>,
    namespace: Option<Namespace>,
    #[serde(default)]
    position: u32,
    addresses: Vec<InterfaceAddress>,
    mac: MacAddress,
    host_if: IfName,
    container_if: IfName,
    #[serde(default)]
    is_tied: bool,
    ports: Vec<PortMapping>,
    #[serde(default)]
    aliases: Vec<String>,
    #[serde(default)]
    routes: Vec<Route>,
}

impl TryFrom<Stored> for Endpoint {
    type Error = &'static str;
    fn try_from(stored: Stored) -> Result<Self, Self::Error> {
        let owner = match (stored.owner, stored.container, stored.container_name, stored.owners) {
            (Some(owner), None, None, None) => owner,
            (None, Some(id), Some(name), Some(processes)) => match stored.namespace {
                Some(namespace) => Owner::Namespace { id, namespace, process: processes.first().copied() },
                None => Owner::Container { id, name, processes },
            },
            _ => return Err("it must have one owner"),
        };
        Ok(Self {
            network: stored.network,
            owner,
            position: stored.position,
            addresses: stored.addresses,
            mac: stored.mac,
            host_if: stored.host_if,
            container_if: stored.container_if,
            is_tied: stored.is_tied,
            ports: stored.ports,
            aliases: stored.aliases,
            routes: stored.routes,
        })
    }
}

impl Endpoint {
    /// Whether the endpoint is in use: what answers for it is still there.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.owner.is_alive()
    }

    /// Whether it is the container's.
    #[must_use]
    pub fn is_of(&self, container: &ContainerId) -> bool {
        self.owner.id() == container
    }

    /// Whether what is on record now is still this endpoint: not that of the next container which another engine
    /// attaches by the same names.
    pub(super) fn is_still(&self, current: &Self) -> bool {
        let is_attachment = self.owner.attachment().is_some();
        current.is_of(self.owner.id()) && (!is_attachment || current.owner.is_same_run(&self.owner))
    }

    /// The gateway of a route that does not lead through the endpoint's own interface: it is in none of its subnets.
    pub(super) fn elsewhere(&self, route: &Route) -> Option<IpAddr> {
        let is_near = |gateway: &IpAddr| {
            let is_local = matches!(gateway, IpAddr::V6(address) if address.is_unicast_link_local());
            is_local || self.addresses.iter().any(|address| address.net.contains(gateway))
        };
        route.gateway.filter(|gateway| !is_near(gateway))
    }

    /// Whether it is worth a closer look if the owner has ended (see `ended`): what answers for it is not there, or its
    /// namespace is not at its path.
    pub(super) fn may_have_ended(&self) -> bool {
        !self.is_alive() || self.owner.has_lost_its_path()
    }

    /// Whether it has one of these ports on record.
    pub(super) fn has_one_of(&self, ports: &[PortMapping]) -> bool {
        ports.iter().any(|port| self.ports.iter().any(|own| own.overlaps(port)))
    }

    /// The same endpoint, once its container has another name.
    #[must_use]
    pub fn renamed(&self, container_name: &str) -> Self {
        let mut renamed = self.clone();
        if let Owner::Container { name, .. } = &mut renamed.owner {
            container_name.clone_into(name);
        }
        renamed
    }

    /// Its address of a family.
    pub(super) fn of(&self, family: Family) -> Option<&InterfaceAddress> {
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
}

pub(super) fn path(layout: &Layout, network: &NetworkName, address: IpAddr) -> PathBuf {
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
        match endpoints.iter_mut().find(|endpoint| endpoint.owner.is_same_run(&found.owner)) {
            // Killed between two addresses, the record of the first knows of no second.
            Some(known) if known.addresses.len() < found.addresses.len() => *known = found,
            Some(_) => {}
            None => endpoints.push(found),
        }
    }
    Ok(endpoints)
}

/// The endpoints of a network, if the owners of all of them have ended; `None` as soon as one is found that has not.
///
/// # Errors
/// The directory or a record cannot be read.
pub(super) fn load_dead(
    layout: &Layout,
    network: &NetworkName,
) -> Result<Option<Vec<Endpoint>>, RecordError> {
    let path = directory(layout, network);
    let error = |source| RecordError::Io { path: path.clone(), source };
    let entries = match std::fs::read_dir(&path) {
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(Some(Vec::new())),
        entries => entries.map_err(error)?,
    };
    let mut dead = Vec::new();
    for entry in entries {
        let name = entry.map_err(error)?.file_name();
        let Some(address) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        match load(layout, network, address)? {
            Some(endpoint) if endpoint.is_alive() => return Ok(None),
            found => dead.extend(found),
        }
    }
    Ok(Some(dead))
}

/// Removes the directory of a network that is gone, its names, what is known of its name server, and the mark that its
/// addresses are announced.
///
/// # Errors
/// The file system refused.
pub(super) fn remove_all(layout: &Layout, network: &NetworkName) -> Result<(), RecordError> {
    let mark = layout.announcing().join(network);
    store::remove_if_exists(&mark).map_err(|source| RecordError::Io { path: mark, source })?;
    let server = layout.name_servers().join(network);
    store::remove_if_exists(&server).map_err(|source| RecordError::Io { path: server, source })?;
    for path in [layout.network_names().join(network), directory(layout, network)] {
        store::remove_tree_if_exists(&path).map_err(|source| RecordError::Io { path, source })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_from_before_there_was_an_owner_are_read() {
        let id = "a".repeat(64);
        let old = |owners: &str, more: &str| {
            format!(
                r#"{{"network":"front","container":"{id}","container_name":"web","owners":{owners},"position":1,{more}
                "addresses":[{{"net":"10.0.0.2/24","gateway":"10.0.0.1"}}],"mac":"02:42:0a:00:00:02",
                "host_if":"aaaaa","container_if":"eth0","ports":[]}}"#
            )
        };
        let process = r#"[{"pid":1,"start":7}]"#;
        let process_form = serde_json::to_string(&Process::current().unwrap()).unwrap();
        assert!(process_form.contains("pid"), "{process_form}");
        let read = |text: &str| serde_json::from_str::<Endpoint>(text).map_err(|error| error.to_string());
        let container = read(&old(&format!("[{process_form}]"), "")).unwrap();
        let Owner::Container { name, processes, .. } = &container.owner else { panic!("{container:?}") };
        assert_eq!((name.as_str(), processes.as_slice()), ("web", &[Process::current().unwrap()][..]));
        assert!(container.is_alive() && container.is_of(&id.parse().unwrap()));
        let lab = r#""namespace":{"path":"/run/netns/lab","inode":7,"born":1},"#;
        let namespace = read(&old("[]", lab)).unwrap();
        assert_eq!(namespace.owner.to_string(), "namespace /run/netns/lab");
        assert!(!namespace.is_alive());
        // What is written now is read as well, and nothing in between.
        for endpoint in [container, namespace] {
            let written = serde_json::to_string(&endpoint).unwrap();
            assert_eq!(read(&written).unwrap(), endpoint);
            let twice = written.replacen('{', r#"{"container_name":"web","#, 1);
            assert!(read(&twice).unwrap_err().contains("one owner"));
        }
        assert!(read(&old(process, "").replace("\"owners\"", "\"owner_list\"")).is_err());
    }
}
