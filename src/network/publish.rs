//! Ports are published and taken away: elements of the table, and the connection-tracking entries that would
//! outlive them.
//!
//! All ports of an endpoint are one transaction. That a port is free is what the kernel says: it refuses the
//! transaction where an element, or one that excludes it, is there already (`nft::Claim`). Nothing is looked up
//! beforehand but the host's listening sockets, and, when a range is published, the single ports in it; then the
//! transaction is valid for that generation of the rule set only.

use std::cell::LazyCell;
use std::net::IpAddr;

use super::allot::{InUse, LocalPorts, choose, overlaps};
use super::endpoint::{self, Endpoint};
use super::error::NetworkError;
use super::listener::{HostListener, Listeners, has_address};
use super::moving::{Changes, keeping};
use super::owner::Holder;
use super::port::{PortMapping, PortRange, PortRequest, same_address};
use super::publisher::Publisher;
use super::subnet::Family;
use super::{Networks, record};
use crate::nft::{CommitError, Element, Found, Proto, TakenPort, Transaction};

/// How often ports are chosen again because another command was faster.
const TRIES: u32 = 64;
/// How often a transaction is built again because the rule set had changed: every time, another's transaction
/// has succeeded.
const STALE_TRIES: u32 = 1000;
/// How often a port is tried again that was refused although nobody has it: its container has just ended.
const ENDED_TRIES: u32 = 16;

impl Networks {
    /// Lets the ports of a container lead to its endpoints, in one transaction: those of each family to the endpoint
    /// with the family's default route (`publisher_of`). `before` are the endpoints as they were, if any
    /// ports led to them until now: these keep their host ports, and what changes are their elements alone.
    ///
    /// # Errors
    /// A port cannot be published; then the ports lead where they led before.
    pub fn publish(
        &mut self,
        endpoints: &mut [Endpoint],
        before: &[Endpoint],
        ports: &[PortRequest],
    ) -> Result<(), NetworkError> {
        let Some(mut publisher) = Publisher::of(endpoints) else {
            return before.iter().try_for_each(|endpoint| self.unpublish(endpoint));
        };
        let old: Vec<PortMapping> = before.iter().flat_map(|endpoint| &endpoint.ports).cloned().collect();
        let kept = keeping(ports, &old, before.is_empty(), &publisher);
        let ports = kept.as_slice();
        if ports.is_empty() && old.is_empty() {
            return Ok(());
        }
        let listeners = Listeners::find(ports);
        let local = LazyCell::new(LocalPorts::read);
        let mut taken = Vec::new();
        for _ in 0..TRIES {
            let in_use = InUse { listeners: &listeners, taken: &taken };
            publisher.ports = choose(ports, &publisher, &local, &in_use)?;
            check(&publisher, ports, &listeners, &old)?;
            // The records first: a rebuild of the table by another command then brings these ports too.
            self.record_ports(endpoints, &publisher.ports)?;
            let error = match self.commit_ports(&publisher, before) {
                Ok(()) => {
                    self.forget_flows_elsewhere(&publisher);
                    warn_of_internal(&publisher);
                    return self.strip(endpoints, before);
                }
                // Another program took elements away; the records say where the ports are to lead.
                Err(NetworkError::Table { source: CommitError::Missing { .. }, .. })
                    if !before.is_empty() =>
                {
                    self.strip(endpoints, before)?;
                    return self.restore();
                }
                Err(error) => error,
            };
            // Another container's port must not come back as this one's in a rebuild.
            self.record_ports_as_before(endpoints, before)?;
            match &error {
                NetworkError::PortPublished { mapping, .. } if is_choice(mapping, ports) => {
                    taken = self.taken_ports()?;
                }
                NetworkError::PortPublished { .. } if self.reclaim_ports(&publisher.ports)? => {}
                _ => return Err(error),
            }
        }
        let request = ports.iter().find(|port| port.fixed().is_none()).or(ports.first());
        match request.cloned() {
            Some(request) => Err(NetworkError::NoFreePort { request, who: publisher.owner.to_string() }),
            None => Ok(()),
        }
    }

    /// Publishes the endpoint's ports in the place of those of `before`.
    fn commit_ports(&mut self, publisher: &Publisher, before: &[Endpoint]) -> Result<(), NetworkError> {
        let changes = Changes::plan(publisher, before)?;
        if changes.is_empty() {
            return Ok(());
        }
        let table = |source| NetworkError::Table {
            action: format!("publish the ports of {}", publisher.owner),
            source,
        };
        for attempt in 0..STALE_TRIES {
            let mut transaction = Transaction::new();
            if publisher.ports.iter().any(PortMapping::is_interval) {
                let now = self.nft()?.taken_ports().map_err(table)?;
                if let Some(error) = port_in_range(publisher, &now.ports) {
                    return Err(error);
                }
                transaction.only_at(now.generation);
            }
            changes.add_to(&mut transaction);
            match self.nft()?.commit(transaction) {
                Ok(()) => return Ok(()),
                Err(CommitError::Stale) => {}
                Err(CommitError::Exists { element }) => {
                    let may_have_ended = attempt < ENDED_TRIES;
                    if self.is_published(publisher, &element, &changes.elements, may_have_ended)? {
                        return Ok(());
                    }
                }
                Err(source) => return Err(table(source)),
            }
        }
        Err(table(CommitError::Stale))
    }

    /// Why a port was refused: another command has just rebuilt the table with our ports in it, from our record,
    /// and then they are published; or another container has one of them: then either a living container, which is
    /// named, or a dead one, whose elements are taken away. If nobody has it any more and its holder may just have
    /// ended, it is to be tried again.
    fn is_published(
        &mut self,
        publisher: &Publisher,
        refused: &Element,
        elements: &[Element],
        may_have_ended: bool,
    ) -> Result<bool, NetworkError> {
        let taken = self.taken_ports()?;
        let is_refused = |host: IpAddr, proto: Proto, first: u16, last: u16| {
            publisher.ports.iter().find(move |mapping| {
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
        let Some(mapping) = mapping.or(publisher.ports.first()) else { return Ok(true) };
        let holder = taken.iter().find(|taken| overlaps(mapping, taken));
        if holder.is_none() && may_have_ended {
            return Ok(false);
        }
        let holder = holder.and_then(|taken| taken.holder.clone());
        if holder.as_deref() == Some(&publisher.owner.comment()) {
            // Replaced rather than believed: a container of this name that was lost may have left them.
            let mut transaction = Transaction::new();
            for element in elements {
                transaction.delete(element.clone());
            }
            transaction.extend(elements.iter().cloned());
            if self.nft()?.commit(transaction).is_ok() {
                return Ok(true);
            }
        }
        Err(published(mapping, publisher, holder.as_deref()))
    }

    /// What all containers publish.
    pub(super) fn taken_ports(&mut self) -> Result<Vec<TakenPort>, NetworkError> {
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

    /// Replaces the comments of an endpoint's ports, in one transaction.
    pub(super) fn rename_ports(&mut self, before: &Endpoint, after: &Endpoint) -> Result<(), NetworkError> {
        let transaction = self.renaming(before, after)?;
        if transaction.is_empty() {
            return Ok(());
        }
        match self.nft()?.commit(transaction) {
            Ok(()) | Err(CommitError::Missing { .. }) => Ok(()),
            Err(source) => {
                Err(NetworkError::Table { action: format!("rename the ports of {}", before.owner), source })
            }
        }
    }

    /// The transaction that replaces the comments of an endpoint's ports. If one of the ports is gone meanwhile,
    /// all of them are about to go, and it is empty.
    pub(super) fn renaming(
        &mut self,
        before: &Endpoint,
        after: &Endpoint,
    ) -> Result<Transaction, NetworkError> {
        let mut transaction = Transaction::new();
        if before.ports.is_empty() || before.owner.comment() == after.owner.comment() {
            return Ok(transaction);
        }
        for element in Publisher::from(before).elements()? {
            let comment = self.nft()?.lookup_comment(&element).map_err(|source| NetworkError::Table {
                action: format!("look for the ports of {}", before.owner),
                source,
            })?;
            if comment.as_deref() != Some(&before.owner.comment()) {
                return Ok(Transaction::new());
            }
            transaction.delete(element);
        }
        transaction.extend(Publisher::from(after).elements()?);
        Ok(transaction)
    }

    /// Takes the ports of an endpoint away; what is gone already is no error.
    pub(super) fn unpublish(&mut self, endpoint: &Endpoint) -> Result<(), NetworkError> {
        if endpoint.ports.is_empty() {
            return Ok(());
        }
        let mut elements = Publisher::from(endpoint).elements()?;
        let action = || format!("take away the ports of {}", endpoint.owner);
        let table = |source| NetworkError::Table { action: action(), source };
        if !endpoint.is_alive() {
            elements = self.left_by(endpoint, elements)?;
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

    /// Which elements of a dead endpoint are still there and its own: the killed command may have taken them away
    /// already, and a port may be another container's by now, and then leads to another address. One whose comment
    /// has another name is its own all the same, because it was just being renamed; unless that is the name of a
    /// living container with such a port.
    pub(super) fn left_by(
        &mut self,
        dead: &Endpoint,
        elements: Vec<Element>,
    ) -> Result<Vec<Element>, NetworkError> {
        let mut own = Vec::new();
        let mut living: Option<Vec<Endpoint>> = None;
        // The comments of ports that lead elsewhere: claims with the same comments belong to these.
        let mut others = Vec::new();
        for element in elements {
            let found = self.nft()?.lookup(&element).map_err(|source| NetworkError::Table {
                action: format!("look for the ports of {}", dead.owner),
                source,
            })?;
            let Some(Found { comment: Some(comment), leads_there }) = found else { continue };
            if !leads_there {
                others.push(comment);
                continue;
            }
            if matches!(element, Element::Claim(_)) && others.contains(&comment) {
                continue;
            }
            if comment != dead.owner.comment() {
                if living.is_none() {
                    living = Some(self.living_with_ports_of(dead)?);
                }
                if living.iter().flatten().any(|other| other.owner.comment() == comment) {
                    continue;
                }
            }
            own.push(element);
        }
        Ok(own)
    }

    /// The living endpoints that have one of this one's ports on record, which they have before the kernel does.
    fn living_with_ports_of(&self, endpoint: &Endpoint) -> Result<Vec<Endpoint>, NetworkError> {
        let mut found = Vec::new();
        for network in record::load_all(&self.layout)? {
            found.extend(endpoint::load_all(&self.layout, &network.name)?);
        }
        found.retain(|other| {
            let has = |port: &PortMapping| other.ports.iter().any(|o| o.overlaps(port));
            endpoint.ports.iter().any(has) && other.is_alive()
        });
        Ok(found)
    }
}

/// Warns of ports that lead into an internal network: they are reserved, and work once the container is connected
/// to another network.
fn warn_of_internal(publisher: &Publisher) {
    let is_closed = |port: &&PortMapping| !publisher.is_reachable(Family::of(port.host_ip));
    if let Some(port) = publisher.ports.iter().find(is_closed) {
        let (who, port) = (&publisher.owner, port.host_side());
        tracing::warn!(
            "the port {port} of {who} leads into an internal network: it cannot be reached from outside"
        );
    }
}

/// Whether the host can give out these ports at all, as far as can be known without trying.
pub(super) fn check(
    publisher: &Publisher,
    ports: &[PortRequest],
    listeners: &Listeners,
    old: &[PortMapping],
) -> Result<(), NetworkError> {
    let who = || publisher.owner.to_string();
    for (at, mapping) in publisher.ports.iter().enumerate() {
        if publisher.ports[..at].iter().any(|earlier| earlier.overlaps(mapping)) {
            let request = ports.iter().find(|port| port.fixed() == Some(mapping.host));
            if let Some(request) = request.or(ports.first()) {
                return Err(NetworkError::PortTwice(request.clone()));
            }
        }
        // What is published already stays so.
        if old.contains(mapping) {
            continue;
        }
        if !mapping.host_ip.is_unspecified() && !has_address(mapping.host_ip) {
            return Err(NetworkError::PortForeign { mapping: mapping.clone(), who: who() });
        }
        if let Some(listener) = listeners.on(mapping) {
            let listener = HostListener::name(listener);
            let (mapping, who) = (mapping.clone(), who());
            return Err(NetworkError::PortListened { mapping, who, listener });
        }
    }
    Ok(())
}

/// The error for a range that is published as one element and has another container's port in it: single ports of
/// every address are in no claim that the kernel could compare it with.
fn port_in_range(publisher: &Publisher, taken: &[TakenPort]) -> Option<NetworkError> {
    publisher.ports.iter().filter(|mapping| mapping.is_interval()).find_map(|mapping| {
        let in_range = |taken: &&TakenPort| {
            overlaps(mapping, taken) && taken.holder.as_deref() != Some(&publisher.owner.comment())
        };
        let holder = taken.iter().find(in_range)?.holder.as_deref();
        Some(published(mapping, publisher, holder))
    })
}

/// The error for a port that another has, by the comment of its element.
pub(super) fn published(mapping: &PortMapping, publisher: &Publisher, comment: Option<&str>) -> NetworkError {
    let (mapping, who) = (mapping.clone(), publisher.owner.to_string());
    NetworkError::PortPublished { mapping, who, holder: comment.map(Holder::of_comment) }
}

/// Whether the port is one that we chose ourselves and can choose again.
fn is_choice(mapping: &PortMapping, ports: &[PortRequest]) -> bool {
    let of_mapping = |port: &&PortRequest| port.container == mapping.container && port.proto == mapping.proto;
    let mut wanted = ports.iter().filter(of_mapping);
    let fixed = wanted.clone().any(|port| port.fixed() == Some(mapping.host));
    !fixed && wanted.any(|port| port.fixed().is_none())
}
