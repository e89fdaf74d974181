//! Images from registries.
//!
//! ```text
//! thread for each of six layers:  body ─► digest and size ─► (buffers) ─► thread: decompress ─► digest ─► files
//! all layers there: one sync, each into its place, configuration, list of images
//! ```

use std::io::{self, Read};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::{EngineError, images, privileges};
use crate::image::manifest::{
    self, DOCKER_LIST, DOCKER_MANIFEST, Descriptor, Document, ImageManifest, MANIFEST_MAX, OCI_INDEX,
    OCI_MANIFEST,
};
use crate::image::{
    Adding, Blob, CONFIG_MAX, ImageConfig, ImageError, Images, Manifest, ManifestError, Platform, RemoteName,
    WholeImage, parse_config,
};
use crate::names::Digest;
use crate::registry::{Fetched, Options, Registry, RegistryError};
use crate::store::Layout;

/// How many layers are fetched at once.
const AT_ONCE: usize = 6;

/// How much is handed over at once, and how many of these wait to be unpacked.
const BUFFER: usize = 256 * 1024;
const BUFFERS: usize = 6;

/// How deep lists of manifests may be nested.
const NESTED_MAX: usize = 2;

/// The most tags that are pulled with `--all-tags`.
const TAGS_MAX: usize = 10_000;

/// An image that is to be had from a registry.
#[derive(Debug, Clone)]
pub struct PullImage {
    /// What it is called.
    pub name: RemoteName,
    /// What it is to run on; this machine if the user did not say.
    pub platform: Option<Platform>,
    /// How the registry is asked.
    pub options: Options,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// The image's id.
    pub id: Digest,
    /// The digest of what the registry has under the name.
    pub digest: Digest,
    /// Whether anything changed.
    pub is_new: bool,
}

/// How far a layer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerState {
    /// It is known, and its turn has not come.
    Waiting,
    /// So many bytes of so many have come or gone.
    Moving {
        /// How many.
        done: u64,
        /// Of how many.
        size: u64,
    },
    /// It is done.
    Done,
    /// It was there already.
    Exists,
}

/// Whoever wants to know how far things are. Called from several threads.
pub trait Progress: Sync {
    /// A layer has come so far.
    fn layer(&self, layer: &Digest, transfer: LayerState);
}

/// Pulls an image.
///
/// # Errors
/// There is no such image, the registry cannot be used or sends something else, or the disk is full. Layers that
/// are whole are kept for the next attempt.
pub(super) fn pull(
    layout: &Layout,
    request: &PullImage,
    progress: &dyn Progress,
) -> Result<Pulled, EngineError> {
    privileges::for_containers()?;
    let name = &request.name;
    let by_tag = name.digest().is_none();
    let registries = Registry::to_pull(name.host(), &name.path(), by_tag, &request.options)?;
    let mut last = None;
    for registry in &registries {
        match pull_from(layout, registry, request, progress) {
            // A mirror that cannot help; the next one may.
            Err(EngineError::Registry(error)) => {
                tracing::debug!(registry = registry.host(), %error, "asking the next registry");
                last = Some(error);
            }
            pulled => return pulled,
        }
    }
    Err(last.unwrap_or(RegistryError::GivenUp).into())
}

/// The names of all tags of a repository.
///
/// # Errors
/// The registry cannot be used.
pub(super) fn remote_tags(name: &RemoteName, options: &Options) -> Result<Vec<RemoteName>, EngineError> {
    let registries = Registry::to_pull(name.host(), &name.path(), true, options)?;
    let registry = registries.last().ok_or(RegistryError::GivenUp)?;
    let mut tags = registry.tags(TAGS_MAX)?;
    tags.sort_unstable();
    let names = tags.iter().map(|tag| {
        let name = name.with_tag(tag);
        // What a registry says need not be a tag.
        Ok(name.to_string().parse::<RemoteName>()?)
    });
    names.collect()
}

fn pull_from(
    layout: &Layout,
    registry: &Registry,
    request: &PullImage,
    progress: &dyn Progress,
) -> Result<Pulled, EngineError> {
    let (name, store) = (&request.name, images::store(layout));
    if let Some(found) = up_to_date(&store, registry, request)? {
        return Ok(found);
    }
    let selector = match (name.digest(), name.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, tag) => tag.unwrap_or("latest").to_owned(),
    };
    let fetched = registry.manifest(&selector, &accept(), MANIFEST_MAX)?;
    let digest = fetched.digest.clone();
    let (fetched, manifest) = choose(registry, fetched, request.platform.as_ref())?;
    let size = manifest.config.size;
    let config = registry.small_blob(&manifest.config.digest, size, CONFIG_MAX, "the configuration")?;
    let parsed = check(&config, &manifest, request.platform.as_ref())?;
    let diffs = &parsed.rootfs.diff_ids;
    let adding = store.adding(diffs)?;
    fetch_layers(registry, &adding, diffs, &manifest.layers, progress)?;
    let blob = |layer: &Descriptor| Blob {
        digest: layer.digest.clone(),
        size: layer.size,
        media_type: layer.media_type.clone(),
        repository: registry.name(),
    };
    let whole = WholeImage {
        config,
        names: name.reference().into_iter().collect(),
        pinned: Some(name.pinned(digest.clone())),
        manifest: Some(Manifest { media_type: fetched.media_type, bytes: fetched.bytes }),
        blobs: manifest.layers.iter().map(blob).collect(),
    };
    let (id, is_new) = adding.finish(&whole, &|| images::users(layout))?;
    Ok(Pulled { id, digest, is_new })
}

/// The manifests that are read.
fn accept() -> String {
    [OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST].join(", ")
}

/// Whether what the registry has is here already: known without a request for a digest, and with one for a tag.
fn up_to_date(
    images: &Images,
    registry: &Registry,
    request: &PullImage,
) -> Result<Option<Pulled>, EngineError> {
    let name = &request.name;
    let known = match images.inspect(&name.to_string()) {
        Ok(known) => known,
        Err(ImageError::NotFound(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let wanted = request.platform.clone().unwrap_or_else(Platform::host);
    let mut digests = known.digests.iter().filter(|pinned| pinned.repository() == name.repository());
    if known.config.check_platform(&wanted).is_err() || digests.clone().next().is_none() {
        return Ok(None);
    }
    let digest = match name.digest() {
        Some(digest) => Some(digest.clone()),
        None => registry.digest(name.tag().unwrap_or("latest"), &accept())?,
    };
    let found = digest.filter(|digest| digests.any(|pinned| pinned.digest() == digest));
    Ok(found.map(|digest| Pulled { id: known.id, digest, is_new: false }))
}

/// The manifest of one image; of a list, that for the platform.
fn choose(
    registry: &Registry,
    mut fetched: Fetched,
    wanted: Option<&Platform>,
) -> Result<(Fetched, ImageManifest), EngineError> {
    let wanted = wanted.cloned().unwrap_or_else(Platform::host);
    for _ in 0..=NESTED_MAX {
        match manifest::parse(&fetched.bytes).map_err(ImageError::from)? {
            Document::Image(image) => return Ok((fetched, image)),
            Document::Index(index) => {
                let entry = manifest::choose(&index.manifests, &wanted).map_err(ImageError::from)?;
                fetched = registry.manifest(entry.digest.as_str(), &accept(), MANIFEST_MAX)?;
            }
        }
    }
    Err(ImageError::from(ManifestError::Nested).into())
}

/// Whether the configuration is that of an image which can be used here.
fn check(
    config: &[u8],
    manifest: &ImageManifest,
    wanted: Option<&Platform>,
) -> Result<ImageConfig, EngineError> {
    let parsed = parse_config(config)?;
    manifest.check(&parsed.rootfs.diff_ids).map_err(ImageError::from)?;
    let wanted = wanted.cloned().unwrap_or_else(Platform::host);
    parsed.check_platform(&wanted).map_err(ImageError::from)?;
    Ok(parsed)
}

/// Fetches all layers that are missing. The first that fails ends all others.
fn fetch_layers(
    registry: &Registry,
    adding: &Adding<'_>,
    diffs: &[Digest],
    layers: &[Descriptor],
    progress: &dyn Progress,
) -> Result<(), EngineError> {
    for layer in layers {
        progress.layer(&layer.digest, LayerState::Waiting);
    }
    let (next, failure) = (AtomicUsize::new(0), Mutex::new(None));
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let (Some(diff), Some(layer)) = (diffs.get(at), layers.get(at)) else { return };
            let Err(error) = fetch_layer(registry, adding, diff, layer, progress) else { continue };
            registry.give_up();
            let mut failure = failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            // That the others gave up is a consequence.
            failure.get_or_insert(error);
            return;
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(layers.len()) {
            scope.spawn(work);
        }
    });
    let failure = failure.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    failure.map_or(Ok(()), Err)
}

fn fetch_layer(
    registry: &Registry,
    adding: &Adding<'_>,
    diff: &Digest,
    layer: &Descriptor,
    progress: &dyn Progress,
) -> Result<(), EngineError> {
    let stop = || registry.is_given_up();
    let Some(claim) = adding.claim(diff, &stop)? else {
        if !adding.has(diff) {
            return Err(RegistryError::GivenUp.into());
        }
        progress.layer(&layer.digest, LayerState::Exists);
        return Ok(());
    };
    let what = format!("layer {}", layer.digest.short());
    let (sender, receiver) = sync_channel(BUFFERS);
    let result = std::thread::scope(|scope| {
        let fetching = scope.spawn(|| fetch(registry, layer, &what, sender, progress));
        let stream = Buffers { receiver, current: Vec::new(), read: 0, ended: false };
        let made = adding.make(&claim, diff, stream, &what, || Ok(()));
        match (fetching.join(), made) {
            // What comes first is the cause: the registry's failure ends the stream.
            (Ok(Err(error)), _) => Err(EngineError::from(error)),
            (_, made) => made,
        }
    });
    if result.is_ok() {
        progress.layer(&layer.digest, LayerState::Done);
    }
    result
}

/// What is handed over from the connection to the one who unpacks.
enum Part {
    Bytes(Vec<u8>),
    /// All was as announced.
    End,
}

fn fetch(
    registry: &Registry,
    layer: &Descriptor,
    what: &str,
    sender: SyncSender<Part>,
    progress: &dyn Progress,
) -> Result<(), RegistryError> {
    let mut body = registry.blob(&layer.digest, layer.size, what);
    let mut done = 0;
    loop {
        let mut buffer = Vec::with_capacity(BUFFER);
        let read = (&mut body).take(u64::try_from(BUFFER).unwrap_or(u64::MAX)).read_to_end(&mut buffer);
        read.map_err(|error| registry.error_of(error))?;
        let part = if buffer.is_empty() { Part::End } else { Part::Bytes(buffer) };
        let ends = match &part {
            Part::End => true,
            Part::Bytes(bytes) => {
                done += u64::try_from(bytes.len()).unwrap_or(0);
                progress.layer(&layer.digest, LayerState::Moving { done, size: layer.size });
                false
            }
        };
        // Nobody listens any more: whoever unpacks has failed, and says why.
        if sender.send(part).is_err() || ends {
            return Ok(());
        }
    }
}

/// The parts as a stream. It only ends well if the registry's did.
struct Buffers {
    receiver: Receiver<Part>,
    current: Vec<u8>,
    read: usize,
    ended: bool,
}

impl Read for Buffers {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read == self.current.len() && !self.ended {
            match self.receiver.recv() {
                Ok(Part::Bytes(bytes)) => (self.current, self.read) = (bytes, 0),
                Ok(Part::End) => self.ended = true,
                Err(_) => return Err(io::Error::other("it was not fetched to its end")),
            }
        }
        if self.ended {
            return Ok(0);
        }
        let left = &self.current[self.read..];
        let count = left.len().min(buffer.len());
        buffer[..count].copy_from_slice(&left[..count]);
        self.read += count;
        Ok(count)
    }
}
