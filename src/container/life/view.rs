//! A container's tree of files for those who are not in it, whether it runs or not.
//!
//! What is handed out is the tree's top directory, held open with `O_PATH`. A tree that is not mounted is mounted
//! for the caller alone and attached nowhere: only the held directory keeps it alive, so that nothing is left when we
//! are killed, and nobody else ever sees the mount.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::{FileStat, Mode, SFlag};

use super::record::{self, Head, State};
use crate::container::request::config::Config;
use crate::container::run::runtime::RuntimeError;
use crate::container::run::still::StillTree;
use crate::container::tree::detached;
use crate::container::tree::files::Files;
use crate::container::tree::mount_points::{self, MountPointError, MountPoints};
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
    /// What is mounted in the container is at fault.
    #[error(transparent)]
    Points(#[from] MountPointError),
    /// Something cannot be mounted in its tree.
    #[error(transparent)]
    Still(#[from] RuntimeError),
}

/// Which files of a container are wanted, without what is mounted in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All.
    All,
    /// Those of the image alone.
    Image,
}

/// A container's files as the container sees them, with everything mounted in it; or would see them if it ran.
#[derive(Debug)]
pub struct Tree {
    root: OwnedFd,
    /// What keeps a tree that is only there for us, and directories of the host that were made for it: they go with it
    /// unless something was put into them.
    _still: Option<(StillTree, MountPoints)>,
}

impl Tree {
    /// The tree of a running container.
    ///
    /// # Errors
    /// [`ViewError::Ended`], or the kernel refuses.
    pub fn live(init: Process) -> Result<Self, ViewError> {
        let path = PathBuf::from(format!("/proc/{}/root", init.pid));
        let root = open_directory(&path);
        // Whose root that is is only certain if the process is still there afterwards.
        if !init.is_alive() {
            return Err(ViewError::Ended);
        }
        Ok(Self { root: root?, _still: None })
    }

    /// The tree of a container that does not run, for the caller alone. Its volumes are there, and the files that are
    /// made for it.
    ///
    /// # Errors
    /// Something of it cannot be mounted.
    pub fn still(
        layout: &Layout,
        id: &ContainerId,
        config: &Config,
        files: &Files,
    ) -> Result<Self, ViewError> {
        prepare(layout, id, &config.layers)?;
        // A node that the container has made would open the host's disks to us.
        let attributes = MountAttributes::MOUNT_ATTR_NODEV;
        let rootfs = rootfs::mount_layer(layout, id, &config.layers, attributes, Keep::Layer)?;
        let points = mount_points::prepare(layout, id, config, files, rootfs.as_fd())?;
        let tree = StillTree::mount(rootfs, points.points(), config.settings.read_only)?;
        let root = tree.root().map_err(ViewError::Mount)?;
        Ok(Self { root, _still: Some((tree, points)) })
    }

    /// Its top directory, which is valid as long as this is kept.
    ///
    /// # Errors
    /// There are no more descriptors.
    pub fn root(&self) -> io::Result<OwnedFd> {
        self.root.try_clone()
    }
}

/// Opens the root of a running container without what is mounted in it: a copy of that one mount, taken in the
/// container's mount namespace.
///
/// # Errors
/// As [`Tree::live`].
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
        Part::All => {
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
