//! Bringing the kernel back to what the records say: on the first use after a reboot, and after the table or
//! a bridge was taken away.

use super::endpoint::{self, Endpoint};
use super::error::NetworkError;
use super::forwarding::{Needed, SwitchedOn};
use super::record::{self, Loaded, Network, Phase, RecordError};
use super::subnet_file::{InUse, SubnetFile};
use super::{Networks, plan};
use crate::names::NetworkName;
use crate::nft::{CommitError, Element, Presence, Transaction};
use crate::process;
use crate::store::{self, Durability};

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
        // Once more: somebody else may have done it while we waited, and even be connected by now.
        if is_marked()? {
            return Ok(());
        }
        // An endpoint of another boot has no interface any more, whoever has its owner's pid now.
        store::remove_tree_if_exists(&self.layout.endpoints())
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

    /// Makes another program's record ours. The addresses it has taken stay taken for ever: nobody tells us
    /// when they become free.
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
        let network = loaded.network;
        let element = Element::Bridge(network.bridge.clone());
        let table = self.nft()?.contains(&element).map_err(|source| NetworkError::Table {
            action: format!("look for network {name} in the table"),
            source,
        })?;
        let action = format!("use network {name}");
        let exists = self.driver(network.driver)?.exists(&network);
        let exists = exists.map_err(|source| NetworkError::Driver { action, source })?;
        let forwards = Needed::by([&network]).is_on().map_err(|source| NetworkError::Io {
            action: "read the state of forwarding".to_owned(),
            source,
        })?;
        if !exists || !forwards || !matches!(table, Presence::Present) {
            self.restore()?;
        }
        Ok(network)
    }

    /// Rebuilds table and bridges from the records.
    fn restore(&mut self) -> Result<(), NetworkError> {
        let _lock = self.lock()?;
        tracing::debug!("restoring the kernel's state from the records");
        let networks: Vec<Network> =
            record::load_all(&self.layout)?.into_iter().filter(|n| n.phase == Phase::Ready).collect();
        let needed = Needed::by(&networks);
        let (forwarding, _) = SwitchedOn::decide(&self.layout, needed).map_err(|source| {
            NetworkError::Io { action: "note the state of forwarding".to_owned(), source }
        })?;
        self.rebuild_table(&networks, &forwarding)?;
        forwarding.switch_on(needed)?;
        for network in &networks {
            let action = format!("restore network {}", network.name);
            let driver = self.driver(network.driver)?;
            driver.create(network).map_err(|source| NetworkError::Driver { action, source })?;
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
        let mut transaction = Transaction::new();
        transaction.rebuild(forwarding.skeleton());
        for network in networks {
            for element in plan::network_elements(network) {
                transaction.create(element);
            }
            for endpoint in self.living_endpoints(network)? {
                for element in plan::endpoint_elements(&endpoint)? {
                    transaction.create(element);
                }
            }
        }
        self.nft()?.commit(transaction).map_err(|source: CommitError| NetworkError::Table {
            action: "rebuild the table inet mydocker".to_owned(),
            source,
        })
    }

    fn living_endpoints(&self, network: &Network) -> Result<Vec<Endpoint>, NetworkError> {
        let mut endpoints = endpoint::load_all(&self.layout, &network.name)?;
        endpoints.retain(|endpoint| endpoint.is_alive());
        Ok(endpoints)
    }
}
