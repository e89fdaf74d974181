//! Containers are stopped and started again.

use super::containers::{self, Record};
use super::launch::Supervisors;
use super::{EngineError, StopRequest, privileges, start, stop};
use crate::network::Networks;
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
    let keep = |layout: &Layout, kept| {
        Record::update(layout, &record.id, |record| {
            record.life.kept = kept;
            Ok::<(), EngineError>(())
        })
    };
    if record.config.auto_remove {
        keep(layout, true)?;
    }
    let stopped = stop::stop_as_asked(layout, networks, &record, request);
    if stopped.is_err() && record.config.auto_remove {
        // It goes at its end after all. The first error is the one to report.
        keep(layout, false).ok();
    }
    stopped?;
    start::start(layout, networks, supervisors, record.id.as_str())
}
