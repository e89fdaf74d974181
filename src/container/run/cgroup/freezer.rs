//! Freezing all processes of a container, and letting them go on.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{CgroupError, GroupPath, Hierarchy, PATIENCE, apart, write};
use crate::process::read_at_once;

/// Where a container's processes are frozen: the file that says so, and what it says then.
pub(super) struct Freezer {
    /// The file that is written.
    control: PathBuf,
    /// What freezes.
    freeze: &'static str,
    /// What thaws.
    thaw: &'static str,
    /// The file that shows whether it is frozen.
    state: PathBuf,
    /// The line of it that says that all are frozen.
    frozen: &'static str,
}

impl Freezer {
    /// `None` where version 1 has no freezer mounted.
    fn of(hierarchy: &Hierarchy, group: &GroupPath) -> Option<Self> {
        Self::at(hierarchy, group.path())
    }

    /// That of a group below the root of each tree.
    pub(super) fn at(hierarchy: &Hierarchy, group: &Path) -> Option<Self> {
        let freezer = |directory: PathBuf, control, freeze, thaw, state, frozen| Self {
            control: directory.join(control),
            freeze,
            thaw,
            state: directory.join(state),
            frozen,
        };
        let below = hierarchy.directories(group);
        match hierarchy {
            Hierarchy::Unified => below
                .into_iter()
                .next()
                .map(|own| freezer(own, "cgroup.freeze", "1", "0", "cgroup.events", "frozen 1")),
            Hierarchy::Legacy { trees, .. } => {
                let mount = trees.iter().position(|mount| mount.ends_with("freezer"))?;
                let own = below.into_iter().nth(mount)?;
                Some(freezer(own, "freezer.state", "FROZEN", "THAWED", "freezer.state", "FROZEN"))
            }
        }
    }

    /// Asks for its processes to be frozen, or to go on. Version 1 does not freeze what is forked meanwhile until it is
    /// asked once more.
    pub(super) fn ask(&self, frozen: bool) -> io::Result<()> {
        write(&self.control, if frozen { self.freeze } else { self.thaw })
    }

    fn error(&self, action: &'static str) -> impl Fn(io::Error) -> CgroupError {
        let path = self.control.clone();
        move |source| CgroupError { action: Cow::Borrowed(action), path: path.clone(), source }
    }

    pub(super) fn is_frozen(&self) -> bool {
        // A few words: longer in no version.
        let mut buffer = [0; 256];
        let text = read_at_once(&self.state, &mut buffer).unwrap_or_default();
        text.split(|&byte| byte == b'\n').any(|line| line == self.frozen.as_bytes())
    }
}

/// Whether all processes of a container are frozen.
pub fn is_frozen(hierarchy: &Hierarchy, group: &GroupPath) -> bool {
    Freezer::of(hierarchy, group).is_some_and(|freezer| freezer.is_frozen())
}

/// Whether the processes of a container are frozen, or are to be.
pub fn is_freezing(hierarchy: &Hierarchy, group: &GroupPath) -> bool {
    let Some(freezer) = Freezer::of(hierarchy, group) else { return false };
    let asked = std::fs::read_to_string(&freezer.control).unwrap_or_default();
    // Version 1 says FREEZING until all are.
    freezer.is_frozen() || asked.trim_end() == freezer.freeze || asked.starts_with("FREEZING")
}

/// Freezes all processes of a container, and returns once they are.
///
/// # Errors
/// [`CgroupError`] if the container has no group (`NotFound`), or its processes cannot be frozen in time; then
/// they run on.
pub fn freeze(hierarchy: &Hierarchy, group: &GroupPath) -> Result<(), CgroupError> {
    let Some(freezer) = Freezer::of(hierarchy, group) else {
        let source = io::Error::new(io::ErrorKind::Unsupported, "the controller freezer is not mounted");
        return Err(CgroupError { action: Cow::Borrowed("freeze"), path: group.path().to_owned(), source });
    };
    let error = freezer.error("freeze");
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Again and again: version 1 does not freeze what was forked meanwhile until it is asked once more.
        freezer.ask(true).map_err(&error)?;
        if freezer.is_frozen() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            thaw(hierarchy, group)?;
            return Err(error(io::ErrorKind::TimedOut.into()));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Lets all processes of a container go on; "already gone" is success.
///
/// # Errors
/// [`CgroupError`] if the system refuses.
pub fn thaw(hierarchy: &Hierarchy, group: &GroupPath) -> Result<(), CgroupError> {
    // What is frozen below it stays so otherwise.
    apart::thaw_apart(hierarchy, group);
    let Some(freezer) = Freezer::of(hierarchy, group) else { return Ok(()) };
    match freezer.ask(false) {
        // ENODEV: the group was removed between open and write.
        Err(error)
            if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(nix::libc::ENODEV) =>
        {
            Ok(())
        }
        other => other.map_err(freezer.error("thaw")),
    }
}
