//! Files are copied into containers and out of them.
//!
//! Both ends of a copy are a directory that is held open and a path below it: the container's root, or the
//! host's. The files go through a tar stream from one to the other, so that neither side ever sees a path of
//! the other one.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::{SFlag, fstat};

use super::containers::{self, Record};
use super::{EngineError, etc_files, events, privileges, volumes};
use crate::archive::{self, Below, Owners, Packer, Purpose, Reader, Target, Unpacked};
use crate::container::life::record::State;
use crate::container::life::view::Tree;
use crate::container::request::mounts::{Mount, Source};
use crate::container::tree::files::Files;
use crate::store::Layout;

/// What is told of a container when files are copied from it and into it, in Docker's words.
const READ: &str = "archive-path";
const WRITTEN: &str = "extract-to-dir";

/// One end of a copy, as the user names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyEnd {
    /// A path in a container; without a leading `/` it starts at its root as well.
    Container {
        /// The container, by name or id.
        container: String,
        /// The path.
        path: OsString,
    },
    /// A path of the host.
    Host(OsString),
}

/// How files are copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyOptions {
    /// Whether owners are kept. Otherwise files in a container are root's, and files on the host the caller's.
    pub archive: bool,
    /// Whether a link that is named as the source stands for what it leads to.
    pub follow: bool,
}

/// A path and the directory that it starts at.
struct Place {
    below: Below,
    path: OsString,
    /// For messages.
    shown: String,
    target: Target,
    /// The container that it is in, with what keeps its directory.
    container: Option<(Record, Tree)>,
}

impl Place {
    /// Tells what has happened in the container, if it is in one.
    fn tell(&self, layout: &Layout, action: &str) {
        if let Some((record, _)) = &self.container {
            events::container(layout, record, action, &[("path", &self.path.to_string_lossy())]);
        }
    }

    /// Whether the path means a directory, whatever is there.
    fn means_directory(&self) -> bool {
        let path = self.path.as_bytes();
        path.ends_with(b"/") || path.ends_with(b"/.") || matches!(path, b"" | b"." | b"..")
    }

    /// Whether the path means what is in a directory, and not the directory.
    fn means_contents(&self) -> bool {
        self.path.as_bytes().ends_with(b"/.") || self.path.as_bytes() == b"."
    }

    /// The path without what makes it mean a directory.
    fn plain(&self) -> OsString {
        let mut path = self.path.as_bytes();
        while let Some(rest) = path.strip_suffix(b"/.").or_else(|| path.strip_suffix(b"/")) {
            path = rest;
        }
        OsStr::from_bytes(path).to_owned()
    }

    /// The last name of the path, if it has one.
    fn name(&self) -> OsString {
        Path::new(&self.plain()).file_name().unwrap_or_default().to_owned()
    }

    fn failed<E: Into<io::Error>>(&self, action: &'static str) -> impl FnOnce(E) -> EngineError {
        move |error| EngineError::Copy { action, path: self.shown.clone(), source: error.into() }
    }

    /// What is to be copied, and under which name it goes by itself: an empty one for what is in a directory.
    fn source(&self, follow: bool) -> Result<(OwnedFd, bool, OsString), EngineError> {
        let path = if self.means_contents() || self.means_directory() { &self.path } else { &self.plain() };
        let spot = self.below.spot(Path::new(path), follow).map_err(self.failed("find"))?;
        let file = spot.file.ok_or_else(|| self.failed("find")(Errno::ENOENT))?;
        let is_directory = is_directory(&file).map_err(self.failed("look at"))?;
        let name = if self.means_contents() { OsString::new() } else { self.name() };
        Ok((file, is_directory, name))
    }

    /// Refuses what would be left out, were it met on the way.
    fn check_kind(&self, file: &OwnedFd, target: Target) -> Result<(), EngineError> {
        let mode = fstat(file).map_err(self.failed("look at"))?.st_mode;
        let why = match SFlag::from_bits_truncate(mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFSOCK => "a socket is nothing without the process that listens",
            SFlag::S_IFCHR | SFlag::S_IFBLK if target == Target::Host => {
                "a device of a container is not made on the host"
            }
            _ => return Ok(()),
        };
        Err(self.failed("copy")(io::Error::new(io::ErrorKind::Unsupported, why)))
    }

    /// The directory that something of this kind and name goes into, and under which name: Docker's rules.
    fn destination(
        &self,
        is_directory_copied: bool,
        name: OsString,
        source: &str,
    ) -> Result<(OwnedFd, OsString), EngineError> {
        let plain = self.plain();
        let spot = self.below.spot(Path::new(&plain), true).map_err(self.failed("find the directory of"))?;
        let Some(there) = spot.file else {
            if self.means_directory() && !is_directory_copied {
                return Err(self.failed("find the directory")(Errno::ENOENT));
            }
            return Ok((spot.directory, spot.name.unwrap_or_default()));
        };
        if is_directory(&there).map_err(self.failed("look at"))? {
            return Ok((there, name));
        }
        if is_directory_copied {
            let (source, target) = (source.to_owned(), self.shown.clone());
            return Err(EngineError::DirectoryOntoFile { source_path: source, target });
        }
        if self.means_directory() {
            return Err(self.failed("copy into")(Errno::ENOTDIR));
        }
        Ok((spot.directory, spot.name.unwrap_or_default()))
    }
}

fn is_directory(file: &OwnedFd) -> nix::Result<bool> {
    Ok(fstat(file)?.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits())
}

pub(super) fn nothing(_: &OsStr, _: &nix::sys::stat::FileStat) -> bool {
    false
}

pub(super) fn copy(
    layout: &Layout,
    source: &CopyEnd,
    target: &CopyEnd,
    options: CopyOptions,
) -> Result<u64, EngineError> {
    privileges::for_containers()?;
    let (from, to) = (place(layout, source)?, place(layout, target)?);
    let (file, is_directory, name) = from.source(options.follow)?;
    from.check_kind(&file, to.target)?;
    let (directory, name) = to.destination(is_directory, name, &from.shown)?;
    let below = Below::new(directory);
    let done: Result<Unpacked, EngineError> = archive::piped(
        |pipe| {
            let mut packer = Packer::new(BufWriter::new(pipe), Purpose::Tree, &nothing);
            packer.add(&file, &name)?;
            packer.finish().map(drop)
        },
        |stream| {
            let mut reader = Reader::new(stream);
            Ok(archive::unpack(&mut reader, &below, to.target, owners(options, to.target))?)
        },
    );
    let size = done.map_err(|error| told(error, &from.shown, &to.shown))?.size;
    from.tell(layout, READ);
    to.tell(layout, WRITTEN);
    Ok(size)
}

pub(super) fn copy_out(
    layout: &Layout,
    source: &CopyEnd,
    stream: impl Write,
    follow: bool,
) -> Result<(), EngineError> {
    privileges::for_containers()?;
    let from = place(layout, source)?;
    let (file, _, name) = from.source(follow)?;
    // The archive is data, whoever reads it.
    from.check_kind(&file, Target::Container)?;
    let mut packer = Packer::new(BufWriter::with_capacity(128 * 1024, stream), Purpose::Tree, &nothing);
    packer.add(&file, &name).and_then(|()| packer.finish().map(drop))?;
    from.tell(layout, READ);
    Ok(())
}

pub(super) fn copy_in(
    layout: &Layout,
    stream: impl Read,
    target: &CopyEnd,
    options: CopyOptions,
) -> Result<u64, EngineError> {
    privileges::for_containers()?;
    let to = place(layout, target)?;
    let directory = to.below.spot(Path::new(&to.plain()), true).map_err(to.failed("find"))?.file;
    let directory = directory.ok_or_else(|| to.failed("find")(Errno::ENOENT))?;
    if !is_directory(&directory).map_err(to.failed("look at"))? {
        return Err(to.failed("unpack an archive to")(Errno::ENOTDIR));
    }
    let done = (|| {
        let mut reader = Reader::new(archive::decompress(stream)?);
        let below = Below::new(directory);
        let done = archive::unpack(&mut reader, &below, to.target, owners(options, to.target))?;
        archive::drain(&mut reader.into_inner())?;
        Ok::<_, EngineError>(done)
    })();
    let size = done.map_err(|error| told(error, "standard input", &to.shown))?.size;
    to.tell(layout, WRITTEN);
    Ok(size)
}

fn place(layout: &Layout, end: &CopyEnd) -> Result<Place, EngineError> {
    match end {
        CopyEnd::Container { container, path } => {
            let shown = format!("{container}:{}", path.display());
            let snapshot = containers::find(layout, container)?;
            let tree = tree_of(layout, &snapshot.record, &snapshot.state)?;
            let failed =
                |source| EngineError::Copy { action: "open the root of", path: shown.clone(), source };
            let below = Below::new(tree.root().map_err(failed)?);
            let (path, target) = (path.clone(), Target::Container);
            Ok(Place { below, path, shown, target, container: Some((snapshot.record, tree)) })
        }
        CopyEnd::Host(path) => {
            let failed =
                |source| EngineError::Copy { action: "find", path: path.display().to_string(), source };
            let mut absolute = Vec::new();
            if !path.as_bytes().starts_with(b"/") {
                absolute = std::env::current_dir().map_err(failed)?.into_os_string().into_vec();
                absolute.push(b'/');
            }
            absolute.extend_from_slice(path.as_bytes());
            Ok(Place {
                below: Below::open(Path::new("/")).map_err(failed)?,
                path: OsString::from_vec(absolute),
                shown: path.display().to_string(),
                target: Target::Host,
                container: None,
            })
        }
    }
}

/// Fills the volumes of a container that was just made with what its image has in their places: others may take them over
/// before it is ever started.
pub(super) fn prepare_volumes(layout: &Layout, record: &Record) -> Result<(), EngineError> {
    let is_filled = |mount: &Mount| matches!(mount.source, Source::Volume { copy: true, .. });
    if record.config.settings.mounts.iter().any(is_filled) {
        tree_of(layout, record, &State::Created).map(drop)?;
    }
    Ok(())
}

/// The files of a container as it sees them, or would see them.
fn tree_of(layout: &Layout, record: &Record, state: &State) -> Result<Tree, EngineError> {
    if let State::Running { init, .. } = state {
        return Ok(Tree::live(*init)?);
    }
    volumes::make(layout, record)?;
    // Whose network it is to have may be gone, which is no reason to keep its files.
    let files = etc_files::of(layout, record).unwrap_or_else(|_| Files::new(layout, &record.id, &record.id));
    files.make_missing()?;
    Ok(Tree::still(layout, &record.id, &record.config, &files)?)
}

fn owners(options: CopyOptions, target: Target) -> Owners {
    match (options.archive, target) {
        (true, _) => Owners::Archive,
        (false, Target::Host) => Owners::All(nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw()),
        (false, _) => Owners::All(0, 0),
    }
}

/// Says what was copied where, in front of what went wrong.
fn told(error: EngineError, from: &str, to: &str) -> EngineError {
    match error {
        EngineError::Archive(source) => {
            EngineError::CopyFiles { from: from.to_owned(), to: to.to_owned(), source }
        }
        other => other,
    }
}

/// Which end of a copy a word names: `CONTAINER:PATH`, or a path of the host if it starts with `/` or `.` or
/// has no colon.
impl From<&OsStr> for CopyEnd {
    fn from(word: &OsStr) -> Self {
        let bytes = word.as_bytes();
        let local = bytes.starts_with(b"/") || bytes.starts_with(b".");
        match bytes.iter().position(|byte| *byte == b':').filter(|at| !local && *at > 0) {
            Some(colon) => Self::Container {
                container: String::from_utf8_lossy(&bytes[..colon]).into_owned(),
                path: OsString::from_vec(bytes[colon + 1..].to_vec()),
            },
            None => Self::Host(PathBuf::from(word).into_os_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_with_a_colon_is_a_container_unless_it_looks_like_a_path() {
        let container = |container: &str, path: &str| CopyEnd::Container {
            container: container.into(),
            path: path.into(),
        };
        let host = |path: &str| CopyEnd::Host(path.into());
        for (word, expected) in [
            ("web:/etc", container("web", "/etc")),
            ("web:etc:x", container("web", "etc:x")),
            ("web:", container("web", "")),
            ("/a:b", host("/a:b")),
            ("./a:b", host("./a:b")),
            ("../a:b", host("../a:b")),
            ("file", host("file")),
            (":x", host(":x")),
        ] {
            assert_eq!(CopyEnd::from(OsStr::new(word)), expected, "{word}");
        }
    }

    #[test]
    fn the_end_of_a_path_tells_what_is_meant() {
        let place = |path: &str| Place {
            below: Below::open(Path::new("/")).unwrap(),
            path: path.into(),
            shown: String::new(),
            target: Target::Host,
            container: None,
        };
        for (path, directory, contents, plain, name) in [
            ("/a/b", false, false, "/a/b", "b"),
            ("/a/b/", true, false, "/a/b", "b"),
            ("/a/b/.", true, true, "/a/b", "b"),
            ("/a/b/./", true, false, "/a/b", "b"),
            ("/", true, false, "", ""),
            ("/.", true, true, "", ""),
            ("", true, false, "", ""),
            (".", true, true, ".", ""),
            ("a", false, false, "a", "a"),
        ] {
            let place = place(path);
            let found = (place.means_directory(), place.means_contents(), place.plain(), place.name());
            assert_eq!(found, (directory, contents, plain.into(), name.into()), "{path}");
        }
    }
}
