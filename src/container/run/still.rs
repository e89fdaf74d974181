//! The tree of a container that does not run, with all mounted in it that it has when it runs.
//!
//! It is put together in a mount namespace of its own, in which no process is: the descriptor of the namespace keeps it,
//! and when that is closed, or we are killed, all of it is gone.
//!
//! What there is only while the container runs (its tmpfs, and the kernel's own file systems) are empty directories here
//! that nobody can write to: what was put there would be lost.

use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::libc;
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{fchdir, pivot_root};

use super::mounting::{self, Attachment};
use super::runtime::RuntimeError;
use crate::container::tree::detached;
use crate::container::tree::mount_points::{MountPoint, What};
use crate::container::tree::rootfs::Rootfs;
use crate::store::FileError;
use crate::sys::MountAttributes;

/// Where the kernel's own file systems are in every container.
const KERNELS: [&str; 3] = ["/dev", "/proc", "/sys"];

/// A tree in a mount namespace of its own.
#[derive(Debug)]
pub struct StillTree {
    root: OwnedFd,
    _namespace: File,
}

impl StillTree {
    /// Mounts `points` in the root file system of a container, which is itself read-only then if it is to be.
    ///
    /// # Errors
    /// [`RuntimeError::Mount`] names what cannot be mounted where.
    pub fn mount(rootfs: Rootfs, points: &[MountPoint], read_only: bool) -> Result<Self, RuntimeError> {
        let mut attachments = Vec::new();
        for place in KERNELS {
            attachments.push(mounting::empty(place)?);
        }
        // What is mounted in them is there only while they are.
        let lasts = |point: &&MountPoint| !KERNELS.iter().any(|place| point.destination.starts_with(place));
        for point in points.iter().filter(lasts) {
            attachments.push(attachment(point)?);
        }
        // A directory comes before what is in it.
        attachments.sort_by_key(|attachment| attachment.place.components().count());
        let root = rootfs.into_descriptor();
        // The thread ends in the namespace that it has made.
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| put_together(root, &attachments, read_only));
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Its top directory.
    ///
    /// # Errors
    /// There are no more descriptors.
    pub fn root(&self) -> std::io::Result<OwnedFd> {
        self.root.try_clone()
    }
}

/// A mount of the user's, or what stands for one that is there only while the container runs.
fn attachment(point: &MountPoint) -> Result<Attachment, RuntimeError> {
    match &point.what {
        What::Bind { .. } | What::Image { .. } => mounting::user(point),
        What::Tmpfs { options } => mounting::user(&MountPoint {
            destination: point.destination.clone(),
            what: What::Tmpfs { options: options.clone() },
            read_only: true,
        }),
    }
}

fn put_together(
    root: OwnedFd,
    attachments: &[Attachment],
    read_only: bool,
) -> Result<StillTree, RuntimeError> {
    let failed = |place: &Path| {
        let place = place.to_owned();
        move |errno: Errno| RuntimeError::Mount {
            what: "what the container has there".to_owned(),
            place,
            source: errno.into(),
        }
    };
    let top = || failed(Path::new("/"));
    unshare(CloneFlags::CLONE_NEWNS).map_err(top())?;
    let host = File::open("/").map_err(|error| top()(super::step::errno_of(&error)))?;
    detached::set_attributes(&host, MountAttributes::empty(), libc::MS_PRIVATE, true).map_err(top())?;
    detached::attach_to_root(&root).map_err(top())?;
    for attachment in attachments {
        attachment.attach(root.as_fd(), 0).map_err(|failure| failed(&attachment.place)(failure.errno))?;
    }
    if read_only {
        detached::set_attributes(&root, MountAttributes::MOUNT_ATTR_RDONLY, 0, false).map_err(top())?;
    }
    // The host's mounts are let go of: nobody is to wait for this copy of them.
    let let_go = || {
        fchdir(&root)?;
        pivot_root(".", ".")?;
        umount2(".", MntFlags::MNT_DETACH)
    };
    let path = "/proc/thread-self/ns/mnt";
    let namespace = File::open(path).map_err(FileError::of("open the namespace", Path::new(path)))?;
    let_go().map_err(top())?;
    Ok(StillTree { root, _namespace: namespace })
}
