//! A tree of files as a tar stream.

use std::collections::{BinaryHeap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, readlinkat};
use nix::libc::nlink_t;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, major, minor};
use nix::sys::statfs::{self, fstatfs};

use super::below::{find_at, kind_of, reopen};
use super::entry::join;
use super::sparse::Parts;
use super::unpack::{is_kept, is_whiteout};
use super::{ArchiveError, Entry, Kind, OPAQUE, OPAQUE_WHITEOUT, Sparse, Time, WHITEOUT, Writer};
use crate::store::FileError;
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
    names: Names,
}

/// How much a packer remembers, in bytes, whatever it packs.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Names of the directories that it is in. Of one that has more it reads the next ones when it needs them.
    names: usize,
    /// Names that are remembered of one directory at least, so that it is not read too often.
    least_names: usize,
    /// Names of files that have others, which may still come. What does not fit becomes a file of its own.
    links: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { names: 64 << 20, least_names: 256 << 10, links: 64 << 20 }
    }
}

/// What a name takes in memory besides its letters.
const OVERHEAD: usize = 64;

/// The names in a directory in order: as many as there is room for, and after those the next.
#[derive(Debug, Default)]
struct Names {
    batch: std::vec::IntoIter<OsString>,
    /// How much of the room the batch takes.
    bytes: usize,
    /// The name that was handed out last.
    last: Option<OsString>,
    /// Whether there may be more than the batch.
    more: bool,
}

impl Names {
    fn new() -> Self {
        Self { more: true, ..Self::default() }
    }

    /// Reads the next names of `directory`, in so many bytes.
    fn read(&mut self, directory: &OwnedFd, room: usize) -> io::Result<()> {
        let mut first: BinaryHeap<OsString> = BinaryHeap::new();
        (self.bytes, self.more) = (0, false);
        each_name(directory, |name| {
            if self.last.as_deref().is_some_and(|last| name <= last) {
                return;
            }
            let fits = self.bytes + name.len() + OVERHEAD <= room;
            if !fits && first.peek().is_some_and(|largest| name > largest) {
                self.more = true;
                return;
            }
            self.bytes += name.len() + OVERHEAD;
            first.push(name.to_owned());
            while self.bytes > room && first.len() > 1 {
                self.bytes -= first.pop().map_or(0, |largest| largest.len() + OVERHEAD);
                self.more = true;
            }
        })?;
        self.batch = first.into_sorted_vec().into_iter();
        Ok(())
    }
}

/// Packs files into a stream.
pub struct Packer<'a, W> {
    writer: Writer<W>,
    purpose: Purpose,
    /// The first name of each file that has more than one, and how many were not met yet.
    names: HashMap<(u64, u64), (OsString, nlink_t)>,
    limits: Limits,
    /// How much the names of directories take.
    names_bytes: usize,
    /// How much `names` takes; `None` once it was too much.
    links_bytes: Option<usize>,
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
        Self {
            writer: Writer::new(stream),
            purpose,
            names: HashMap::new(),
            limits: Limits::default(),
            names_bytes: 0,
            links_bytes: Some(0),
            leave_out,
        }
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
            let Some(name) = self.next_name(level)? else {
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

    /// The next name of a directory that is being packed.
    fn next_name(&mut self, level: &mut Level) -> Result<Option<OsString>, ArchiveError> {
        let Level { directory, path, names } = level;
        if names.batch.as_slice().is_empty() && names.more {
            self.names_bytes -= names.bytes;
            let left = self.limits.names.saturating_sub(self.names_bytes);
            let room = (left / 2).max(self.limits.least_names);
            names.read(directory, room).map_err(failed("list", path))?;
            self.names_bytes += names.bytes;
        }
        let next = names.batch.next();
        match &next {
            Some(name) if names.more => names.last = Some(name.clone()),
            Some(_) => {}
            None => self.names_bytes -= std::mem::take(&mut names.bytes),
        }
        Ok(next)
    }

    /// Remembers the first name of a file that has others.
    fn remember(&mut self, key: (u64, u64), path: &OsStr, others: nlink_t) {
        let Some(bytes) = self.links_bytes.map(|bytes| bytes + path.len() + 2 * OVERHEAD) else { return };
        if bytes > self.limits.links {
            tracing::warn!(
                "more files have several names than can be remembered: some become files of their own"
            );
            self.links_bytes = None;
            return;
        }
        self.links_bytes = Some(bytes);
        self.names.insert(key, (path.to_owned(), others));
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
        let stat = fstat(file).map_err(failed("look at", path))?;
        if !top && (self.leave_out)(path, &stat) {
            return Ok(None);
        }
        if self.purpose == Purpose::Layer && !top && is_whiteout(&stat) {
            return self.whiteout(path, &stat).map(|()| None);
        }
        let mut entry = describe(path, &stat);
        if self.purpose == Purpose::Layer {
            // Whole seconds, as in Docker's layers: a fraction would cost every file another two blocks.
            entry.modified.nanoseconds = 0;
        }
        let kind = kind_of(&stat);
        if kind != SFlag::S_IFDIR && stat.st_nlink > 1 {
            let key = (stat.st_dev, stat.st_ino);
            if let Some((first, left)) = self.names.get_mut(&key) {
                entry.kind = Kind::HardLink(first.clone());
                *left = left.saturating_sub(1);
                if *left == 0
                    && let Some((path, _)) = self.names.remove(&key)
                {
                    self.links_bytes = self.links_bytes.map(|bytes| bytes - path.len() - 2 * OVERHEAD);
                }
                return self.writer.append(&entry, io::empty()).map(|()| None);
            }
            self.remember(key, path, stat.st_nlink.saturating_sub(1));
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
                let target = readlinkat(file, "").map_err(failed("read the link", path))?;
                entry.kind = Kind::Symlink(target);
            }
            SFlag::S_IFCHR => entry.kind = Kind::Character { major, minor },
            SFlag::S_IFBLK => entry.kind = Kind::Block { major, minor },
            SFlag::S_IFIFO => entry.kind = Kind::Fifo,
            _ => {
                let data = reopen(file, OFlag::O_RDONLY).map_err(failed("open", path))?;
                return self.contents(entry, &stat, data).map(|()| None);
            }
        }
        self.writer.append(&entry, io::empty()).map(|()| None)
    }

    /// Packs a file with its data. Holes are left out where the file takes less room than it is long.
    fn contents(&mut self, mut entry: Entry, stat: &FileStat, data: File) -> Result<(), ArchiveError> {
        entry.size = u64::try_from(stat.st_size).unwrap_or(0);
        if stat.st_blocks < stat.st_size.div_euclid(512) {
            entry.sparse = Sparse::of(&data, entry.size).map_err(failed("look for holes in", &entry.path))?;
        }
        match entry.sparse.take() {
            None => self.writer.append(&entry, data),
            Some(sparse) => {
                entry.size = sparse.stored();
                entry.sparse = Some(sparse.clone());
                self.writer.append(&entry, Parts::new(&data, &sparse))
            }
        }
    }

    fn directory(&mut self, directory: &OwnedFd, path: &OsStr) -> Result<Level, ArchiveError> {
        if self.purpose == Purpose::Layer {
            let opaque = sys::get_xattr(directory, OPAQUE.as_ref()).map_err(failed("look at", path))?;
            if opaque.as_deref() == Some(b"y") {
                let stat = fstat(directory).map_err(failed("look at", path))?;
                self.marker(&join(path, OsStr::from_bytes(OPAQUE_WHITEOUT)), &stat)?;
            }
        }
        let names = if is_the_kernels_own(directory) { Names::default() } else { Names::new() };
        let directory = directory.try_clone().map_err(failed("open", path))?;
        Ok(Level { directory, path: path.to_owned(), names })
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
        sparse: None,
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
    let mut names = Vec::new();
    each_name(directory, |name| names.push(name.to_owned()))?;
    names.sort_unstable();
    Ok(names)
}

fn each_name(directory: impl AsFd, mut take: impl FnMut(&OsStr)) -> io::Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    for entry in &mut Dir::openat(directory, ".", flags, Mode::empty())?.iter() {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if !matches!(name.as_bytes(), b"." | b"..") {
            take(name);
        }
    }
    Ok(())
}

fn failed<E: Into<io::Error>>(action: &'static str, path: &OsStr) -> impl FnOnce(E) -> ArchiveError {
    move |error| FileError::of(action, path)(error).into()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Below, Reader};
    use super::*;

    fn packed(root: &Path, limits: Limits) -> Vec<Entry> {
        let leave_out = |_: &OsStr, _: &FileStat| false;
        let mut packer = Packer::new(Vec::new(), Purpose::Tree, &leave_out);
        packer.limits = limits;
        let top = Below::open(root).unwrap().directory(".").unwrap();
        packer.add(&top, OsStr::new("")).unwrap();
        assert_eq!(packer.names_bytes, 0, "what was read of directories is forgotten");
        let stream = packer.finish().unwrap();
        let mut reader = Reader::new(&stream[..]);
        std::iter::from_fn(|| reader.next_entry().unwrap()).collect()
    }

    #[test]
    fn a_directory_is_packed_in_order_however_little_of_it_is_remembered() {
        let root = tempfile::tempdir().unwrap();
        for directory in ["", "m", "m/m"] {
            std::fs::create_dir_all(root.path().join(directory)).unwrap();
            for number in 0..120 {
                let name = format!("{}{}", "x".repeat(number % 7), number * 37 % 120);
                std::os::unix::fs::symlink("nowhere", root.path().join(directory).join(name)).unwrap();
            }
        }
        let whole = packed(root.path(), Limits::default());
        assert_eq!(whole.len(), 1 + 3 * 120 + 2);
        let paths = whole.iter().map(|entry| entry.path.to_string_lossy().replace('/', "\0"));
        assert!(paths.skip(1).is_sorted());
        for names in [1, 100, 200, 1000, 5000, 20_000] {
            let limits = Limits { names, least_names: names / 2, links: 0 };
            assert!(packed(root.path(), limits) == whole, "{names}");
        }
    }

    #[test]
    fn names_of_one_file_that_are_too_many_become_files() {
        let root = tempfile::tempdir().unwrap();
        for number in 0..20 {
            let [first, second] = ["a", "b"].map(|name| root.path().join(format!("{name}{number:02}")));
            crate::store::write_atomic(&first, b"data", crate::store::Durability::Process).unwrap();
            std::fs::hard_link(first, second).unwrap();
        }
        let links = |links| {
            let entries = packed(root.path(), Limits { links, ..Limits::default() });
            assert_eq!(entries.len(), 41);
            entries.iter().filter(|entry| matches!(entry.kind, Kind::HardLink(_))).count()
        };
        assert_eq!(links(Limits::default().links), 20);
        assert_eq!(links(5 * (3 + 2 * OVERHEAD)), 5);
        assert_eq!(links(0), 0);
    }
}
