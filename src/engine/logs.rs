//! What a container wrote.

use chrono::{DateTime, Utc};

use super::EngineError;
use super::containers::{self, Record, Snapshot};
use crate::container::life::log::{self, Entry, Journal, Reader, Sink, Writer};
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

/// Where a container's output is written down, if it is. A start again does not fail because the journal is away.
pub(super) fn open(layout: &Layout, record: &Record, again: bool) -> Result<Option<Sink>, EngineError> {
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

pub(super) fn logs(
    layout: &Layout,
    reference: &str,
    request: LogRequest,
    mut show: impl FnMut(Entry) -> bool,
) -> Result<(), EngineError> {
    let record = containers::find(layout, reference)?.record;
    let options = &record.config.settings.log;
    if options.driver != Driver::JsonFile {
        return Err(EngineError::NoLog { driver: options.driver, name: record.name, id: record.id });
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
