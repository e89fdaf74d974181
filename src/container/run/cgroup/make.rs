//! Making a container's groups, and what a process needs to join them.

use std::borrow::Cow;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::apart::APART;
use super::parents::{self, prepare};
use super::{CgroupError, GroupPath, Hierarchy, devices, limits, write};
use crate::container::request::device::{Devices, Node, Rule};
use crate::container::request::limits::Limits;
use crate::needs::DEVICE_PROGRAMS;
use crate::sys;

/// The controllers of version 2 that a container's groups have.
const CONTROLLERS: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];

/// The group of all supervisors, below the root of each tree.
const SUPERVISORS: &str = "/mydocker/supervisors";

/// A container's groups, held open so that a process can join them that sees none of their paths.
#[derive(Debug)]
pub struct Groups {
    /// The group in the tree of version 2, if that is mounted: a process can be born there.
    unified: Option<Group>,
    /// Those in the trees of version 1.
    legacy: Vec<Group>,
}

/// One of a container's groups.
#[derive(Debug)]
struct Group {
    /// The name of its tree below `/sys/fs/cgroup`; empty where that is the only one.
    tree: PathBuf,
    /// Its path on the host.
    path: PathBuf,
    /// Its directory.
    directory: OwnedFd,
    /// The file that a process writes to in order to join, by itself.
    join: File,
}

impl Groups {
    /// Makes the groups of a container, all empty, with its limits and the devices that it may use; `devices` is
    /// `None` for one that may use all.
    ///
    /// # Errors
    /// [`CgroupError`]; what was made is for [`super::remove`].
    pub fn make(
        hierarchy: &Hierarchy,
        path: &GroupPath,
        limits: &Limits,
        devices: Option<(&[Node], &Devices)>,
    ) -> Result<Self, CgroupError> {
        if *hierarchy == Hierarchy::Unified {
            prepare(hierarchy, path.path().parent().unwrap_or(path.path()))?;
        }
        for root in hierarchy.directories(Path::new("/")) {
            parents::make(hierarchy, &root, path.path())?;
        }
        let groups = Self::open(hierarchy, path)?;
        limits::set_limits(hierarchy, path, limits)?;
        let rules = devices.map(|(nodes, wanted)| devices::rules(nodes, wanted));
        groups.restrict_devices(rules.as_deref())?;
        Ok(groups)
    }

    /// The groups of a container that has some.
    ///
    /// # Errors
    /// [`CgroupError`]: they are not there.
    pub fn open(hierarchy: &Hierarchy, path: &GroupPath) -> Result<Self, CgroupError> {
        Self::open_at(hierarchy, path.path())
    }

    /// The groups that all supervisors are in, made where they are not there yet. A supervisor leaves the groups that it
    /// was started in, so that a service manager which ends them leaves the container alone.
    ///
    /// # Errors
    /// [`CgroupError`].
    pub fn of_supervisors(hierarchy: &Hierarchy) -> Result<Self, CgroupError> {
        let path = Path::new(SUPERVISORS);
        match Self::open_at(hierarchy, path) {
            // The first container since the host was booted.
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => {
                prepare(hierarchy, path.parent().unwrap_or(path))?;
                for directory in hierarchy.directories(path) {
                    make_directory(&directory)?;
                    if is_cpuset(&directory) {
                        copy_cpuset(&directory)?;
                    }
                }
                Self::open_at(hierarchy, path)
            }
            opened => opened,
        }
    }

    /// Replaces one of a container's groups by one below it, which is made: what joins these groups can be ended with all
    /// its descendants (see [`super::end_apart`]).
    pub(in crate::container::run) fn set_apart(&mut self) -> Result<(), CgroupError> {
        let freezer = self.legacy.iter().position(|group| has_controller(&group.path, "freezer"));
        let (group, join) = match (self.legacy.get_mut(freezer.unwrap_or(0)), &mut self.unified) {
            (Some(group), _) => (group, "tasks"),
            (None, Some(group)) => (group, "cgroup.procs"),
            (None, None) => return Ok(()),
        };
        let path = group.path.join(APART);
        make_directory(&path)?;
        if is_cpuset(&path) {
            copy_cpuset(&path)?;
        }
        *group = Group::open(&group.tree, &path, join)?;
        Ok(())
    }

    fn open_at(hierarchy: &Hierarchy, path: &Path) -> Result<Self, CgroupError> {
        let (trees, unified): (&[PathBuf], Option<&Path>) = match hierarchy {
            Hierarchy::Unified => (&[], Some(Path::new(super::ROOT))),
            Hierarchy::Legacy { trees, unified } => (trees, unified.as_deref()),
        };
        let below = path.strip_prefix("/").unwrap_or(path);
        // Earlier versions made no groups for containers in trees that limit nothing.
        let may_lack = *hierarchy != Hierarchy::Unified && path != Path::new(SUPERVISORS);
        let name = |tree: &Path| tree.strip_prefix(super::ROOT).unwrap_or(tree).to_owned();
        let group = |tree: &Path, join: &str| match Group::open(&name(tree), &tree.join(below), join) {
            Err(error)
                if error.source.kind() == io::ErrorKind::NotFound
                    && may_lack
                    && (tree.ends_with("systemd") || tree.ends_with("unified")) =>
            {
                Ok(None)
            }
            opened => opened.map(Some),
        };
        // Moving oneself through this file, a process with one thread takes no lock that all forks take.
        let legacy: Result<Vec<_>, _> = trees.iter().map(|tree| group(tree, "tasks")).collect();
        Ok(Self {
            unified: unified.map(|tree| group(tree, "cgroup.procs")).transpose()?.flatten(),
            legacy: legacy?.into_iter().flatten().collect(),
        })
    }

    /// Where a process is to be put that our own binary is executed in.
    #[must_use]
    pub fn place(&self) -> sys::Place<'_> {
        sys::Place {
            birthplace: self.birthplace(),
            joins: self.legacy.iter().map(|group| group.join.as_fd()).collect(),
        }
    }

    /// Why a process could not join the group at this position among those of [`Groups::place`].
    #[must_use]
    pub fn refused(&self, position: usize, source: io::Error) -> CgroupError {
        let path = self.legacy.get(position).map_or_else(|| super::ROOT.into(), |group| group.path.clone());
        CgroupError { action: Cow::Borrowed("join"), path, source }
    }

    /// The group of version 2 that a new process can be born in.
    #[must_use]
    pub fn birthplace(&self) -> Option<BorrowedFd<'_>> {
        self.unified.as_ref().map(|group| group.directory.as_fd())
    }

    /// The group of version 2 of another process: where a container has made groups of its own below its first one, no
    /// process can be in that any more.
    ///
    /// # Errors
    /// [`CgroupError`]: the process has ended, or its group is gone.
    pub fn use_group_of(&mut self, hierarchy: &Hierarchy, pid: i32) -> Result<(), CgroupError> {
        let root = match hierarchy {
            Hierarchy::Unified => Some(Path::new(super::ROOT)),
            Hierarchy::Legacy { unified, .. } => unified.as_deref(),
        };
        let file = PathBuf::from(format!("/proc/{pid}/cgroup"));
        let text = std::fs::read_to_string(&file).map_err(|source| CgroupError {
            action: Cow::Borrowed("read"),
            path: file,
            source,
        })?;
        let own = text.lines().find_map(|line| line.strip_prefix("0::/"));
        if let (Some(root), Some(own)) = (root, own.filter(|own| !own.starts_with(".."))) {
            let tree = root.strip_prefix(super::ROOT).unwrap_or(root);
            self.unified = Some(Group::open(tree, &root.join(own), "cgroup.procs")?);
        }
        Ok(())
    }

    /// Lets the calling process, which must have one thread, join the groups; those of version 2 only if `all`. Returns
    /// the position of the one that refuses, in the order of [`Groups::names`].
    pub(in crate::container::run) fn join(&self, all: bool) -> Result<(), (usize, Errno)> {
        let unified = self.unified.iter().filter(|_| all);
        for (position, group) in self.legacy.iter().chain(unified).enumerate() {
            (&group.join)
                .write_all(b"0")
                .map_err(|error| (position, Errno::from_raw(error.raw_os_error().unwrap_or(0))))?;
        }
        Ok(())
    }

    /// The paths of the groups, for messages.
    pub(in crate::container::run) fn names(&self) -> Vec<PathBuf> {
        self.legacy.iter().chain(&self.unified).map(|group| group.path.clone()).collect()
    }

    /// The directories of the groups, each with the name that its tree has below `/sys/fs/cgroup`.
    pub(in crate::container::run) fn trees(&self) -> impl Iterator<Item = (&Path, BorrowedFd<'_>)> {
        self.legacy.iter().chain(&self.unified).map(|group| (group.tree.as_path(), group.directory.as_fd()))
    }

    /// Denies all devices but those of the rules; without any, allows all.
    fn restrict_devices(&self, rules: Option<&[Rule]>) -> Result<(), CgroupError> {
        let tree = self.legacy.iter().find(|group| {
            has_controller(&group.path, "devices")
                || self.legacy.len() == 1 && group.path.join("devices.deny").exists()
        });
        match (tree, rules) {
            (Some(group), None) => group.write("devices.allow", "a"),
            (Some(group), Some(rules)) => {
                group.write("devices.deny", "a")?;
                let path = group.path.join("devices.allow");
                let error =
                    |source| CgroupError { action: Cow::Borrowed("write"), path: path.clone(), source };
                let mut file = OpenOptions::new().write(true).open(&path).map_err(error)?;
                // One rule each time.
                rules.iter().try_for_each(|rule| file.write_all(rule.to_string().as_bytes()).map_err(error))
            }
            (None, None) => Ok(()),
            (None, Some(rules)) => {
                let group = self.unified.as_ref().ok_or_else(|| CgroupError {
                    action: Cow::Borrowed("restrict devices in"),
                    path: super::ROOT.into(),
                    source: io::Error::other("neither the devices controller nor version 2 is mounted"),
                })?;
                let program = sys::load_device_program(&devices::program(rules));
                let attached = program
                    .and_then(|program| sys::attach_device_program(group.directory.as_fd(), program.as_fd()));
                attached.map_err(|source| CgroupError {
                    // EINVAL, ENOSYS: the kernel was built without it.
                    action: Cow::Owned(format!("restrict devices ({}) in", DEVICE_PROGRAMS.option)),
                    path: group.path.clone(),
                    source,
                })
            }
        }
    }
}

impl Group {
    fn open(tree: &Path, directory: &Path, join: &str) -> Result<Self, CgroupError> {
        let error =
            |source| CgroupError { action: Cow::Borrowed("open"), path: directory.to_owned(), source };
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let opened = open(directory, flags, Mode::empty()).map_err(|errno| error(errno.into()))?;
        let join = OpenOptions::new().write(true).open(directory.join(join)).map_err(error)?;
        Ok(Self { tree: tree.to_owned(), path: directory.to_owned(), directory: opened, join })
    }

    fn write(&self, file: &str, value: &str) -> Result<(), CgroupError> {
        let path = self.path.join(file);
        write(&path, value).map_err(|source| CgroupError {
            action: Cow::Owned(format!("write {value} to")),
            path,
            source,
        })
    }
}

pub(super) fn make_directory(path: &Path) -> Result<(), CgroupError> {
    match DirBuilder::new().mode(0o755).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(CgroupError { action: Cow::Borrowed("make"), path: path.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

/// Why a group of version 2 cannot have limited groups below it (EBUSY).
pub(super) const HAS_PROCESSES: &str =
    "there are processes in this group itself: containers need a group without any, see --cgroup-parent";

/// Lets the groups below one have the controllers that this host has.
pub(super) fn enable_controllers(directory: &Path) -> Result<(), CgroupError> {
    let read = |file: &str| std::fs::read_to_string(directory.join(file)).unwrap_or_default();
    let (there, enabled) = (read("cgroup.controllers"), read("cgroup.subtree_control"));
    let has = |text: &str, name: &str| text.split_ascii_whitespace().any(|word| word == name);
    let wanted: Vec<&&str> =
        CONTROLLERS.iter().filter(|name| has(&there, name) && !has(&enabled, name)).collect();
    // In a namespace of groups the topmost one is no root, which alone has no such file: it cannot have processes of
    // its own and let those below it have controllers.
    let is_top = directory == Path::new(super::ROOT);
    if !wanted.is_empty() && is_top && directory.join("cgroup.type").exists() {
        move_to_leaf(directory)?;
    }
    wanted.into_iter().try_for_each(|name| {
        let path = directory.join("cgroup.subtree_control");
        let action = Cow::Owned(format!("write +{name} to"));
        write(&path, &format!("+{name}")).map_err(|source| {
            let is_busy = source.kind() == io::ErrorKind::ResourceBusy;
            let source = if is_busy && !is_top { io::Error::other(HAS_PROCESSES) } else { source };
            CgroupError { action, path, source }
        })
    })
}

/// Moves the processes of a group into one below it, `init`, as others do that run in a container.
fn move_to_leaf(directory: &Path) -> Result<(), CgroupError> {
    let text = std::fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    if text.is_empty() {
        return Ok(());
    }
    let leaf = directory.join("init");
    make_directory(&leaf)?;
    for pid in text.lines() {
        // One that has ended is not there any more.
        write(&leaf.join("cgroup.procs"), pid).ok();
    }
    Ok(())
}

/// Whether a group is in the tree of version 1 that has this controller.
fn has_controller(group: &Path, controller: &str) -> bool {
    let tree = group.strip_prefix(super::ROOT).ok().and_then(|below| below.iter().next());
    match tree.and_then(|tree| tree.to_str()) {
        Some(names) if names.split(',').any(|name| name == controller) => true,
        // Where all controllers are in one tree, the name is that of a group.
        Some(_) => controller == "cpuset" && group.join("cpuset.mems").exists(),
        None => false,
    }
}

pub(super) fn is_cpuset(directory: &Path) -> bool {
    has_controller(directory, "cpuset") && directory.join("tasks").exists()
}

/// A new group of the cpuset tree of version 1 has no processors and no memory, and nobody can join it: it gets those
/// of the group above it.
pub(super) fn copy_cpuset(directory: &Path) -> Result<(), CgroupError> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let own = directory.join(file);
        let error = |source| CgroupError { action: Cow::Borrowed("write"), path: own.clone(), source };
        if std::fs::read_to_string(&own).map_err(error)?.trim().is_empty() {
            let above = directory.parent().unwrap_or(directory).join(file);
            let value = std::fs::read_to_string(&above).map_err(error)?;
            write(&own, value.trim()).map_err(error)?;
        }
    }
    Ok(())
}
