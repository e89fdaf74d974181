//! A tree of files as a tar stream.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, readlinkat};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, major, minor};
use nix::sys::statfs::{self, fstatfs};

use super::below::{find_at, kind_of, reopen};
use super::entry::join;
use super::unpack::{is_kept, is_whiteout};
use super::{ArchiveError, Entry, Kind, OPAQUE, OPAQUE_WHITEOUT, Time, WHITEOUT, Writer};
use crate::sys;

/// How deep directories may be nested: with more, their path is longer than any that the kernel takes.
const DEPTH_MAX: usize = 2048;

/// File systems of the kernel's own state: a directory of theirs is packed, what is in it is not.
const KERNELS_OWN: [i64; 7] = [
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x27_e0eb,   // cgroup
    0x6367_7270, // cgroup2
    0x1cd1,      // devpts
    0x1980_0202, // mqueue
    0xcafe_4a11, // bpf
];

/// What a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A layer: what overlayfs says by special files and attributes becomes whiteouts.
    Layer,
    /// A tree as it is.
    Tree,
}

/// A directory that is being packed.
struct Level {
    directory: OwnedFd,
    /// Its name in the stream.
    path: OsString,
    /// What is still to be packed of it.
    names: std::vec::IntoIter<OsString>,
}

/// Packs files into a stream.
pub struct Packer<'a, W> {
    writer: Writer<W>,
    purpose: Purpose,
    /// The first name of each file that has more than one, and how many were not met yet.
    names: HashMap<(u64, u64), (OsString, u64)>,
    /// Whether a file is left out, by its name in the stream.
    leave_out: &'a dyn Fn(&OsStr, &FileStat) -> bool,
}

impl<W> std::fmt::Debug for Packer<'_, W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packer").field("purpose", &self.purpose).finish_non_exhaustive()
    }
}

impl<'a, W: Write> Packer<'a, W> {
    /// Packs into `stream`. Files for which `leave_out` is true are left out with all below them.
    pub fn new(stream: W, purpose: Purpose, leave_out: &'a dyn Fn(&OsStr, &FileStat) -> bool) -> Self {
        allow_descriptors();
        Self { writer: Writer::new(stream), purpose, names: HashMap::new(), leave_out }
    }

    /// Packs the file behind `file` (which may be open with `O_PATH`), and all below it, under the name `path`;
    /// an empty one stands for the top of the archive.
    ///
    /// # Errors
    /// A file cannot be read, or the stream not written.
    pub fn add(&mut self, file: &OwnedFd, path: &OsStr) -> Result<(), ArchiveError> {
        // Not by recursion: how deep directories are nested is not ours to decide, and a stack is small.
        let mut open: Vec<Level> = self.file(file, path, true)?.into_iter().collect();
        while let Some(level) = open.last_mut() {
            let Some(name) = level.names.next() else {
                open.pop();
                continue;
            };
            let path = join(&level.path, &name);
            if self.purpose == Purpose::Layer && name.as_bytes().starts_with(WHITEOUT) {
                // There, such a name hides a file of the layers below, whoever made it.
                tracing::warn!(path = %path.display(),
                    "a file is left out: a layer cannot have names that start with \".wh.\"");
                continue;
            }
            // It may have gone since.
            let Some(child) = find_at(&level.directory, &name).map_err(failed("open", &path))? else {
                continue;
            };
            let deeper = self.file(&child, &path, false)?;
            if deeper.is_some() && open.len() == DEPTH_MAX {
                return Err(ArchiveError::TooDeep { path: path.into(), limit: DEPTH_MAX });
            }
            open.extend(deeper);
        }
        Ok(())
    }

    /// Ends the stream and hands it back.
    ///
    /// # Errors
    /// [`ArchiveError::Write`].
    pub fn finish(self) -> Result<W, ArchiveError> {
        self.writer.finish()
    }

    /// Packs one file; of a directory, what is in it is still to be packed then.
    fn file(&mut self, file: &OwnedFd, path: &OsStr, top: bool) -> Result<Option<Level>, ArchiveError> {
        let stat = fstat(file).map_err(failed_errno("look at", path))?;
        if !top && (self.leave_out)(path, &stat) {
            return Ok(None);
        }
        if self.purpose == Purpose::Layer && !top && is_whiteout(&stat) {
            return self.whiteout(path, &stat).map(|()| None);
        }
        let mut entry = describe(path, &stat);
        let kind = kind_of(&stat);
        if kind != SFlag::S_IFDIR && stat.st_nlink > 1 {
            let key = (stat.st_dev, stat.st_ino);
            if let Some((first, left)) = self.names.get_mut(&key) {
                entry.kind = Kind::HardLink(first.clone());
                *left = left.saturating_sub(1);
                if *left == 0 {
                    self.names.remove(&key);
                }
                return self.writer.append(&entry, io::empty()).map(|()| None);
            }
            self.names.insert(key, (path.to_owned(), stat.st_nlink.saturating_sub(1)));
        }
        if kind == SFlag::S_IFSOCK {
            // A socket is nothing without the process that listens.
            return Ok(None);
        }
        entry.xattrs = xattrs(file, path)?;
        let (major, minor) = (device(major(stat.st_rdev)), device(minor(stat.st_rdev)));
        match kind {
            SFlag::S_IFDIR => {
                entry.kind = Kind::Directory;
                self.writer.append(&entry, io::empty())?;
                return self.directory(file, path).map(Some);
            }
            SFlag::S_IFLNK => {
                let target = readlinkat(file, "").map_err(failed_errno("read the link", path))?;
                entry.kind = Kind::Symlink(target);
            }
            SFlag::S_IFCHR => entry.kind = Kind::Character { major, minor },
            SFlag::S_IFBLK => entry.kind = Kind::Block { major, minor },
            SFlag::S_IFIFO => entry.kind = Kind::Fifo,
            _ => {
                entry.size = u64::try_from(stat.st_size).unwrap_or(0);
                let data = reopen(file, OFlag::O_RDONLY).map_err(failed("open", path))?;
                return self.writer.append(&entry, data).map(|()| None);
            }
        }
        self.writer.append(&entry, io::empty()).map(|()| None)
    }

    fn directory(&mut self, directory: &OwnedFd, path: &OsStr) -> Result<Level, ArchiveError> {
        if self.purpose == Purpose::Layer {
            let opaque = sys::get_xattr(directory, OPAQUE.as_ref()).map_err(failed("look at", path))?;
            if opaque.as_deref() == Some(b"y") {
                let stat = fstat(directory).map_err(failed_errno("look at", path))?;
                self.marker(&join(path, OsStr::from_bytes(OPAQUE_WHITEOUT)), &stat)?;
            }
        }
        let names = if is_the_kernels_own(directory) {
            Vec::new()
        } else {
            names(directory).map_err(failed("list", path))?
        };
        let directory = directory.try_clone().map_err(failed("open", path))?;
        Ok(Level { directory, path: path.to_owned(), names: names.into_iter() })
    }

    /// The name that stands for the removal of this one.
    fn whiteout(&mut self, path: &OsStr, stat: &FileStat) -> Result<(), ArchiveError> {
        let path = path.as_bytes();
        let name = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let marker = OsString::from_vec([&path[..name], WHITEOUT, &path[name..]].concat());
        self.marker(&marker, stat)
    }

    fn marker(&mut self, path: &OsStr, stat: &FileStat) -> Result<(), ArchiveError> {
        let entry = Entry { mode: 0, uid: 0, gid: 0, ..describe(path, stat) };
        self.writer.append(&entry, io::empty())
    }
}

/// Lets this process have as many descriptors as it may: one is held for each level of nested directories.
pub fn allow_descriptors() {
    // Where that fails, deep trees will.
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).ok();
    }
}

fn describe(path: &OsStr, stat: &FileStat) -> Entry {
    Entry {
        path: if path.is_empty() { "./".into() } else { path.to_owned() },
        kind: Kind::File,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        modified: Time {
            seconds: stat.st_mtime,
            nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        },
        size: 0,
        xattrs: Vec::new(),
    }
}

fn device(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn is_the_kernels_own(directory: &OwnedFd) -> bool {
    fstatfs(directory).is_ok_and(|statfs| {
        KERNELS_OWN.iter().any(|magic| statfs.filesystem_type() == statfs::FsType(*magic))
    })
}

fn xattrs(file: &OwnedFd, path: &OsStr) -> Result<Vec<(OsString, Vec<u8>)>, ArchiveError> {
    let names = match sys::list_xattrs(file) {
        Err(error) if error.raw_os_error() == Some(Errno::EOPNOTSUPP as i32) => return Ok(Vec::new()),
        names => names.map_err(failed("list the attributes of", path))?,
    };
    let mut xattrs = Vec::new();
    for name in names.into_iter().filter(|name| is_kept(name)) {
        if let Some(value) = sys::get_xattr(file, &name).map_err(failed("read an attribute of", path))? {
            xattrs.push((name, value));
        }
    }
    xattrs.sort_unstable();
    Ok(xattrs)
}

/// The names in a directory, sorted, so that the same tree always makes the same stream.
///
/// # Errors
/// It cannot be read.
pub fn names(directory: impl AsFd) -> io::Result<Vec<OsString>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut names = Vec::new();
    for entry in &mut Dir::openat(directory, ".", flags, Mode::empty())?.iter() {
        let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
        if !matches!(name.as_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn failed(action: &'static str, path: &OsStr) -> impl FnOnce(io::Error) -> ArchiveError {
    let path = if path.is_empty() { "/".into() } else { path.into() };
    move |source| ArchiveError::File { action, path, source }
}

fn failed_errno(action: &'static str, path: &OsStr) -> impl FnOnce(Errno) -> ArchiveError {
    let error = failed(action, path);
    move |errno| error(errno.into())
}
