//! What users do with networks. What of it only prints is in `plans`.

use std::net::IpAddr;
use std::path::Path;

use crate::engine::{
    ContainerFlow, CreateNetwork, Engine, EngineError, Finding, FlowEvent, Network, NetworkInspection,
    PortRequest, Wanted,
};
use crate::engine::{check, connect, connect_namespace, events, flows, privileges, prune, reload};
use crate::names::NetworkName;

impl Engine {
    /// Creates a network.
    ///
    /// # Errors
    /// A missing privilege, or [`crate::network::NetworkError`]; nothing is left behind.
    pub fn create_network(&mut self, request: &CreateNetwork) -> Result<Network, EngineError> {
        privileges::for_networks()?;
        let network = self.networks.create(request)?;
        events::network(&self.layout, &network, "create");
        Ok(network)
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
        let network = self.networks.get(name);
        self.networks.remove(name)?;
        network.iter().for_each(|network| events::network(&self.layout, network, "destroy"));
        Ok(())
    }

    /// Removes the networks that no running container has, and that `wanted` lets pass. Returns their names.
    ///
    /// # Errors
    /// As [`Engine::remove_network`]; a container's record that cannot be read keeps all networks.
    pub fn prune_networks(
        &mut self,
        wanted: impl Fn(&Network) -> bool,
    ) -> Result<Vec<NetworkName>, EngineError> {
        prune::networks(&self.layout, &mut self.networks, wanted)
    }

    /// The table as the kernel holds it, in nft's syntax; `None` when there is none.
    ///
    /// # Errors
    /// A missing privilege, or the kernel refuses to list it.
    pub fn rules(&mut self) -> Result<Option<String>, EngineError> {
        privileges::for_networks()?;
        Ok(self.networks.rules()?)
    }

    /// Connects a container to a network: at once if it runs, and at all its starts.
    ///
    /// # Errors
    /// There is no such container or network, it is connected already, it has no network of its own, or what it
    /// asks for cannot be had. Nothing has changed then.
    pub fn connect(&mut self, network: &str, reference: &str, wanted: &Wanted) -> Result<(), EngineError> {
        connect::connect(&self.layout, &mut self.networks, network, reference, wanted)
    }

    /// Disconnects a container from a network: at once if it runs, and at all its starts. With `force`, also what
    /// is left in the network of a container that is gone.
    ///
    /// # Errors
    /// There is no such container, or it is not connected to the network.
    pub fn disconnect(&mut self, network: &str, reference: &str, force: bool) -> Result<(), EngineError> {
        connect::disconnect(&self.layout, &mut self.networks, network, reference, force)
    }

    /// Connects a namespace that is no container's, and publishes its ports. Returns its addresses.
    ///
    /// # Errors
    /// There is no such namespace or network, it is connected already, or what it asks for cannot be had. Nothing
    /// has changed then.
    pub fn connect_namespace(
        &mut self,
        network: &str,
        netns: &Path,
        wanted: &Wanted,
        ports: &[PortRequest],
    ) -> Result<Vec<IpAddr>, EngineError> {
        connect_namespace::connect(&self.layout, &mut self.networks, network, netns, wanted, ports)
    }

    /// Disconnects a namespace that is no container's from a network. With `force`, one that is not connected is as
    /// good as one that was.
    ///
    /// # Errors
    /// It is not connected to the network, or the kernel refuses.
    pub fn disconnect_namespace(
        &mut self,
        network: &str,
        netns: &Path,
        force: bool,
    ) -> Result<(), EngineError> {
        connect_namespace::disconnect(&self.layout, &mut self.networks, network, netns, force)
    }

    /// Brings the kernel to what the records of networks and containers say, in one go, and takes down what
    /// containers have left whose supervisors were killed. Returns the networks.
    ///
    /// # Errors
    /// A missing privilege, a record that cannot be read, or the kernel refuses.
    pub fn reload_networks(&mut self) -> Result<Vec<Network>, EngineError> {
        reload::reload(&self.layout, &mut self.networks, &self.supervisors)
    }

    /// Looks for everything that can be wrong with networks on this host. Nothing is changed.
    ///
    /// # Errors
    /// The kernel or the file system refuses to answer.
    pub fn check_networks(&mut self) -> Result<Vec<Finding>, EngineError> {
        check::check(&self.layout, &mut self.networks)
    }

    /// The connection-tracking entries of containers, or of one.
    ///
    /// # Errors
    /// A missing privilege, there is no such container, or the kernel refuses.
    pub fn flows(&mut self, container: Option<&str>) -> Result<Vec<ContainerFlow>, EngineError> {
        flows::list(&self.layout, &mut self.networks, container)
    }

    /// Hands out the changes to those entries until `each` returns false. `begin` gets those that are there, once
    /// no change is missed any more.
    ///
    /// # Errors
    /// As [`Engine::flows`].
    pub fn follow_flows(
        &mut self,
        container: Option<&str>,
        begin: impl FnOnce(Vec<ContainerFlow>),
        each: impl FnMut(FlowEvent, ContainerFlow) -> bool,
    ) -> Result<(), EngineError> {
        flows::follow(&self.layout, &mut self.networks, container, begin, each)
    }
}
