//! Images from registries: what is asked for, and the image once its layers are there.

use super::pull_layers::fetch_layers;
use super::transfer::Progress;
use super::{EngineError, images, privileges};
use crate::image::manifest::{
    self, DOCKER_LIST, DOCKER_MANIFEST, Descriptor, Document, ImageManifest, MANIFEST_MAX, OCI_INDEX,
    OCI_MANIFEST,
};
use crate::image::{
    Blob, CONFIG_MAX, ImageConfig, ImageError, Images, Manifest, ManifestError, Platform, RemoteName,
    WholeImage, parse_config,
};
use crate::names::Digest;
use crate::registry::{Fetched, Options, Registry, RegistryError};
use crate::store::Layout;

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
