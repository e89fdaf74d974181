//! Taking a container's run down: whoever does it, the supervisor at the end, or a command that finds a
//! supervisor dead. Every step is tried, "already gone" is success, and the first error is reported.

use super::containers::Record;
use super::{Engine, EngineError};
use crate::container::record::{Exit, State};
use crate::container::{rootfs, runtime};
use crate::names::ContainerId;
use crate::netns;
use crate::network::Endpoint;
use crate::store::Layout;

/// The exit status of a container whose end nobody saw, as if it had been killed.
const LOST: i32 = 137;

impl Engine {
    /// Ends what is left of a run: ports, interface, address, processes, control groups, namespace, mount.
    pub(super) fn take_down(&mut self, id: &ContainerId, endpoints: &[Endpoint]) -> Result<(), EngineError> {
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
        for endpoint in endpoints {
            note(self.networks.disconnect(endpoint).map_err(EngineError::from));
        }
        note(runtime::delete(&self.layout, id).map_err(EngineError::from));
        note(netns::unpin(&Layout::netns(id)).map_err(EngineError::from));
        note(rootfs::unmount(&self.layout, id).map_err(EngineError::from));
        first
    }

    /// Takes down a run whose supervisor is dead and records that it is over.
    pub(super) fn clean_up_orphan(&mut self, record: &Record) -> Result<(), EngineError> {
        let mut endpoints = record.network.endpoints.clone();
        if endpoints.is_empty() {
            // Killed before the record told: then the network's own records do.
            if let Some(network) = record.network.mode.network() {
                endpoints = self.networks.endpoints_of(&network, &record.id)?;
            }
        }
        let taken_down = self.take_down(&record.id, &endpoints);
        Record::update(&self.layout, &record.id, |record| {
            record.network.endpoints.clear();
            record.state = match &record.state {
                State::Exited(exit) => State::Exited(exit.clone()),
                State::Running { started, .. } => State::Exited(lost(Some(*started))),
                State::Created | State::Starting { .. } => State::Exited(lost(None)),
            };
            Ok::<(), EngineError>(())
        })?;
        taken_down
    }
}

fn lost(started: Option<chrono::DateTime<chrono::Utc>>) -> Exit {
    Exit { code: LOST, started, finished: None, error: Some("its supervisor was killed".to_owned()) }
}
