//! Ports are published and taken away: elements of the table, and the connection-tracking entries that would
//! outlive them.

use std::net::Ipv4Addr;

use super::endpoint::{self, Endpoint};
use super::error::NetworkError;
use super::host;
use super::port::{PortMapping, PortRange, PortRequest};
use super::{Networks, plan, record};
use crate::netlink;
use crate::nft::{CommitError, Element, Presence, Proto, Transaction};
use crate::sysctl;

/// How often another free port is tried for a mapping without a host port.
const EPHEMERAL_TRIES: u32 = 64;

impl Networks {
    /// Publishes the ports of an endpoint in one transaction.
    pub(super) fn publish(
        &mut self,
        mut endpoint: Endpoint,
        ports: &[PortRequest],
    ) -> Result<Endpoint, NetworkError> {
        for attempt in 0..EPHEMERAL_TRIES {
            endpoint.ports = resolve(ports, &endpoint.container_name)?;
            if let Some(mapping) = published_twice(&endpoint.ports) {
                let container = endpoint.container_name;
                return Err(NetworkError::PortTwice { mapping: mapping.clone(), container });
            }
            if let Some(error) = listened(&endpoint) {
                // A free port was chosen badly; a port the user chose stays taken.
                if is_ephemeral(&error, ports) {
                    continue;
                }
                return Err(error);
            }
            // The record first: a rebuild of the table by another command then brings these ports too.
            endpoint::save(&self.layout, &endpoint)?;
            match self.commit_ports(&endpoint) {
                Ok(()) => {
                    forget_flows(&endpoint);
                    return Ok(endpoint);
                }
                Err(error) if is_ephemeral(&error, ports) && attempt + 1 < EPHEMERAL_TRIES => {}
                Err(NetworkError::PortPublished { .. }) if self.reclaim_ports(&endpoint)? => {}
                Err(error) => {
                    // Somebody else's port must not come back as ours in a rebuild.
                    endpoint.ports.clear();
                    endpoint::save(&self.layout, &endpoint)?;
                    return Err(error);
                }
            }
        }
        let port = ports.iter().find(|port| port.host.is_none());
        Err(NetworkError::NoFreePort {
            port: port.map_or(String::new(), |port| format!("{}/{}", port.container, port.proto)),
            container: endpoint.container_name,
        })
    }

    fn commit_ports(&mut self, endpoint: &Endpoint) -> Result<(), NetworkError> {
        let elements = plan::endpoint_elements(endpoint)?;
        self.look_at_other_addresses(endpoint)?;
        let mut transaction = Transaction::new();
        for element in &elements {
            transaction.create(element.clone());
        }
        match self.nft()?.commit(transaction) {
            Ok(()) => Ok(()),
            Err(CommitError::Exists { element }) => self.port_taken(endpoint, &element, &elements),
            Err(source) => Err(NetworkError::Table {
                action: format!("publish the ports of container {}", endpoint.container_name),
                source,
            }),
        }
    }

    /// The kernel refuses a port of an address that is published as just that. A port of one address also
    /// collides with the same port of every address, as for a socket: that is asked for here. (Of all single
    /// addresses only 127.0.0.1 is looked at; the others would have to be listed.)
    fn look_at_other_addresses(&mut self, endpoint: &Endpoint) -> Result<(), NetworkError> {
        let table = |source| NetworkError::Table { action: "look for a published port".to_owned(), source };
        for mapping in &endpoint.ports {
            let any = mapping.host_ip.is_unspecified();
            let other = if any { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
            let shadow = PortMapping { host_ip: other, ..mapping.clone() };
            let Some(address) = endpoint.ipv4() else { continue };
            for element in shadow.elements(address.addr(), endpoint.comment())? {
                if matches!(self.nft()?.contains(&element).map_err(table)?, Presence::Present) {
                    let holder = self.nft()?.lookup_comment(&element).map_err(table)?;
                    // A container may publish a port on every address and another way on one of them.
                    if holder.as_deref() != Some(endpoint.comment()) {
                        return Err(taken_by(endpoint, &element, holder));
                    }
                }
            }
        }
        Ok(())
    }

    /// Either another command has just rebuilt the table with our ports in it, from our record; or somebody
    /// else has one of them: then either a living container, which is named, or a dead one, whose elements
    /// are taken away.
    fn port_taken(
        &mut self,
        endpoint: &Endpoint,
        taken: &Element,
        elements: &[Element],
    ) -> Result<(), NetworkError> {
        let table = |source| NetworkError::Table { action: "look for a published port".to_owned(), source };
        let holder = self.nft()?.lookup_comment(taken).map_err(table)?;
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
        Err(taken_by(endpoint, taken, holder))
    }

    /// Disconnects dead containers that still hold a port this endpoint wants; false if there was none.
    fn reclaim_ports(&mut self, endpoint: &Endpoint) -> Result<bool, NetworkError> {
        let mut reclaimed = false;
        for network in record::load_all(&self.layout)? {
            for other in endpoint::load_all(&self.layout, &network.name)? {
                let wanted = endpoint.ports.iter().any(|port| other.ports.iter().any(|o| o.overlaps(port)));
                if wanted && !other.is_alive() {
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
            forget_flows(endpoint);
            return Ok(());
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
        forget_flows(endpoint);
        Ok(())
    }
}

/// Removes the connection-tracking entries of UDP flows that would go on as if nothing had changed: those
/// that reached the host before its ports were published, and those that were translated to the container.
/// Flows that remain are a nuisance for their clients, not a reason to fail.
fn forget_flows(endpoint: &Endpoint) {
    for mapping in endpoint.ports.iter().filter(|mapping| mapping.proto == Proto::Udp) {
        let PortMapping { host, container, .. } = mapping;
        let Some(address) = endpoint.ipv4().map(|address| address.addr().into()) else { continue };
        let forgotten = netlink::forget_untranslated_udp(host.first..=host.last).and_then(|before| {
            Ok(before + netlink::forget_translated_udp(address, container.first..=container.last)?)
        });
        match forgotten {
            Ok(count) => tracing::debug!(%mapping, count, "removed connection-tracking entries"),
            Err(error) => tracing::warn!(%mapping, %error, "cannot remove connection-tracking entries"),
        }
    }
}

/// Chooses host ports where the user left them open.
fn resolve(ports: &[PortRequest], container: &str) -> Result<Vec<PortMapping>, NetworkError> {
    let resolve_one = |port: &PortRequest| {
        let host = match port.host {
            Some(host) => host,
            None => free_ports(port.container.count()).ok_or_else(|| NetworkError::NoFreePort {
                port: format!("{}/{}", port.container, port.proto),
                container: container.to_owned(),
            })?,
        };
        Ok(PortMapping { host_ip: port.host_ip, host, container: port.container, proto: port.proto })
    };
    ports.iter().map(resolve_one).collect()
}

/// Consecutive ports at a random place of the range that the kernel itself chooses from.
fn free_ports(count: u32) -> Option<PortRange> {
    let text = sysctl::read("net/ipv4/ip_local_port_range").ok().flatten()?;
    let mut bounds = text.split_whitespace().filter_map(|word| word.parse::<u32>().ok());
    let (low, high) = (bounds.next()?, bounds.next()?);
    let room = (high + 1).checked_sub(low + count)?;
    let random = getrandom::u32().ok()?;
    let first = low + random % (room + 1);
    Some(PortRange { first: u16::try_from(first).ok()?, last: u16::try_from(first + count - 1).ok()? })
}

/// A mapping that wants a port which an earlier one has.
fn published_twice(mappings: &[PortMapping]) -> Option<&PortMapping> {
    let mut rest = mappings.iter().enumerate();
    rest.find(|(at, mapping)| mappings[..*at].iter().any(|earlier| earlier.overlaps(mapping))).map(|(_, m)| m)
}

fn listened(endpoint: &Endpoint) -> Option<NetworkError> {
    endpoint.ports.iter().find_map(|mapping| {
        let listener = host::listener_on(mapping)?;
        let container = endpoint.container_name.clone();
        Some(NetworkError::PortListened { mapping: mapping.clone(), container, listener })
    })
}

fn taken_by(endpoint: &Endpoint, taken: &Element, holder: Option<String>) -> NetworkError {
    let is_taken = |mapping: &&PortMapping| match taken {
        Element::Published(p) => {
            p.proto() == mapping.proto && (mapping.host.first..=mapping.host.last).contains(&p.host_port())
        }
        _ => false,
    };
    let mapping = endpoint.ports.iter().find(is_taken).or_else(|| endpoint.ports.first());
    match mapping {
        Some(mapping) => NetworkError::PortPublished {
            mapping: mapping.clone(),
            container: endpoint.container_name.clone(),
            holder,
        },
        None => NetworkError::NoFreePort { port: String::new(), container: endpoint.container_name.clone() },
    }
}

/// Whether the error is about a port that we chose ourselves and can choose again.
fn is_ephemeral(error: &NetworkError, ports: &[PortRequest]) -> bool {
    let mapping = match error {
        NetworkError::PortPublished { mapping, .. } | NetworkError::PortListened { mapping, .. } => mapping,
        _ => return false,
    };
    ports.iter().any(|p| p.host.is_none() && p.container == mapping.container && p.proto == mapping.proto)
}
