//! Layers: made in a directory of their own, put into their place under the lock, taken away from it again.

use std::collections::HashSet;
use std::fs::{DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::ImageError;
use super::error::io_error;
use crate::archive::{self, ArchiveError, Below, Owners, Reader, Target};
use crate::names::Digest;
use crate::process::Process;
use crate::store::{self, Durability, Layout};

/// The version of `layer.json` that this program writes, and the only one it reads.
const VERSION: u32 = 1;

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
}

/// A layer that is whole but not yet in its place. Dropped, it is removed.
#[derive(Debug)]
pub(super) struct Staged {
    directory: Temporary,
    /// The digest of its uncompressed tar stream.
    pub(super) diff: Digest,
    size: u64,
}

/// A directory that goes when this goes, or when the next change finds that its process has ended.
#[derive(Debug)]
pub(super) struct Temporary(PathBuf);

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
fn temporary_path(layout: &Layout) -> Result<PathBuf, ImageError> {
    let me = Process::current().map_err(io_error("read", "/proc/self/stat"))?;
    let random = random_letters(8)?;
    Ok(layout.image_temporary().join(format!("{me}-{random}")))
}

/// Whose directory that is, by its name.
fn owner(name: &str) -> Option<Process> {
    let mut parts = name.split('-');
    Some(Process { pid: parts.next()?.parse().ok()?, start_time: parts.next()?.parse().ok()? })
}

fn random_letters(count: usize) -> Result<String, ImageError> {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut bytes = vec![0_u8; count];
    getrandom::fill(&mut bytes).map_err(|error| ImageError::Random(io::Error::other(error)))?;
    Ok(bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect())
}

fn make_directory(path: &Path) -> Result<(), ImageError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io_error("create the directory", path))
}

/// Makes a layer of a tar stream, which may be compressed. `what` names the stream in errors.
///
/// # Errors
/// The stream is no archive, is damaged or hostile, or the disk is full; nothing is left behind.
pub(super) fn stage(layout: &Layout, stream: impl Read, what: &str) -> Result<Staged, ImageError> {
    make_directory(&layout.images())?;
    let directory = temporary_path(layout)?;
    let diff = directory.join("diff");
    // The directory counts as ours from here on, also if what follows fails.
    let directory = Temporary(directory);
    make_directory(&diff)?;
    let failed = |source| ImageError::Unpack { archive: what.to_owned(), place: layout.images(), source };
    let unpacked = (|| {
        let stream = archive::decompress(stream)?;
        let mut reader = Reader::new(Hashing { stream, hash: Sha256::new() });
        let below = Below::open(&diff).map_err(ArchiveError::Write)?;
        // A root directory that the archive does not mention.
        std::fs::set_permissions(&diff, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .map_err(ArchiveError::Write)?;
        let unpacked = archive::unpack(&mut reader, &below, Target::Layer, Owners::Archive)?;
        // The digest is that of the whole stream, with whatever follows the mark at the end.
        let mut hashing = reader.into_inner();
        archive::drain(&mut hashing)?;
        Ok((unpacked, hashing.hash.finalize()))
    })();
    let (unpacked, hash) = unpacked.map_err(failed)?;
    // In one go: syncing file by file would take as long as unpacking.
    let synced = File::open(&diff).and_then(|file| Ok(nix::unistd::syncfs(file)?));
    synced.map_err(io_error("write to the disk what is in", &diff))?;
    Ok(Staged { directory, diff: Digest::sha256(hash.into()), size: unpacked.size })
}

/// Puts a layer into its place, unless there is one of the same contents. Only to be called under the lock.
pub(super) fn install(layout: &Layout, staged: Staged) -> Result<Digest, ImageError> {
    let place = layout.image_layer(&staged.diff);
    if place.exists() {
        return Ok(staged.diff);
    }
    for directory in [layout.image_layers(), layout.image_links()] {
        make_directory(&directory)?;
    }
    let target = Path::new("..").join(place.strip_prefix(layout.images()).unwrap_or(&place)).join("diff");
    let link = loop {
        let name = random_letters(LINK_LENGTH)?;
        let link = layout.image_links().join(&name);
        match symlink(&target, &link) {
            Ok(()) => break name,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(io_error("create the link", link)(error)),
        }
    };
    let record = Record { version: VERSION, link, size: staged.size };
    let path = staged.directory.0.join("layer.json");
    let text = serde_json::to_vec(&record).map_err(io::Error::other);
    text.and_then(|text| store::write_atomic(&path, &text, Durability::Synced))
        .map_err(io_error("write", &path))?;
    std::fs::rename(&staged.directory.0, &place).map_err(io_error("create the layer", &place))?;
    let synced = File::open(layout.image_layers()).and_then(|directory| directory.sync_all());
    synced.map_err(io_error("write to the disk", layout.image_layers()))?;
    Ok(staged.diff.clone())
}

/// What is known of a layer.
pub(super) fn record(layout: &Layout, diff: &Digest) -> Result<Record, ImageError> {
    let path = layout.image_layer(diff).join("layer.json");
    let text = std::fs::read(&path).map_err(io_error("read", &path))?;
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
        Some(found) if found != u64::from(known) => {
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
        if wanted.contains(&diff) || is_mounted {
            continue;
        }
        make_directory(&temporary)?;
        let path = temporary_path(layout)?;
        let place = layout.image_layer(&diff);
        std::fs::rename(&place, &path).map_err(io_error("remove", &place))?;
        garbage.push(Temporary(path));
        removed.push(diff);
    }
    for name in list(&layout.image_links())? {
        let link = layout.image_links().join(name);
        if !link.exists() {
            store::remove_if_exists(&link).map_err(io_error("remove", &link))?;
        }
    }
    Ok((garbage, removed))
}

pub(super) fn list(directory: &Path) -> Result<Vec<String>, ImageError> {
    store::list(directory).map_err(io_error("read the directory", directory))
}
