//! Why a mount cannot be made, in words that name both of its ends.

use std::io;
use std::path::{Path, PathBuf};

use crate::container::tree::rootfs::RootfsError;
use crate::store::FileError;

/// Why something cannot be mounted.
#[derive(Debug, thiserror::Error)]
pub enum MountPointError {
    /// The image has something else where the kernel's file systems belong.
    #[error("cannot use the image: its {0} is not a directory")]
    Image(&'static str),
    /// A source that is not there or cannot be looked at.
    #[error("cannot mount {} on {}", .source_path.display(), .destination.display())]
    Source {
        /// The source.
        source_path: PathBuf,
        /// The destination.
        destination: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A directory on a file, or the other way round.
    #[error(
        "cannot mount {} on {}: one is a directory and the other is not",
        .source_path.display(),
        .destination.display()
    )]
    Mismatch {
        /// The source.
        source_path: PathBuf,
        /// The destination.
        destination: PathBuf,
    },
    /// A destination that cannot be reached or made.
    #[error("cannot make {} in the container", .destination.display())]
    Destination {
        /// The destination.
        destination: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A destination that is the root, or leads there.
    #[error("cannot mount on {}: it is the container's root", .0.display())]
    Root(PathBuf),
    /// A destination that has to stay what it is.
    #[error("cannot mount on {}: {} is the kernel's own", .destination.display(), .place.display())]
    Kernels {
        /// What was asked for.
        destination: PathBuf,
        /// Where that leads.
        place: PathBuf,
    },
    /// Two destinations that are one.
    #[error("cannot mount on {} and on {}: they are the same", .0.display(), .1.display())]
    Same(PathBuf, PathBuf),
    /// A mount in a mount, where the outer one decides where the path leads.
    #[error("cannot mount on {}: in what is mounted on {}, it leads through a symbolic link", .destination.display(), .outer.display())]
    Link {
        /// The destination.
        destination: PathBuf,
        /// That of the outer mount.
        outer: PathBuf,
    },
    /// A mount in a mount without a place for it.
    #[error("cannot mount on {}: what is mounted on {} is read-only and has no such place", .destination.display(), .outer.display())]
    NoPlace {
        /// The destination.
        destination: PathBuf,
        /// That of the outer mount.
        outer: PathBuf,
    },
    /// A propagation that the source's mount does not have.
    #[error("path {} is mounted on {} but it is not a {wanted} mount", .source_path.display(), .mount.display())]
    NotShared {
        /// The source.
        source_path: PathBuf,
        /// The mount that it is in.
        mount: PathBuf,
        /// What that would have to be.
        wanted: &'static str,
    },
    /// What a source's mount does cannot be found out.
    #[error("cannot find the mount of {}", .source_path.display())]
    Propagation {
        /// The source.
        source_path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The image's files could not be copied.
    #[error("cannot fill the volume for {}", .destination.display())]
    Copy {
        /// The destination.
        destination: PathBuf,
        /// Why.
        #[source]
        source: FileError,
    },
    /// The working directory is at fault.
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
    /// One of mydocker's own files.
    #[error("cannot write {}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl MountPointError {
    /// What the user can do about it, where there is something.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Source { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("make it first, or use -v, which makes a missing directory".to_owned())
            }
            Self::NotShared { mount, wanted, .. } => Some(format!(
                "make it one: mount --make-{} {}",
                if *wanted == "shared" { "rshared" } else { "rslave" },
                mount.display()
            )),
            Self::Kernels { place, .. } if place == Path::new("/dev") => {
                Some("give the container single devices with --device, or all with --privileged".to_owned())
            }
            _ => None,
        }
    }
}
