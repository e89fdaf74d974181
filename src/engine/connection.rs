//! How a container is connected: the part of its record that the engine keeps about networks.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::names::NetworkName;
use crate::network::{Endpoint, PortRequest};

/// Which network a container asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// The network that is there for containers that name none.
    Default,
    /// The host's own namespace.
    Host,
    /// A namespace with nothing in it but `lo`.
    None,
    /// A network by name.
    Network(NetworkName),
}

impl NetworkMode {
    /// As `inspect` shows it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Default => "default",
            Self::Host => "host",
            Self::None => "none",
            Self::Network(name) => name.as_str(),
        }
    }

    /// The network that the container is connected to, if it is to one.
    #[must_use]
    pub fn network(&self) -> Option<NetworkName> {
        match self {
            Self::Default => Some(NetworkName::of_default()),
            Self::Network(name) => Some(name.clone()),
            Self::Host | Self::None => None,
        }
    }
}

/// What a container asked for, and while it runs, what it got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// The network.
    pub mode: NetworkMode,
    /// The wanted address.
    pub ip: Option<Ipv4Addr>,
    /// The ports to publish.
    pub ports: Vec<PortRequest>,
    /// The endpoints of the current run; empty while the container does not run.
    pub endpoints: Vec<Endpoint>,
}
