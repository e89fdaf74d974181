//! Containers are paused and resumed.

use super::containers::{self, Snapshot};
use super::host::hierarchy;
use super::{EngineError, events, hold_up, privileges};
use crate::container::life::record::State;
use crate::container::run::cgroup;
use crate::container::run::runtime::RuntimeError;
use crate::store::Layout;

pub(super) fn pause(layout: &Layout, reference: &str) -> Result<(), EngineError> {
    privileges::for_containers()?;
    let Snapshot { record, state, .. } = containers::find(layout, reference)?;
    match state {
        State::Running { paused: false, .. } => {
            hold_up::forget(layout, &record.id);
            cgroup::freeze(hierarchy()?, &record.group()).map_err(RuntimeError::from)?;
            events::container(layout, &record, "pause", &[]);
            Ok(())
        }
        State::Running { .. } | State::Restarting { .. } => {
            Err(EngineError::Is { action: "pause", name: record.name, state: state.as_str() })
        }
        _ => Err(EngineError::NotRunning { action: "pause", name: record.name }),
    }
}

pub(super) fn unpause(layout: &Layout, reference: &str) -> Result<(), EngineError> {
    privileges::for_containers()?;
    let Snapshot { record, state, .. } = containers::find(layout, reference)?;
    if !state.is_running() {
        return Err(EngineError::NotRunning { action: "unpause", name: record.name });
    }
    // Not asked for first: where freezing was cut off half-way, it is not frozen and yet does not run.
    let paused = cgroup::is_freezing(hierarchy()?, &record.group());
    if !paused {
        return Err(EngineError::Is { action: "unpause", name: record.name, state: "not paused" });
    }
    hold_up::forget(layout, &record.id);
    cgroup::thaw(hierarchy()?, &record.group()).map_err(RuntimeError::from)?;
    events::container(layout, &record, "unpause", &[]);
    Ok(())
}
