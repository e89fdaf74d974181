//! A container is disconnected from a network: ports, interface, address, record. Renaming and repairing of
//! endpoints is here as well.

use std::net::IpAddr;

use super::attach::linking;
use super::endpoint::{self, Endpoint};
use super::error::NetworkError;
use super::links::{Link, Links};
use super::publisher::default_route_of;
use super::record;
use super::subnet::{Family, Subnet};
use super::subnet_file::SubnetFile;
use super::{NetworkDriver as _, Networks};
use crate::names::{ContainerId, NetworkName};
use crate::netns::NetNs;
use crate::store::Lock;

impl Networks {
    /// Gives the endpoint's addresses back, but for those that have another holder by now.
    pub(super) fn release_addresses(&self, endpoint: &Endpoint) -> Result<(), NetworkError> {
        let in_use = || self.in_use();
        let mut file = SubnetFile::open(&self.layout, &in_use)?;
        let mut is_own = false;
        // The first one last: that is the one which the link leads to.
        for address in endpoint.addresses.iter().rev() {
            // An address was one of a subnet when it was given out.
            let Ok(subnet) = Subnet::new(address.net) else { continue };
            let holder = endpoint::load(&self.layout, &endpoint.network, address.address())?;
            if holder.is_some_and(|holder| holder.is_of(endpoint.owner.id())) {
                is_own = true;
                file.release(subnet, address.address())?;
                endpoint::remove(&self.layout, &endpoint.network, address.address())?;
            }
        }
        // Still under the lock of the file: the next namespace of the same number writes its link under it.
        let addresses: Vec<_> = endpoint.addresses.iter().map(|address| address.address()).collect();
        // A container's id is never another's, unlike the number of a namespace.
        let forgotten = if is_own || endpoint.owner.namespace().is_none() {
            Links::with(&self.layout, endpoint).forget(&endpoint.network, &addresses)
        } else {
            Ok(())
        };
        drop(file);
        forgotten.map_err(|source| linking(endpoint, source))
    }

    /// Takes the endpoint's ports away, its interface off the network, and gives its address back, in this
    /// order. Goes on after an error and reports the first; what is gone already is no error.
    ///
    /// # Errors
    /// The kernel or the file system refused something.
    pub fn disconnect(&mut self, endpoint: &Endpoint) -> Result<(), NetworkError> {
        let _lock = self.lock_out_rebuilding();
        let unpublished = self.unpublish(endpoint);
        let detached = self.detach(endpoint);
        // An interface that may still be on the bridge keeps its address.
        let released = detached
            .and_then(|()| self.forget_flows_of(endpoint))
            .and_then(|()| self.release_addresses(endpoint));
        unpublished.and(released)
    }

    /// Until the record is gone, nothing may be rebuilt from it: its elements and its port of the bridge would come
    /// back and belong to nobody. The lock is shared: others who disconnect do not wait, only a rebuild does, which
    /// is rare.
    fn lock_out_rebuilding(&self) -> Option<Lock> {
        match self.shared_lock() {
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
        // The device of a killed container may be gone, and its name may be another container's.
        if !endpoint.is_alive() && self.is_anothers_device(endpoint)? {
            return Ok(());
        }
        self.bridge()?
            .disconnect(endpoint)
            .map_err(|source| NetworkError::Driver { action: disconnection(endpoint), source })
    }

    /// Whether a living container has a device of the endpoint's name.
    fn is_anothers_device(&self, endpoint: &Endpoint) -> Result<bool, NetworkError> {
        for network in record::load_all(&self.layout)? {
            let others = endpoint::load_all(&self.layout, &network.name)?;
            let has_it = |other: &Endpoint| other.host_if == endpoint.host_if && other.is_alive();
            if others.iter().any(has_it) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Writes another name of the container into the record of an endpoint and into the comments of its published
    /// ports. An endpoint that is gone meanwhile stays gone.
    ///
    /// # Errors
    /// The file system or the kernel refused.
    pub fn rename(&mut self, endpoint: &Endpoint, container_name: &str) -> Result<(), NetworkError> {
        let renamed = {
            let in_use = || self.in_use();
            // Addresses are taken and given back under this lock.
            let _lock = SubnetFile::open(&self.layout, &in_use)?;
            let Some(address) = endpoint.addresses.first() else { return Ok(()) };
            let current = endpoint::load(&self.layout, &endpoint.network, address.address())?;
            let Some(current) = current.filter(|current| current.is_of(endpoint.owner.id())) else {
                return Ok(());
            };
            let renamed = current.renamed(container_name);
            endpoint::save(&self.layout, &renamed)?;
            renamed
        };
        self.rename_ports(endpoint, &renamed)
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
        let error = |source| NetworkError::Driver { action: disconnection(endpoint), source };
        let _lock = self.lock_out_rebuilding();
        for family in Family::ALL {
            let first = default_route_of(others, family);
            if let Some(next) = first.filter(|next| next.position > endpoint.position) {
                self.bridge()?.redirect(endpoint, next, netns, &[family]).map_err(error)?;
            }
        }
        self.bridge()?.remove(endpoint, netns).map_err(error)?;
        self.forget_flows_of(endpoint)?;
        self.release_addresses(endpoint)
    }

    /// Takes back what was made of an endpoint that could not be made whole.
    pub fn undo(&mut self, endpoint: &Endpoint, netns: &NetNs) {
        let undone = self.unpublish(endpoint).and_then(|()| self.leave(endpoint, &[], netns));
        if let Err(error) = undone {
            // The first error is the one to report.
            tracing::warn!(%error, "cannot undo the connection; its address is freed when its owner has ended");
        }
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
        for link in self.links_of(container, earlier)? {
            let list = if link.is_made { &mut found.made } else { &mut found.unfinished };
            list.extend(self.linked(container, &link)?);
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
        let links = self.links_of(container, earlier)?;
        self.disconnect_links(container, links)
    }

    /// Disconnects a container whose record says that it has ended from networks that it was connected to while it
    /// ended. Connections that are not finished are left alone: whoever makes them looks at that record afterwards.
    ///
    /// # Errors
    /// As [`Networks::disconnect_container`].
    pub fn disconnect_late(&mut self, container: &ContainerId) -> Result<(), NetworkError> {
        let mut links = self.links_of(container, &[])?;
        links.retain(|link| link.is_made);
        self.disconnect_links(container, links)
    }

    fn disconnect_links(&mut self, container: &ContainerId, links: Vec<Link>) -> Result<(), NetworkError> {
        let of_container = Links::of_container(&self.layout, container);
        let mut first = Ok(());
        for link in links {
            first = first.and(match self.linked(container, &link)? {
                Some(endpoint) => self.disconnect(&endpoint),
                // A killed command has not written the record, or not removed the link.
                None => of_container
                    .forget(&link.network, &[link.address])
                    .map_err(|source| no_links(container, source)),
            });
        }
        first.and(of_container.remove_directory().map_err(|source| no_links(container, source)))
    }

    fn links_of(
        &self,
        container: &ContainerId,
        earlier: &[(NetworkName, IpAddr)],
    ) -> Result<Vec<Link>, NetworkError> {
        let links = Links::of_container(&self.layout, container).list();
        let mut links = links.map_err(|source| no_links(container, source))?;
        for (network, address) in earlier {
            if links.iter().all(|link| link.network != *network) {
                links.push(Link { network: network.clone(), address: *address, is_made: true });
            }
        }
        Ok(links)
    }

    /// The container's endpoint that a link leads to.
    fn linked(&self, container: &ContainerId, link: &Link) -> Result<Option<Endpoint>, NetworkError> {
        let found = endpoint::load(&self.layout, &link.network, link.address)?;
        Ok(found.filter(|endpoint| endpoint.is_of(container)))
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
        let mut found = false;
        for dead in endpoint::load_all(&self.layout, network)? {
            if is_meant(&dead) && !dead.is_alive() {
                self.disconnect(&dead)?;
                found = true;
            }
        }
        Ok(found)
    }

    /// The endpoints of a container in a network, found by looking through the network's. Only for
    /// containers whose supervisor died: a living one knows its endpoints.
    ///
    /// # Errors
    /// The records cannot be read.
    pub fn endpoints_of(
        &self,
        network: &NetworkName,
        container: &ContainerId,
    ) -> Result<Vec<Endpoint>, NetworkError> {
        let mut endpoints = endpoint::load_all(&self.layout, network)?;
        endpoints.retain(|endpoint| endpoint.is_of(container));
        Ok(endpoints)
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

fn no_links(container: &ContainerId, source: std::io::Error) -> NetworkError {
    NetworkError::Io { action: format!("find the networks of container {}", container.short()), source }
}

fn disconnection(endpoint: &Endpoint) -> String {
    format!("disconnect {} from network {}", endpoint.owner, endpoint.network)
}
