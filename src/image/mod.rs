//! Images: what a container's root file system is made of.
//!
//! In this version an image is a directory that holds a root file system, named by its path. The directory is
//! never written: it becomes the read-only layer beneath the container's own.

use std::io;
use std::path::{Path, PathBuf};

/// Why an image cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Nothing is named like this.
    #[error("no such image: {0}")]
    NotFound(String),
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
}

impl ImageError {
    /// What the user can do about it, where there is something.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound(_) => Some(
                "give the path of a directory with a root file system, such as / for the host's own system; \
                 a path starts with / or ."
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

/// An image that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// As the user wrote it.
    pub reference: String,
    /// Its read-only directories, topmost first, absolute.
    pub layers: Vec<PathBuf>,
}

/// Finds an image by what the user wrote: a path if it starts with `/` or `.`, otherwise a name.
///
/// # Errors
/// [`ImageError`], each variant naming what was looked for.
pub fn find(reference: &str) -> Result<Image, ImageError> {
    if !reference.starts_with(['/', '.']) {
        return Err(ImageError::NotFound(reference.to_owned()));
    }
    let given = Path::new(reference);
    let path = given.canonicalize().map_err(|source| ImageError::Path { path: given.to_owned(), source })?;
    if !path.is_dir() {
        return Err(ImageError::NotADirectory(given.to_owned()));
    }
    Ok(Image { reference: reference.to_owned(), layers: vec![path] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_to_a_directory_is_an_image() {
        assert_eq!(find("/").unwrap().layers, [PathBuf::from("/")]);
        assert!(find(".").unwrap().layers[0].is_absolute());
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        for (reference, part) in [
            ("busybox", "no such image: busybox"),
            ("/no/such", "/no/such"),
            ("/proc/version", "not a directory"),
        ] {
            let error = find(reference).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
