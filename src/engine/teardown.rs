//! Taking a container's run down, and removing the container. The supervisor does it at the end, or a command that
//! finds the supervisor dead. Every step is tried, "already gone" is success, and the first error is reported.

use std::net::IpAddr;

use chrono::{DateTime, Utc};

use super::containers::{Record, Snapshot};
use super::lifecycle::Grace;
use super::{Engine, EngineError, privileges};
use crate::container::life::index;
use crate::container::life::record::{Exit, LOST, RecordError, State};
use crate::container::request::signal::Signal;
use crate::container::run::runtime;
use crate::container::tree::rootfs;
use crate::names::{ContainerId, NetworkName};
use crate::netns;
use crate::store::Layout;

impl Engine {
    /// Ends what is left of a run: ports, interfaces, addresses, processes, control groups, namespace. `earlier`
    /// are the endpoints in the record of a run that an earlier mydocker began.
    pub(super) fn take_down(
        &mut self,
        id: &ContainerId,
        earlier: &[(NetworkName, IpAddr)],
    ) -> Result<(), EngineError> {
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
        note(self.networks.disconnect_container(id, earlier).map_err(EngineError::from));
        note(runtime::delete(&self.layout, id).map_err(EngineError::from));
        note(netns::unpin(&Layout::netns(id)).map_err(EngineError::from));
        first
    }

    /// Takes down a run whose supervisor is dead and records that it is over. The container's lock is held: a
    /// command that comes second finds it done, or the container running again, and leaves it alone.
    pub(super) fn clean_up_orphan(&mut self, id: &ContainerId) -> Result<(), EngineError> {
        let layout = self.layout.clone();
        let mut taken_down = Ok(());
        let cleaned_up = Record::update(&layout, id, |record: &mut Record| {
            if !record.is_orphaned()? {
                return Ok::<_, EngineError>(None);
            }
            taken_down = self.take_down(id, &record.network.earlier());
            record.network.forget_earlier();
            record.state = match &record.state {
                State::Exited(exit) | State::Restarting { exit, .. } => State::Exited(exit.clone()),
                State::Running { started, .. } => State::Exited(lost(record.status()?, Some(*started))),
                State::Created | State::Starting { .. } => State::Exited(lost(record.status()?, None)),
                removed @ (State::Removing { .. } | State::Dead) => removed.clone(),
            };
            Ok(Some(record.clone()))
        });
        match cleaned_up {
            Ok(Some(record)) if record.is_to_go() => self.forget(id, true)?,
            Ok(_) | Err(EngineError::Record(RecordError::NotFound(_))) => {}
            Err(error) => return Err(error),
        }
        taken_down
    }

    /// Removes a container with everything it wrote. One that runs is only removed by `force`, which kills it.
    /// With `volumes`, the volumes that it did not name go as well.
    ///
    /// # Errors
    /// The container cannot be found, is being removed, or runs and `force` is not given.
    pub fn remove_container(
        &mut self,
        reference: &str,
        force: bool,
        volumes: bool,
    ) -> Result<(), EngineError> {
        privileges::for_containers()?;
        let Snapshot { record, state } = self.find(reference)?;
        if matches!(state, State::Removing { .. }) {
            return Err(EngineError::Is { action: "remove", name: record.name, state: "being removed" });
        }
        if !state.can_remove() {
            if !force {
                let state = if state.is_up() { state.as_str() } else { "being started" };
                return Err(EngineError::StillUp { name: record.name, state });
            }
            self.end(&record.id, Signal::KILL, Grace::Forever)?;
        } else if record.is_orphaned()? {
            self.clean_up_orphan(&record.id)?;
        }
        self.forget(&record.id, volumes)
    }

    /// Removes what is left of a container that does not run: its layer, its log, its record, its name, and
    /// with `volumes`, or if it was to go by itself, the volumes that it did not name. One that is gone already
    /// is no error.
    pub(super) fn forget(&self, id: &ContainerId, volumes: bool) -> Result<(), EngineError> {
        // From here on it cannot be started, and if this is killed, the record shows that it was being removed.
        let marked = Record::update(&self.layout, id, |record| {
            let state = record.status()?;
            if !state.can_remove() {
                let name = record.name.clone();
                let state = match state {
                    // Another command has begun since this one looked.
                    State::Removing { .. } => "being removed",
                    state => state.as_str(),
                };
                return Err(EngineError::Is { action: "remove", name, state });
            }
            record.state = State::removing()?;
            Ok(record.clone())
        });
        let record = match marked {
            Err(EngineError::Record(RecordError::NotFound(_))) => return Ok(()),
            marked => marked?,
        };
        rootfs::remove(&self.layout, id)?;
        index::remove(&self.layout, id, &record.name)?;
        if volumes || record.config.auto_remove { self.remove_anonymous_volumes(&record) } else { Ok(()) }
    }
}

/// The end of a container that nobody saw: `observed` tells why, and it counts from now, when it is found.
fn lost(observed: State, started: Option<DateTime<Utc>>) -> Exit {
    let finished = Some(Utc::now());
    match observed {
        State::Exited(exit) => Exit { finished, ..exit },
        _ => {
            let error = Some("its supervisor was killed".to_owned());
            Exit { code: LOST, started, finished, error, out_of_memory: false }
        }
    }
}
