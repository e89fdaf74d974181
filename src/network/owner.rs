//! Whose an endpoint is: a container's, that of a network namespace that is no container's, or one that another engine
//! has attached.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::attachment::{Attachment, OtherEngine};
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
    /// What another engine has attached, until that engine takes it away.
    Attachment(Box<Attachment>),
}

impl Owner {
    /// The container's id, or what a namespace has in its place.
    #[must_use]
    pub fn id(&self) -> &ContainerId {
        match self {
            Self::Container { id, .. } | Self::Namespace { id, .. } => id,
            Self::Attachment(attachment) => &attachment.id,
        }
    }

    /// The container's name, here or in its own engine, or the path of a namespace.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Container { name, .. } => name.clone(),
            Self::Namespace { namespace, .. } => namespace.path().to_string_lossy().into_owned(),
            Self::Attachment(attachment) => attachment.container_name().to_owned(),
        }
    }

    /// The namespace that was connected by its path.
    #[must_use]
    pub fn namespace(&self) -> Option<&Namespace> {
        match self {
            Self::Container { .. } | Self::Attachment(_) => None,
            Self::Namespace { namespace, .. } => Some(namespace),
        }
    }

    /// The namespace, where it is none of mydocker's containers'.
    #[must_use]
    pub fn foreign_namespace(&self) -> Option<&Namespace> {
        match self {
            Self::Container { .. } => None,
            Self::Namespace { namespace, .. } => Some(namespace),
            Self::Attachment(attachment) => Some(&attachment.namespace),
        }
    }

    /// What another engine has attached.
    #[must_use]
    pub fn attachment(&self) -> Option<&Attachment> {
        match self {
            Self::Attachment(attachment) => Some(attachment),
            Self::Container { .. } | Self::Namespace { .. } => None,
        }
    }

    /// The same once everything of the endpoint is there.
    pub(super) fn finish(&mut self) {
        if let Self::Attachment(attachment) = self {
            attachment.maker = None;
        }
    }

    /// Whether what answers for the endpoint is still there.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        match self {
            Self::Container { processes, .. } => processes.iter().any(|process| process.is_alive()),
            Self::Namespace { process: Some(process), .. } => process.is_alive(),
            Self::Namespace { namespace, process: None, .. } => namespace.is_there(),
            // The other engine counts on its addresses, whatever becomes of the namespace meanwhile.
            Self::Attachment(attachment) => attachment.maker.is_none_or(Process::is_alive),
        }
    }

    /// Whether it belongs to another engine and its namespace is not at its path any more. That does not say that the
    /// namespace has gone (see `ended`).
    #[must_use]
    pub(super) fn has_lost_its_path(&self) -> bool {
        self.attachment().is_some_and(|attachment| !attachment.namespace.is_there())
    }

    /// The processes that a container has to have; of others none are known.
    pub(super) fn processes(&self) -> &[Process] {
        match self {
            Self::Container { processes, .. } => processes,
            Self::Namespace { .. } | Self::Attachment(_) => &[],
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
            Self::Namespace { .. } | Self::Attachment(_) => false,
        }
    }

    /// Whether others find it by its names: it is there as a whole, and its container has not ended.
    #[must_use]
    pub(super) fn answers_to_names(&self) -> bool {
        match self {
            Self::Attachment(attachment) => !attachment.names.is_empty() && attachment.is_in_use(),
            Self::Container { .. } | Self::Namespace { .. } => self.is_running_container(),
        }
    }

    /// Whether its engine keeps sockets on the ports that it publishes, so that nobody else takes them.
    pub(super) fn holds_its_ports(&self) -> bool {
        self.attachment().is_some_and(|attachment| attachment.key.network.engine == OtherEngine::Podman)
    }

    /// Whether both are one container in one run of it, one namespace, or one attachment of one namespace. The name may
    /// be another.
    #[must_use]
    pub(super) fn is_same_run(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Container { id, processes, .. },
                Self::Container { id: other_id, processes: other_processes, .. },
            ) => id == other_id && processes == other_processes,
            // The id follows from the names, which the next container may have as well.
            (Self::Attachment(one), Self::Attachment(other)) => {
                one.id == other.id && one.namespace.is_same_as(&other.namespace)
            }
            _ => self == other,
        }
    }

    /// The comment of the elements of its ports: the container's name, the namespace's path or what another engine calls
    /// it; or the short id where nft could not print that.
    #[must_use]
    pub(super) fn comment(&self) -> String {
        let name = self.attachment().map_or_else(|| self.name(), Attachment::comment);
        let is_plain = !name.contains(|c: char| c == '"' || c.is_control());
        if name.len() <= COMMENT_MAX && is_plain { name } else { self.id().short().to_owned() }
    }
}

/// As messages name it: `container web`, `namespace /run/netns/lab`, `Podman container web`.
impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container { name, .. } => write!(f, "container {name}"),
            Self::Namespace { namespace, .. } => write!(f, "namespace {}", namespace.path().display()),
            Self::Attachment(attachment) => attachment.fmt(f),
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
    /// What another engine has attached: the engine, and what it calls the container.
    Attachment(String, String),
}

impl Holder {
    /// Reads a comment as [`Owner::comment`] writes it. No container's name begins with a slash or has a colon.
    #[must_use]
    pub(super) fn of_comment(comment: &str) -> Self {
        if comment.starts_with('/') {
            return Self::Namespace(comment.to_owned());
        }
        match Attachment::of_comment(comment) {
            Some((engine, container)) => Self::Attachment(engine.to_owned(), container.to_owned()),
            None => Self::Container(comment.to_owned()),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container(name) => write!(f, "container {name}"),
            Self::Namespace(path) => write!(f, "namespace {path}"),
            Self::Attachment(engine, container) => write!(f, "{engine} container {container}"),
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
        assert_eq!(Holder::of_comment("CNI:web:0123456789ab").to_string(), "CNI container web");
        assert!(!container("web").is_alive());
    }
}
