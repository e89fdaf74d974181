//! Network namespaces that are no container's are connected to networks and disconnected from them.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::connect::called;
use super::containers::Record;
use super::{EngineError, privileges};
use crate::names::{ContainerId, NetworkName};
use crate::network::{NamespaceRequest, NetworkError, Networks, PortRequest, Wanted};
use crate::store::{FileError, Layout};

pub(super) fn connect(
    layout: &Layout,
    networks: &mut Networks,
    network: &str,
    netns: &Path,
    wanted: &Wanted,
    ports: &[PortRequest],
) -> Result<Vec<IpAddr>, EngineError> {
    privileges::for_namespaces()?;
    let (path, network) = (path(layout, netns)?, called(networks, network)?);
    if network == NetworkName::of_default() {
        networks.default_network()?;
    }
    let request = NamespaceRequest { path: &path, network: &network, wanted, ports };
    let endpoint = networks.namespaces().connect(&request)?;
    Ok(endpoint.addresses.iter().map(|address| address.address()).collect())
}

pub(super) fn disconnect(
    layout: &Layout,
    networks: &mut Networks,
    network: &str,
    netns: &Path,
    force: bool,
) -> Result<(), EngineError> {
    privileges::for_namespaces()?;
    let path = path(layout, netns)?;
    let network = called(networks, network)?;
    match networks.namespaces().disconnect(&path, &network) {
        Err(NetworkError::NotConnected { .. } | NetworkError::Namespace { .. }) if force => Ok(()),
        other => Ok(other?),
    }
}

/// A namespace is called by its path, or by its name below `/run/netns`. Those of our containers are not to be
/// changed behind their backs.
pub(super) fn path(layout: &Layout, netns: &Path) -> Result<PathBuf, EngineError> {
    let is_name = netns.components().count() == 1 && !netns.as_os_str().to_string_lossy().contains('/');
    let path = if is_name { Path::new("/run/netns").join(netns) } else { netns.to_owned() };
    let path = std::path::absolute(&path).map_err(FileError::of("find the namespace", &path))?;
    let id = path.file_name().and_then(|name| name.to_str()?.parse::<ContainerId>().ok());
    match id.filter(|id| Layout::netns(id).file_name() == path.file_name()) {
        Some(id) if layout.container_record(&id).exists() => {
            let name = Record::load(layout, &id)?.name;
            Err(EngineError::NamespaceOfContainer { path, name })
        }
        _ => Ok(path),
    }
}
