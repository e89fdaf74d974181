//! How a container is connected: the part of its record that the engine keeps about networks.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::names::{ContainerId, NetworkName};
use crate::network::{Endpoint, ExposedPort, MacAddress, PortRequest};

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
    /// The namespace of another container.
    Container(ContainerId),
    /// A network by name.
    Network(NetworkName),
}

impl NetworkMode {
    /// As `inspect` shows it.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Default => "default".to_owned(),
            Self::Host => "host".to_owned(),
            Self::None => "none".to_owned(),
            Self::Container(id) => format!("container:{id}"),
            Self::Network(name) => name.to_string(),
        }
    }

    /// Whether the container has a network namespace that is its own.
    #[must_use]
    pub fn is_own(&self) -> bool {
        !matches!(self, Self::Host | Self::Container(_))
    }

    /// The network that the container is connected to, if it is to one.
    #[must_use]
    pub fn network(&self) -> Option<NetworkName> {
        match self {
            Self::Default => Some(NetworkName::of_default()),
            Self::Network(name) => Some(name.clone()),
            Self::Host | Self::None | Self::Container(_) => None,
        }
    }
}

/// What a container asked for, and while it runs, what it got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// The network.
    pub mode: NetworkMode,
    /// The wanted IPv4 address.
    pub ip: Option<Ipv4Addr>,
    /// The wanted IPv6 address.
    #[serde(default)]
    pub ip6: Option<Ipv6Addr>,
    /// The wanted Ethernet address.
    #[serde(default)]
    pub mac: Option<MacAddress>,
    /// The ports to publish.
    pub ports: Vec<PortRequest>,
    /// Whether each exposed port is published too, on some free port of the host.
    #[serde(default)]
    pub publish_all: bool,
    /// The endpoints of the current run; empty while the container does not run.
    pub endpoints: Vec<Endpoint>,
}

impl Connection {
    /// The ports to publish, given those that the container exposes. Of these, what is published on a port of
    /// the user's choice is not published once more.
    #[must_use]
    pub fn requests(&self, exposed: &[String]) -> Vec<PortRequest> {
        let mut requests = self.ports.clone();
        if self.publish_all {
            // An image may say anything; what is no port cannot be published.
            for exposed in exposed.iter().filter_map(|text| text.parse::<ExposedPort>().ok()) {
                let is_published = |port: &PortRequest| {
                    port.proto == exposed.proto && port.container.overlaps(exposed.container)
                };
                if !requests.iter().any(is_published) {
                    requests.push(PortRequest::for_exposed(exposed));
                }
            }
        }
        requests
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_exposed_is_published_once_and_only_if_all_are() {
        let mut connection = Connection {
            mode: NetworkMode::Default,
            ip: None,
            ip6: None,
            mac: None,
            ports: vec!["8080:80".parse().unwrap()],
            publish_all: false,
            endpoints: Vec::new(),
        };
        let exposed = ["80/tcp", "80/udp", "90", "90/tcp", "nonsense"].map(str::to_owned);
        assert_eq!(connection.requests(&exposed).len(), 1);
        connection.publish_all = true;
        let requests: Vec<_> = connection.requests(&exposed).iter().map(ToString::to_string).collect();
        assert_eq!(requests, ["8080:80/tcp", "80/udp", "90/tcp"]);
    }
}
