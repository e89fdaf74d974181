//! A group below a container's, for a command that is ended together with all that it has started.
//!
//! ```text
//! version 2   /sys/fs/cgroup/mydocker/ID/mydocker-health
//! version 1   /sys/fs/cgroup/freezer/mydocker/ID/mydocker-health
//! ```

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::freezer::Freezer;
use super::{CgroupError, GroupPath, Hierarchy, collect_members, kill_each};

/// The name of the group in the container's.
pub(super) const APART: &str = "mydocker-health";

/// How long killed processes may take to leave the group.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long it is tried to freeze them before they are killed.
const FREEZING: Duration = Duration::from_millis(200);

/// The group, below the root of each tree.
pub(super) fn path(container: &GroupPath) -> PathBuf {
    container.path().join(APART)
}

/// Kills the processes in the group, and those that they are just forking, and removes the group. One process may be
/// spared; then the group stays. "Already gone" is success.
///
/// # Errors
/// [`CgroupError`] if they do not end in time, as in a container that is paused.
pub fn end_apart(
    hierarchy: &Hierarchy,
    container: &GroupPath,
    spared: Option<i32>,
) -> Result<(), CgroupError> {
    let group = path(container);
    let Some(directory) = hierarchy.directories(&group).into_iter().find(|directory| directory.is_dir())
    else {
        return Ok(());
    };
    let freezer = Freezer::at(hierarchy, &group);
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_micros(200);
    while !is_done(&directory, spared) {
        if Instant::now() >= deadline {
            let source = io::ErrorKind::TimedOut.into();
            return Err(CgroupError {
                action: Cow::Borrowed("end the processes in"),
                path: directory,
                source,
            });
        }
        // What is frozen cannot fork: all that there is gets the signal.
        if let Some(freezer) = &freezer {
            hold(freezer);
        }
        kill_each(members(&directory).into_iter().filter(|pid| Some(*pid) != spared));
        if let Some(freezer) = &freezer {
            freezer.ask(false).ok();
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
    Ok(())
}

/// Sends `SIGKILL` to all processes in the group: those that are frozen end when they go on.
pub fn kill_apart(hierarchy: &Hierarchy, container: &GroupPath) {
    for directory in hierarchy.directories(&path(container)) {
        kill_each(members(&directory));
    }
}

/// Lets the processes in the group go on that somebody has frozen who was killed then.
pub fn thaw_apart(hierarchy: &Hierarchy, container: &GroupPath) {
    if let Some(freezer) = Freezer::at(hierarchy, &path(container)) {
        freezer.ask(false).ok();
    }
}

/// Whether nobody is left but the one who is spared.
fn is_done(directory: &Path, spared: Option<i32>) -> bool {
    match spared {
        Some(spared) => members(directory).iter().all(|pid| *pid == spared),
        None => {
            remove_below(directory);
            match std::fs::remove_dir(directory) {
                Ok(()) => true,
                Err(error) => error.kind() == io::ErrorKind::NotFound,
            }
        }
    }
}

/// Removes the groups that the container has made in it, as far as nobody is in them.
fn remove_below(directory: &Path) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_below(&entry.path());
            std::fs::remove_dir(entry.path()).ok();
        }
    }
}

fn members(directory: &Path) -> Vec<i32> {
    let mut pids = Vec::new();
    collect_members(directory, &mut pids);
    pids
}

fn hold(freezer: &Freezer) {
    let deadline = Instant::now() + FREEZING;
    while freezer.ask(true).is_ok() && !freezer.is_frozen() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_micros(200));
    }
}
