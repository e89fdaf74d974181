//! The end of containers is awaited, or how their health checks find them.

use std::time::Duration;

use super::containers::{self, GLANCE, Snapshot};
use super::{EngineError, orphan};
use crate::container::life::attach;
use crate::container::life::health::HealthStatus;
use crate::container::life::record::State;
use crate::container::life::signal;
use crate::container::request::health::HealthCheck;
use crate::network::Networks;
use crate::store::Layout;

/// How often a container that is checked is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Waits until a container that runs is found to be so.
pub(super) fn wait_until(layout: &Layout, reference: &str, wanted: HealthStatus) -> Result<(), EngineError> {
    let id = containers::find(layout, reference)?.record.id;
    loop {
        let Snapshot { record, state, health } = containers::snapshot(layout, &id)?;
        if record.config.settings.health.as_ref().and_then(HealthCheck::command).is_none() {
            return Err(EngineError::NoHealthCheck(record.name));
        }
        match (&state, health) {
            (State::Running { .. }, Some(health)) if health.status == wanted => return Ok(()),
            (State::Running { .. } | State::Starting { .. } | State::Restarting { .. }, _) => {}
            _ => return Err(EngineError::NotRunning { action: "wait for", name: record.name }),
        }
        std::thread::sleep(LOOK);
    }
}

pub(super) fn wait(layout: &Layout, networks: &mut Networks, reference: &str) -> Result<i32, EngineError> {
    let id = containers::find(layout, reference)?.record.id;
    loop {
        let Snapshot { record, state, .. } = containers::snapshot(layout, &id)?;
        match state {
            State::Exited(exit) => {
                if record.is_orphaned()? {
                    orphan::clean_up(layout, networks, &record.id)?;
                }
                return Ok(exit.code);
            }
            State::Created => return Ok(0),
            State::Running { supervisor, .. } => {
                let connection = attach::connect(layout, &id)?;
                if let Some(connection) = connection
                    && let Some(code) = attach::wait_for_exit(&connection, None)?
                {
                    return Ok(i32::from(code));
                }
                // Killed, or about to end: the record will show which in a moment.
                signal::wait(supervisor, Some(GLANCE))?;
            }
            State::Starting { supervisor, .. } | State::Restarting { supervisor, .. } => {
                signal::wait(supervisor, Some(GLANCE))?;
            }
            State::Removing { remover, .. } => {
                signal::wait(remover, Some(GLANCE))?;
            }
            State::Dead => {
                return Err(EngineError::Is { action: "wait for", name: record.name, state: "dead" });
            }
        }
    }
}
