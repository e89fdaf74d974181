//! Plans of what commands would change, for those that only print it. Nothing is changed: no record, no address, no
//! device.
//!
//! What is decided is decided by the functions that the commands themselves use: [`Networks::design`] for a network,
//! [`place`] for addresses, [`Request::decide`] for ports, [`Whole`](super::plan::Whole) for the table. Only the order
//! of the steps is put together here.

use std::collections::{BTreeSet, HashSet};

use super::Networks;
use super::addresses::{Foreseen, Placing, place};
use super::choose::CreateRequest;
use super::endpoint::Endpoint;
use super::error::NetworkError;
use super::forwarding::SwitchedOn;
use super::plan::{self, Creation, Plan, Step};
use super::port::PortRequest;
use super::publisher::Publisher;
use super::publishing::Request;
use super::record::Network;
use super::wanted::ConnectRequest;
use crate::names::NetworkName;
use crate::nft::{CommitError, Element, TakenPort};

/// Makes plans.
#[derive(Debug)]
pub struct Planner<'a>(pub(super) &'a mut Networks);

/// Somebody who is to be connected and whose ports are to be published.
#[derive(Debug, Clone, Copy)]
pub struct StartRequest<'a> {
    /// The networks to connect to, in this order.
    pub networks: &'a [ConnectRequest<'a>],
    /// The endpoints that stay.
    pub before: &'a [Endpoint],
    /// Those that are disconnected first.
    pub gone: &'a [Endpoint],
    /// The ports.
    pub ports: &'a [PortRequest],
}

impl Planner<'_> {
    /// A network is created.
    ///
    /// # Errors
    /// Whatever the creation would fail with, as far as can be known.
    pub fn create(&mut self, request: &CreateRequest) -> Result<Plan, NetworkError> {
        let creation = self.0.design(request)?;
        let mut plan = self.groundwork(&[], std::slice::from_ref(&creation.network), &[])?;
        push_creation(&mut plan, creation);
        Ok(plan)
    }

    /// A network is removed.
    ///
    /// # Errors
    /// [`NetworkError::NotFound`], [`NetworkError::InUse`].
    pub fn remove(&mut self, name: &str) -> Result<Plan, NetworkError> {
        let network = self.0.records.get(name)?;
        self.0.records.refuse_in_use(&network)?;
        self.without(&[network])
    }

    /// The networks are removed that are not in `kept` and that nothing is connected to.
    ///
    /// # Errors
    /// A record cannot be read, or the kernel does not answer.
    pub fn prune(
        &mut self,
        kept: &BTreeSet<NetworkName>,
        wanted: impl Fn(&Network) -> bool,
    ) -> Result<Plan, NetworkError> {
        let mut removed = self.0.records.removable(kept, wanted)?;
        let mut failed = None;
        removed.retain(|network| match self.0.records.living(&network.name) {
            Ok(living) => living.is_empty(),
            Err(error) => {
                failed = Some(error);
                false
            }
        });
        failed.map_or_else(|| self.without(&removed), |error| Err(error.into()))
    }

    /// Everything is made anew, without these endpoints, whose containers are taken down first.
    ///
    /// # Errors
    /// A record cannot be read, or the kernel does not answer.
    pub fn reload(&mut self, gone: &[Endpoint]) -> Result<Plan, NetworkError> {
        let networks = self.staying()?;
        if networks.is_empty() {
            let all = self.0.records.networks()?;
            return self.without(&all);
        }
        let (forwarding, _) = self.0.foresee_forwarding(&networks)?;
        Ok(Plan::of(self.rebuilding(gone, &networks, &forwarding)?))
    }

    /// A container with these endpoints gets another name.
    ///
    /// # Errors
    /// A record cannot be read, or the kernel does not answer.
    pub fn rename(&mut self, endpoints: &[Endpoint], container_name: &str) -> Result<Plan, NetworkError> {
        let mut plan = Plan::default();
        for before in endpoints {
            plan.push(Step::Rename(self.0.ports().renaming(before, &before.renamed(container_name))?));
        }
        Ok(plan)
    }

    /// Somebody is connected to networks, and their ports are published.
    ///
    /// # Errors
    /// Whatever the connection would fail with, as far as can be known.
    pub fn start(&mut self, request: &StartRequest<'_>) -> Result<Plan, NetworkError> {
        let StartRequest { before, gone, ports, .. } = *request;
        let (mut known, mut new) = (Vec::new(), Vec::new());
        for ConnectRequest { network, .. } in request.networks {
            match self.0.records.get(network.as_str()) {
                Ok(network) if self.0.records.survives_cleanup(&network)? => known.push(network),
                // It is there by being asked for.
                Ok(_) | Err(NetworkError::NotFound(_)) if **network == NetworkName::of_default() => {
                    new.push(self.0.design(&CreateRequest::new((*network).clone()))?);
                }
                Ok(_) => return Err(NetworkError::NotFound(network.to_string())),
                Err(error) => return Err(error),
            }
        }
        let networks: Vec<Network> =
            known.iter().chain(new.iter().map(|creation| &creation.network)).cloned().collect();
        let (endpoints, gone) = self.endpoints(request, &networks, gone)?;
        let new_networks: Vec<Network> = new.iter().map(|creation| creation.network.clone()).collect();
        let mut plan = self.groundwork(&known, &new_networks, &gone)?;
        for creation in new {
            push_creation(&mut plan, creation);
        }
        self.publish(&mut plan, &endpoints, before, before, &gone, ports)?;
        Ok(plan)
    }

    /// The endpoints that somebody has once connected, and those that are disconnected before that: what dead owners have
    /// left is in the way of an address.
    fn endpoints(
        &mut self,
        request: &StartRequest<'_>,
        networks: &[Network],
        gone: &[Endpoint],
    ) -> Result<(Vec<Endpoint>, Vec<Endpoint>), NetworkError> {
        let (mut endpoints, mut gone) = (request.before.to_vec(), gone.to_vec());
        let mut free = Foreseen::read(&self.0.records)?;
        free.free(&gone);
        for connect in request.networks {
            let network = networks.iter().find(|network| network.name == *connect.network);
            let Some(network) = network else { continue };
            let connect = ConnectRequest { others: &endpoints, ..connect.clone() };
            let endpoint = loop {
                match place(network, &connect, &mut free)? {
                    Placing::At(endpoint) => break endpoint,
                    Placing::After { holders, refusal } => {
                        let dead = self.0.devices.ended(&holders)?;
                        if dead.is_empty() {
                            return Err(*refusal);
                        }
                        free.free(&dead);
                        gone.extend(dead);
                    }
                }
            };
            endpoints.push(*endpoint);
        }
        Ok((endpoints, gone))
    }

    /// The ports that led to `before` lead to `after`.
    ///
    /// # Errors
    /// The kernel does not answer, or what moving the ports would fail with.
    pub fn move_ports(
        &mut self,
        before: &[Endpoint],
        after: &[Endpoint],
        ports: &[PortRequest],
    ) -> Result<Plan, NetworkError> {
        let there = self.elements_there(before)?;
        if Publisher::of(after).is_none() {
            return Ok(Plan::of(Step::Delete(there)));
        }
        let mut recorded = 0;
        for endpoint in before {
            recorded += Publisher::from(endpoint).elements()?.len();
        }
        let mut plan = Plan::default();
        if there.len() == recorded {
            self.publish(&mut plan, after, before, before, &[], ports)?;
            return Ok(plan);
        }
        // Another program took elements away: then the whole table is rebuilt.
        let networks = self.0.records.ready()?;
        let (forwarding, _) = self.0.foresee_forwarding(&networks)?;
        plan.push(self.rebuilding(before, &networks, &forwarding)?);
        self.publish(&mut plan, after, before, &[], &[], ports)?;
        Ok(plan)
    }

    /// Publishes ports in the place of those of `before`, which are in the table as far as they are `stale`; those of
    /// `gone` are free by then.
    fn publish(
        &mut self,
        plan: &mut Plan,
        after: &[Endpoint],
        before: &[Endpoint],
        stale: &[Endpoint],
        gone: &[Endpoint],
        ports: &[PortRequest],
    ) -> Result<(), NetworkError> {
        let Some(request) = Request::new(after, before, ports).filter(|request| !request.is_empty()) else {
            return Ok(());
        };
        let taken = self.taken_by_others(before, gone)?;
        let publishing = request.decide(stale, &taken)?;
        let mut taken = taken;
        if let Some(conflict) = publishing.conflict(&taken) {
            // The ports of those that have ended are taken away from them.
            let dead = self.0.ports().dead_with(&publishing.publisher.ports)?;
            let elements = self.elements_there(&dead)?;
            if elements.is_empty() {
                return Err(conflict);
            }
            taken.retain(|taken| !is_one_of(taken, &dead));
            if let Some(conflict) = publishing.conflict(&taken) {
                return Err(conflict);
            }
            plan.push(Step::Delete(elements));
        }
        plan.push(Step::Publish(publishing));
        Ok(())
    }

    /// The published ports that are neither these endpoints' nor those' that are gone by then.
    fn taken_by_others(
        &mut self,
        before: &[Endpoint],
        gone: &[Endpoint],
    ) -> Result<Vec<TakenPort>, NetworkError> {
        let mut taken = match self.0.table.ports() {
            Err(NetworkError::Table { source: CommitError::Missing { .. }, .. }) => Vec::new(),
            taken => taken?,
        };
        taken.retain(|taken| !is_one_of(taken, before) && !is_one_of(taken, gone));
        Ok(taken)
    }

    /// What takes these networks away.
    fn without(&mut self, removed: &[Network]) -> Result<Plan, NetworkError> {
        let is_removed = |network: &Network| removed.iter().any(|removed| removed.name == network.name);
        let others: Vec<Network> =
            self.0.records.networks()?.into_iter().filter(|network| !is_removed(network)).collect();
        if others.is_empty() {
            let is_there = self.0.table.is_there()?;
            return Ok(if is_there { Plan::of(Step::DeleteTable) } else { Plan::default() });
        }
        let elements: Vec<Element> = removed.iter().flat_map(plan::network_elements).collect();
        for network in removed {
            for element in plan::network_elements(network) {
                if !self.0.table.has(&element, network)? {
                    // What must remain follows from the records.
                    let (forwarding, _) = self.0.foresee_forwarding(&others)?;
                    return Ok(Plan::of(self.rebuilding(&[], &others, &forwarding)?));
                }
            }
        }
        Ok(Plan::of(Step::Delete(elements)))
    }

    fn elements_there(&mut self, endpoints: &[Endpoint]) -> Result<Vec<Element>, NetworkError> {
        let mut there = Vec::new();
        for endpoint in endpoints {
            there.extend(self.0.ports().elements_there(endpoint)?);
        }
        Ok(there)
    }

    /// The networks that are there once what killed commands have begun is ended.
    fn staying(&self) -> Result<Vec<Network>, NetworkError> {
        let mut staying = Vec::new();
        for network in self.0.records.networks()? {
            if self.0.records.survives_cleanup(&network)? {
                staying.push(network);
            }
        }
        Ok(staying)
    }

    /// The table made anew, without the ports of these endpoints.
    fn rebuilding(
        &self,
        gone: &[Endpoint],
        networks: &[Network],
        forwarding: &SwitchedOn,
    ) -> Result<Step, NetworkError> {
        let mut stale = HashSet::new();
        for endpoint in gone {
            stale.extend(Publisher::from(endpoint).elements()?);
        }
        let mut whole = self.0.records.whole(networks, forwarding)?;
        whole.elements.retain(|element| !stale.contains(element));
        Ok(Step::Rebuild(whole))
    }

    /// What comes first: the table where it is missing, or lacks something of one of the networks that are `known`; and
    /// the end of the ports of those that are `gone`. Where it is made anew, it has the guards that the `new` networks
    /// need.
    fn groundwork(
        &mut self,
        known: &[Network],
        new: &[Network],
        gone: &[Endpoint],
    ) -> Result<Plan, NetworkError> {
        let mut is_whole = true;
        for network in known {
            is_whole &= self.0.is_intact(network)?;
        }
        if !new.is_empty() {
            is_whole &= self.0.table.is_there()?;
        }
        if is_whole {
            return Ok(Plan::of(Step::Delete(self.elements_there(gone)?)));
        }
        let recorded = self.staying()?;
        let (forwarding, _) = self.0.foresee_forwarding(recorded.iter().chain(new))?;
        Ok(Plan::of(self.rebuilding(gone, &recorded, &forwarding)?))
    }
}

/// Whether a port that is taken is one of these endpoints'.
fn is_one_of(taken: &TakenPort, endpoints: &[Endpoint]) -> bool {
    endpoints.iter().any(|endpoint| {
        taken.holder.as_deref() == Some(&endpoint.owner.comment())
            && endpoint.ports.iter().any(|mapping| super::allot::overlaps(mapping, taken))
    })
}

/// Adds the creation of a network, whose guard the table has already where it is made anew in the same plan.
fn push_creation(plan: &mut Plan, mut creation: Creation) {
    creation.is_guard_new &= !plan.makes_table();
    plan.push(Step::Create(creation));
}
