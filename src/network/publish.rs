//! Ports are published and taken away: elements of the table, and the connection-tracking entries that would
//! outlive them.
//!
//! All ports of an endpoint are one transaction. That a port is free is what the kernel says: it refuses the
//! transaction where an element, or one that excludes it, is there already (`nft::Claim`). Nothing is looked up
//! beforehand but the host's listening sockets, and, for whoever publishes a range, the single ports in it; then
//! the transaction is for that moment of the rule set only.

use std::net::IpAddr;

use super::allot::{InUse, LocalPorts, choose, overlaps};
use super::endpoint::{self, Endpoint};
use super::error::NetworkError;
use super::listener::{HostListener, Listeners, has_address};
use super::port::{PortMapping, PortRange, PortRequest, same_address};
use super::{Networks, plan, record};
use crate::netlink::{self, HostPorts};
use crate::nft::{CommitError, Element, Proto, TakenPort, Transaction};
use crate::sysctl;

/// How often ports are chosen again because somebody else was faster.
const TRIES: u32 = 64;
/// How often a transaction is built again because the rule set had changed: every time, another's transaction
/// has succeeded.
const STALE_TRIES: u32 = 1000;

impl Networks {
    /// Publishes the ports of an endpoint in one transaction.
    pub(super) fn publish(
        &mut self,
        mut endpoint: Endpoint,
        ports: &[PortRequest],
    ) -> Result<Endpoint, NetworkError> {
        let listeners = Listeners::find(ports);
        let local = LocalPorts::read();
        let mut taken = Vec::new();
        for _ in 0..TRIES {
            let in_use = InUse { listeners: &listeners, taken: &taken };
            endpoint.ports = choose(ports, &endpoint, &local, &in_use)?;
            check(&endpoint, ports, &listeners)?;
            // The record first: a rebuild of the table by another command then brings these ports too.
            endpoint::save(&self.layout, &endpoint)?;
            let error = match self.commit_ports(&endpoint) {
                Ok(()) => {
                    forget_flows_elsewhere(&endpoint);
                    return Ok(endpoint);
                }
                Err(error) => error,
            };
            // Somebody else's port must not come back as ours in a rebuild.
            let wanted = std::mem::take(&mut endpoint.ports);
            endpoint::save(&self.layout, &endpoint)?;
            match &error {
                NetworkError::PortPublished { mapping, .. } if is_choice(mapping, ports) => {
                    taken = self.taken_ports()?;
                }
                NetworkError::PortPublished { .. } if self.reclaim_ports(&wanted)? => {}
                _ => return Err(error),
            }
        }
        let request = ports.iter().find(|port| port.fixed().is_none()).or(ports.first());
        match request.cloned() {
            Some(request) => {
                Err(NetworkError::NoFreePort { request, container: endpoint.container_name.clone() })
            }
            None => Ok(endpoint),
        }
    }

    fn commit_ports(&mut self, endpoint: &Endpoint) -> Result<(), NetworkError> {
        let elements = plan::endpoint_elements(endpoint)?;
        let exclusions = plan::endpoint_exclusions(endpoint)?;
        let table = |source| NetworkError::Table {
            action: format!("publish the ports of container {}", endpoint.container_name),
            source,
        };
        for _ in 0..STALE_TRIES {
            let mut transaction = Transaction::new();
            if endpoint.ports.iter().any(PortMapping::is_interval) {
                let now = self.nft()?.taken_ports().map_err(table)?;
                if let Some(error) = port_in_range(endpoint, &now.ports) {
                    return Err(error);
                }
                transaction.only_at(now.generation);
            }
            transaction.extend(elements.iter().chain(&exclusions).cloned());
            for exclusion in &exclusions {
                transaction.delete(exclusion.clone());
            }
            match self.nft()?.commit(transaction) {
                Ok(()) => return Ok(()),
                Err(CommitError::Stale) => {}
                Err(CommitError::Exists { element }) => {
                    return self.port_taken(endpoint, &element, &elements);
                }
                Err(source) => return Err(table(source)),
            }
        }
        Err(table(CommitError::Stale))
    }

    /// Either another command has just rebuilt the table with our ports in it, from our record; or somebody
    /// else has one of them: then either a living container, which is named, or a dead one, whose elements
    /// are taken away.
    fn port_taken(
        &mut self,
        endpoint: &Endpoint,
        refused: &Element,
        elements: &[Element],
    ) -> Result<(), NetworkError> {
        let taken = self.taken_ports()?;
        let is_refused = |host: IpAddr, proto: Proto, first: u16, last: u16| {
            endpoint.ports.iter().find(move |mapping| {
                mapping.proto == proto
                    && same_address(mapping.host_ip, host)
                    && mapping.host.overlaps(PortRange { first, last })
            })
        };
        let mapping = match refused {
            Element::Published(p) => is_refused(p.host(), p.proto(), p.host_port(), p.host_port()),
            Element::PublishedRange(r) => is_refused(r.host(), r.proto(), r.ports().0, r.ports().1),
            Element::Claim(c) => is_refused(c.host(), c.proto(), c.port_range().0, c.port_range().1),
            _ => None,
        };
        let Some(mapping) = mapping.or(endpoint.ports.first()) else { return Ok(()) };
        let holder = taken.iter().find(|taken| overlaps(mapping, taken));
        let holder = holder.and_then(|taken| taken.holder.clone());
        if holder.as_deref() == Some(endpoint.comment()) {
            // Replaced rather than believed: a container of this name that was lost may have left them.
            let mut transaction = Transaction::new();
            for element in elements {
                transaction.delete(element.clone());
            }
            transaction.extend(elements.iter().cloned());
            if self.nft()?.commit(transaction).is_ok() {
                return Ok(());
            }
        }
        Err(NetworkError::PortPublished {
            mapping: mapping.clone(),
            container: endpoint.container_name.clone(),
            holder,
        })
    }

    /// What all containers publish.
    fn taken_ports(&mut self) -> Result<Vec<TakenPort>, NetworkError> {
        let taken = self.nft()?.taken_ports().map_err(|source| NetworkError::Table {
            action: "list the published ports".to_owned(),
            source,
        })?;
        Ok(taken.ports)
    }

    /// Disconnects dead containers that still hold one of these ports; false if there was none.
    fn reclaim_ports(&mut self, wanted: &[PortMapping]) -> Result<bool, NetworkError> {
        let mut reclaimed = false;
        for network in record::load_all(&self.layout)? {
            for other in endpoint::load_all(&self.layout, &network.name)? {
                let has = |port: &PortMapping| other.ports.iter().any(|o| o.overlaps(port));
                if wanted.iter().any(has) && !other.is_alive() {
                    self.disconnect(&other)?;
                    reclaimed = true;
                }
            }
        }
        Ok(reclaimed)
    }

    /// Writes the remarks at an endpoint's ports anew, in one transaction. If one of the ports is gone
    /// meanwhile, all of them are about to go.
    pub(super) fn rename_ports(&mut self, before: &Endpoint, after: &Endpoint) -> Result<(), NetworkError> {
        if before.ports.is_empty() || before.comment() == after.comment() {
            return Ok(());
        }
        let action = || format!("rename the ports of container {}", before.container_name);
        let table = |source| NetworkError::Table { action: action(), source };
        let mut transaction = Transaction::new();
        for element in plan::endpoint_elements(before)? {
            let comment = self.nft()?.lookup_comment(&element).map_err(table)?;
            if comment.as_deref() != Some(before.comment()) {
                return Ok(());
            }
            transaction.delete(element);
        }
        transaction.extend(plan::endpoint_elements(after)?);
        match self.nft()?.commit(transaction) {
            Ok(()) | Err(CommitError::Missing { .. }) => Ok(()),
            Err(source) => Err(table(source)),
        }
    }

    /// Takes the ports of an endpoint away; what is gone already is no error.
    pub(super) fn unpublish(&mut self, endpoint: &Endpoint) -> Result<(), NetworkError> {
        if endpoint.ports.is_empty() {
            return Ok(());
        }
        let mut elements = plan::endpoint_elements(endpoint)?;
        let action = || format!("take away the ports of container {}", endpoint.container_name);
        let table = |source| NetworkError::Table { action: action(), source };
        if !endpoint.is_alive() {
            // Whoever was killed may have taken them away already, and a port may be somebody else's by now.
            let mut own = Vec::new();
            for element in elements {
                if self.nft()?.lookup_comment(&element).map_err(table)?.as_deref() == Some(endpoint.comment())
                {
                    own.push(element);
                }
            }
            elements = own;
        }
        if elements.is_empty() {
            return self.forget_flows_to(endpoint);
        }
        let mut transaction = Transaction::new();
        for element in &elements {
            transaction.delete(element.clone());
        }
        match self.nft()?.commit(transaction) {
            Ok(()) => {}
            // Some are gone: then one by one.
            Err(CommitError::Missing { .. }) => {
                for element in elements {
                    let mut transaction = Transaction::new();
                    transaction.delete(element);
                    match self.nft()?.commit(transaction) {
                        Ok(()) | Err(CommitError::Missing { .. }) => {}
                        Err(source) => return Err(table(source)),
                    }
                }
            }
            Err(source) => return Err(table(source)),
        }
        self.forget_flows_to(endpoint)
    }

    /// Removes the connection-tracking entries of flows that were translated to the endpoint's addresses: they
    /// would go on, and reach whoever gets the address next.
    fn forget_flows_to(&self, endpoint: &Endpoint) -> Result<(), NetworkError> {
        if !tracks_connections() {
            return Ok(());
        }
        let mut targets: Vec<IpAddr> =
            endpoint.ports.iter().filter_map(|mapping| plan::target(endpoint, mapping.host_ip)).collect();
        targets.sort_unstable();
        targets.dedup();
        for address in targets {
            // What is left of a dead container may be cleared away after its address was given to another.
            let holder = endpoint::load(&self.layout, &endpoint.network, address)?;
            if holder.is_some_and(|holder| holder.container != endpoint.container) {
                continue;
            }
            note_forgotten(&endpoint.container_name, netlink::forget_flows_to_container(address));
        }
        Ok(())
    }
}

/// Removes the connection-tracking entries of flows to the endpoint's ports that began before these were
/// published, or while they led elsewhere: they would go on as if nothing had changed.
fn forget_flows_elsewhere(endpoint: &Endpoint) {
    if !tracks_connections() {
        return;
    }
    let ports = endpoint.ports.iter().filter_map(|mapping| {
        let PortMapping { host_ip: address, host, proto, .. } = mapping;
        let container = plan::target(endpoint, *address)?;
        Some(HostPorts {
            address: *address,
            protocol: proto.number(),
            ports: host.first..=host.last,
            container,
        })
    });
    let ports: Vec<_> = ports.collect();
    note_forgotten(&endpoint.container_name, netlink::forget_flows_to_ports(&ports));
}

/// Whether there is any entry in the host's namespace. To look for some of them costs a walk through a table
/// that all namespaces share.
fn tracks_connections() -> bool {
    sysctl::read("net/netfilter/nf_conntrack_count").ok().flatten().as_deref() != Some("0")
}

/// Flows that remain are a nuisance for their clients, not a reason to fail.
fn note_forgotten(container: &str, forgotten: std::io::Result<usize>) {
    match forgotten {
        Ok(count) => tracing::debug!(container, count, "removed connection-tracking entries"),
        Err(error) => tracing::warn!(container, %error, "cannot remove connection-tracking entries"),
    }
}

/// Whether the host can give out these ports at all, as far as it can be told without trying.
fn check(endpoint: &Endpoint, ports: &[PortRequest], listeners: &Listeners) -> Result<(), NetworkError> {
    let container = || endpoint.container_name.clone();
    for (at, mapping) in endpoint.ports.iter().enumerate() {
        if endpoint.ports[..at].iter().any(|earlier| earlier.overlaps(mapping)) {
            let request = ports.iter().find(|port| port.fixed() == Some(mapping.host));
            if let Some(request) = request.or(ports.first()) {
                return Err(NetworkError::PortTwice(request.clone()));
            }
        }
        if !mapping.host_ip.is_unspecified() && !has_address(mapping.host_ip) {
            return Err(NetworkError::PortForeign { mapping: mapping.clone(), container: container() });
        }
        if let Some(listener) = listeners.on(mapping) {
            let listener = HostListener::name(listener);
            let (mapping, container) = (mapping.clone(), container());
            return Err(NetworkError::PortListened { mapping, container, listener });
        }
    }
    Ok(())
}

/// The error for a range that is published as one element and has somebody's port in it: single ports of every
/// address are in no claim that the kernel could compare it with.
fn port_in_range(endpoint: &Endpoint, taken: &[TakenPort]) -> Option<NetworkError> {
    endpoint.ports.iter().filter(|mapping| mapping.is_interval()).find_map(|mapping| {
        let in_range = |taken: &&TakenPort| {
            overlaps(mapping, taken) && taken.holder.as_deref() != Some(endpoint.comment())
        };
        let holder = taken.iter().find(in_range)?.holder.clone();
        let container = endpoint.container_name.clone();
        Some(NetworkError::PortPublished { mapping: mapping.clone(), container, holder })
    })
}

/// Whether the port is one that we chose ourselves and can choose again.
fn is_choice(mapping: &PortMapping, ports: &[PortRequest]) -> bool {
    let of_mapping = |port: &&PortRequest| port.container == mapping.container && port.proto == mapping.proto;
    let mut wanted = ports.iter().filter(of_mapping);
    let fixed = wanted.clone().any(|port| port.fixed() == Some(mapping.host));
    !fixed && wanted.any(|port| port.fixed().is_none())
}
