//! What commands would change in the firewall table, as text for `nft -f`. Nothing is changed, not even a record.

use std::path::Path;

use super::connect::called;
use super::connection::Membership;
use super::containers::{Record, Snapshot};
use super::create::{CreateContainer, settle_networks};
use super::{CreateNetwork, Engine, EngineError, Network, connect_namespace, privileges, prune};
use crate::container::life::index;
use crate::container::life::record::State;
use crate::container::request::signal::Signal;
use crate::names::{ContainerId, ContainerName};
use crate::network::{ConnectRequest, Endpoint, NamespaceRequest, NetworkError, Owner, PortRequest, Wanted};

impl Engine {
    /// What the creation of a network would change.
    ///
    /// # Errors
    /// What the creation would fail with, as far as can be known.
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

    /// What the removal of the networks that no container has would change.
    ///
    /// # Errors
    /// As [`Engine::prune_networks`].
    pub fn dry_prune_networks(&mut self, wanted: impl Fn(&Network) -> bool) -> Result<String, EngineError> {
        privileges::for_networks()?;
        let kept = prune::networks_of_containers(&self.layout)?;
        Ok(self.networks.dry_prune(&kept, wanted)?.to_string())
    }

    /// What making everything anew would change: the whole table.
    ///
    /// # Errors
    /// As [`Engine::reload_networks`].
    pub fn dry_reload_networks(&mut self) -> Result<String, EngineError> {
        privileges::for_containers()?;
        let mut gone = Vec::new();
        for snapshot in self.list_containers()?.containers {
            // Its processes may go on without their supervisor, until it is taken down.
            if snapshot.record.is_orphaned()? {
                gone.extend(self.endpoints_to_go(&snapshot.record)?);
            }
        }
        Ok(self.networks.dry_reload(&gone)?.to_string())
    }

    /// What connecting a container would change: nothing if it does not run.
    ///
    /// # Errors
    /// What [`Engine::connect`] would fail with, as far as can be known.
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
        let before = self.endpoints_to_go(&record)?;
        self.dry_join(&record.id, record.name.as_str(), &[membership], &before, &[], &ports)
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
        let before = self.endpoints_to_go(&record)?;
        let after: Vec<_> = before.iter().filter(|endpoint| endpoint.network != network).cloned().collect();
        let ports = record.network.requests(&record.config.settings.exposed);
        Ok(self.networks.dry_disconnect(&before, &after, &ports)?.to_string())
    }

    /// What connecting a namespace would change.
    ///
    /// # Errors
    /// What [`Engine::connect_namespace`] would fail with, as far as can be known.
    pub fn dry_connect_namespace(
        &mut self,
        network: &str,
        netns: &Path,
        wanted: &Wanted,
        ports: &[PortRequest],
    ) -> Result<String, EngineError> {
        privileges::for_namespaces()?;
        let (path, network) = (connect_namespace::path(&self.layout, netns)?, called(network)?);
        let request = NamespaceRequest { path: &path, network: &network, wanted, ports };
        Ok(self.networks.dry_connect_namespace(&request)?.to_string())
    }

    /// What disconnecting a namespace would change.
    ///
    /// # Errors
    /// It is not connected to the network.
    pub fn dry_disconnect_namespace(&mut self, network: &str, netns: &Path) -> Result<String, EngineError> {
        privileges::for_namespaces()?;
        let path = connect_namespace::path(&self.layout, netns)?;
        Ok(self.networks.dry_disconnect_namespace(&path, &called(network)?)?.to_string())
    }

    /// What `run` would change.
    ///
    /// # Errors
    /// What is wrong with the networks and ports, as far as can be known.
    pub fn dry_run(&mut self, mut request: CreateContainer) -> Result<String, EngineError> {
        privileges::for_containers()?;
        let (mode, networks) = settle_networks(&mut request)?;
        let id = ContainerId::generate()
            .map_err(|source| EngineError::Io { action: "make a random id", source })?;
        // Without a name, one is made up when it is made.
        let name = request.name.as_ref().map_or(id.short(), |name| name.as_str());
        let connection = super::Connection::new(mode, networks, request.ports, request.publish_all);
        let ports = connection.requests(&request.settings.exposed);
        self.dry_join(&id, name, &connection.networks, &[], &[], &ports)
    }

    /// What starting a container would change: nothing if it runs.
    ///
    /// # Errors
    /// There is no such container, or what is wrong with its networks and ports.
    pub fn dry_start(&mut self, reference: &str) -> Result<String, EngineError> {
        privileges::for_containers()?;
        let snapshot = self.find(reference)?;
        if snapshot.state.is_up() {
            return Ok(String::new());
        }
        self.dry_start_anew(&snapshot.record)
    }

    /// What restarting a container would change: its ports go and come back, perhaps at another address.
    ///
    /// # Errors
    /// There is no such container, or what is wrong with its networks and ports.
    pub fn dry_restart(&mut self, reference: &str) -> Result<String, EngineError> {
        privileges::for_containers()?;
        let record = self.find(reference)?.record;
        self.dry_start_anew(&record)
    }

    /// The start of a container, once what it or a killed supervisor has left is taken down.
    fn dry_start_anew(&mut self, record: &Record) -> Result<String, EngineError> {
        let Record { id, name, network, config, .. } = record;
        let gone = self.endpoints_to_go(record)?;
        let ports = network.requests(&config.settings.exposed);
        self.dry_join(id, name.as_str(), &network.networks, &[], &gone, &ports)
    }

    /// What sending a container a signal would change: only `SIGKILL` surely ends it.
    ///
    /// # Errors
    /// There is no such container, or it does not run.
    pub fn dry_kill(&mut self, reference: &str, signal: Option<Signal>) -> Result<String, EngineError> {
        privileges::for_containers()?;
        let Snapshot { record, state } = self.find(reference)?;
        match state {
            State::Running { .. } | State::Restarting { .. }
                if signal.is_none_or(|it| it == Signal::KILL) =>
            {
                self.dry_end(&record)
            }
            State::Running { .. } | State::Restarting { .. } => Ok(String::new()),
            _ => Err(EngineError::NotRunning { action: "kill", name: record.name }),
        }
    }

    /// What another name of a container would change: the comments of its ports' elements, if it runs.
    ///
    /// # Errors
    /// As [`Engine::rename`].
    pub fn dry_rename(&mut self, reference: &str, name: &ContainerName) -> Result<String, EngineError> {
        privileges::for_containers()?;
        let Snapshot { record, state } = self.find(reference)?;
        index::check_rename(&self.layout, &record.id, &record.name, name)?;
        if !state.is_running() {
            return Ok(String::new());
        }
        let transactions = self.networks.dry_rename(&self.endpoints_to_go(&record)?, name.as_str())?;
        Ok(transactions.iter().map(ToString::to_string).collect())
    }

    /// What the end of a container would change: nothing if nothing of it is there. With `force` false, one that runs is
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
        self.dry_end(&record)
    }

    /// All endpoints of a container, also those that a killed command has left unfinished.
    fn endpoints_to_go(&self, record: &Record) -> Result<Vec<Endpoint>, EngineError> {
        let earlier = record.network.earlier();
        let found = self.networks.endpoints_of_container(&record.id, &earlier)?;
        Ok([found.made, found.unfinished].concat())
    }

    fn dry_end(&mut self, record: &Record) -> Result<String, EngineError> {
        let endpoints = self.endpoints_to_go(record)?;
        Ok(self.networks.dry_disconnect(&endpoints, &[], &[])?.to_string())
    }

    fn dry_join(
        &mut self,
        container: &ContainerId,
        name: &str,
        networks: &[Membership],
        before: &[Endpoint],
        gone: &[Endpoint],
        ports: &[PortRequest],
    ) -> Result<String, EngineError> {
        let (id, name) = (container.clone(), name.to_owned());
        let owner = Owner::Container { id, name, processes: Vec::new() };
        let mut requests = Vec::new();
        for Membership { network, wanted } in networks {
            requests.push(ConnectRequest { network, owner: &owner, others: before, wanted });
        }
        Ok(self.networks.dry_connect(&requests, before, gone, ports)?.to_string())
    }
}
