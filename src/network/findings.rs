//! What can be wrong with networks, in words, and what to do about it.

use std::net::IpAddr;
use std::path::PathBuf;

use super::driver::{Fault, PortState};
use super::error::NetworkError;
use super::hindered::Hindered;
use super::listener::HostListener;
use super::record::Phase;
use super::subnet::{Family, Subnet};
use crate::names::{IfName, NetworkName};
use crate::needs::{Lack, Weight};
use crate::nft::Doubt;

/// Something that is wrong, or that is worth knowing.
#[derive(Debug, thiserror::Error)]
pub enum Finding {
    /// The host lacks something that networks are made of.
    #[error("{0}")]
    Lack(Lack),
    /// The host does not forward packets.
    #[error("the host does not forward {0} packets: containers cannot reach the outside")]
    ForwardingOff(Family),
    /// There are networks and no table.
    #[error("the table inet mydocker is missing: no port is published and nothing is masqueraded")]
    TableMissing,
    /// A set or chain of the table is not as it should be.
    #[error("the {0} of the table inet mydocker is not as mydocker made it")]
    TableChanged(String),
    /// An element that should be in the table.
    #[error("an element is missing in the table inet mydocker: {0}")]
    ElementMissing(String),
    /// An element that mydocker did not put there, or whose owner has gone.
    #[error("an element of the table inet mydocker belongs to no network or container: {0}")]
    ElementForeign(String),
    /// Something about a network's bridge.
    #[error("network {network}: {fault}")]
    Bridge {
        /// The network.
        network: NetworkName,
        /// What it is.
        fault: Fault,
    },
    /// The host's part of a running container's interface.
    #[error("container {container}: its device {device} {} in network {network}", match .state { PortState::Missing => "is missing", PortState::Off => "is switched off", _ => "is not on the bridge" })]
    Interface {
        /// The container.
        container: String,
        /// The network.
        network: NetworkName,
        /// The device.
        device: IfName,
        /// How it is.
        state: PortState,
    },
    /// A command was killed while it made or removed the network.
    #[error("network {name} is {}: a command was killed", match .phase { Phase::Removing => "half removed", _ => "half made" })]
    Unfinished {
        /// The network.
        name: NetworkName,
        /// How far it has come.
        phase: Phase,
    },
    /// The record of a connection whose container has ended without taking it down.
    #[error("network {network}: {address} is held for container {container}, which has ended")]
    DeadEndpoint {
        /// The network.
        network: NetworkName,
        /// The address.
        address: IpAddr,
        /// The container.
        container: String,
    },
    /// An address that is marked as taken, but not in use.
    #[error("network {network}: {address} of {subnet} is marked as taken, but no container has it")]
    AddressLeaked {
        /// The network.
        network: NetworkName,
        /// Its subnet.
        subnet: Subnet,
        /// The address.
        address: IpAddr,
    },
    /// An address that is in use, but marked as free.
    #[error("network {network}: {address} of {subnet} is marked as free, but a container has it")]
    AddressNotMarked {
        /// The network.
        network: NetworkName,
        /// Its subnet.
        subnet: Subnet,
        /// The address.
        address: IpAddr,
    },
    /// The file of addresses is missing or damaged.
    #[error("the address file {} is {what}: it does not say which addresses are taken", .path.display())]
    AddressFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The host's end of a pair that belongs to no container.
    #[error("the device {0} was made for a container, but no container has it")]
    LeakedDevice(IfName),
    /// A process of the host listens on a published port.
    #[error("{listener}, which is published for container {container}: clients reach the container instead")]
    Shadowed {
        /// The container.
        container: String,
        /// The process.
        listener: HostListener,
    },
    /// Another table drops what networks send or receive.
    #[error("{}, which drops {}", .0.obstacle, .0.dropped())]
    Obstacle(Hindered),
    /// Rules of another table drop some packets of networks.
    #[error("{doubt}; whether they hit what containers of {} send or receive cannot be told", of(.networks))]
    Doubt {
        /// The networks.
        networks: Vec<NetworkName>,
        /// The rules.
        doubt: Doubt,
    },
    /// There will soon be no room for further connections.
    #[error(
        "the connection tracking is nearly full: {count} of {max} entries (nf_conntrack_count of nf_conntrack_max); when it is full, new connections are dropped"
    )]
    ConntrackFull {
        /// How many there are.
        count: u64,
        /// How many fit.
        max: u64,
    },
    /// Bridged packets pass the rules of all tables.
    #[error(
        "packets between containers of one network pass the forwarding rules of every table on this host ({}=1)",
        .0.join("=1, ")
    )]
    BridgeNetfilter(Vec<&'static str>),
    /// Packets between the host's own links.
    #[error(
        "{packets} packets between links that are not mydocker's were dropped: the host did not forward before mydocker, which switched forwarding on for its containers alone"
    )]
    Guarded {
        /// How many.
        packets: u64,
        /// Where it is written down that mydocker switched forwarding on.
        file: PathBuf,
    },
    /// Rules that are in no table of nf_tables.
    #[error("{0} has rules that mydocker cannot read: they may drop what containers send")]
    LegacyIptables(&'static str),
    /// A file that cannot be read.
    #[error(transparent)]
    File(NetworkError),
}

const RELOAD: &str = "put it right with: mydocker network reload";

impl Finding {
    /// False for what is no fault and only worth knowing.
    #[must_use]
    pub fn is_problem(&self) -> bool {
        match self {
            Self::Lack(lack) => lack.weight == Weight::Required,
            Self::BridgeNetfilter(_)
            | Self::LegacyIptables(_)
            | Self::Guarded { .. }
            | Self::Doubt { .. } => false,
            _ => true,
        }
    }

    /// Whether it is only worth knowing, and nothing came of it so far.
    #[must_use]
    pub fn is_remark(&self) -> bool {
        match self {
            Self::Lack(lack) => lack.weight == Weight::Optional,
            Self::BridgeNetfilter(_) => true,
            _ => false,
        }
    }

    /// One word for what was looked at.
    #[must_use]
    pub fn subject(&self) -> &'static str {
        match self {
            Self::Lack(lack) => lack.subject,
            Self::ForwardingOff(_) | Self::Guarded { .. } => "forwarding",
            Self::TableMissing | Self::TableChanged(_) => "table",
            Self::ElementMissing(_) | Self::ElementForeign(_) => "element",
            Self::Bridge { fault: Fault::Parameter { .. }, .. } => "parameter",
            Self::Bridge { .. } => "bridge",
            Self::Interface { .. } | Self::LeakedDevice(_) => "interface",
            Self::Unfinished { .. } => "network",
            Self::DeadEndpoint { .. } | Self::AddressLeaked { .. } | Self::AddressNotMarked { .. } => {
                "address"
            }
            Self::Shadowed { .. } => "port",
            Self::Obstacle(_) | Self::Doubt { .. } | Self::LegacyIptables(_) => "firewall",
            Self::ConntrackFull { .. } => "conntrack",
            Self::BridgeNetfilter(_) => "bridge-netfilter",
            Self::AddressFile { .. } | Self::File(_) => "file",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Lack(lack) => lack.remedy.clone(),
            Self::Bridge { network, fault: Fault::NotABridge(device) } => format!(
                "rename or remove the device {device}, or remove the network with: mydocker network remove {network}"
            ),
            Self::Shadowed { .. } => "let it listen on another port, or publish another one".to_owned(),
            Self::Obstacle(hindered) => hindered.remedy(),
            Self::Doubt { doubt: Doubt { family, table, .. }, .. } => {
                format!(
                    "nothing, if they are meant for others; look at them with: nft -a list table {family} {table}"
                )
            }
            Self::ConntrackFull { max, .. } => {
                format!("make room with: sysctl -w net.netfilter.nf_conntrack_max={}", max.saturating_mul(2))
            }
            Self::BridgeNetfilter(names) => {
                let settings: Vec<String> = names.iter().map(|name| format!("{name}=0")).collect();
                format!("nothing, if you want that; otherwise: sysctl -w {}", settings.join(" "))
            }
            Self::Guarded { file, .. } => format!(
                "nothing, if this host is to route for its containers only; to let it route for all: rm {} && mydocker network reload",
                file.display()
            ),
            Self::LegacyIptables(program) => format!("look at them with: {program} -S FORWARD"),
            Self::File(error) => error.hint().unwrap_or_else(|| {
                "repair the file or move it away; mydocker does not overwrite it".to_owned()
            }),
            _ => RELOAD.to_owned(),
        }
    }
}

fn of(networks: &[NetworkName]) -> String {
    let names: Vec<&str> = networks.iter().map(NetworkName::as_str).collect();
    let word = if names.len() == 1 { "network" } else { "networks" };
    format!("{word} {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nft::{DroppedBy, Obstacle, Way};

    #[test]
    fn every_finding_says_what_to_do() {
        let name: NetworkName = "front".parse().unwrap();
        let bridge: IfName = "front".parse().unwrap();
        let obstacle = |way, table: &str| Obstacle {
            bridge: bridge.clone(),
            way,
            family: "inet",
            table: table.to_owned(),
            base: "forward".to_owned(),
            by: DroppedBy::Policy,
        };
        let hindered = |obstacle: Obstacle, ways: &[(&str, Way)]| {
            let named = |(name, way): &(&str, Way)| (name.parse().unwrap(), name.parse().unwrap(), *way);
            Finding::Obstacle(Hindered { obstacle, networks: ways.iter().map(named).collect() })
        };
        let out = hindered(obstacle(Way::Out, "filter"), &[("front", Way::Out)]);
        assert_eq!(
            out.to_string(),
            "table inet filter, chain forward: its policy is drop, which drops what containers of network front send"
        );
        assert!(out.remedy().ends_with("nft insert rule inet filter forward iifname front accept"));
        let coming = hindered(obstacle(Way::In, "firewalld"), &[("front", Way::In)]);
        assert!(coming.remedy().contains("firewall-cmd") && coming.remedy().contains("oifname front"));
        let ways = [("front", Way::Out), ("front", Way::In), ("back", Way::Out)];
        let all = hindered(obstacle(Way::Out, "filter"), &ways);
        assert!(
            all.to_string().ends_with(
                "which drops what containers of networks front, back send, and what comes for published ports of \
                 network front"
            ),
            "{all}"
        );
        assert!(
            all.remedy().ends_with(
                "nft insert rule inet filter forward iifname { front, back } accept && \
                 nft insert rule inet filter forward oifname front accept"
            ),
            "{}",
            all.remedy()
        );
        let full = Finding::ConntrackFull { count: 90, max: 100 };
        assert!(full.remedy().ends_with("nf_conntrack_max=200"), "{}", full.remedy());
        let note = Finding::BridgeNetfilter(vec!["net.bridge.bridge-nf-call-iptables"]);
        assert!(!note.is_problem() && full.is_problem());
        let fault = Fault::Missing(bridge);
        assert!(Finding::Bridge { network: name, fault }.remedy().contains("mydocker network reload"));
    }
}
