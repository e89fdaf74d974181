//! What an image has at the place of a volume, copied into the volume when it is first used.
//!
//! ```text
//! VOLUME/_data     what containers see
//! VOLUME/lock      held by whoever copies; another one waits until the files are there
//! VOLUME/.copy     a copy that is being made; of a process that was killed, it is made again
//! VOLUME/.full     a copy that is complete, on its way into `_data`; whoever finds it carries on
//! ```
//!
//! The rename from `.copy` to `.full` is the moment from which the copy counts: before it, `_data` is empty; after
//! it, the next start with the volume completes whatever is missing.

use std::collections::HashMap;
use std::fs::{DirBuilder, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown,
    lchown, symlink,
};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, Flock, FlockArg, RenameFlags, renameat2};
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, mknod, utimensat};
use nix::sys::time::TimeSpec;

use crate::store::{self, FileError};

/// What is on its way from another file system, in the volume itself.
const PARTIAL: &str = ".mydocker-copy";

/// Copies what is in the directory `from`, with its owner and mode, into the volume in the directory
/// `volume`, unless there is something in it already.
///
/// Nobody else may be changing `from` meanwhile: its names are followed.
///
/// # Errors
/// [`FileError`]; the volume is then as empty as it was.
pub fn fill(volume: &Path, from: &Path) -> Result<(), FileError> {
    let [data, lock, copy, full] = ["_data", "lock", ".copy", ".full"].map(|name| volume.join(name));
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock);
    let file = file.map_err(FileError::of("open", &lock))?;
    // However long it takes: without the files the container is not what it was asked to be.
    store::LockKind::Volume.check_order();
    let _lock = Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, errno)| FileError::of("lock", &lock)(io::Error::from(errno)))?;
    if !full.exists() {
        if !is_empty(&data)? {
            return Ok(());
        }
        store::remove_tree_if_exists(&copy).map_err(FileError::of("remove", &copy))?;
        Copier::default().directory(from, &copy).inspect_err(|_| {
            // The first error is the one to report.
            store::remove_tree_if_exists(&copy).ok();
        })?;
        std::fs::rename(&copy, &full).map_err(FileError::of("rename", &copy))?;
    }
    // Before its files leave it, which is a change.
    let metadata = std::fs::symlink_metadata(&full).map_err(FileError::of("read", &full))?;
    for entry in read(&full)? {
        let target = data.join(entry.file_name().unwrap_or_default());
        match renameat2(AT_FDCWD, &entry, AT_FDCWD, &target, RenameFlags::RENAME_NOREPLACE) {
            // Another container, which did not want the image's files, was faster: its files stay.
            Ok(()) | Err(Errno::EEXIST) => {}
            // The volume stands for a directory of the host, on another file system.
            Err(Errno::EXDEV) => move_across(&entry, &data, &target)?,
            Err(errno) => return Err(FileError::of("move into the volume", &entry)(errno)),
        }
    }
    adopt(&full, &data, &metadata)?;
    store::remove_tree_if_exists(&full).map_err(FileError::of("remove", &full))
}

/// Moves a file or directory to another file system. A copy that is cut short is made anew by the next start.
fn move_across(entry: &Path, data: &Path, target: &Path) -> Result<(), FileError> {
    let partial = data.join(PARTIAL);
    store::remove_tree_if_exists(&partial).map_err(FileError::of("remove", &partial))?;
    Copier::default().entry(entry, &partial)?;
    match renameat2(AT_FDCWD, &partial, AT_FDCWD, target, RenameFlags::RENAME_NOREPLACE) {
        Err(Errno::EEXIST) => {
            store::remove_tree_if_exists(&partial).map_err(FileError::of("remove", &partial))
        }
        moved => moved.map_err(FileError::of("move into the volume", entry)),
    }
}

fn is_empty(directory: &Path) -> Result<bool, FileError> {
    let mut entries = std::fs::read_dir(directory).map_err(FileError::of("read the directory", directory))?;
    Ok(entries.next().is_none())
}

fn read(directory: &Path) -> Result<Vec<PathBuf>, FileError> {
    let entries = std::fs::read_dir(directory).map_err(FileError::of("read the directory", directory))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>();
    paths.map_err(FileError::of("read the directory", directory))
}

/// Copies trees; files with several names stay one file.
#[derive(Default)]
struct Copier {
    copied: HashMap<(u64, u64), PathBuf>,
}

impl Copier {
    fn directory(&mut self, from: &Path, to: &Path) -> Result<(), FileError> {
        let metadata = std::fs::symlink_metadata(from).map_err(FileError::of("read", from))?;
        DirBuilder::new().mode(0o700).create(to).map_err(FileError::of("create the directory", to))?;
        for entry in read(from)? {
            self.entry(&entry, &to.join(entry.file_name().unwrap_or_default()))?;
        }
        adopt(from, to, &metadata)
    }

    fn entry(&mut self, from: &Path, to: &Path) -> Result<(), FileError> {
        let metadata = std::fs::symlink_metadata(from).map_err(FileError::of("read", from))?;
        if metadata.is_dir() {
            return self.directory(from, to);
        }
        if metadata.nlink() > 1 {
            if let Some(first) = self.copied.get(&(metadata.dev(), metadata.ino())) {
                return std::fs::hard_link(first, to).map_err(FileError::of("link", to));
            }
            self.copied.insert((metadata.dev(), metadata.ino()), to.to_owned());
        }
        let kind = metadata.file_type();
        if kind.is_symlink() {
            let target = std::fs::read_link(from).map_err(FileError::of("read the link", from))?;
            symlink(target, to).map_err(FileError::of("create the link", to))?;
            lchown(to, Some(metadata.uid()), Some(metadata.gid()))
                .map_err(FileError::of("set the owner of", to))?;
            return set_times(to, &metadata);
        }
        if kind.is_file() {
            // Whoever the directory belongs to may have put something else there, or have a lease on it.
            let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY;
            let source = OpenOptions::new().read(true).custom_flags(flags).open(from);
            let mut source = source.map_err(FileError::of("open", from))?;
            if !source.metadata().map_err(FileError::of("read", from))?.is_file() {
                return Err(FileError::of("copy", from)(Errno::EBUSY));
            }
            let mut target = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(to)
                .map_err(FileError::of("create", to))?;
            crate::archive::copy_sparse(&mut source, &mut target).map_err(FileError::of("copy", from))?;
        } else {
            let kind = match kind {
                kind if kind.is_fifo() => SFlag::S_IFIFO,
                kind if kind.is_char_device() => SFlag::S_IFCHR,
                kind if kind.is_block_device() => SFlag::S_IFBLK,
                // A socket is of no use without the process that listens on it.
                _ => return Ok(()),
            };
            mknod(to, kind, Mode::S_IRUSR, metadata.rdev()).map_err(FileError::of("create", to))?;
        }
        adopt(from, to, &metadata)
    }
}

/// Gives `to`, which is no link, the owner, mode, extended attributes and times of `from`.
fn adopt(from: &Path, to: &Path, metadata: &Metadata) -> Result<(), FileError> {
    chown(to, Some(metadata.uid()), Some(metadata.gid())).map_err(FileError::of("set the owner of", to))?;
    let mode = Permissions::from_mode(metadata.mode() & 0o7777);
    std::fs::set_permissions(to, mode).map_err(FileError::of("set the mode of", to))?;
    copy_attributes(from, to).map_err(FileError::of("copy the extended attributes of", from))?;
    set_times(to, metadata)
}

fn set_times(path: &Path, metadata: &Metadata) -> Result<(), FileError> {
    let accessed = TimeSpec::new(metadata.atime(), metadata.atime_nsec());
    let modified = TimeSpec::new(metadata.mtime(), metadata.mtime_nsec());
    utimensat(AT_FDCWD, path, &accessed, &modified, UtimensatFlags::NoFollowSymlink)
        .map_err(FileError::of("set the times of", path))
}

/// Those of the overlay itself are not seen through its mount; what the volume's file system cannot hold
/// is left out, as cp(1) does.
fn copy_attributes(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{XattrFlags, lgetxattr, llistxattr, lsetxattr};
    use rustix::io::Errno;
    let mut names = Vec::new();
    match read_whole(|buffer| llistxattr(from, buffer)) {
        Ok(bytes) => names.extend(bytes),
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    }
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let value = match read_whole(|buffer| lgetxattr(from, name, buffer)) {
            Ok(value) => value,
            Err(Errno::NODATA) => continue,
            Err(errno) => return Err(errno.into()),
        };
        match lsetxattr(to, name, &value, XattrFlags::empty()) {
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// The longest list or value of extended attributes (`XATTR_SIZE_MAX`, xattr(7)).
const ATTRIBUTE_MAX: usize = 64 << 10;

fn read_whole(
    read: impl Fn(&mut [u8]) -> Result<usize, rustix::io::Errno>,
) -> Result<Vec<u8>, rustix::io::Errno> {
    let mut buffer = vec![0; 256];
    loop {
        match read(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(rustix::io::Errno::RANGE) if buffer.len() < ATTRIBUTE_MAX => buffer.resize(ATTRIBUTE_MAX, 0),
            Err(errno) => return Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Durability, write_atomic};

    fn fixture() -> (tempfile::TempDir, PathBuf, PathBuf) {
        assert!(nix::unistd::geteuid().is_root(), "changing owners needs root");
        let directory = tempfile::tempdir().unwrap();
        let [image, volume] = ["image", "volume"].map(|name| directory.path().join(name));
        std::fs::create_dir(&image).unwrap();
        std::fs::create_dir_all(volume.join("_data")).unwrap();
        (directory, image, volume)
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = read(directory)
            .unwrap()
            .iter()
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn all_that_makes_up_a_file_is_copied() {
        let (_directory, image, volume) = fixture();
        write_atomic(&image.join("file"), b"text", Durability::Process).unwrap();
        chown(image.join("file"), Some(7), Some(8)).unwrap();
        std::fs::set_permissions(image.join("file"), Permissions::from_mode(0o4751)).unwrap();
        let value = vec![7; 3000];
        rustix::fs::lsetxattr(image.join("file"), "trusted.test", &value, rustix::fs::XattrFlags::empty())
            .unwrap();
        std::fs::hard_link(image.join("file"), image.join("same")).unwrap();
        symlink("/no/where", image.join("link")).unwrap();
        lchown(image.join("link"), Some(9), Some(9)).unwrap();
        nix::unistd::mkfifo(&image.join("fifo"), Mode::S_IRUSR).unwrap();
        std::fs::create_dir_all(image.join("deep/er")).unwrap();
        std::fs::set_permissions(image.join("deep"), Permissions::from_mode(0o1770)).unwrap();
        std::fs::set_permissions(&image, Permissions::from_mode(0o2711)).unwrap();
        chown(&image, Some(5), Some(6)).unwrap();
        std::fs::set_permissions(&image, Permissions::from_mode(0o2711)).unwrap();
        fill(&volume, &image).unwrap();

        let data = volume.join("_data");
        assert_eq!(names(&volume), ["_data", "lock"]);
        assert_eq!(names(&data), ["deep", "fifo", "file", "link", "same"]);
        for name in ["", "file", "same", "link", "fifo", "deep", "deep/er"] {
            let metadata = |base: &Path| std::fs::symlink_metadata(base.join(name)).unwrap();
            let (from, to) = (metadata(&image), metadata(&data));
            assert_eq!(
                (from.mode(), from.uid(), from.gid(), from.mtime(), from.mtime_nsec()),
                (to.mode(), to.uid(), to.gid(), to.mtime(), to.mtime_nsec()),
                "{name}"
            );
        }
        let inode = |name: &str| std::fs::metadata(data.join(name)).unwrap().ino();
        assert_eq!(inode("file"), inode("same"));
        assert_eq!(std::fs::read_link(data.join("link")).unwrap(), Path::new("/no/where"));
        let copied =
            read_whole(|buffer| rustix::fs::lgetxattr(data.join("file"), "trusted.test", buffer)).unwrap();
        assert_eq!(copied, value);
    }

    #[test]
    fn a_volume_that_holds_something_stays_as_it_is() {
        let (_directory, image, volume) = fixture();
        write_atomic(&image.join("new"), b"", Durability::Process).unwrap();
        write_atomic(&volume.join("_data/old"), b"", Durability::Process).unwrap();
        fill(&volume, &image).unwrap();
        assert_eq!(names(&volume.join("_data")), ["old"]);
    }

    #[test]
    fn what_a_killed_copy_left_is_made_again_or_carried_on_with() {
        let (_directory, image, volume) = fixture();
        write_atomic(&image.join("new"), b"", Durability::Process).unwrap();
        std::fs::create_dir(volume.join(".copy")).unwrap();
        write_atomic(&volume.join(".copy/half"), b"", Durability::Process).unwrap();
        fill(&volume, &image).unwrap();
        assert_eq!(names(&volume.join("_data")), ["new"]);
        // Killed while the files of a complete copy were moved: the image is not asked again.
        std::fs::create_dir(volume.join(".full")).unwrap();
        write_atomic(&volume.join(".full/rest"), b"", Durability::Process).unwrap();
        write_atomic(&volume.join(".full/new"), b"other", Durability::Process).unwrap();
        fill(&volume, Path::new("/no/such/image")).unwrap();
        assert_eq!(names(&volume.join("_data")), ["new", "rest"]);
        assert_eq!(std::fs::read(volume.join("_data/new")).unwrap(), b"");
        assert_eq!(names(&volume), ["_data", "lock"]);
    }

    #[test]
    fn a_copy_that_fails_leaves_the_volume_empty() {
        let (directory, _, volume) = fixture();
        let error = fill(&volume, &directory.path().join("nothing")).unwrap_err();
        assert!(error.to_string().contains("nothing"), "{error}");
        assert_eq!(names(&volume), ["_data", "lock"]);
        assert_eq!(names(&volume.join("_data")), Vec::<String>::new());
    }
}
