//! Somebody is connected to a network and disconnected: address, record, interface, ports, in this order, and back.

use std::net::IpAddr;

use super::addresses::{Book, Placing, check_wanted, place};
use super::devices::Devices;
use super::ended::try_lock;
use super::endpoint::Endpoint;
use super::error::NetworkError;
use super::links::{Link, Links};
use super::owner::Owner;
use super::port::PortRequest;
use super::ports::Ports;
use super::publisher::{default_route_of, defaults_beside};
use super::publishing::Request;
use super::record::{Network, Phase};
use super::records::no_links;
use super::subnet::Family;
use super::wanted::{ConnectRequest, Wanted, container_if, host_if};
use super::{DriverError, Networks, plan};
use crate::names::{ContainerId, NetworkName};
use crate::netns::NetNs;
use crate::nft::CommitError;
use crate::store::{self, Durability, Lock};

/// How many names are tried for an interface in a namespace that has some of its own.
const INTERFACES: usize = 64;
/// How often ports are chosen again because another command was faster.
const TRIES: u32 = 64;

impl Networks {
    /// Connects a namespace to a network: address, interface, routes. The default route of a family leads through
    /// the network if it forwards and none of the others has it.
    ///
    /// # Errors
    /// Anything that is wrong with the request or that the kernel refuses; nothing is left behind.
    pub fn connect(&mut self, request: &ConnectRequest<'_>, netns: &NetNs) -> Result<Endpoint, NetworkError> {
        let network = self.repaired(request.network)?;
        let endpoint = self.reserve(&network, request)?;
        Ok(self.attach_or_undo(&network, endpoint, request.others, netns)?.0)
    }

    /// Makes the interface of an endpoint that has its addresses; if that fails, they are given back. The families are
    /// those whose default route leads through it.
    pub(super) fn attach_or_undo(
        &mut self,
        network: &Network,
        endpoint: Endpoint,
        others: &[Endpoint],
        netns: &NetNs,
    ) -> Result<(Endpoint, Vec<Family>), NetworkError> {
        let mut attached = endpoint;
        match self.attach(network, &mut attached, others, netns) {
            Ok(defaults) => Ok((attached, defaults)),
            Err(error) => {
                self.undo(&attached, netns);
                Err(error)
            }
        }
    }

    /// Whether a network could give these addresses out, as far as can be known beforehand.
    ///
    /// # Errors
    /// [`NetworkError::NoSuchFamily`], [`NetworkError::AddressOutside`].
    pub fn check_wanted(
        &self,
        network: &NetworkName,
        who: &str,
        wanted: &Wanted,
    ) -> Result<(), NetworkError> {
        check_wanted(&self.records.get(network.as_str())?, &who, wanted)
    }

    /// Switches `lo` on in a namespace that is connected to no network.
    ///
    /// # Errors
    /// The namespace cannot be entered, or the kernel refuses.
    pub fn connect_to_nothing(&mut self, netns: &NetNs) -> Result<(), NetworkError> {
        Devices::switch_loopback_on(netns)
    }

    /// Plans which addresses the request gets and takes them, under one lock.
    pub(super) fn reserve(
        &mut self,
        network: &Network,
        request: &ConnectRequest<'_>,
    ) -> Result<Endpoint, NetworkError> {
        let endpoint = loop {
            let mut book = Book::open(&self.records)?;
            match place(network, request, &mut book)? {
                Placing::At(endpoint) => {
                    if let Err(error) = book.take(&endpoint) {
                        drop(book);
                        self.records.release(&endpoint)?;
                        return Err(error);
                    }
                    break endpoint;
                }
                Placing::After { holders, refusal } => {
                    drop(book);
                    if !self.disconnect_ended(&holders, Some(request.owner))? {
                        return Err(*refusal);
                    }
                }
            }
        };
        // Who removes the network marks its record before looking for endpoints; we wrote ours before
        // looking at that mark. One of the two sees the other.
        let still_there = self.records.load(&network.name)?;
        if still_there.is_none_or(|loaded| loaded.network.phase != Phase::Ready) {
            self.records.release(&endpoint)?;
            let (who, network) = (request.owner.to_string(), network.name.clone());
            return Err(NetworkError::BeingRemoved { who, network });
        }
        Ok(*endpoint)
    }

    /// Makes the interface. Where the name of either end is taken, another one is tried and recorded.
    fn attach(
        &mut self,
        network: &Network,
        endpoint: &mut Endpoint,
        others: &[Endpoint],
        netns: &NetNs,
    ) -> Result<Vec<Family>, NetworkError> {
        let defaults = defaults_beside(others);
        let (mut longer, mut number) = (others.len(), 0);
        let action = format!("connect {} to network {}", endpoint.owner, network.name);
        let made = loop {
            let made = self.devices.call(
                network.driver,
                || action.clone(),
                |driver| driver.attach(network, endpoint, netns, &defaults),
            );
            match made {
                Err(NetworkError::Driver { source: DriverError::DeviceExists(_), .. })
                    if host_if(&endpoint.owner, longer + 1)? != endpoint.host_if =>
                {
                    longer += 1;
                    endpoint.host_if = host_if(&endpoint.owner, longer)?;
                }
                Err(NetworkError::Driver { source: DriverError::InterfaceExists(_), .. })
                    if number < INTERFACES && endpoint.owner.attachment().is_none() =>
                {
                    number += 1;
                    endpoint.container_if = container_if(&endpoint.owner, others, number)?;
                }
                other => break other?,
            }
            let names = (endpoint.host_if.clone(), endpoint.container_if.clone());
            self.records.change(endpoint, |current| (current.host_if, current.container_if) = names)?;
        };
        self.announce(network, endpoint, netns)?;
        for address in &endpoint.addresses {
            let (holder, device) = (&endpoint.owner, &endpoint.host_if);
            tracing::debug!(%holder, address = %address.net, %device, "connected");
        }
        Ok(made)
    }

    /// Neighbours that remember an address from its last owner would send to an Ethernet address that is gone. As
    /// long as every address has but one, there is nothing to announce; from the first address that has a second
    /// one, every container of the network is announced.
    fn announce(
        &mut self,
        network: &Network,
        endpoint: &Endpoint,
        netns: &NetNs,
    ) -> Result<(), NetworkError> {
        let directory = self.records.layout.announcing();
        let mark = directory.join(&network.name);
        let error =
            |source| NetworkError::Io { action: format!("note the use of network {}", network.name), source };
        if !plan::mac_follows_from_address(network, endpoint) {
            store::make_directories(&directory).map_err(error)?;
            store::write_atomic(&mark, b"", Durability::Process).map_err(error)?;
        } else if !mark.exists() {
            return Ok(());
        }
        let action = || format!("announce {} in network {}", endpoint.owner, network.name);
        self.devices.call(network.driver, action, |driver| driver.announce(endpoint, netns))
    }

    /// What publishes and unpublishes.
    pub(super) fn ports(&mut self) -> Ports<'_> {
        Ports { records: &self.records, table: &mut self.table }
    }

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
        let Some(request) = Request::new(endpoints, before, ports) else {
            return before.iter().try_for_each(|endpoint| self.ports().unpublish(endpoint));
        };
        if request.is_empty() {
            return Ok(());
        }
        let mut taken = Vec::new();
        for _ in 0..TRIES {
            let publishing = request.decide(before, &taken)?;
            // The records first: a rebuild of the table by another command then brings these ports too.
            if !self.ports().record(endpoints, &publishing.publisher.ports)? {
                // What has ended publishes nothing, and whoever takes it down sees to the rest.
                return self.ports().record_as_before(endpoints, before);
            }
            let error = match self.ports().commit(&publishing) {
                Ok(()) => {
                    self.table.forget_flows_elsewhere(&publishing.publisher);
                    publishing.warn_of_internal();
                    return self.ports().strip(endpoints, before);
                }
                // Another program took elements away; the records say where the ports are to lead.
                Err(NetworkError::Table { source: CommitError::Missing { .. }, .. })
                    if !before.is_empty() =>
                {
                    self.ports().strip(endpoints, before)?;
                    return self.restore();
                }
                Err(error) => error,
            };
            self.ports().record_as_before(endpoints, before)?;
            let NetworkError::PortPublished { mapping, .. } = &error else { return Err(error) };
            if request.is_choice(mapping) {
                taken = self.table.ports()?;
                continue;
            }
            let dead = self.ports().dead_with(&publishing.publisher.ports)?;
            if !self.disconnect_ended(&dead, Some(&publishing.publisher.owner))? {
                return Err(error);
            }
        }
        request.no_free_port()
    }

    /// Takes the endpoint's ports away, its interface off the network, and gives its address back, in this
    /// order. Goes on after an error and reports the first; what is gone already is no error.
    ///
    /// # Errors
    /// The kernel or the file system refused something.
    pub fn disconnect(&mut self, endpoint: &Endpoint) -> Result<(), NetworkError> {
        let _lock = self.lock_out_rebuilding();
        let unpublished = self.ports().unpublish(endpoint);
        let detached = self.detach(endpoint);
        // An interface that may still be on the bridge keeps its address.
        let released = detached
            .and_then(|()| self.table.forget_flows_of(&self.records, endpoint))
            .and_then(|()| self.records.release(endpoint));
        unpublished.and(released)
    }

    /// Disconnects those of these endpoints whose owners have ended, for somebody, who holds a lock where it is no
    /// container. False if none of them is gone afterwards.
    pub(super) fn disconnect_ended(
        &mut self,
        endpoints: &[Endpoint],
        taker: Option<&Owner>,
    ) -> Result<bool, NetworkError> {
        let mut any = false;
        for endpoint in self.devices.ended(endpoints)? {
            any |= self.disconnect_if_same(&endpoint, taker)?;
        }
        Ok(any)
    }

    /// The record may be an old one: another engine may have attached a new container by the same names since, which has
    /// the same devices. So it is read again, while nobody attaches or takes away by these names.
    fn disconnect_if_same(
        &mut self,
        endpoint: &Endpoint,
        taker: Option<&Owner>,
    ) -> Result<bool, NetworkError> {
        let Some(attachment) = endpoint.owner.attachment() else {
            self.disconnect(endpoint)?;
            return Ok(true);
        };
        let path = attachment.key.lock_file(&self.records.layout);
        let held = match taker {
            Some(Owner::Attachment(own)) => Some(own.key.lock_file(&self.records.layout)),
            Some(Owner::Namespace { namespace, .. }) => {
                Some(self.records.layout.namespace_lock(namespace.inode()))
            }
            Some(Owner::Container { .. }) | None => None,
        };
        // Several share a lock.
        let _lock = if held.as_ref() == Some(&path) {
            None
        } else {
            match try_lock(&path).map_err(|source| {
                let action = format!("lock {}", endpoint.owner);
                NetworkError::Io { action, source }
            })? {
                None => return Ok(false),
                lock => lock,
            }
        };
        let Some(current) = self.records.current(endpoint)? else {
            // Its other address may still be on record.
            self.records.release(endpoint)?;
            return Ok(true);
        };
        if current.is_alive() && !current.may_have_ended() {
            return Ok(false);
        }
        self.disconnect(&current)?;
        Ok(true)
    }

    /// Until the record is gone, nothing may be rebuilt from it: its elements and its port of the bridge would come
    /// back and belong to nobody. The lock is shared: others who disconnect do not wait, only a rebuild does, which
    /// is rare.
    fn lock_out_rebuilding(&self) -> Option<Lock> {
        match self.records.shared_lock() {
            Ok(lock) => Some(lock),
            // The container has ended, even if another command is stuck with the lock: leaving its things behind
            // would be worse.
            Err(error) => {
                tracing::warn!(%error, "cannot lock the networks: disconnecting without the lock");
                None
            }
        }
    }

    fn detach(&mut self, endpoint: &Endpoint) -> Result<(), NetworkError> {
        // The device of a killed container may be gone, and its name may be a living container's.
        if !endpoint.is_alive() {
            let has_it = |other: &Endpoint| other.host_if == endpoint.host_if && other.is_alive();
            if self.records.all_endpoints()?.iter().any(has_it) {
                return Ok(());
            }
        }
        self.devices.call_of(endpoint, |driver| driver.detach(endpoint))
    }

    /// Writes another name of the container into the record of an endpoint and into the comments of its published
    /// ports. An endpoint that is gone meanwhile stays gone.
    ///
    /// # Errors
    /// The file system or the kernel refused.
    pub fn rename(&mut self, endpoint: &Endpoint, container_name: &str) -> Result<(), NetworkError> {
        let rename = |current: &mut Endpoint| *current = current.renamed(container_name);
        match self.records.change(endpoint, rename)? {
            Some(renamed) => self.ports().rename(endpoint, &renamed),
            None => Ok(()),
        }
    }

    /// Takes an endpoint out of a namespace that goes on without it. `others` are those that stay, in order of
    /// connecting: the next of them gets its default routes. Its ports have been moved before.
    ///
    /// # Errors
    /// The kernel or the file system refused something.
    pub fn leave(
        &mut self,
        endpoint: &Endpoint,
        others: &[Endpoint],
        netns: &NetNs,
    ) -> Result<(), NetworkError> {
        let _lock = self.lock_out_rebuilding();
        for family in Family::ALL {
            let first = default_route_of(others, family);
            if let Some(next) = first.filter(|next| next.position > endpoint.position) {
                self.devices.call_of(endpoint, |driver| driver.redirect(endpoint, next, netns, &[family]))?;
            }
        }
        self.devices.call_of(endpoint, |driver| driver.delete_interface(endpoint, netns))?;
        self.table.forget_flows_of(&self.records, endpoint)?;
        self.records.release(endpoint)
    }

    /// Takes back what was made of an endpoint that could not be made whole.
    pub fn undo(&mut self, endpoint: &Endpoint, netns: &NetNs) {
        let undone = self.ports().unpublish(endpoint).and_then(|()| self.leave(endpoint, &[], netns));
        if let Err(error) = undone {
            // The first error is the one to report.
            tracing::warn!(%error, "cannot undo the connection; its address is freed when its owner has ended");
        }
    }

    /// Writes down that a connection was finished.
    ///
    /// # Errors
    /// The file system refused.
    pub fn complete(&self, endpoint: &Endpoint) -> Result<(), NetworkError> {
        self.records.complete(endpoint)
    }

    /// The endpoints that a container has. `earlier` are those that its own record names, if an earlier mydocker
    /// started it, which made no links.
    ///
    /// # Errors
    /// A record cannot be read.
    pub fn endpoints_of_container(
        &self,
        container: &ContainerId,
        earlier: &[(NetworkName, IpAddr)],
    ) -> Result<ContainerEndpoints, NetworkError> {
        let mut found = ContainerEndpoints::default();
        for link in self.records.links_of(container, earlier)? {
            let list = if link.is_made { &mut found.made } else { &mut found.unfinished };
            list.extend(self.records.linked(container, &link)?);
        }
        found.made.sort_by_key(|endpoint| endpoint.position);
        Ok(found)
    }

    /// Disconnects a container from all its networks, because it has ended or is about to. Goes on after an error and
    /// reports the first.
    ///
    /// # Errors
    /// The kernel or the file system refused something.
    pub fn disconnect_container(
        &mut self,
        container: &ContainerId,
        earlier: &[(NetworkName, IpAddr)],
    ) -> Result<(), NetworkError> {
        let links = self.records.links_of(container, earlier)?;
        self.disconnect_links(container, links)
    }

    /// Disconnects a container whose record says that it has ended from networks that it was connected to while it
    /// ended. Connections that are not finished are left alone: whoever makes them looks at that record afterwards.
    ///
    /// # Errors
    /// As [`Networks::disconnect_container`].
    pub fn disconnect_late(&mut self, container: &ContainerId) -> Result<(), NetworkError> {
        let mut links = self.records.links_of(container, &[])?;
        links.retain(|link| link.is_made);
        self.disconnect_links(container, links)
    }

    fn disconnect_links(&mut self, container: &ContainerId, links: Vec<Link>) -> Result<(), NetworkError> {
        let of_container = Links::of_container(&self.records.layout, container);
        let mut first = Ok(());
        for link in links {
            first = first.and(match self.records.linked(container, &link)? {
                Some(endpoint) => self.disconnect(&endpoint),
                // A killed command has not written the record, or not removed the link.
                None => of_container
                    .forget(&link.network, &[link.address])
                    .map_err(|source| no_links(container, source)),
            });
        }
        first.and(of_container.remove_directory().map_err(|source| no_links(container, source)))
    }

    /// Disconnects what a container that is gone, called by this name or id, has left in a network; false if there
    /// is nothing.
    ///
    /// # Errors
    /// The records cannot be read, or the kernel refuses.
    pub fn clear_away_of(&mut self, network: &NetworkName, container: &str) -> Result<bool, NetworkError> {
        let is_meant = |endpoint: &Endpoint| {
            endpoint.owner.name() == container || endpoint.owner.id().as_str() == container
        };
        let mut dead = self.records.endpoints(network)?;
        dead.retain(is_meant);
        self.disconnect_ended(&dead, None)
    }
}

/// The endpoints of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerEndpoints {
    /// Those that are finished, in order of connecting.
    pub made: Vec<Endpoint>,
    /// Those that a command is making, or was killed while making.
    pub unfinished: Vec<Endpoint>,
}
