//! Manifests: which blobs an image consists of, and lists of them for several platforms, as the OCI image
//! specification and Docker write them. Whoever wrote them may be hostile.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::config::architecture;
use crate::names::Digest;

/// The largest manifest that is taken.
pub const MANIFEST_MAX: usize = 4 << 20;

/// The most layers of one image: more than overlayfs takes.
const LAYERS_MAX: usize = 512;

/// The most entries of a list.
const ENTRIES_MAX: usize = 4096;

/// How many platforms an error names.
const SHOWN: usize = 20;

/// OCI's image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI's list of manifests.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Docker's image manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's list of manifests.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// OCI's image configuration.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// A layer that is a plain tar archive.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// The media types of layers, without what is said of their compression.
const LAYERS: [&str; 6] = [
    OCI_LAYER,
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
    "application/vnd.docker.image.rootfs.diff",
    "application/vnd.docker.image.rootfs.foreign.diff",
];

/// Why a manifest is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, or not of the expected shape.
    #[error("the manifest is damaged or not one")]
    Malformed(#[source] serde_json::Error),
    /// JSON of another shape.
    #[error("the manifest is neither that of an image nor a list of such")]
    Unknown,
    /// The first version of Docker's manifests.
    #[error("the image has a manifest of version 1, which has not been written since 2017 and is not read")]
    Version1,
    /// A Helm chart, a signature, …
    #[error("this is no container image but an artifact of the type {0}")]
    Artifact(String),
    /// A layer that is no tar archive.
    #[error("the image has a layer of the unknown type {0}")]
    Layer(String),
    /// More than any image has.
    #[error("the manifest lists {count} {what}; at most {limit} are read")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// The most.
        limit: usize,
    },
    /// Layers that do not match the configuration.
    #[error("the manifest lists {manifest} layers, the image's configuration {config}")]
    LayerCount {
        /// How many there are.
        manifest: usize,
        /// How many there should be.
        config: usize,
    },
    /// Nothing for this machine.
    #[error("there is no image for {wanted}; there is {}", list(.available))]
    NoPlatform {
        /// What was looked for.
        wanted: Platform,
        /// What there is.
        available: Vec<String>,
    },
    /// Lists within lists.
    #[error("the image's lists of manifests are nested too deep")]
    Nested,
}

fn list(available: &[String]) -> String {
    if available.is_empty() {
        return "none at all".to_owned();
    }
    let mut text = available.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if available.len() > SHOWN {
        text.push_str(", …");
    }
    text
}

/// What an image runs on: `OS/ARCHITECTURE[/VARIANT]`, by Go's names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// The system.
    pub os: String,
    /// The processor.
    pub architecture: String,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

/// Text that names no platform.
#[derive(Debug, thiserror::Error)]
#[error("a platform is OS/ARCHITECTURE[/VARIANT], such as linux/arm64")]
pub struct PlatformError;

impl FromStr for Platform {
    type Err = PlatformError;
    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let mut parts = text.split('/').map(|part| {
            let fits = !part.is_empty() && part.len() <= 32 && part.chars().all(plain);
            fits.then(|| part.to_ascii_lowercase()).ok_or(PlatformError)
        });
        let os = parts.next().ok_or(PlatformError)??;
        let Some(architecture) = parts.next() else {
            // One word: the system's name goes without saying.
            return Ok(Self { os: "linux".to_owned(), architecture: usual(&os), variant: None });
        };
        let variant = parts.next().transpose()?;
        if parts.next().is_some() {
            return Err(PlatformError);
        }
        Ok(Self { os, architecture: usual(&architecture?), variant })
    }
}

/// Go's name for a processor that has others.
fn usual(architecture: &str) -> String {
    match architecture {
        "x86_64" | "x86-64" => "amd64",
        "aarch64" => "arm64",
        "i386" => "386",
        "armhf" => "arm",
        other => other,
    }
    .to_owned()
}

impl Platform {
    /// The one that this program runs on.
    #[must_use]
    pub fn host() -> Self {
        Self { os: "linux".to_owned(), architecture: architecture().to_owned(), variant: None }
    }

    /// How well an image for `other` runs here: the higher the better, `None` if not at all.
    #[must_use]
    pub fn fits(&self, other: &Self) -> Option<u32> {
        if self.os != other.os || self.architecture != usual(&other.architecture) {
            return None;
        }
        let version = |platform: &Self| match (&*platform.architecture, platform.variant.as_deref()) {
            (_, Some(variant)) => variant.strip_prefix('v').and_then(|v| v.parse().ok()),
            ("arm64", None) => Some(8),
            ("arm", None) => Some(7),
            _ => Some(1_u32),
        };
        match (version(self), version(other)) {
            // An older variant runs on a newer one.
            (Some(own), Some(other)) => (other <= own).then_some(other + 1),
            _ => (self.variant == other.variant).then_some(1),
        }
    }
}

/// What a manifest refers to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// The digest of its bytes.
    pub digest: Digest,
    /// How many bytes.
    pub size: u64,
    /// What it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// What others say of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// An image's manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageManifest {
    schema_version: u32,
    media_type: String,
    /// The image's configuration.
    pub config: Descriptor,
    /// Its layers, the lowest first.
    pub layers: Vec<Descriptor>,
}

/// A list of manifests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    schema_version: u32,
    media_type: String,
    /// The manifests.
    pub manifests: Vec<Descriptor>,
}

/// What a registry or an archive has under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Image(ImageManifest),
    /// Several, for different platforms.
    Index(Index),
}

/// What all of them have in common.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Any {
    #[serde(default)]
    schema_version: u32,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
}

impl ImageManifest {
    /// A manifest of these blobs.
    #[must_use]
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self { schema_version: 2, media_type: OCI_MANIFEST.to_owned(), config, layers }
    }

    /// Refuses it if it has not as many layers as the configuration says.
    ///
    /// # Errors
    /// [`ManifestError::LayerCount`].
    pub fn check(&self, diffs: &[Digest]) -> Result<(), ManifestError> {
        let (manifest, config) = (self.layers.len(), diffs.len());
        if manifest == config { Ok(()) } else { Err(ManifestError::LayerCount { manifest, config }) }
    }
}

impl Index {
    /// A list of these.
    #[must_use]
    pub fn new(manifests: Vec<Descriptor>) -> Self {
        Self { schema_version: 2, media_type: OCI_INDEX.to_owned(), manifests }
    }
}

impl Descriptor {
    /// What has these bytes.
    #[must_use]
    pub fn of(media_type: &str, digest: Digest, size: u64) -> Self {
        let media_type = media_type.to_owned();
        Self { media_type, digest, size, platform: None, annotations: BTreeMap::new() }
    }

    /// Whether it is something about another entry, such as what an image was built from.
    fn is_about_another(&self) -> bool {
        self.annotations.contains_key("vnd.docker.reference.type")
            || self.platform.as_ref().is_some_and(|platform| platform.os == "unknown")
    }
}

/// Reads a manifest. What it says of itself counts, not what the registry says of it.
///
/// # Errors
/// [`ManifestError`]: it is none, or not one of an image that can be run.
pub fn parse(bytes: &[u8]) -> Result<Document, ManifestError> {
    let any: Any = match serde_json::from_slice(bytes) {
        Ok(any) => any,
        Err(error) => {
            // One of version 1 has other members.
            let version = serde_json::from_slice::<serde_json::Value>(bytes);
            let is_old = version.is_ok_and(|value| value["schemaVersion"] == 1);
            return Err(if is_old { ManifestError::Version1 } else { ManifestError::Malformed(error) });
        }
    };
    if any.schema_version == 1 {
        return Err(ManifestError::Version1);
    }
    let media_type = any.media_type.unwrap_or_default();
    match (any.config, any.layers, any.manifests) {
        (None, None, Some(manifests)) => {
            bounded("entries", manifests.len(), ENTRIES_MAX)?;
            Ok(Document::Index(Index { schema_version: 2, media_type, manifests }))
        }
        (Some(config), layers, None) => {
            if !matches!(&*config.media_type, OCI_CONFIG | DOCKER_CONFIG) {
                let kind = any.artifact_type.unwrap_or(config.media_type);
                return Err(ManifestError::Artifact(shorten(&kind)));
            }
            let layers = layers.unwrap_or_default();
            bounded("layers", layers.len(), LAYERS_MAX)?;
            if let Some(layer) = layers.iter().find(|layer| !is_layer(&layer.media_type)) {
                return Err(ManifestError::Layer(shorten(&layer.media_type)));
            }
            Ok(Document::Image(ImageManifest { schema_version: 2, media_type, config, layers }))
        }
        // With both, one program would see another image than the next.
        _ => Err(ManifestError::Unknown),
    }
}

fn bounded(what: &'static str, count: usize, limit: usize) -> Result<(), ManifestError> {
    if count > limit { Err(ManifestError::TooMany { what, count, limit }) } else { Ok(()) }
}

fn is_layer(media_type: &str) -> bool {
    let bare = media_type.trim_end_matches("+gzip").trim_end_matches("+zstd");
    let bare = bare.trim_end_matches(".gzip").trim_end_matches(".zstd");
    LAYERS.contains(&bare)
}

fn shorten(text: &str) -> String {
    text.chars().take(120).collect()
}

/// The entry for a platform: the best that runs there. Entries that do not say what they run on come last.
///
/// # Errors
/// [`ManifestError::NoPlatform`].
pub fn choose<'a>(entries: &'a [Descriptor], wanted: &Platform) -> Result<&'a Descriptor, ManifestError> {
    let images = || entries.iter().filter(|entry| !entry.is_about_another());
    let fits = |entry: &&Descriptor| entry.platform.as_ref().map_or(Some(0), |own| wanted.fits(own));
    // Of several that are as good, the first.
    let best = images().filter_map(|entry| Some((fits(&entry)?, entry))).rev().max_by_key(|(fit, _)| *fit);
    let found = best.map(|(_, entry)| entry);
    found.ok_or_else(|| {
        let mut available: Vec<String> = images()
            .filter_map(|entry| entry.platform.as_ref())
            .map(|own| shorten(&own.to_string()))
            .collect();
        available.dedup();
        ManifestError::NoPlatform { wanted: wanted.clone(), available }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn digest(letter: char) -> String {
        format!("sha256:{}", letter.to_string().repeat(64))
    }

    fn manifest(config: &str, layers: &[&str]) -> String {
        let layer = |kind: &&str| format!(r#"{{"mediaType":"{kind}","digest":"{}","size":1}}"#, digest('b'));
        let layers = layers.iter().map(layer).collect::<Vec<_>>().join(",");
        let config = format!(r#"{{"mediaType":"{config}","digest":"{}","size":2}}"#, digest('a'));
        format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layers}]}}"#)
    }

    fn entry(platform: Option<&str>, letter: char) -> Descriptor {
        let mut entry = Descriptor::of(OCI_MANIFEST, digest(letter).parse().unwrap(), 1);
        entry.platform = platform.map(|platform| platform.parse().unwrap());
        entry
    }

    #[test]
    fn manifests_of_images_are_read_and_others_named() {
        for layer in [
            "application/vnd.oci.image.layer.v1.tar",
            "application/vnd.oci.image.layer.v1.tar+gzip",
            "application/vnd.oci.image.layer.v1.tar+zstd",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
        ] {
            for config in [OCI_CONFIG, DOCKER_CONFIG] {
                let Document::Image(image) = parse(manifest(config, &[layer]).as_bytes()).unwrap() else {
                    panic!("{layer}");
                };
                assert_eq!(image.layers.len(), 1);
                assert!(image.check(&[]).is_err());
            }
        }
        let chart = manifest("application/vnd.cncf.helm.config.v1+json", &[]);
        let strange = manifest(OCI_CONFIG, &["text/html"]);
        let both = manifest(OCI_CONFIG, &[]).replace("\"layers\"", "\"manifests\":[],\"layers\"");
        let many = manifest(OCI_CONFIG, &[OCI_LAYER; LAYERS_MAX + 1]);
        for (text, why) in [
            (chart.as_str(), "artifact of the type application/vnd.cncf.helm"),
            (&strange, "unknown type text/html"),
            (&both, "neither"),
            (&many, "513 layers"),
            ("{}", "neither"),
            ("<html>", "damaged"),
            (r#"{"schemaVersion":1,"layers":5}"#, "version 1"),
            (r#"{"schemaVersion":1,"fsLayers":[]}"#, "version 1"),
        ] {
            let error = parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn the_best_for_a_platform_is_chosen() {
        let entries = [
            entry(Some("linux/arm/v6"), '1'),
            entry(Some("linux/arm/v7"), '2'),
            entry(Some("linux/amd64"), '3'),
            entry(Some("linux/arm64/v8"), '4'),
            entry(Some("unknown/unknown"), '5'),
            entry(Some("windows/amd64"), '6'),
            entry(Some("linux/amd64/v3"), '7'),
        ];
        let choice = |wanted: &str| {
            choose(&entries, &wanted.parse().unwrap()).map(|entry| entry.digest.hex()[..1].to_owned())
        };
        for (wanted, found) in [
            ("linux/arm64", "4"),
            ("arm64", "4"),
            ("linux/aarch64", "4"),
            ("linux/arm", "2"),
            ("linux/arm/v6", "1"),
            ("linux/amd64", "3"),
            ("linux/amd64/v4", "7"),
            ("windows/amd64", "6"),
        ] {
            assert_eq!(choice(wanted).unwrap(), found, "{wanted}");
        }
        let error = choice("linux/s390x").unwrap_err().to_string();
        assert!(error.starts_with("there is no image for linux/s390x; there is linux/arm/v6, "), "{error}");
        assert!(!error.contains("unknown"), "{error}");
        assert_eq!(choose(&[entry(None, '8')], &Platform::host()).unwrap().digest.hex()[..1], *"8");
        assert!(choose(&[], &Platform::host()).unwrap_err().to_string().contains("none at all"));
        for bad in ["", "/", "a/", "a/b/c/d", "a b/c"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            parse(&bytes).ok();
        }
    }
}
