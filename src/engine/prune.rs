//! Networks that no container has are removed.

use std::collections::BTreeSet;

use super::{EngineError, containers, privileges};
use crate::names::NetworkName;
use crate::network::{Network, Networks};
use crate::store::Layout;

pub(super) fn networks(
    layout: &Layout,
    networks: &mut Networks,
    wanted: impl Fn(&Network) -> bool,
) -> Result<Vec<NetworkName>, EngineError> {
    privileges::for_networks()?;
    let kept = networks_of_containers(layout)?;
    Ok(networks.prune(&kept, wanted)?)
}

/// The networks that a container has, running or not.
pub(super) fn networks_of_containers(layout: &Layout) -> Result<BTreeSet<NetworkName>, EngineError> {
    let records = containers::records(layout)?;
    let memberships = records.iter().flat_map(|record| &record.network.networks);
    Ok(memberships.map(|membership| membership.network.clone()).collect())
}
