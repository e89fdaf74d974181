//! Bringing the kernel back to what the records say: on the first use after a reboot, and after the table or
//! a bridge was taken away.

use std::time::Duration;

use super::endpoint::{self, Endpoint};
use super::error::NetworkError;
use super::forwarding::{Needed, SwitchedOn};
use super::publisher::Publisher;
use super::record::{self, Loaded, Network, Phase, RecordError};
use super::subnet_file::{InUse, SubnetFile};
use super::{Networks, PortState, plan};
use crate::names::NetworkName;
use crate::nft::{CommitError, Element, Presence, Transaction};
use crate::process;
use crate::store::{self, Durability};

/// How often the table is rebuilt again because the rule set was changed meanwhile, or because two records claim
/// the same port.
const REBUILD_TRIES: u32 = 1000;
const REBUILD_PAUSE: Duration = Duration::from_millis(5);

impl Networks {
    /// To be called before networks are used or changed: clears away what an earlier boot left, and takes
    /// over what other programs recorded.
    pub(super) fn prepare(&mut self) -> Result<(), NetworkError> {
        let error = |action: &str, source| NetworkError::Io { action: action.to_owned(), source };
        let marker = self.layout.run_root().join("boot-id");
        let boot = process::boot_id().map_err(|e| error("read the boot id", e))?;
        let is_marked = || {
            let known = store::read_if_exists(&marker).map_err(|e| error("read the boot marker", e))?;
            Ok::<_, NetworkError>(known.as_deref() == Some(boot.as_bytes()))
        };
        if is_marked()? {
            return Ok(());
        }
        let _lock = self.lock()?;
        // Asked again: another command may have done it while this one waited, and even have connected something.
        if is_marked()? {
            return Ok(());
        }
        // An endpoint of another boot has no interface any more, even if its owner's pid is in use again.
        store::remove_tree_if_exists(&self.layout.endpoints())
            .and_then(|()| store::remove_tree_if_exists(&self.layout.connected_containers()))
            .and_then(|()| store::remove_tree_if_exists(&self.layout.namespaces()))
            .and_then(|()| store::remove_tree_if_exists(&self.layout.announcing()))
            .and_then(|()| store::remove_if_exists(&self.layout.forwarding()))
            .map_err(|e| error("clear the run directory", e))?;
        for name in store::list(&self.layout.networks()).map_err(|e| error("list the networks", e))? {
            let Ok(name) = name.parse::<NetworkName>() else { continue };
            if let Some(loaded) = record::load(&self.layout, &name)? {
                let network = self.adopt(loaded)?;
                let in_use = || self.in_use();
                let mut file = SubnetFile::open(&self.layout, &in_use)?;
                for block in network.blocks() {
                    file.reset(block.subnet, network.never_given_out(block))?;
                }
            }
        }
        store::write_atomic(&marker, boot.as_bytes(), Durability::Process)
            .map_err(|e| error("write the boot marker", e))
    }

    /// Takes over another program's record. The addresses that it has marked stay taken for ever: mydocker cannot
    /// know when they become free.
    fn adopt(&self, loaded: Loaded) -> Result<Network, NetworkError> {
        let Loaded { mut network, foreign } = loaded;
        if foreign {
            let in_use = || self.in_use();
            let mut file = SubnetFile::open(&self.layout, &in_use)?;
            let mut reserved = Vec::new();
            for block in network.blocks() {
                reserved
                    .extend(file.taken(block.subnet)?.into_iter().filter(|taken| *taken != block.gateway));
            }
            drop(file);
            network.reserved = reserved;
            record::save(&self.layout, &network)?;
        }
        Ok(network)
    }

    /// Which addresses are in use according to the records: what the address file is rebuilt from.
    pub(super) fn in_use(&self) -> Result<InUse, RecordError> {
        let mut all = InUse::new();
        for network in record::load_all(&self.layout)? {
            let endpoints = endpoint::load_all(&self.layout, &network.name)?;
            for block in network.blocks() {
                let mut taken = network.never_given_out(block);
                let living = endpoints.iter().filter(|endpoint| endpoint.is_alive());
                taken.extend(living.flat_map(|endpoint| &endpoint.addresses).map(|a| a.address()));
                all.push((block.subnet, taken));
            }
        }
        Ok(all)
    }

    /// The named network, with everything of it in the kernel: what is missing there is put back first.
    ///
    /// # Errors
    /// [`NetworkError::NotFound`], or the kernel refuses.
    pub(super) fn usable(&mut self, name: &NetworkName) -> Result<Network, NetworkError> {
        self.prepare()?;
        let not_found = || NetworkError::NotFound(name.to_string());
        let loaded = record::load(&self.layout, name)?.ok_or_else(not_found)?;
        if loaded.foreign {
            let _lock = self.lock()?;
            self.adopt(loaded.clone())?;
        }
        let mut network = loaded.network;
        if network.phase != Phase::Ready {
            // A command that is making or removing it has the lock.
            let _lock = self.lock()?;
            let loaded = record::load(&self.layout, name)?.ok_or_else(not_found)?;
            network = self.settle(loaded.network)?.ok_or_else(not_found)?;
        }
        if !self.is_intact(&network)? {
            self.restore()?;
        }
        Ok(network)
    }

    /// Whether the network's part of the kernel's state is as it should be, and what all networks share. A few
    /// look-ups, however many networks and containers there are; of the ports of other containers it knows nothing.
    fn is_intact(&mut self, network: &Network) -> Result<bool, NetworkError> {
        let table = |source| NetworkError::Table {
            action: format!("look for network {} in the table", network.name),
            source,
        };
        let skeleton = SwitchedOn::load(&self.layout).skeleton();
        if !self.nft()?.has_chains(skeleton).map_err(table)? {
            return Ok(false);
        }
        for element in plan::network_elements(network) {
            if self.nft()?.contains(&element).map_err(table)? != Presence::Present {
                return Ok(false);
            }
        }
        let action = format!("use network {}", network.name);
        let faults = self.driver(network.driver)?.faults(network);
        let faults = faults.map_err(|source| NetworkError::Driver { action, source })?;
        let forwards = Needed::by([network]).is_on().map_err(|source| NetworkError::Io {
            action: "read the state of forwarding".to_owned(),
            source,
        })?;
        Ok(faults.is_empty() && forwards)
    }

    /// Rebuilds table and bridges from the records.
    pub(super) fn restore(&mut self) -> Result<(), NetworkError> {
        let _lock = self.lock()?;
        // A network that cannot be restored does not keep others from being used; whoever uses it gets the error.
        if let Some(error) = self.restore_locked()?.failed {
            tracing::warn!(%error, "cannot restore all networks");
        }
        Ok(())
    }

    /// For commands that change networks and have the lock: restores everything where the table was taken away.
    pub(super) fn heal_locked(&mut self) -> Result<(), NetworkError> {
        let skeleton = SwitchedOn::load(&self.layout).skeleton();
        let has_chains = self.nft()?.has_chains(skeleton).map_err(|source| NetworkError::Table {
            action: "look for the table inet mydocker".to_owned(),
            source,
        })?;
        let has_networks =
            || record::load_all(&self.layout).map(|all| all.iter().any(|n| n.phase == Phase::Ready));
        if !has_chains
            && has_networks()?
            && let Some(error) = self.restore_locked()?.failed
        {
            tracing::warn!(%error, "cannot restore all networks");
        }
        Ok(())
    }

    /// Rebuilds table, bridges and their parameters from the records, and puts interfaces that have lost their
    /// bridge back on it. The caller has the lock.
    ///
    /// # Errors
    /// The table or forwarding cannot be restored, or a record cannot be read.
    pub(super) fn restore_locked(&mut self) -> Result<Restored, NetworkError> {
        tracing::debug!("restoring the kernel's state from the records");
        let mut networks = Vec::new();
        for network in record::load_all(&self.layout)? {
            networks.extend(self.settle(network)?);
        }
        let Some(first) = networks.first() else {
            self.tear_down_table()?;
            return Ok(Restored { networks, failed: None });
        };
        let needed = Needed::by(&networks);
        let (forwarding, _) = SwitchedOn::decide(&self.layout, needed).map_err(|source| {
            NetworkError::Io { action: "note the state of forwarding".to_owned(), source }
        })?;
        let any = Element::Bridge(first.bridge.clone());
        let before = self.nft()?.contains(&any).map_err(|source| NetworkError::Table {
            action: "look for the table inet mydocker".to_owned(),
            source,
        })?;
        self.rebuild_table(&networks, &forwarding)?;
        if before == Presence::TableMissing {
            self.forget_flows_without_rules(&networks);
        }
        forwarding.switch_on(needed)?;
        let mut failed = None;
        for network in &networks {
            if let Err(error) = self.restore_devices(network) {
                failed = failed.or(Some(error));
            }
        }
        Ok(Restored { networks, failed })
    }

    fn restore_devices(&mut self, network: &Network) -> Result<(), NetworkError> {
        let error = |source| {
            let action = format!("restore network {}", network.name);
            NetworkError::Driver { action, source }
        };
        self.driver(network.driver)?.create(network).map_err(error)?;
        for endpoint in self.living_endpoints(network)? {
            let driver = self.driver(network.driver)?;
            if driver.port_state(network, &endpoint).map_err(error)? == PortState::Loose {
                driver.reattach(network, &endpoint).map_err(error)?;
            }
        }
        Ok(())
    }

    /// Replaces the table by what the records of `networks` and their living endpoints say, in one
    /// transaction. Connections that are being translated go on.
    pub(super) fn rebuild_table(
        &mut self,
        networks: &[Network],
        forwarding: &SwitchedOn,
    ) -> Result<(), NetworkError> {
        let error =
            |source| NetworkError::Table { action: "rebuild the table inet mydocker".to_owned(), source };
        for attempt in 1.. {
            // Ports that are published between reading the records and replacing the table would be lost.
            let generation = self.nft()?.generation().map_err(error)?;
            let mut transaction = self.rebuilding(networks, forwarding)?;
            transaction.only_at(generation);
            match self.nft()?.commit(transaction) {
                Ok(()) => break,
                Err(CommitError::Stale) if attempt < REBUILD_TRIES => {}
                // Two containers that are being started want the same port: one of them is about to find out, and
                // to take it out of its record.
                Err(CommitError::Exists { .. }) if attempt < REBUILD_TRIES => {
                    std::thread::sleep(REBUILD_PAUSE);
                }
                Err(source) => return Err(error(source)),
            }
        }
        Ok(())
    }

    /// The transaction that makes the table anew.
    pub(super) fn rebuilding(
        &self,
        networks: &[Network],
        forwarding: &SwitchedOn,
    ) -> Result<Transaction, NetworkError> {
        let mut transaction = Transaction::new();
        transaction.rebuild(forwarding.skeleton());
        transaction.extend(self.elements(networks)?);
        Ok(transaction)
    }

    /// All elements that there should be: those of these networks and of the living endpoints in them.
    pub(super) fn elements(&self, networks: &[Network]) -> Result<Vec<Element>, NetworkError> {
        let mut elements = Vec::new();
        let mut endpoints = Vec::new();
        for network in networks {
            elements.extend(plan::network_elements(network));
            endpoints.extend(self.living_endpoints(network)?);
        }
        for endpoint in plan::without_twice(endpoints) {
            elements.extend(Publisher::from(&endpoint).elements()?);
        }
        Ok(elements)
    }

    pub(super) fn living_endpoints(&self, network: &Network) -> Result<Vec<Endpoint>, NetworkError> {
        let mut endpoints = endpoint::load_all(&self.layout, &network.name)?;
        endpoints.retain(|endpoint| endpoint.is_alive());
        Ok(endpoints)
    }
}

/// What became of a restoration.
#[derive(Debug)]
pub(super) struct Restored {
    /// The networks.
    pub networks: Vec<Network>,
    /// Why the devices of one of them could not be restored, if so; those of all others were.
    pub failed: Option<NetworkError>,
}
