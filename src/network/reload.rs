//! The kernel is brought to what the records say, all at once, and what belongs to no network or container is
//! removed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::endpoint::{self, Endpoint};
use super::error::NetworkError;
use super::namespace::Namespace;
use super::publisher::defaults_beside;
use super::record::{self, Network, Phase};
use super::restore::Restored;
use super::subnet::Family;
use super::subnet_file::SubnetFile;
use super::{Networks, PortState};
use crate::names::{ContainerId, IfName};
use crate::netns::NetNs;

/// The running containers, and where the network namespace of each can be opened.
pub type Running = BTreeMap<ContainerId, PathBuf>;

impl Networks {
    /// Brings the kernel to exactly what the records say: the table in one transaction, bridges, addresses,
    /// parameters, the interfaces of running containers. What half-made and half-removed networks and dead
    /// containers have left is removed. Returns the networks.
    ///
    /// Running containers are not disturbed, and others may be started and stopped meanwhile.
    ///
    /// # Errors
    /// A record cannot be read, or the kernel refuses. What was done before stays done.
    pub fn reload(&mut self, running: &Running) -> Result<Vec<Network>, NetworkError> {
        self.prepare()?;
        for network in record::load_all(&self.layout)? {
            for dead in endpoint::load_all(&self.layout, &network.name)? {
                if !dead.is_alive() {
                    self.disconnect(&dead)?;
                }
            }
        }
        let _lock = self.lock()?;
        for network in record::load_all(&self.layout)? {
            // The lock is held, so the command that left it half-made or half-removed has ended.
            if network.phase != Phase::Ready {
                self.tear_down(&network)?;
            }
        }
        let Restored { networks, failed } = self.restore_locked()?;
        self.renew_addresses(&networks)?;
        let mut living = Vec::new();
        for network in &networks {
            living.extend(self.living_endpoints(network)?.into_iter().map(|endpoint| (network, endpoint)));
        }
        // The earlier ones of a namespace first: theirs are the default routes.
        living.sort_by_key(|(_, endpoint)| endpoint.position);
        let endpoints: Vec<Endpoint> = living.iter().map(|(_, endpoint)| endpoint.clone()).collect();
        for (network, endpoint) in living {
            let own = endpoint.owner.namespace().map(Namespace::path);
            if let Some(netns) = own.or(running.get(endpoint.owner.id()).map(PathBuf::as_path)) {
                let netns = netns.to_owned();
                let of_same = |other: &&Endpoint| {
                    other.owner.id() == endpoint.owner.id() && other.position < endpoint.position
                };
                let earlier: Vec<Endpoint> = endpoints.iter().filter(of_same).cloned().collect();
                self.renew_interface(network, &endpoint, &netns, &defaults_beside(&earlier))?;
            }
        }
        self.delete_abandoned_devices()?;
        failed.map_or(Ok(networks), Err)
    }

    /// Marks exactly those addresses as taken that are in use.
    fn renew_addresses(&self, networks: &[Network]) -> Result<(), NetworkError> {
        let in_use = || self.in_use();
        // Every command that takes an address or gives it back holds this lock while it writes or removes the
        // record.
        let mut file = SubnetFile::open(&self.layout, &in_use)?;
        let used = self.in_use()?;
        for block in networks.iter().flat_map(Network::blocks) {
            let Some((_, mut wanted)) = used.iter().find(|(subnet, _)| *subnet == block.subnet).cloned()
            else {
                continue;
            };
            wanted.retain(|address| block.subnet.number(*address).is_some());
            let taken: BTreeSet<_> = file.taken(block.subnet)?.into_iter().collect();
            if taken != wanted.iter().copied().collect() {
                file.reset(block.subnet, wanted)?;
            }
        }
        Ok(())
    }

    /// Puts the interface of a running container right: that of one that is just starting or ending is left
    /// alone, because it is no running one.
    fn renew_interface(
        &mut self,
        network: &Network,
        endpoint: &Endpoint,
        netns: &Path,
        defaults: &[Family],
    ) -> Result<(), NetworkError> {
        let action = || format!("restore the interface of {}", endpoint.owner);
        let error = |source| NetworkError::Driver { action: action(), source };
        let driver = self.driver(network.driver)?;
        match driver.port_state(network, endpoint).map_err(error)? {
            PortState::Attached => Ok(()),
            PortState::Loose | PortState::Off => driver.reattach(network, endpoint).map_err(error),
            PortState::Missing => {
                let netns = match NetNs::open(netns) {
                    Ok(netns) => netns,
                    Err(error) => {
                        tracing::warn!(owner = %endpoint.owner, %error, "cannot restore its interface");
                        return Ok(());
                    }
                };
                self.driver(network.driver)?.connect(network, endpoint, &netns, defaults).map_err(error)
            }
        }
    }

    /// Deletes the host's ends of pairs that no record knows: their namespaces were leaked.
    fn delete_abandoned_devices(&mut self) -> Result<(), NetworkError> {
        for device in self.abandoned_devices()? {
            let action = || format!("delete the abandoned device {device}");
            let deleted = self.bridge()?.delete_device(&device);
            deleted.map_err(|source| NetworkError::Driver { action: action(), source })?;
        }
        Ok(())
    }

    /// The host's ends of pairs that no record knows.
    pub(super) fn abandoned_devices(&mut self) -> Result<Vec<IfName>, NetworkError> {
        // The devices first: a record is written before the device is made.
        let ports = self.bridge()?.container_ports().map_err(|source| NetworkError::Driver {
            action: "list the devices of containers".to_owned(),
            source,
        })?;
        let mut known = BTreeSet::new();
        for network in record::load_all(&self.layout)? {
            known.extend(endpoint::load_all(&self.layout, &network.name)?.into_iter().map(|e| e.host_if));
        }
        Ok(ports.into_iter().filter(|port| !known.contains(port)).collect())
    }
}
