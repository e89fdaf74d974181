//! What a container changed in the files of its image.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};

use crate::archive::{self, names};
use crate::container::life::view::{self, Part, ViewError};
use crate::names::ContainerId;
use crate::store::Layout;

/// How deep directories may be nested. Each level takes a part of the stack.
const DEPTH_MAX: usize = 1024;

/// Why the changes cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum ChangesError {
    /// The container's files cannot be reached.
    #[error(transparent)]
    View(#[from] ViewError),
    /// One of them cannot be read.
    #[error("cannot read {path} of the container")]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The image has none of that name.
    Added,
    /// The image's is another one. Of a directory: something in it was changed, or the directory itself.
    Changed,
    /// Only the image has one.
    Deleted,
}

/// A changed file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What happened.
    pub kind: Kind,
    /// Its absolute path in the container.
    pub path: PathBuf,
}

/// All that the container changed, sorted by path within each directory.
///
/// # Errors
/// [`ChangesError`].
pub fn list(layout: &Layout, id: &ContainerId, layers: &[PathBuf]) -> Result<Vec<Change>, ChangesError> {
    archive::allow_descriptors();
    let upper = view::upper(layout, id, layers)?;
    let image = view::mounted(layout, id, layers, Part::Image)?;
    let mut changes = Vec::new();
    directory(&upper, Some(&image), &OsString::new(), 0, &mut changes)?;
    Ok(changes)
}

/// Appends what is in this directory of the container's layer. `image` is the image's directory there.
fn directory(
    upper: &OwnedFd,
    image: Option<&OwnedFd>,
    path: &OsStr,
    depth: usize,
    changes: &mut Vec<Change>,
) -> Result<(), ChangesError> {
    let failed = |path: &OsStr, source: io::Error| ChangesError::Read { path: absolute(path), source };
    if depth > DEPTH_MAX {
        return Err(failed(path, Errno::ENAMETOOLONG.into()));
    }
    for name in names(upper).map_err(|error| failed(path, error))? {
        let mut below = path.to_owned();
        if !below.is_empty() {
            below.push("/");
        }
        below.push(&name);
        let read = |fd: Option<&OwnedFd>| match fd {
            Some(fd) => look(fd, &name).map_err(|error| failed(&below, error)),
            None => Ok(None),
        };
        // It may have gone since.
        let Some((file, stat)) = read(Some(upper))? else { continue };
        let before = read(image)?;
        if view::is_mount_point(&below, &stat) {
            continue;
        }
        if kind(&stat) == SFlag::S_IFCHR && stat.st_rdev == 0 {
            if before.is_some() {
                changes.push(Change { kind: Kind::Deleted, path: absolute(&below) });
            }
            continue;
        }
        let place = changes.len();
        if kind(&stat) == SFlag::S_IFDIR {
            let inner = before.as_ref().filter(|(_, old)| kind(old) == SFlag::S_IFDIR).map(|(fd, _)| fd);
            directory(&file, inner, &below, depth + 1, changes)?;
        }
        let touched = changes.len() > place;
        let kind = match &before {
            None => Kind::Added,
            // A directory that something was only found or mounted in is copied as it was.
            Some((_, old)) if kind(&stat) == SFlag::S_IFDIR && same(old, &stat) && !touched => continue,
            Some((_, old)) if is_only_mounted_in(&file, &below, old, &stat) && !touched => continue,
            Some(_) => Kind::Changed,
        };
        changes.insert(place, Change { kind, path: absolute(&below) });
    }
    Ok(())
}

fn absolute(path: &OsStr) -> PathBuf {
    PathBuf::from("/").join(path)
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

/// Whether two directories are alike in all but what is in them.
fn same(old: &FileStat, new: &FileStat) -> bool {
    let of = |stat: &FileStat| (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_mtime, stat.st_mtime_nsec);
    of(old) == of(new)
}

/// Whether a directory has another time only because of what was made in it to be mounted on.
fn is_only_mounted_in(file: &OwnedFd, path: &OsStr, old: &FileStat, new: &FileStat) -> bool {
    let alike = (old.st_mode, old.st_uid, old.st_gid) == (new.st_mode, new.st_uid, new.st_gid);
    alike
        && kind(new) == SFlag::S_IFDIR
        && names(file).is_ok_and(|names| {
            !names.is_empty()
                && names.iter().all(|name| {
                    let below = OsString::from_iter([path, OsStr::new("/"), name]);
                    matches!(look(file, name), Ok(Some((_, stat))) if view::is_mount_point(&below, &stat))
                })
        })
}

fn look(directory: &OwnedFd, name: &OsStr) -> io::Result<Option<(OwnedFd, FileStat)>> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match openat(directory, name, flags, Mode::empty()) {
        Ok(file) => {
            let stat = fstat(&file)?;
            Ok(Some((file, stat)))
        }
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}
