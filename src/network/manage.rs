//! Networks are created, listed, inspected and removed here, one at a time under one lock. Container starts
//! do not take that lock.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::Networks;
use super::choose::CreateRequest;
use super::endpoint::Endpoint;
use super::error::NetworkError;
use super::forwarding::Needed;
use super::host::Occupied;
use super::plan::Creation;
use super::record::{self, AddressBlock, Network, Phase};
use super::roots::refuse_others;
use super::subnet::Subnet;
use crate::names::{ContainerId, NetworkName};
use crate::nft::{CommitError, Transaction};

/// A network with all that is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The record.
    pub network: Network,
    /// The endpoints of living containers.
    pub endpoints: Vec<Endpoint>,
    /// The addresses of each subnet.
    pub usage: Vec<Usage>,
}

/// What is taken of a subnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// The subnet.
    pub subnet: Subnet,
    /// The addresses that are taken, the gateway among them.
    pub taken: Vec<IpAddr>,
    /// How many more containers fit.
    pub free: u32,
}

impl Networks {
    /// The recorded networks, by name.
    ///
    /// # Errors
    /// A record cannot be read.
    pub fn list(&self) -> Result<Vec<Network>, NetworkError> {
        Ok(self.records.networks()?)
    }

    /// One network with its endpoints and addresses.
    ///
    /// # Errors
    /// [`NetworkError::NotFound`], or a file cannot be read.
    pub fn inspect(&self, name: &str) -> Result<Inspection, NetworkError> {
        let network = self.records.get(name)?;
        let mut file = self.records.addresses()?;
        let mut usage = Vec::new();
        for AddressBlock { subnet, .. } in network.blocks().copied() {
            let taken = file.taken(subnet)?;
            let free = subnet.usable().saturating_sub(u32::try_from(taken.len()).unwrap_or(u32::MAX));
            usage.push(Usage { subnet, taken, free });
        }
        drop(file);
        let endpoints = self.records.living(&network.name)?;
        Ok(Inspection { network, endpoints, usage })
    }

    /// Creates a network.
    ///
    /// # Errors
    /// Anything that is wrong with the request or that the kernel refuses; nothing is left behind.
    pub fn create(&mut self, request: &CreateRequest) -> Result<Network, NetworkError> {
        self.prepare()?;
        let _lock = self.records.lock()?;
        self.heal_locked()?;
        self.create_locked(request)
    }

    /// The network for containers that name none; it is created when it is not there.
    ///
    /// # Errors
    /// As [`Networks::create`].
    pub fn default_network(&mut self) -> Result<Network, NetworkError> {
        match self.records.get(NetworkName::of_default().as_str()) {
            Ok(network) if network.phase == Phase::Ready => return Ok(network),
            Ok(_) | Err(NetworkError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
        self.prepare()?;
        let _lock = self.records.lock()?;
        let name = NetworkName::of_default();
        // Another command may have made it while this one waited.
        if let Some(loaded) = self.records.load(&name)?
            && let Some(network) = self.finish_interrupted(loaded.network)?
        {
            return Ok(network);
        }
        self.create_locked(&CreateRequest::new(name))
    }

    fn create_locked(&mut self, request: &CreateRequest) -> Result<Network, NetworkError> {
        if let Some(loaded) = self.records.load(&request.name)? {
            // What a killed command has left of it is not in the way.
            self.finish_interrupted(loaded.network)?;
        }
        let creation = self.design(request)?;
        let network = self.records.save_as(&creation.network, Phase::Creating)?;
        let built = self.build(&creation).and_then(|()| Ok(self.records.save_as(&network, Phase::Ready)?));
        built.inspect_err(|_| {
            // The first error is the one to report.
            if let Err(error) = self.tear_down(&network) {
                tracing::warn!(network = %network.name, %error, "cannot undo the creation; the next command will");
            }
        })
    }

    /// The network that is to be created; nothing of it is made yet.
    ///
    /// # Errors
    /// [`NetworkError::NameTaken`], or anything that is wrong with the request.
    pub(super) fn design(&mut self, request: &CreateRequest) -> Result<Creation, NetworkError> {
        let name = &request.name;
        let recorded = self.records.load(name)?;
        if let Some(loaded) = &recorded
            && self.records.survives_cleanup(&loaded.network)?
        {
            return Err(NetworkError::NameTaken(name.clone()));
        }
        refuse_others(&self.records.layout, &mut self.table)?;
        let networks = self.records.networks()?;
        let occupied = match request.origin {
            Some(_) if !request.subnets.is_empty() => Occupied::by(&networks),
            _ => self.devices.occupied(name.as_str(), &networks)?,
        };
        let (ipv4, ipv6) = request.choose_blocks(&occupied)?;
        let id = ContainerId::generate()
            .map_err(|source| NetworkError::Io { action: "make a random id".to_owned(), source })?;
        let network = Network {
            name: name.clone(),
            bridge: request.bridge.clone().map_or_else(|| record::bridge_of(name, &id), Ok)?,
            id,
            created: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Nanos, true),
            driver: request.driver,
            ipv4,
            ipv6,
            internal: request.internal,
            isolated: request.isolated,
            isolated_later: false,
            apart: request.apart,
            mode: request.mode,
            masquerade: request.masquerade,
            // Nothing is routed through an internal network, so that no honest packet comes from elsewhere.
            check_source: request.check_source || request.internal,
            mtu: request.mtu,
            labels: request.labels.clone(),
            reserved: request.reserved.clone(),
            origin: request.origin.clone(),
            phase: Phase::Creating,
        };
        if let Some(other) =
            networks.iter().find(|other| other.bridge == network.bridge && other.name != *name)
        {
            let (device, other) = (network.bridge, other.name.clone());
            return Err(NetworkError::BridgeTaken { name: name.clone(), device, other });
        }
        if self.devices.is_device_taken(&network)? {
            return Err(NetworkError::DeviceTaken { name: name.clone(), device: network.bridge });
        }
        let (forwarding, is_guard_new) = self.foresee_forwarding([&network])?;
        Ok(Creation { network, forwarding, is_guard_new })
    }

    /// Makes what was planned: addresses, table, forwarding, devices. The table comes before the
    /// devices, so that no packet ever passes unguarded.
    fn build(&mut self, creation: &Creation) -> Result<(), NetworkError> {
        let Creation { network, forwarding, is_guard_new } = creation;
        // Whatever an earlier network left taken in the same subnet is void: the record is new.
        let mut file = self.records.addresses()?;
        for block in network.blocks() {
            file.reset(block.subnet, network.never_given_out(block))?;
            tracing::debug!(network = %network.name, gateway = %block.gateway_net(), "took the gateway's address");
        }
        drop(file);
        self.save_forwarding(forwarding, *is_guard_new)?;
        let action = || format!("create network {}", network.name);
        let mut transaction = Transaction::new();
        creation.add_to(&mut transaction);
        match self.table.commit(transaction, action) {
            // Also where elements of a half-removed network are left over.
            Err(NetworkError::Table {
                source: CommitError::Missing { .. } | CommitError::Exists { .. },
                ..
            }) => {
                let all = self.records.networks()?;
                self.rebuild_table(&all, forwarding)?;
            }
            other => other?,
        }
        tracing::debug!(network = %network.name, "added the network to the table inet mydocker");
        forwarding.switch_on(Needed::by([network]))?;
        self.devices.call(network.driver, action, |driver| driver.make(network))?;
        tracing::debug!(network = %network.name, bridge = %network.bridge, "made the bridge and switched it on");
        Ok(())
    }

    /// Removes a network.
    ///
    /// # Errors
    /// [`NetworkError::NotFound`], [`NetworkError::InUse`], or the kernel refuses: then the record stays, and
    /// removing it again goes on where this stopped.
    pub fn remove(&mut self, name: &str) -> Result<(), NetworkError> {
        self.prepare()?;
        let _lock = self.records.lock()?;
        let network = self.records.get(name)?;
        if let Err(error) = self.heal_locked() {
            // What is to go goes all the same.
            tracing::warn!(%error, "cannot restore all networks");
        }
        // From here on nothing can be connected to it; what was connected before is found among the endpoints.
        let marked = self.records.save_as(&network, Phase::Removing)?;
        if let Err(error) = self.records.refuse_in_use(&marked) {
            self.records.save_as(&network, Phase::Ready)?;
            return Err(error);
        }
        self.tear_down(&network)
    }

    /// Removes the networks that are not in `kept` and that nothing is connected to, but for the default network,
    /// which comes back by itself. Returns their names.
    ///
    /// # Errors
    /// A record cannot be read, or the kernel refuses; those before are removed.
    pub fn prune(
        &mut self,
        kept: &BTreeSet<NetworkName>,
        wanted: impl Fn(&Network) -> bool,
    ) -> Result<Vec<NetworkName>, NetworkError> {
        let mut removed = Vec::new();
        for network in self.records.removable(kept, wanted)? {
            match self.remove(network.name.as_str()) {
                Ok(()) => removed.push(network.name),
                // Another command was faster: it connected something to it, or removed it.
                Err(NetworkError::InUse { .. } | NetworkError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }
}
