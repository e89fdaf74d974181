//! What records mean to the kernel, and what a command changes there: values, made without touching anything.
//!
//! A [`Plan`] is made of a request and of what is recorded. It is carried out, printed (`--dry-run`) or compared with
//! the kernel (`network check`); each of the three reads the same steps.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::endpoint::{Endpoint, InterfaceAddress};
use super::forwarding::SwitchedOn;
use super::publisher::Publisher;
use super::publishing::Publishing;
use super::record::{Mode, Network};
use super::subnet::Family;
use crate::netlink::MacAddress;
use crate::nft::{Element, ElementError, Skeleton, Transaction};

/// The elements of a network, the same at its creation, its removal and a rebuild.
#[must_use]
pub(super) fn network_elements(network: &Network) -> Vec<Element> {
    let bridge = &network.bridge;
    let mut elements = vec![Element::Bridge(bridge.clone())];
    elements.extend(network.blocks().map(|block| match block.subnet.net() {
        IpNet::V4(net) => Element::Subnet4(net),
        IpNet::V6(net) => Element::Subnet6(net),
    }));
    let options = [
        network.internal.then(|| Element::Internal(bridge.clone())),
        // What the host forwards from one container to another stays inside the network, or is as if it came from another
        // network: then the rules for isolated ones leave published ports alone.
        (!network.apart).then(|| Element::SameBridge(bridge.clone())),
        (network.isolated || network.apart).then(|| Element::Isolated(bridge.clone())),
        (network.mode == Mode::Routed).then(|| Element::Routed(bridge.clone())),
        (!network.masquerade).then(|| Element::NoMasquerade(bridge.clone())),
        network.check_source.then(|| Element::NoSpoofing(bridge.clone())),
    ];
    elements.extend(options.into_iter().flatten());
    elements
}

/// A network that is to be made.
#[derive(Debug)]
pub(super) struct Creation {
    pub(super) network: Network,
    /// What is forwarded then.
    pub(super) forwarding: SwitchedOn,
    /// Whether a table that is there lacks the guard for that.
    pub(super) is_guard_new: bool,
}

impl Creation {
    /// Its elements, and the guard where it is new.
    pub(super) fn add_to(&self, transaction: &mut Transaction) {
        if self.is_guard_new {
            transaction.renew_forwarding_guards(self.forwarding.skeleton());
            // They are there already where the other family was switched on before: then the table is made anew.
            transaction.extend(self.forwarding.elements());
        }
        transaction.extend(network_elements(&self.network));
    }
}

/// The whole table: chains and rules, and all elements that there should be.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) skeleton: Skeleton,
    pub(super) elements: Vec<Element>,
}

impl Whole {
    /// The table for these networks and endpoints.
    ///
    /// # Errors
    /// As for [`Publisher::elements`].
    pub(super) fn of(
        networks: &[Network],
        endpoints: Vec<Endpoint>,
        skeleton: Skeleton,
    ) -> Result<Self, ElementError> {
        let mut elements: Vec<Element> = networks.iter().flat_map(network_elements).collect();
        for endpoint in without_duplicate_ports(endpoints) {
            elements.extend(Publisher::from(&endpoint).elements()?);
        }
        Ok(Self { skeleton, elements })
    }

    /// The table made anew.
    pub(super) fn add_to(&self, transaction: &mut Transaction) {
        transaction.rebuild(self.skeleton);
        transaction.extend(self.elements.iter().cloned());
    }
}

/// What a command changes in the table, step by step.
///
/// Its `Display` is a script for `nft -f` that does the same; it is empty where nothing changes.
#[derive(Debug, Default)]
pub struct Plan(Vec<Step>);

#[derive(Debug)]
pub(super) enum Step {
    /// The table is made anew.
    Rebuild(Whole),
    /// A network is made.
    Create(Creation),
    /// These elements go: those of a network, or of ports.
    Delete(Vec<Element>),
    /// With the last network, all goes.
    DeleteTable,
    /// Ports are published, or lead elsewhere.
    Publish(Publishing),
    /// The comments of ports change.
    Rename(Transaction),
}

impl Plan {
    /// A plan of this one step.
    pub(super) fn of(step: Step) -> Self {
        Self(vec![step])
    }

    /// Whether the table is made anew.
    pub(super) fn makes_table(&self) -> bool {
        self.0.iter().any(|step| matches!(step, Step::Rebuild(_)))
    }

    /// Adds a step.
    pub(super) fn push(&mut self, step: Step) {
        self.0.push(step);
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut transaction = Transaction::new();
        for step in &self.0 {
            match step {
                Step::Rebuild(whole) => whole.add_to(&mut transaction),
                Step::Create(creation) => creation.add_to(&mut transaction),
                Step::Delete(elements) => drop(transaction.delete_all(elements.iter().cloned())),
                Step::DeleteTable => drop(transaction.delete_table()),
                Step::Publish(publishing) => publishing.add_to(&mut transaction),
                Step::Rename(renaming) => drop(transaction.append(renaming.clone())),
            }
        }
        transaction.fmt(f)
    }
}

/// The endpoints, where each port is one endpoint's alone: while the ports of a container move from one of its
/// endpoints to another, both have them in their records for a moment. The later one is to have them.
#[must_use]
fn without_duplicate_ports(mut endpoints: Vec<Endpoint>) -> Vec<Endpoint> {
    endpoints.sort_by_key(|endpoint| std::cmp::Reverse(endpoint.position));
    // Nearly all containers are in one network, and cannot have a port twice.
    let later: Vec<_> = endpoints.iter().filter(|e| e.position > 0 && !e.ports.is_empty()).cloned().collect();
    for endpoint in &mut endpoints {
        let of_same =
            |other: &&Endpoint| other.owner.id() == endpoint.owner.id() && other.position > endpoint.position;
        for other in later.iter().filter(of_same) {
            endpoint.ports.retain(|mapping| !other.ports.contains(mapping));
        }
    }
    endpoints
}

/// A kernel parameter: its path below `/proc/sys` and its value.
pub(super) type Parameter = (String, &'static str);

/// The parameters of a bridge, to be set while it is still down.
#[must_use]
pub(super) fn bridge_parameters(network: &Network) -> Vec<Parameter> {
    let bridge = &network.bridge;
    let mut parameters = match network.ipv6 {
        Some(_) => ipv6(bridge.as_str()),
        None => vec![no_ipv6(bridge.as_str())],
    };
    if !network.internal && network.ipv4.is_some() {
        // Lets 127.0.0.1:PORT of the host reach a container. The chain `guard` keeps everybody else's
        // packets for 127.0.0.0/8 out.
        parameters.push((format!("net/ipv4/conf/{bridge}/route_localnet"), "1"));
    }
    parameters
}

/// Without IPv6 in the network there is no IPv6 on its devices, not even link-local addresses: they would be
/// a way around every IPv4 rule.
#[must_use]
pub(super) fn no_ipv6(device: &str) -> Parameter {
    (format!("net/ipv6/conf/{device}/disable_ipv6"), "1")
}

/// IPv6 for a device of a network with IPv6: addresses are usable at once, and no router advertisement adds others,
/// or routes. (CVE-2020-13401: containers may send such.)
fn ipv6(device: &str) -> Vec<Parameter> {
    let set = |name: &str, value| (format!("net/ipv6/conf/{device}/{name}"), value);
    vec![set("disable_ipv6", "0"), set("accept_ra", "0"), set("accept_dad", "0")]
}

/// The parameters of a container's interface, to be set while it is still down.
#[must_use]
pub(super) fn interface_parameters(endpoint: &Endpoint) -> Vec<Parameter> {
    let device = endpoint.container_if.as_str();
    match endpoint.ipv6() {
        Some(_) => ipv6(device),
        None => vec![no_ipv6(device)],
    }
}

/// In a network that checks sources: routers are not changed by what arrives. (The kernel accepts an IPv4 redirect if
/// one of `all` and the interface does; in somebody else's namespace `all` is not ours to change.)
#[must_use]
pub(super) fn no_redirects(endpoint: &Endpoint) -> Vec<Parameter> {
    let device = endpoint.container_if.as_str();
    let mut parameters: Vec<Parameter> = [("ipv4", device), ("ipv6", device)]
        .map(|(family, name)| (format!("net/{family}/conf/{name}/accept_redirects"), "0"))
        .into();
    if endpoint.owner.foreign_namespace().is_none() {
        parameters.push(("net/ipv4/conf/all/accept_redirects".to_owned(), "0"));
    }
    parameters
}

/// The parameters with which an interface announces its addresses whenever its Ethernet address is set.
#[must_use]
pub(super) fn announcing_parameters(endpoint: &Endpoint) -> Vec<Parameter> {
    let device = endpoint.container_if.as_str();
    let ipv4 = endpoint.ipv4().map(|_| (format!("net/ipv4/conf/{device}/arp_notify"), "1"));
    let ipv6 = endpoint.ipv6().map(|_| (format!("net/ipv6/conf/{device}/ndisc_notify"), "1"));
    ipv4.into_iter().chain(ipv6).collect()
}

/// Whether the endpoint's addresses are always found at its Ethernet address: that follows from the first one,
/// and the second has the same number in its subnet.
#[must_use]
pub(super) fn mac_follows_from_address(network: &Network, endpoint: &Endpoint) -> bool {
    let number = |address: &InterfaceAddress| {
        network.block(address.family()).and_then(|block| block.subnet.number(address.address()))
    };
    let mut addresses = endpoint.addresses.iter();
    let Some(first) = addresses.next() else { return true };
    endpoint.mac == MacAddress::of(first.address())
        && addresses.all(|other| number(other).is_some_and(|it| Some(it) == number(first)))
}

/// Where the default route of a family leads: nowhere in a network that forwards nothing.
#[must_use]
pub(super) fn default_gateway(network: &Network, family: Family) -> Option<IpAddr> {
    network.block(family).filter(|_| !network.internal).map(|block| block.gateway)
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::network;
    use super::*;

    #[test]
    fn a_network_is_its_bridge_and_subnet_and_its_options() {
        let mut plain = network("br0", "10.0.0.0/24");
        let elements = network_elements(&plain);
        assert_eq!(elements.len(), 3);
        assert!(elements.contains(&Element::Subnet4("10.0.0.0/24".parse().unwrap())));
        plain.internal = true;
        plain.isolated = true;
        let bridge = plain.bridge.clone();
        let elements = network_elements(&plain);
        assert!(elements.contains(&Element::Internal(bridge.clone())));
        assert!(elements.contains(&Element::Isolated(bridge.clone())));
        assert!(!bridge_parameters(&plain).iter().any(|(name, _)| name.contains("route_localnet")));
        plain.isolated = false;
        plain.apart = true;
        let elements = network_elements(&plain);
        assert!(elements.contains(&Element::Isolated(bridge.clone())));
        assert!(!elements.contains(&Element::SameBridge(bridge.clone())));
        plain.mode = Mode::Routed;
        plain.masquerade = false;
        plain.check_source = true;
        let elements = network_elements(&plain);
        for set in [Element::Routed, Element::NoMasquerade, Element::NoSpoofing] {
            assert!(elements.contains(&set(bridge.clone())));
        }
    }

    #[test]
    fn both_families_are_planned() {
        let mut dual = network("br0", "10.0.0.0/24");
        assert!(bridge_parameters(&dual).contains(&no_ipv6("br0")));
        dual.ipv6 = network("br0", "fd00:18::/64").ipv6;
        let elements = network_elements(&dual);
        assert_eq!(elements.len(), 4);
        assert!(elements.contains(&Element::Subnet6("fd00:18::/64".parse().unwrap())));
        let parameters = bridge_parameters(&dual);
        for (name, value) in [("disable_ipv6", "0"), ("accept_ra", "0"), ("accept_dad", "0")] {
            assert!(parameters.contains(&(format!("net/ipv6/conf/br0/{name}"), value)), "{name}");
        }
        assert_eq!(default_gateway(&dual, Family::V6), Some("fd00:18::1".parse().unwrap()));
        dual.internal = true;
        assert_eq!(default_gateway(&dual, Family::V6), None);
    }
}
