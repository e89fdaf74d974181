//! The ports of a container move from one of its endpoints to another, as networks come and go: which stay, whose
//! record has them, and what changes in the table.

use std::collections::HashSet;

use super::Networks;
use super::endpoint::{self, Endpoint};
use super::error::NetworkError;
use super::port::{PortMapping, PortRequest};
use super::publisher::{Publisher, publisher_of};
use super::subnet::Family;
use crate::nft::{Element, Transaction};

impl Networks {
    /// Writes down which endpoint has which of the ports, the new holders first.
    pub(super) fn record_ports(
        &self,
        endpoints: &mut [Endpoint],
        ports: &[PortMapping],
    ) -> Result<(), NetworkError> {
        let publishers = Family::ALL
            .map(|family| (family, publisher_of(endpoints, family).map(|publisher| publisher.position)));
        let is_for = |mapping: &&PortMapping, endpoint: &Endpoint| {
            publishers.contains(&(Family::of(mapping.host_ip), Some(endpoint.position)))
        };
        let mut changed = Vec::new();
        for endpoint in endpoints {
            let own: Vec<PortMapping> =
                ports.iter().filter(|mapping| is_for(mapping, endpoint)).cloned().collect();
            if endpoint.ports != own {
                endpoint.ports = own;
                changed.push(endpoint);
            }
        }
        changed.sort_by_key(|endpoint| endpoint.ports.is_empty());
        Ok(changed.into_iter().try_for_each(|endpoint| endpoint::save(&self.layout, endpoint))?)
    }

    pub(super) fn record_ports_as_before(
        &self,
        endpoints: &mut [Endpoint],
        before: &[Endpoint],
    ) -> Result<(), NetworkError> {
        for endpoint in endpoints {
            let old = before.iter().find(|old| old.position == endpoint.position);
            let ports = old.map(|old| old.ports.clone()).unwrap_or_default();
            if endpoint.ports != ports {
                endpoint.ports = ports;
                endpoint::save(&self.layout, endpoint)?;
            }
        }
        Ok(())
    }

    /// Writes down that those that are not there any more have no ports, and removes flows to them.
    pub(super) fn strip(&mut self, endpoints: &[Endpoint], before: &[Endpoint]) -> Result<(), NetworkError> {
        let is_there = |old: &Endpoint| endpoints.iter().any(|endpoint| endpoint.position == old.position);
        for old in before.iter().filter(|old| !old.ports.is_empty() && !is_there(old)) {
            endpoint::save(&self.layout, &Endpoint { ports: Vec::new(), ..old.clone() })?;
            self.forget_flows_to(old)?;
        }
        Ok(())
    }
}

/// What a transaction changes that publishes ports.
pub(super) struct Changes {
    /// What goes.
    stale: Vec<Element>,
    /// What comes.
    pub(super) elements: Vec<Element>,
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
pub(super) fn keeping(
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
