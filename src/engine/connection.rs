//! How a container is connected: the part of its record that the engine keeps about networks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::names::{ContainerId, NetworkName};
use crate::network::{ExposedPort, MacAddress, PortRequest, Wanted};

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
            Self::Default => NetworkName::of_default().to_string(),
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

/// The options that ask for something in a network, as the user would write them for the first one.
pub(super) fn options_of(wanted: &Wanted) -> impl Iterator<Item = String> {
    let ip = wanted.ip.map(|ip| format!("--ip {ip}"));
    let ip6 = wanted.ip6.map(|ip6| format!("--ip6 {ip6}"));
    let mac = wanted.mac.map(|mac| format!("--mac-address {mac}"));
    let alias = wanted.aliases.first().map(|alias| format!("--network-alias {alias}"));
    [ip, ip6, mac, alias].into_iter().flatten()
}

/// A network that a container belongs to, whether it runs or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Membership {
    /// The network.
    pub network: NetworkName,
    /// What the container asks for in it.
    #[serde(default)]
    pub wanted: Wanted,
}

/// What a container asked for. What it got while it runs, the networks know: its endpoints.
///
/// While it runs, each membership has its endpoint. A membership without one is being made, an endpoint without a
/// membership is being removed; if no command is doing so, the one that did was killed (see `connect`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub struct Connection {
    /// What the container was made with: its first network, or that it has none of its own.
    pub mode: NetworkMode,
    /// The networks that it belongs to now, in order of connecting.
    pub networks: Vec<Membership>,
    /// The ports to publish.
    pub ports: Vec<PortRequest>,
    /// Whether each exposed port is published too, on some free port of the host.
    pub publish_all: bool,
    /// The endpoints of a run that an earlier mydocker supervises: it wrote them here, and expects to find them here
    /// at the end of the run. This one reads them and never writes any.
    #[serde(rename = "endpoints", skip_serializing_if = "Option::is_none")]
    earlier: Option<Vec<Value>>,
}

/// A connection as it may be written down: before there were several networks, the mode alone told which.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    mode: NetworkMode,
    networks: Option<Vec<Membership>>,
    ip: Option<Ipv4Addr>,
    ip6: Option<Ipv6Addr>,
    mac: Option<MacAddress>,
    ports: Vec<PortRequest>,
    #[serde(default)]
    publish_all: bool,
    endpoints: Option<Vec<Value>>,
}

impl From<Stored> for Connection {
    fn from(stored: Stored) -> Self {
        let Stored { mode, networks, ip, ip6, mac, ports, publish_all, endpoints } = stored;
        let networks = networks.unwrap_or_else(|| {
            let wanted = Wanted { ip, ip6, mac, aliases: Vec::new(), ..Wanted::default() };
            mode.network().map(|network| Membership { network, wanted }).into_iter().collect()
        });
        Self { mode, networks, ports, publish_all, earlier: endpoints }
    }
}

impl Connection {
    /// The connection of a container that was never started.
    #[must_use]
    pub fn new(
        mode: NetworkMode,
        networks: Vec<Membership>,
        ports: Vec<PortRequest>,
        publish_all: bool,
    ) -> Self {
        Self { mode, networks, ports, publish_all, earlier: None }
    }

    /// Where the endpoints are recorded that an earlier mydocker wrote here.
    pub(super) fn earlier(&self) -> Vec<(NetworkName, IpAddr)> {
        let place = |endpoint: &Value| {
            let net = endpoint["addresses"][0]["net"].as_str()?;
            let address = net.split('/').next()?.parse().ok()?;
            Some((endpoint["network"].as_str()?.parse().ok()?, address))
        };
        self.earlier.iter().flatten().filter_map(place).collect()
    }

    /// Forgets these endpoints: a run of this mydocker's begins, or all of the earlier one is over.
    pub(super) fn forget_earlier(&mut self) {
        self.earlier = None;
    }

    /// As listings show it: the networks, or what stands in their place.
    #[must_use]
    pub fn describe(&self) -> String {
        if !self.mode.is_own() || self.mode == NetworkMode::None {
            return self.mode.describe();
        }
        let names: Vec<&str> = self.networks.iter().map(|membership| membership.network.as_str()).collect();
        names.join(",")
    }

    /// Whether the container belongs to the network.
    #[must_use]
    pub fn is_member_of(&self, network: &str) -> bool {
        self.networks.iter().any(|membership| membership.network.as_str() == network)
    }

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
        let ports = vec!["8080:80".parse().unwrap()];
        let mut connection = Connection::new(NetworkMode::Default, Vec::new(), ports, false);
        let exposed = ["80/tcp", "80/udp", "90", "90/tcp", "nonsense"].map(str::to_owned);
        assert_eq!(connection.requests(&exposed).len(), 1);
        connection.publish_all = true;
        let requests: Vec<_> = connection.requests(&exposed).iter().map(ToString::to_string).collect();
        assert_eq!(requests, ["8080:80/tcp", "80/udp", "90/tcp"]);
    }

    #[test]
    fn records_from_before_there_were_several_networks_are_read() {
        let old = r#"{"mode":{"network":"front"},"ip":"10.0.0.9","ports":[],"endpoints":[]}"#;
        let connection: Connection = serde_json::from_str(old).unwrap();
        assert_eq!(connection.networks.len(), 1);
        assert!(connection.is_member_of("front") && !connection.is_member_of("bridge"));
        assert_eq!(connection.networks[0].wanted.ip, Some([10, 0, 0, 9].into()));
        let written = serde_json::to_string(&connection).unwrap();
        assert_eq!(serde_json::from_str::<Connection>(&written).unwrap(), connection);
        for (mode, count) in [(r#""default""#, 1), (r#""host""#, 0), (r#""none""#, 0)] {
            let old =
                format!(r#"{{"mode":{mode},"ip":null,"ip6":null,"mac":null,"ports":[],"endpoints":[]}}"#);
            assert_eq!(serde_json::from_str::<Connection>(&old).unwrap().networks.len(), count, "{mode}");
        }
        let none_left = r#"{"mode":"default","networks":[],"ports":[],"publish_all":false,"endpoints":[]}"#;
        assert_eq!(serde_json::from_str::<Connection>(none_left).unwrap().networks, []);
        assert!(serde_json::from_str::<Connection>(&none_left.replace("ports", "port")).is_err());
    }

    #[test]
    fn the_endpoints_of_an_earlier_mydocker_are_read_and_kept_for_it() {
        let old = r#"{"mode":"default","networks":[],"ports":[],"publish_all":false,"endpoints":[
            {"network":"front","addresses":[{"net":"10.0.0.9/24","gateway":null}],"anything":[1]},
            {"network":"six","addresses":[{"net":"fd00::9/64"},{"net":"10.1.0.2/24"}]},
            {"network":"none","addresses":[]},7]}"#;
        let mut connection: Connection = serde_json::from_str(old).unwrap();
        let (front, six) = ("front".parse().unwrap(), "six".parse().unwrap());
        let expected = [(front, "10.0.0.9".parse().unwrap()), (six, "fd00::9".parse().unwrap())];
        assert_eq!(connection.earlier(), expected);
        let as_value = |connection: &Connection| serde_json::to_value(connection).unwrap();
        assert_eq!(as_value(&connection), serde_json::from_str::<Value>(old).unwrap());
        connection.forget_earlier();
        assert_eq!(connection.earlier(), []);
        assert!(as_value(&connection).get("endpoints").is_none());
        // What this one writes, it reads.
        let written = serde_json::to_string(&connection).unwrap();
        assert_eq!(serde_json::from_str::<Connection>(&written).unwrap(), connection);
    }
}
