//! Which containers have a name in a network, found without looking through those that do not.
//!
//! ```text
//! RUN_ROOT/network/names/NETWORK/NAME/ADDRESS    empty; NAME in lower case
//! ```
//!
//! There is a file for each name of a container (its own name, its short id, its aliases) and each of its addresses. It
//! leads to the endpoint's record (`endpoint`), and counts only if that has the name and its container runs, or the
//! namespace of another engine's container is there: what a killed process has left says nothing. The files are written once the endpoint is finished, and removed before its
//! record is; whoever does so holds the lock *addresses*. Nobody has to hold it to read them.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use super::endpoint::{self, Endpoint};
use super::owner::Owner;
use super::record::RecordError;
use super::remembered::Evidence;
use crate::names::NetworkName;
use crate::store::{self, Layout};

/// So many holders of one name are looked at, and so many of them are told: more fit into no answer by UDP.
const LOOKED_AT: usize = 128;
const TOLD: usize = 64;

/// Whether a text can be a name in DNS and of a file. Of the names in use, underscores are in many.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let labels = || text.split('.');
    !text.is_empty()
        && text.len() <= 253
        && text.bytes().all(plain)
        && labels().all(|label| (1..64).contains(&label.len()))
}

/// The names of an endpoint, in lower case.
pub(super) fn names_of(endpoint: &Endpoint) -> BTreeSet<String> {
    let own: Vec<&str> = match &endpoint.owner {
        Owner::Container { id, name, .. } => vec![name, id.short()],
        Owner::Attachment(attachment) => attachment.names.iter().map(String::as_str).collect(),
        Owner::Namespace { .. } => return BTreeSet::new(),
    };
    let names = own.into_iter().chain(endpoint.aliases.iter().map(String::as_str));
    names.filter(|name| is_name(name)).map(str::to_ascii_lowercase).collect()
}

pub(super) fn directory(layout: &Layout, network: &NetworkName, name: &str) -> PathBuf {
    layout.network_names().join(network).join(name)
}

/// Writes all names of an endpoint.
pub(super) fn write(layout: &Layout, endpoint: &Endpoint) -> Result<(), RecordError> {
    for name in names_of(endpoint) {
        let directory = directory(layout, &endpoint.network, &name);
        for address in &endpoint.addresses {
            let path = directory.join(address.address().to_string());
            let make = || OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
            let made = match make() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    store::make_directories(&directory).and_then(|()| make())
                }
                made => made,
            };
            made.map_err(|source| RecordError::Io { path: path.clone(), source })?;
        }
    }
    Ok(())
}

/// Removes some of the names of an endpoint.
pub(super) fn remove<'a>(
    layout: &Layout,
    endpoint: &Endpoint,
    names: impl Iterator<Item = &'a String>,
) -> Result<(), RecordError> {
    for name in names {
        for address in &endpoint.addresses {
            remove_one(layout, &endpoint.network, name, address.address())?;
        }
    }
    Ok(())
}

pub(super) fn remove_one(
    layout: &Layout,
    network: &NetworkName,
    name: &str,
    address: IpAddr,
) -> Result<(), RecordError> {
    let directory = directory(layout, network, name);
    let path = directory.join(address.to_string());
    store::remove_if_exists(&path).map_err(|source| RecordError::Io { path, source })?;
    // Others may have the name as well.
    std::fs::remove_dir(&directory).ok();
    Ok(())
}

/// The addresses that files of a name lead to; `None` where nobody ever had it.
pub(super) fn addresses_of(
    layout: &Layout,
    network: &NetworkName,
    name: &str,
) -> Option<impl Iterator<Item = IpAddr> + use<>> {
    let entries = std::fs::read_dir(directory(layout, network, name)).ok()?;
    Some(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()))
}

/// The addresses of those that have a name in a network, and run; `None` if nobody has it.
pub(super) fn holders(
    layout: &Layout,
    network: &NetworkName,
    name: &str,
    evidence: &mut Evidence,
) -> Option<Vec<IpAddr>> {
    evidence.reads(directory(layout, network, name));
    let has_name = |address: &IpAddr| {
        evidence.reads(endpoint::path(layout, network, *address));
        let endpoint = endpoint::load(layout, network, *address).ok().flatten();
        let holds = |it: &Endpoint| names_of(it).contains(name) && it.owner.answers_to_names();
        let holder = endpoint.filter(holds);
        let namespace = holder.as_ref().and_then(|it| it.owner.foreign_namespace());
        namespace.iter().for_each(|namespace| evidence.reads(namespace.path().to_owned()));
        holder.iter().flat_map(|it| it.owner.processes()).for_each(|process| evidence.needs(*process));
        holder.is_some()
    };
    let looked_at = addresses_of(layout, network, name)?.take(LOOKED_AT);
    let found: Vec<IpAddr> = looked_at.filter(has_name).take(TOLD).collect();
    (!found.is_empty()).then_some(found)
}
