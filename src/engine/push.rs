//! Images to registries.
//!
//! What a registry has already is not sent again: layers that came from it, or were sent to it, are known by what they
//! are called there. Others are compressed to a file first, because a registry wants to know their digest.

use std::io::{Seek as _, SeekFrom, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::transfer::{LayerState, Progress};
use super::{EngineError, images, privileges};
use crate::image::manifest::{
    self, Descriptor, Document, ImageManifest, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST,
};
use crate::image::{Blob, ImageError, Manifest, Outgoing, OutgoingLayer, Platform, RemoteName, id_of};
use crate::names::Digest;
use crate::registry::{Options, Registry};
use crate::store::Layout;

/// How many layers are compressed and sent at once.
const AT_ONCE: usize = 3;

/// What was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The digest of the manifest.
    pub digest: Digest,
    /// How many bytes it has.
    pub size: usize,
}

/// Pushes the image that is called `name` to the registry in the name.
///
/// # Errors
/// There is no such image, or the registry does not take it.
pub(super) fn push(
    layout: &Layout,
    name: &RemoteName,
    platform: Option<&Platform>,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Pushed, EngineError> {
    privileges::for_containers()?;
    let store = images::store(layout);
    let image = store.outgoing(&name.to_string())?;
    if let Some(wanted) = platform {
        image.check_platform(wanted)?;
    }
    let registry = Registry::to_push(name.host(), &name.path(), options)?;
    let layers = send_layers(&registry, &image, progress)?;
    let config = u64::try_from(image.config.len()).unwrap_or(u64::MAX);
    if !registry.has_blob(&image.id)? {
        let from =
            |position| Ok(image.config.get(usize::try_from(position).unwrap_or(0)..).unwrap_or_default());
        registry.upload(&image.id, config, "the configuration", from)?;
    }
    let manifest = manifest_of(&image, config, &layers)?;
    let digest = id_of(&manifest.bytes);
    let tag = name.tag().unwrap_or("latest");
    registry.put_manifest(tag, &manifest.media_type, &manifest.bytes)?;
    let blob = |layer: &Descriptor| Blob {
        digest: layer.digest.clone(),
        size: layer.size,
        media_type: layer.media_type.clone(),
        repository: registry.name(),
    };
    let pushed = Pushed { digest: digest.clone(), size: manifest.bytes.len() };
    let blobs: Vec<Blob> = layers.iter().map(blob).collect();
    image.note_pushed(&name.pinned(digest), &blobs, &manifest)?;
    Ok(pushed)
}

/// The names of all tags of a repository that are here.
///
/// # Errors
/// There is none.
pub(super) fn tags_of(layout: &Layout, name: &RemoteName) -> Result<Vec<RemoteName>, EngineError> {
    let images = images::store(layout).list()?;
    let names = images.iter().flat_map(|image| &image.names);
    let mut found: Vec<RemoteName> =
        names.filter(|other| other.repository() == name.repository()).map(RemoteName::from).collect();
    found.sort_by_key(ToString::to_string);
    if found.is_empty() {
        return Err(ImageError::NotFound(name.repository().to_owned()).into());
    }
    Ok(found)
}

/// The manifest that the registry gets: the one that the image came with, if all its layers are what they were.
fn manifest_of(image: &Outgoing<'_>, config: u64, layers: &[Descriptor]) -> Result<Manifest, EngineError> {
    if let Some(known) = &image.manifest
        && let Ok(Document::Image(parsed)) = manifest::parse(&known.bytes)
        && parsed.config.digest == image.id
        && parsed.layers.iter().map(|layer| &layer.digest).eq(layers.iter().map(|layer| &layer.digest))
    {
        return Ok(known.clone());
    }
    let config = Descriptor::of(OCI_CONFIG, image.id.clone(), config);
    let bytes =
        serde_json::to_vec(&ImageManifest::new(config, layers.to_vec())).map_err(ImageError::Config)?;
    Ok(Manifest { media_type: OCI_MANIFEST.to_owned(), bytes })
}

/// Sees to it that the registry has all layers, and returns what they are called there.
fn send_layers(
    registry: &Registry,
    image: &Outgoing<'_>,
    progress: &dyn Progress,
) -> Result<Vec<Descriptor>, EngineError> {
    for layer in &image.layers {
        progress.layer(&layer.diff, LayerState::Waiting);
    }
    let (next, failure) = (AtomicUsize::new(0), Mutex::new(None));
    let sent = Mutex::new(vec![None; image.layers.len()]);
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(layer) = image.layers.get(at) else { return };
            match send_layer(registry, image, layer, progress) {
                Ok(descriptor) => {
                    let mut sent = sent.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    sent[at] = Some(descriptor);
                }
                Err(error) => {
                    registry.give_up();
                    let mut failure = failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    failure.get_or_insert(error);
                    return;
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(image.layers.len()) {
            scope.spawn(work);
        }
    });
    match failure.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(sent
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .into_iter()
            .flatten()
            .collect()),
    }
}

fn send_layer(
    registry: &Registry,
    image: &Outgoing<'_>,
    layer: &OutgoingLayer,
    progress: &dyn Progress,
) -> Result<Descriptor, EngineError> {
    for blob in &layer.blobs {
        let Some(path) =
            blob.repository.strip_prefix(registry.host()).and_then(|rest| rest.strip_prefix('/'))
        else {
            continue;
        };
        let is_own = path == registry.path();
        let is_there = registry.has_blob(&blob.digest)? || !is_own && registry.mount(&blob.digest, path)?;
        if is_there {
            progress.layer(&layer.diff, LayerState::Exists);
            let media_type = oci_type(&blob.media_type);
            return Ok(Descriptor::of(&media_type, blob.digest.clone(), blob.size));
        }
    }
    let what = format!("layer {}", layer.diff.short());
    let packed = || image.spool();
    let mut encoder = GzEncoder::new(packed()?, Compression::default());
    let failed = |source| ImageError::Pack { layer: layer.diff.clone(), source };
    image.write_layer(layer, &mut encoder).map_err(failed)?;
    let mut file = encoder
        .finish()
        .and_then(|mut file| file.flush().map(|()| file))
        .map_err(|source| EngineError::Io { action: "compress a layer", source })?;
    let (digest, size) = crate::image::digest_of(&mut file)
        .map_err(|source| EngineError::Io { action: "read a compressed layer", source })?;
    if registry.has_blob(&digest)? {
        progress.layer(&layer.diff, LayerState::Exists);
    } else {
        let told = |done| progress.layer(&layer.diff, LayerState::Moving { done, size });
        registry.upload(&digest, size, &what, |position| {
            let mut file = file.try_clone()?;
            file.seek(SeekFrom::Start(position))?;
            Ok(Told { stream: file, done: position, told: &told })
        })?;
        progress.layer(&layer.diff, LayerState::Done);
    }
    Ok(Descriptor::of(&format!("{OCI_LAYER}+gzip"), digest, size))
}

/// OCI's name for what a layer is compressed with.
fn oci_type(media_type: &str) -> String {
    let compression = ["gzip", "zstd"].into_iter().find(|compression| media_type.ends_with(compression));
    compression.map_or_else(|| OCI_LAYER.to_owned(), |compression| format!("{OCI_LAYER}+{compression}"))
}

/// Tells how much has been read.
struct Told<'a, R> {
    stream: R,
    done: u64,
    told: &'a dyn Fn(u64),
}

impl<R: std::io::Read> std::io::Read for Told<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.stream.read(buffer)?;
        self.done += u64::try_from(count).unwrap_or(0);
        (self.told)(self.done);
        Ok(count)
    }
}
