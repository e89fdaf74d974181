//! What is started after the host was booted, and what is stopped before it goes down.
//!
//! A record keeps what it takes: the restart policy, and whether the user has ended the last run. A supervisor that is asked
//! to end (`SIGTERM`) is no user: its container comes back.

use std::time::Duration;

use super::containers::{self, Record, Snapshot};
use super::orphan::{self, CLEANUP_PATIENCE};
use super::{EngineError, privileges};
use crate::container::life::record::State;
use crate::container::life::signal;
use crate::container::request::restart::RestartPolicy;
use crate::container::request::signal::Signal;
use crate::network::Networks;
use crate::store::Layout;

/// What the host's boot and shutdown are about.
#[derive(Debug, Clone, Default)]
pub struct BootPlan {
    /// The ids of the containers, the oldest first.
    pub containers: Vec<String>,
    /// How many others there may be: their records cannot be read.
    pub broken: usize,
}

/// The containers that are to be started: those that ran once, and are always to run, or unless the user has stopped them.
/// That the host went down is no failure of a container's: `on-failure` starts none, whatever its exit status.
pub(super) fn to_start(layout: &Layout) -> Result<BootPlan, EngineError> {
    plan(layout, |snapshot| {
        let wanted = match snapshot.record.config.settings.restart {
            RestartPolicy::Always => true,
            RestartPolicy::UnlessStopped => !snapshot.record.life.stopped,
            RestartPolicy::No | RestartPolicy::OnFailure(_) => false,
        };
        wanted && matches!(snapshot.state, State::Exited(_))
    })
}

/// The containers that run, or are about to.
pub(super) fn to_stop(layout: &Layout) -> Result<BootPlan, EngineError> {
    plan(layout, |snapshot| {
        matches!(snapshot.state, State::Running { .. } | State::Restarting { .. } | State::Starting { .. })
    })
}

fn plan(layout: &Layout, wanted: impl Fn(&Snapshot) -> bool) -> Result<BootPlan, EngineError> {
    privileges::for_containers()?;
    let listing = containers::list(layout)?;
    let meant = listing.containers.iter().rev().filter(|snapshot| wanted(snapshot));
    let containers = meant.map(|snapshot| snapshot.record.id.to_string()).collect();
    Ok(BootPlan { containers, broken: listing.broken.len() })
}

/// Ends a container because the host goes down: its supervisor is asked to, and it is not the user who does.
pub(super) fn stop(layout: &Layout, networks: &mut Networks, reference: &str) -> Result<(), EngineError> {
    privileges::for_containers()?;
    let Snapshot { record, state, .. } = containers::find(layout, reference)?;
    let (State::Running { supervisor, .. }
    | State::Restarting { supervisor, .. }
    | State::Starting { supervisor, .. }) = state
    else {
        return Ok(());
    };
    if record.is_orphaned()? {
        return orphan::clean_up(layout, networks, &record.id);
    }
    signal::send(supervisor, Signal::TERM)?;
    // After the stop timeout the supervisor kills it.
    let patience = Duration::from_secs(record.config.stop_timeout.into()) + CLEANUP_PATIENCE;
    signal::wait(supervisor, Some(patience))?;
    let Record { name, id, .. } = &record;
    orphan::wait_and_clean_up(layout, networks, name, id, supervisor)
}
