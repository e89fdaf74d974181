//! What is to be published and what changes in the table by it, as a value: the same for the command that does it and
//! for the one that only prints it.

use std::cell::LazyCell;
use std::collections::HashSet;

use super::allot::{InUse, LocalPorts, choose, overlaps};
use super::endpoint::Endpoint;
use super::error::NetworkError;
use super::listener::{HostListener, Listeners, has_address};
use super::owner::Holder;
use super::port::{PortMapping, PortRange, PortRequest};
use super::publisher::Publisher;
use super::subnet::Family;
use crate::nft::{Element, TakenPort, Transaction};

/// Ports that somebody wants published, before it is decided which of the host's they get.
#[derive(Debug)]
pub(super) struct Request {
    publisher: Publisher,
    pub(super) ports: Vec<PortRequest>,
    old: Vec<PortMapping>,
    listeners: Listeners,
}

/// Ports that are decided, and the changes that publish them.
#[derive(Debug)]
pub(super) struct Publishing {
    pub(super) publisher: Publisher,
    pub(super) changes: Changes,
}

impl Request {
    /// The ports of a container, which are to lead to these endpoints and have led to those of `before`. `None` if there
    /// is nothing that they could lead to. Looks which ports the host itself listens on.
    pub(super) fn new(endpoints: &[Endpoint], before: &[Endpoint], ports: &[PortRequest]) -> Option<Self> {
        let publisher = Publisher::of(endpoints)?;
        let old: Vec<PortMapping> = before.iter().flat_map(|endpoint| &endpoint.ports).cloned().collect();
        let ports = keeping(ports, &old, before.is_empty(), &publisher);
        let listeners = match publisher.owner.holds_its_ports() {
            true => Listeners::none(),
            false => Listeners::find(&ports),
        };
        Some(Self { publisher, ports, old, listeners })
    }

    /// Whether nothing is published and nothing was.
    pub(super) fn is_empty(&self) -> bool {
        self.ports.is_empty() && self.old.is_empty()
    }

    /// Decides. `stale` are the endpoints whose ports are in the table and are replaced; `taken` is what is known to be
    /// others'.
    ///
    /// # Errors
    /// The host cannot give out these ports, as far as can be known without trying.
    pub(super) fn decide(&self, stale: &[Endpoint], taken: &[TakenPort]) -> Result<Publishing, NetworkError> {
        let local = LazyCell::new(LocalPorts::read);
        let in_use = InUse { listeners: &self.listeners, taken };
        let mut publisher = self.publisher.clone();
        publisher.ports = choose(&self.ports, &publisher, &local, &in_use)?;
        self.check(&publisher)?;
        let changes = Changes::plan(&publisher, stale)?;
        Ok(Publishing { publisher, changes })
    }

    fn check(&self, publisher: &Publisher) -> Result<(), NetworkError> {
        let who = || publisher.owner.to_string();
        for (at, mapping) in publisher.ports.iter().enumerate() {
            if publisher.ports[..at].iter().any(|earlier| earlier.overlaps(mapping)) {
                let request = self.ports.iter().find(|port| port.fixed() == Some(mapping.host));
                if let Some(request) = request.or(self.ports.first()) {
                    return Err(NetworkError::PortTwice(request.clone()));
                }
            }
            // What is published already stays so.
            if self.old.contains(mapping) {
                continue;
            }
            if !mapping.host_ip.is_unspecified() && !has_address(mapping.host_ip) {
                return Err(NetworkError::PortForeign { mapping: mapping.clone(), who: who() });
            }
            if let Some(listener) = self.listeners.on(mapping) {
                let listener = HostListener::name(listener);
                let (mapping, who) = (mapping.clone(), who());
                return Err(NetworkError::PortListened { mapping, who, listener });
            }
        }
        Ok(())
    }

    /// Whether the port is one that we chose ourselves and can choose again.
    pub(super) fn is_choice(&self, mapping: &PortMapping) -> bool {
        let of_mapping =
            |port: &&PortRequest| port.container == mapping.container && port.proto == mapping.proto;
        let mut wanted = self.ports.iter().filter(of_mapping);
        let fixed = wanted.clone().any(|port| port.fixed() == Some(mapping.host));
        !fixed && wanted.any(|port| port.fixed().is_none())
    }

    /// The error where others were faster at every free port.
    pub(super) fn no_free_port(&self) -> Result<(), NetworkError> {
        let open = self.ports.iter().find(|port| port.fixed().is_none());
        match open.or(self.ports.first()).cloned() {
            Some(request) => Err(NetworkError::NoFreePort { request, who: self.publisher.owner.to_string() }),
            None => Ok(()),
        }
    }
}

impl Publishing {
    /// The changes, if there are any.
    pub(super) fn add_to(&self, transaction: &mut Transaction) {
        if !self.changes.is_empty() {
            self.changes.add_to(transaction);
        }
    }

    /// The error for a port that somebody else has, where one does.
    pub(super) fn conflict(&self, taken: &[TakenPort]) -> Option<NetworkError> {
        conflict(&self.publisher, taken)
    }

    /// Warns of ports that lead into an internal network: they are reserved, and work once the container is connected
    /// to another network.
    pub(super) fn warn_of_internal(&self) {
        let is_closed = |port: &&PortMapping| !self.publisher.is_reachable(Family::of(port.host_ip));
        if let Some(port) = self.publisher.ports.iter().find(is_closed) {
            let (who, port) = (&self.publisher.owner, port.host_side());
            tracing::warn!(
                "the port {port} of {who} leads into an internal network: it cannot be reached from outside"
            );
        }
    }
}

/// The error for a port that another has, by what the table says of it.
pub(super) fn published(
    mapping: &PortMapping,
    publisher: &Publisher,
    holder: Option<&TakenPort>,
) -> NetworkError {
    let (wanted, who) = (mapping.host, publisher.owner.to_string());
    let taken = holder.map_or(wanted, |taken| PortRange {
        first: taken.first.max(wanted.first),
        last: taken.last.min(wanted.last),
    });
    let holder = holder.and_then(|taken| taken.holder.as_deref()).map(Holder::of_comment);
    NetworkError::PortPublished { mapping: mapping.clone(), who, taken, holder }
}

/// The error for the first of the ports that somebody else has. Of several, the kernel refuses any.
pub(super) fn conflict(publisher: &Publisher, taken: &[TakenPort]) -> Option<NetworkError> {
    let own = publisher.owner.comment();
    publisher.ports.iter().find_map(|mapping| {
        let is_others =
            |taken: &&TakenPort| overlaps(mapping, taken) && taken.holder.as_deref() != Some(&own);
        Some(published(mapping, publisher, Some(taken.iter().find(is_others)?)))
    })
}

/// The error for a range that is published as one element and has another container's port in it: single ports of
/// every address are in no claim that the kernel could compare it with.
pub(super) fn port_in_range(publisher: &Publisher, taken: &[TakenPort]) -> Option<NetworkError> {
    let own = publisher.owner.comment();
    let in_a_range = |taken: &TakenPort| {
        let mut ranges = publisher.ports.iter().filter(|mapping| mapping.is_interval());
        taken.holder.as_deref() != Some(&own) && ranges.any(|range| overlaps(range, taken))
    };
    taken.iter().any(in_a_range).then(|| conflict(publisher, taken)).flatten()
}

/// What a transaction changes that publishes ports.
#[derive(Debug)]
pub(super) struct Changes {
    /// What goes.
    stale: Vec<Element>,
    /// What comes.
    elements: Vec<Element>,
    /// What must have room, and does not stay.
    exclusions: Vec<Element>,
}

impl Changes {
    /// Publishing ports in the place of those of `before`. What stays as it is is not touched.
    pub(super) fn plan(publisher: &Publisher, before: &[Endpoint]) -> Result<Self, NetworkError> {
        let mut stale = Vec::new();
        for before in before {
            stale.extend(Publisher::from(before).elements()?);
        }
        let mut elements = publisher.elements()?;
        if !stale.is_empty() {
            let old: HashSet<Element> = stale.iter().cloned().collect();
            let new: HashSet<Element> = elements.iter().cloned().collect();
            stale.retain(|element| !new.contains(element));
            elements.retain(|element| !old.contains(element));
        }
        Ok(Self { stale, elements, exclusions: publisher.exclusions()? })
    }

    /// Whether all is as it was.
    pub(super) fn is_empty(&self) -> bool {
        self.stale.is_empty() && self.elements.is_empty()
    }

    /// The transaction that puts the elements in the place of others with the same keys.
    pub(super) fn replacing(&self) -> Transaction {
        let mut transaction = Transaction::new();
        for element in &self.elements {
            transaction.delete(element.clone());
        }
        transaction.extend(self.elements.iter().cloned());
        transaction
    }

    /// Appends them to a transaction.
    pub(super) fn add_to(&self, transaction: &mut Transaction) {
        for element in &self.stale {
            transaction.delete(element.clone());
        }
        transaction.extend(self.elements.iter().chain(&self.exclusions).cloned());
        for exclusion in &self.exclusions {
            transaction.delete(exclusion.clone());
        }
    }
}

/// The ports that are to be published in the place of `old` ones: where the host port was open, it stays the one
/// that was chosen; what the endpoint has no address for waits, unless it is the first time.
fn keeping(
    ports: &[PortRequest],
    old: &[PortMapping],
    is_first: bool,
    publisher: &Publisher,
) -> Vec<PortRequest> {
    let mut old: Vec<&PortMapping> = old.iter().collect();
    let is_possible = |request: &&PortRequest| {
        is_first || request.host_ip.is_none_or(|host_ip| publisher.target(host_ip).is_some())
    };
    let keep = |request: &PortRequest| {
        let is_its = |mapping: &&&PortMapping| {
            mapping.container == request.container
                && mapping.proto == request.proto
                && request.host_ip.is_none_or(|host_ip| host_ip == mapping.host_ip)
                && request
                    .host
                    .is_none_or(|host| host.first <= mapping.host.first && mapping.host.last <= host.last)
        };
        let Some(found) = old.iter().find(is_its).map(|mapping| (*mapping).clone()) else {
            return request.clone();
        };
        // Of both families, and not for another request for the same port of the container.
        old.retain(|other| {
            (other.host, other.container, other.proto) != (found.host, found.container, found.proto)
        });
        PortRequest { host: Some(found.host), ..request.clone() }
    };
    ports.iter().filter(is_possible).map(keep).collect()
}
