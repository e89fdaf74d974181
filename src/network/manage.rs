//! Networks are created, listed, inspected and removed here, one at a time under one lock. Container starts
//! do not take that lock.

use std::net::IpAddr;

use super::choose::CreateRequest;
use super::endpoint::{self, Endpoint};
use super::error::NetworkError;
use super::forwarding::{Needed, SwitchedOn};
use super::host::Occupied;
use super::record::{self, AddressBlock, Network, Phase};
use super::subnet::Subnet;
use super::subnet_file::SubnetFile;
use super::{Networks, plan};
use crate::names::{ContainerId, NetworkName};
use crate::nft::{CommitError, Transaction};
use crate::store::{Lock, LockKind};

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
        Ok(record::load_all(&self.layout)?)
    }

    /// One network with its endpoints and addresses.
    ///
    /// # Errors
    /// [`NetworkError::NotFound`], or a file cannot be read.
    pub fn inspect(&self, name: &str) -> Result<Inspection, NetworkError> {
        let network = self.get(name)?;
        let in_use = || self.in_use();
        let mut file = SubnetFile::open(&self.layout, &in_use)?;
        let mut usage = Vec::new();
        for AddressBlock { subnet, .. } in network.blocks().copied() {
            let taken = file.taken(subnet)?;
            let free = subnet.usable().saturating_sub(u32::try_from(taken.len()).unwrap_or(u32::MAX));
            usage.push(Usage { subnet, taken, free });
        }
        drop(file);
        let mut endpoints = endpoint::load_all(&self.layout, &network.name)?;
        endpoints.retain(|endpoint| endpoint.is_alive());
        Ok(Inspection { network, endpoints, usage })
    }

    /// One network's record.
    ///
    /// # Errors
    /// [`NetworkError::NotFound`], or the record cannot be read.
    pub fn get(&self, name: &str) -> Result<Network, NetworkError> {
        // A text that cannot be a name cannot be the name of a network either.
        let parsed: NetworkName = name.parse().map_err(|_| NetworkError::NotFound(name.to_owned()))?;
        let loaded = record::load(&self.layout, &parsed)?;
        loaded.map(|l| l.network).ok_or_else(|| NetworkError::NotFound(name.to_owned()))
    }

    pub(super) fn lock(&self) -> Result<Lock, NetworkError> {
        Lock::exclusive(LockKind::Networks, &self.layout.network_lock())
            .map_err(|source| NetworkError::Io { action: "lock the networks".to_owned(), source })
    }

    /// Keeps the table from being rebuilt meanwhile; held by any number of processes at once.
    pub(super) fn shared_lock(&self) -> Result<Lock, NetworkError> {
        Lock::shared(LockKind::Networks, &self.layout.network_lock())
            .map_err(|source| NetworkError::Io { action: "lock the networks".to_owned(), source })
    }

    /// Creates a network.
    ///
    /// # Errors
    /// Anything that is wrong with the request or that the kernel refuses; nothing is left behind.
    pub fn create(&mut self, request: &CreateRequest) -> Result<Network, NetworkError> {
        self.prepare()?;
        let _lock = self.lock()?;
        self.heal_locked()?;
        self.create_locked(request)
    }

    /// The network for containers that name none; it is created when it is not there.
    ///
    /// # Errors
    /// As [`Networks::create`].
    pub fn default_network(&mut self) -> Result<Network, NetworkError> {
        match self.get(NetworkName::of_default().as_str()) {
            Ok(network) if network.phase == Phase::Ready => return Ok(network),
            Ok(_) | Err(NetworkError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
        self.prepare()?;
        let _lock = self.lock()?;
        let name = NetworkName::of_default();
        // Another command may have made it while this one waited.
        if let Some(loaded) = record::load(&self.layout, &name)?
            && let Some(network) = self.settle(loaded.network)?
        {
            return Ok(network);
        }
        self.create_locked(&CreateRequest::new(name))
    }

    fn create_locked(&mut self, request: &CreateRequest) -> Result<Network, NetworkError> {
        let name = &request.name;
        if let Some(loaded) = record::load(&self.layout, name)?
            && self.settle(loaded.network)?.is_some()
        {
            return Err(NetworkError::NameTaken(name.clone()));
        }
        let network = self.design(request)?;
        record::save(&self.layout, &network)?;
        let built = self.build(&network).and_then(|()| {
            let ready = Network { phase: Phase::Ready, ..network.clone() };
            record::save(&self.layout, &ready)?;
            Ok(ready)
        });
        built.inspect_err(|_| {
            // The first error is the one to report.
            if let Err(error) = self.tear_down(&network) {
                tracing::warn!(network = %network.name, %error, "cannot undo the creation; the next command will");
            }
        })
    }

    /// The network that is to be created; nothing of it is made yet.
    pub(super) fn design(&mut self, request: &CreateRequest) -> Result<Network, NetworkError> {
        let name = &request.name;
        let networks = record::load_all(&self.layout)?;
        let occupied = Occupied::find(&networks, self.bridge()?.socket()).map_err(|source| {
            NetworkError::Driver { action: format!("create network {name}"), source: source.into() }
        })?;
        let (ipv4, ipv6) = request.choose_blocks(&occupied)?;
        let id = ContainerId::generate()
            .map_err(|source| NetworkError::Io { action: "make a random id".to_owned(), source })?;
        let network = Network {
            name: name.clone(),
            bridge: record::bridge_of(name, &id)?,
            id,
            created: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Nanos, true),
            driver: request.driver,
            ipv4,
            ipv6,
            internal: request.internal,
            isolated: request.isolated,
            mode: request.mode,
            masquerade: request.masquerade,
            // Nothing is routed through an internal network, so that no honest packet comes from elsewhere.
            check_source: request.check_source || request.internal,
            mtu: request.mtu,
            labels: request.labels.clone(),
            reserved: request.reserved.clone(),
            phase: Phase::Creating,
        };
        if self.device_exists(&network)? {
            return Err(NetworkError::DeviceTaken { name: name.clone(), device: network.bridge });
        }
        Ok(network)
    }

    fn device_exists(&mut self, network: &Network) -> Result<bool, NetworkError> {
        match self.driver(network.driver)?.exists(network) {
            Ok(exists) => Ok(exists),
            Err(super::DriverError::NotABridge(_)) => Ok(true),
            Err(source) => {
                Err(NetworkError::Driver { action: format!("create network {}", network.name), source })
            }
        }
    }

    /// Makes what the record says: addresses, table, forwarding, devices. The table comes before the
    /// devices, so that no packet ever passes unguarded.
    fn build(&mut self, network: &Network) -> Result<(), NetworkError> {
        let in_use = || self.in_use();
        // Whatever an earlier network left taken in the same subnet is void: the record is new.
        let mut file = SubnetFile::open(&self.layout, &in_use)?;
        for block in network.blocks() {
            file.reset(block.subnet, network.never_given_out(block))?;
            tracing::debug!(network = %network.name, gateway = %block.gateway_net(), "took the gateway's address");
        }
        drop(file);
        let needed = Needed::by([network]);
        let (forwarding, news) = SwitchedOn::decide(&self.layout, needed).map_err(|source| {
            NetworkError::Io { action: "note the state of forwarding".to_owned(), source }
        })?;
        self.add_elements(network, &forwarding, news)?;
        tracing::debug!(network = %network.name, "added the network to the table inet mydocker");
        forwarding.switch_on(needed)?;
        let action = format!("create network {}", network.name);
        let driver = self.driver(network.driver)?;
        driver.create(network).map_err(|source| NetworkError::Driver { action, source })?;
        tracing::debug!(network = %network.name, bridge = %network.bridge, "made the bridge and switched it on");
        Ok(())
    }

    /// One transaction: the network's elements, and the whole table where it is missing.
    fn add_elements(
        &mut self,
        network: &Network,
        forwarding: &SwitchedOn,
        guard_is_new: bool,
    ) -> Result<(), NetworkError> {
        let mut elements = Transaction::new();
        if guard_is_new {
            elements.renew_forwarding_guards(forwarding.skeleton());
        }
        for element in plan::network_elements(network) {
            elements.create(element);
        }
        match self.nft()?.commit(elements) {
            Ok(()) => Ok(()),
            // Also where elements of a half-removed network are left over.
            Err(CommitError::Missing { .. } | CommitError::Exists { .. }) => {
                let others = record::load_all(&self.layout)?;
                self.rebuild_table(&others, forwarding)
            }
            Err(source) => {
                Err(NetworkError::Table { action: format!("create network {}", network.name), source })
            }
        }
    }

    /// Removes a network.
    ///
    /// # Errors
    /// [`NetworkError::NotFound`], [`NetworkError::InUse`], or the kernel refuses: then the record stays, and
    /// removing it again goes on where this stopped.
    pub fn remove(&mut self, name: &str) -> Result<(), NetworkError> {
        self.prepare()?;
        let _lock = self.lock()?;
        let network = self.get(name)?;
        if let Err(error) = self.heal_locked() {
            // What is to go goes all the same.
            tracing::warn!(%error, "cannot restore all networks");
        }
        // From here on nothing can be connected to it; what was connected before is found among the endpoints.
        record::save(&self.layout, &Network { phase: Phase::Removing, ..network.clone() })?;
        let mut endpoints = endpoint::load_all(&self.layout, &network.name)?;
        endpoints.retain(|endpoint| endpoint.is_alive());
        if !endpoints.is_empty() {
            record::save(&self.layout, &Network { phase: Phase::Ready, ..network.clone() })?;
            let containers = endpoints.iter().map(|endpoint| endpoint.owner.to_string()).collect();
            return Err(NetworkError::InUse { name: network.name, containers });
        }
        self.tear_down(&network)
    }

    /// Ends what a killed command has begun: a network that is half-made, or half-removed, goes. One whose removal
    /// got no further than the mark, with containers connected to it, stays. To be called with the lock held: the
    /// command that left it so must have ended. Returns the network if there is one afterwards.
    ///
    /// # Errors
    /// The kernel refuses, or a record cannot be read or written.
    pub(super) fn settle(&mut self, network: Network) -> Result<Option<Network>, NetworkError> {
        if network.phase == Phase::Ready {
            return Ok(Some(network));
        }
        if endpoint::load_all(&self.layout, &network.name)?.iter().any(Endpoint::is_alive) {
            let network = Network { phase: Phase::Ready, ..network };
            record::save(&self.layout, &network)?;
            return Ok(Some(network));
        }
        self.tear_down(&network)?;
        Ok(None)
    }

    /// Takes everything of a network away; what is gone already is no error. The record goes last.
    pub(super) fn tear_down(&mut self, network: &Network) -> Result<(), NetworkError> {
        let action = || format!("remove network {}", network.name);
        self.driver(network.driver)?
            .delete(network)
            .map_err(|source| NetworkError::Driver { action: action(), source })?;
        let others: Vec<Network> =
            record::load_all(&self.layout)?.into_iter().filter(|other| other.name != network.name).collect();
        if others.is_empty() {
            self.tear_down_table()?;
        } else {
            self.delete_elements(network, &others)?;
        }
        for stale in endpoint::load_all(&self.layout, &network.name)? {
            self.release_addresses(&stale)?;
        }
        let in_use = || self.in_use();
        let mut file = SubnetFile::open(&self.layout, &in_use)?;
        for block in network.blocks() {
            for address in network.never_given_out(block) {
                file.release(block.subnet, address)?;
            }
        }
        drop(file);
        endpoint::remove_all(&self.layout, &network.name)?;
        record::remove(&self.layout, &network.name)?;
        tracing::debug!(network = %network.name, "removed bridge, elements, address and record");
        Ok(())
    }

    fn delete_elements(&mut self, network: &Network, others: &[Network]) -> Result<(), NetworkError> {
        let mut elements = Transaction::new();
        for element in plan::network_elements(network) {
            elements.delete(element);
        }
        match self.nft()?.commit(elements) {
            Ok(()) => Ok(()),
            // Some of them are gone already; what must remain follows from the records.
            Err(CommitError::Missing { .. }) => self.rebuild_table(others, &SwitchedOn::load(&self.layout)),
            Err(source) => {
                Err(NetworkError::Table { action: format!("remove network {}", network.name), source })
            }
        }
    }

    /// With the last network the table goes, and forwarding if it was mydocker that switched it on; first
    /// the forwarding, so that the host is no router for a moment.
    pub(super) fn tear_down_table(&mut self) -> Result<(), NetworkError> {
        SwitchedOn::load(&self.layout).undo(&self.layout)?;
        let mut transaction = Transaction::new();
        transaction.delete_table();
        match self.nft()?.commit(transaction) {
            Ok(()) | Err(CommitError::Missing { .. }) => Ok(()),
            Err(source) => {
                Err(NetworkError::Table { action: "delete the table inet mydocker".to_owned(), source })
            }
        }
    }

    /// The table as the kernel holds it, in nft's own syntax; `None` when there is none.
    ///
    /// # Errors
    /// The kernel refuses to list it.
    pub fn rules(&mut self) -> Result<Option<String>, NetworkError> {
        self.nft()?.dump().map_err(|source| NetworkError::Table {
            action: "read the table inet mydocker".to_owned(),
            source,
        })
    }
}
