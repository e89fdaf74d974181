//! Networks that no running container has are removed.

use std::collections::BTreeSet;

use super::containers::Listing;
use super::{EngineError, containers, events, privileges};
use crate::events::Kind;
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
    let known = networks.list()?;
    let pruned = networks.prune(&kept, wanted)?;
    for network in known.iter().filter(|network| pruned.contains(&network.name)) {
        events::network(layout, network, "destroy");
    }
    events::pruned(layout, Kind::Network, 0);
    Ok(pruned)
}

/// The networks that a container has which runs, or is to be started again by itself. Of one whose record cannot be read
/// it is not known.
pub(super) fn networks_of_containers(layout: &Layout) -> Result<BTreeSet<NetworkName>, EngineError> {
    let Listing { containers, broken } = containers::list(layout)?;
    if let Some(error) = broken.into_iter().next() {
        return Err(error);
    }
    let up = containers.iter().filter(|container| container.state.is_up());
    let memberships = up.flat_map(|container| &container.record.network.networks);
    Ok(memberships.map(|membership| membership.network.clone()).collect())
}
