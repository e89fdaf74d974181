//! Containers get other names.

use super::containers::{self, Record};
use super::{EngineError, events, privileges};
use crate::container::life::index;
use crate::names::{ContainerId, ContainerName};
use crate::network::Networks;
use crate::store::Layout;

pub(super) fn rename(
    layout: &Layout,
    networks: &mut Networks,
    reference: &str,
    name: &ContainerName,
) -> Result<(), EngineError> {
    privileges::for_containers()?;
    let Record { id, name: old, .. } = containers::find(layout, reference)?.record;
    index::check_rename(layout, &id, &old, name)?;
    // First: if this is killed, the same command given again finds the container by its old name, and goes on.
    follow(layout, networks, &id, name)?;
    let record = match index::rename(layout, &id, name, |_: &mut Record| {}) {
        Ok(record) => record,
        Err(error) => {
            // Somebody else has taken the name meanwhile.
            follow(layout, networks, &id, &old)?;
            return Err(error.into());
        }
    };
    events::container(layout, &record, "rename", &[("oldName", &format!("/{old}"))]);
    // It may have been started in between, or renamed once more.
    follow(layout, networks, &id, &Record::load(layout, &id)?.name)
}

/// Lets a container that runs be found by this name in its networks.
fn follow(
    layout: &Layout,
    networks: &mut Networks,
    id: &ContainerId,
    name: &ContainerName,
) -> Result<(), EngineError> {
    let record = Record::load(layout, id)?;
    if !record.status()?.is_running() {
        return Ok(());
    }
    let endpoints = networks.endpoints_of_container(id, &record.network.earlier())?;
    // Also one that has the name already: of several addresses, a killed command may have changed some.
    for endpoint in &endpoints.made {
        networks.rename(endpoint, name.as_str())?;
    }
    Ok(())
}
