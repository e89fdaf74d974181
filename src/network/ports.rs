//! Ports are published and taken away: elements of the table, and the connection-tracking entries that would
//! outlive them.
//!
//! All ports of somebody are one transaction. That a port is free is what the kernel says: it refuses the
//! transaction where an element, or one that excludes it, is there already (`nft::Claim`). Nothing is looked up
//! beforehand but the host's listening sockets, and, when a range is published, the single ports in it; then the
//! transaction is valid for that generation of the rule set only.

use std::net::IpAddr;

use super::allot::overlaps;
use super::endpoint::Endpoint;
use super::error::NetworkError;
use super::port::{PortMapping, PortRange, same_address};
use super::publisher::{Publisher, publisher_of};
use super::publishing::{Changes, Publishing, conflict, port_in_range, published};
use super::records::Records;
use super::roots;
use super::subnet::Family;
use super::table::Table;
use crate::nft::{CommitError, Element, Found, Proto, Transaction};

/// How often a transaction is built again because the rule set had changed: every time, another's transaction
/// has succeeded.
const STALE_TRIES: u32 = 1000;
/// How often a port is tried again that was refused although nobody has it: its container has just ended.
const ENDED_TRIES: u32 = 16;

/// The published ports: on record and in the table.
pub(super) struct Ports<'a> {
    pub(super) records: &'a Records,
    pub(super) table: &'a mut Table,
}

impl Ports<'_> {
    /// Writes down which endpoint has which of the ports, the new holders first: a rebuild of the table by another
    /// command then brings these ports too. False if one of the endpoints is gone: its container has ended.
    pub(super) fn record(
        &self,
        endpoints: &mut [Endpoint],
        ports: &[PortMapping],
    ) -> Result<bool, NetworkError> {
        let publishers = Family::ALL
            .map(|family| (family, publisher_of(endpoints, family).map(|publisher| publisher.position)));
        let of = |endpoint: &Endpoint| -> Vec<PortMapping> {
            let is_its = |mapping: &&PortMapping| {
                publishers.contains(&(Family::of(mapping.host_ip), Some(endpoint.position)))
            };
            ports.iter().filter(is_its).cloned().collect()
        };
        let mut changed: Vec<(&mut Endpoint, Vec<PortMapping>)> = endpoints
            .iter_mut()
            .map(|endpoint| {
                let own = of(endpoint);
                (endpoint, own)
            })
            .collect();
        changed.retain(|(endpoint, own)| endpoint.ports != *own);
        changed.sort_by_key(|(_, own)| own.is_empty());
        for (endpoint, own) in changed {
            match self.records.change(endpoint, |current| current.ports = own)? {
                Some(current) => *endpoint = current,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Another container's port must not come back as this one's in a rebuild: the endpoints have the ports again that
    /// they had before.
    pub(super) fn record_as_before(
        &self,
        endpoints: &mut [Endpoint],
        before: &[Endpoint],
    ) -> Result<(), NetworkError> {
        for endpoint in endpoints {
            let old = before.iter().find(|old| old.position == endpoint.position);
            let ports = old.map(|old| old.ports.clone()).unwrap_or_default();
            if endpoint.ports != ports {
                self.records.change(endpoint, |current| current.ports.clone_from(&ports))?;
                endpoint.ports = ports;
            }
        }
        Ok(())
    }

    /// Writes down that those that are not there any more have no ports, and removes flows to them.
    pub(super) fn strip(&mut self, endpoints: &[Endpoint], before: &[Endpoint]) -> Result<(), NetworkError> {
        let is_there = |old: &Endpoint| endpoints.iter().any(|endpoint| endpoint.position == old.position);
        for old in before.iter().filter(|old| !old.ports.is_empty() && !is_there(old)) {
            self.records.change(old, |current| current.ports.clear())?;
            self.table.forget_flows_to(self.records, old)?;
        }
        Ok(())
    }

    /// Publishes in one transaction what was planned.
    pub(super) fn commit(&mut self, plan: &Publishing) -> Result<(), NetworkError> {
        let Publishing { publisher, changes } = plan;
        if changes.is_empty() {
            return Ok(());
        }
        let action = || format!("publish the ports of {}", publisher.owner);
        for attempt in 0..STALE_TRIES {
            let mut transaction = Transaction::new();
            if publisher.ports.iter().any(PortMapping::is_interval) {
                let now = self.table.ports_at_a_moment()?;
                if let Some(error) = port_in_range(publisher, &now.ports) {
                    return Err(error);
                }
                transaction.only_at(now.generation);
            }
            changes.add_to(&mut transaction);
            match self.table.commit(transaction, action) {
                Err(NetworkError::Table { source: CommitError::Stale, .. }) => {}
                Err(NetworkError::Table { source: CommitError::Exists { element }, .. }) => {
                    let may_have_ended = attempt < ENDED_TRIES;
                    if self.is_published(publisher, &element, changes, may_have_ended)? {
                        return Ok(());
                    }
                }
                other => return other,
            }
        }
        Err(NetworkError::Table { action: action(), source: CommitError::Stale })
    }

    /// Why a port was refused: another command has just rebuilt the table with our ports in it, from our record,
    /// and then they are published; or another container has one of them: then either a living container, which is
    /// named, or a dead one, whose elements are taken away. If nobody has it any more and its holder may just have
    /// ended, it is to be tried again.
    fn is_published(
        &mut self,
        publisher: &Publisher,
        refused: &Element,
        changes: &Changes,
        may_have_ended: bool,
    ) -> Result<bool, NetworkError> {
        let taken = self.table.ports()?;
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
        if holder.and_then(|taken| taken.holder.as_deref()) == Some(&publisher.owner.comment()) {
            // Replaced rather than believed: a container of this name that was lost may have left them.
            let action = || format!("publish the ports of {}", publisher.owner);
            if self.table.commit(changes.replacing(), action).is_ok() {
                return Ok(true);
            }
        }
        Err(conflict(publisher, &taken).unwrap_or_else(|| published(mapping, publisher, holder)))
    }

    /// The transaction that replaces the comments of an endpoint's ports. If one of the ports is gone meanwhile,
    /// all of them are about to go, and it is empty.
    pub(super) fn renaming(
        &mut self,
        before: &Endpoint,
        after: &Endpoint,
    ) -> Result<Transaction, NetworkError> {
        let mut transaction = Transaction::new();
        let old = before.owner.comment();
        if before.ports.is_empty() || old == after.owner.comment() {
            return Ok(transaction);
        }
        for element in Publisher::from(before).elements()? {
            let found = self.table.find_port(&element, &before.owner)?;
            if found.and_then(|found| found.comment).as_deref() != Some(&old) {
                return Ok(Transaction::new());
            }
            transaction.delete(element);
        }
        transaction.extend(Publisher::from(after).elements()?);
        Ok(transaction)
    }

    /// Replaces the comments of an endpoint's ports, in one transaction.
    pub(super) fn rename(&mut self, before: &Endpoint, after: &Endpoint) -> Result<(), NetworkError> {
        let transaction = self.renaming(before, after)?;
        if transaction.is_empty() {
            return Ok(());
        }
        match self.table.commit(transaction, || format!("rename the ports of {}", before.owner)) {
            Err(NetworkError::Table { source: CommitError::Missing { .. }, .. }) => Ok(()),
            other => other,
        }
    }

    /// Takes the ports of an endpoint away; what is gone already is no error.
    pub(super) fn unpublish(&mut self, endpoint: &Endpoint) -> Result<(), NetworkError> {
        // Of a table that others have made since, nothing is its own.
        if endpoint.ports.is_empty() || roots::others(&self.records.layout, self.table)?.is_some() {
            return Ok(());
        }
        let mut elements = Publisher::from(endpoint).elements()?;
        if !endpoint.is_alive() {
            elements = self.left_by(endpoint, elements)?;
        }
        let action = || format!("take away the ports of {}", endpoint.owner);
        let mut all = Transaction::new();
        for element in &elements {
            all.delete(element.clone());
        }
        let is_missing = |error: &NetworkError| {
            matches!(error, NetworkError::Table { source: CommitError::Missing { .. }, .. })
        };
        if !all.is_empty() {
            match self.table.commit(all, action) {
                // Some are gone: then one by one.
                Err(error) if is_missing(&error) => {
                    for element in elements {
                        let mut one = Transaction::new();
                        one.delete(element);
                        self.table
                            .commit(one, action)
                            .or_else(|error| if is_missing(&error) { Ok(()) } else { Err(error) })?;
                    }
                }
                other => other?,
            }
        }
        self.table.forget_flows_to(self.records, endpoint)
    }

    /// Which elements of the ports of an endpoint are in the table as its own.
    pub(super) fn elements_there(&mut self, endpoint: &Endpoint) -> Result<Vec<Element>, NetworkError> {
        let elements = Publisher::from(endpoint).elements()?;
        if !endpoint.is_alive() {
            return self.left_by(endpoint, elements);
        }
        let mut there = Vec::new();
        for element in elements {
            if self.table.has_port(&element, &endpoint.owner)? {
                there.push(element);
            }
        }
        Ok(there)
    }

    /// Which elements of a dead endpoint are still there and its own: the killed command may have taken them away
    /// already, and a port may be another container's by now, and then leads to another address. One whose comment
    /// has another name is its own all the same, because it was just being renamed; unless that is the name of a
    /// living container with such a port.
    fn left_by(&mut self, dead: &Endpoint, elements: Vec<Element>) -> Result<Vec<Element>, NetworkError> {
        let mut own = Vec::new();
        let mut living: Option<Vec<Endpoint>> = None;
        // The comments of ports that lead elsewhere: claims with the same comments belong to these.
        let mut others = Vec::new();
        for element in elements {
            let found = self.table.find_port(&element, &dead.owner)?;
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
        let mut found = self.records.all_endpoints()?;
        found.retain(|other| other.has_one_of(&endpoint.ports) && other.is_alive());
        Ok(found)
    }

    /// The endpoints whose owners have ended and that have one of these ports on record.
    pub(super) fn dead_with(&self, wanted: &[PortMapping]) -> Result<Vec<Endpoint>, NetworkError> {
        let mut found = self.records.all_endpoints()?;
        found.retain(|other| other.has_one_of(wanted) && !other.is_alive());
        Ok(found)
    }
}
