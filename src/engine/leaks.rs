//! Mounts and pinned namespaces that belong to no running container.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{NSFS_MAGIC, statfs};

use super::EngineError;
use super::containers::{self, Record};
use crate::container::life::record::State;
use crate::names::ContainerId;
use crate::network::Running;
use crate::store::{self, Layout};

/// The running containers with their namespaces, and all that may have one, because they run or are being
/// started.
pub(super) fn running(layout: &Layout) -> Result<(Running, BTreeSet<ContainerId>), EngineError> {
    let (mut running, mut known) = (BTreeMap::new(), BTreeSet::new());
    for snapshot in containers::list(layout)?.containers {
        let id = snapshot.record.id;
        match snapshot.state {
            State::Running { .. } => {
                running.insert(id.clone(), Layout::netns(&id));
                known.insert(id);
            }
            State::Starting { .. } | State::Restarting { .. } => {
                known.insert(id);
            }
            State::Created | State::Exited(_) | State::Removing { .. } | State::Dead => {}
        }
    }
    Ok((running, known))
}

/// Pinned namespaces of this root directory's containers that do not run; and those that are named like a
/// container that is not in this root directory and have no process in them: those of another root directory's
/// running containers have processes.
pub(super) fn namespaces(
    layout: &Layout,
    known: &BTreeSet<ContainerId>,
) -> Result<Vec<PathBuf>, EngineError> {
    let error = |source| EngineError::Io { action: "list the pinned namespaces", source };
    let pins = Path::new("/run/netns");
    let mut candidates = Vec::new();
    for name in store::list(pins).map_err(error)? {
        let Ok(id) = name.parse::<ContainerId>() else { continue };
        if known.contains(&id) {
            continue;
        }
        let path = pins.join(&id);
        let Ok(inode) = std::fs::metadata(&path).map(|metadata| metadata.ino()) else { continue };
        // An empty file may be what a killed command left of a pin; or it is a pin that is mounted in another mount
        // namespace, which has its own containers.
        if !is_pin(&path) && !is_of_a_container(layout, &path) {
            continue;
        }
        // Its container may have been started since we looked, or may just be ending.
        if containers::find(layout, id.as_str())
            .is_ok_and(|found| found.state.is_up() || !found.state.can_start())
        {
            continue;
        }
        candidates.push((path, inode));
    }
    if candidates.is_empty() {
        return Ok(Vec::new());
    }
    let used = namespaces_of_processes();
    Ok(candidates.into_iter().filter(|(_, inode)| !used.contains(inode)).map(|(path, _)| path).collect())
}

/// Whether a namespace is mounted there.
fn is_pin(path: &Path) -> bool {
    statfs(path).is_ok_and(|status| status.filesystem_type() == NSFS_MAGIC)
}

/// Whether a pinned namespace belongs to a container of this root directory.
pub(super) fn is_of_a_container(layout: &Layout, pin: &Path) -> bool {
    let id = pin.file_name().and_then(|name| name.to_str()?.parse::<ContainerId>().ok());
    id.is_some_and(|id| Record::load(layout, &id).is_ok())
}

/// Mounts below our directory of overlays of containers that do not run.
pub(super) fn mounts(layout: &Layout, known: &BTreeSet<ContainerId>) -> Result<Vec<PathBuf>, EngineError> {
    let error = |source| EngineError::Io { action: "list the mounts", source };
    let table = std::fs::read_to_string("/proc/thread-self/mountinfo").map_err(error)?;
    let mut leaked = Vec::new();
    for target in table.lines().filter_map(|line| line.split(' ').nth(4)) {
        let target = unescaped(target);
        let id = container_of_mount(layout, &target);
        let Some(id) = id.filter(|id| !known.contains(id)) else { continue };
        // A copy from a container that does not run mounts it for a moment, and holds nothing afterwards.
        if !containers::find(layout, id.as_str())
            .is_ok_and(|found| found.state.is_up() || !found.state.can_start())
        {
            leaked.push(target);
        }
    }
    Ok(leaked)
}

/// A path as mountinfo has it: a backslash and three octal digits stand for blanks, tabs, line breaks and backslashes
/// (proc_pid_mountinfo(5)).
fn unescaped(field: &str) -> PathBuf {
    let (mut path, mut rest) = (Vec::new(), field.as_bytes());
    while let Some((byte, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| *byte == b'\\').and_then(|digits| str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(decoded) => {
                path.push(decoded);
                rest = &after[3..];
            }
            None => {
                path.push(*byte);
                rest = after;
            }
        }
    }
    OsString::from_vec(path).into()
}

/// The container whose overlay a mount is on.
pub(super) fn container_of_mount(layout: &Layout, target: &Path) -> Option<ContainerId> {
    // What the kernel prints has the symbolic links resolved.
    let overlays = layout.root().join("overlay2");
    let overlays = overlays.canonicalize().unwrap_or(overlays);
    target.strip_prefix(&overlays).ok()?.iter().next()?.to_str()?.parse().ok()
}

/// The network namespaces that processes are in, by their numbers.
fn namespaces_of_processes() -> BTreeSet<u64> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbered = processes.filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok());
    let inodes = numbered.filter_map(|entry| std::fs::metadata(entry.path().join("ns/net")).ok());
    inodes.map(|metadata| metadata.ino()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_mountinfo_are_read_with_their_blanks() {
        for (field, path) in [
            ("/var/lib/my\\040docker/a", "/var/lib/my docker/a"),
            ("/a\\134b\\011c", "/a\\b\tc"),
            ("/plain", "/plain"),
            ("/end\\04", "/end\\04"),
        ] {
            assert_eq!(unescaped(field), Path::new(path), "{field}");
        }
    }
}
