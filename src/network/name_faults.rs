//! The names of containers are compared with the records, and made what those say.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::endpoint::Endpoint;
use super::error::NetworkError;
use super::links::Links;
use super::name_files::{addresses_of, directory, names_of, remove_one, write};
use super::name_server;
use super::record::RecordError;
use super::records::Records;
use crate::names::NetworkName;
use crate::store;

/// What is wrong with the names in a network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum NameFault {
    /// A running container is not found by a name.
    Missing {
        /// The network.
        network: NetworkName,
        /// The name.
        name: String,
        /// The container.
        container: String,
    },
    /// A name leads to an address whose holder does not have it.
    Foreign {
        /// The network.
        network: NetworkName,
        /// The name.
        name: String,
        /// The address.
        address: IpAddr,
    },
    /// Nobody answers at a network's gateway.
    NoServer(NetworkName),
}

impl std::fmt::Display for NameFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing { network, name, container } => {
                write!(f, "network {network}: container {container} is not found by its name {name}")
            }
            Self::Foreign { network, name, address } => {
                write!(
                    f,
                    "network {network}: the name {name} leads to {address}, whose holder does not have it"
                )
            }
            Self::NoServer(network) => {
                write!(
                    f,
                    "network {network}: nobody answers questions for names: its name server does not run"
                )
            }
        }
    }
}

/// What is wrong with the names of containers; nothing is changed.
pub(super) fn find(records: &Records) -> Result<Vec<NameFault>, NetworkError> {
    let first = faults(records)?;
    if first.is_empty() {
        return Ok(Vec::new());
    }
    // Somebody may just be writing or removing them: what is wrong stays wrong while nobody can.
    let _lock = records.addresses()?;
    let again = faults(records)?;
    Ok(again.into_iter().filter(|fault| first.contains(fault)).collect())
}

/// Makes the names exactly those that the records say.
pub(super) fn renew(records: &Records) -> Result<(), NetworkError> {
    let _lock = records.addresses()?;
    for fault in faults(records)? {
        if let NameFault::Foreign { network, name, address } = fault {
            remove_one(&records.layout, &network, &name, address)?;
        }
    }
    remove_begun(records)?;
    for endpoint in records.all_endpoints()?.iter().filter(|it| is_finished(records, it)) {
        write(&records.layout, endpoint)?;
    }
    Ok(())
}

/// Removes the directories of names that killed commands had begun to write.
fn remove_begun(records: &Records) -> Result<(), NetworkError> {
    for network in records.networks()? {
        let path = records.layout.network_names().join(&network.name);
        let names = store::list(&path).map_err(|source| RecordError::Io { path: path.clone(), source })?;
        for name in names {
            // Of a name that somebody has it is not empty.
            std::fs::remove_dir(path.join(name)).ok();
        }
    }
    Ok(())
}

/// Whether all of a running container's connection is there.
fn is_finished(records: &Records, endpoint: &Endpoint) -> bool {
    let links = || Links::of_container(&records.layout, endpoint.owner.id()).list().unwrap_or_default();
    endpoint.owner.answers_to_names()
        && links().iter().any(|link| link.is_made && link.network == endpoint.network)
}

fn faults(records: &Records) -> Result<BTreeSet<NameFault>, NetworkError> {
    let layout = &records.layout;
    let mut faults = BTreeSet::new();
    for network in records.networks()?.into_iter().map(|network| network.name) {
        let endpoints = records.endpoints(&network)?;
        for endpoint in endpoints.iter().filter(|endpoint| is_finished(records, endpoint)) {
            for name in names_of(endpoint) {
                let directory = directory(layout, &network, &name);
                let has = |address: IpAddr| directory.join(address.to_string()).exists();
                if !endpoint.addresses.iter().all(|address| has(address.address())) {
                    let (network, container) = (network.clone(), endpoint.owner.name());
                    faults.insert(NameFault::Missing { network, name, container });
                }
            }
        }
        if name_server::is_missing(layout, &network)? {
            faults.insert(NameFault::NoServer(network.clone()));
        }
        let path = layout.network_names().join(&network);
        for name in store::list(&path).map_err(|source| RecordError::Io { path, source })? {
            for address in addresses_of(layout, &network, &name).into_iter().flatten() {
                let has_it = |endpoint: &&Endpoint| {
                    endpoint.addresses.iter().any(|own| own.address() == address)
                        && names_of(endpoint).contains(&name)
                };
                if endpoints.iter().find(has_it).is_none() {
                    let (network, name) = (network.clone(), name.clone());
                    faults.insert(NameFault::Foreign { network, name, address });
                }
            }
        }
    }
    Ok(faults)
}
