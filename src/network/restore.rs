//! Bringing the kernel back to what the records say: on the first use after a reboot, and after the table or
//! a bridge was taken away.

use std::time::Duration;

use super::Networks;
use super::driver::PortState;
use super::error::NetworkError;
use super::forwarding::{Needed, SwitchedOn};
use super::plan;
use super::record::{Network, Phase};
use super::roots::{self, refuse_others};
use crate::names::NetworkName;
use crate::nft::{CommitError, Transaction};
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
        let marker = self.records.layout.run_root().join("boot-id");
        let boot = process::boot_id().map_err(|e| error("read the boot id", e))?;
        let is_marked = || {
            let known = store::read_if_exists(&marker).map_err(|e| error("read the boot marker", e))?;
            Ok::<_, NetworkError>(known.as_deref() == Some(boot.as_bytes()))
        };
        if is_marked()? {
            return Ok(());
        }
        let _lock = self.records.lock()?;
        // Asked again: another command may have done it while this one waited, and even have connected something.
        if is_marked()? {
            return Ok(());
        }
        // An endpoint of another boot has no interface any more, even if its owner's pid is in use again.
        store::remove_tree_if_exists(&self.records.layout.endpoints())
            .and_then(|()| store::remove_tree_if_exists(&self.records.layout.network_names()))
            .and_then(|()| store::remove_tree_if_exists(&self.records.layout.connected_containers()))
            .and_then(|()| store::remove_tree_if_exists(&self.records.layout.namespaces()))
            .and_then(|()| store::remove_tree_if_exists(&self.records.layout.announcing()))
            .and_then(|()| store::remove_tree_if_exists(&self.records.layout.name_servers()))
            .and_then(|()| store::remove_if_exists(&self.records.layout.forwarding()))
            .map_err(|e| error("clear the run directory", e))?;
        for name in store::list(&self.records.layout.networks()).map_err(|e| error("list the networks", e))? {
            let Ok(name) = name.parse::<NetworkName>() else { continue };
            if let Some(loaded) = self.records.load(&name)? {
                let network = self.records.adopt(loaded)?;
                let mut file = self.records.addresses()?;
                for block in network.blocks() {
                    file.reset(block.subnet, network.never_given_out(block))?;
                }
            }
        }
        store::write_atomic(&marker, boot.as_bytes(), Durability::Process)
            .map_err(|e| error("write the boot marker", e))
    }

    /// The named network, with everything of it in the kernel: what is missing there is put back first.
    ///
    /// # Errors
    /// [`NetworkError::NotFound`], or the kernel refuses.
    pub(super) fn repaired(&mut self, name: &NetworkName) -> Result<Network, NetworkError> {
        self.prepare()?;
        let not_found = || NetworkError::NotFound(name.to_string());
        let loaded = self.records.load(name)?.ok_or_else(not_found)?;
        if loaded.foreign {
            let _lock = self.records.lock()?;
            self.records.adopt(loaded.clone())?;
        }
        let mut network = loaded.network;
        if network.phase != Phase::Ready {
            // A command that is making or removing it has the lock.
            let _lock = self.records.lock()?;
            let loaded = self.records.load(name)?.ok_or_else(not_found)?;
            network = self.finish_interrupted(loaded.network)?.ok_or_else(not_found)?;
        }
        refuse_others(&self.records.layout, &mut self.table)?;
        if !self.is_intact(&network)? {
            self.restore()?;
        }
        Ok(network)
    }

    /// Whether the network's part of the kernel's state is as it should be, and what all networks share. A few
    /// look-ups, however many networks and containers there are; of the ports of other containers it knows nothing.
    pub(super) fn is_intact(&mut self, network: &Network) -> Result<bool, NetworkError> {
        if !self.has_chains()? {
            return Ok(false);
        }
        for element in plan::network_elements(network) {
            if !self.table.has(&element, network)? {
                return Ok(false);
            }
        }
        let action = || format!("use network {}", network.name);
        let faults = self.devices.call(network.driver, action, |driver| driver.faults(network))?;
        let forwards = Needed::by([network]).is_on().map_err(|source| NetworkError::Io {
            action: "read the state of forwarding".to_owned(),
            source,
        })?;
        Ok(faults.is_empty() && forwards)
    }

    fn has_chains(&mut self) -> Result<bool, NetworkError> {
        self.table.has_chains(SwitchedOn::load(&self.records.layout).skeleton())
    }

    /// Rebuilds table and bridges from the records.
    pub(super) fn restore(&mut self) -> Result<(), NetworkError> {
        let _lock = self.records.lock()?;
        // A network that cannot be restored does not keep others from being used; whoever uses it gets the error.
        if let Some(error) = self.restore_locked()?.failed {
            tracing::warn!(%error, "cannot restore all networks");
        }
        Ok(())
    }

    /// For commands that change networks and have the lock: restores everything where the table was taken away.
    pub(super) fn heal_locked(&mut self) -> Result<(), NetworkError> {
        if !self.has_chains()?
            && !self.records.ready()?.is_empty()
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
        for network in self.records.networks()? {
            networks.extend(self.finish_interrupted(network)?);
        }
        if networks.is_empty() {
            if roots::others(&self.records.layout, &mut self.table)?.is_none() {
                self.tear_down_table()?;
            }
            return Ok(Restored { networks, failed: None });
        }
        let forwarding = self.decide_forwarding(&networks)?;
        let was_there = self.table.is_there()?;
        self.rebuild_table(&networks, &forwarding)?;
        if !was_there {
            self.table.forget_flows_without_rules(&networks);
        }
        forwarding.switch_on(Needed::by(&networks))?;
        let mut failed = None;
        for network in &networks {
            if let Err(error) = self.restore_devices(network) {
                failed = failed.or(Some(error));
            }
        }
        Ok(Restored { networks, failed })
    }

    fn restore_devices(&mut self, network: &Network) -> Result<(), NetworkError> {
        let action = || format!("restore network {}", network.name);
        self.devices.call(network.driver, action, |driver| driver.make(network))?;
        for endpoint in self.records.living(&network.name)? {
            self.devices.call(network.driver, action, |driver| {
                if driver.port_state(network, &endpoint)? == PortState::Loose {
                    driver.reattach(network, &endpoint)?;
                }
                Ok(())
            })?;
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
        let action = || "rebuild the table inet mydocker".to_owned();
        for attempt in 1.. {
            // Ports that are published between reading the records and replacing the table would be lost.
            let generation = self.table.generation()?;
            refuse_others(&self.records.layout, &mut self.table)?;
            let mut transaction = Transaction::new();
            transaction.mark(roots::mark(&self.records.layout));
            self.records.whole(networks, forwarding)?.add_to(&mut transaction);
            transaction.only_at(generation);
            match self.table.commit(transaction, action) {
                Err(NetworkError::Table { source: CommitError::Stale, .. }) if attempt < REBUILD_TRIES => {}
                // Two containers that are being started want the same port: one of them is about to find out, and
                // to take it out of its record.
                Err(NetworkError::Table { source: CommitError::Exists { .. }, .. })
                    if attempt < REBUILD_TRIES =>
                {
                    std::thread::sleep(REBUILD_PAUSE);
                }
                other => return other,
            }
        }
        Ok(())
    }

    /// What the host has to forward for these networks, beside what is forwarded already, and whether a table that is
    /// there lacks the guard of it.
    pub(super) fn foresee_forwarding<'a>(
        &self,
        networks: impl IntoIterator<Item = &'a Network>,
    ) -> Result<(SwitchedOn, bool), NetworkError> {
        SwitchedOn::foresee(&self.records.layout, Needed::by(networks))
            .map_err(|source| NetworkError::Io { action: "read the state of forwarding".to_owned(), source })
    }

    /// The same, written down: it may be switched on.
    pub(super) fn decide_forwarding(&self, networks: &[Network]) -> Result<SwitchedOn, NetworkError> {
        let (forwarding, is_new) = self.foresee_forwarding(networks)?;
        self.save_forwarding(&forwarding, is_new)?;
        Ok(forwarding)
    }

    pub(super) fn save_forwarding(&self, forwarding: &SwitchedOn, is_new: bool) -> Result<(), NetworkError> {
        if !is_new {
            return Ok(());
        }
        forwarding
            .save(&self.records.layout)
            .map_err(|source| NetworkError::Io { action: "note the state of forwarding".to_owned(), source })
    }

    /// Ends what a killed command has begun: a network that is half-made, or half-removed, goes. One whose removal
    /// got no further than the mark, with containers connected to it, stays. To be called with the lock held: the
    /// command that left it so must have ended. Returns the network if there is one afterwards.
    ///
    /// # Errors
    /// The kernel refuses, or a record cannot be read or written.
    pub(super) fn finish_interrupted(&mut self, network: Network) -> Result<Option<Network>, NetworkError> {
        if !self.records.survives_cleanup(&network)? {
            self.tear_down(&network)?;
            return Ok(None);
        }
        if network.phase == Phase::Ready {
            return Ok(Some(network));
        }
        Ok(Some(self.records.save_as(&network, Phase::Ready)?))
    }

    /// Takes everything of a network away; what is gone already is no error. The record goes last.
    pub(super) fn tear_down(&mut self, network: &Network) -> Result<(), NetworkError> {
        let action = || format!("remove network {}", network.name);
        self.name_servers().stop(&network.name)?;
        self.devices.call(network.driver, action, |driver| driver.delete(network))?;
        let others: Vec<Network> =
            self.records.networks()?.into_iter().filter(|other| other.name != network.name).collect();
        if roots::others(&self.records.layout, &mut self.table)?.is_some() {
            // Nothing of it is in there.
        } else if others.is_empty() {
            self.tear_down_table()?;
        } else {
            let mut elements = Transaction::new();
            elements.delete_all(plan::network_elements(network));
            match self.table.commit(elements, action) {
                // Some of them are gone already; what must remain follows from the records.
                Err(NetworkError::Table { source: CommitError::Missing { .. }, .. }) => {
                    self.rebuild_table(&others, &SwitchedOn::load(&self.records.layout))?;
                }
                other => other?,
            }
        }
        for stale in self.records.endpoints(&network.name)? {
            self.records.release(&stale)?;
        }
        let mut file = self.records.addresses()?;
        for block in network.blocks() {
            for address in network.never_given_out(block) {
                file.release(block.subnet, address)?;
            }
        }
        drop(file);
        self.records.forget(&network.name)?;
        tracing::debug!(network = %network.name, "removed bridge, elements, address and record");
        Ok(())
    }

    /// With the last network the table goes, and forwarding if it was mydocker that switched it on; first
    /// the forwarding, so that the host is no router for a moment. Where another engine relies on it, both stay.
    pub(super) fn tear_down_table(&mut self) -> Result<(), NetworkError> {
        let layout = &self.records.layout;
        let forwarding = SwitchedOn::load(layout);
        let later = forwarding
            .relied_on_by(layout)
            .map_err(|source| NetworkError::Io { action: "look for other bridges".to_owned(), source })?;
        if !later.is_empty() {
            let names: Vec<String> = later.iter().map(ToString::to_string).collect();
            tracing::warn!(
                bridges = names.join(" "),
                "the host goes on forwarding, and the table inet mydocker stays with the rules that keep the host \
                 from routing between its own links: bridges that came after mydocker switched forwarding on may \
                 rely on it; once they are gone, mydocker network reload puts both back"
            );
            return self.rebuild_table(&[], &forwarding);
        }
        forwarding.switch_back(layout)?;
        self.table.delete()
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
