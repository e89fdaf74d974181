//! Containers are connected to networks and disconnected from them, running or not.
//!
//! A container that does not run only gets another record. Of one that does:
//!
//! ```text
//! connect     record: membership    → address, interface, routes, ports → endpoint finished
//! disconnect  record: no membership → routes, ports, interface, address → no endpoint
//! ```
//!
//! Whoever does this holds a lock of the container's meanwhile (not on its namespace, which the container could hold as
//! well), so that a membership without a finished endpoint, or an endpoint without a membership, tells of somebody who
//! was killed: the next command finishes that first. The supervisor takes no such lock when the container ends; who
//! comes too late takes his endpoint back.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use super::connection::{Membership, NetworkMode};
use super::containers::{self, GLANCE, Record};
use super::{EngineError, Wanted, etc_files, events, join, one_line, privileges};
use crate::container::life::record::State;
use crate::container::life::signal;
use crate::container::tree::files;
use crate::names::{ContainerId, ContainerName, NetworkName};
use crate::netns::{NetNs, NetNsError};
use crate::network::{ContainerEndpoints, Endpoint, NetworkError, Networks};
use crate::process::Process;
use crate::store::{FileError, Layout, Lock, LockKind};

/// Connects a container to a network.
pub(super) fn connect(
    layout: &Layout,
    networks: &mut Networks,
    network: &str,
    reference: &str,
    wanted: &Wanted,
) -> Result<(), EngineError> {
    Connecting { layout, networks }.connect(network, reference, wanted)
}

/// Disconnects a container from a network.
pub(super) fn disconnect(
    layout: &Layout,
    networks: &mut Networks,
    network: &str,
    reference: &str,
    force: bool,
) -> Result<(), EngineError> {
    Connecting { layout, networks }.disconnect(network, reference, force)
}

/// What it takes to connect and disconnect containers.
struct Connecting<'a> {
    layout: &'a Layout,
    networks: &'a mut Networks,
}

/// What can be done about a container's networks in the state it is in.
enum Moment {
    /// It does not run: its record was changed, and its next start does the rest.
    Done,
    /// It runs.
    Now,
    /// It is about to run.
    Soon(Process),
}

/// A running container, locked against other commands that connect or disconnect it.
struct Held {
    record: Record,
    owners: [Process; 2],
    netns: NetNs,
    _lock: Lock,
}

impl Connecting<'_> {
    /// Connects a container to a network: at once if it runs, and at all its starts.
    fn connect(&mut self, network: &str, reference: &str, wanted: &Wanted) -> Result<(), EngineError> {
        privileges::for_containers()?;
        let record = containers::find(self.layout, reference)?.record;
        let network = self.network_to_connect(network)?;
        self.networks.check_wanted(&network, &format!("container {}", record.name), wanted)?;
        let membership = Membership { network, wanted: wanted.clone() };
        let add = |record: &mut Record| {
            check_free(record, &membership.network)?;
            record.network.networks.push(membership.clone());
            Ok(())
        };
        loop {
            match self.change_stopped(&record.id, add)? {
                Moment::Done => return Ok(()),
                Moment::Now => {
                    if let Some(held) = self.hold(&record.id)? {
                        check_free(&held.record, &membership.network)?;
                        if self.connect_running(held, &membership)? {
                            self.tell(&membership.network, "connect", &record.id);
                            return Ok(());
                        }
                    }
                }
                Moment::Soon(supervisor) => {
                    signal::wait(supervisor, Some(GLANCE))?;
                }
            }
        }
    }

    /// Disconnects a container from a network: at once if it runs, and at all its starts. With `force`, also what
    /// is left in the network of a container that is gone.
    fn disconnect(&mut self, network: &str, reference: &str, force: bool) -> Result<(), EngineError> {
        privileges::for_containers()?;
        let network = called(self.networks, network)?;
        let record = match containers::find(self.layout, reference) {
            Ok(snapshot) => snapshot.record,
            Err(error) if force && error.is_not_found() => {
                return if self.networks.clear_away_of(&network, reference)? { Ok(()) } else { Err(error) };
            }
            Err(error) => return Err(error),
        };
        let is_there = self.networks.get(network.as_str());
        let not_connected = |name: &ContainerName| match &is_there {
            Ok(_) => {
                let who = format!("container {name}");
                EngineError::from(NetworkError::NotConnected { who, network: network.clone() })
            }
            Err(_) => NetworkError::NotFound(network.to_string()).into(),
        };
        let remove = |record: &mut Record| {
            if !record.network.is_member_of(network.as_str()) {
                return Err(not_connected(&record.name));
            }
            record.network.networks.retain(|membership| membership.network != network);
            Ok(())
        };
        loop {
            match self.change_stopped(&record.id, remove)? {
                Moment::Done => return Ok(()),
                Moment::Now => {
                    if let Some(held) = self.hold(&record.id)? {
                        if !held.record.network.is_member_of(network.as_str()) {
                            return Err(not_connected(&held.record.name));
                        }
                        if self.disconnect_running(held, &network)? {
                            self.tell(&network, "disconnect", &record.id);
                            return Ok(());
                        }
                    }
                }
                Moment::Soon(supervisor) => {
                    signal::wait(supervisor, Some(GLANCE))?;
                }
            }
        }
    }

    fn tell(&self, network: &NetworkName, action: &str, id: &ContainerId) {
        events::connection(self.layout, self.networks, network, action, id);
    }

    /// The network that the user means; the default one is there by being asked for.
    fn network_to_connect(&mut self, name: &str) -> Result<NetworkName, EngineError> {
        let name = called(self.networks, name)?;
        if name == NetworkName::of_default() {
            self.networks.default_network()?;
        }
        Ok(self.networks.get(name.as_str())?.name)
    }

    /// Changes the record of a container if it does not run.
    fn change_stopped(
        &self,
        id: &ContainerId,
        change: impl Fn(&mut Record) -> Result<(), EngineError>,
    ) -> Result<Moment, EngineError> {
        Record::update(self.layout, id, |record| {
            check_mode(record)?;
            match record.status()? {
                State::Created | State::Exited(_) | State::Restarting { .. } => {
                    change(record)?;
                    Ok(Moment::Done)
                }
                State::Running { .. } => Ok(Moment::Now),
                State::Starting { supervisor, .. } => Ok(Moment::Soon(supervisor)),
                state @ (State::Removing { .. } | State::Dead) => Err(EngineError::Is {
                    action: "connect or disconnect",
                    name: record.name.clone(),
                    state: state.as_str(),
                }),
            }
        })
    }

    /// Keeps others from connecting and disconnecting a running container, and finishes what a killed command has
    /// left. `None` if it does not run any more.
    fn hold(&mut self, id: &ContainerId) -> Result<Option<Held>, EngineError> {
        let path = self.layout.connection_lock(id);
        // It ends just now: the next look at its state shows it, or that it is another run already.
        let ends = || {
            let record = Record::load(self.layout, id)?;
            if record.is_orphaned()? {
                return Err(EngineError::NotRunning { action: "connect or disconnect", name: record.name });
            }
            std::thread::sleep(GLANCE);
            Ok(None)
        };
        let lock = match Lock::exclusive_there(LockKind::Namespace, &path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return ends(),
            lock => lock.map_err(FileError::of("lock", &path))?,
        };
        let netns = match NetNs::open(&Layout::netns(id)) {
            Err(NetNsError::Enter { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return ends();
            }
            netns => netns?,
        };
        let record = Record::load(self.layout, id)?;
        let State::Running { init, supervisor, .. } = record.status()? else { return Ok(None) };
        let mut held = Held { record, owners: [supervisor, init], netns, _lock: lock };
        self.finish_what_was_begun(&mut held)?;
        Ok(Some(held))
    }

    fn finish_what_was_begun(&mut self, held: &mut Held) -> Result<(), EngineError> {
        let connection = &held.record.network;
        let ContainerEndpoints { made, unfinished } = self.endpoints_of(&held.record)?;
        let leaving = made.iter().chain(&unfinished).map(|endpoint| &endpoint.network);
        let leaving = leaving.filter(|network| !connection.is_member_of(network.as_str()));
        let coming = connection.networks.iter().map(|membership| &membership.network);
        let coming = coming.filter(|network| made.iter().all(|it| it.network != **network));
        let unfinished: BTreeSet<NetworkName> = leaving.chain(coming).cloned().collect();
        for network in unfinished {
            tracing::debug!(container = %held.record.name, %network, "clearing away what a killed command has left");
            self.take_out(held, &network)?;
        }
        Ok(())
    }

    fn endpoints_of(&self, record: &Record) -> Result<ContainerEndpoints, EngineError> {
        Ok(self.networks.endpoints_of_container(&record.id, &record.network.earlier())?)
    }

    /// Changes the record of a container that is held; false if its run is over.
    fn note(&self, held: &mut Held, change: impl FnOnce(&mut Record)) -> Result<bool, EngineError> {
        let owners = held.owners;
        let changed = Record::update(self.layout, &held.record.id, |record| {
            let same_run = matches!(
                record.state, State::Running { init, supervisor, .. } if [supervisor, init] == owners
            );
            if same_run {
                change(record);
            }
            Ok::<_, EngineError>(same_run.then(|| record.clone()))
        })?;
        let is_same_run = changed.is_some();
        if let Some(record) = changed {
            held.record = record;
        }
        Ok(is_same_run)
    }

    /// False if the container's run is over before anything was done.
    fn connect_running(&mut self, mut held: Held, membership: &Membership) -> Result<bool, EngineError> {
        let network = &membership.network;
        if !self.note(&mut held, |record| record.network.networks.push(membership.clone()))? {
            return Ok(false);
        }
        let endpoints = match self.put_in(&held, membership) {
            Ok(endpoints) => endpoints,
            Err(error) => {
                // Whatever has become of the container.
                Record::update(self.layout, &held.record.id, |record| {
                    record.network.networks.retain(|membership| membership.network != *network);
                    Ok::<(), EngineError>(())
                })?;
                return Err(error);
            }
        };
        if !self.note(&mut held, |_| ())? {
            // It ended meanwhile, and is connected at its next start.
            for endpoint in endpoints.iter().filter(|endpoint| endpoint.network == *network) {
                self.networks.undo(endpoint, &held.netns);
            }
            return Ok(true);
        }
        self.tell_hosts(&held.record, &[], &endpoints);
        Ok(true)
    }

    /// The container's endpoints, once the new one is there and the ports lead where they are to.
    fn put_in(&mut self, held: &Held, membership: &Membership) -> Result<Vec<Endpoint>, EngineError> {
        let record = &held.record;
        let before = self.endpoints_of(record)?.made;
        let joined = join::join(self.networks, record, membership, &held.owners, &before, &held.netns)?;
        let mut endpoints = before.clone();
        endpoints.push(joined.clone());
        let requests = record.network.requests(&record.config.settings.exposed);
        let published = self.networks.publish(&mut endpoints, &before, &requests);
        match published.and_then(|()| self.networks.complete(&joined)) {
            Ok(()) => Ok(endpoints),
            Err(error) => {
                self.networks.undo(&joined, &held.netns);
                Err(error.into())
            }
        }
    }

    /// False if the container's run is over before anything was done.
    fn disconnect_running(&mut self, mut held: Held, network: &NetworkName) -> Result<bool, EngineError> {
        let is_noted = self.note(&mut held, |record| {
            record.network.networks.retain(|membership| membership.network != *network);
        })?;
        if is_noted {
            self.take_out(&mut held, network)?;
        }
        Ok(is_noted)
    }

    /// Takes an endpoint out of a container that runs, and all of the network out of its record.
    fn take_out(&mut self, held: &mut Held, network: &NetworkName) -> Result<(), EngineError> {
        let record = &held.record;
        let ContainerEndpoints { made: mut before, unfinished } = self.endpoints_of(record)?;
        before.extend(unfinished.into_iter().filter(|endpoint| endpoint.network == *network));
        let (leaving, mut others): (Vec<Endpoint>, Vec<Endpoint>) =
            before.iter().cloned().partition(|endpoint| endpoint.network == *network);
        let requests = record.network.requests(&record.config.settings.exposed);
        self.networks.publish(&mut others, &before, &requests)?;
        for endpoint in &leaving {
            self.networks.leave(endpoint, &others, &held.netns)?;
        }
        self.note(held, |record| {
            record.network.networks.retain(|membership| membership.network != *network);
        })?;
        self.tell_hosts(&held.record, &leaving, &others);
        Ok(())
    }

    /// Lets the container's own name stand for the addresses that it has now.
    fn tell_hosts(&self, record: &Record, gone: &[Endpoint], here: &[Endpoint]) {
        let addresses = |endpoints: &[Endpoint]| -> Vec<IpAddr> {
            endpoints.iter().flat_map(|endpoint| &endpoint.addresses).map(|it| it.address()).collect()
        };
        let (gone, here) = (addresses(gone), addresses(here));
        let told = etc_files::of(self.layout, record).and_then(|files| {
            let domainname = record.config.settings.domainname.as_ref();
            Ok(files::change_addresses(&files, &etc_files::hostname(record), domainname, &gone, &here)?)
        });
        if let Err(error) = told {
            // It is connected all the same.
            let error = one_line(&error);
            tracing::warn!(container = %record.name, error, "cannot change the container's /etc/hosts");
        }
    }
}

/// The network that the user means by a name or an id. One that cannot be a name is no network's.
pub(super) fn called(networks: &Networks, name: &str) -> Result<NetworkName, EngineError> {
    match networks.get(name) {
        Ok(network) => Ok(network.name),
        // Of one that is not there, or not any more, the name is what is known.
        Err(_) => Ok(name.parse().map_err(|_| NetworkError::NotFound(name.to_owned()))?),
    }
}

pub(super) fn check_mode(record: &Record) -> Result<(), EngineError> {
    match &record.network.mode {
        mode @ (NetworkMode::Host | NetworkMode::None | NetworkMode::Container(_)) => {
            Err(EngineError::NoOwnNetwork {
                action: "connect or disconnect",
                name: record.name.clone(),
                mode: mode.describe(),
            })
        }
        NetworkMode::Default | NetworkMode::Network(_) => Ok(()),
    }
}

pub(super) fn check_free(record: &Record, network: &NetworkName) -> Result<(), EngineError> {
    if record.network.is_member_of(network.as_str()) {
        let who = format!("container {}", record.name);
        return Err(NetworkError::AlreadyConnected { who, network: network.clone() }.into());
    }
    Ok(())
}
