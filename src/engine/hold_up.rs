//! The processes of a container are frozen while a command reads its files, and resume afterwards even if the
//! command is killed.
//!
//! ```text
//! RUN_ROOT/containers/ID/held-up    PID-START of who froze the processes and is to thaw them
//! ```
//!
//! It is written before they are frozen and removed after they were thawed. Any command that finds a frozen
//! container with the mark of a process that has ended thaws it. It is not there where the user has paused the
//! container.

use std::path::PathBuf;

use super::EngineError;
use crate::container::run::cgroup::{self, GroupPath, Hierarchy};
use crate::container::run::runtime::RuntimeError;
use crate::names::ContainerId;
use crate::process::Process;
use crate::store::{self, Durability, FileError, Layout};

/// A frozen container. Its processes resume when this is dropped.
pub(super) struct HeldUp {
    layout: Layout,
    hierarchy: Hierarchy,
    id: ContainerId,
    group: GroupPath,
}

impl HeldUp {
    /// Freezes the processes of a running container.
    pub(super) fn new(
        layout: &Layout,
        hierarchy: &Hierarchy,
        id: &ContainerId,
        group: GroupPath,
    ) -> Result<Self, EngineError> {
        let path = mark(layout, id);
        let written = Process::current()
            .and_then(|me| store::write_atomic(&path, me.to_string().as_bytes(), Durability::Process));
        written.map_err(FileError::of("write", &path))?;
        // Made before freezing, so that dropping it also thaws what was frozen half-way.
        let held_up = Self { layout: layout.clone(), hierarchy: hierarchy.clone(), id: id.clone(), group };
        cgroup::freeze(hierarchy, &held_up.group).map_err(RuntimeError::from)?;
        Ok(held_up)
    }
}

impl Drop for HeldUp {
    fn drop(&mut self) {
        // Without the mark another command has thawed them, and perhaps paused them since.
        if holder(&self.layout, &self.id) != Process::current().ok() {
            return;
        }
        match cgroup::thaw(&self.hierarchy, &self.group) {
            Ok(()) => forget(&self.layout, &self.id),
            Err(error) => {
                tracing::warn!(container = %self.id.short(), %error, "the container stays paused: use unpause");
            }
        }
    }
}

/// Thaws a container that this process has frozen before it was interrupted.
pub(super) fn go_on_if_ours(layout: &Layout, hierarchy: &Hierarchy, id: &ContainerId, group: &GroupPath) {
    let is_ours = holder(layout, id).is_some_and(|holder| Some(holder) == Process::current().ok());
    if is_ours && cgroup::thaw(hierarchy, group).is_ok() {
        forget(layout, id);
    }
}

/// Thaws a container whose freezer was killed. Returns whether it was thawed.
pub(super) fn go_on_if_abandoned(
    layout: &Layout,
    hierarchy: &Hierarchy,
    id: &ContainerId,
    group: &GroupPath,
) -> bool {
    let abandoned = holder(layout, id).is_some_and(|holder| !holder.is_alive());
    if abandoned && cgroup::thaw(hierarchy, group).is_ok() {
        forget(layout, id);
        return true;
    }
    false
}

/// Removes the mark: from now on only the user pauses and resumes the container.
pub(super) fn forget(layout: &Layout, id: &ContainerId) {
    // It goes with the container at the latest.
    store::remove_if_exists(&mark(layout, id)).ok();
}

fn mark(layout: &Layout, id: &ContainerId) -> PathBuf {
    layout.container_run(id).join("held-up")
}

fn holder(layout: &Layout, id: &ContainerId) -> Option<Process> {
    std::fs::read_to_string(mark(layout, id)).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_holder_that_has_ended_has_abandoned_the_container() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path().join("root"), directory.path().join("run"));
        // Without a container there is nothing to be thawed, which is success.
        let (id, hierarchy) = (ContainerId::generate().unwrap(), Hierarchy::Unified);
        let group = GroupPath::usual(&id);
        std::fs::create_dir_all(layout.container_run(&id)).unwrap();
        let me = Process::current().unwrap();
        let note = |holder: &str| {
            store::write_atomic(&mark(&layout, &id), holder.as_bytes(), Durability::Process).unwrap();
        };
        assert!(!go_on_if_abandoned(&layout, &hierarchy, &id, &group));
        for (holder, abandoned) in [
            (me.to_string(), false),
            ("something else".to_owned(), false),
            (Process { start_time: me.start_time - 1, ..me }.to_string(), true),
        ] {
            note(&holder);
            assert_eq!(go_on_if_abandoned(&layout, &hierarchy, &id, &group), abandoned, "{holder}");
            assert_eq!(mark(&layout, &id).exists(), !abandoned, "{holder}");
        }
        note(&me.to_string());
        drop(HeldUp { layout: layout.clone(), hierarchy, id: id.clone(), group });
        assert!(!mark(&layout, &id).exists());
    }
}
