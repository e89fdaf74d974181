//! Containers are started.

use std::time::{Duration, Instant};

use super::attach::{self, Attachment, Left};
use super::containers::{self, GLANCE, Record, Snapshot};
use super::launch::{Job, Supervisors};
use super::{EngineError, events, forget, orphan, privileges};
use crate::container::life;
use crate::container::life::record::{RecordError, State};
use crate::container::life::signal;
use crate::names::ContainerId;
use crate::network::Networks;
use crate::store::Layout;

/// How long a supervisor may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn run_detached(
    layout: &Layout,
    networks: &mut Networks,
    supervisors: &Supervisors,
    record: &Record,
) -> Result<(), EngineError> {
    launch(supervisors, record).inspect_err(|_| forget_failed(layout, networks, record))
}

pub(super) fn run_attached(
    layout: &Layout,
    networks: &mut Networks,
    supervisors: &Supervisors,
    record: &Record,
    attachment: &Attachment,
) -> Result<Left, EngineError> {
    let finished = launch_attached(layout, supervisors, record, attachment);
    finished.inspect_err(|error| {
        match error {
            EngineError::Start(_) | EngineError::NoTerminal => forget_failed(layout, networks, record),
            // It may have run for a long time; what it wrote is kept unless --rm was given.
            EngineError::ConnectionLost if record.config.auto_remove => {
                forget_failed(layout, networks, record)
            }
            _ => {}
        }
    })
}

pub(super) fn start(
    layout: &Layout,
    networks: &mut Networks,
    supervisors: &Supervisors,
    reference: &str,
) -> Result<(), EngineError> {
    privileges::for_containers()?;
    let Some(record) = find_to_start(layout, reference)? else { return Ok(()) };
    let started = launch(supervisors, &record);
    match started {
        // Another command was faster.
        Err(EngineError::Start(_)) if containers::find(layout, record.id.as_str())?.state.is_running() => {
            Ok(())
        }
        Err(EngineError::SupervisorLost(_)) => clean_up_start(layout, networks, &record).and(started),
        started => started,
    }
}

pub(super) fn start_attached(
    layout: &Layout,
    supervisors: &Supervisors,
    reference: &str,
    attachment: &Attachment,
) -> Result<Left, EngineError> {
    privileges::for_containers()?;
    match find_to_start(layout, reference)? {
        None => attach::attach(layout, reference, attachment),
        Some(record) => launch_attached(layout, supervisors, &record, attachment),
    }
}

/// The container if it is to be started; `None` if it runs already.
fn find_to_start(layout: &Layout, reference: &str) -> Result<Option<Record>, EngineError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let Snapshot { record, state, .. } = containers::find(layout, reference)?;
        match state {
            State::Created | State::Exited(_) => return Ok(Some(record)),
            State::Running { paused: true, .. } | State::Removing { .. } | State::Dead => {
                let state = state.as_str();
                return Err(EngineError::Is { action: "start", name: record.name, state });
            }
            State::Restarting { .. } => return Ok(None),
            State::Running { supervisor, .. } => {
                // What was killed a moment ago looks alive; but it does not answer any more.
                if is_served(layout, &record.id)? {
                    return Ok(None);
                }
                if Instant::now() >= deadline {
                    return Err(EngineError::SupervisorStuck(record.name));
                }
                signal::wait(supervisor, Some(GLANCE))?;
            }
            State::Starting { supervisor, .. } => {
                signal::wait(supervisor, Some(GLANCE))?;
            }
        }
    }
}

/// Whether a container's supervisor answers, and its command runs.
fn is_served(layout: &Layout, id: &ContainerId) -> Result<bool, EngineError> {
    let Some(stream) = life::attach::connect(layout, id)? else { return Ok(false) };
    Ok(life::attach::answers(&stream, PATIENCE)?)
}

fn launch(supervisors: &Supervisors, record: &Record) -> Result<(), EngineError> {
    let lost = |_| EngineError::SupervisorLost(record.name.clone());
    supervisors.detached(Job::Run(record.id.clone()))?.map_err(lost)
}

fn launch_attached(
    layout: &Layout,
    supervisors: &Supervisors,
    record: &Record,
    attachment: &Attachment,
) -> Result<Left, EngineError> {
    let (tty, interactive) = (record.config.tty, record.config.open_stdin);
    events::container(layout, record, "attach", &[]);
    let on_resize = |size| events::resize(layout, record, size);
    let job = Job::Run(record.id.clone());
    let left = supervisors.attached(job, tty, interactive, attachment, &on_resize)?;
    attach::tell_detached(layout, record, left);
    Ok(left)
}

/// Takes down what a supervisor that was killed while it started a container has left.
fn clean_up_start(layout: &Layout, networks: &mut Networks, record: &Record) -> Result<(), EngineError> {
    let record = Record::load(layout, &record.id)?;
    // Its end of the connection is closed before a killed process is gone.
    if let State::Starting { supervisor, .. } | State::Running { supervisor, .. } = record.state {
        orphan::wait_and_clean_up(layout, networks, &record.name, &record.id, supervisor)?;
    }
    Ok(())
}

/// Removes what is registered of a container that could not be started, and what a supervisor that was
/// killed has left of the attempt.
fn forget_failed(layout: &Layout, networks: &mut Networks, record: &Record) {
    let forgotten = clean_up_start(layout, networks, record)
        .and_then(|()| forget::forget(layout, networks, &record.id, true));
    match forgotten {
        // It was to be removed anyway.
        Ok(()) | Err(EngineError::Record(RecordError::NotFound(_))) => {}
        // The first error is the one to report.
        Err(error) => {
            tracing::warn!(container = %record.name, %error, "cannot remove what is left of the failed start");
        }
    }
}
