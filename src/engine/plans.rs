//! What commands would change in the firewall table, as text for `nft -f`: each makes the checks of the command itself
//! and then the networks' plan. Nothing is changed, not even a record.

use std::path::Path;

use super::connect::called;
use super::connection::Membership;
use super::containers::{Record, Snapshot};
use super::create::{CreateContainer, Design, design};
use super::{CreateNetwork, Engine, EngineError, Network, connect_namespace, privileges, prune};
use crate::container::life::index;
use crate::container::life::record::State;
use crate::container::request::signal::Signal;
use crate::names::{ContainerId, ContainerName, NetworkName};
use crate::network::{
    ConnectRequest, Endpoint, NamespaceRequest, NetworkError, Owner, PortRequest, StartRequest, Wanted,
};

impl Engine {
    /// What the creation of a network would change.
    ///
    /// # Errors
    /// What the creation would fail with, as far as can be known.
    pub fn plan_create_network(&mut self, request: &CreateNetwork) -> Result<String, EngineError> {
        privileges::for_networks()?;
        Ok(self.networks.plan().create(request)?.to_string())
    }

    /// What the removal of a network would change.
    ///
    /// # Errors
    /// What the removal would fail with.
    pub fn plan_remove_network(&mut self, name: &str) -> Result<String, EngineError> {
        privileges::for_networks()?;
        Ok(self.networks.plan().remove(name)?.to_string())
    }

    /// What the removal of the networks that no container has would change.
    ///
    /// # Errors
    /// As [`Engine::prune_networks`].
    pub fn plan_prune_networks(&mut self, wanted: impl Fn(&Network) -> bool) -> Result<String, EngineError> {
        privileges::for_networks()?;
        let kept = prune::networks_of_containers(&self.layout)?;
        Ok(self.networks.plan().prune(&kept, wanted)?.to_string())
    }

    /// What making everything anew would change: the whole table.
    ///
    /// # Errors
    /// As [`Engine::reload_networks`].
    pub fn plan_reload_networks(&mut self) -> Result<String, EngineError> {
        privileges::for_containers()?;
        let mut gone = Vec::new();
        for snapshot in self.list_containers()?.containers {
            // Its processes may go on without their supervisor, until it is taken down.
            if snapshot.record.is_orphaned()? {
                gone.extend(self.endpoints_to_go(&snapshot.record)?);
            }
        }
        Ok(self.networks.plan().reload(&gone)?.to_string())
    }

    /// What connecting a container would change: nothing if it does not run.
    ///
    /// # Errors
    /// What [`Engine::connect`] would fail with, as far as can be known.
    pub fn plan_connect(
        &mut self,
        network: &str,
        reference: &str,
        wanted: &Wanted,
    ) -> Result<String, EngineError> {
        privileges::for_networks()?;
        let Snapshot { record, state, .. } = self.find(reference)?;
        let network = called(&self.networks, network)?;
        match self.networks.check_wanted(&network, &format!("container {}", record.name), wanted) {
            // It is there by being asked for.
            Err(NetworkError::NotFound(_)) if network == NetworkName::of_default() => {}
            checked => checked?,
        }
        super::connect::check_mode(&record)?;
        super::connect::check_free(&record, &network)?;
        if !state.is_running() {
            return Ok(String::new());
        }
        let membership = Membership { network, wanted: wanted.clone() };
        let ports = record.network.requests(&record.config.settings.exposed);
        let before = self.endpoints_to_go(&record)?;
        self.plan_join(&record.id, record.name.as_str(), &[membership], &before, &[], &ports)
    }

    /// What disconnecting a container would change: nothing if it does not run.
    ///
    /// # Errors
    /// The container is not connected to the network.
    pub fn plan_disconnect(&mut self, network: &str, reference: &str) -> Result<String, EngineError> {
        privileges::for_networks()?;
        let snapshot = self.find(reference)?;
        let (record, network) = (snapshot.record, called(&self.networks, network)?);
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
        Ok(self.networks.plan().move_ports(&before, &after, &ports)?.to_string())
    }

    /// What connecting a namespace would change.
    ///
    /// # Errors
    /// What [`Engine::connect_namespace`] would fail with, as far as can be known.
    pub fn plan_connect_namespace(
        &mut self,
        network: &str,
        netns: &Path,
        wanted: &Wanted,
        ports: &[PortRequest],
    ) -> Result<String, EngineError> {
        privileges::for_namespaces()?;
        let (path, network) =
            (connect_namespace::path(&self.layout, netns)?, called(&self.networks, network)?);
        let request = NamespaceRequest { path: &path, network: &network, wanted, ports };
        Ok(self.networks.namespaces().plan_connection(&request)?.to_string())
    }

    /// What disconnecting a namespace would change.
    ///
    /// # Errors
    /// It is not connected to the network.
    pub fn plan_disconnect_namespace(&mut self, network: &str, netns: &Path) -> Result<String, EngineError> {
        privileges::for_namespaces()?;
        let path = connect_namespace::path(&self.layout, netns)?;
        let network = called(&self.networks, network)?;
        Ok(self.networks.namespaces().plan_disconnection(&path, &network)?.to_string())
    }

    /// What `run` would change.
    ///
    /// # Errors
    /// What is wrong with the networks and ports, as far as can be known.
    pub fn plan_run(&mut self, request: CreateContainer) -> Result<String, EngineError> {
        privileges::for_containers()?;
        let Design { name, config, connection } = design(&self.layout, &self.networks, request)?;
        if let Some(name) = &name {
            index::check_free(&self.layout, name)?;
        }
        let id = ContainerId::generate()
            .map_err(|source| EngineError::Io { action: "make a random id", source })?;
        // Without a name, one is made up when it is made.
        let name = name.as_ref().map_or(id.short(), |name| name.as_str());
        let ports = connection.requests(&config.settings.exposed);
        self.plan_join(&id, name, &connection.networks, &[], &[], &ports)
    }

    /// What starting a container would change: nothing if it runs.
    ///
    /// # Errors
    /// There is no such container, or what is wrong with its networks and ports.
    pub fn plan_start(&mut self, reference: &str) -> Result<String, EngineError> {
        privileges::for_containers()?;
        let snapshot = self.find(reference)?;
        if snapshot.state.is_up() {
            return Ok(String::new());
        }
        self.plan_start_anew(&snapshot.record)
    }

    /// What restarting a container would change: its ports go and come back, perhaps at another address.
    ///
    /// # Errors
    /// There is no such container, or what is wrong with its networks and ports.
    pub fn plan_restart(&mut self, reference: &str) -> Result<String, EngineError> {
        privileges::for_containers()?;
        let record = self.find(reference)?.record;
        self.plan_start_anew(&record)
    }

    /// The start of a container, once what it or a killed supervisor has left is taken down.
    fn plan_start_anew(&mut self, record: &Record) -> Result<String, EngineError> {
        let Record { id, name, network, config, .. } = record;
        let gone = self.endpoints_to_go(record)?;
        let ports = network.requests(&config.settings.exposed);
        self.plan_join(id, name.as_str(), &network.networks, &[], &gone, &ports)
    }

    /// What sending a container a signal would change: only `SIGKILL` surely ends it.
    ///
    /// # Errors
    /// There is no such container, or it does not run.
    pub fn plan_kill(&mut self, reference: &str, signal: Option<Signal>) -> Result<String, EngineError> {
        privileges::for_containers()?;
        let Snapshot { record, state, .. } = self.find(reference)?;
        match state {
            State::Running { .. } | State::Restarting { .. }
                if signal.is_none_or(|it| it == Signal::KILL) =>
            {
                self.plan_end(&record)
            }
            State::Running { .. } | State::Restarting { .. } => Ok(String::new()),
            _ => Err(EngineError::NotRunning { action: "kill", name: record.name }),
        }
    }

    /// What another name of a container would change: the comments of its ports' elements, if it runs.
    ///
    /// # Errors
    /// As [`Engine::rename`].
    pub fn plan_rename(&mut self, reference: &str, name: &ContainerName) -> Result<String, EngineError> {
        privileges::for_containers()?;
        let Snapshot { record, state, .. } = self.find(reference)?;
        index::check_rename(&self.layout, &record.id, &record.name, name)?;
        if !state.is_running() {
            return Ok(String::new());
        }
        let endpoints = self.endpoints_to_go(&record)?;
        Ok(self.networks.plan().rename(&endpoints, name.as_str())?.to_string())
    }

    /// What the end of a container would change: nothing if nothing of it is there. With `force` false, one that runs is
    /// refused, as its removal would be.
    ///
    /// # Errors
    /// There is no such container.
    pub fn plan_stop(&mut self, reference: &str, force: bool) -> Result<String, EngineError> {
        privileges::for_containers()?;
        let snapshot = self.find(reference)?;
        let record = snapshot.record;
        if !force && !snapshot.state.can_remove() {
            return Err(EngineError::StillUp { name: record.name, state: snapshot.state.as_str() });
        }
        self.plan_end(&record)
    }

    /// All endpoints of a container, also those that a killed command has left unfinished.
    fn endpoints_to_go(&self, record: &Record) -> Result<Vec<Endpoint>, EngineError> {
        let earlier = record.network.earlier();
        let found = self.networks.endpoints_of_container(&record.id, &earlier)?;
        Ok([found.made, found.unfinished].concat())
    }

    fn plan_end(&mut self, record: &Record) -> Result<String, EngineError> {
        let endpoints = self.endpoints_to_go(record)?;
        Ok(self.networks.plan().move_ports(&endpoints, &[], &[])?.to_string())
    }

    fn plan_join(
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
        let request = StartRequest { networks: &requests, before, gone, ports };
        Ok(self.networks.plan().start(&request)?.to_string())
    }
}
