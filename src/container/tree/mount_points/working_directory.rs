//! The directory that a container's command starts in.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::unistd::{Gid, Uid, fchownat};

use super::{MountPoint, MountPointError, What, outer, resolve};
use crate::container::request::config::{Config, ContainerPath};
use crate::container::tree::{inside, rootfs, user};
use crate::sys;

/// Makes the directory that the command starts in where it is missing, be it in the layer or in what is
/// mounted on it. It is the user's that the command runs as.
pub(super) fn make(
    root: BorrowedFd<'_>,
    points: &[MountPoint],
    directory: &ContainerPath,
    config: &Config,
) -> Result<(), MountPointError> {
    let place = resolve(root, directory.as_path()).unwrap_or_else(|_| directory.as_path().to_owned());
    let Some(outer) = outer(points, &place) else {
        let is_new = matches!(inside::directory(root, directory.as_path()), Err(Errno::ENOENT));
        rootfs::ensure_directory(root, directory)?;
        if is_new {
            let made = inside::directory(root, directory.as_path());
            made.and_then(|made| give_to_user(root, &made, config)).map_err(|errno| {
                MountPointError::Destination { destination: place.clone(), source: errno.into() }
            })?;
        }
        return Ok(());
    };
    let (What::Bind { source, .. }, false, Ok(below)) =
        (&outer.what, outer.read_only, place.strip_prefix(&outer.destination))
    else {
        return Ok(());
    };
    let below = Path::new("/").join(below);
    let is_new = matches!(inside::find(source, &below), Err(Errno::ENOENT));
    let made = inside::make(source, &below, true);
    match made.and_then(|made| if is_new { give_to_user(root, &made, config) } else { Ok(()) }) {
        // Where links lead there is found out when the command starts.
        Ok(()) | Err(Errno::ELOOP) => Ok(()),
        Err(errno) => Err(MountPointError::Destination { destination: place.clone(), source: errno.into() }),
    }
}

/// Makes a new directory that of the user whom the container's command runs as.
fn give_to_user(root: BorrowedFd<'_>, directory: &OwnedFd, config: &Config) -> Result<(), Errno> {
    let Some(user) = &config.user else { return Ok(()) };
    let path = PathBuf::from(sys::descriptor_path(root).as_str());
    // Of a user that is not known, the start tells.
    let Ok(identity) = user::lookup(&path, Some(user), &[]) else { return Ok(()) };
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    fchownat(directory, "", Some(uid), Some(gid), AtFlags::AT_EMPTY_PATH)
}
