//! What the engine tells of what it does, in Docker's words and order (see `tests/it/events.rs`).
//!
//! The end of a run is told by one write once all is taken down and written down, before any client is informed: who hears of
//! it finds it so.

use std::collections::BTreeMap;
use std::time::Instant;

use chrono::{DateTime, Utc};

use super::EngineError;
use super::containers::Record;
use crate::container::life::record::State;
use crate::container::life::supervisor::Ended;
use crate::container::request::signal::Signal;
use crate::events::{self, Event, Kind, Reader};
use crate::image::Removal;
use crate::names::{ContainerId, NetworkName, VolumeName};
use crate::network::{Network, Networks};
use crate::store::Layout;
use crate::sys::WindowSize;
use crate::volume::DRIVER;

fn of_container(record: &Record, action: &str, more: &[(&str, &str)]) -> Event {
    let own = [("image", record.config.image.as_str()), ("name", record.name.as_str())];
    let attributes = events::attributes(&[&own[..], more].concat(), &record.config.labels);
    Event::new(Kind::Container, action, record.id.as_str(), attributes)
}

/// Something has happened to a container.
pub(super) fn container(layout: &Layout, record: &Record, action: &str, more: &[(&str, &str)]) {
    events::tell(layout, &[of_container(record, action, more)]);
}

/// A container is about to get a signal of a command's.
pub(super) fn kill(layout: &Layout, record: &Record, signal: Signal) {
    container(layout, record, "kill", &[("signal", &signal.number().to_string())]);
}

/// What tells of the signals that a supervisor sends by itself. The record is read only then: it is no part of its memory.
pub(super) fn kills(layout: &Layout, id: &ContainerId) -> Box<dyn Fn(Signal)> {
    let (layout, id) = (layout.clone(), id.clone());
    Box::new(move |signal| {
        if let Ok(record) = Record::load(&layout, &id) {
            kill(&layout, &record, signal);
        }
    })
}

/// The terminal of a container has got this size from a client's.
pub(super) fn resize(layout: &Layout, record: &Record, size: WindowSize) {
    let (height, width) = (size.rows.to_string(), size.columns.to_string());
    container(layout, record, "resize", &[("height", &height), ("width", &width)]);
}

/// What nobody uses of this kind was removed; so many bytes are free by that.
pub(super) fn pruned(layout: &Layout, kind: Kind, bytes: u64) {
    let attributes = events::attributes(&[("reclaimed", &bytes.to_string())], &BTreeMap::new());
    events::tell(layout, &[Event::new(kind, "prune", "", attributes)]);
}

fn of_connection(networks: &Networks, name: &NetworkName, action: &str, id: &ContainerId) -> Event {
    let network = networks.get(name.as_str()).ok();
    let known = network.as_ref().map_or(name.as_str(), |network| network.id.as_str());
    let driver = network.as_ref().map_or("bridge", |network| network.driver.as_str());
    let own = [("container", id.as_str()), ("name", name.as_str()), ("type", driver)];
    Event::new(Kind::Network, action, known, events::attributes(&own, &BTreeMap::new()))
}

/// A running container was connected to a network, or disconnected from it.
pub(super) fn connection(
    layout: &Layout,
    networks: &Networks,
    name: &NetworkName,
    action: &str,
    id: &ContainerId,
) {
    events::tell(layout, &[of_connection(networks, name, action, id)]);
}

/// A network was created or removed.
pub(super) fn network(layout: &Layout, network: &Network, action: &str) {
    let own = [("name", network.name.as_str()), ("type", network.driver.as_str())];
    let attributes = events::attributes(&own, &BTreeMap::new());
    events::tell(layout, &[Event::new(Kind::Network, action, network.id.as_str(), attributes)]);
}

/// A volume was made or removed.
pub(super) fn volume(layout: &Layout, name: &VolumeName, action: &str) {
    let attributes = events::attributes(&[("driver", DRIVER)], &BTreeMap::new());
    events::tell(layout, &[Event::new(Kind::Volume, action, name.as_str(), attributes)]);
}

/// Something has happened to an image.
pub(super) fn image(layout: &Layout, action: &str, id: &str, name: &str) {
    let attributes = events::attributes(&[("name", name)], &BTreeMap::new());
    events::tell(layout, &[Event::new(Kind::Image, action, id, attributes)]);
}

/// Names and images were removed.
pub(super) fn removals(layout: &Layout, removals: &[Removal]) {
    for removal in removals {
        match removal {
            Removal::Untagged(name, id) => image(layout, "untag", id.as_str(), &name.to_string()),
            // As with Docker, of layers nothing is told.
            Removal::Unpinned(_) | Removal::DeletedLayer(_) => {}
            Removal::Deleted(digest) => image(layout, "delete", digest.as_str(), digest.as_str()),
        }
    }
}

fn of_mounts<'a>(record: &'a Record, action: &'a str) -> impl Iterator<Item = Event> + 'a {
    record.config.settings.mounts.iter().filter_map(move |mount| {
        let name = mount.volume()?;
        let destination = mount.destination.as_path().to_string_lossy();
        let writable = if mount.read_only { "false" } else { "true" };
        let mut own = vec![("container", record.id.as_str()), ("driver", DRIVER)];
        if action == "mount" {
            own.extend([("destination", &*destination), ("propagation", ""), ("read/write", writable)]);
        }
        Some(Event::new(Kind::Volume, action, name.as_str(), events::attributes(&own, &BTreeMap::new())))
    })
}

/// A container's command runs.
pub(super) fn started(layout: &Layout, networks: &Networks, record: &Record) {
    let connected = record.network.networks.iter();
    let connected = connected.map(|it| of_connection(networks, &it.network, "connect", &record.id));
    let all = connected.chain(of_mounts(record, "mount")).chain([of_container(record, "start", &[])]);
    events::tell(layout, &all.collect::<Vec<_>>());
}

/// A run is over, and was taken down; the record says so.
pub(super) fn ended(layout: &Layout, networks: &Networks, record: &Record) {
    let (State::Exited(exit) | State::Restarting { exit, .. }) = &record.state else { return };
    let ran =
        exit.finished.zip(exit.started).map_or(0, |(finished, started)| (finished - started).num_seconds());
    let (code, seconds) = (exit.code.to_string(), ran.to_string());
    let died = of_container(record, "die", &[("execDuration", &seconds), ("exitCode", &code)]);
    let oom = exit.out_of_memory.then(|| of_container(record, "oom", &[]));
    let left = record.network.networks.iter();
    let left = left.map(|it| of_connection(networks, &it.network, "disconnect", &record.id));
    let all = oom.into_iter().chain([died]).chain(left).chain(of_mounts(record, "unmount"));
    events::tell(layout, &all.collect::<Vec<_>>());
}

/// How much of a command's line is told: the files of events have room for many.
const LINE_MAX: usize = 1024;

/// One more command in a container, for its events.
pub(super) struct Exec {
    record: Record,
    id: String,
    line: String,
}

impl Exec {
    pub(super) fn new(record: &Record, id: &str, words: &[String]) -> Self {
        let id = id.to_owned();
        let mut line = words.join(" ");
        let end = (0..=LINE_MAX).rev().find(|end| line.is_char_boundary(*end)).unwrap_or(0);
        line.truncate(end);
        Self { record: record.clone(), id, line }
    }

    /// It runs.
    pub(super) fn started(&self, layout: &Layout) {
        let event = |action: &str| {
            of_container(&self.record, &format!("{action}: {}", self.line), &[("execID", &self.id)])
        };
        events::tell(layout, &[event("exec_create"), event("exec_start")]);
    }

    /// The caller has left it, and it runs on.
    pub(super) fn detached(layout: &Layout, record: &Record, id: &str) {
        container(layout, record, "exec_detach", &[("execID", id)]);
    }

    /// It has ended.
    pub(super) fn ended(&self, layout: &Layout, ended: Ended) {
        let code = ended.code.to_string();
        container(layout, &self.record, "exec_die", &[("execID", &self.id), ("exitCode", &code)]);
    }
}

/// Hands out events until `show` returns false: those since a time, if there is one, and those to come, up to a time.
pub(super) fn follow(
    layout: &Layout,
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
    mut show: impl FnMut(&Event) -> bool,
) -> Result<(), EngineError> {
    let error = |source| EngineError::Io { action: "read the events", source };
    // As with Docker, only what is to come where no time is given.
    let since = since.or_else(|| until.is_none().then(Utc::now));
    let mut reader = Reader::open(layout).map_err(error)?;
    let deadline = until.map(|until| Instant::now() + (until - Utc::now()).to_std().unwrap_or_default());
    loop {
        while let Some(event) = reader.next_event().map_err(error)? {
            // Of two that were told at the same time the later one may come first: the time itself ends it.
            let is_meant = since.is_none_or(|since| event.at() >= since)
                && until.is_none_or(|until| event.at() <= until);
            if is_meant && !show(&event) {
                return Ok(());
            }
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(());
        }
        reader.wait(left).map_err(error)?;
    }
}
