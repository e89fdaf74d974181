//! Containers are sent signals.

use super::containers::{self, Record, Snapshot};
use super::host::hierarchy;
use super::{EngineError, Grace, events, privileges, stop};
use crate::container::life::record::State;
use crate::container::life::signal;
use crate::container::request::signal::Signal;
use crate::container::run::cgroup;
use crate::container::run::runtime::RuntimeError;
use crate::network::Networks;
use crate::store::Layout;

pub(super) fn kill(
    layout: &Layout,
    networks: &mut Networks,
    reference: &str,
    signal: Option<Signal>,
) -> Result<(), EngineError> {
    privileges::for_containers()?;
    let signal = signal.unwrap_or(Signal::KILL);
    let Snapshot { record, state, .. } = containers::find(layout, reference)?;
    let ends = signal == Signal::KILL || signal == record.config.stop_signal;
    match state {
        State::Running { .. } | State::Restarting { .. } if signal == Signal::KILL => {
            stop::end(layout, networks, &record.id, signal, Grace::Forever).map(drop)
        }
        // There is no process to be signalled; but it is not to come back either.
        State::Restarting { .. } if ends => {
            stop::end(layout, networks, &record.id, signal, Grace::Forever).map(drop)
        }
        State::Restarting { .. } => Ok(()),
        State::Running { init, .. } => {
            if ends {
                Record::update(layout, &record.id, |record| {
                    record.life.stopped = true;
                    Ok::<(), EngineError>(())
                })?;
            }
            events::kill(layout, &record, signal);
            if !signal::send(init, signal)? {
                return Err(EngineError::NotRunning { action: "signal", name: record.name });
            }
            Ok(cgroup::thaw(hierarchy()?, &record.group()).map_err(RuntimeError::from)?)
        }
        _ => Err(EngineError::NotRunning { action: "kill", name: record.name }),
    }
}
