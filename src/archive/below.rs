//! Files below a directory that is held open, whatever links are in it: `..` and absolute links end at that
//! directory, and what happens to a file happens to the file behind a descriptor.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, ResolveFlag, open, openat, readlinkat};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags};
use nix::sys::stat::{fchmodat, fstat, mkdirat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, unlinkat};

use super::Time;
use crate::store;
use crate::sys;

/// Opens a name without any use of the file but to find it again.
const FIND: OFlag = OFlag::O_PATH.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// A directory that everything happens below.
#[derive(Debug)]
pub struct Below {
    root: OwnedFd,
}

/// A place that a path leads to, whether something is there or not.
#[derive(Debug)]
pub struct Spot {
    /// The directory it is in; the place itself, if it has no name of its own.
    pub directory: OwnedFd,
    /// Its name there; `None` for the root and for paths that end with dots.
    pub name: Option<OsString>,
    /// What is there now: opened with `O_PATH`, not followed.
    pub file: Option<OwnedFd>,
}

impl Below {
    /// Holds the directory `path`, which is resolved as usual, links included.
    ///
    /// # Errors
    /// It is no directory, or cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self { root: open(path, flags, Mode::empty())? })
    }

    /// Holds a directory that is open already.
    #[must_use]
    pub fn new(root: OwnedFd) -> Self {
        Self { root }
    }

    /// Opens the directory `path` (with `O_PATH`); links are followed below the root only.
    ///
    /// # Errors
    /// There is none.
    pub fn directory(&self, path: impl AsRef<Path>) -> io::Result<OwnedFd> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        Ok(sys::open_inside(&self.root, path.as_ref(), flags, ResolveFlag::empty())?)
    }

    /// Opens the directory that the names lead to; what is missing is made with mode 0755, and `on_change` is told
    /// before which directory, by the number of its names, is going to have a new one.
    ///
    /// The kernel walks the whole path for each look, so that there are only a few: not one for each name.
    pub(super) fn make_directories(
        &self,
        names: &[&OsStr],
        on_change: impl FnOnce(usize, &OwnedFd) -> io::Result<()>,
    ) -> io::Result<OwnedFd> {
        let open = |count: usize| self.directory(names[..count].iter().collect::<PathBuf>());
        match open(names.len()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        // The longest beginning that is there.
        let (mut there, mut missing) = (0, names.len());
        let mut current = open(0)?;
        while there + 1 < missing {
            let middle = usize::midpoint(there, missing);
            match open(middle) {
                Ok(opened) => (there, current) = (middle, opened),
                Err(error) if error.kind() == io::ErrorKind::NotFound => missing = middle,
                Err(error) => return Err(error),
            }
        }
        on_change(there, &current)?;
        for (at, name) in names.iter().enumerate().skip(there) {
            current = match mkdirat(&current, *name, Mode::from_bits_truncate(0o755)) {
                Ok(()) => {
                    let made = openat(&current, *name, FIND | OFlag::O_DIRECTORY, Mode::empty())?;
                    // Whatever the caller's umask is.
                    set_mode(&made, 0o755)?;
                    made
                }
                // Somebody else was faster; or it is a link.
                Err(Errno::EEXIST) => open(at + 1)?,
                Err(errno) => return Err(errno.into()),
            };
        }
        Ok(current)
    }

    /// Finds the place that `path` leads to. With `follow`, a link there is followed as well, otherwise it is
    /// what was looked for. A path that ends with `/` or dots means the directory there.
    ///
    /// # Errors
    /// The directory that it would be in does not exist.
    pub fn spot(&self, path: &Path, follow: bool) -> io::Result<Spot> {
        let mut path = path.as_os_str().to_owned();
        for _ in 0..sys::LINKS_MAX {
            let bytes = path.as_bytes();
            let (parent, name) = match bytes.iter().rposition(|byte| *byte == b'/') {
                Some(slash) => (&bytes[..=slash], &bytes[slash + 1..]),
                None => (&b"."[..], bytes),
            };
            if matches!(name, b"" | b"." | b"..") {
                let directory = self.directory(&path)?;
                let file = Some(directory.try_clone()?);
                return Ok(Spot { directory, name: None, file });
            }
            let directory = self.directory(OsStr::from_bytes(parent))?;
            let name = OsStr::from_bytes(name).to_owned();
            let Some(file) = find_at(&directory, &name)? else {
                return Ok(Spot { directory, name: Some(name), file: None });
            };
            if !follow || kind_of(&fstat(&file)?) != SFlag::S_IFLNK {
                return Ok(Spot { directory, name: Some(name), file: Some(file) });
            }
            let target = readlinkat(&file, "")?;
            path = if target.as_bytes().starts_with(b"/") {
                target
            } else {
                OsString::from_vec([parent, b"/", target.as_bytes()].concat())
            };
        }
        Err(Errno::ELOOP.into())
    }
}

/// The file `name` in a directory, opened with `O_PATH` and not followed; `None` if there is none.
pub(super) fn find_at(directory: impl AsFd, name: &OsStr) -> io::Result<Option<OwnedFd>> {
    match openat(directory, name, FIND, Mode::empty()) {
        Ok(file) => Ok(Some(file)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether something is mounted on the name, in whatever mount namespace the directory is.
pub(super) fn is_mounted_on(directory: impl AsFd, name: &OsStr) -> io::Result<bool> {
    use rustix::fs::{AtFlags, StatxAttributes, StatxFlags, statx};
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    let found = statx(directory, name, flags, StatxFlags::TYPE)?;
    if found.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) {
        return Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT));
    }
    // Before Linux 5.8 the kernel does not say so: better nothing is replaced than a mount removed.
    Ok(true)
}

/// A new file `name`, open for writing. It must not exist, not even as a link to nothing.
pub(super) fn create_at(directory: impl AsFd, name: &OsStr) -> io::Result<File> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(File::from(openat(directory, name, flags, Mode::from_bits_truncate(0o600))?))
}

/// Opens the regular file behind `fd` with these flags: that very file, wherever its name leads by now.
pub(super) fn reopen(fd: impl AsFd, flags: OFlag) -> io::Result<File> {
    let flags = flags | OFlag::O_CLOEXEC | OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
    Ok(File::from(open(sys::descriptor_path(fd.as_fd()).as_str(), flags, Mode::empty())?))
}

/// Removes a name and all below it; links are removed, not followed. "Already gone" is success.
pub(super) fn remove_at(directory: impl AsFd, name: &OsStr) -> io::Result<()> {
    match unlinkat(&directory, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno @ (Errno::EISDIR | Errno::EPERM)) => match store::remove_tree_at(directory, name) {
            // What cannot be removed, either way, is no directory.
            Err(Errno::ENOTDIR) => Err(errno.into()),
            removed => Ok(removed?),
        },
        Err(errno) => Err(errno.into()),
    }
}

/// The file type bits.
pub(super) fn kind_of(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

/// Sets the owner of the very file behind `fd`.
pub(super) fn set_owner(fd: impl AsFd, uid: u32, gid: u32) -> io::Result<()> {
    Ok(fchownat(fd, "", Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::AT_EMPTY_PATH)?)
}

/// Sets the permissions of the very file behind `fd`, which is not a link.
pub(super) fn set_mode(fd: impl AsFd, mode: u32) -> io::Result<()> {
    let path = sys::descriptor_path(fd.as_fd());
    let mode = Mode::from_bits_truncate(mode);
    Ok(fchmodat(AT_FDCWD, path.as_str(), mode, FchmodatFlags::FollowSymlink)?)
}

/// Sets the times of the very file behind `fd`.
pub(super) fn set_modified(fd: impl AsFd, time: Time) -> io::Result<()> {
    let path = sys::descriptor_path(fd.as_fd());
    let time = TimeSpec::new(time.seconds, i64::from(time.nanoseconds));
    // The name in /proc is followed to the file and no further.
    Ok(utimensat(AT_FDCWD, path.as_str(), &time, &time, UtimensatFlags::FollowSymlink)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    fn text(spot: &Spot) -> Option<String> {
        let file = spot.file.as_ref()?;
        io::read_to_string(reopen(file, OFlag::O_RDONLY).unwrap()).ok()
    }

    #[test]
    fn links_lead_nowhere_but_below() {
        let base = tempfile::tempdir().unwrap();
        let root = base.path().join("root");
        std::fs::create_dir_all(root.join("etc/sub")).unwrap();
        for (path, contents) in [("etc/passwd", "inside"), ("../etc", "outside")] {
            crate::store::write_atomic(
                &root.join(path),
                contents.as_bytes(),
                crate::store::Durability::Process,
            )
            .unwrap();
        }
        symlink("/etc/passwd", root.join("absolute")).unwrap();
        symlink("../../../../etc/passwd", root.join("etc/sub/upward")).unwrap();
        symlink("sub/upward", root.join("etc/twice")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        symlink("/nowhere", root.join("dangling")).unwrap();
        let below = Below::open(&root).unwrap();
        for path in
            ["absolute", "/absolute", "etc/sub/upward", "etc/twice", "../../etc/passwd", "etc/sub/../passwd"]
        {
            assert_eq!(
                text(&below.spot(Path::new(path), true).unwrap()).as_deref(),
                Some("inside"),
                "{path}"
            );
        }
        let link = below.spot(Path::new("absolute"), false).unwrap();
        assert_eq!(kind_of(&fstat(link.file.as_ref().unwrap()).unwrap()), SFlag::S_IFLNK);
        assert!(below.spot(Path::new("loop"), true).is_err());
        assert!(below.spot(Path::new("missing/x"), true).is_err());
        let dangling = below.spot(Path::new("dangling"), true).unwrap();
        assert!(dangling.file.is_none());
        assert_eq!(dangling.name.as_deref(), Some(OsStr::new("nowhere")));
        for path in ["/", "", ".", "etc/..", "etc/sub/../..", "../.."] {
            let spot = below.spot(Path::new(path), true).unwrap();
            let inode = fstat(spot.file.as_ref().unwrap()).unwrap().st_ino;
            assert_eq!((spot.name, inode), (None, std::fs::metadata(&root).unwrap().ino()), "{path}");
        }
    }

    #[test]
    fn what_is_changed_is_the_link_itself() {
        let base = tempfile::tempdir().unwrap();
        let target = base.path().join("target");
        std::fs::create_dir(&target).unwrap();
        let before = std::fs::metadata(&target).unwrap();
        symlink(&target, base.path().join("link")).unwrap();
        let below = Below::open(base.path()).unwrap();
        let link = below.spot(Path::new("link"), false).unwrap();
        let file = link.file.unwrap();
        set_owner(&file, 4711, 4712).unwrap();
        set_modified(&file, Time { seconds: 1000, nanoseconds: 5 }).unwrap();
        let changed = std::fs::symlink_metadata(base.path().join("link")).unwrap();
        assert_eq!((changed.uid(), changed.gid()), (4711, 4712));
        assert_eq!((changed.mtime(), changed.mtime_nsec()), (1000, 5));
        let after = std::fs::metadata(&target).unwrap();
        assert_eq!((before.uid(), before.mtime()), (after.uid(), after.mtime()));
        remove_at(&link.directory, OsStr::new("link")).unwrap();
        assert!(target.is_dir() && !base.path().join("link").exists());
        std::fs::create_dir_all(target.join("a/b")).unwrap();
        remove_at(&link.directory, OsStr::new("target")).unwrap();
        remove_at(&link.directory, OsStr::new("target")).unwrap();
        assert!(!target.exists());
    }
}
