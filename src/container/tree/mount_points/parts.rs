//! A directory or file inside an image or a volume, which is mounted instead of the whole.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;

use super::{MountPointError, What};
use crate::container::request::mounts::{Propagation, Submounts};
use crate::container::tree::inside::{self, Links};
use crate::container::tree::{detached, rootfs};

/// Mounts an image's layers, or what is at `part` in them.
pub(super) fn of_image(
    name: &str,
    layers: &[PathBuf],
    part: Option<&Path>,
    destination: &Path,
) -> Result<What, MountPointError> {
    let whole = rootfs::mount_readable(layers)?.into_descriptor();
    let root = match part {
        None => whole,
        Some(part) => copy_of_part(&whole, part).map_err(|errno| MountPointError::Source {
            source_path: Path::new(name).join(part),
            destination: destination.to_owned(),
            source: errno.into(),
        })?,
    };
    Ok(What::Image { name: name.to_owned(), root })
}

/// What is at `part` in a mount that is attached nowhere. Only what is attached can be copied in part (until Linux 6.15):
/// it is attached in a mount namespace that ends with the call, for which the thread is.
fn copy_of_part(whole: &OwnedFd, part: &Path) -> Result<OwnedFd, Errno> {
    let work = || {
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
        detached::attach_to_root(whole)?;
        let found = inside::open(whole, part, OFlag::O_PATH, Links::Follow)?;
        detached::copy_of(found.as_fd(), false)
    };
    std::thread::scope(|scope| {
        scope.spawn(work).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// What is at `part` in a volume. Containers write to it: links lead nowhere else.
pub(super) fn of_volume(data: &Path, part: &Path, destination: &Path) -> Result<What, MountPointError> {
    let path = data.join(part);
    let find = || {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        inside::open(open(data, flags, Mode::empty())?, part, OFlag::O_PATH, Links::Follow)
    };
    let source = find().map_err(|errno: Errno| MountPointError::Source {
        source_path: path.clone(),
        destination: destination.to_owned(),
        source: errno.into(),
    })?;
    Ok(What::Bind { path, source, submounts: Submounts::Follow, propagation: Propagation::default() })
}
