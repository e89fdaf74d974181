//! Why an image cannot be found, made, named or removed.

use std::io;
use std::path::{Path, PathBuf};

use super::Reference;
use super::manifest::ManifestError;
use crate::archive::ArchiveError;
use crate::names::{ContainerName, Digest};
use crate::store::FileError;

/// Why something about images failed.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Nothing is named like this.
    #[error("No such image: {0}")]
    NotFound(String),
    /// The beginning of more than one id.
    #[error("\"{reference}\" is the beginning of {} image ids: {}", .matches.len(), shorten(.matches))]
    Ambiguous {
        /// What was looked for.
        reference: String,
        /// The images it could be.
        matches: Vec<Digest>,
    },
    /// Not a name of an image.
    #[error("\"{text}\" is not an image name: {why}")]
    Reference {
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Not an instruction that changes an image's configuration.
    #[error("cannot apply the change \"{text}\": {why}")]
    Change {
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The path leads nowhere.
    #[error("cannot use {path} as an image")]
    Path {
        /// The path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The path leads to something that cannot hold a root file system.
    #[error("cannot use {0} as an image: it is not a directory")]
    NotADirectory(PathBuf),
    /// A layer could not be made of an archive.
    #[error("cannot unpack {archive} to {place}")]
    Unpack {
        /// Where the archive came from.
        archive: String,
        /// Where its files were to go.
        place: PathBuf,
        /// What went wrong.
        #[source]
        source: ArchiveError,
    },
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is damaged, or another program's. It is left as it is.
    #[error("the file {path} is damaged or not mydocker's")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where it stops making sense.
        #[source]
        source: serde_json::Error,
    },
    /// A newer mydocker wrote the file. It is left as it is.
    #[error("the file {path} has version {found}; this mydocker reads version {known}")]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The version that is read.
        known: u32,
    },
    /// A container needs the image.
    #[error("cannot remove image {image}: container {container} {}", if *.running { "runs on it" } else { "is made from it" })]
    InUse {
        /// The image as the user wrote it.
        image: String,
        /// Who needs it.
        container: ContainerName,
        /// Whether it runs, so that force does not help.
        running: bool,
    },
    /// An id that stands for several names.
    #[error("cannot remove image {image}: it has {} names: {}", .names.len(), join(.names))]
    ManyNames {
        /// The image.
        image: String,
        /// Its names.
        names: Vec<Reference>,
    },
    /// Which containers use images cannot be found out.
    #[error("cannot find out which containers use the image")]
    Users(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A layer that is another one than the image has.
    #[error(
        "{what} is damaged or not the image's: its contents have the digest {found}, the image names {expected}"
    )]
    WrongDiff {
        /// Where the layer came from.
        what: String,
        /// The digest that it should have.
        expected: Digest,
        /// The digest that it has.
        found: Digest,
    },
    /// No configuration of an image.
    #[error("the image's configuration is damaged or not an image's")]
    Config(#[source] serde_json::Error),
    /// A configuration that is larger than any real one.
    #[error("the image's configuration has more than {limit} bytes")]
    LargeConfig {
        /// The most.
        limit: usize,
    },
    /// A manifest that is of no use.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// An archive without images.
    #[error("{archive} holds no images: it has neither an index.json with an oci-layout nor a manifest.json")]
    NoImages {
        /// The archive.
        archive: String,
    },
    /// Something that an archive names is not in it.
    #[error("{archive} is not whole: there is no {name} in it")]
    MissingMember {
        /// The archive.
        archive: String,
        /// What is missing.
        name: String,
    },
    /// Something in an archive is larger than it can be.
    #[error("{name} in {archive} has more than {limit} bytes")]
    LargeMember {
        /// The archive.
        archive: String,
        /// The member.
        name: String,
        /// The most.
        limit: usize,
    },
    /// Bytes that are not those that were named.
    #[error(
        "{what} is damaged: it has the digest {found} and {size} bytes instead of {expected} and {said} bytes"
    )]
    WrongDigest {
        /// What it is.
        what: String,
        /// The digest that it should have.
        expected: Digest,
        /// The digest that it has.
        found: Digest,
        /// How many bytes it has.
        size: u64,
        /// How many it should have.
        said: u64,
    },
    /// A layer's tar stream cannot be written.
    #[error("cannot write layer {} as an archive", .layer.short())]
    Pack {
        /// The layer.
        layer: Digest,
        /// What went wrong.
        #[source]
        source: ArchiveError,
    },
    /// An archive of images cannot be written.
    #[error("cannot write the images")]
    Save(#[source] ArchiveError),
    /// The kernel's random number generator cannot be read.
    #[error("cannot generate a random name for a layer")]
    Random(#[source] io::Error),
}

fn shorten(ids: &[Digest]) -> String {
    ids.iter().map(Digest::short).collect::<Vec<_>>().join(", ")
}

fn join(names: &[Reference]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl ImageError {
    /// What the user can do about it, where there is something.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound(_) => {
                Some("list images with: mydocker images; get one with: mydocker pull NAME".to_owned())
            }
            Self::InUse { container, running: true, .. } => {
                Some(format!("remove the container first with: mydocker rm -f {container}"))
            }
            Self::InUse { container, .. } => {
                Some(format!("remove the container first with: mydocker rm {container}; or use --force"))
            }
            Self::NoImages { .. } => {
                Some("an archive of a root file system becomes an image with: mydocker import".to_owned())
            }
            Self::NotADirectory(path) if is_archive(path) => Some(format!(
                "make an image of an archive first with: mydocker import {} NAME",
                path.display()
            )),
            Self::ManyNames { .. } => Some("remove one of the names, or all with --force".to_owned()),
            _ => None,
        }
    }
}

/// Whether a file has a name as archives have.
fn is_archive(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    [".tar", ".tar.gz", ".tgz", ".tar.zst"].iter().any(|end| name.ends_with(end))
}
