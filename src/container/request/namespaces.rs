//! Whose namespaces a container is in: its own, the host's, or those of another container. The network's is the
//! engine's business.
//!
//! They are written down as Docker's words for them: `private`, `host`, `container:ID`, `shareable`, `none`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::names::{ContainerId, NameError};

/// What stands before the container whose namespace is meant.
pub const OF_CONTAINER: &str = "container:";

/// Why a word does not say whose namespace is meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NamespaceError {
    /// Not one of the words.
    #[error("\"{given}\" is an invalid {kind} mode: there are {expected}")]
    Unknown {
        /// What was given.
        given: String,
        /// Of which namespace.
        kind: &'static str,
        /// What there is.
        expected: &'static str,
    },
    /// A container, but which?
    #[error("\"{0}\" names no container: expected container:NAME")]
    NoContainer(String),
    /// What follows is not the id of a container.
    #[error(transparent)]
    Id(#[from] NameError),
}

fn unknown<T>(given: &str, kind: &'static str, expected: &'static str) -> Result<T, NamespaceError> {
    Err(NamespaceError::Unknown { given: given.to_owned(), kind, expected })
}

/// The container in `container:ID`.
fn owner(text: &str) -> Option<Result<ContainerId, NamespaceError>> {
    let id = text.strip_prefix(OF_CONTAINER)?;
    Some(
        if id.is_empty() { Err(NamespaceError::NoContainer(text.to_owned())) } else { Ok(id) }
            .and_then(|id| Ok(id.parse()?)),
    )
}

/// Whether the container has a namespace of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Namespace {
    /// Its own.
    #[default]
    Private,
    /// The host's.
    Host,
}

impl FromStr for Namespace {
    type Err = NamespaceError;
    fn from_str(text: &str) -> Result<Self, NamespaceError> {
        match text {
            "" | "private" => Ok(Self::Private),
            "host" => Ok(Self::Host),
            other => unknown(other, "namespace", "private and host"),
        }
    }
}

impl Namespace {
    /// Whether it is the host's.
    #[must_use]
    pub fn is_host(self) -> bool {
        self == Self::Host
    }

    /// As it is asked for and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Host => "host",
        }
    }
}

/// Whose process ids the container sees.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum PidMode {
    /// Its own.
    #[default]
    Private,
    /// The host's.
    Host,
    /// Those of another container.
    Container(ContainerId),
}

impl PidMode {
    /// Whether they are the host's.
    #[must_use]
    pub fn is_host(&self) -> bool {
        *self == Self::Host
    }

    /// Whether they are its own.
    #[must_use]
    pub fn is_own(&self) -> bool {
        *self == Self::Private
    }
}

impl FromStr for PidMode {
    type Err = NamespaceError;
    fn from_str(text: &str) -> Result<Self, NamespaceError> {
        match text {
            "" | "private" => Ok(Self::Private),
            "host" => Ok(Self::Host),
            other => match owner(other) {
                Some(id) => Ok(Self::Container(id?)),
                None => unknown(other, "PID", "private, host and container:NAME"),
            },
        }
    }
}

impl fmt::Display for PidMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Private => f.write_str("private"),
            Self::Host => f.write_str("host"),
            Self::Container(id) => write!(f, "{OF_CONTAINER}{id}"),
        }
    }
}

/// Whose shared memory, semaphores and message queues the container sees.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum IpcMode {
    /// Its own, which nobody else gets to see.
    #[default]
    Private,
    /// Its own, which other containers may join.
    Shareable,
    /// Its own, and no `/dev/shm`.
    None,
    /// The host's.
    Host,
    /// Those of another container.
    Container(ContainerId),
}

impl IpcMode {
    /// Whether they are the host's.
    #[must_use]
    pub fn is_host(&self) -> bool {
        *self == Self::Host
    }

    /// Whether they are its own, so that its kernel parameters are its own as well.
    #[must_use]
    pub fn is_own(&self) -> bool {
        matches!(self, Self::Private | Self::Shareable | Self::None)
    }

    /// Whether another container may join: one's own only where that was asked for. What is somebody else's
    /// was shared by that one.
    #[must_use]
    pub fn is_shareable(&self) -> bool {
        !matches!(self, Self::Private | Self::None)
    }
}

impl FromStr for IpcMode {
    type Err = NamespaceError;
    fn from_str(text: &str) -> Result<Self, NamespaceError> {
        match text {
            "" | "private" => Ok(Self::Private),
            "shareable" => Ok(Self::Shareable),
            "none" => Ok(Self::None),
            "host" => Ok(Self::Host),
            other => match owner(other) {
                Some(id) => Ok(Self::Container(id?)),
                None => unknown(other, "IPC", "private, shareable, none, host and container:NAME"),
            },
        }
    }
}

impl fmt::Display for IpcMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Private => f.write_str("private"),
            Self::Shareable => f.write_str("shareable"),
            Self::None => f.write_str("none"),
            Self::Host => f.write_str("host"),
            Self::Container(id) => write!(f, "{OF_CONTAINER}{id}"),
        }
    }
}

macro_rules! stored_as_text {
    ($type:ident) => {
        impl TryFrom<String> for $type {
            type Error = NamespaceError;
            fn try_from(text: String) -> Result<Self, NamespaceError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(mode: $type) -> Self {
                mode.to_string()
            }
        }
    };
}

stored_as_text!(PidMode);
stored_as_text!(IpcMode);

/// Which namespaces are the container's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Namespaces {
    /// Process ids.
    pub pid: PidMode,
    /// System V and POSIX inter-process communication.
    pub ipc: IpcMode,
    /// Host and domain name.
    pub uts: Namespace,
    /// The view of control groups.
    pub cgroup: Namespace,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_words_are_dockers() {
        let id = "ab".repeat(32);
        let container = format!("container:{id}");
        for text in ["private", "host", &container] {
            assert_eq!(text.parse::<PidMode>().unwrap().to_string(), text);
        }
        for text in ["private", "shareable", "none", "host", &container] {
            assert_eq!(text.parse::<IpcMode>().unwrap().to_string(), text);
        }
        assert_eq!(("".parse(), "".parse()), (Ok(PidMode::Private), Ok(IpcMode::Private)));
        for text in ["private", "host"] {
            assert_eq!(text.parse::<Namespace>().unwrap().as_str(), text);
        }
        for bad in ["Host", "shared", "container", "container:", "container:web", " host"] {
            assert!(bad.parse::<PidMode>().is_err(), "{bad:?} was accepted");
            assert!(bad.parse::<IpcMode>().is_err(), "{bad:?} was accepted");
        }
        for bad in ["none", "shareable"] {
            let error = bad.parse::<PidMode>().unwrap_err().to_string();
            assert!(error.contains("invalid PID mode") && error.contains(bad), "{error}");
        }
        assert!(container.parse::<Namespace>().is_err(), "a host name is nobody else's");
    }

    #[test]
    fn what_is_ones_own_is_shared_only_where_that_was_asked_for() {
        let other = IpcMode::Container("ab".repeat(32).parse().unwrap());
        let modes = [IpcMode::Private, IpcMode::None, IpcMode::Shareable, IpcMode::Host, other];
        assert_eq!(modes.each_ref().map(IpcMode::is_own), [true, true, true, false, false]);
        assert_eq!(modes.each_ref().map(IpcMode::is_shareable), [false, false, true, true, true]);
    }

    #[test]
    fn records_from_before_containers_could_share_them_are_read() {
        let old = r#"{"pid":"host","ipc":"private","uts":"private","cgroup":"host"}"#;
        let read: Namespaces = serde_json::from_str(old).unwrap();
        let expected = Namespaces { pid: PidMode::Host, cgroup: Namespace::Host, ..Namespaces::default() };
        assert_eq!(read, expected);
        // And written so that they read them.
        assert_eq!(serde_json::to_string(&read).unwrap(), old);
        for bad in [r#"{"pid":"none"}"#, r#"{"ipc":"container:web"}"#, r#"{"user":"private"}"#] {
            assert!(serde_json::from_str::<Namespaces>(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_again(text in "(private|host|none|shareable|container:)?[0-9a-f]{0,64}") {
            if let Ok(mode) = text.parse::<PidMode>() && !text.is_empty() {
                prop_assert_eq!(mode.to_string(), text.clone());
            }
            if let Ok(mode) = text.parse::<IpcMode>() && !text.is_empty() {
                prop_assert_eq!(mode.to_string(), text);
            }
        }
    }
}
