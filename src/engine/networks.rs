//! Operations on networks.

use super::{CreateNetwork, Engine, EngineError, Network, NetworkInspection, privileges};

impl Engine {
    /// Creates a network.
    ///
    /// # Errors
    /// A missing privilege, or [`crate::network::NetworkError`]; nothing is left behind.
    pub fn create_network(&mut self, request: &CreateNetwork) -> Result<Network, EngineError> {
        privileges::for_networks()?;
        Ok(self.networks.create(request)?)
    }

    /// All networks, by name.
    ///
    /// # Errors
    /// A record cannot be read.
    pub fn networks(&self) -> Result<Vec<Network>, EngineError> {
        Ok(self.networks.list()?)
    }

    /// One network with its containers and addresses.
    ///
    /// # Errors
    /// There is no such network, or its records cannot be read.
    pub fn inspect_network(&self, name: &str) -> Result<NetworkInspection, EngineError> {
        Ok(self.networks.inspect(name)?)
    }

    /// Removes a network that no container uses.
    ///
    /// # Errors
    /// A missing privilege, or [`crate::network::NetworkError`].
    pub fn remove_network(&mut self, name: &str) -> Result<(), EngineError> {
        privileges::for_networks()?;
        Ok(self.networks.remove(name)?)
    }

    /// The table as the kernel holds it, in nft's syntax; `None` when there is none.
    ///
    /// # Errors
    /// A missing privilege, or the kernel refuses to list it.
    pub fn rules(&mut self) -> Result<Option<String>, EngineError> {
        privileges::for_networks()?;
        Ok(self.networks.rules()?)
    }
}
