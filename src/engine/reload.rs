//! Networks are brought to what the records say, and leftovers of killed supervisors are cleared away.

use super::containers::Record;
use super::launch::Supervisors;
use super::{EngineError, answering, containers, leaks, orphan, privileges};
use crate::container::tree::rootfs;
use crate::netns;
use crate::network::{Network, Networks};
use crate::store::Layout;

pub(super) fn reload(
    layout: &Layout,
    networks: &mut Networks,
    supervisors: &Supervisors,
) -> Result<Vec<Network>, EngineError> {
    privileges::for_containers()?;
    let listing = containers::list(layout)?;
    for snapshot in &listing.containers {
        if snapshot.record.is_orphaned()? {
            orphan::clean_up(layout, networks, &snapshot.record.id)?;
        }
    }
    let (running, known) = leaks::running(layout)?;
    let restored = networks.reload(&running)?;
    for record in renamed(layout, networks)? {
        for endpoint in &networks.endpoints_of_container(&record.id, &record.network.earlier())?.made {
            networks.rename(endpoint, record.name.as_str())?;
        }
    }
    networks.renew_names()?;
    // One that cannot start keeps nothing else from being mended.
    let mut answered = Ok(());
    for network in networks.name_servers().missing()? {
        answered = answered.and(answering::start(supervisors, &network));
    }
    // What is below this root directory, or belongs to one of its containers, cannot be another program's.
    for path in leaks::mounts(layout, &known)? {
        if let Some(id) = leaks::container_of_mount(layout, &path) {
            rootfs::unmount(layout, &id)?;
        }
    }
    for path in leaks::namespaces(layout, &known)? {
        if leaks::is_of_a_container(layout, &path) {
            netns::unpin(&path)?;
        }
    }
    answered.map(|()| restored)
}

/// The running containers that their networks know by another name: a `rename` was killed.
pub(super) fn renamed(layout: &Layout, networks: &Networks) -> Result<Vec<Record>, EngineError> {
    let mut renamed = Vec::new();
    for snapshot in containers::list(layout)?.containers {
        let record = snapshot.record;
        if !snapshot.state.is_running() {
            continue;
        }
        let endpoints = networks.endpoints_of_container(&record.id, &record.network.earlier())?.made;
        if endpoints.iter().any(|endpoint| endpoint.owner.name() != record.name.as_str()) {
            renamed.push(record);
        }
    }
    Ok(renamed)
}
