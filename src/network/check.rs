//! What is wrong with the networks on this host, each with what to do about it. Nothing is changed.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use super::devices::Devices;
use super::driver::{Fault, PortState};
use super::error::NetworkError;
use super::forwarding::{Needed, SwitchedOn};
use super::hindered::Hindered;
use super::lacking;
use super::listener::{self, HostListener};
use super::namespace::Running;
use super::plan::Whole;
use super::record::{Network, Phase};
use super::records::Records;
use super::subnet::{Family, Subnet};
use super::subnet_file::Contents;
use super::table::Table;
use crate::names::{IfName, NetworkName};
use crate::needs::{Lack, Weight};
use crate::nft::{self, Passage};
use crate::sysctl;

/// Of so many hundredths of its room the connection tracking is nearly full.
const NEARLY_FULL: u64 = 80;
/// The kernel's words for "no further connections": how full the table is, and what it holds.
const CONNTRACK: [&str; 2] = ["net/netfilter/nf_conntrack_count", "net/netfilter/nf_conntrack_max"];
/// Whether bridged frames pass the rules of every table.
const BRIDGE_NETFILTER: [&str; 2] =
    ["net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables"];

/// Which tables of the old kind there are (they only exist once a program has looked at them), and which program
/// shows them.
const LEGACY: [(&str, &str); 2] =
    [("/proc/net/ip_tables_names", "iptables-legacy"), ("/proc/net/ip6_tables_names", "ip6tables-legacy")];

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
            Self::BridgeNetfilter(_) | Self::LegacyIptables(_) | Self::Guarded { .. } => false,
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
            Self::Obstacle(_) | Self::LegacyIptables(_) => "firewall",
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

/// Looks for what is wrong. Nothing is changed.
pub(super) struct Checkup<'a> {
    pub(super) records: &'a Records,
    pub(super) table: &'a mut Table,
    pub(super) devices: &'a mut Devices,
}

impl Checkup<'_> {
    /// Everything that can be wrong.
    ///
    /// # Errors
    /// The kernel or the file system refuses to answer a question.
    pub(super) fn findings(&mut self, running: &Running) -> Result<Vec<Finding>, NetworkError> {
        let mut findings = Vec::new();
        findings.extend(lacking::lacking().into_iter().map(Finding::Lack));
        let networks = match self.records.networks() {
            Ok(networks) => networks,
            Err(error) => {
                findings.push(Finding::File(error.into()));
                return Ok(findings);
            }
        };
        let unfinished = networks.iter().filter(|network| network.phase != Phase::Ready);
        findings.extend(
            unfinished
                .map(|network| Finding::Unfinished { name: network.name.clone(), phase: network.phase }),
        );
        let networks: Vec<Network> = networks.into_iter().filter(|n| n.phase == Phase::Ready).collect();
        findings.extend(forwarding(&networks)?);
        self.check_table(&networks, &mut findings)?;
        for network in &networks {
            self.check_devices(network, running, &mut findings)?;
        }
        match self.check_addresses(&networks) {
            Ok(found) => findings.extend(found),
            Err(error) => findings.push(Finding::File(error)),
        }
        findings.extend(self.leaked_devices()?.into_iter().map(Finding::LeakedDevice));
        for network in &networks {
            let shadowed = listener::shadowed(&self.records.living(&network.name)?);
            findings.extend(
                shadowed.into_iter().map(|(container, listener)| Finding::Shadowed { container, listener }),
            );
        }
        self.check_others(&networks, &mut findings)?;
        findings.extend(conntrack()?);
        if !networks.is_empty() {
            let on =
                |name: &&str| sysctl::read(&name.replace('.', "/")).ok().flatten().as_deref() == Some("1");
            let on: Vec<&str> = BRIDGE_NETFILTER.into_iter().filter(on).collect();
            findings.extend(legacy_filters(|path| std::fs::read_to_string(path).ok()));
            if !on.is_empty() {
                findings.push(Finding::BridgeNetfilter(on));
            }
        }
        Ok(findings)
    }

    fn check_table(&mut self, networks: &[Network], findings: &mut Vec<Finding>) -> Result<(), NetworkError> {
        if networks.is_empty() {
            return Ok(());
        }
        let forwarding = SwitchedOn::load(&self.records.layout);
        // A container that is just being started or stopped is either in the records or in the table only.
        let mut last = None;
        for _ in 0..CHECK_TRIES {
            let Whole { skeleton, elements } = self.records.whole(networks, &forwarding)?;
            let found = self.table.compare(skeleton, &elements)?;
            let settled = found == last || found.as_ref().is_some_and(nft::Differences::is_empty);
            last = found;
            if settled {
                break;
            }
            std::thread::sleep(CHECK_PAUSE);
        }
        match last {
            None => findings.push(Finding::TableMissing),
            Some(nft::Differences { changed, missing, foreign, guarded }) => {
                let file = self.records.layout.forwarding();
                findings.extend((guarded > 0).then_some(Finding::Guarded { packets: guarded, file }));
                findings.extend(changed.into_iter().map(Finding::TableChanged));
                findings.extend(missing.into_iter().map(Finding::ElementMissing));
                findings.extend(foreign.into_iter().map(Finding::ElementForeign));
            }
        }
        Ok(())
    }

    fn check_devices(
        &mut self,
        network: &Network,
        running: &Running,
        findings: &mut Vec<Finding>,
    ) -> Result<(), NetworkError> {
        let action = || format!("check network {}", network.name);
        let name = &network.name;
        let faults = self.devices.call(network.driver, action, |driver| driver.faults(network))?;
        let without_bridge =
            faults.iter().any(|fault| matches!(fault, Fault::Missing(_) | Fault::NotABridge(_)));
        findings.extend(faults.into_iter().map(|fault| Finding::Bridge { network: name.clone(), fault }));
        for endpoint in self.records.endpoints(name)? {
            if !endpoint.is_alive() {
                findings.extend(endpoint.addresses.iter().map(|address| Finding::DeadEndpoint {
                    network: name.clone(),
                    address: address.address(),
                    container: endpoint.owner.name(),
                }));
            } else if !without_bridge && running.contains_key(endpoint.owner.id()) {
                let state = self
                    .devices
                    .call(network.driver, action, |driver| driver.port_state(network, &endpoint))?;
                if state != PortState::Attached && endpoint.is_alive() {
                    let (network, device) = (name.clone(), endpoint.host_if.clone());
                    let container = endpoint.owner.name();
                    findings.push(Finding::Interface { container, network, device, state });
                }
            }
        }
        Ok(())
    }

    /// Devices that nobody has. The kernel takes a moment to delete those of a container that has just ended.
    fn leaked_devices(&mut self) -> Result<Vec<IfName>, NetworkError> {
        let mut leaked = self.devices.abandoned(self.records)?;
        for _ in 0..LEAK_TRIES {
            if leaked.is_empty() {
                break;
            }
            std::thread::sleep(CHECK_PAUSE);
            let still = self.devices.abandoned(self.records)?;
            leaked.retain(|device| still.contains(device));
        }
        Ok(leaked)
    }

    /// Compares the file of addresses with the records, under the lock of those who change either.
    fn check_addresses(&self, networks: &[Network]) -> Result<Vec<Finding>, NetworkError> {
        let mut findings = Vec::new();
        if networks.is_empty() {
            return Ok(findings);
        }
        let (contents, used) = self.records.look_at_addresses()?;
        let unknown = |what| Ok(vec![Finding::AddressFile { path: self.records.layout.subnet_file(), what }]);
        let marked = match contents {
            Contents::Taken(marked) => marked,
            Contents::Missing => return unknown("missing"),
            Contents::Damaged => return unknown("damaged"),
        };
        for network in networks {
            // What killed commands have left is a finding of its own.
            let dead: BTreeSet<IpAddr> = self
                .records
                .endpoints(&network.name)?
                .into_iter()
                .flat_map(|endpoint| endpoint.addresses)
                .map(|address| address.address())
                .collect();
            for block in network.blocks() {
                let subnet = block.subnet;
                let wanted = used.iter().find(|(of, _)| *of == subnet).map(|(_, taken)| taken.as_slice());
                let wanted: BTreeSet<IpAddr> = wanted.unwrap_or_default().iter().copied().collect();
                let taken = marked.get(&subnet).cloned().unwrap_or_default();
                let network = || network.name.clone();
                findings.extend(
                    taken.difference(&wanted).filter(|address| !dead.contains(address)).map(|address| {
                        Finding::AddressLeaked { network: network(), subnet, address: *address }
                    }),
                );
                // Addresses beyond those with a character in the file are nowhere marked.
                let unmarked = wanted.difference(&taken).filter(|address| subnet.number(**address).is_some());
                findings.extend(unmarked.map(|address| Finding::AddressNotMarked {
                    network: network(),
                    subnet,
                    address: *address,
                }));
            }
        }
        Ok(findings)
    }

    fn check_others(
        &mut self,
        networks: &[Network],
        findings: &mut Vec<Finding>,
    ) -> Result<(), NetworkError> {
        // What is not forwarded cannot be dropped on the way.
        let passages: Vec<Passage> = networks
            .iter()
            .filter(|network| !network.internal)
            .map(|network| Passage {
                bridge: network.bridge.clone(),
                ipv4: network.ipv4.is_some(),
                ipv6: network.ipv6.is_some(),
            })
            .collect();
        let mut all: Vec<Hindered> = Vec::new();
        for obstacle in self.table.obstacles(&passages)? {
            let Some(network) = networks.iter().find(|network| network.bridge == obstacle.bridge) else {
                continue;
            };
            let hindered = (network.name.clone(), obstacle.bridge.clone(), obstacle.way);
            // However many networks it hinders, it is one thing to be changed.
            match all.iter_mut().find(|known| known.obstacle.is_of_the_same(&obstacle)) {
                Some(known) => known.networks.push(hindered),
                None => all.push(Hindered { obstacle, networks: vec![hindered] }),
            }
        }
        findings.extend(all.into_iter().map(Finding::Obstacle));
        Ok(())
    }
}

/// How often the table is read again because it does not fit the records: containers come and go.
const CHECK_TRIES: u32 = 20;
const LEAK_TRIES: u32 = 100;
const CHECK_PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

fn forwarding(networks: &[Network]) -> Result<Vec<Finding>, NetworkError> {
    let off = Needed::by(networks)
        .missing()
        .map_err(|source| NetworkError::Io { action: "read the state of forwarding".to_owned(), source })?;
    Ok(off.into_iter().map(Finding::ForwardingOff).collect())
}

/// Which programs of the old kind have a filter table, by the lists of tables that `read` gives.
fn legacy_filters(read: impl Fn(&str) -> Option<String>) -> Vec<Finding> {
    let has_filter = |path| read(path).is_some_and(|tables| tables.lines().any(|table| table == "filter"));
    let in_use = LEGACY.into_iter().filter(|(path, _)| has_filter(path));
    in_use.map(|(_, program)| Finding::LegacyIptables(program)).collect()
}

fn conntrack() -> Result<Option<Finding>, NetworkError> {
    let [count, max] = CONNTRACK.map(|name| {
        let value =
            sysctl::read(name).map_err(|source| NetworkError::Io { action: format!("read {name}"), source });
        // Without connection tracking there is nothing to be full; none of ours is there then either.
        value.map(|value| value.and_then(|value| value.parse::<u64>().ok()))
    });
    let (Some(count), Some(max)) = (count?, max?) else { return Ok(None) };
    // 0 is "no limit".
    let full = max > 0 && count.saturating_mul(100) >= max.saturating_mul(NEARLY_FULL);
    Ok(full.then_some(Finding::ConntrackFull { count, max }))
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::network;
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
        let note = Finding::BridgeNetfilter(vec![BRIDGE_NETFILTER[0]]);
        assert!(!note.is_problem() && full.is_problem());
        let fault = Fault::Missing(bridge);
        assert!(Finding::Bridge { network: name, fault }.remedy().contains("mydocker network reload"));
    }

    #[test]
    fn rules_of_the_old_kind_are_pointed_at() {
        let read = |path: &str| match path {
            "/proc/net/ip_tables_names" => Some("nat\nfilter\n".to_owned()),
            _ => Some("mangle\n".to_owned()),
        };
        let found = legacy_filters(read);
        let [finding] = &found[..] else { panic!("{found:?}") };
        assert!(!finding.is_problem());
        assert_eq!(finding.remedy(), "look at them with: iptables-legacy -S FORWARD");
        assert!(legacy_filters(|_| None).is_empty());
    }

    #[test]
    fn this_kernel_has_what_networks_are_made_of() {
        assert!(nix::unistd::geteuid().is_root(), "this test makes network namespaces: run it as root");
        assert_eq!(lacking::lacking(), []);
        assert!(forwarding(&[]).unwrap().is_empty());
        let mut internal = network("br0", "10.0.0.0/24");
        internal.internal = true;
        assert!(forwarding(&[internal]).unwrap().is_empty());
    }
}
