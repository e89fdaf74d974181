//! Network namespaces that do not belong to a container of mydocker's are connected and disconnected: those of `ip
//! netns` and of other runtimes.
//!
//! Everybody who does so holds a lock meanwhile: a file of ours, as whoever is in the namespace could hold the namespace
//! itself. Ports lead to the network they were asked for with, whatever else the namespace is connected to: replies leave
//! by the way that the packets came.

use std::io;
use std::path::Path;

use nix::libc::CLONE_NEWNET;
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};

use super::Networks;
use super::endpoint::Endpoint;
use super::error::NetworkError;
use super::links::Links;
use super::namespace::Namespace;
use super::owner::Owner;
use super::plan::Plan;
use super::planner::StartRequest;
use super::port::PortRequest;
use super::record::Network;
use super::wanted::{ConnectRequest, Wanted};
use crate::names::{ContainerId, NetworkName};
use crate::netns::NetNs;
use crate::store::Lock;

/// A namespace that is to be connected.
#[derive(Debug, Clone)]
pub struct NamespaceRequest<'a> {
    /// Where it is: `/run/netns/NAME`, or `/proc/PID/ns/net`, which is void when that process ends.
    pub path: &'a Path,
    /// The network.
    pub network: &'a NetworkName,
    /// What it asks for there.
    pub wanted: &'a Wanted,
    /// The ports to publish.
    pub ports: &'a [PortRequest],
}

/// Connects and disconnects namespaces.
#[derive(Debug)]
pub struct Namespaces<'a>(pub(super) &'a mut Networks);

impl Namespaces<'_> {
    /// Connects a namespace to a network and publishes its ports.
    ///
    /// # Errors
    /// [`NetworkError::Namespace`], [`NetworkError::NoNamespace`], [`NetworkError::OwnNamespace`] for the path,
    /// [`NetworkError::AlreadyConnected`], and whatever keeps containers from being connected; nothing is left
    /// behind.
    pub fn connect(&mut self, request: &NamespaceRequest<'_>) -> Result<Endpoint, NetworkError> {
        let network = self.0.repaired(request.network)?;
        let (netns, namespace) = open(request.path)?;
        let error = |source| NetworkError::Namespace { path: request.path.to_owned(), source };
        let _lock = self.lock_namespace(&namespace).map_err(error)?;
        let others = self.endpoints_in(&namespace, &netns)?;
        refuse_second(&others, request.network)?;
        let owner = owner(&namespace, &others)?;
        let connect = ConnectRequest {
            network: request.network,
            owner: &owner,
            others: &others,
            wanted: request.wanted,
        };
        let endpoint = self.0.reserve(&network, &connect)?;
        let connected = self.make(&network, endpoint, &others, &netns, request.ports)?;
        self.0.records.complete(&connected)?;
        Ok(connected)
    }

    fn lock_namespace(&self, namespace: &Namespace) -> io::Result<Lock> {
        let records = &self.0.records;
        records.lock_connections(&records.layout.namespace_lock(namespace.inode()))
    }

    /// Everything of an endpoint that has its addresses; if that fails, nothing of it is left.
    fn make(
        &mut self,
        network: &Network,
        endpoint: Endpoint,
        others: &[Endpoint],
        netns: &NetNs,
        ports: &[PortRequest],
    ) -> Result<Endpoint, NetworkError> {
        let (mut endpoint, _) = self.0.attach_or_undo(network, endpoint, others, netns)?;
        if let Err(error) = self.0.publish(std::slice::from_mut(&mut endpoint), &[], ports) {
            self.0.undo(&endpoint, netns);
            return Err(error);
        }
        Ok(endpoint)
    }

    /// Disconnects a namespace from a network, with its ports. One that is gone meanwhile is known by its path.
    ///
    /// # Errors
    /// [`NetworkError::NotConnected`], or the kernel or the file system refuses.
    pub fn disconnect(&mut self, path: &Path, network: &NetworkName) -> Result<(), NetworkError> {
        self.0.prepare()?;
        let known = self.0.records.get(network.as_str());
        let (netns, namespace) = match open(path) {
            Ok(opened) => opened,
            Err(error) => return if self.clear_away(path, network)? { Ok(()) } else { Err(error) },
        };
        let error = |source| NetworkError::Namespace { path: path.to_owned(), source };
        let _lock = self.lock_namespace(&namespace).map_err(error)?;
        let mut others = self.endpoints_in(&namespace, &netns)?;
        let Some(at) = others.iter().position(|endpoint| endpoint.network == *network) else {
            if self.clear_away(path, network)? {
                return Ok(());
            }
            known?;
            let who = format!("namespace {}", path.display());
            return Err(NetworkError::NotConnected { who, network: network.clone() });
        };
        let endpoint = others.remove(at);
        self.0.ports().unpublish(&endpoint)?;
        self.0.leave(&endpoint, &others, &netns)
    }

    /// What connecting a namespace would change in the table.
    ///
    /// # Errors
    /// What connecting it would fail with, as far as can be known.
    pub fn plan_connection(&mut self, request: &NamespaceRequest<'_>) -> Result<Plan, NetworkError> {
        let (_, namespace) = open(request.path)?;
        let others = self.recorded(&namespace)?;
        refuse_second(&others, request.network)?;
        let owner = owner(&namespace, &others)?;
        let connect = ConnectRequest {
            network: request.network,
            owner: &owner,
            others: &others,
            wanted: request.wanted,
        };
        // The ports lead to this connection alone.
        let start = StartRequest {
            networks: std::slice::from_ref(&connect),
            before: &[],
            gone: &[],
            ports: request.ports,
        };
        self.0.plan().start(&start)
    }

    /// What disconnecting a namespace would change in the table.
    ///
    /// # Errors
    /// [`NetworkError::NotConnected`].
    pub fn plan_disconnection(&mut self, path: &Path, network: &NetworkName) -> Result<Plan, NetworkError> {
        let (_, namespace) = open(path)?;
        match self.recorded(&namespace)?.into_iter().find(|endpoint| endpoint.network == *network) {
            Some(endpoint) => self.0.plan().move_ports(&[endpoint], &[], &[]),
            None => {
                let who = format!("namespace {}", path.display());
                Err(NetworkError::NotConnected { who, network: network.clone() })
            }
        }
    }

    /// The namespace's endpoints, in order of connecting, as the records have them.
    fn recorded(&self, namespace: &Namespace) -> Result<Vec<Endpoint>, NetworkError> {
        let mut endpoints = self.0.records.all_endpoints()?;
        endpoints.retain(|it| it.owner.namespace().is_some_and(|other| other.is_same_as(namespace)));
        endpoints.sort_by_key(|endpoint| endpoint.position);
        Ok(endpoints)
    }

    /// Disconnects what an earlier namespace of this path has left; false if there is nothing.
    fn clear_away(&mut self, path: &Path, network: &NetworkName) -> Result<bool, NetworkError> {
        let was_there = |endpoint: &Endpoint| {
            endpoint.owner.namespace().is_some_and(|namespace| namespace.path() == path)
                && !endpoint.is_alive()
        };
        let mut found = false;
        for dead in self.0.records.endpoints(network)?.iter().filter(|it| was_there(it)) {
            self.0.disconnect(dead)?;
            found = true;
        }
        Ok(found)
    }

    /// The endpoints of a namespace in order of connecting. A command that was killed while making one has left a
    /// part of it: that is taken back.
    fn endpoints_in(&mut self, namespace: &Namespace, netns: &NetNs) -> Result<Vec<Endpoint>, NetworkError> {
        let error = |source| NetworkError::Namespace { path: namespace.path().to_owned(), source };
        let mut endpoints = Vec::new();
        let links = Links::of_namespace(&self.0.records.layout, namespace);
        for link in links.list().map_err(error)? {
            let found = self.0.records.holder(&link.network, link.address)?;
            let of_namespace =
                |found: &Endpoint| found.owner.namespace().is_some_and(|other| other.is_same_as(namespace));
            match found.filter(of_namespace) {
                Some(endpoint) if link.is_made => endpoints.push(endpoint),
                Some(endpoint) => self.0.undo(&endpoint, netns),
                // Of an earlier namespace with the same number.
                None => links.forget(&link.network, &[link.address]).map_err(error)?,
            }
        }
        endpoints.sort_by_key(|endpoint| endpoint.position);
        Ok(endpoints)
    }
}

/// Who is connected: all endpoints of a namespace have one id.
fn owner(namespace: &Namespace, others: &[Endpoint]) -> Result<Owner, NetworkError> {
    let error = |source| NetworkError::Namespace { path: namespace.path().to_owned(), source };
    let id = match others.first() {
        Some(other) => other.owner.id().clone(),
        None => ContainerId::generate().map_err(error)?,
    };
    let process = namespace.process().map_err(error)?;
    Ok(Owner::Namespace { id, namespace: namespace.clone(), process })
}

fn refuse_second(others: &[Endpoint], network: &NetworkName) -> Result<(), NetworkError> {
    match others.iter().find(|endpoint| endpoint.network == *network) {
        Some(endpoint) => {
            let (who, network) = (endpoint.owner.to_string(), network.clone());
            Err(NetworkError::AlreadyConnected { who, network })
        }
        None => Ok(()),
    }
}

/// Opens the namespace at a path.
///
/// # Errors
/// There is none, it is something else, or it is the caller's own.
pub(super) fn open(path: &Path) -> Result<(NetNs, Namespace), NetworkError> {
    let error = |source: std::io::Error| NetworkError::Namespace { path: path.to_owned(), source };
    let netns = NetNs::open(path).map_err(|failed| match failed {
        crate::netns::NetNsError::Enter { source, .. } => error(source),
        other => error(std::io::Error::other(other)),
    })?;
    let kind = fstatfs(&netns).map_err(|errno| error(errno.into()))?.filesystem_type();
    if kind != NSFS_MAGIC || crate::sys::namespace_kind(&netns).map_err(error)? != CLONE_NEWNET {
        return Err(NetworkError::NoNamespace(path.to_owned()));
    }
    let namespace = Namespace::of(path, &netns).map_err(error)?;
    if namespace.is_own() {
        return Err(NetworkError::OwnNamespace(path.to_owned()));
    }
    Ok((netns, namespace))
}
