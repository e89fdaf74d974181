//! Networks that no container uses are removed.

use std::collections::BTreeSet;

use super::Networks;
use super::error::NetworkError;
use super::record::{self, Network};
use crate::names::NetworkName;

impl Networks {
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
        for network in self.removable(kept, wanted)? {
            match self.remove(network.name.as_str()) {
                Ok(()) => removed.push(network.name),
                // Another command was faster: it connected something to it, or removed it.
                Err(NetworkError::InUse { .. } | NetworkError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }

    /// The networks that are not kept, whether anything is connected to them or not.
    pub(super) fn removable(
        &self,
        kept: &BTreeSet<NetworkName>,
        wanted: impl Fn(&Network) -> bool,
    ) -> Result<Vec<Network>, NetworkError> {
        let mut networks = record::load_all(&self.layout)?;
        networks.retain(|network| {
            let stays = network.name == NetworkName::of_default() || kept.contains(&network.name);
            !stays && wanted(network)
        });
        Ok(networks)
    }
}
