//! `network reload`: everything is put right, whoever broke it.

use std::path::{Path, PathBuf};

use super::Networks;
use super::driver::PortState;
use super::endpoint::Endpoint;
use super::error::NetworkError;
use super::namespace::{Namespace, Running};
use super::publisher::defaults_beside;
use super::record::{Network, Phase};
use super::restore::Restored;
use super::subnet::Family;
use crate::netns::NetNs;

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
        let mut dead = self.records.all_endpoints()?;
        dead.retain(|endpoint| !endpoint.is_alive());
        self.disconnect_ended(&dead, None)?;
        let _lock = self.records.lock()?;
        for network in self.records.networks()? {
            // The lock is held, so the command that left it half-made or half-removed has ended.
            if network.phase != Phase::Ready {
                self.tear_down(&network)?;
            }
        }
        let Restored { networks, failed } = self.restore_locked()?;
        self.records.renew_addresses(&networks)?;
        let mut living = Vec::new();
        for network in &networks {
            living
                .extend(self.records.living(&network.name)?.into_iter().map(|endpoint| (network, endpoint)));
        }
        // The earlier ones of a namespace first: theirs are the default routes.
        living.sort_by_key(|(_, endpoint)| endpoint.position);
        let endpoints: Vec<Endpoint> = living.iter().map(|(_, endpoint)| endpoint.clone()).collect();
        for (network, endpoint) in living {
            let own = endpoint.owner.foreign_namespace();
            let own = own.filter(|namespace| namespace.is_there()).map(Namespace::path);
            if let Some(netns) = own.or(running.get(endpoint.owner.id()).map(PathBuf::as_path)) {
                let netns = netns.to_owned();
                let of_same = |other: &&Endpoint| {
                    other.owner.id() == endpoint.owner.id() && other.position < endpoint.position
                };
                let earlier: Vec<Endpoint> = endpoints.iter().filter(of_same).cloned().collect();
                self.renew_interface(network, &endpoint, &netns, &defaults_beside(&earlier))?;
            }
        }
        for device in self.devices.abandoned(&self.records)? {
            self.devices.delete_abandoned(&device)?;
        }
        failed.map_or(Ok(networks), Err)
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
        match self.devices.call(network.driver, action, |driver| driver.port_state(network, endpoint))? {
            PortState::Attached => Ok(()),
            PortState::Loose | PortState::Off => {
                self.devices.call(network.driver, action, |driver| driver.reattach(network, endpoint))
            }
            PortState::Missing => {
                let netns = match NetNs::open(netns) {
                    Ok(netns) => netns,
                    Err(error) => {
                        tracing::warn!(owner = %endpoint.owner, %error, "cannot restore its interface");
                        return Ok(());
                    }
                };
                self.devices
                    .call(network.driver, action, |driver| driver.attach(network, endpoint, &netns, defaults))
                    .map(drop)
            }
        }
    }
}
