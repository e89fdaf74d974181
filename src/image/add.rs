//! Images that come whole, from a registry or an archive: their layers one by one, then the image with all of them.
//!
//! A layer that is whole is *parked* until all are, and stays so if the rest fails or the process is killed: the next
//! attempt needs not fetch it again. Only what is on the disk is put into place, and for that all layers are synced in
//! one go; so a parked layer counts only in the boot that it was made in, and for a day.
//!
//! ```text
//! stage ─► park ─► (all there) sync, lock ─► put into place ─► configuration ─► repositories.json
//! ```

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::layer::{self, BOOT, Temporary};
use super::store::{Images, write_config_bytes};
use super::{ImageConfig, ImageError, Pinned, Reference, Users};
use crate::names::Digest;
use crate::process::{Process, boot_id};
use crate::store::{self, Durability, FileError, Layout, Lock, LockKind};

/// The largest configuration that is taken.
pub const CONFIG_MAX: usize = 8 << 20;

/// How long a parked layer is kept for the next attempt.
const PARKED: Duration = Duration::from_secs(24 * 3600);

/// The file of a layer with what registries have it as.
const BLOBS: &str = "blobs.json";

/// How many places of one layer are remembered.
const BLOBS_MAX: usize = 16;

/// A layer as a registry has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blob {
    /// The digest of its bytes there, compressed as they are.
    pub digest: Digest,
    /// How many bytes that is.
    pub size: u64,
    /// Its media type.
    pub media_type: String,
    /// The registry and repository that it was seen in.
    pub repository: String,
}

/// A manifest as a registry has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Its media type.
    pub media_type: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// An image that comes whole.
#[derive(Debug, Clone, Default)]
pub struct WholeImage {
    /// The bytes of its configuration.
    pub config: Vec<u8>,
    /// What it is to be called.
    pub names: Vec<Reference>,
    /// What a registry calls it.
    pub pinned: Option<Pinned>,
    /// What the registry said of it.
    pub manifest: Option<Manifest>,
    /// What the registry has its layers as, in the order of the configuration.
    pub blobs: Vec<Blob>,
}

/// The layers of an image that is on its way. As long as this lives, none of them is removed.
#[derive(Debug)]
pub struct Adding<'a> {
    images: &'a Images,
    wanted: PathBuf,
    disk: layer::Disk,
}

/// The right to make a layer, which no other process has meanwhile.
#[derive(Debug)]
pub struct Claim {
    _lock: Lock,
}

impl Drop for Adding<'_> {
    fn drop(&mut self) {
        // A file of a process that has ended means nothing: the next change removes it.
        store::remove_if_exists(&self.wanted).ok();
    }
}

impl Images {
    /// Says that an image with these layers is on its way.
    ///
    /// # Errors
    /// The file that says so cannot be written.
    pub fn adding(&self, diffs: &[Digest]) -> Result<Adding<'_>, ImageError> {
        let directory = self.layout.image_wanted();
        layer::make_directory(&directory)?;
        let disk = layer::Disk::open(&self.layout)?;
        let name = layer::temporary_path(&self.layout)?;
        let wanted = directory.join(name.file_name().unwrap_or_default());
        let text = serde_json::to_vec(diffs).map_err(std::io::Error::other);
        // Under the lock: nobody removes what nobody uses at this very moment.
        let _lock = self.lock()?;
        text.and_then(|text| store::write_atomic(&wanted, &text, Durability::Process))
            .map_err(FileError::of("write", &wanted))?;
        Ok(Adding { images: self, wanted, disk })
    }
}

impl Images {
    /// Remembers what a registry has an image and its layers as.
    pub(super) fn note_pushed(
        &self,
        id: &Digest,
        pinned: &Pinned,
        diffs: &[Digest],
        blobs: &[Blob],
        manifest: &Manifest,
    ) -> Result<(), ImageError> {
        let _lock = self.lock()?;
        let mut repositories = self.repositories()?;
        // It may have been removed meanwhile.
        if !repositories.images.contains(id) {
            return Ok(());
        }
        note_blobs(&self.layout, diffs, blobs);
        write_manifest(&self.layout, id, manifest)?;
        repositories.add(id, &[], Some(pinned));
        self.save_list(&repositories)
    }
}

impl Adding<'_> {
    /// Whether a layer is there: parked, or in its place. In this order, which is the one that it goes.
    #[must_use]
    pub fn has(&self, diff: &Digest) -> bool {
        let layout = &self.images.layout;
        is_parked(layout, diff) || layout.image_layer(diff).join("layer.json").exists()
    }

    /// The right to make a layer, or `None` if it is there: another process that is making it is waited for. `stop`
    /// says whether to give up.
    ///
    /// # Errors
    /// The lock cannot be made.
    pub fn claim(&self, diff: &Digest, stop: &dyn Fn() -> bool) -> Result<Option<Claim>, ImageError> {
        let path = self.images.layout.image_layer_lock(diff);
        layer::make_directory(path.parent().unwrap_or(&path))?;
        loop {
            // As long as it takes: whoever has it is fetching what would have to be fetched here.
            let lock = Lock::if_free(LockKind::Layer, &path).map_err(FileError::of("lock", &path))?;
            if self.has(diff) || stop() {
                return Ok(None);
            }
            if let Some(lock) = lock {
                return Ok(Some(Claim { _lock: lock }));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Makes a layer of a tar stream, which may be compressed, and parks it. `what` names the stream in errors.
    ///
    /// # Errors
    /// The stream cannot be unpacked or is another one than the configuration says; nothing is left behind.
    pub fn make(
        &self,
        claim: &Claim,
        diff: &Digest,
        stream: impl Read,
        what: &str,
    ) -> Result<(), ImageError> {
        self.finish_layer(claim, &layer::stage(&self.images.layout, stream, what)?, diff, what)
    }

    /// As [`Adding::make`], with a thread that decompresses it.
    ///
    /// # Errors
    /// As [`Adding::make`].
    pub fn make_ahead(
        &self,
        claim: &Claim,
        diff: &Digest,
        stream: impl Read + Send,
        what: &str,
    ) -> Result<(), ImageError> {
        self.finish_layer(claim, &layer::stage_ahead(&self.images.layout, stream, what)?, diff, what)
    }

    /// Parks a layer if it is the right one. Who has no claim on it does not.
    fn finish_layer(
        &self,
        _claim: &Claim,
        staged: &layer::Staged,
        diff: &Digest,
        what: &str,
    ) -> Result<(), ImageError> {
        if staged.diff != *diff {
            let (what, expected, found) = (what.to_owned(), diff.clone(), staged.diff.clone());
            return Err(ImageError::WrongDiff { what, expected, found });
        }
        park(&self.images.layout, staged)
    }

    /// Puts the layers into their places and makes the image. Returns its id, and whether it is new.
    ///
    /// # Errors
    /// A layer is missing, or the image cannot be written. Its layers stay parked.
    pub fn finish(self, whole: &WholeImage, users: Users<'_>) -> Result<(Digest, bool), ImageError> {
        let images = self.images;
        let layout = &images.layout;
        let config = parse_config(&whole.config)?;
        let diffs = &config.rootfs.diff_ids;
        let parked: Vec<&Digest> = diffs.iter().filter(|diff| !layout.image_layer(diff).exists()).collect();
        if !parked.is_empty() {
            self.disk.sync()?;
        }
        let garbage;
        let result = {
            let _lock = images.lock()?;
            let mut repositories = images.repositories()?;
            // What is wrong with other images, or with containers, is no reason not to make this one.
            garbage = images.sweep(&repositories, users).inspect_err(|error| {
                tracing::warn!(%error, "cannot clear away what is left of removed images");
            });
            for diff in &parked {
                let from = layout.image_parked_layer(diff);
                layer::put_into_place(layout, &from, diff)?;
                // Only now: without it a parked layer is none, and somebody else would fetch it once more.
                let boot = layout.image_layer(diff).join(BOOT);
                store::remove_if_exists(&boot).map_err(FileError::of("remove", boot))?;
                // Of a layer that another process was faster with.
                store::remove_tree_if_exists(&from).map_err(FileError::of("remove", &from))?;
            }
            if !parked.is_empty() {
                layer::sync_list(layout)?;
            }
            note_blobs(layout, diffs, &whole.blobs);
            let id = write_config_bytes(layout, &whole.config)?;
            if let Some(manifest) = &whole.manifest {
                write_manifest(layout, &id, manifest)?;
            }
            let is_new = repositories.add(&id, &whole.names, whole.pinned.as_ref());
            images.save_list(&repositories)?;
            (id, is_new)
        };
        drop(garbage);
        Ok(result)
    }
}

/// Reads a configuration that somebody else has made.
///
/// # Errors
/// It is none.
pub fn parse_config(bytes: &[u8]) -> Result<ImageConfig, ImageError> {
    if bytes.len() > CONFIG_MAX {
        return Err(ImageError::LargeConfig { limit: CONFIG_MAX });
    }
    serde_json::from_slice(bytes).map_err(ImageError::Config)
}

/// The id that an image with this configuration has.
#[must_use]
pub fn id_of(config: &[u8]) -> Digest {
    Digest::sha256(Sha256::digest(config).into())
}

fn is_parked(layout: &Layout, diff: &Digest) -> bool {
    let boot = std::fs::read(layout.image_parked_layer(diff).join(BOOT));
    boot.is_ok_and(|boot| boot_id().is_ok_and(|now| boot == now.as_bytes()))
}

fn park(layout: &Layout, staged: &layer::Staged) -> Result<(), ImageError> {
    layer::make_directory(&layout.image_parked())?;
    let place = layout.image_parked_layer(&staged.diff);
    // Of another boot, or not whole.
    store::remove_tree_if_exists(&place).map_err(FileError::of("remove", &place))?;
    let boot = staged.path().join(BOOT);
    boot_id()
        .and_then(|id| store::write_atomic(&boot, id.as_bytes(), Durability::Process))
        .map_err(FileError::of("write", &boot))?;
    Ok(std::fs::rename(staged.path(), &place).map_err(FileError::of("create the layer", &place))?)
}

/// Remembers what a registry has the layers as, so that they need not be sent there again. That is not worth an error.
fn note_blobs(layout: &Layout, diffs: &[Digest], blobs: &[Blob]) {
    for (diff, blob) in diffs.iter().zip(blobs) {
        let mut known = blobs_of(layout, diff);
        if known.first() == Some(blob) {
            continue;
        }
        known.retain(|other| other != blob);
        known.insert(0, blob.clone());
        known.truncate(BLOBS_MAX);
        let path = layout.image_layer(diff).join(BLOBS);
        let written = serde_json::to_vec(&known).map_err(std::io::Error::other);
        if let Err(error) = written.and_then(|text| store::write_atomic(&path, &text, Durability::Process)) {
            tracing::debug!(%error, path = %path.display(), "what a registry has a layer as is not noted");
        }
    }
}

/// What registries have a layer as, the last one first.
pub(super) fn blobs_of(layout: &Layout, diff: &Digest) -> Vec<Blob> {
    let text = std::fs::read(layout.image_layer(diff).join(BLOBS)).unwrap_or_default();
    // What cannot be read only has to be sent again.
    serde_json::from_slice(&text).unwrap_or_default()
}

fn write_manifest(layout: &Layout, id: &Digest, manifest: &Manifest) -> Result<(), ImageError> {
    let directory = layout.image_manifests();
    layer::make_directory(&directory)?;
    // The media type on a line of its own, then the very bytes.
    let text = [manifest.media_type.as_bytes(), b"\n", &manifest.bytes].concat();
    let path = directory.join(id.hex());
    Ok(store::write_atomic(&path, &text, Durability::Synced).map_err(FileError::of("write", path))?)
}

/// What a registry said of an image, if it came from one.
pub(super) fn read_manifest(layout: &Layout, id: &Digest) -> Option<Manifest> {
    let text = std::fs::read(layout.image_manifests().join(id.hex())).ok()?;
    let end = text.iter().position(|byte| *byte == b'\n')?;
    let media_type = String::from_utf8(text[..end].to_vec()).ok()?;
    Some(Manifest { media_type, bytes: text[end + 1..].to_vec() })
}

/// The layers that processes count on which are adding images. What ended ones have left is removed.
pub(super) fn wanted(layout: &Layout) -> Result<Vec<Digest>, ImageError> {
    let directory = layout.image_wanted();
    let mut wanted = Vec::new();
    for name in layer::list(&directory)? {
        let path = directory.join(&name);
        if layer::owner(&name).is_some_and(Process::is_alive) {
            let text =
                store::read_if_exists(&path).map_err(FileError::of("read", &path))?.unwrap_or_default();
            wanted.extend(serde_json::from_slice::<Vec<Digest>>(&text).unwrap_or_default());
        } else {
            store::remove_if_exists(&path).map_err(FileError::of("remove", path))?;
        }
    }
    Ok(wanted)
}

/// Takes away the parked layers that nobody will come for any more, or with `all` those that no process counts on. What
/// is returned is to be dropped after the lock.
pub(super) fn sweep_parked(
    layout: &Layout,
    wanted: &[Digest],
    all: bool,
) -> Result<Vec<Temporary>, ImageError> {
    let mut garbage = Vec::new();
    for hex in layer::list(&layout.image_parked())? {
        let place = layout.image_parked().join(&hex);
        let Ok(diff) = format!("sha256:{hex}").parse::<Digest>() else { continue };
        let made = std::fs::metadata(place.join(BOOT)).and_then(|made| made.modified()).ok();
        let is_fresh = made.is_some_and(|made| made.elapsed().is_ok_and(|age| age < PARKED));
        if wanted.contains(&diff) || !all && is_parked(layout, &diff) && is_fresh {
            continue;
        }
        layer::make_directory(&layout.image_temporary())?;
        let path = layer::temporary_path(layout)?;
        std::fs::rename(&place, &path).map_err(FileError::of("remove", &place))?;
        garbage.push(Temporary(path));
    }
    Ok(garbage)
}
