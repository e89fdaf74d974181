//! Containers are stopped.
//!
//! A command that ends a container marks its record first ([`Life::stopped`]), under the same lock under which its
//! supervisor decides whether to start it again: one of the two sees the other.
//!
//! [`Life::stopped`]: crate::container::life::restart::Life::stopped

use std::time::{Duration, Instant};

use super::containers::{self, GLANCE, Record};
use super::host::hierarchy;
use super::orphan::{self, CLEANUP_PATIENCE};
use super::{EngineError, events, privileges};
use crate::container::life::attach;
use crate::container::life::record::{RecordError, State};
use crate::container::life::signal;
use crate::container::request::signal::Signal;
use crate::container::run::cgroup;
use crate::container::run::runtime::RuntimeError;
use crate::names::ContainerId;
use crate::network::Networks;
use crate::process::Process;
use crate::store::Layout;

/// How long a container may take to end after its stop signal before it is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grace {
    /// So many seconds.
    Seconds(u32),
    /// As long as it likes.
    Forever,
}

impl Grace {
    fn patience(self) -> Option<Duration> {
        match self {
            Self::Seconds(seconds) => Some(Duration::from_secs(u64::from(seconds))),
            Self::Forever => None,
        }
    }
}

/// How a container is to be stopped; what is left out is as the container wants it.
#[derive(Debug, Clone, Copy, Default)]
pub struct StopRequest {
    /// The signal that asks it to end.
    pub signal: Option<Signal>,
    /// How long it may take.
    pub grace: Option<Grace>,
}

pub(super) fn stop(
    layout: &Layout,
    networks: &mut Networks,
    reference: &str,
    request: StopRequest,
) -> Result<(), EngineError> {
    privileges::for_containers()?;
    let record = containers::find(layout, reference)?.record;
    stop_as_asked(layout, networks, &record, request)
}

pub(super) fn stop_as_asked(
    layout: &Layout,
    networks: &mut Networks,
    record: &Record,
    request: StopRequest,
) -> Result<(), EngineError> {
    let config = &record.config;
    let grace = request.grace.unwrap_or(Grace::Seconds(config.stop_timeout));
    let ran = end(layout, networks, &record.id, request.signal.unwrap_or(config.stop_signal), grace)?;
    if ran {
        events::container(layout, record, "stop", &[]);
    }
    Ok(())
}

/// Ends a container's processes, and waits for the supervisor to take everything down, or does it where
/// there is no supervisor any more. False if it did not run.
pub(super) fn end(
    layout: &Layout,
    networks: &mut Networks,
    id: &ContainerId,
    signal: Signal,
    grace: Grace,
) -> Result<bool, EngineError> {
    let record = Record::load(layout, id)?;
    if record.is_orphaned()? {
        if let State::Running { init, .. } = &record.state {
            terminate(layout, &record, *init, signal, grace)?;
        }
        return orphan::clean_up(layout, networks, &record.id).map(|()| true);
    }
    if matches!(record.state, State::Created | State::Exited(_) | State::Removing { .. } | State::Dead) {
        return Ok(false);
    }
    let before = Record::update(layout, id, |record| {
        let before = record.state.clone();
        record.life.stopped = true;
        // Its supervisor finds that it is not to be started again, whenever it looks.
        if let State::Restarting { exit, .. } = &before {
            record.state = State::Exited(exit.clone());
        }
        Ok::<_, EngineError>(before)
    });
    let supervisor = match before {
        Ok(State::Running { init, supervisor, .. }) => {
            // Over its socket the supervisor says that everything is taken down a little before it ends itself:
            // closing its netfilter socket makes it wait for the kernel.
            let connection = attach::connect(layout, id)?;
            terminate(layout, &record, init, signal, grace)?;
            if let Some(connection) = connection
                && attach::wait_for_exit(&connection, Some(CLEANUP_PATIENCE))?.is_some()
            {
                return Ok(true);
            }
            supervisor
        }
        Ok(State::Starting { supervisor, .. }) if signal != Signal::KILL => {
            // There is no container yet that could be asked.
            let deadline = Instant::now() + CLEANUP_PATIENCE;
            while is_starting(layout, id, supervisor)? {
                if Instant::now() >= deadline {
                    return end(layout, networks, id, Signal::KILL, grace);
                }
                signal::wait(supervisor, Some(GLANCE))?;
            }
            return end(layout, networks, id, signal, grace);
        }
        Ok(State::Starting { supervisor, .. }) => {
            signal::send(supervisor, Signal::KILL)?;
            supervisor
        }
        Ok(State::Restarting { supervisor, .. }) => {
            signal::send(supervisor, Signal::TERM)?;
            supervisor
        }
        Ok(State::Created | State::Exited(_) | State::Removing { .. } | State::Dead) => return Ok(false),
        // It has ended and was removed meanwhile.
        Err(EngineError::Record(RecordError::NotFound(_))) => return Ok(false),
        Err(error) => return Err(error),
    };
    orphan::wait_and_clean_up(layout, networks, &record.name, id, supervisor).map(|()| true)
}

fn is_starting(layout: &Layout, id: &ContainerId, by: Process) -> Result<bool, EngineError> {
    match Record::load(layout, id) {
        Ok(record) => Ok(matches!(record.status()?, State::Starting { supervisor, .. } if supervisor == by)),
        Err(RecordError::NotFound(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Asks a container's first process to end, and kills it when it does not. A paused one goes on, so that it
/// can end.
fn terminate(
    layout: &Layout,
    record: &Record,
    init: Process,
    signal: Signal,
    grace: Grace,
) -> Result<(), EngineError> {
    let (hierarchy, group) = (hierarchy()?, &record.group());
    // Told first: the supervisor tells of the end.
    events::kill(layout, record, signal);
    let asked = signal::send(init, signal);
    cgroup::thaw(hierarchy, group).map_err(RuntimeError::from)?;
    let ended = match asked {
        Ok(_) => signal::wait(init, grace.patience())?,
        // It cannot be asked.
        Err(error) if error.is_refusal() => false,
        Err(error) => return Err(error.into()),
    };
    if !ended {
        events::kill(layout, record, Signal::KILL);
        match signal::send(init, Signal::KILL) {
            Err(error) if !error.is_refusal() || !cgroup::kill_all(hierarchy, group) => {
                return Err(error.into());
            }
            _ => {}
        }
        signal::wait(init, None)?;
    }
    Ok(())
}
