//! Mounts that are in no mount namespace: file systems and copies of mounts that exist as descriptors until they
//! are attached or closed. Nothing of a container is ever mounted on the host.
//!
//! The calls are those of Linux 5.2 (fsopen(2), open_tree(2), move_mount(2)) and 5.12 (mount_setattr(2)).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::Mode;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use super::inside;
use crate::sys::{self, MountAttributes};

/// A file system that cannot be had, in the kernel's own words where it has any.
#[derive(Debug)]
pub(in crate::container) struct FsError {
    /// The number of the error.
    pub(in crate::container) errno: Errno,
    /// What the file system had to say.
    words: String,
}

impl From<Errno> for FsError {
    fn from(errno: Errno) -> Self {
        Self { errno, words: String::new() }
    }
}

impl From<FsError> for io::Error {
    fn from(error: FsError) -> Self {
        if error.words.is_empty() {
            return error.errno.into();
        }
        let source = io::Error::from(error.errno);
        io::Error::new(source.kind(), format!("{} ({source})", error.words))
    }
}

/// A file system that is being put together.
#[derive(Debug)]
pub(in crate::container) struct FileSystem(OwnedFd);

impl FileSystem {
    /// Begins one of this kind.
    pub(in crate::container) fn new(kind: &str) -> Result<Self, FsError> {
        let opened = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC);
        opened.map(Self).map_err(|errno| number(errno).into())
    }

    /// Sets an option that has a value.
    pub(in crate::container) fn option(self, key: &str, value: &str) -> Result<Self, FsError> {
        let set = fsconfig_set_string(&self.0, key, value);
        self.checked(set)
    }

    /// Sets an option without a value.
    pub(in crate::container) fn flag(self, key: &str) -> Result<Self, FsError> {
        let set = fsconfig_set_flag(&self.0, key);
        self.checked(set)
    }

    /// Makes it, and a mount of it.
    pub(in crate::container) fn mount(self, attributes: MountAttributes) -> Result<OwnedFd, FsError> {
        let created = fsconfig_create(&self.0);
        let this = self.checked(created)?;
        let mounted = fsmount(&this.0, FsMountFlags::FSMOUNT_CLOEXEC, attributes);
        mounted.map_err(|errno| this.error(errno))
    }

    fn checked(self, result: rustix::io::Result<()>) -> Result<Self, FsError> {
        match result {
            Ok(()) => Ok(self),
            Err(errno) => Err(self.error(errno)),
        }
    }

    /// The error with the messages that the kernel keeps with the descriptor: `e overlay: …`, one at each read.
    fn error(&self, errno: rustix::io::Errno) -> FsError {
        let mut words = Vec::new();
        let mut buffer = [0_u8; 512];
        while let Ok(length) = nix::unistd::read(&self.0, &mut buffer) {
            let line = String::from_utf8_lossy(&buffer[..length]);
            match line.trim_end().split_once(' ') {
                Some(("e", text)) => words.push(text.to_owned()),
                Some(_) => {}
                None => break,
            }
        }
        FsError { errno: number(errno), words: words.join("; ") }
    }
}

fn number(errno: rustix::io::Errno) -> Errno {
    Errno::from_raw(errno.raw_os_error())
}

/// A copy of the mount that `directory` (or file) is in, from there on downwards, with the mounts below it if
/// `submounts`. It shares no mounts with anybody: what is mounted in the copy is not seen on the host, and the other
/// way round.
pub(in crate::container) fn copy_of(file: BorrowedFd<'_>, submounts: bool) -> Result<OwnedFd, Errno> {
    copy_with(file, submounts, MountAttributes::empty())
}

/// The same with these attributes, the mounts below it included.
pub(in crate::container) fn copy_with(
    file: BorrowedFd<'_>,
    submounts: bool,
    set: MountAttributes,
) -> Result<OwnedFd, Errno> {
    let copy = shared_copy_of(file, submounts)?;
    set_attributes(&copy, set, libc::MS_PRIVATE, submounts)?;
    Ok(copy)
}

/// The same, but mounts are shared as they are in the original.
pub(in crate::container) fn shared_copy_of(file: BorrowedFd<'_>, submounts: bool) -> Result<OwnedFd, Errno> {
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if submounts {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(file, "", flags).map_err(number)
}

/// A copy of the mount that `path`, which has no links in it, is in as seen in another mount namespace: only there can
/// it be made.
pub(in crate::container) fn copy_inside(
    namespace: &File,
    path: &Path,
    submounts: bool,
) -> Result<OwnedFd, Errno> {
    let work = || {
        // A namespace of mounts can only be entered by who shares its directories with nobody.
        unshare(CloneFlags::CLONE_FS)?;
        setns(namespace, CloneFlags::CLONE_NEWNS)?;
        let root = open("/", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        copy_of(inside::find(&root, path)?.as_fd(), submounts)
    };
    // The thread ends in that namespace, and nobody else was ever in it.
    std::thread::scope(|scope| {
        scope.spawn(work).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Sets attributes of a mount, and a propagation (0: none).
pub(in crate::container) fn set_attributes(
    mount: impl AsFd,
    set: MountAttributes,
    propagation: libc::c_ulong,
    submounts: bool,
) -> Result<(), Errno> {
    sys::set_mount_attributes(mount.as_fd(), set, propagation, submounts)
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))
}

/// Attaches a mount on top of what is open as `place`: on that very file, whatever its name is by now.
pub(in crate::container) fn attach(mount: impl AsFd, place: impl AsFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", place, "", flags).map_err(number)
}

/// Attaches a mount on top of whatever is the caller's root directory.
pub(in crate::container) fn attach_to_root(mount: impl AsFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(mount, "", rustix::fs::CWD, Path::new("/"), flags).map_err(number)
}
