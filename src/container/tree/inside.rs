//! Paths inside a container's root, which is held by its descriptor: links of the container lead nowhere else, and
//! what was opened stays what it is, whatever happens to its name.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, ResolveFlag};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, mkdirat};

use crate::sys;

/// What becomes of symbolic links on the way and at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::container) enum Links {
    /// They are followed inside the root, except by [`OFlag::O_NOFOLLOW`] the last one.
    Follow,
    /// They are refused (`ELOOP`), except that the last one is opened itself with [`OFlag::O_NOFOLLOW`].
    Refuse,
}

/// Opens `path` inside `root`.
pub(in crate::container) fn open(
    root: impl AsFd,
    path: &Path,
    flags: OFlag,
    links: Links,
) -> Result<OwnedFd, Errno> {
    let resolve = match links {
        Links::Follow => ResolveFlag::empty(),
        Links::Refuse => ResolveFlag::RESOLVE_NO_SYMLINKS,
    };
    sys::open_inside(root, path, flags, resolve)
}

/// Opens what is at `path` without following any link: one at its end is opened itself.
pub(in crate::container) fn find(root: impl AsFd, path: &Path) -> Result<OwnedFd, Errno> {
    open(root, path, OFlag::O_PATH | OFlag::O_NOFOLLOW, Links::Refuse)
}

/// Opens a directory; links are followed inside the root.
pub(in crate::container) fn directory(root: impl AsFd, path: &Path) -> Result<OwnedFd, Errno> {
    open(root, path, OFlag::O_PATH | OFlag::O_DIRECTORY, Links::Follow)
}

/// Opens what is at `path`, a path without links, after making what is missing of it: directories with mode 0755, and
/// at its end an empty file unless it is to be a directory.
pub(in crate::container) fn make(root: impl AsFd, path: &Path, is_directory: bool) -> Result<OwnedFd, Errno> {
    make_below(root.as_fd(), path, is_directory)
}

fn make_below(root: BorrowedFd<'_>, path: &Path, is_directory: bool) -> Result<OwnedFd, Errno> {
    match find(root, path) {
        Err(Errno::ENOENT) => {}
        found => return found,
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::ENOENT) };
    let parent = make_below(root, parent, true)?;
    let made = if is_directory {
        mkdirat(&parent, name, Mode::from_bits_truncate(0o755))
    } else {
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        nix::fcntl::openat(&parent, name, flags, Mode::from_bits_truncate(0o644)).map(drop)
    };
    match made {
        Ok(()) | Err(Errno::EEXIST) => find(root, path),
        Err(errno) => Err(errno),
    }
}

/// Makes the directory `path` with what is missing above it, with mode 0755 whatever the umask; links are followed
/// inside the root.
pub(in crate::container) fn make_directories(
    root: impl AsFd,
    path: &Path,
) -> Result<OwnedFd, (PathBuf, Errno)> {
    let mut so_far = PathBuf::from("/");
    let mut current = directory(&root, &so_far).map_err(|errno| (so_far.clone(), errno))?;
    // Each name is resolved from the root, so that a link half-way is followed as the container would.
    for component in path.components() {
        let Component::Normal(name) = component else { continue };
        so_far.push(name);
        let next = match directory(&root, &so_far) {
            Err(Errno::ENOENT) => mkdirat(&current, name, Mode::from_bits_truncate(0o755))
                .and_then(|()| open(&root, &so_far, OFlag::O_RDONLY | OFlag::O_DIRECTORY, Links::Follow))
                .and_then(|made| fchmod(&made, Mode::from_bits_truncate(0o755)).map(|()| made)),
            opened => opened,
        };
        current = next.map_err(|errno| (so_far.clone(), errno))?;
    }
    Ok(current)
}

/// The longest file of a container's that is read. No sane list of users or hosts is longer.
const FILE_MAX: u64 = 1 << 20;

/// The contents of the file at `path`, which the container may have made and may be changing; `None` if there is none.
/// See [`contents`].
pub(in crate::container) fn read(root: impl AsFd, path: &Path) -> io::Result<Option<Vec<u8>>> {
    match open(root, path, OFlag::O_PATH, Links::Follow) {
        Ok(found) => contents(found).map(Some),
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// The contents of a file that a container may write to: of a regular one only, and of at most 1 MiB. Nobody is waited
/// for, neither the other end of a FIFO nor who has a lease on the file (fcntl(2)); and nothing else is opened, as a
/// device may act on that alone.
pub(in crate::container) fn contents(found: impl AsFd) -> io::Result<Vec<u8>> {
    if kind(&fstat(&found)?) != SFlag::S_IFREG {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a regular file"));
    }
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = nix::fcntl::open(sys::descriptor_path(found.as_fd()).as_str(), flags, Mode::empty())?;
    let mut bytes = Vec::new();
    let length = File::from(file).take(FILE_MAX + 1).read_to_end(&mut bytes)?;
    if u64::try_from(length).is_ok_and(|length| length > FILE_MAX) {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 1 MiB"));
    }
    Ok(bytes)
}

/// What kind of file it is.
pub(in crate::container) fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

/// Whether it is a directory.
pub(in crate::container) fn is_directory(file: impl AsFd) -> Result<bool, Errno> {
    Ok(kind(&fstat(file)?) == SFlag::S_IFDIR)
}
