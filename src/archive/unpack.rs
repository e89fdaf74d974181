//! A tar stream as files below a directory, and nowhere else.

mod contents;

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, makedev, mkdirat, mknodat};
use nix::unistd::{linkat, symlinkat};

use super::below::{
    create_at, find_at, is_mounted_on, kind_of, remove_at, reopen, set_mode, set_modified, set_owner,
};
use super::directory_times::{OpenDirectories, modified, set_directory_time};
use super::{ArchiveError, Below, Entry, Kind, OPAQUE, OPAQUE_WHITEOUT, Reader, Split, WHITEOUT};
use crate::store::FileError;
use crate::sys;

/// What an archive is unpacked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A layer: whiteouts become overlayfs's, everything gives way to what comes later, and the directory
    /// itself takes what the archive says of it.
    Layer,
    /// An existing tree of a container: names are names, and directories and other files do not replace each
    /// other.
    Container,
    /// An existing tree of the host: as [`Target::Container`], but devices are left out. A container can make
    /// nodes that give the host's users access to its disks.
    Host,
}

/// Whose the files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// Those that the archive says.
    Archive,
    /// One user and group for all.
    All(u32, u32),
}

/// What was unpacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// How many entries there were.
    pub entries: u64,
    /// How many bytes the files have together.
    pub size: u64,
}

/// Unpacks all entries of `reader` below `below`.
///
/// # Errors
/// [`ArchiveError`]; what was unpacked before stays.
pub fn unpack(
    reader: &mut Reader<impl Read>,
    below: &Below,
    target: Target,
    owners: Owners,
) -> Result<Unpacked, ArchiveError> {
    run(reader, below, target, owners, None)
}

/// Makes a layer of all entries of `reader`, and has `split` keep the rest of the stream, which `reader` has to read
/// through it.
///
/// # Errors
/// As [`unpack`].
pub fn unpack_layer(
    reader: &mut Reader<impl Read>,
    below: &Below,
    split: &Split,
) -> Result<Unpacked, ArchiveError> {
    run(reader, below, Target::Layer, Owners::Archive, Some(split))
}

fn run(
    reader: &mut Reader<impl Read>,
    below: &Below,
    target: Target,
    owners: Owners,
    split: Option<&Split>,
) -> Result<Unpacked, ArchiveError> {
    let mut unpacker = Unpacker {
        below,
        target,
        owners,
        split,
        parent: None,
        open: OpenDirectories::default(),
        buffer: vec![0; 128 * 1024],
        done: Unpacked::default(),
    };
    while let Some(entry) = reader.next_entry()? {
        unpacker.done.entries += 1;
        unpacker.entry(&entry, reader)?;
    }
    unpacker.open.leave(0, |path, time| set_directory_time(below, path, time));
    Ok(unpacker.done)
}

/// The bits of a mode by which a program runs as its owner or group.
const SET_ID: u32 = 0o6000;

/// The attribute by which a program has capabilities (capabilities(7)).
const CAPABILITY: &str = "security.capability";

struct Unpacker<'a> {
    below: &'a Below,
    target: Target,
    owners: Owners,
    /// What keeps the stream beside the files.
    split: Option<&'a Split>,
    /// The last directory that something was put into: files of one directory mostly come together.
    parent: Option<(Vec<OsString>, OwnedFd)>,
    open: OpenDirectories,
    buffer: Vec<u8>,
    done: Unpacked,
}

impl Unpacker<'_> {
    fn entry(&mut self, entry: &Entry, reader: &mut Reader<impl Read>) -> Result<(), ArchiveError> {
        let names = Entry::components(&entry.path);
        let names = names.ok_or_else(|| ArchiveError::Escapes { path: entry.shown() })?;
        let below = self.below;
        self.open.go_to(&names, |path, time| set_directory_time(below, path, time));
        let Some((name, parents)) = names.split_last() else {
            return self.root(entry);
        };
        if self.target == Target::Layer && name.as_bytes().starts_with(WHITEOUT) {
            return self.whiteout(entry, parents, name);
        }
        if self.target == Target::Host && matches!(entry.kind, Kind::Character { .. } | Kind::Block { .. }) {
            tracing::warn!(path = %entry.shown().display(), "a device of a container is not made on the host");
            return Ok(());
        }
        let directory = self.parent(entry, parents)?;
        let existing = find_at(&directory, name).map_err(failed("look for", entry))?;
        let existing = existing.map(|file| fstat(&file).map_err(failed("look at", entry))).transpose()?;
        match &entry.kind {
            Kind::Directory => self.directory(entry, &names, &directory, name, existing.as_ref()),
            Kind::HardLink(target) => {
                self.hard_link(entry, target, &names, &directory, name, existing.as_ref())
            }
            _ => self.other(entry, &directory, name, existing.as_ref(), reader),
        }
    }

    /// What the archive says of the target directory itself.
    fn root(&mut self, entry: &Entry) -> Result<(), ArchiveError> {
        if entry.kind != Kind::Directory {
            return Err(conflict("directory", entry));
        }
        if self.target == Target::Layer {
            let root = self.below.directory(".").map_err(failed("open", entry))?;
            self.describe(entry, &root)?;
            self.open.note(&[], entry.modified);
        }
        Ok(())
    }

    /// The directory that an entry goes into, made if need be.
    fn parent(&mut self, entry: &Entry, names: &[&OsStr]) -> Result<OwnedFd, ArchiveError> {
        let clone = |fd: &OwnedFd| fd.try_clone().map_err(failed("open the directory of", entry));
        if let Some((cached, directory)) = &self.parent
            && cached.iter().eq(names)
        {
            return clone(directory);
        }
        let mut note = |count: usize, directory: &OwnedFd| -> io::Result<()> {
            // A layer's directory that the archive comes back to keeps the time that it was given.
            if self.target == Target::Layer && !self.open.has(count) {
                self.open.note(&names[..count], modified(&fstat(directory)?));
            }
            Ok(())
        };
        let error = |error| failed("open the directory of", entry)(error);
        let directory = self.below.make_directories(names, &mut note).map_err(error)?;
        note(names.len(), &directory).map_err(error)?;
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        self.parent = Some((names, clone(&directory)?));
        Ok(directory)
    }

    /// Makes way for a new file.
    fn make_way(
        &mut self,
        entry: &Entry,
        directory: &OwnedFd,
        name: &OsStr,
        existing: &FileStat,
    ) -> Result<(), ArchiveError> {
        self.check_way(entry, directory, name, existing)?;
        if kind_of(existing) == SFlag::S_IFDIR {
            // It, or one below it, may be the one that is held.
            self.parent = None;
        }
        if let Some(split) = self.split
            && matches!(kind_of(existing), SFlag::S_IFDIR | SFlag::S_IFREG)
            && split.replaced(directory, name).map_err(failed("keep", entry))?
        {
            return Ok(());
        }
        remove_at(directory, name).map_err(failed("replace", entry))
    }

    /// Whether what is there may be replaced. In a tree that is not ours, a directory stays, and what is mounted.
    fn check_way(
        &self,
        entry: &Entry,
        directory: &OwnedFd,
        name: &OsStr,
        existing: &FileStat,
    ) -> Result<(), ArchiveError> {
        let is_directory = kind_of(existing) == SFlag::S_IFDIR;
        if self.target != Target::Layer && is_directory != (entry.kind == Kind::Directory) {
            return Err(conflict(word(existing), entry));
        }
        // Of a tree in another mount namespace, the kernel would take the mount away with the name.
        if self.target == Target::Container
            && is_mounted_on(directory, name).map_err(failed("look at", entry))?
        {
            return Err(failed("replace", entry)(Errno::EBUSY));
        }
        Ok(())
    }

    fn directory(
        &mut self,
        entry: &Entry,
        names: &[&OsStr],
        directory: &OwnedFd,
        name: &OsStr,
        existing: Option<&FileStat>,
    ) -> Result<(), ArchiveError> {
        let is_there = existing.is_some_and(|stat| kind_of(stat) == SFlag::S_IFDIR);
        if !is_there {
            if let Some(existing) = existing {
                self.make_way(entry, directory, name, existing)?;
            }
            mkdirat(directory, name, Mode::S_IRWXU).map_err(failed("create", entry))?;
        }
        let made = find_at(directory, name).and_then(|made| made.ok_or_else(|| Errno::ENOENT.into()));
        let made = made.map_err(failed("open", entry))?;
        // Another process that works in the same tree may have been faster.
        if kind_of(&fstat(&made).map_err(failed("look at", entry))?) != SFlag::S_IFDIR {
            return Err(conflict("file", entry));
        }
        if self.target == Target::Layer && existing.is_some_and(is_whiteout) {
            // The name was removed and made anew: what lower layers have in it stays hidden.
            sys::set_xattr(&made, OPAQUE.as_ref(), b"y").map_err(failed("mark", entry))?;
        }
        self.describe(entry, &made)?;
        self.open.note(names, entry.modified);
        Ok(())
    }

    fn hard_link(
        &mut self,
        entry: &Entry,
        target: &OsStr,
        names: &[&OsStr],
        directory: &OwnedFd,
        name: &OsStr,
        existing: Option<&FileStat>,
    ) -> Result<(), ArchiveError> {
        let target = Entry::components(target);
        let target = target.ok_or_else(|| ArchiveError::Escapes { path: entry.shown() })?;
        let Some((target_name, parents)) = target.split_last() else {
            return Err(ArchiveError::Escapes { path: entry.shown() });
        };
        if target == names {
            return Ok(());
        }
        let from = self.below.directory(parents.iter().collect::<PathBuf>());
        let from = from.map_err(failed("find the other name of", entry))?;
        if let Some(existing) = existing {
            self.make_way(entry, directory, name, existing)?;
        }
        // Without AT_SYMLINK_FOLLOW: the other name is linked, not what it may lead to.
        linkat(&from, *target_name, directory, name, AtFlags::empty()).map_err(failed("link", entry))
    }

    /// Everything that is neither a directory nor another name for something.
    fn other(
        &mut self,
        entry: &Entry,
        directory: &OwnedFd,
        name: &OsStr,
        existing: Option<&FileStat>,
        reader: &mut Reader<impl Read>,
    ) -> Result<(), ArchiveError> {
        let takes_its_place = entry.kind == Kind::File && self.target != Target::Layer;
        if let Some(existing) = existing {
            let way = if takes_its_place {
                self.check_way(entry, directory, name, existing)
            } else {
                self.make_way(entry, directory, name, existing)
            };
            match way {
                // A file that something is mounted on, as on a container's /etc/hosts, keeps its name.
                Err(ArchiveError::File(FileError { source, .. }))
                    if source.raw_os_error() == Some(Errno::EBUSY as i32) && entry.kind == Kind::File =>
                {
                    let there = self.find(entry, directory, name)?;
                    let stat = fstat(&there).map_err(failed("look at", entry))?;
                    // What else is mounted there is a device of the host, or somebody's socket.
                    if kind_of(&stat) != SFlag::S_IFREG {
                        return Err(failed("replace", entry)(Errno::EBUSY));
                    }
                    let file = reopen(there, OFlag::O_WRONLY | OFlag::O_TRUNC);
                    return self.contents(entry, file.map_err(failed("write to", entry))?, reader).map(drop);
                }
                made_way => made_way?,
            }
        }
        if takes_its_place {
            return self.whole_file(entry, directory, name, reader);
        }
        let create = failed("create", entry);
        let made: OwnedFd = match &entry.kind {
            Kind::Symlink(target) => {
                symlinkat(target.as_os_str(), directory, name).map_err(create)?;
                self.find(entry, directory, name)?
            }
            Kind::Character { major, minor } => {
                let device = makedev(u64::from(*major), u64::from(*minor));
                mknodat(directory, name, SFlag::S_IFCHR, Mode::empty(), device).map_err(create)?;
                self.find(entry, directory, name)?
            }
            Kind::Block { major, minor } => {
                let device = makedev(u64::from(*major), u64::from(*minor));
                mknodat(directory, name, SFlag::S_IFBLK, Mode::empty(), device).map_err(create)?;
                self.find(entry, directory, name)?
            }
            Kind::Fifo => {
                mknodat(directory, name, SFlag::S_IFIFO, Mode::empty(), 0).map_err(create)?;
                self.find(entry, directory, name)?
            }
            _ => {
                let file = create_at(directory, name).map_err(failed("create", entry))?;
                if let Some(split) = self.split {
                    split.file(directory, name, entry).map_err(failed("keep", entry))?;
                }
                let file = self.contents(entry, file, reader)?;
                if let Some(split) = self.split {
                    split.file_ended();
                }
                file.into()
            }
        };
        self.describe(entry, &made)?;
        set_modified(&made, entry.modified).map_err(failed("set the time of", entry))
    }

    fn find(&self, entry: &Entry, directory: &OwnedFd, name: &OsStr) -> Result<OwnedFd, ArchiveError> {
        let made = find_at(directory, name).map_err(failed("open", entry))?;
        made.ok_or_else(|| failed("open", entry)(Errno::ENOENT))
    }

    /// Owner, permissions and attributes, in the order in which none undoes another.
    fn describe(&self, entry: &Entry, made: &OwnedFd) -> Result<(), ArchiveError> {
        let (uid, gid) = match self.owners {
            Owners::Archive => (entry.uid, entry.gid),
            Owners::All(uid, gid) => (uid, gid),
        };
        set_owner(made, uid, gid).map_err(failed("set the owner of", entry))?;
        // What a program may do by itself was said for its owner there. For another one, and for anybody on the host,
        // it would be the word of whoever made the archive.
        let may = self.target != Target::Host && (uid, gid) == (entry.uid, entry.gid);
        if !matches!(entry.kind, Kind::Symlink(_)) {
            let mode = if may { entry.mode } else { entry.mode & !SET_ID };
            set_mode(made, mode).map_err(failed("set the mode of", entry))?;
        }
        let is_data = |name: &OsStr| match self.target {
            Target::Host => name.as_bytes().starts_with(b"user."),
            _ => may || name != CAPABILITY,
        };
        for (name, value) in entry.xattrs.iter().filter(|(name, _)| is_kept(name) && is_data(name)) {
            match sys::set_xattr(made, name, value) {
                // A file system without them, or a kind of file that cannot have them: the file counts more.
                Err(error) if matches!(raw(&error), Some(Errno::EOPNOTSUPP | Errno::EPERM)) => {
                    tracing::debug!(path = %entry.shown().display(), name = %name.display(), %error,
                        "an extended attribute is left out");
                }
                set => set.map_err(failed("set an attribute of", entry))?,
            }
        }
        Ok(())
    }

    /// A name that starts with `.wh.` hides what lower layers have.
    fn whiteout(&mut self, entry: &Entry, parents: &[&OsStr], name: &OsStr) -> Result<(), ArchiveError> {
        let malformed = || ArchiveError::Whiteout { path: entry.shown() };
        let directory = self.parent(entry, parents)?;
        if name.as_bytes() == OPAQUE_WHITEOUT {
            return sys::set_xattr(&directory, OPAQUE.as_ref(), b"y").map_err(failed("mark", entry));
        }
        let hidden = name.as_bytes().strip_prefix(WHITEOUT).ok_or_else(malformed)?;
        if hidden.starts_with(WHITEOUT) {
            // Files by which aufs kept its own state.
            return Ok(());
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(malformed());
        }
        let hidden = OsStr::from_bytes(hidden);
        match find_at(&directory, hidden).map_err(failed("look for", entry))? {
            // It hides what lower layers have, and nothing of its own layer.
            Some(own) if kind_of(&fstat(&own).map_err(failed("look at", entry))?) == SFlag::S_IFDIR => {
                sys::set_xattr(&own, OPAQUE.as_ref(), b"y").map_err(failed("mark", entry))
            }
            Some(_) => Ok(()),
            None => mknodat(&directory, hidden, SFlag::S_IFCHR, Mode::empty(), makedev(0, 0))
                .map_err(failed("create", entry)),
        }
    }
}

/// Which extended attributes are taken over: the user's, file capabilities and access lists. `trusted.overlay.` and
/// `user.overlay.` would make overlayfs take files from elsewhere; the rest belongs to the host.
pub(super) fn is_kept(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let overlay = name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.");
    let kept = name.starts_with(b"user.")
        || name.starts_with(b"trusted.")
        || matches!(name, b"security.capability" | b"system.posix_acl_access" | b"system.posix_acl_default");
    kept && !overlay
}

/// Whether a file is how overlayfs says that a name is gone.
pub(super) fn is_whiteout(stat: &FileStat) -> bool {
    kind_of(stat) == SFlag::S_IFCHR && stat.st_rdev == 0
}

fn raw(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw)
}

fn word(stat: &FileStat) -> &'static str {
    match kind_of(stat) {
        SFlag::S_IFDIR => "directory",
        SFlag::S_IFLNK => "symbolic link",
        SFlag::S_IFCHR | SFlag::S_IFBLK => "device",
        _ => "file",
    }
}

fn conflict(existing: &'static str, entry: &Entry) -> ArchiveError {
    ArchiveError::Conflict { existing, path: entry.shown(), wanted: entry.kind.word() }
}

fn failed<E: Into<io::Error>>(action: &'static str, entry: &Entry) -> impl FnOnce(E) -> ArchiveError {
    move |error| FileError::of(action, entry.shown())(error).into()
}
