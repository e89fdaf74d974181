//! Whose an endpoint is: a container's, or that of a network namespace that is no container's.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::namespace::Namespace;
use crate::names::ContainerId;
use crate::nft::COMMENT_MAX;
use crate::process::Process;

/// Whose an endpoint is, and what answers for it: when that has ended, the endpoint is void.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Owner {
    /// A container.
    Container {
        /// The container.
        id: ContainerId,
        /// Its name.
        name: String,
        /// Its first process and its supervisor.
        processes: Vec<Process>,
    },
    /// A namespace that is no container's.
    Namespace {
        /// Names its devices, as a container's id does. All its endpoints have the same.
        id: ContainerId,
        /// The namespace.
        namespace: Namespace,
        /// The process whose namespace it is, where its path names one; the namespace answers for itself elsewhere.
        process: Option<Process>,
    },
}

impl Owner {
    /// The container's id, or what a namespace has in its place.
    #[must_use]
    pub fn id(&self) -> &ContainerId {
        match self {
            Self::Container { id, .. } | Self::Namespace { id, .. } => id,
        }
    }

    /// The container's name, or the path of a namespace.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Container { name, .. } => name.clone(),
            Self::Namespace { namespace, .. } => namespace.path().to_string_lossy().into_owned(),
        }
    }

    /// The namespace, where it is no container's.
    #[must_use]
    pub fn namespace(&self) -> Option<&Namespace> {
        match self {
            Self::Container { .. } => None,
            Self::Namespace { namespace, .. } => Some(namespace),
        }
    }

    /// Whether what answers for the endpoint is still there.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        match self {
            Self::Container { processes, .. } => processes.iter().any(|process| process.is_alive()),
            Self::Namespace { process: Some(process), .. } => process.is_alive(),
            Self::Namespace { namespace, process: None, .. } => namespace.is_there(),
        }
    }

    /// Whether it is a container that runs: both its first process and its supervisor are there. While it ends, one of
    /// them already is not.
    #[must_use]
    pub(super) fn is_running_container(&self) -> bool {
        match self {
            Self::Container { processes, .. } => {
                !processes.is_empty() && processes.iter().all(|process| process.is_alive())
            }
            Self::Namespace { .. } => false,
        }
    }

    /// Whether both are one container in one run of it, or one namespace. The name may be another.
    #[must_use]
    pub(super) fn is_same_run(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Container { id, processes, .. },
                Self::Container { id: other_id, processes: other_processes, .. },
            ) => id == other_id && processes == other_processes,
            _ => self == other,
        }
    }

    /// The comment of the elements of its ports: the container's name or the namespace's path, or the short id where
    /// nft could not print that.
    #[must_use]
    pub(super) fn comment(&self) -> String {
        let name = self.name();
        let is_plain = !name.contains(|c: char| c == '"' || c.is_control());
        if name.len() <= COMMENT_MAX && is_plain { name } else { self.id().short().to_owned() }
    }
}

/// As messages name it: `container web`, `namespace /run/netns/lab`.
impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container { name, .. } => write!(f, "container {name}"),
            Self::Namespace { namespace, .. } => write!(f, "namespace {}", namespace.path().display()),
        }
    }
}

/// Who holds a published port, as the comment of its elements tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// A container, by its name or short id.
    Container(String),
    /// A namespace, by its path.
    Namespace(String),
}

impl Holder {
    /// Reads a comment as [`Owner::comment`] writes it. No container's name begins with a slash.
    #[must_use]
    pub(super) fn of_comment(comment: &str) -> Self {
        let holder = if comment.starts_with('/') { Self::Namespace } else { Self::Container };
        holder(comment.to_owned())
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container(name) => write!(f, "container {name}"),
            Self::Namespace(path) => write!(f, "namespace {path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_tells_who_holds_a_port() {
        let id: ContainerId = "a".repeat(64).parse().unwrap();
        let container =
            |name: &str| Owner::Container { id: id.clone(), name: name.to_owned(), processes: Vec::new() };
        assert_eq!(container("web").comment(), "web");
        assert_eq!(container(&"x".repeat(COMMENT_MAX + 1)).comment(), "a".repeat(12));
        assert_eq!(Holder::of_comment(&container("web").comment()).to_string(), container("web").to_string());
        assert_eq!(Holder::of_comment("/run/netns/lab").to_string(), "namespace /run/netns/lab");
        assert!(!container("web").is_alive());
    }
}
