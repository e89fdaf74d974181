//! A container's tree of files for those who are not in it, whether it runs or not.
//!
//! What is handed out is the tree's top directory, held open with `O_PATH`. A tree that is not mounted is mounted
//! for the caller alone and attached nowhere: only the held directory keeps it alive, so that nothing is left when we
//! are killed, and nobody else ever sees the mount.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::{FileStat, Mode, SFlag};

use super::record::{self, Head, State};
use crate::container::tree::detached;
use crate::container::tree::rootfs::{self, Keep, RootfsError};
use crate::names::ContainerId;
use crate::process::Process;
use crate::store::{Layout, Lock, LockKind};
use crate::sys::MountAttributes;

/// Why a container's files cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The container ended while we were looking.
    #[error("the container has ended")]
    Ended,
    /// The container is being removed, or gone by now.
    #[error("the container is being removed")]
    Removed,
    /// The container cannot be kept from being removed.
    #[error("cannot lock container {id}")]
    Lock {
        /// The container.
        id: ContainerId,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Its root cannot be opened.
    #[error("cannot open {path}")]
    Open {
        /// What was opened.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The tree cannot be mounted.
    #[error("cannot mount the container's files")]
    Mount(#[source] io::Error),
    /// The container's layer cannot be made or mounted.
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
}

/// Which files of a container that does not run are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All, to be changed. What the container wrote and writes next is in the same layer.
    Writable,
    /// All, only to be read.
    Readable,
    /// Those of the image alone.
    Image,
}

/// Opens the root of a running container as its first process sees it, with everything mounted in it.
///
/// # Errors
/// [`ViewError::Ended`], or the kernel refuses.
pub fn live(init: Process) -> Result<OwnedFd, ViewError> {
    let path = PathBuf::from(format!("/proc/{}/root", init.pid));
    let root = open_directory(&path);
    // Whose root that is is only certain if the process is still there afterwards.
    if !init.is_alive() {
        return Err(ViewError::Ended);
    }
    root
}

/// Opens the root of a running container without what is mounted in it: a copy of that one mount, taken in the
/// container's mount namespace.
///
/// # Errors
/// As [`live`].
pub fn live_layers(init: Process) -> Result<OwnedFd, ViewError> {
    let path = PathBuf::from(format!("/proc/{}/ns/mnt", init.pid));
    let namespace = std::fs::File::open(&path).map_err(|source| ViewError::Open { path, source });
    // Whose it is is only certain if the process is still there afterwards.
    if !init.is_alive() {
        return Err(ViewError::Ended);
    }
    let namespace = namespace?;
    detached::copy_inside(&namespace, Path::new("/"), false).map_err(|errno| ViewError::Mount(errno.into()))
}

/// Opens what the container itself wrote: its topmost layer, with overlayfs's own marks in it.
///
/// # Errors
/// It cannot be made or opened.
pub fn upper(layout: &Layout, id: &ContainerId, layers: &[PathBuf]) -> Result<OwnedFd, ViewError> {
    prepare(layout, id, layers)?;
    open_directory(&layout.overlay(id).join("upper"))
}

/// Mounts the files of a container where only the caller sees them, and opens their top directory.
///
/// # Errors
/// The kernel refuses the mount.
pub fn mounted(
    layout: &Layout,
    id: &ContainerId,
    layers: &[PathBuf],
    part: Part,
) -> Result<OwnedFd, ViewError> {
    prepare(layout, id, layers)?;
    let rootfs = match part {
        Part::Writable => {
            rootfs::mount_layer(layout, id, layers, MountAttributes::MOUNT_ATTR_NODEV, Keep::Layer)?
        }
        Part::Readable => {
            let mut all = vec![layout.overlay(id).join("upper")];
            all.extend_from_slice(layers);
            rootfs::mount_readable(&all)?
        }
        Part::Image => rootfs::mount_readable(layers)?,
    };
    Ok(rootfs.into_descriptor())
}

/// Makes the container's layer if it was never started. Not once its removal has begun: what was made then would
/// stay for ever.
fn prepare(layout: &Layout, id: &ContainerId, layers: &[PathBuf]) -> Result<(), ViewError> {
    // Asked first, because the lock would bring the directory of a removed container back.
    if !layout.container_record(id).exists() {
        return Err(ViewError::Removed);
    }
    let _lock = Lock::exclusive(LockKind::Container, &record::lock(layout, id))
        .map_err(|source| ViewError::Lock { id: id.clone(), source })?;
    match Head::load(layout, id) {
        None | Some(Head { state: State::Removing { .. }, .. }) => Err(ViewError::Removed),
        Some(_) => Ok(rootfs::prepare_layer(layout, id, layers)?),
    }
}

fn open_directory(path: &Path) -> Result<OwnedFd, ViewError> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty())
        .map_err(|errno| ViewError::Open { path: path.to_owned(), source: errno.into() })
}

/// Whether a file of the container's layer is only there for something to be mounted on: neither did the
/// container write it nor can it see it. `path` is relative to the container's root.
#[must_use]
pub fn is_mount_point(path: &OsStr, stat: &FileStat) -> bool {
    let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
    match path.as_bytes() {
        b"dev" | b"proc" | b"sys" => kind == SFlag::S_IFDIR,
        b"etc/hosts" | b"etc/hostname" | b"etc/resolv.conf" => kind == SFlag::S_IFREG && stat.st_size == 0,
        _ => false,
    }
}
