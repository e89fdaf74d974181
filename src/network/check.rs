//! What is wrong with the networks on this host, each with what to do about it. Nothing is changed.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::attachment::Attachment;
use super::devices::Devices;
use super::driver::{Fault, PortState};
use super::endpoint::Endpoint;
use super::error::NetworkError;
use super::findings::Finding;
use super::forwarding::{Needed, SwitchedOn};
use super::hindered::Hindered;
use super::host;
use super::lacking;
use super::listener;
use super::namespace::Running;
use super::plan::Whole;
use super::record::{Network, Phase};
use super::records::Records;
use super::roots::refuse_others;
use super::subnet::Family;
use super::subnet_file::Contents;
use super::table::Table;
use crate::names::{IfName, NetworkName};
use crate::nft::{self, Foreign, Passage};
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
        refuse_others(&self.records.layout, self.table)?;
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
            } else if !without_bridge && has_interface(&endpoint, running) {
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
                subnet4: network.ipv4.map(|block| block.subnet.net()),
                subnet6: network.ipv6.map(|block| block.subnet.net()),
                uplink4: host::default_device(Family::V4),
                uplink6: host::default_device(Family::V6),
            })
            .collect();
        let of = |bridge: &IfName| networks.iter().find(|network| network.bridge == *bridge);
        let Foreign { obstacles, doubts } = self.table.foreign(&passages)?;
        let mut all: Vec<Hindered> = Vec::new();
        for obstacle in obstacles {
            let Some(network) = of(&obstacle.bridge) else { continue };
            let hindered = (network.name.clone(), obstacle.bridge.clone(), obstacle.way);
            // However many networks it hinders, it is one thing to be changed.
            match all.iter_mut().find(|known| known.obstacle.is_of_the_same(&obstacle)) {
                Some(known) => known.networks.push(hindered),
                None => all.push(Hindered { obstacle, networks: vec![hindered] }),
            }
        }
        findings.extend(all.into_iter().map(Finding::Obstacle));
        findings.extend(doubts.into_iter().map(|doubt| {
            let networks: Vec<NetworkName> =
                doubt.bridges.iter().filter_map(of).map(|network| network.name.clone()).collect();
            Finding::Doubt { networks, doubt }
        }));
        Ok(())
    }
}

/// Whether an interface has to be there: that of a container that runs, or of a namespace that is there.
fn has_interface(endpoint: &Endpoint, running: &Running) -> bool {
    running.contains_key(endpoint.owner.id())
        || endpoint.owner.attachment().is_some_and(Attachment::is_in_use)
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
