//! What happens to a container between its start and its removal: stopped, killed, paused, awaited,
//! renamed.
//!
//! A command that ends a container marks its record first ([`Life::stopped`]), under the same lock under which its
//! supervisor decides whether to start it again: one of the two sees the other.
//!
//! [`Life::stopped`]: crate::container::life::restart::Life::stopped

use std::time::{Duration, Instant};

use super::containers::{Record, Snapshot};
use super::{Engine, EngineError, hold_up, privileges};
use crate::container::life::record::{RecordError, State};
use crate::container::life::signal;
use crate::container::life::{attach, index};
use crate::container::request::signal::Signal;
use crate::container::run::cgroup;
use crate::container::run::runtime::RuntimeError;
use crate::names::{ContainerId, ContainerName};
use crate::process::Process;
use crate::store::Layout;

/// How long a supervisor may take to clean up after its container has ended.
const CLEANUP_PATIENCE: Duration = Duration::from_secs(30);

/// How often a supervisor that is starting a container is looked at: until it has started it, it reports nothing.
const GLANCE: Duration = Duration::from_millis(10);

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

impl Engine {
    /// Ends a container: its stop signal, and `SIGKILL` if it takes too long. Returns when everything of it is
    /// taken down. One that does not run is left as it is.
    ///
    /// # Errors
    /// The container cannot be found or signalled.
    pub fn stop(&mut self, reference: &str, request: StopRequest) -> Result<(), EngineError> {
        privileges::for_containers()?;
        let record = self.find(reference)?.record;
        self.stop_as_asked(&record, request)
    }

    fn stop_as_asked(&mut self, record: &Record, request: StopRequest) -> Result<(), EngineError> {
        let config = &record.config;
        let grace = request.grace.unwrap_or(Grace::Seconds(config.stop_timeout));
        self.end(&record.id, request.signal.unwrap_or(config.stop_signal), grace)
    }

    /// Stops a container if it runs, and starts it. One that is to be removed at its end is kept for that.
    ///
    /// # Errors
    /// What [`Engine::stop`] and [`Engine::start`] fail with.
    pub fn restart(&mut self, reference: &str, request: StopRequest) -> Result<(), EngineError> {
        privileges::for_containers()?;
        let record = self.find(reference)?.record;
        let keep = |layout: &Layout, kept| {
            Record::update(layout, &record.id, |record| {
                record.life.kept = kept;
                Ok::<(), EngineError>(())
            })
        };
        if record.config.auto_remove {
            keep(&self.layout, true)?;
        }
        let stopped = self.stop_as_asked(&record, request);
        if stopped.is_err() && record.config.auto_remove {
            // It goes at its end after all. The first error is the one to report.
            keep(&self.layout, false).ok();
        }
        stopped?;
        self.start(record.id.as_str())
    }

    /// Ends a container's processes, and waits for the supervisor to take everything down, or does it where
    /// there is no supervisor any more.
    pub(super) fn end(&mut self, id: &ContainerId, signal: Signal, grace: Grace) -> Result<(), EngineError> {
        let record = Record::load(&self.layout, id)?;
        if record.is_orphaned()? {
            if let State::Running { init, .. } = &record.state {
                self.terminate(id, *init, signal, grace)?;
            }
            return self.clean_up_orphan(&record.id);
        }
        if matches!(record.state, State::Created | State::Exited(_) | State::Removing { .. } | State::Dead) {
            return Ok(());
        }
        let before = Record::update(&self.layout, id, |record| {
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
                let connection = attach::connect(&self.layout, id)?;
                self.terminate(id, init, signal, grace)?;
                if let Some(connection) = connection
                    && attach::wait_for_exit(&connection, Some(CLEANUP_PATIENCE))?.is_some()
                {
                    return Ok(());
                }
                supervisor
            }
            Ok(State::Starting { supervisor, .. }) if signal != Signal::KILL => {
                // There is no container yet that could be asked.
                let deadline = Instant::now() + CLEANUP_PATIENCE;
                while self.is_starting(id, supervisor)? {
                    if Instant::now() >= deadline {
                        return self.end(id, Signal::KILL, grace);
                    }
                    signal::wait(supervisor, Some(GLANCE))?;
                }
                return self.end(id, signal, grace);
            }
            Ok(State::Starting { supervisor, .. }) => {
                signal::send(supervisor, Signal::KILL)?;
                supervisor
            }
            Ok(State::Restarting { supervisor, .. }) => {
                signal::send(supervisor, Signal::TERM)?;
                supervisor
            }
            Ok(State::Created | State::Exited(_) | State::Removing { .. } | State::Dead) => return Ok(()),
            // It has ended and was removed meanwhile.
            Err(EngineError::Record(RecordError::NotFound(_))) => return Ok(()),
            Err(error) => return Err(error),
        };
        self.outlive(&record.name, id, supervisor)
    }

    fn is_starting(&self, id: &ContainerId, by: Process) -> Result<bool, EngineError> {
        match Record::load(&self.layout, id) {
            Ok(record) => {
                Ok(matches!(record.status()?, State::Starting { supervisor, .. } if supervisor == by))
            }
            Err(RecordError::NotFound(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Asks a container's first process to end, and kills it when it does not. A paused one goes on, so that it
    /// can end.
    fn terminate(
        &self,
        id: &ContainerId,
        init: Process,
        signal: Signal,
        grace: Grace,
    ) -> Result<(), EngineError> {
        let hierarchy = super::hierarchy()?;
        let asked = signal::send(init, signal);
        cgroup::thaw(hierarchy, id).map_err(RuntimeError::from)?;
        let ended = match asked {
            Ok(_) => signal::wait(init, grace.patience())?,
            // It cannot be asked.
            Err(error) if error.is_refusal() => false,
            Err(error) => return Err(error.into()),
        };
        if !ended {
            match signal::send(init, Signal::KILL) {
                Err(error) if !error.is_refusal() || !cgroup::kill_all(hierarchy, id) => {
                    return Err(error.into());
                }
                _ => {}
            }
            signal::wait(init, None)?;
        }
        Ok(())
    }

    /// Waits until a supervisor that is about to end has ended, and takes down what it did not: it may have been
    /// killed, and then the record only shows it once the process is gone.
    pub(super) fn outlive(
        &mut self,
        name: &ContainerName,
        id: &ContainerId,
        supervisor: Process,
    ) -> Result<(), EngineError> {
        if !signal::wait(supervisor, Some(CLEANUP_PATIENCE))? {
            return Err(EngineError::SupervisorStuck(name.clone()));
        }
        match Record::load(&self.layout, id) {
            Ok(record) if record.is_orphaned()? => self.clean_up_orphan(&record.id),
            // It has removed everything itself.
            Ok(_) | Err(RecordError::NotFound(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends a container's first process a signal, `SIGKILL` without. With `SIGKILL` it has ended and was taken
    /// down when the call returns.
    ///
    /// # Errors
    /// The container does not run, or cannot be signalled.
    pub fn kill(&mut self, reference: &str, signal: Option<Signal>) -> Result<(), EngineError> {
        privileges::for_containers()?;
        let signal = signal.unwrap_or(Signal::KILL);
        let Snapshot { record, state } = self.find(reference)?;
        let ends = signal == Signal::KILL || signal == record.config.stop_signal;
        match state {
            State::Running { .. } | State::Restarting { .. } if signal == Signal::KILL => {
                self.end(&record.id, signal, Grace::Forever)
            }
            // There is no process to be signalled; but it is not to come back either.
            State::Restarting { .. } if ends => self.end(&record.id, signal, Grace::Forever),
            State::Restarting { .. } => Ok(()),
            State::Running { init, .. } => {
                if ends {
                    Record::update(&self.layout, &record.id, |record| {
                        record.life.stopped = true;
                        Ok::<(), EngineError>(())
                    })?;
                }
                if !signal::send(init, signal)? {
                    return Err(EngineError::NotRunning { action: "signal", name: record.name });
                }
                Ok(cgroup::thaw(super::hierarchy()?, &record.id).map_err(RuntimeError::from)?)
            }
            _ => Err(EngineError::NotRunning { action: "kill", name: record.name }),
        }
    }

    /// Freezes all processes of a container.
    ///
    /// # Errors
    /// The container does not run or is paused already, or the host has no freezer.
    pub fn pause(&mut self, reference: &str) -> Result<(), EngineError> {
        privileges::for_containers()?;
        let Snapshot { record, state } = self.find(reference)?;
        match state {
            State::Running { paused: false, .. } => {
                hold_up::forget(&self.layout, &record.id);
                Ok(cgroup::freeze(super::hierarchy()?, &record.id).map_err(RuntimeError::from)?)
            }
            State::Running { .. } | State::Restarting { .. } => {
                Err(EngineError::Is { action: "pause", name: record.name, state: state.as_str() })
            }
            _ => Err(EngineError::NotRunning { action: "pause", name: record.name }),
        }
    }

    /// Lets the processes of a paused container go on.
    ///
    /// # Errors
    /// The container is not paused.
    pub fn unpause(&mut self, reference: &str) -> Result<(), EngineError> {
        privileges::for_containers()?;
        let Snapshot { record, state } = self.find(reference)?;
        if !state.is_running() {
            return Err(EngineError::NotRunning { action: "unpause", name: record.name });
        }
        // Not asked for first: where freezing was cut off half-way, it is not frozen and yet does not run.
        let paused = cgroup::is_freezing(super::hierarchy()?, &record.id);
        if !paused {
            return Err(EngineError::Is { action: "unpause", name: record.name, state: "not paused" });
        }
        hold_up::forget(&self.layout, &record.id);
        Ok(cgroup::thaw(super::hierarchy()?, &record.id).map_err(RuntimeError::from)?)
    }

    /// Waits until a container has ended, and returns its exit status; that of its last run if it does not run.
    ///
    /// # Errors
    /// The container cannot be found, or was removed by another command before its status was known.
    pub fn wait(&mut self, reference: &str) -> Result<i32, EngineError> {
        let id = self.find(reference)?.record.id;
        loop {
            let (record, state) = Record::observe(&self.layout, &id)?;
            match state {
                State::Exited(exit) => {
                    if record.is_orphaned()? {
                        self.clean_up_orphan(&record.id)?;
                    }
                    return Ok(exit.code);
                }
                State::Created => return Ok(0),
                State::Running { supervisor, .. } => {
                    let connection = attach::connect(&self.layout, &id)?;
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

    /// Gives a container another name.
    ///
    /// # Errors
    /// The name is taken, or the container's own.
    pub fn rename(&mut self, reference: &str, name: &ContainerName) -> Result<(), EngineError> {
        privileges::for_containers()?;
        let id = self.find(reference)?.record.id;
        let record = index::rename(&self.layout, &id, name, |_: &mut Record| {})?;
        if !record.status()?.is_running() {
            return Ok(());
        }
        // If this is killed from here on, only comments of elements, which are for people, are out of date.
        let endpoints = self.networks.endpoints_of_container(&id, &record.network.earlier())?;
        for endpoint in &endpoints.made {
            self.networks.rename(endpoint, name.as_str())?;
        }
        Ok(())
    }
}
