//! Containers get other names.

use super::containers::{self, Record};
use super::{EngineError, privileges};
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
    let id = containers::find(layout, reference)?.record.id;
    let record = index::rename(layout, &id, name, |_: &mut Record| {})?;
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
