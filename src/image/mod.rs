//! Images: what a container's root file system is made of, and the defaults for its command.
//!
//! An image is a configuration and a list of layers, each an unpacked tar stream that nobody writes to and
//! that images share. Or it is a directory that holds a root file system, named by its path: nothing of it is
//! kept here, and it is never written either.
//!
//! ```text
//! ROOT/image/repositories.json                 which images there are and what they are called: what is not in
//!                                              it does not exist, and is removed by the next change
//! ROOT/image/configs/sha256/DIGEST             a configuration; the digest of its bytes is the image's id
//! ROOT/image/layers/sha256/DIGEST/diff         a layer's files, as overlayfs wants them
//! ROOT/image/layers/sha256/DIGEST/layer.json   its size, and the name of its link
//! ROOT/image/layers/sha256/DIGEST/layer.split  what of its tar stream is not in its files: both give the very stream
//! ROOT/image/layers/sha256/DIGEST/replaced/N   files of the stream that later ones of it replaced
//! ROOT/image/layers/sha256/DIGEST/blobs.json   what registries have it as
//! ROOT/image/manifests/sha256/DIGEST           what the registry said of the image with that id
//! ROOT/image/l/LINK                            a short link to `diff`
//! ROOT/image/tmp/PID-START-RANDOM              layers that the process with that pid makes or removes
//! ROOT/image/parked/DIGEST                     a whole layer of an image that is not whole yet
//! ROOT/image/wanted/PID-START-RANDOM           the layers that a process counts on while it adds an image
//! ROOT/image/layer-locks/NN                    held by those who make a layer whose digest begins so
//! ROOT/image/lock                              held by those who change any of it
//! ```
//!
//! A layer is made beside the others without the lock, however long it takes, and renamed into its place under the
//! lock. A command that is killed on the way leaves a directory that the next change removes.

mod add;
mod change;
mod config;
mod error;
#[cfg(any(test, fuzzing, doc))]
pub mod fuzz;
mod layer;
mod load;
pub mod manifest;
mod reference;
mod remove;
mod save;
mod store;

use std::path::{Path, PathBuf};

use crate::names::{ContainerName, Digest};

pub use add::{Adding, Blob, CONFIG_MAX, Manifest, WholeImage, id_of, parse_config};
pub use change::Change;
pub use config::{Defaults, Empty, ImageConfig, architecture};
pub use error::ImageError;
pub use load::LoadedImage;
pub use manifest::{ManifestError, Platform};
pub use reference::{Pinned, Reference, RemoteName};
pub use remove::Removal;
pub use save::{Outgoing, OutgoingLayer, digest_of};
pub use store::{Images, NewImage, Step, StoredImage};

/// An image that a container can be made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// As the user wrote it.
    pub reference: String,
    /// Its id; a directory has none.
    pub id: Option<Digest>,
    /// Its read-only directories, topmost first, absolute.
    pub layers: Vec<PathBuf>,
    /// What its containers are like.
    pub defaults: Defaults,
}

/// What a container takes from the images: nothing that it uses is removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The container.
    pub container: ContainerName,
    /// Whether it runs.
    pub running: bool,
    /// The image it was made from.
    pub image: Option<Digest>,
    /// The layers below its own.
    pub layers: Vec<PathBuf>,
}

/// Finds out which containers use images. Called under the lock, when something may be removed.
pub type Users<'a> = &'a dyn Fn() -> Result<Vec<User>, Box<dyn std::error::Error + Send + Sync>>;

/// Whether this means a directory and not an image of the store.
#[must_use]
pub fn is_path(reference: &str) -> bool {
    reference.starts_with(['/', '.'])
}

/// The image that is the directory `reference`.
///
/// # Errors
/// [`ImageError::Path`] or [`ImageError::NotADirectory`].
pub fn of_path(reference: &str) -> Result<Image, ImageError> {
    let given = Path::new(reference);
    let path = given.canonicalize().map_err(|source| ImageError::Path { path: given.to_owned(), source })?;
    if !path.is_dir() {
        return Err(ImageError::NotADirectory(given.to_owned()));
    }
    let defaults = Defaults::default();
    // Whoever lists containers later is in another directory.
    let reference = if given.is_absolute() { given } else { &path }.display().to_string();
    Ok(Image { reference, id: None, layers: vec![path], defaults })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_to_a_directory_is_an_image() {
        assert!(is_path("/") && is_path("./x") && is_path("..") && !is_path("busybox"));
        assert_eq!(of_path("/").unwrap().layers, [PathBuf::from("/")]);
        let here = of_path(".").unwrap();
        assert!(here.layers[0].is_absolute() && Path::new(&here.reference) == here.layers[0]);
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        for (reference, part) in [("/no/such", "/no/such"), ("/proc/version", "not a directory")] {
            let error = of_path(reference).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
