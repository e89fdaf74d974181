//! One file as a tar stream describes it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use super::Sparse;

/// An instant in the life of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds since 1970, before it if negative.
    pub seconds: i64,
    /// Nanoseconds after that second.
    pub nanoseconds: u32,
}

/// What a file is. Names in links are as they stand, not resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A file with contents.
    File,
    /// A directory.
    Directory,
    /// A symbolic link to this.
    Symlink(OsString),
    /// Another name of an earlier entry.
    HardLink(OsString),
    /// A character device.
    Character {
        /// The device's major number.
        major: u32,
        /// The device's minor number.
        minor: u32,
    },
    /// A block device.
    Block {
        /// The device's major number.
        major: u32,
        /// The device's minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

impl Kind {
    /// The kind in words.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::File | Self::HardLink(_) => "file",
            Self::Directory => "directory",
            Self::Symlink(_) => "symbolic link",
            Self::Character { .. } | Self::Block { .. } => "device",
            Self::Fifo => "named pipe",
        }
    }
}

/// One entry of a tar stream, without its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name, as it stands. It need not be UTF-8.
    pub path: OsString,
    /// What it is.
    pub kind: Kind,
    /// Its permissions, with the set-id and sticky bits.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// When its contents changed last.
    pub modified: Time,
    /// How many bytes of data follow: of a file with holes, those of its parts.
    pub size: u64,
    /// The holes of a file that has some.
    pub sparse: Option<Sparse>,
    /// Extended attributes, by name.
    pub xattrs: Vec<(OsString, Vec<u8>)>,
}

impl Entry {
    /// The names that the path consists of, below the target directory. `None` if `..` leads out of it.
    ///
    /// `..` takes back the name before it, whatever that is, and a leading `/` stands for the target itself,
    /// as with Docker.
    #[must_use]
    pub fn components(path: &OsStr) -> Option<Vec<&OsStr>> {
        let mut components = Vec::new();
        for name in path.as_bytes().split(|byte| *byte == b'/') {
            match name {
                b"" | b"." => {}
                b".." => {
                    components.pop()?;
                }
                name => components.push(OsStr::from_bytes(name)),
            }
        }
        Some(components)
    }

    /// The path for messages.
    #[must_use]
    pub fn shown(&self) -> PathBuf {
        PathBuf::from(&self.path)
    }
}

/// Joins a directory's name in the stream and a file's name.
pub(super) fn join(directory: &OsStr, name: &OsStr) -> OsString {
    if directory.is_empty() {
        return name.to_owned();
    }
    let mut path = directory.as_bytes().to_vec();
    path.push(b'/');
    path.extend_from_slice(name.as_bytes());
    OsString::from_vec(path)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(path: &str) -> Option<Vec<&str>> {
        Entry::components(OsStr::new(path))
            .map(|names| names.into_iter().map(|name| name.to_str().unwrap()).collect())
    }

    #[test]
    fn names_are_cleaned_and_never_lead_out() {
        assert_eq!(names("./a//b/./c/"), Some(vec!["a", "b", "c"]));
        assert_eq!(names("/etc/passwd"), Some(vec!["etc", "passwd"]));
        assert_eq!(names("a/../b"), Some(vec!["b"]));
        assert_eq!(names("./"), Some(vec![]));
        for bad in ["..", "../x", "a/../../x", "/..", "a/b/../../../c/d"] {
            assert_eq!(names(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_left_has_no_dots(path in "[a./]{0,40}") {
            if let Some(names) = names(&path) {
                prop_assert!(names.iter().all(|name| !matches!(*name, "" | "." | "..") && !name.contains('/')));
            }
        }
    }
}
