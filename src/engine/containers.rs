//! Containers are found and listed: their records, and their states as they are now.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use super::connection::Connection;
use super::host::hierarchy;
use super::{EngineError, hold_up};
use crate::container::life::health::Health;
use crate::container::life::record::{RecordError, State};
use crate::container::life::{index, record, signal};
use crate::container::request::signal::Signal;
use crate::container::run::cgroup;
use crate::names::ContainerId;
use crate::network::{Endpoint, Networks};
use crate::process::Process;
use crate::store::Layout;

/// How long a process that was killed may take to end before a command goes on without waiting for it.
const SURVIVOR_PATIENCE: Duration = Duration::from_secs(10);

/// From so many containers on, reading what is known of them takes longer than starting a thread.
const ENOUGH: usize = 32;

/// A container's record, with the engine's part in it.
pub type Record = record::Record<Connection>;

/// A container with its state as it is now, which may be more than its record knows.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The record.
    pub record: Record,
    /// The state now.
    pub state: State,
    /// How it is, if that is checked.
    pub health: Option<Health>,
}

/// What a listing found.
#[derive(Debug)]
pub struct Listing {
    /// The containers, the newest first.
    pub containers: Vec<Snapshot>,
    /// Why others cannot be listed: their records are damaged, or written by a newer mydocker.
    pub broken: Vec<EngineError>,
}

/// Where the files of one container lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// The log.
    pub log: PathBuf,
    /// The copy-on-write layer and its mount.
    pub overlay: PathBuf,
    /// The pinned network namespace.
    pub netns: PathBuf,
}

impl Paths {
    pub(super) fn new(layout: &Layout, id: &ContainerId) -> Self {
        Self { log: layout.container_log(id), overlay: layout.overlay(id), netns: Layout::netns(id) }
    }
}

/// How long to wait before looking again at a container that another command is starting.
pub(super) const GLANCE: Duration = Duration::from_millis(10);

pub(super) fn find(layout: &Layout, reference: &str) -> Result<Snapshot, EngineError> {
    snapshot(layout, &index::find(layout, reference)?)
}

pub(super) fn snapshot(layout: &Layout, id: &ContainerId) -> Result<Snapshot, EngineError> {
    let (mut record, mut state) = Record::observe(layout, id)?;
    if let State::Running { init, .. } = state
        && record.is_orphaned()?
    {
        end_survivor(&record, init);
        (record, state) = Record::observe(layout, id)?;
    }
    if let State::Running { paused, .. } = &mut state {
        let group = record.group();
        // Where there are no control groups, nothing is paused.
        *paused = hierarchy().is_ok_and(|hierarchy| {
            cgroup::is_frozen(hierarchy, &group)
                && !hold_up::go_on_if_abandoned(layout, hierarchy, id, &group)
        });
    }
    let health = Health::of(layout, id, record.config.settings.health.as_ref(), &state);
    Ok(Snapshot { record, state, health })
}

/// Ends a container whose supervisor was killed. The kernel kills it along with its supervisor, which takes a moment; but
/// a container can ask the kernel not to (`PR_SET_PDEATHSIG`, prctl(2)).
fn end_survivor(record: &Record, init: Process) {
    let ended = signal::send(init, Signal::KILL).and_then(|_| {
        if let Ok(hierarchy) = hierarchy() {
            // What is frozen by control groups of version 1 cannot end.
            cgroup::thaw(hierarchy, &record.group()).ok();
        }
        signal::wait(init, Some(SURVIVOR_PATIENCE))
    });
    if !matches!(ended, Ok(true)) {
        // It is seen as it is: still running.
        tracing::warn!(container = %record.id, ?ended, "a container whose supervisor was killed does not end");
    }
}

pub(super) fn list(layout: &Layout) -> Result<Listing, EngineError> {
    let mut listing = Listing { containers: Vec::new(), broken: Vec::new() };
    for found in each(layout, |id| snapshot(layout, id))? {
        match found {
            Ok(snapshot) => listing.containers.push(snapshot),
            Err(error) => listing.broken.push(error),
        }
    }
    listing.containers.sort_by_key(|snapshot| std::cmp::Reverse(snapshot.record.created));
    Ok(listing)
}

/// The records of all containers. One that cannot be read is an error: what that container needs is not known.
pub(super) fn records(layout: &Layout) -> Result<Vec<Record>, EngineError> {
    each(layout, |id| Ok(Record::load(layout, id)?))?.into_iter().collect()
}

/// Reads something of each container; those that were removed since the listing are left out.
fn each<T: Send>(
    layout: &Layout,
    read: impl Fn(&ContainerId) -> Result<T, EngineError> + Sync,
) -> Result<Vec<Result<T, EngineError>>, EngineError> {
    let is_there =
        |found: &Result<T, _>| !matches!(found, Err(EngineError::Record(RecordError::NotFound(_))));
    Ok(on_all_processors(&index::list(layout)?, read).into_iter().filter(is_there).collect())
}

/// Does the same with each of them, many on all processors. The results are in their order.
fn on_all_processors<I: Sync, T: Send>(items: &[I], work: impl Fn(&I) -> T + Sync) -> Vec<T> {
    let enough_for = items.len() / ENOUGH;
    let threads = if enough_for < 2 {
        1
    } else {
        thread::available_parallelism().map_or(1, usize::from).min(enough_for)
    };
    if threads < 2 {
        return items.iter().map(work).collect();
    }
    let work = &work;
    thread::scope(|scope| {
        let parts = items.chunks(items.len().div_ceil(threads));
        let threads: Vec<_> =
            parts.map(|part| scope.spawn(move || part.iter().map(work).collect::<Vec<T>>())).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Vec<T>>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().flat_map(join).collect()
    })
}

/// The container and its first process, if it runs and is not paused.
pub(super) fn find_running(
    layout: &Layout,
    reference: &str,
    action: &'static str,
) -> Result<(Record, Process), EngineError> {
    let Snapshot { record, state, .. } = find(layout, reference)?;
    match state {
        State::Running { init, paused: false, .. } => Ok((record, init)),
        State::Running { .. } | State::Restarting { .. } => {
            Err(EngineError::Is { action, name: record.name, state: state.as_str() })
        }
        _ => Err(EngineError::NotRunning { action, name: record.name }),
    }
}

pub(super) fn endpoints(
    networks: &Networks,
    Snapshot { record, state, .. }: &Snapshot,
) -> Result<Vec<Endpoint>, EngineError> {
    if !state.is_running() {
        return Ok(Vec::new());
    }
    Ok(networks.endpoints_of_container(&record.id, &record.network.earlier())?.made)
}

/// The same of many.
pub(super) fn endpoints_of_each(
    layout: &Layout,
    snapshots: &[Snapshot],
) -> Vec<Result<Vec<Endpoint>, EngineError>> {
    // What reads records opens nothing else.
    on_all_processors(snapshots, |snapshot| endpoints(&Networks::new(layout.clone()), snapshot))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_are_read_in_their_order_on_whatever_processors_there_are() {
        for count in [0, 1, ENOUGH, 2 * ENOUGH, 10 * ENOUGH + 7] {
            let items: Vec<usize> = (0..count).collect();
            let doubled: Vec<usize> = items.iter().map(|item| item * 2).collect();
            assert_eq!(on_all_processors(&items, |item| item * 2), doubled, "{count}");
        }
    }
}
