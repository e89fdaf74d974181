//! Directories are removed with all in them, however deep they are nested: that is up to containers, and neither
//! descriptors nor stack are to depend on it.

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

/// How deep is gone down at a time. What lies deeper is first moved up to the top.
const DEEPEST: usize = 32;

const DIRECTORY: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// Removes the directory `name` of `parent` and all below it. Links are removed, not followed; others may be
/// removing the same.
///
/// # Errors
/// There is none (`ENOENT`, `ENOTDIR`), or something in it cannot be removed.
pub fn remove_tree_at(parent: impl AsFd, name: &OsStr) -> nix::Result<()> {
    let top = openat(&parent, name, DIRECTORY, Mode::empty())?;
    let mut removal = Removal { top, moved: 0, has_changed: false };
    loop {
        removal.has_changed = false;
        removal.empty(Dir::openat(&removal.top, ".", DIRECTORY, Mode::empty())?, 0)?;
        match unlinkat(&parent, name, UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => return Ok(()),
            // What was moved up meanwhile; or somebody has put something into it.
            Err(Errno::ENOTEMPTY | Errno::EEXIST) if removal.has_changed => {}
            Err(errno) => return Err(errno),
        }
    }
}

struct Removal {
    top: OwnedFd,
    /// How many directories were moved to the top.
    moved: u64,
    /// Whether anything was removed or moved in this turn.
    has_changed: bool,
}

impl Removal {
    fn empty(&mut self, mut directory: Dir, depth: usize) -> nix::Result<()> {
        let fd = directory.as_fd().try_clone_to_owned().map_err(|error| errno_of(&error))?;
        for entry in directory.iter() {
            let entry = entry?;
            let name = entry.file_name();
            if !matches!(name.to_bytes(), b"." | b"..") {
                self.remove(fd.as_fd(), name, entry.file_type(), depth)?;
            }
        }
        Ok(())
    }

    fn remove(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &CStr,
        kind: Option<Type>,
        depth: usize,
    ) -> nix::Result<()> {
        if kind != Some(Type::Directory) {
            match unlinkat(directory, name, UnlinkatFlags::NoRemoveDir) {
                // Not every file system has the kind in its listings.
                Err(Errno::EISDIR) => {}
                removed => return self.note(removed),
            }
        }
        if depth == DEEPEST {
            return self.move_up(directory, name);
        }
        match Dir::openat(directory, name, DIRECTORY, Mode::empty()) {
            Ok(inner) => self.empty(inner, depth + 1)?,
            // Gone, or something else by now: there will be another turn.
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
            Err(errno) => return Err(errno),
        }
        match unlinkat(directory, name, UnlinkatFlags::RemoveDir) {
            // There will be another turn.
            Err(Errno::ENOTEMPTY | Errno::EEXIST) => Ok(()),
            removed => self.note(removed),
        }
    }

    fn move_up(&mut self, directory: BorrowedFd<'_>, name: &CStr) -> nix::Result<()> {
        loop {
            let place = format!(".moved.{}", self.moved);
            self.moved += 1;
            match renameat(directory, name, &self.top, place.as_str()) {
                // Something of that name is there.
                Err(Errno::EEXIST | Errno::ENOTEMPTY | Errno::ENOTDIR) => {}
                moved => return self.note(moved),
            }
        }
    }

    fn note(&mut self, result: nix::Result<()>) -> nix::Result<()> {
        match result {
            Ok(()) => self.has_changed = true,
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
        Ok(())
    }
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the atomic writer is for the product's files")]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use nix::sys::stat::mkdirat;

    use super::*;

    /// A chain of directories, each with a file in it, that is longer than any path and than any process has
    /// descriptors.
    fn make_deep(directory: &Path, depth: usize) {
        let mut current = OwnedFd::from(File::open(directory).unwrap());
        for _ in 0..depth {
            mkdirat(&current, "d", Mode::S_IRWXU).unwrap();
            let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_CLOEXEC;
            drop(openat(&current, "file", flags, Mode::S_IRWXU).unwrap());
            current = openat(&current, "d", DIRECTORY, Mode::empty()).unwrap();
        }
    }

    #[test]
    fn depth_does_not_matter_and_links_are_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["top/a/b", "top/.moved.0/x", "other"] {
            std::fs::create_dir_all(path(name)).unwrap();
        }
        for name in ["top/.moved.1", "other/stays"] {
            std::fs::write(path(name), "").unwrap();
        }
        symlink(path("other"), path("top/a/link")).unwrap();
        make_deep(&path("top"), 3000);
        make_deep(&path("top/a/b"), 100);
        let parent = File::open(directory.path()).unwrap();
        remove_tree_at(&parent, "top".as_ref()).unwrap();
        assert!(!path("top").exists() && path("other/stays").exists());
        assert_eq!(remove_tree_at(&parent, "top".as_ref()), Err(Errno::ENOENT));
        symlink("other", path("link")).unwrap();
        for no_directory in ["link", "other/stays"] {
            assert_eq!(remove_tree_at(&parent, no_directory.as_ref()), Err(Errno::ENOTDIR), "{no_directory}");
        }
        assert!(path("other/stays").exists());
    }
}
