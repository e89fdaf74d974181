use std::io;
use std::path::{Path, PathBuf};

/// What was tried on a file or directory, and how the system refused it. The text is complete.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path}")]
pub struct FileError {
    /// What was tried.
    pub action: &'static str,
    /// On which file or directory.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

impl FileError {
    /// Makes one of what the system says, for `map_err`.
    pub fn of<E: Into<io::Error>>(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(E) -> Self {
        move |error| Self { action, path: path.as_ref().to_owned(), source: error.into() }
    }
}
