//! What a container wrote.

use std::ffi::OsString;

use chrono::{DateTime, Utc};

use super::EngineError;
use super::containers::{self, Record, Snapshot};
use super::launch::{self, Job};
use crate::container::life::log::{self, Entry, Journal, Reader, Sink, Writer};
use crate::container::request::log::Driver;
use crate::names::ContainerId;
use crate::process::Process;
use crate::store::Layout;

/// How far the compression of a log stands back behind other processes, of 19.
const NICE: i32 = 10;

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

/// Where a container's output is written down, if it is. A start again does not fail because the journal is away. `words`
/// are those that our own binary is called by.
pub(super) fn open(
    layout: &Layout,
    record: &Record,
    again: bool,
    words: &[OsString],
) -> Result<Option<Sink>, EngineError> {
    let (id, name, config) = (&record.id, &record.name, &record.config);
    let options = &config.settings.log;
    let mut beside = log::details(options, config);
    Ok(match options.driver {
        Driver::None => None,
        Driver::JsonFile => {
            if options.tag.is_some() {
                beside.insert("tag".to_owned(), log::tag(options, "", id, name, config));
            }
            let writer = Writer::open(&layout.container_log(id), options)?.beside(&beside);
            Some(Sink::Files(Box::new(writer)))
        }
        Driver::Local => {
            let writer = Writer::open(&layout.container_local_log(id), options)?;
            let (id, words) = (id.clone(), words.to_vec());
            let begin = Box::new(move || launch::child(&words, Job::CompressLog(id.clone())));
            let writer = if options.compress { writer.compressing(begin) } else { writer };
            Some(Sink::Files(Box::new(writer)))
        }
        Driver::Journald => {
            let tag = log::tag(options, "{{.ID}}", id, name, config);
            let names: Vec<String> = beside.keys().map(|name| log::field_name(name)).collect();
            let own = [
                ("CONTAINER_ID", id.short()),
                ("CONTAINER_ID_FULL", id.as_str()),
                ("CONTAINER_NAME", name.as_str()),
                ("CONTAINER_TAG", &tag),
                ("SYSLOG_IDENTIFIER", &tag),
                ("IMAGE_NAME", &config.image),
            ];
            let users = names.iter().map(String::as_str).zip(beside.values().map(String::as_str));
            let users = users.filter(|(name, _)| !name.is_empty());
            let fields: Vec<_> = own.into_iter().chain(users).collect();
            Some(Sink::Journal(Box::new(Journal::open(&fields, !again)?)))
        }
    })
}

/// Compresses what is full of a container's log. The result is for its supervisor, this process's parent.
pub(super) fn compress(layout: &Layout, id: &ContainerId) -> Result<(), EngineError> {
    launch::end_with_supervisor()?;
    // The container's own work goes first; that it may not be nicer is no reason to leave it.
    rustix::process::nice(NICE).ok();
    log::compress(&layout.container_local_log(id))
        .map_err(|source| EngineError::Io { action: "compress the log", source })
}

pub(super) fn logs(
    layout: &Layout,
    reference: &str,
    request: LogRequest,
    mut show: impl FnMut(Entry) -> bool,
) -> Result<(), EngineError> {
    let record = containers::find(layout, reference)?.record;
    let options = &record.config.settings.log;
    let path = match options.driver {
        Driver::JsonFile => layout.container_log(&record.id),
        Driver::Local => layout.container_local_log(&record.id),
        driver => return Err(EngineError::NoLog { driver, name: record.name, id: record.id }),
    };
    let mut reader = Reader::open(&path, options, request.tail)?;
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
