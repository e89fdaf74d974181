//! What is mounted in a container besides its root: made ready by the supervisor as mounts that are attached nowhere,
//! and attached by the container's first process, in its own mount namespace, to what it opens below the root.
//!
//! ```text
//! /proc  /sys  /dev/mqueue  /sys/fs/cgroup (version 2)    opened by the process: they belong to its namespaces
//! /dev  /dev/pts  /dev/shm  /sys/fs/cgroup (version 1)    made here, with all that is in them
//! the user's                                              copies of the host's mounts, or tmpfs
//! ```

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;
use nix::sys::stat::{Mode, SFlag, fchmodat, mkdirat, mknodat};
use nix::unistd::{Gid, Uid, fchownat, symlinkat};

use super::cgroup::{Groups, Hierarchy};
use super::hidden;
use super::runtime::RuntimeError;
use super::step::{At as _, Failure, Step};
use crate::container::request::config::Config;
use crate::container::request::device::{Kind, Node};
use crate::container::request::mounts::Submounts;
use crate::container::tree::detached::{self, FileSystem, FsError};
use crate::container::tree::inside;
use crate::container::tree::mount_points::{MountPoint, What};
use crate::sys::MountAttributes;

/// How large `/dev/shm` is where nothing else is asked for, in bytes.
const SHM_SIZE: u64 = 64 << 20;

/// Where the groups are in a container.
const GROUPS: &str = "/sys/fs/cgroup";

/// What the kernel's own file systems are mounted with.
pub(super) const PLAIN: MountAttributes = MountAttributes::MOUNT_ATTR_NOSUID
    .union(MountAttributes::MOUNT_ATTR_NODEV)
    .union(MountAttributes::MOUNT_ATTR_NOEXEC);

/// The device nodes of every container: names and numbers.
const NODES: [(&str, u64, u64); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// The links in every container's /dev.
const LINKS: [(&str, &str); 6] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("/proc/kcore", "core"),
    ("pts/ptmx", "ptmx"),
];

/// Something to be mounted.
#[derive(Debug)]
pub(super) struct Attachment {
    /// Where, below the root, without links.
    pub(super) place: PathBuf,
    /// Whether it is a directory.
    is_directory: bool,
    what: Attached,
}

#[derive(Debug)]
enum Attached {
    /// A mount that is ready.
    Mount(OwnedFd),
    /// A file system of this kind, which belongs to namespaces of whoever opens it.
    Open(&'static str, MountAttributes),
}

/// Everything that is mounted in a container, and what is hidden in it.
#[derive(Debug)]
pub(super) struct Mounts {
    /// In the order in which they are attached.
    pub(super) attachments: Vec<Attachment>,
    /// The terminals of the container.
    pub(super) terminals: OwnedFd,
    /// What covers hidden directories.
    nothing: OwnedFd,
    pub(super) hidden: Vec<String>,
    pub(super) protected: Vec<&'static str>,
    /// Whether the root itself is read-only.
    read_only: bool,
    /// Whether the container has a terminal, which is its console.
    console: bool,
}

/// What the mounts of a container depend on.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) config: &'a Config,
    pub(super) hierarchy: &'a Hierarchy,
    pub(super) groups: &'a Groups,
    /// What the user has mounted.
    pub(super) points: &'a [MountPoint],
    /// The devices beside those that every container has.
    pub(super) nodes: &'a [Node],
    /// The shared memory of another container or of the host, for one that does not have its own.
    pub(super) shared_memory: Option<OwnedFd>,
    /// Whether there is any shared memory.
    pub(super) has_shared_memory: bool,
    /// The `/proc` of another container, for one that is in its pid namespace.
    pub(super) processes: Option<OwnedFd>,
}

impl Mounts {
    /// Makes everything ready.
    ///
    /// # Errors
    /// [`RuntimeError::Mount`] names what cannot be mounted where.
    pub(super) fn prepare(wanted: Wanted<'_>) -> Result<Self, RuntimeError> {
        let Wanted { config, hierarchy, groups, points, nodes, shared_memory, has_shared_memory, processes } =
            wanted;
        let security = &config.settings.security;
        let failed = |what: &str, place: &str| {
            let (what, place) = (what.to_owned(), PathBuf::from(place));
            move |error: FsError| RuntimeError::Mount { what, place, source: error.into() }
        };
        let own = |path: &str| points.iter().any(|point| Path::new(path).starts_with(&point.destination));
        let dev = device_directory().map_err(failed("tmpfs", "/dev"))?;
        nodes.iter().try_for_each(|node| add_node(&dev, node))?;
        let mut list = vec![
            // What is opened shows the processes of the namespace that the opener itself is in.
            processes.map_or_else(|| opened("/proc", "proc", PLAIN), |mount| mounted("/proc", mount)),
            opened("/sys", "sysfs", PLAIN | read_only_unless(security.privileged)),
            opened("/dev/mqueue", "mqueue", PLAIN),
            mounted("/dev", dev),
        ];
        let terminals = terminals().map_err(failed("devpts", "/dev/pts"))?;
        let copy = terminals.try_clone().map_err(|source| RuntimeError::Mount {
            what: "devpts".to_owned(),
            place: "/dev/pts".into(),
            source,
        })?;
        list.push(mounted("/dev/pts", copy));
        match shared_memory {
            Some(memory) => list.push(mounted("/dev/shm", memory)),
            None if has_shared_memory => {
                let size = config.settings.shm_size.map_or(SHM_SIZE, |size| size.0);
                let memory = memory(size).map_err(failed("tmpfs", "/dev/shm"))?;
                list.push(mounted("/dev/shm", memory));
            }
            None => {}
        }
        // Control groups that the user has mounted are as the user wants them.
        if !own(GROUPS) {
            list.extend(
                group_mounts(hierarchy, groups, security.privileged)
                    .map_err(failed("the control groups", GROUPS))?,
            );
        }
        list.retain(|kernels| points.iter().all(|point| point.destination != kernels.place));
        for point in points {
            list.push(user(point)?);
        }
        // Whosever it is, a directory comes before what is in it.
        list.sort_by_key(|attachment| attachment.place.components().count());
        let (hidden, protected) = hidden::paths(security);
        Ok(Self {
            attachments: list,
            terminals,
            nothing: nothing().map_err(failed("tmpfs", "/proc"))?,
            hidden,
            protected,
            read_only: config.settings.read_only,
            console: config.tty,
        })
    }

    /// Attaches everything below `root`, which is the calling process's own in all but name. Returns the mount of
    /// `/proc`. `sysctls` are set as soon as there is one.
    pub(super) fn attach(
        &self,
        root: BorrowedFd<'_>,
        sysctls: &[(PathBuf, String)],
    ) -> Result<OwnedFd, Failure> {
        let (mut proc, mut dev) = (None, None);
        for (position, attachment) in self.attachments.iter().enumerate() {
            let mount = attachment.attach(root, position)?;
            match attachment.place.to_str() {
                Some("/proc") => proc = Some(mount),
                Some("/dev") => dev = Some(mount),
                _ => {}
            }
        }
        let missing = || Failure { step: Step::Attach, detail: 0, errno: Errno::ENOENT };
        let (proc, dev) = (proc.ok_or_else(missing)?, dev.ok_or_else(missing)?);
        if self.console {
            self.make_console(&dev).at(Step::Console)?;
        }
        for (position, (path, value)) in sysctls.iter().enumerate() {
            set_sysctl(&proc, path, value).at_nth(Step::Sysctl, position)?;
        }
        self.hide(root, &dev)?;
        for (position, path) in self.protected.iter().enumerate() {
            protect(root, Path::new(path)).at_nth(Step::Protect, position)?;
        }
        if self.read_only {
            detached::set_attributes(root, MountAttributes::MOUNT_ATTR_RDONLY, 0, false)
                .at(Step::ReadOnlyRoot)?;
        }
        Ok(proc)
    }

    /// The container's terminal, the first one of its own, is its console as well.
    fn make_console(&self, dev: &OwnedFd) -> Result<(), Errno> {
        let place = inside::make(dev, Path::new("console"), false)?;
        let terminal = inside::find(&self.terminals, Path::new("0"))?;
        detached::attach(detached::copy_of(terminal.as_fd(), false)?, place)
    }

    /// Covers what is to be hidden: files by this container's own null, directories by one that is empty. What the
    /// kernel does not have is hidden already.
    fn hide(&self, root: BorrowedFd<'_>, dev: &OwnedFd) -> Result<(), Failure> {
        let null = inside::find(dev, Path::new("null")).at(Step::Hide)?;
        let mut is_attached = false;
        for (position, path) in self.hidden.iter().enumerate() {
            let place = match inside::find(root, Path::new(path)) {
                Err(Errno::ENOENT) => continue,
                found => found.at_nth(Step::Hide, position)?,
            };
            let covered = if !inside::is_directory(&place).at_nth(Step::Hide, position)? {
                // Nothing that is attached in this namespace is shared.
                detached::shared_copy_of(null.as_fd(), false).and_then(|null| detached::attach(null, &place))
            } else if is_attached {
                // Only of a mount that is attached can a copy be made (before Linux 6.15).
                let copy = detached::shared_copy_of(self.nothing.as_fd(), false);
                copy.and_then(|copy| detached::attach(copy, &place))
            } else {
                is_attached = true;
                detached::attach(&self.nothing, &place)
            };
            covered.at_nth(Step::Hide, position)?;
        }
        Ok(())
    }
}

impl Attachment {
    /// Attaches it below `root`.
    pub(super) fn attach(&self, root: BorrowedFd<'_>, position: usize) -> Result<OwnedFd, Failure> {
        let place = inside::make(root, &self.place, self.is_directory).at_nth(Step::Place, position)?;
        let mount = match &self.what {
            Attached::Mount(mount) => mount.try_clone().at_nth(Step::Attach, position)?,
            Attached::Open(kind, attributes) => {
                let system = FileSystem::new(kind).and_then(|system| system.option("source", kind));
                let mount = system.and_then(|system| system.mount(*attributes));
                mount.map_err(|error| error.errno).at_nth(Step::FileSystem, position)?
            }
        };
        detached::attach(&mount, place).at_nth(Step::Attach, position)?;
        Ok(mount)
    }
}

/// An empty directory that stays so.
pub(super) fn empty(place: &str) -> Result<Attachment, RuntimeError> {
    let made = nothing().map_err(|error| RuntimeError::Mount {
        what: "tmpfs".to_owned(),
        place: place.into(),
        source: error.into(),
    })?;
    Ok(mounted(place, made))
}

fn opened(place: &str, kind: &'static str, attributes: MountAttributes) -> Attachment {
    Attachment { place: place.into(), is_directory: true, what: Attached::Open(kind, attributes) }
}

fn mounted(place: impl Into<PathBuf>, mount: OwnedFd) -> Attachment {
    Attachment { place: place.into(), is_directory: true, what: Attached::Mount(mount) }
}

fn read_only_unless(writable: bool) -> MountAttributes {
    if writable { MountAttributes::empty() } else { MountAttributes::MOUNT_ATTR_RDONLY }
}

fn tmpfs(options: &[(&str, &str)], attributes: MountAttributes) -> Result<OwnedFd, FsError> {
    let mut system = FileSystem::new("tmpfs")?.option("source", "tmpfs")?;
    for (key, value) in options {
        system = system.option(key, value)?;
    }
    system.mount(attributes)
}

/// An empty directory that stays so.
fn nothing() -> Result<OwnedFd, FsError> {
    tmpfs(&[("mode", "555"), ("size", "4k"), ("nr_inodes", "1")], PLAIN | MountAttributes::MOUNT_ATTR_RDONLY)
}

fn terminals() -> Result<OwnedFd, FsError> {
    let attributes = MountAttributes::MOUNT_ATTR_NOSUID | MountAttributes::MOUNT_ATTR_NOEXEC;
    FileSystem::new("devpts")?
        .option("source", "devpts")?
        .flag("newinstance")?
        .option("ptmxmode", "0666")?
        .option("mode", "0620")?
        .option("gid", "5")?
        .mount(attributes)
}

fn memory(size: u64) -> Result<OwnedFd, FsError> {
    tmpfs(&[("mode", "1777"), ("size", &size.to_string())], PLAIN)
}

/// A container's /dev with the nodes and links that every container has.
fn device_directory() -> Result<OwnedFd, FsError> {
    let attributes = MountAttributes::MOUNT_ATTR_NOSUID | MountAttributes::MOUNT_ATTR_STRICTATIME;
    let dev = tmpfs(&[("mode", "755"), ("size", "65536k")], attributes)?;
    let all = Mode::from_bits_truncate(0o666);
    for (name, major, minor) in NODES {
        make_node(&dev, Path::new(name), SFlag::S_IFCHR, nix::sys::stat::makedev(major, minor), all)?;
    }
    for (target, name) in LINKS {
        symlinkat(target, &dev, name)?;
    }
    Ok(dev)
}

/// Adds a device of the host's to a container's /dev, in place of one of every container's if need be.
fn add_node(dev: &OwnedFd, node: &Node) -> Result<(), RuntimeError> {
    let make = || -> Result<(), Errno> {
        let below = node.path.strip_prefix("/dev").map_err(|_| Errno::EINVAL)?;
        if let Some(parent) = below.parent() {
            inside::make(dev, &Path::new("/").join(parent), true)?;
        }
        let kind = if node.kind == Kind::Block { SFlag::S_IFBLK } else { SFlag::S_IFCHR };
        let device = nix::sys::stat::makedev(node.major.into(), node.minor.into());
        match nix::unistd::unlinkat(dev, below, nix::unistd::UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
        make_node(dev, below, kind, device, Mode::from_bits_truncate(node.mode))?;
        let (owner, group) = (Uid::from_raw(node.uid), Gid::from_raw(node.gid));
        fchownat(dev, below, Some(owner), Some(group), nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW)
    };
    make().map_err(|errno| RuntimeError::Node { path: node.path.clone(), source: errno.into() })
}

fn make_node(dev: &OwnedFd, name: &Path, kind: SFlag, device: u64, mode: Mode) -> Result<(), Errno> {
    mknodat(dev, name, kind, mode, device)?;
    // Whatever our umask is.
    fchmodat(dev, name, mode, nix::sys::stat::FchmodatFlags::FollowSymlink)
}

/// The container's groups as it sees them: all trees of version 1, or one file system that it opens itself.
fn group_mounts(hierarchy: &Hierarchy, groups: &Groups, writable: bool) -> Result<Vec<Attachment>, FsError> {
    let attributes = PLAIN | read_only_unless(writable);
    let Hierarchy::Legacy { .. } = hierarchy else {
        return Ok(vec![opened(GROUPS, "cgroup2", attributes)]);
    };
    let top = tmpfs(&[("mode", "755")], PLAIN)?;
    let mut trees = Vec::new();
    for (name, directory) in groups.trees() {
        // One tree that is mounted on the place itself.
        if name.as_os_str().is_empty() {
            return Ok(vec![mounted(GROUPS, detached::copy_with(directory, false, attributes)?)]);
        }
        mkdirat(&top, name, Mode::from_bits_truncate(0o755))?;
        let text = name.to_str().unwrap_or_default();
        for controller in text.split(',').filter(|controller| *controller != text) {
            symlinkat(name, &top, controller)?;
        }
        let copy = detached::copy_with(directory, false, attributes)?;
        trees.push(mounted(Path::new(GROUPS).join(name), copy));
    }
    detached::set_attributes(&top, read_only_unless(writable), 0, false)?;
    trees.insert(0, mounted(GROUPS, top));
    Ok(trees)
}

/// A mount of the user's.
pub(super) fn user(point: &MountPoint) -> Result<Attachment, RuntimeError> {
    let place = point.destination.clone();
    let error = |what: String, source: io::Error| RuntimeError::Mount { what, place: place.clone(), source };
    let read_only = read_only_unless(!point.read_only);
    match &point.what {
        What::Tmpfs { options } => {
            let mount =
                user_tmpfs(options, read_only).map_err(|failed| error("tmpfs".to_owned(), failed.into()))?;
            Ok(mounted(point.destination.clone(), mount))
        }
        What::Bind { path, source, submounts, propagation } => {
            let failed = |errno: Errno| error(path.display().to_string(), errno.into());
            let with_submounts = *submounts != Submounts::Hide;
            let copy = if propagation.goes_out() {
                detached::shared_copy_of(source.as_fd(), with_submounts).map_err(failed)?
            } else if propagation.comes_in() {
                let copy = detached::shared_copy_of(source.as_fd(), with_submounts).map_err(failed)?;
                let nothing = MountAttributes::empty();
                detached::set_attributes(&copy, nothing, libc::MS_SLAVE, with_submounts).map_err(failed)?;
                copy
            } else {
                detached::copy_of(source.as_fd(), with_submounts).map_err(failed)?
            };
            if point.read_only {
                detached::set_attributes(&copy, read_only, 0, *submounts == Submounts::Follow)
                    .map_err(failed)?;
            }
            let is_directory = inside::is_directory(source).map_err(failed)?;
            Ok(Attachment { place: point.destination.clone(), is_directory, what: Attached::Mount(copy) })
        }
        What::Image { name, root } => {
            let mount = root.try_clone().map_err(|failed| error(name.clone(), failed))?;
            let is_directory =
                inside::is_directory(root).map_err(|errno| error(name.clone(), errno.into()))?;
            Ok(Attachment { place: point.destination.clone(), is_directory, what: Attached::Mount(mount) })
        }
    }
}

fn user_tmpfs(wanted: &[String], read_only: MountAttributes) -> Result<OwnedFd, FsError> {
    let mut attributes = read_only;
    let mut system = FileSystem::new("tmpfs")?.option("source", "tmpfs")?;
    for option in tmpfs_options(wanted) {
        match (option.as_str(), option.split_once('=')) {
            (_, Some((key, value))) => system = system.option(key, value)?,
            ("nosuid", _) => attributes |= MountAttributes::MOUNT_ATTR_NOSUID,
            ("nodev", _) => attributes |= MountAttributes::MOUNT_ATTR_NODEV,
            ("noexec", _) => attributes |= MountAttributes::MOUNT_ATTR_NOEXEC,
            ("noatime", _) => attributes |= MountAttributes::MOUNT_ATTR_NOATIME,
            ("nodiratime", _) => attributes |= MountAttributes::MOUNT_ATTR_NODIRATIME,
            ("norelatime", _) => attributes |= MountAttributes::MOUNT_ATTR_STRICTATIME,
            (flag @ ("sync" | "dirsync"), _) => system = system.flag(flag)?,
            // The contraries, which are the kernel's defaults.
            _ => {}
        }
    }
    system.mount(attributes)
}

/// Docker's defaults and what was asked for instead: of options that contradict each other, the last one.
fn tmpfs_options(wanted: &[String]) -> Vec<String> {
    let defaults = ["noexec", "nosuid", "nodev", "mode=1777"].map(str::to_owned);
    let mut last: BTreeMap<String, String> = BTreeMap::new();
    for option in defaults.iter().chain(wanted) {
        let about = match option.as_str() {
            // The mount's own attribute.
            "ro" | "rw" => continue,
            "sync" | "async" => "sync",
            flag => flag.split('=').next().unwrap_or(flag).trim_start_matches("no"),
        };
        last.insert(about.to_owned(), option.clone());
    }
    last.into_values().collect()
}

/// Mounts something read-only on itself. What the kernel does not have needs no protection.
fn protect(root: BorrowedFd<'_>, path: &Path) -> Result<(), Errno> {
    let place = match inside::find(root, path) {
        Err(Errno::ENOENT) => return Ok(()),
        found => found?,
    };
    detached::attach(detached::copy_with(place.as_fd(), true, MountAttributes::MOUNT_ATTR_RDONLY)?, place)
}

/// Writes a kernel parameter through our own mount of /proc, which nothing of the image can be in place of.
fn set_sysctl(proc: &OwnedFd, path: &Path, value: &str) -> Result<(), Errno> {
    let file = inside::open(proc, path, nix::fcntl::OFlag::O_WRONLY, inside::Links::Refuse)?;
    nix::unistd::write(&file, value.as_bytes()).map(drop)
}

/// The file through which a process gives itself an AppArmor profile, below a mount of /proc: its own place since
/// Linux 5.8.
pub(super) fn profile_file(proc: impl std::os::fd::AsFd) -> Result<std::fs::File, Errno> {
    let open = |path: &str| {
        let flags = nix::fcntl::OFlag::O_WRONLY | nix::fcntl::OFlag::O_CLOEXEC;
        nix::fcntl::openat(&proc, path, flags, Mode::empty())
    };
    open("self/attr/apparmor/exec").or_else(|_| open("self/attr/exec")).map(std::fs::File::from)
}

/// Sets how readily the kernel kills the calling process when memory is short.
pub(super) fn set_oom_score(score: i32) -> Result<(), Errno> {
    let file = std::fs::OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_CLOEXEC)
        .open("/proc/self/oom_score_adj");
    let written = file.and_then(|file| Ok(nix::unistd::write(&file, score.to_string().as_bytes())?));
    written.map(drop).map_err(|error| super::step::errno_of(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::request::mounts::Propagation;

    #[test]
    fn the_last_of_contradicting_options_counts() {
        let wanted = ["exec", "size=1m", "mode=700", "size=2m", "ro"].map(str::to_owned);
        assert_eq!(tmpfs_options(&wanted), ["nodev", "exec", "mode=700", "size=2m", "nosuid"]);
    }

    #[test]
    fn a_container_has_a_dev_of_its_own() {
        assert!(nix::unistd::geteuid().is_root(), "mounting needs root");
        let node = Node {
            path: "/dev/below/zzz".into(),
            kind: Kind::Char,
            major: 1,
            minor: 5,
            mode: 0o640,
            uid: 7,
            gid: 8,
            access: crate::container::request::device::Access::ALL,
        };
        let instead = Node { path: "/dev/null".into(), ..node.clone() };
        let dev = device_directory().unwrap();
        for node in [node, instead] {
            add_node(&dev, &node).unwrap();
        }
        let look = |name: &str| {
            nix::sys::stat::fstatat(&dev, name, nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW).unwrap()
        };
        for (name, major, minor) in NODES.into_iter().filter(|(name, ..)| *name != "null") {
            let stat = look(name);
            assert_eq!(stat.st_rdev, nix::sys::stat::makedev(major, minor), "{name}");
            assert_eq!(stat.st_mode & 0o7777, 0o666, "{name}");
        }
        for name in ["below/zzz", "null"] {
            let stat = look(name);
            assert_eq!((stat.st_mode & 0o7777, stat.st_uid, stat.st_gid), (0o640, 7, 8), "{name}");
            assert_eq!(stat.st_rdev, nix::sys::stat::makedev(1, 5), "{name}");
        }
        assert_eq!(inside::kind(&look("fd")), SFlag::S_IFLNK);
    }

    #[test]
    fn what_a_tmpfs_refuses_is_told_in_the_kernels_words() {
        let options = vec!["size=much".to_owned()];
        let point = MountPoint { destination: "/x".into(), what: What::Tmpfs { options }, read_only: false };
        let error = user(&point).unwrap_err();
        let RuntimeError::Mount { place, source, .. } = &error else { panic!("{error}") };
        assert_eq!(place, Path::new("/x"));
        assert!(source.to_string().contains("size"), "{source}");
    }

    #[test]
    fn a_copy_of_a_mount_is_read_only_where_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let bind = |read_only| {
            let source = std::fs::File::open(directory.path()).unwrap().into();
            let what = What::Bind {
                path: directory.path().to_owned(),
                source,
                submounts: Submounts::Follow,
                propagation: Propagation::default(),
            };
            let point = MountPoint { destination: "/x".into(), what, read_only };
            let attachment = user(&point).unwrap();
            assert!(attachment.is_directory);
            let Attached::Mount(mount) = attachment.what else { panic!("it is ready") };
            mkdirat(&mount, "made", Mode::from_bits_truncate(0o755))
        };
        assert_eq!(bind(true), Err(Errno::EROFS));
        assert_eq!(bind(false), Ok(()));
    }
}
