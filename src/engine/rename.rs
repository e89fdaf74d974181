//! Containers get other names.

use super::containers::{self, Record};
use super::{EngineError, events, privileges};
use crate::container::life::index;
use crate::names::ContainerName;
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
    let record = index::rename(layout, &id, name, |_: &mut Record| {})?;
    events::container(layout, &record, "rename", &[("oldName", &format!("/{old}"))]);
    if !record.status()?.is_running() {
        return Ok(());
    }
    // If this is killed from here on, it is found by its old name until `network reload`.
    let endpoints = networks.endpoints_of_container(&id, &record.network.earlier())?;
    for endpoint in &endpoints.made {
        networks.rename(endpoint, name.as_str())?;
    }
    Ok(())
}
