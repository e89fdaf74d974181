//! What a container wrote.

use chrono::{DateTime, Utc};

use super::EngineError;
use super::containers::{self, Snapshot};
use crate::container::life::log::{Entry, Reader};
use crate::container::request::log::Driver;
use crate::process::Process;
use crate::store::Layout;

/// Which part of a log is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRequest {
    /// Whether to go on until the container ends, and is not to be started again.
    pub follow: bool,
    /// How many lines before the end to start at; `None` for the beginning.
    pub tail: Option<u64>,
    /// The earliest entry that is wanted.
    pub since: Option<DateTime<Utc>>,
    /// The latest one.
    pub until: Option<DateTime<Utc>>,
}

pub(super) fn logs(
    layout: &Layout,
    reference: &str,
    request: LogRequest,
    mut show: impl FnMut(Entry) -> bool,
) -> Result<(), EngineError> {
    let record = containers::find(layout, reference)?.record;
    let options = &record.config.settings.log;
    if options.driver == Driver::None {
        return Err(EngineError::NoLog(record.name));
    }
    let mut reader = Reader::open(&layout.container_log(&record.id), options, request.tail)?;
    if !request.follow {
        reader.end_where_it_was();
    }
    let id = record.id;
    // A container that was removed meanwhile writes nothing any more; one that cannot be read, who knows.
    let writes = || {
        request.follow
            && request.until.is_none_or(|until| Utc::now() <= until)
            && containers::snapshot(layout, &id).is_ok_and(|Snapshot { record, state, .. }| {
                !state.can_start() || record.life.restarter.is_some_and(Process::is_alive)
            })
    };
    let show = |entry: Entry| match time(&entry) {
        Some(time) if request.since.is_some_and(|since| time < since) => true,
        // Entries are in the order of their times: nothing that is wanted follows.
        Some(time) if request.until.is_some_and(|until| time > until) => false,
        _ => show(entry),
    };
    Ok(reader.follow(writes, show)?)
}

/// When an entry was written, if it says so in a way that can be understood.
fn time(entry: &Entry) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(&entry.time).ok().map(|time| time.to_utc())
}
