//! Containers are removed.

use super::containers::{self, Snapshot};
use super::{EngineError, Grace, forget, orphan, privileges, stop};
use crate::container::life::record::State;
use crate::container::request::signal::Signal;
use crate::network::Networks;
use crate::store::Layout;

pub(super) fn remove(
    layout: &Layout,
    networks: &mut Networks,
    reference: &str,
    force: bool,
    volumes: bool,
) -> Result<(), EngineError> {
    privileges::for_containers()?;
    let Snapshot { record, state, .. } = containers::find(layout, reference)?;
    if matches!(state, State::Removing { .. }) {
        return Err(EngineError::Is { action: "remove", name: record.name, state: "being removed" });
    }
    if !state.can_remove() {
        if !force {
            let state = if state.is_up() { state.as_str() } else { "being started" };
            return Err(EngineError::StillUp { name: record.name, state });
        }
        stop::end(layout, networks, &record.id, Signal::KILL, Grace::Forever)?;
    } else if record.is_orphaned()? {
        orphan::clean_up(layout, networks, &record.id)?;
    }
    forget::forget(layout, networks, &record.id, volumes)
}
