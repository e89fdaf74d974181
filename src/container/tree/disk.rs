//! How much disk a container's own layer, or an image, takes.

use std::collections::HashSet;
use std::os::fd::AsFd;
use std::path::Path;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};

/// How deep directories are looked into: each takes a descriptor. What lies deeper is not counted.
const DEEPEST: usize = 200;

/// The bytes of all files in a tree, each once however many names it has. Other file systems mounted in it do
/// not count. A container may be changing the tree meanwhile: no link is followed, and what goes is passed over.
///
/// # Errors
/// The directory itself cannot be read.
pub fn size(directory: &Path) -> std::io::Result<u64> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let directory = Dir::open(directory, flags, Mode::empty())?;
    let device = fstat(&directory)?.st_dev;
    let mut walk = Walk { device, flags, counted: HashSet::new(), bytes: 0 };
    walk.directory(directory, 0)?;
    Ok(walk.bytes)
}

struct Walk {
    device: u64,
    flags: OFlag,
    /// The files with more than one name that were met.
    counted: HashSet<u64>,
    bytes: u64,
}

impl Walk {
    fn directory(&mut self, mut directory: Dir, depth: usize) -> Result<(), Errno> {
        let mut below = Vec::new();
        let entries: Vec<_> = directory.iter().collect::<Result<_, _>>()?;
        for entry in entries {
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") || entry.file_type() == Some(Type::Symlink) {
                continue;
            }
            let Ok(status) = fstatat(directory.as_fd(), name, AtFlags::AT_SYMLINK_NOFOLLOW) else { continue };
            match SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT {
                SFlag::S_IFDIR if status.st_dev == self.device && depth < DEEPEST => {
                    below.push(name.to_owned())
                }
                SFlag::S_IFREG => self.file(&status),
                _ => {}
            }
        }
        for name in below {
            if let Ok(inner) = Dir::openat(directory.as_fd(), name.as_c_str(), self.flags, Mode::empty()) {
                self.directory(inner, depth + 1).ok();
            }
        }
        Ok(())
    }

    fn file(&mut self, status: &FileStat) {
        if status.st_nlink < 2 || self.counted.insert(status.st_ino) {
            self.bytes += u64::try_from(status.st_size).unwrap_or(0);
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the atomic writer is for the product's files")]
mod tests {
    use super::*;

    #[test]
    fn files_count_once_and_links_never() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::create_dir_all(path("a/b")).unwrap();
        std::fs::write(path("one"), [0; 100]).unwrap();
        std::fs::write(path("a/b/two"), [0; 1000]).unwrap();
        std::fs::hard_link(path("one"), path("a/again")).unwrap();
        std::os::unix::fs::symlink("/", path("a/root")).unwrap();
        std::os::unix::fs::symlink("..", path("a/b/up")).unwrap();
        assert_eq!(size(directory.path()).unwrap(), 1100);
        assert!(size(&path("a/root")).is_err() && size(&path("none")).is_err());
    }
}
