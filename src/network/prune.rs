//! Networks that nobody uses are removed.

use std::collections::BTreeSet;

use super::Networks;
use super::error::NetworkError;
use super::record;
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
        wanted: impl Fn(&super::Network) -> bool,
    ) -> Result<Vec<NetworkName>, NetworkError> {
        let mut removed = Vec::new();
        for network in record::load_all(&self.layout)? {
            let stays = network.name == NetworkName::of_default() || kept.contains(&network.name);
            if stays || !wanted(&network) {
                continue;
            }
            match self.remove(network.name.as_str()) {
                Ok(()) => removed.push(network.name),
                // Somebody was faster: connected something to it, or removed it.
                Err(NetworkError::InUse { .. } | NetworkError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }
}
