//! Paths below a directory that is held open.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

/// As many links as the kernel follows in one path (path_resolution(7)).
pub const LINKS_MAX: usize = 40;

/// How often openat2(2) is asked again when something was renamed while it looked: a container that renames without
/// pause makes every twelfth attempt fail.
const ATTEMPTS: usize = 10_000;

/// Opens `path` inside `root`: neither links nor `..` lead out of it. `resolve` restricts that further.
///
/// # Errors
/// The kernel refuses, or something on the way was renamed at every attempt (`EBUSY`).
pub fn open_inside(root: impl AsFd, path: &Path, flags: OFlag, resolve: ResolveFlag) -> nix::Result<OwnedFd> {
    let inside = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(inside | resolve);
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    for _ in 0..ATTEMPTS {
        match openat2(&root, path, how) {
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            opened => return opened,
        }
    }
    Err(Errno::EBUSY)
}
