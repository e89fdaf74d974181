//! Layers: made in a directory of their own, put into their place under the lock, taken away from it again.

use std::collections::HashSet;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::ImageError;

use crate::archive::{self, ArchiveError, Below, Packer, Purpose, Reader, Split, Unpacked};
use crate::names::Digest;
use crate::process::Process;
use crate::store::{self, Durability, FileError, Layout};

/// The version of `layer.json` that this program writes, and the newest that it reads.
const VERSION: u32 = 2;

/// What is kept of its tar stream beside its files.
const SPLIT: &str = "layer.split";

/// In a layer that is not yet in its place: the boot that it was made in.
pub(super) const BOOT: &str = "boot";

/// How many letters a link's name has. Every letter is one that a mount of many layers cannot spend; a name
/// that is taken shows when it is made.
const LINK_LENGTH: usize = 6;

/// What is known of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    version: u32,
    /// The name of its link.
    pub(super) link: String,
    /// How many bytes its files have together.
    pub(super) size: u64,
    /// How long its tar stream is. `None` if the stream was not kept: it can only be packed anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tar: Option<u64>,
}

/// A layer that is whole but not yet in its place. Dropped, it is removed.
#[derive(Debug)]
pub(super) struct Staged {
    directory: Temporary,
    /// The digest of its uncompressed tar stream.
    pub(super) diff: Digest,
}

/// A directory that goes when this goes, or when the next change finds that its process has ended.
#[derive(Debug)]
pub(super) struct Temporary(pub(super) PathBuf);

impl Staged {
    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.directory.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // It may have been moved to its place; and what cannot be removed now, the next change tries again.
        store::remove_tree_if_exists(&self.0).ok();
    }
}

/// Hashes what is read.
struct Hashing<R> {
    stream: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}

/// The name for a directory that belongs to this process.
pub(super) fn temporary_path(layout: &Layout) -> Result<PathBuf, ImageError> {
    let me = Process::current().map_err(FileError::of("read", "/proc/self/stat"))?;
    let random = random_letters(8)?;
    Ok(layout.image_temporary().join(format!("{me}-{random}")))
}

/// Whose directory that is, by its name.
pub(super) fn owner(name: &str) -> Option<Process> {
    let mut parts = name.split('-');
    Some(Process { pid: parts.next()?.parse().ok()?, start_time: parts.next()?.parse().ok()? })
}

fn random_letters(count: usize) -> Result<String, ImageError> {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut bytes = vec![0_u8; count];
    getrandom::fill(&mut bytes).map_err(|error| ImageError::Random(io::Error::other(error)))?;
    Ok(bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect())
}

pub(super) fn make_directory(path: &Path) -> Result<(), ImageError> {
    Ok(DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(FileError::of("create the directory", path))?)
}

/// Makes a layer of a tar stream, which may be compressed. `what` names the stream in errors. It is not yet on the
/// disk: see [`Disk`].
///
/// # Errors
/// The stream is no archive, is damaged or hostile, or the disk is full; nothing is left behind.
pub(super) fn stage(layout: &Layout, stream: impl Read, what: &str) -> Result<Staged, ImageError> {
    stage_with(layout, what, |diff, split| unpack(archive::decompress(stream)?, diff, split))
}

/// As [`stage`], of a stream that always gives more or ends: it is decompressed and hashed on threads of their own.
pub(super) fn stage_ahead(
    layout: &Layout,
    stream: impl Read + Send,
    what: &str,
) -> Result<Staged, ImageError> {
    stage_with(layout, what, |diff, split| {
        let mut hash = Sha256::new();
        let look = |bytes: &[u8]| hash.update(bytes);
        let unpacked = archive::decompress_ahead(stream, look, |stream| unpack_all(stream, diff, split));
        Ok((unpacked?.0, hash.finalize().into()))
    })
}

fn stage_with(
    layout: &Layout,
    what: &str,
    unpack: impl FnOnce(&Path, &Split) -> Result<(Unpacked, [u8; 32]), ArchiveError>,
) -> Result<Staged, ImageError> {
    make_directory(&layout.images())?;
    let directory = temporary_path(layout)?;
    let diff = directory.join("diff");
    // The directory counts as ours from here on, also if what follows fails.
    let directory = Temporary(directory);
    make_directory(&diff)?;
    let failed = |source| ImageError::Unpack { archive: what.to_owned(), place: layout.images(), source };
    let split = directory.0.join(SPLIT);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&split);
    let split =
        file.and_then(|file| Split::new(file, &directory.0)).map_err(FileError::of("create", split))?;
    let (unpacked, hash) = unpack(&diff, &split).map_err(|error| match split.failure() {
        Some(written) => failed(ArchiveError::Write(written)),
        None => failed(error),
    })?;
    let tar = split.finish().map_err(FileError::of("write", directory.0.join(SPLIT)))?;
    if tar.is_none() {
        store::remove_if_exists(&directory.0.join(SPLIT)).map_err(FileError::of("remove", SPLIT))?;
    }
    let record = Record { version: VERSION, link: random_letters(LINK_LENGTH)?, size: unpacked.size, tar };
    write_record(&directory.0, &record, Durability::Process)?;
    Ok(Staged { directory, diff: Digest::sha256(hash) })
}

/// Unpacks a tar stream without compression, and hashes it.
fn unpack(stream: impl Read, diff: &Path, split: &Split) -> Result<(Unpacked, [u8; 32]), ArchiveError> {
    let (unpacked, stream) = unpack_all(Hashing { stream, hash: Sha256::new() }, diff, split)?;
    Ok((unpacked, stream.hash.finalize().into()))
}

/// Unpacks a tar stream and gives it back, read to its end: the digest is that of the whole stream, with whatever follows
/// the mark at the end.
fn unpack_all<R: Read>(stream: R, diff: &Path, split: &Split) -> Result<(Unpacked, R), ArchiveError> {
    let mut reader = Reader::new(split.keep(stream));
    let below = Below::open(diff).map_err(ArchiveError::Write)?;
    // A root directory that the archive does not mention.
    std::fs::set_permissions(diff, Permissions::from_mode(0o755)).map_err(ArchiveError::Write)?;
    let unpacked = archive::unpack_layer(&mut reader, &below, split)?;
    let mut kept = reader.into_inner();
    archive::drain(&mut kept)?;
    Ok((unpacked, kept.into_inner()))
}

fn write_record(directory: &Path, record: &Record, durability: Durability) -> Result<(), ImageError> {
    let path = directory.join("layer.json");
    let text = serde_json::to_vec(record).map_err(io::Error::other);
    Ok(text
        .and_then(|text| store::write_atomic(&path, &text, durability))
        .map_err(FileError::of("write", path))?)
}

/// The disk that layers are written to, opened before they are: the kernel writes some of them while others are made, and
/// whoever syncs is told what it could not write since then.
#[derive(Debug)]
pub(super) struct Disk {
    path: PathBuf,
    directory: File,
}

impl Disk {
    pub(super) fn open(layout: &Layout) -> Result<Self, ImageError> {
        let path = layout.images();
        make_directory(&path)?;
        let directory = File::open(&path).map_err(FileError::of("open", &path))?;
        Ok(Self { path, directory })
    }

    /// Puts on the disk whatever was staged, in one go: syncing file by file would take as long as unpacking.
    pub(super) fn sync(&self) -> Result<(), ImageError> {
        let synced = nix::unistd::syncfs(&self.directory).map_err(io::Error::from);
        Ok(synced.map_err(FileError::of("write to the disk what is in", &self.path))?)
    }
}

/// Puts a layer that is on the disk into its place, unless there is one of the same contents. Only to be called under
/// the lock, and [`sync_list`] afterwards.
pub(super) fn install(layout: &Layout, staged: &Staged) -> Result<(), ImageError> {
    put_into_place(layout, &staged.directory.0, &staged.diff)
}

/// As [`install`], for a layer that lies in this directory.
pub(super) fn put_into_place(layout: &Layout, directory: &Path, diff: &Digest) -> Result<(), ImageError> {
    let place = layout.image_layer(diff);
    if place.exists() {
        return Ok(());
    }
    for directory in [layout.image_layers(), layout.image_links()] {
        make_directory(&directory)?;
    }
    let mut record = record_in(directory)?;
    let target = Path::new("..").join(place.strip_prefix(layout.images()).unwrap_or(&place)).join("diff");
    loop {
        let link = layout.image_links().join(&record.link);
        match symlink(&target, &link) {
            Ok(()) => break,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                record.link = random_letters(LINK_LENGTH)?;
                write_record(directory, &record, Durability::Synced)?;
            }
            Err(error) => return Err(FileError::of("create the link", link)(error).into()),
        }
    }
    Ok(std::fs::rename(directory, &place).map_err(FileError::of("create the layer", &place))?)
}

/// Puts on the disk which layers there are.
pub(super) fn sync_list(layout: &Layout) -> Result<(), ImageError> {
    for directory in [layout.image_links(), layout.image_layers()] {
        let synced = File::open(&directory).and_then(|directory| directory.sync_all());
        synced.map_err(FileError::of("write to the disk", directory))?;
    }
    Ok(())
}

/// Writes a layer's tar stream: the very one that it was made of if that was kept, otherwise what packing its files
/// gives.
///
/// # Errors
/// The files cannot be read, or the stream not be written.
pub(super) fn write_tar(
    layout: &Layout,
    diff: &Digest,
    is_kept: bool,
    mut stream: impl Write,
) -> Result<(), ArchiveError> {
    let place = layout.image_layer(diff);
    if is_kept {
        return archive::restore(&place.join(SPLIT), &place, &mut stream);
    }
    let mut packer = Packer::new(stream, Purpose::Layer, &|_, _| false);
    let files = File::open(place.join("diff")).map_err(ArchiveError::Read)?;
    packer.add(&files.into(), "".as_ref())?;
    packer.finish().map(drop)
}

/// What is known of a layer.
pub(super) fn record(layout: &Layout, diff: &Digest) -> Result<Record, ImageError> {
    record_in(&layout.image_layer(diff))
}

fn record_in(directory: &Path) -> Result<Record, ImageError> {
    let path = directory.join("layer.json");
    let text = std::fs::read(&path).map_err(FileError::of("read", &path))?;
    read_versioned(&path, &text, VERSION)
}

/// Reads one of our own files: its version first, so that a newer one is told from a damaged one.
pub(super) fn read_versioned<T: for<'a> Deserialize<'a>>(
    path: &Path,
    text: &[u8],
    known: u32,
) -> Result<T, ImageError> {
    let malformed = |source| ImageError::Malformed { path: path.to_owned(), source };
    let value: serde_json::Value = serde_json::from_slice(text).map_err(malformed)?;
    match value.get("version").and_then(serde_json::Value::as_u64) {
        Some(found) if found > u64::from(known) => {
            Err(ImageError::Version { path: path.to_owned(), found, known })
        }
        _ => serde_json::from_value(value).map_err(malformed),
    }
}

/// The directories to mount for these layers (the lowest first), topmost first.
///
/// A layer that is there twice counts where it is topmost: overlayfs takes no directory twice, and what hides
/// or changes the lower one is in that of the same contents as well.
pub(super) fn directories(layout: &Layout, diffs: &[Digest]) -> Result<Vec<PathBuf>, ImageError> {
    let mut seen = HashSet::new();
    let topmost = diffs.iter().rev().filter(|diff| seen.insert(*diff));
    topmost.map(|diff| Ok(layout.image_links().join(record(layout, diff)?.link))).collect()
}

/// Takes all layers away that are in neither set, and what killed processes have left. What is returned is to
/// be dropped when the lock is given back: removing files takes time. Only to be called under the lock.
pub(super) fn sweep(
    layout: &Layout,
    wanted: &HashSet<Digest>,
    mounted: &HashSet<PathBuf>,
) -> Result<(Vec<Temporary>, Vec<Digest>), ImageError> {
    let (mut garbage, mut removed) = (Vec::new(), Vec::new());
    // Temporary files beside the list of images go with the listing.
    list(&layout.images())?;
    let temporary = layout.image_temporary();
    for name in list(&temporary)? {
        if owner(&name).is_none_or(|owner| !owner.is_alive()) {
            garbage.push(Temporary(temporary.join(name)));
        }
    }
    for hex in list(&layout.image_layers())? {
        let Ok(diff) = format!("sha256:{hex}").parse::<Digest>() else { continue };
        let link = record(layout, &diff).map(|record| layout.image_links().join(record.link));
        let is_mounted = link.as_ref().is_ok_and(|link| mounted.contains(link));
        let place = layout.image_layer(&diff);
        if wanted.contains(&diff) || is_mounted {
            tidy(&place)?;
            continue;
        }
        make_directory(&temporary)?;
        let path = temporary_path(layout)?;
        std::fs::rename(&place, &path).map_err(FileError::of("remove", &place))?;
        garbage.push(Temporary(path));
        removed.push(diff);
    }
    for name in list(&layout.image_links())? {
        let link = layout.image_links().join(name);
        if !link.exists() {
            store::remove_if_exists(&link).map_err(FileError::of("remove", &link))?;
        }
    }
    Ok((garbage, removed))
}

/// Removes what killed processes have left in a layer that stays: temporary files, and the mark of its way here.
fn tidy(place: &Path) -> Result<(), ImageError> {
    if list(place)?.iter().any(|name| name == BOOT) {
        let mark = place.join(BOOT);
        store::remove_if_exists(&mark).map_err(FileError::of("remove", mark))?;
    }
    Ok(())
}

pub(super) fn list(directory: &Path) -> Result<Vec<String>, ImageError> {
    Ok(store::list(directory).map_err(FileError::of("read the directory", directory))?)
}
