//! What a user wants mounted in a container: directories and files of the host, volumes, and file systems in
//! memory. Where they really go, and whether they can, is found out when the container starts
//! ([`mount_points`](crate::container::tree::mount_points)).

mod parse;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::container::request::config::ContainerPath;
use crate::names::{Digest, NameError, VolumeName};

/// Why a mount was refused. The text is complete.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MountError {
    /// Not `[SOURCE:]DESTINATION[:OPTIONS]`.
    #[error("expected [SOURCE:]DESTINATION[:OPTIONS], with neither of them empty")]
    Shape,
    /// A destination that does not start at the container's root.
    #[error("the destination \"{0}\" is not an absolute path")]
    RelativeDestination(String),
    /// The root itself.
    #[error("the destination must not be the container's root")]
    Root,
    /// A source that is neither a path nor a volume's name.
    #[error("the source \"{given}\" is neither an absolute path nor the name of a volume")]
    Source {
        /// What was given.
        given: String,
        /// Why it is no name.
        #[source]
        source: NameError,
    },
    /// Part of a volume or image that is outside of it.
    #[error(
        "\"{0}\" is not a path inside the volume or image: expected one without a leading / and without \"..\""
    )]
    Part(PathBuf),
    /// A bind mount's source that depends on who reads it.
    #[error("the source \"{0}\" is not an absolute path")]
    RelativeSource(String),
    /// An unknown option.
    #[error("unknown option \"{option}\" of a {kind} mount")]
    Option {
        /// The option.
        option: String,
        /// Of what.
        kind: Kind,
    },
    /// A key that `--mount` does not know.
    #[error("unknown key \"{0}\": expected type, source, target, readonly or one for a type")]
    Key(String),
    /// Two options that exclude each other.
    #[error("the options {0} and {1} exclude each other")]
    Conflict(String, String),
    /// A value that an option cannot have.
    #[error("\"{value}\" is not a value of {key}: expected {expected}")]
    Value {
        /// The option.
        key: String,
        /// The value.
        value: String,
        /// What it could be.
        expected: &'static str,
    },
    /// A propagation for something that is not a mount of the host.
    #[error("the propagation {0} is not for a volume: only what is mounted from a path of the host has one")]
    Propagation(String),
    /// An SELinux label is asked for, and there would be a difference.
    #[error("the option {0} is not supported: files are not relabelled for SELinux")]
    Relabel(String),
    /// An option that this kind of mount does not have.
    #[error("{key} cannot be used with type={kind}")]
    NotForKind {
        /// The option.
        key: String,
        /// The kind.
        kind: Kind,
    },
    /// An option that is needed is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// One option is given twice.
    #[error("{0} is given twice")]
    Repeated(String),
    /// Two mounts have one destination.
    #[error("two mounts have the destination {}", .0.display())]
    Duplicate(PathBuf),
    /// Not a container with or without mode.
    #[error("\"{0}\" is not CONTAINER[:ro|rw]")]
    VolumesFrom(String),
}

/// The kinds of mounts, as Docker calls them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file or directory of the host.
    Bind,
    /// A volume.
    Volume,
    /// A file system in memory.
    Tmpfs,
    /// An image's files.
    Image,
}

impl Kind {
    /// The kind's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Volume => "volume",
            Self::Tmpfs => "tmpfs",
            Self::Image => "image",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// Where it is seen in the container.
    pub destination: ContainerPath,
    /// Whether the container cannot write to it.
    pub read_only: bool,
    /// What is mounted.
    pub source: Source,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Source {
    /// A file or directory of the host.
    Bind {
        /// Its absolute path.
        path: PathBuf,
        /// Whether it is made, as a directory, if it is missing.
        create: bool,
        /// What happens to mounts below it.
        submounts: Submounts,
        /// Whether mounts that are made below it later are seen on the other side.
        #[serde(default)]
        propagation: Propagation,
    },
    /// A volume.
    Volume {
        /// Its name; one that the user has not named gets one when the container is made.
        name: Option<VolumeName>,
        /// Whether the user has not named it: then it goes with the container, if asked to.
        anonymous: bool,
        /// Whether it gets the image's files at its destination if it is empty.
        copy: bool,
        /// The labels that it gets if it is made.
        labels: BTreeMap<String, String>,
        /// The options that it is made with.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        options: BTreeMap<String, String>,
        /// What of it is mounted, if not all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        part: Option<PathBuf>,
    },
    /// A file system in memory.
    Tmpfs {
        /// Options of the mount, checked.
        options: Vec<String>,
    },
    /// An image's files, which cannot be written to.
    Image {
        /// The image as the user wrote it.
        name: String,
        /// Its id, found out when the container is made.
        id: Option<Digest>,
        /// Its layers, topmost first, found out with it.
        layers: Vec<PathBuf>,
        /// What of it is mounted, if not all.
        part: Option<PathBuf>,
    },
}

/// What happens to the mounts below a directory of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Submounts {
    /// They are seen in the container, and read-only if the mount is.
    Follow,
    /// They are seen in the container, and can be written to even if the mount cannot.
    Writable,
    /// They are not seen.
    Hide,
}

/// Whether a mount that is made later, below what the host and the container have both mounted, is seen by the
/// other one (mount_namespaces(7)). With `r` that holds for what is mounted below it by then, too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Propagation {
    /// In neither direction, for the mount alone.
    Private,
    /// In neither direction.
    #[default]
    RPrivate,
    /// From the host into the container, for the mount alone.
    Slave,
    /// From the host into the container.
    RSlave,
    /// In both directions, for the mount alone.
    Shared,
    /// In both directions.
    RShared,
}

impl Propagation {
    /// All of them.
    pub(in crate::container) const ALL: [Self; 6] =
        [Self::Private, Self::RPrivate, Self::Slave, Self::RSlave, Self::Shared, Self::RShared];

    /// As it is asked for and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::RPrivate => "rprivate",
            Self::Slave => "slave",
            Self::RSlave => "rslave",
            Self::Shared => "shared",
            Self::RShared => "rshared",
        }
    }

    /// The one that is called so.
    fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|propagation| propagation.as_str() == word)
    }

    /// Whether the mounts below it are meant as well.
    #[must_use]
    pub fn is_recursive(self) -> bool {
        matches!(self, Self::RPrivate | Self::RSlave | Self::RShared)
    }

    /// Whether the container sees what the host mounts later.
    #[must_use]
    pub fn comes_in(self) -> bool {
        !matches!(self, Self::Private | Self::RPrivate)
    }

    /// Whether the host sees what the container mounts later.
    #[must_use]
    pub fn goes_out(self) -> bool {
        matches!(self, Self::Shared | Self::RShared)
    }
}

impl Mount {
    /// A volume without a name on `destination`.
    ///
    /// # Errors
    /// [`MountError::Root`].
    pub fn anonymous_volume(destination: ContainerPath) -> Result<Self, MountError> {
        let source = Source::Volume {
            name: None,
            anonymous: true,
            copy: true,
            labels: BTreeMap::new(),
            options: BTreeMap::new(),
            part: None,
        };
        Self { destination, read_only: false, source }.checked()
    }

    /// The kind of the mount.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.source {
            Source::Bind { .. } => Kind::Bind,
            Source::Volume { .. } => Kind::Volume,
            Source::Tmpfs { .. } => Kind::Tmpfs,
            Source::Image { .. } => Kind::Image,
        }
    }

    /// The volume's name, if it is one that has a name.
    #[must_use]
    pub fn volume(&self) -> Option<&VolumeName> {
        match &self.source {
            Source::Volume { name, .. } => name.as_ref(),
            _ => None,
        }
    }

    /// The volume's name, if it is one that the user has not named.
    #[must_use]
    pub fn anonymous_name(&self) -> Option<&VolumeName> {
        match &self.source {
            Source::Volume { name, anonymous: true, .. } => name.as_ref(),
            _ => None,
        }
    }

    /// The image's id and layers, if it is an image that was found.
    #[must_use]
    pub fn image(&self) -> Option<(&Digest, &[PathBuf])> {
        match &self.source {
            Source::Image { id: Some(id), layers, .. } => Some((id, layers)),
            _ => None,
        }
    }

    /// The options of a file system in memory.
    #[must_use]
    pub fn tmpfs_options(&self) -> Option<&[String]> {
        match &self.source {
            Source::Tmpfs { options } => Some(options),
            _ => None,
        }
    }

    fn checked(self) -> Result<Self, MountError> {
        if self.destination.as_path() == Path::new("/") { Err(MountError::Root) } else { Ok(self) }
    }
}

/// Refuses two mounts on one destination.
///
/// # Errors
/// [`MountError::Duplicate`].
pub fn check_distinct(mounts: &[Mount]) -> Result<(), MountError> {
    let mut seen = std::collections::HashSet::new();
    match mounts.iter().find(|mount| !seen.insert(mount.destination.as_path())) {
        Some(mount) => Err(MountError::Duplicate(mount.destination.as_path().to_owned())),
        None => Ok(()),
    }
}

/// Whose mounts a container takes over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumesFrom {
    /// The container, by name or id.
    pub container: String,
    /// Whether it can only read them.
    pub read_only: bool,
}

impl FromStr for VolumesFrom {
    type Err = MountError;
    fn from_str(text: &str) -> Result<Self, MountError> {
        let (container, mode) = text.split_once(':').unwrap_or((text, "rw"));
        let read_only = match mode {
            "ro" => true,
            "rw" => false,
            _ => return Err(MountError::VolumesFrom(text.to_owned())),
        };
        if container.is_empty() {
            return Err(MountError::VolumesFrom(text.to_owned()));
        }
        Ok(Self { container: container.to_owned(), read_only })
    }
}

impl fmt::Display for VolumesFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.container, if self.read_only { ":ro" } else { "" })
    }
}
