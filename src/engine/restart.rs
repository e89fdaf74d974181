//! Containers are stopped and started again.

use super::containers::{self, Record};
use super::launch::Supervisors;
use super::{EngineError, StopRequest, events, privileges, start, stop};
use crate::network::Networks;
use crate::process::Process;
use crate::store::Layout;

pub(super) fn restart(
    layout: &Layout,
    networks: &mut Networks,
    supervisors: &Supervisors,
    reference: &str,
    request: StopRequest,
) -> Result<(), EngineError> {
    privileges::for_containers()?;
    let record = containers::find(layout, reference)?.record;
    let me = Process::current().map_err(|source| EngineError::Io { action: "read /proc", source })?;
    let mark = |comes_back: bool| {
        Record::update(layout, &record.id, |record| {
            record.life.kept = comes_back && record.config.auto_remove;
            record.life.restarter = comes_back.then_some(me);
            Ok::<(), EngineError>(())
        })
    };
    mark(true)?;
    let stopped = stop::stop_as_asked(layout, networks, &record, request);
    if stopped.is_err() {
        // It goes at its end after all. The first error is the one to report.
        mark(false).ok();
    }
    stopped?;
    start::start(layout, networks, supervisors, record.id.as_str())?;
    events::container(layout, &record, "restart", &[]);
    Ok(())
}
