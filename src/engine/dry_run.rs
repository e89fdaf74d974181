//! What commands would change in the firewall table, as text for `nft -f`. Nothing is changed, not even a record.

use std::path::Path;

use super::connect::called;
use super::connection::{Membership, Wanted};
use super::containers::{CreateContainer, Record, settle_networks};
use super::{CreateNetwork, Engine, EngineError, privileges};
use crate::container::record::State;
use crate::names::ContainerId;
use crate::network::{ConnectRequest, NamespaceRequest, NetworkError, PortRequest};

impl Engine {
    /// What the creation of a network would change.
    ///
    /// # Errors
    /// What the creation would fail with, as far as it can be told.
    pub fn dry_create_network(&mut self, request: &CreateNetwork) -> Result<String, EngineError> {
        privileges::for_networks()?;
        Ok(self.networks.dry_create(request)?.to_string())
    }

    /// What the removal of a network would change.
    ///
    /// # Errors
    /// What the removal would fail with.
    pub fn dry_remove_network(&mut self, name: &str) -> Result<String, EngineError> {
        privileges::for_networks()?;
        Ok(self.networks.dry_remove(name)?.to_string())
    }

    /// What connecting a container would change: nothing if it does not run.
    ///
    /// # Errors
    /// What [`Engine::connect`] would fail with, as far as it can be told.
    pub fn dry_connect(
        &mut self,
        network: &str,
        reference: &str,
        wanted: &Wanted,
    ) -> Result<String, EngineError> {
        privileges::for_networks()?;
        let snapshot = self.find(reference)?;
        let (record, network) = (snapshot.record, called(network)?);
        super::connect::check_mode(&record)?;
        super::connect::check_free(&record, &network)?;
        if !snapshot.state.is_running() {
            return Ok(String::new());
        }
        let membership = Membership { network, wanted: wanted.clone() };
        let ports = record.network.requests(&record.config.settings.exposed);
        self.dry_join(&record.id, record.name.as_str(), &[membership], &record.network.endpoints, &ports)
    }

    /// What disconnecting a container would change: nothing if it does not run.
    ///
    /// # Errors
    /// The container is not connected to the network.
    pub fn dry_disconnect(&mut self, network: &str, reference: &str) -> Result<String, EngineError> {
        privileges::for_networks()?;
        let snapshot = self.find(reference)?;
        let (record, network) = (snapshot.record, called(network)?);
        super::connect::check_mode(&record)?;
        if !record.network.is_member_of(network.as_str()) {
            let who = format!("container {}", record.name);
            return Err(NetworkError::NotConnected { who, network }.into());
        }
        if !snapshot.state.is_running() {
            return Ok(String::new());
        }
        let before = &record.network.endpoints;
        let after: Vec<_> = before.iter().filter(|endpoint| endpoint.network != network).cloned().collect();
        let ports = record.network.requests(&record.config.settings.exposed);
        Ok(self.networks.dry_disconnect(before, &after, &ports)?.to_string())
    }

    /// What connecting a namespace would change.
    ///
    /// # Errors
    /// What [`Engine::connect_namespace`] would fail with, as far as it can be told.
    pub fn dry_connect_namespace(
        &mut self,
        network: &str,
        netns: &Path,
        wanted: &Wanted,
        ports: &[PortRequest],
    ) -> Result<String, EngineError> {
        privileges::for_namespaces()?;
        let (path, network) = (self.namespace_path(netns)?, called(network)?);
        let Wanted { ip, ip6, mac, .. } = *wanted;
        let request = NamespaceRequest { path: &path, network: &network, ip, ip6, mac, ports };
        Ok(self.networks.dry_connect_namespace(&request)?.to_string())
    }

    /// What disconnecting a namespace would change.
    ///
    /// # Errors
    /// It is not connected to the network.
    pub fn dry_disconnect_namespace(&mut self, network: &str, netns: &Path) -> Result<String, EngineError> {
        privileges::for_namespaces()?;
        let path = self.namespace_path(netns)?;
        Ok(self.networks.dry_disconnect_namespace(&path, &called(network)?)?.to_string())
    }

    /// What `run` would change.
    ///
    /// # Errors
    /// What is wrong with the networks and ports, as far as it can be told.
    pub fn dry_run(&mut self, mut request: CreateContainer) -> Result<String, EngineError> {
        privileges::for_containers()?;
        let (mode, networks) = settle_networks(&mut request)?;
        let id = ContainerId::generate()
            .map_err(|source| EngineError::Io { action: "make a random id", source })?;
        // Without a name, one is made up when it is made.
        let name = request.name.as_ref().map_or(id.short(), |name| name.as_str());
        let connection = super::Connection {
            mode,
            networks,
            ports: request.ports,
            publish_all: request.publish_all,
            endpoints: Vec::new(),
        };
        let ports = connection.requests(&request.settings.exposed);
        self.dry_join(&id, name, &connection.networks, &[], &ports)
    }

    /// What starting a container would change: nothing if it runs.
    ///
    /// # Errors
    /// There is no such container, or what is wrong with its networks and ports.
    pub fn dry_start(&mut self, reference: &str) -> Result<String, EngineError> {
        privileges::for_containers()?;
        let snapshot = self.find(reference)?;
        let Record { id, name, network, config, .. } = snapshot.record;
        if snapshot.state.is_up() {
            return Ok(String::new());
        }
        let ports = network.requests(&config.settings.exposed);
        self.dry_join(&id, name.as_str(), &network.networks, &[], &ports)
    }

    /// What the end of a container would change: nothing if it does not run. With `force` false, one that runs is
    /// refused, as its removal would be.
    ///
    /// # Errors
    /// There is no such container.
    pub fn dry_stop(&mut self, reference: &str, force: bool) -> Result<String, EngineError> {
        privileges::for_containers()?;
        let snapshot = self.find(reference)?;
        let record = snapshot.record;
        if !force && !snapshot.state.can_remove() {
            return Err(EngineError::StillUp { name: record.name, state: snapshot.state.as_str() });
        }
        if !matches!(snapshot.state, State::Running { .. }) {
            return Ok(String::new());
        }
        Ok(self.networks.dry_disconnect(&record.network.endpoints, &[], &[])?.to_string())
    }

    fn dry_join(
        &mut self,
        container: &ContainerId,
        name: &str,
        networks: &[Membership],
        before: &[crate::network::Endpoint],
        ports: &[PortRequest],
    ) -> Result<String, EngineError> {
        let mut requests = Vec::new();
        for Membership { network, wanted } in networks {
            requests.push(ConnectRequest {
                network,
                container,
                container_name: name,
                owners: &[],
                namespace: None,
                others: before,
                ip: wanted.ip,
                ip6: wanted.ip6,
                mac: wanted.mac,
            });
        }
        Ok(self.networks.dry_connect(&requests, before, ports)?.to_string())
    }
}
