//! The control groups of containers: which this host has, how they are made, filled, frozen and removed.
//!
//! ```text
//! version 2   /sys/fs/cgroup/mydocker/ID
//! version 1   /sys/fs/cgroup/TREE/mydocker/ID      in every tree, those without a controller as well
//! both        version 1, and /sys/fs/cgroup/unified/mydocker/ID
//! ```
//!
//! With `--cgroup-parent` it is another group than `mydocker`, with ID in it as well. Supervisors are in
//! `mydocker/supervisors` of each tree, whoever started them.
//!
//! Removal needs nothing but the container's id and configuration: it has to work after a supervisor was killed at any
//! moment.

mod apart;
mod devices;
mod freezer;
mod limits;
mod make;
mod parents;

use std::borrow::Cow;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, FsType, statfs};
use nix::unistd::Pid;

use crate::container::request::cgroup_parent::DEFAULT;
use crate::container::request::config::Config;
use crate::names::ContainerId;
use crate::needs::{self, CGROUP_ROOT as ROOT};

pub use apart::{end_apart, kill_apart, thaw_apart};
pub use freezer::{freeze, is_freezing, is_frozen, thaw};
pub use limits::set_limits;
pub use make::Groups;

/// How long killed processes may take to leave their groups.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where version 1 decides what happens when memory is short.
const OOM: &str = "memory.oom_control";

/// Why a container's control groups could not be found or removed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} the control group {path}")]
pub struct CgroupError {
    /// What was tried.
    action: Cow<'static, str>,
    /// On which group.
    path: PathBuf,
    /// What the system said.
    #[source]
    source: io::Error,
}

impl CgroupError {
    /// What the user can do about it, where it may be that the host lacks something.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let of_host =
            ["find", "make", "restrict", "write +"].iter().any(|action| self.action.starts_with(action));
        let is_asked_for = self.source.to_string() == make::HAS_PROCESSES;
        (of_host && !is_asked_for).then(|| "see what this host lacks with: mydocker info".to_owned())
    }
}

/// How this host's control groups are arranged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hierarchy {
    /// Version 2: one tree for all controllers.
    Unified,
    /// Version 1: several trees.
    Legacy {
        /// Where they are mounted, each with one controller, some, or none.
        trees: Vec<PathBuf>,
        /// Where version 2 is mounted beside them.
        unified: Option<PathBuf>,
    },
}

impl Hierarchy {
    /// The arrangement of this host. It is looked at once: it does not change while a host runs.
    ///
    /// # Errors
    /// [`CgroupError`] if no control groups are mounted.
    pub fn of_host() -> Result<&'static Self, CgroupError> {
        static KNOWN: OnceLock<Hierarchy> = OnceLock::new();
        if let Some(known) = KNOWN.get() {
            return Ok(known);
        }
        let found = Self::detect(Path::new(ROOT), file_system)?;
        Ok(KNOWN.get_or_init(|| found))
    }

    /// The arrangement below `root`. The table of mounts would show it as well, but it has lines for each running
    /// container.
    fn detect(root: &Path, file_system: impl Fn(&Path) -> io::Result<FsType>) -> Result<Self, CgroupError> {
        let error = |source| CgroupError { action: Cow::Borrowed("find"), path: root.to_owned(), source };
        match file_system(root).map_err(error)? {
            CGROUP2_SUPER_MAGIC => return Ok(Self::Unified),
            // All controllers in one tree: what lies below are groups.
            CGROUP_SUPER_MAGIC => return Ok(Self::Legacy { trees: vec![root.to_owned()], unified: None }),
            _ => {}
        }
        let (mut trees, mut unified) = (Vec::new(), None);
        for entry in std::fs::read_dir(root).map_err(error)? {
            let entry = entry.map_err(error)?;
            // Symbolic links are other names of the same trees.
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            match file_system(&entry.path()) {
                Ok(CGROUP_SUPER_MAGIC) if is_directory => trees.push(entry.path()),
                Ok(CGROUP2_SUPER_MAGIC) if is_directory => unified = Some(entry.path()),
                _ => {}
            }
        }
        trees.sort_unstable();
        Ok(Self::Legacy { trees, unified })
    }

    /// 1 or 2.
    #[must_use]
    pub fn version(&self) -> u8 {
        match self {
            Self::Unified => 2,
            Self::Legacy { .. } => 1,
        }
    }

    /// Whether swap can be limited. Version 1 can where the kernel was told to count it (`swapaccount=1`); with
    /// version 2 only the root's own files show it.
    #[must_use]
    pub fn accounts_swap(&self) -> bool {
        match self {
            // The root group has no such file; where swap is not counted, no group has one, and
            // writing its limit is passed over.
            Self::Unified => Path::new("/proc/swaps").exists(),
            Self::Legacy { trees, .. } => {
                trees.iter().any(|mount| mount.join("memory.memsw.limit_in_bytes").exists())
            }
        }
    }

    /// The group of a container in the tree of a controller; `None` where the host has no such controller.
    #[must_use]
    pub fn group(&self, controller: &str, group: &GroupPath) -> Option<PathBuf> {
        let below = group.path();
        let below = below.strip_prefix("/").unwrap_or(below);
        match self {
            Self::Unified => Some(Path::new(ROOT).join(below)),
            Self::Legacy { trees, .. } => {
                let tree = trees.iter().find(|mount| controllers_of(mount).any(|name| name == controller))?;
                Some(tree.join(below))
            }
        }
    }

    /// The names of the controllers that this host has.
    #[must_use]
    pub fn controllers(&self) -> Vec<String> {
        match self {
            Self::Unified => {
                let path = Path::new(ROOT).join("cgroup.controllers");
                let names = std::fs::read_to_string(path).unwrap_or_default();
                names.split_ascii_whitespace().map(str::to_owned).collect()
            }
            Self::Legacy { trees, .. } => {
                trees.iter().flat_map(|mount| controllers_of(mount)).map(str::to_owned).collect()
            }
        }
    }

    /// How they are arranged, for [`needs::lacking`].
    #[must_use]
    pub fn described(&self) -> needs::Groups {
        let (tree, beside) = match self {
            Self::Unified => (Some(ROOT.into()), false),
            Self::Legacy { trees, unified } => (trees.first().cloned(), unified.is_some()),
        };
        needs::Groups { tree, unified: *self == Self::Unified, beside, controllers: self.controllers() }
    }

    /// The directories of the groups `path`, an absolute path below each tree.
    fn directories(&self, path: &Path) -> Vec<PathBuf> {
        let below = path.strip_prefix("/").unwrap_or(path);
        match self {
            Self::Unified => vec![Path::new(ROOT).join(below)],
            Self::Legacy { trees, unified } => {
                trees.iter().chain(unified).map(|mount| mount.join(below)).collect()
            }
        }
    }
}

/// The controllers of a version 1 tree, from the name of its mount point: `cpu,cpuacct`.
fn controllers_of(mount: &Path) -> impl Iterator<Item = &str> {
    let name = mount.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.split(',')
}

/// Which kind of file system a directory lies on.
fn file_system(directory: &Path) -> io::Result<FsType> {
    Ok(statfs(directory)?.filesystem_type())
}

/// The group of a container, below the root of each tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupPath(PathBuf);

impl GroupPath {
    /// That of this container.
    #[must_use]
    pub fn of(id: &ContainerId, config: &Config) -> Self {
        let parent = config.settings.cgroup_parent.as_ref();
        Self(parent.map_or(Path::new(DEFAULT), |parent| parent.path()).join(id))
    }

    /// That of a container which says nothing of it.
    #[cfg(test)]
    pub(crate) fn usual(id: &ContainerId) -> Self {
        Self(Path::new(DEFAULT).join(id))
    }

    /// The absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// Writes a file of the kernel's in one piece.
fn write(file: &Path, value: &str) -> io::Result<()> {
    std::fs::OpenOptions::new().write(true).open(file)?.write_all(value.as_bytes())
}

/// The processes in a container's groups, by their pids on the host.
#[must_use]
pub fn members(hierarchy: &Hierarchy, group: &GroupPath) -> Vec<i32> {
    let mut pids = Vec::new();
    // Every process is in every tree: the first one that is there stands for all.
    if let Some(directory) = hierarchy.directories(group.path()).iter().find(|directory| directory.is_dir()) {
        collect_members(directory, &mut pids);
    }
    pids.sort_unstable();
    pids
}

/// The processes in a group, without those in groups below it.
fn own_members(directory: &Path) -> Vec<i32> {
    let text = std::fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    // 0 stands for processes of other pid namespaces; kill(2) would take it for our own process group.
    text.lines().filter_map(|line| line.parse().ok()).filter(|&pid| pid > 0).collect()
}

/// Kills processes that were read from a group a moment ago. Pids are given out again only after all others: who has ended
/// since then is met by nobody's signal.
fn kill_each(pids: impl IntoIterator<Item = i32>) {
    for pid in pids {
        kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
    }
}

fn collect_members(directory: &Path, pids: &mut Vec<i32>) {
    pids.extend(own_members(directory));
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect_members(&entry.path(), pids);
        }
    }
}

/// Whether the kernel killed a process of a container because there was no memory left for it.
pub fn was_out_of_memory(hierarchy: &Hierarchy, group: &GroupPath) -> bool {
    let events = match hierarchy {
        Hierarchy::Unified => "memory.events",
        Hierarchy::Legacy { .. } => OOM,
    };
    let group = hierarchy.group("memory", group);
    let text = group.and_then(|group| std::fs::read_to_string(group.join(events)).ok()).unwrap_or_default();
    let kills = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    kills.is_some_and(|kills| kills.trim() != "0")
}

/// Kills what is in a container's groups, whatever it is. True if the kernel does it, which no process is safe from;
/// otherwise each process was sent `SIGKILL`, which a security module may have refused.
pub fn kill_all(hierarchy: &Hierarchy, group: &GroupPath) -> bool {
    // What version 1 has frozen does not even take SIGKILL.
    thaw(hierarchy, group).ok();
    let mut by_kernel = false;
    for directory in hierarchy.directories(group.path()) {
        // All at once, those that are being forked and those in groups below included (version 2, Linux 5.14).
        match write(&directory.join("cgroup.kill"), "1") {
            Ok(()) => by_kernel = true,
            Err(_) => kill_each(own_members(&directory)),
        }
    }
    by_kernel
}

/// Kills what is left in a container's groups and removes them; "already gone" is success.
///
/// # Errors
/// [`CgroupError`] if processes do not leave within twenty seconds, or the system refuses.
pub fn remove(hierarchy: &Hierarchy, group: &GroupPath) -> Result<(), CgroupError> {
    let mut left = hierarchy.directories(group.path());
    // As a rule its processes have ended, and all that is to do is this.
    left.retain(|directory| match std::fs::remove_dir(directory) {
        Ok(()) => false,
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    });
    if left.is_empty() {
        parents::remove_empty(hierarchy, group);
        return Ok(());
    }
    kill_all(hierarchy, group);
    let deadline = Instant::now() + PATIENCE;
    let mut first_error = None;
    for directory in left {
        if let Err(error) = remove_group(&directory, deadline) {
            first_error.get_or_insert(error);
        }
    }
    parents::remove_empty(hierarchy, group);
    first_error.map_or(Ok(()), Err)
}

fn remove_group(directory: &Path, deadline: Instant) -> Result<(), CgroupError> {
    let error = |source| CgroupError { action: Cow::Borrowed("remove"), path: directory.to_owned(), source };
    let mut pause = Duration::from_micros(200);
    loop {
        match std::fs::remove_dir(directory) {
            Ok(()) => return Ok(()),
            Err(gone) if gone.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(refused) if Instant::now() >= deadline => return Err(error(refused)),
            Err(_) => {}
        }
        // A group that does not go has processes or groups in it.
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove_group(&entry.path(), deadline)?;
            }
        }
        kill_each(own_members(directory));
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::statfs::TMPFS_MAGIC;

    use super::*;

    #[test]
    fn version_one_trees_are_found_among_other_directories() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for name in ["devices", "cpu,cpuacct", "unified", "empty"] {
            std::fs::create_dir(root.join(name)).unwrap();
        }
        crate::store::write_atomic(&root.join("file"), b"", crate::store::Durability::Process).unwrap();
        std::os::unix::fs::symlink("cpu,cpuacct", root.join("cpu")).unwrap();
        let kind = |path: &Path| {
            Ok(match path.strip_prefix(root).unwrap().to_str().unwrap() {
                "devices" | "cpu,cpuacct" | "cpu" | "file" => CGROUP_SUPER_MAGIC,
                "unified" => CGROUP2_SUPER_MAGIC,
                _ => TMPFS_MAGIC,
            })
        };
        let expected = ["cpu,cpuacct", "devices"].map(|name| root.join(name));
        assert_eq!(
            Hierarchy::detect(root, kind).unwrap(),
            Hierarchy::Legacy { trees: expected.to_vec(), unified: Some(root.join("unified")) }
        );
        // One tree has groups below it, not other trees.
        let all = |kind| Hierarchy::detect(root, move |_: &Path| Ok(kind)).unwrap();
        let one = Hierarchy::Legacy { trees: vec![root.to_owned()], unified: None };
        assert_eq!(all(CGROUP_SUPER_MAGIC), one);
        assert_eq!(all(CGROUP2_SUPER_MAGIC), Hierarchy::Unified);
        assert_eq!(all(TMPFS_MAGIC), Hierarchy::Legacy { trees: Vec::new(), unified: None });
        assert!(Hierarchy::detect(&root.join("none"), file_system).is_err());
    }

    #[test]
    fn the_trees_of_this_host_are_those_that_its_table_of_mounts_tells() {
        let text = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let Hierarchy::Legacy { trees, .. } = Hierarchy::of_host().unwrap() else {
            assert!(text.lines().any(|line| line.contains(" /sys/fs/cgroup cgroup2 ")), "{text}");
            return;
        };
        let mut told: Vec<&Path> = text
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .filter(|fields| fields[2] == "cgroup" && Path::new(fields[1]).parent() == Some(Path::new(ROOT)))
            .map(|fields| Path::new(fields[1]))
            .collect();
        told.sort_unstable();
        told.dedup();
        assert_eq!(*trees, told);
    }

    #[test]
    fn groups_are_found_in_version_one_trees() {
        let mounts = ["/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/devices"];
        let legacy = Hierarchy::Legacy { trees: mounts.map(PathBuf::from).to_vec(), unified: None };
        let id = ContainerId::generate().unwrap();
        let path = GroupPath::usual(&id);
        assert_eq!(legacy.controllers(), ["cpu", "cpuacct", "devices"]);
        let group = Path::new("/sys/fs/cgroup/cpu,cpuacct/mydocker").join(&id);
        assert_eq!((legacy.group("cpuacct", &path), legacy.group("pids", &path)), (Some(group), None));
        let directories = legacy.directories(path.path());
        assert_eq!(directories[1], Path::new("/sys/fs/cgroup/devices/mydocker").join(&id));
    }

    #[test]
    fn groups_that_are_not_there_are_removed() {
        let path = GroupPath::usual(&ContainerId::generate().unwrap());
        remove(Hierarchy::of_host().unwrap(), &path).unwrap();
        remove(&Hierarchy::Unified, &path).unwrap();
    }
}
