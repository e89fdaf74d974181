//! A container's run is taken down: by its supervisor at the end, or by a command that finds the supervisor dead. Every
//! step is tried, "already gone" is success, and the first error is reported.

use std::net::IpAddr;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::containers::Record;
use super::{EngineError, events, forget};
use crate::container::life::record::{Exit, LOST, RecordError, State};
use crate::container::life::signal;
use crate::container::run::runtime;
use crate::names::{ContainerId, ContainerName, NetworkName};
use crate::netns;
use crate::network::Networks;
use crate::process::Process;
use crate::store::Layout;

/// How long a supervisor may take to clean up after its container has ended.
pub(super) const CLEANUP_PATIENCE: Duration = Duration::from_secs(30);

/// Ends what is left of a run: ports, interfaces, addresses, processes, control groups, namespace. `earlier`
/// are the endpoints in the record of a run that an earlier mydocker began.
pub(super) fn take_down(
    layout: &Layout,
    networks: &mut Networks,
    record: &Record,
    earlier: &[(NetworkName, IpAddr)],
) -> Result<(), EngineError> {
    let id = &record.id;
    let mut first = Ok(());
    let mut note = |result: Result<(), EngineError>| {
        if let Err(error) = result {
            tracing::debug!(container = %id, %error, "cannot take down all of it");
            if first.is_ok() {
                first = Err(error);
            }
        }
    };
    // First what others could still reach, then what holds it.
    note(networks.disconnect_container(id, earlier).map_err(EngineError::from));
    note(runtime::delete(layout, id, &record.group()).map_err(EngineError::from));
    note(netns::unpin(&Layout::netns(id)).map_err(EngineError::from));
    first
}

/// Waits until a supervisor that is about to end has ended, and takes down what it did not: it may have been
/// killed, and then the record only shows it once the process is gone.
pub(super) fn wait_and_clean_up(
    layout: &Layout,
    networks: &mut Networks,
    name: &ContainerName,
    id: &ContainerId,
    supervisor: Process,
) -> Result<(), EngineError> {
    if !signal::wait(supervisor, Some(CLEANUP_PATIENCE))? {
        return Err(EngineError::SupervisorStuck(name.clone()));
    }
    match Record::load(layout, id) {
        Ok(record) if record.is_orphaned()? => clean_up(layout, networks, &record.id),
        // It has removed everything itself.
        Ok(_) | Err(RecordError::NotFound(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Takes down a run whose supervisor is dead and records that it is over. The container's lock is held: a
/// command that comes second finds it done, or the container running again, and leaves it alone.
pub(super) fn clean_up(
    layout: &Layout,
    networks: &mut Networks,
    id: &ContainerId,
) -> Result<(), EngineError> {
    let mut taken_down = Ok(());
    let cleaned_up = Record::update(layout, id, |record: &mut Record| {
        if !record.is_orphaned()? {
            return Ok::<_, EngineError>(None);
        }
        taken_down = take_down(layout, networks, record, &record.network.earlier());
        record.network.forget_earlier();
        let ran = record.state.is_running();
        record.state = match &record.state {
            State::Exited(exit) | State::Restarting { exit, .. } => State::Exited(exit.clone()),
            State::Running { started, .. } => State::Exited(lost(record.status()?, Some(*started))),
            State::Created | State::Starting { .. } => State::Exited(lost(record.status()?, None)),
            removed @ (State::Removing { .. } | State::Dead) => removed.clone(),
        };
        if ran {
            events::ended(layout, networks, record);
        }
        Ok(Some(record.clone()))
    });
    match cleaned_up {
        Ok(Some(record)) if record.is_to_go() => forget::forget(layout, networks, id, true)?,
        Ok(_) | Err(EngineError::Record(RecordError::NotFound(_))) => {}
        Err(error) => return Err(error),
    }
    taken_down
}

/// The end of a container that nobody saw: `observed` tells why and, of an earlier boot, when at the latest. Otherwise it
/// counts from now, when it is found.
fn lost(observed: State, started: Option<DateTime<Utc>>) -> Exit {
    let finished = Some(Utc::now());
    match observed {
        State::Exited(exit) => Exit { finished: exit.finished.or(finished), ..exit },
        _ => {
            let error = Some("its supervisor was killed".to_owned());
            Exit { code: LOST, started, finished, error, out_of_memory: false }
        }
    }
}
