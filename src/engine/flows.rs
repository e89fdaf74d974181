//! Connection-tracking entries of containers are listed and watched.

use super::{EngineError, containers, privileges};
use crate::network::{ContainerFlow, FlowEvent, Networks};
use crate::store::Layout;

pub(super) fn list(
    layout: &Layout,
    networks: &mut Networks,
    container: Option<&str>,
) -> Result<Vec<ContainerFlow>, EngineError> {
    privileges::for_networks()?;
    let only = container.map(|name| containers::find(layout, name)).transpose()?.map(|found| found.record.id);
    Ok(networks.flows(only.as_ref())?)
}

pub(super) fn follow(
    layout: &Layout,
    networks: &mut Networks,
    container: Option<&str>,
    begin: impl FnOnce(Vec<ContainerFlow>),
    each: impl FnMut(FlowEvent, ContainerFlow) -> bool,
) -> Result<(), EngineError> {
    privileges::for_networks()?;
    let only = container.map(|name| containers::find(layout, name)).transpose()?.map(|found| found.record.id);
    let begin = || {
        begin(networks.flows(only.as_ref())?);
        Ok(())
    };
    Ok(networks.follow_flows(only.as_ref(), begin, each)?)
}
