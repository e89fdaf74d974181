//! What another engine has attached to a network: a container or pod of its own, by an interface of its choice.
//!
//! The engine takes it away again by the same three names, at any time and more than once, and the namespace may be gone
//! by then. So nothing but the record says what is attached; it is found by an id that follows from the names (see
//! `links`).

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::namespace::Namespace;
use crate::names::{ContainerId, ForeignName, IfName, NameError, NetworkName};
use crate::process::Process;
use crate::store::Layout;

/// How many digits of a network's id stand for a name that is too long.
const SHORT_DIGITS: usize = 16;

/// An engine that attaches containers of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OtherEngine {
    /// Whoever calls a CNI plugin: containerd, CRI-O, Kubernetes, nerdctl.
    Cni,
    /// Podman.
    Podman,
}

impl OtherEngine {
    /// As it is written in ids and in the names of networks.
    fn prefix(self) -> &'static str {
        match self {
            Self::Cni => "cni",
            Self::Podman => "podman",
        }
    }
}

/// As messages and comments name it.
impl fmt::Display for OtherEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cni => "CNI",
            Self::Podman => "Podman",
        })
    }
}

/// For whom a network was made, and what it is called there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// The engine.
    pub engine: OtherEngine,
    /// Its name of the network.
    pub name: ForeignName,
}

impl Origin {
    /// The names that the network may have here, in the order in which they are tried: its own, unless another network
    /// has that, and one that says whose it is.
    ///
    /// # Errors
    /// None for a name that was parsed.
    pub fn names(&self) -> Result<Vec<NetworkName>, NameError> {
        let prefix = self.engine.prefix();
        // Users know `bridge` as the network that containers of mydocker's own get.
        let own = self.name.as_str().parse().ok().filter(|name| *name != NetworkName::of_default());
        let long = format!("{prefix}-{}", self.name);
        let marked = long.parse().or_else(|_| {
            let digest = ContainerId::of_words(&[prefix, self.name.as_str()]);
            format!("{prefix}-{}", &digest.as_str()[..SHORT_DIGITS]).parse()
        });
        Ok(own.into_iter().chain([marked?]).collect())
    }
}

/// What an engine calls an attachment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttachmentKey {
    /// The engine, and its name of the network.
    pub network: Origin,
    /// Its name of the container.
    pub container: ForeignName,
    /// The interface in the container.
    pub interface: IfName,
}

impl AttachmentKey {
    /// The id that follows from it.
    #[must_use]
    pub fn id(&self) -> ContainerId {
        let Origin { engine, name } = &self.network;
        let names = [name.as_str(), self.container.as_str(), self.interface.as_str()];
        ContainerId::of_words(&[&[engine.prefix()], &names[..]].concat())
    }

    /// The id that stands for the container in all of the engine's networks.
    pub(super) fn container_words_id(&self) -> ContainerId {
        ContainerId::of_words(&[self.network.engine.prefix(), self.container.as_str()])
    }

    /// What is locked while something is attached or taken away by these names. It is one of the
    /// locks that namespaces have by their numbers, and the first digits of the id, which are hexadecimal, stand for the
    /// number. Several share a lock; then one of them waits for the other.
    pub(super) fn lock_file(&self, layout: &Layout) -> PathBuf {
        let number = u64::from_str_radix(&self.id().as_str()[..8], 16).unwrap_or_default();
        layout.namespace_lock(number)
    }
}

/// Who has an endpoint that another engine has attached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    /// Names its devices, and follows from `key`.
    pub id: ContainerId,
    /// What the engine calls it.
    pub key: AttachmentKey,
    /// What users of that engine call the container, if it said so.
    pub name: Option<ForeignName>,
    /// The container's namespace.
    pub namespace: Namespace,
    /// The process that makes it, until everything is there: if that process is killed, the endpoint is void.
    pub maker: Option<Process>,
    /// The names by which it is found in the network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// The name servers that the network's own one asks for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<IpAddr>,
}

impl Attachment {
    /// What the container is called there.
    #[must_use]
    pub fn container_name(&self) -> &str {
        self.name.as_ref().unwrap_or(&self.key.container).as_str()
    }

    /// Whether everything is there, and its namespace too.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        self.maker.is_none() && self.namespace.is_there()
    }

    /// The comment of the elements of its ports. No other attachment has the same: not that of another container of this
    /// name, nor that of another interface.
    pub(super) fn comment(&self) -> String {
        format!("{}:{}:{}", self.key.network.engine, self.container_name(), self.id.short())
    }

    /// The engine and the container of such a comment.
    pub(super) fn of_comment(comment: &str) -> Option<(&str, &str)> {
        let (engine, rest) = comment.split_once(':')?;
        Some((engine, rest.rsplit_once(':')?.0))
    }
}

/// As messages name it: `Podman container web`.
impl fmt::Display for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} container {}", self.key.network.engine, self.container_name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(engine: OtherEngine, name: &str) -> Origin {
        Origin { engine, name: name.parse().unwrap() }
    }

    #[test]
    fn a_network_of_another_engine_is_called_as_there_unless_that_means_something_here() {
        let names = |name: &str| {
            let names = origin(OtherEngine::Cni, name).names().unwrap();
            names.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(names("pods"), ["pods", "cni-pods"]);
        for taken in ["bridge", "host", "none", "default"] {
            assert_eq!(names(taken), [format!("cni-{taken}")]);
        }
        let long = "x".repeat(200);
        let [name] = &names(&long)[..] else { panic!("one name") };
        assert!(name.starts_with("cni-") && name.len() == 4 + SHORT_DIGITS, "{name}");
        assert_ne!(names(&long), names(&"x".repeat(201)));
    }

    #[test]
    fn each_attachment_has_an_id_of_its_own_which_stays() {
        let key = |engine, network: &str, container: &str, interface: &str| AttachmentKey {
            network: origin(engine, network),
            container: container.parse().unwrap(),
            interface: interface.parse().unwrap(),
        };
        let first = key(OtherEngine::Cni, "pods", "web", "eth0");
        assert_eq!(first.id(), first.clone().id());
        for other in [
            key(OtherEngine::Podman, "pods", "web", "eth0"),
            key(OtherEngine::Cni, "pod", "sweb", "eth0"),
            key(OtherEngine::Cni, "pods", "web", "eth1"),
            key(OtherEngine::Cni, "pods", "webeth", "0"),
        ] {
            assert_ne!(first.id(), other.id(), "{other:?}");
        }
    }
}
