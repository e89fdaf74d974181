//! Other engines attach their containers to networks and take them away again.
//!
//! Nothing is listed on the way: a network is found by its name, an attachment by the id that follows from its names. Only
//! [`Attachments::remove_all_but`] looks at all attachments of a network.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use super::Networks;
use super::attachment::{Attachment, AttachmentKey, Origin};
use super::choose::CreateRequest;
use super::endpoint::{self, Endpoint};
use super::error::NetworkError;
use super::foreign;
use super::forwarding::SwitchedOn;
use super::links::Links;
use super::namespace::Namespace;
use super::owner::Owner;
use super::planner::StartRequest;
use super::port::{PortMapping, PortRequest};
use super::record::{Network, Phase};
use super::records::no_links;
use super::subnet::Family;
use super::wanted::{ConnectRequest, Wanted};
use crate::names::{ContainerId, ForeignName, NetworkName};
use crate::netlink::MacAddress;
use crate::process::Process;
use crate::store::Lock;

/// What is to be attached.
#[derive(Debug, Clone)]
pub struct AttachRequest<'a> {
    /// What the engine calls it.
    pub key: &'a AttachmentKey,
    /// What users of that engine call the container.
    pub name: Option<&'a ForeignName>,
    /// The network, by its name here.
    pub network: &'a NetworkName,
    /// The container's namespace.
    pub netns: &'a Path,
    /// What it asks for in the network.
    pub wanted: &'a Wanted,
    /// The ports to publish.
    pub ports: &'a [PortRequest],
    /// The names by which others find it in the network.
    pub names: &'a [String],
    /// The name servers that the network's own one asks for it; none for those of the network.
    pub servers: &'a [IpAddr],
}

/// What is attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// The network.
    pub network: Network,
    /// The addresses, the interface and the ports.
    pub endpoint: Endpoint,
    /// The Ethernet address of the bridge.
    pub bridge_mac: Option<MacAddress>,
    /// That of the end of the pair that stays on the host.
    pub host_mac: Option<MacAddress>,
    /// The families whose default route leads through the network. The namespace may have had one of its own.
    pub defaults: Vec<Family>,
}

/// Attaches and takes away.
#[derive(Debug)]
pub struct Attachments<'a>(pub(super) &'a mut Networks);

impl Attachments<'_> {
    /// The network that an engine has its containers in, as that engine describes it. It is made where there is none,
    /// and made anew where it is another and nothing is attached to it.
    ///
    /// # Errors
    /// [`NetworkError::OtherSettings`], or it cannot be made.
    pub fn network(&mut self, wanted: &CreateRequest) -> Result<Network, NetworkError> {
        let Some(origin) = &wanted.origin else { return self.0.create(wanted) };
        // A second time if another command was faster.
        for last in [false, true] {
            let (known, free) = self.find_network(origin)?;
            if let Some(network) = known {
                let Some(difference) = difference(&network, wanted) else { return Ok(network) };
                match self.0.remove(network.name.as_str()) {
                    Err(NetworkError::InUse { name, .. }) => {
                        return Err(NetworkError::OtherSettings { name, difference });
                    }
                    Err(NetworkError::NotFound(_)) | Ok(()) => {}
                    Err(error) => return Err(error),
                }
            }
            let named = CreateRequest { name: free, ..wanted.clone() };
            match self.0.create(&named) {
                Err(NetworkError::NameTaken(_)) if !last => {}
                made => return made,
            }
        }
        Err(NetworkError::NotFound(origin.name.to_string()))
    }

    /// The network of an engine, and the name that it has here or would get.
    fn find_network(&self, origin: &Origin) -> Result<(Option<Network>, NetworkName), NetworkError> {
        let names = origin.names()?;
        let mut free = None;
        for name in &names {
            match self.0.records.load(name)? {
                Some(loaded) if loaded.network.origin.as_ref() == Some(origin) => {
                    // One that a killed command has begun, or that is being removed, is settled by who makes it.
                    let is_there = loaded.network.phase == Phase::Ready;
                    return Ok((is_there.then_some(loaded.network), name.clone()));
                }
                Some(_) => {}
                None => free = free.or(Some(name)),
            }
        }
        match free.or(names.last()) {
            Some(name) => Ok((None, name.clone())),
            None => Err(NetworkError::NotFound(origin.name.to_string())),
        }
    }

    /// The network of an engine, if there is one.
    ///
    /// # Errors
    /// Its record cannot be read.
    pub fn known_network(&self, origin: &Origin) -> Result<Option<Network>, NetworkError> {
        Ok(self.find_network(origin)?.0)
    }

    /// The name that an engine's network has here, be it half made or half removed by a command that was killed.
    ///
    /// # Errors
    /// Its record cannot be read.
    pub fn recorded_name(&self, origin: &Origin) -> Result<Option<NetworkName>, NetworkError> {
        for name in origin.names()? {
            let loaded = self.0.records.load(&name)?;
            if loaded.is_some_and(|loaded| loaded.network.origin.as_ref() == Some(origin)) {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// Makes interface, addresses and routes, and publishes the ports.
    ///
    /// # Errors
    /// It is attached already, the namespace has an interface of that name, or whatever keeps containers from being
    /// connected; nothing is left behind.
    pub fn add(&mut self, request: &AttachRequest<'_>) -> Result<Attached, NetworkError> {
        let network = self.0.repaired(request.network)?;
        let (netns, namespace) = foreign::open(request.netns)?;
        let error = |source| NetworkError::Namespace { path: request.netns.to_owned(), source };
        let _lock = self.lock(request.key)?;
        self.clear_away(request.key, &namespace)?;
        let owner = Owner::Attachment(Box::new(Attachment {
            id: request.key.id(),
            key: request.key.clone(),
            name: request.name.cloned(),
            namespace,
            maker: Some(Process::current().map_err(error)?),
            names: request.names.to_vec(),
            servers: request.servers.to_vec(),
        }));
        let connect =
            ConnectRequest { network: &network.name, owner: &owner, others: &[], wanted: request.wanted };
        let endpoint = self.0.reserve(&network, &connect)?;
        let (mut endpoint, defaults) = self.0.attach_or_undo(&network, endpoint, &[], &netns)?;
        match self.finish(&network, &mut endpoint, request.ports) {
            Ok([bridge_mac, host_mac]) => Ok(Attached { network, endpoint, bridge_mac, host_mac, defaults }),
            Err(error) => {
                self.0.undo(&endpoint, &netns);
                Err(error)
            }
        }
    }

    /// Ports, and from then on it is the other engine's. Nothing that may fail comes after that.
    fn finish(
        &mut self,
        network: &Network,
        endpoint: &mut Endpoint,
        ports: &[PortRequest],
    ) -> Result<[Option<MacAddress>; 2], NetworkError> {
        self.0.publish(std::slice::from_mut(endpoint), &[], ports)?;
        let macs = self.0.devices.macs([&network.bridge, &endpoint.host_if])?;
        self.0.records.complete(endpoint)?;
        Ok(macs)
    }

    /// Publishes further ports of what is attached.
    ///
    /// # Errors
    /// Nothing is attached by these names, or a port cannot be had: then nothing has changed.
    pub fn publish(&mut self, key: &AttachmentKey, ports: &[PortRequest]) -> Result<(), NetworkError> {
        let _lock = self.lock(key)?;
        let endpoint = self.find(key)?.ok_or_else(|| not_connected(key))?;
        self.0.repaired(&endpoint.network)?;
        let before = [endpoint.clone()];
        let kept = endpoint.ports.iter().map(request_of);
        let all: Vec<PortRequest> = kept.chain(ports.iter().cloned()).collect();
        self.0.publish(&mut [endpoint], &before, &all)
    }

    /// Has other networks reach the network of what is attached through published ports only.
    ///
    /// # Errors
    /// Nothing is attached by these names, the network is a user's and not isolated, or the kernel refuses.
    pub fn isolate(&mut self, key: &AttachmentKey) -> Result<(), NetworkError> {
        let _lock = self.lock(key)?;
        let endpoint = self.find(key)?.ok_or_else(|| not_connected(key))?;
        self.0.repaired(&endpoint.network)?;
        let _networks = self.0.records.lock()?;
        // Only now does it stay as it is: what has been removed meanwhile must not come back.
        let loaded = self.0.records.load(&endpoint.network)?.map(|loaded| loaded.network);
        let ready = loaded.filter(|network| network.phase == Phase::Ready);
        let network = ready.ok_or_else(|| NetworkError::NotFound(endpoint.network.to_string()))?;
        if network.isolated {
            return Ok(());
        }
        if network.origin.is_none() {
            let difference = "it was made without --isolate".to_owned();
            return Err(NetworkError::OtherSettings { name: network.name, difference });
        }
        self.0.records.save_as(&Network { isolated: true, isolated_later: true, ..network }, Phase::Ready)?;
        let networks = self.0.records.networks()?;
        self.0.rebuild_table(&networks, &SwitchedOn::load(&self.0.records.layout))
    }

    /// Takes the ports of what is attached away; it stays otherwise. Nothing attached is no error.
    ///
    /// # Errors
    /// The kernel or the file system refused.
    pub fn unpublish(&mut self, key: &AttachmentKey) -> Result<(), NetworkError> {
        let _lock = self.lock(key)?;
        let Some(endpoint) = self.find(key)?.filter(|endpoint| !endpoint.ports.is_empty()) else {
            return Ok(());
        };
        self.0.ports().unpublish(&endpoint)?;
        self.0.records.change(&endpoint, |current| current.ports.clear())?;
        Ok(())
    }

    /// What is attached by these names. Nothing of what is still being made counts.
    ///
    /// # Errors
    /// A record cannot be read.
    pub fn find(&self, key: &AttachmentKey) -> Result<Option<Endpoint>, NetworkError> {
        Ok(self.0.endpoints_of_container(&key.id(), &[])?.made.into_iter().next())
    }

    /// Takes away what is attached by these names, or was left of it, whatever has become of the namespace. False if
    /// there is nothing.
    ///
    /// # Errors
    /// The kernel or the file system refused something.
    pub fn remove(&mut self, key: &AttachmentKey) -> Result<bool, NetworkError> {
        let _lock = self.lock(key)?;
        self.remove_locked(key)
    }

    fn remove_locked(&mut self, key: &AttachmentKey) -> Result<bool, NetworkError> {
        self.0.prepare()?;
        let id = key.id();
        let found = self.0.endpoints_of_container(&id, &[])?;
        let mut any = false;
        for endpoint in found.made.iter().chain(&found.unfinished) {
            self.take_away(endpoint)?;
            any = true;
        }
        // Of what was killed before it had a record, or while that was removed.
        let links = Links::of_container(&self.0.records.layout, &id);
        for link in links.list().map_err(|source| no_links(&id, source))? {
            links.forget(&link.network, &[link.address]).map_err(|source| no_links(&id, source))?;
        }
        links.remove_directory().map_err(|source| no_links(&id, source))?;
        self.forget_common_links(key)?;
        Ok(any)
    }

    /// Those of a killed command, by which a container's other networks would be looked for.
    fn forget_common_links(&self, key: &AttachmentKey) -> Result<(), NetworkError> {
        let id = key.container_words_id();
        let links = Links::of_other_engines(&self.0.records.layout, key);
        let list = || links.list().map_err(|source| no_links(&id, source));
        if list()?.is_empty() {
            return Ok(());
        }
        // Who writes one has the lock, and has written the record before.
        let _lock = self.0.records.addresses()?;
        for link in list()? {
            let holder = self.0.records.holder(&link.network, link.address)?;
            let attachment = holder.as_ref().and_then(|holder| holder.owner.attachment());
            if attachment.is_none_or(|attachment| attachment.key.container != key.container) {
                links.forget(&link.network, &[link.address]).map_err(|source| no_links(&id, source))?;
            }
        }
        Ok(())
    }

    /// Ports, interface, addresses, record, in this order. What is gone already is no error.
    fn take_away(&mut self, endpoint: &Endpoint) -> Result<(), NetworkError> {
        let inside = endpoint.owner.attachment().and_then(|attachment| {
            let (netns, found) = foreign::open(attachment.namespace.path()).ok()?;
            found.is_same_as(&attachment.namespace).then_some(netns)
        });
        match inside {
            Some(netns) => {
                self.0.ports().unpublish(endpoint)?;
                self.0.leave(endpoint, &[], &netns)
            }
            // The kernel deletes the pair with the namespace, or has done so; where that goes on elsewhere, the pair has
            // to go before the record, without which nobody knows whose it is.
            None => {
                self.0.ports().unpublish(endpoint)?;
                self.0.devices.delete_abandoned(&endpoint.host_if)?;
                self.0.disconnect(endpoint)
            }
        }
    }

    /// Takes everything of an engine's network away that is not among these, or, where that is not known, whose namespace
    /// has gone. Goes on after an error and reports the first.
    ///
    /// # Errors
    /// The kernel or the file system refused something.
    pub fn remove_all_but(
        &mut self,
        origin: &Origin,
        network: &NetworkName,
        kept: Option<&BTreeSet<(String, String)>>,
    ) -> Result<(), NetworkError> {
        let mut garbage = self.0.records.endpoints(network)?;
        garbage.retain(|endpoint| {
            let Some(attachment) = endpoint.owner.attachment() else { return false };
            let AttachmentKey { network, container, interface } = &attachment.key;
            let names = (container.as_str().to_owned(), interface.as_str().to_owned());
            let goes = kept.map_or_else(|| endpoint.owner.has_lost_its_path(), |kept| !kept.contains(&names));
            network == origin && goes
        });
        if kept.is_none() {
            garbage = self.0.devices.ended(&garbage)?;
        }
        let mut first = Ok(());
        for endpoint in &garbage {
            first = first.and(self.remove_if_same(endpoint));
        }
        first
    }

    /// Takes away what a record names, unless something else is attached by the same names by now.
    fn remove_if_same(&mut self, endpoint: &Endpoint) -> Result<(), NetworkError> {
        let Some(attachment) = endpoint.owner.attachment() else { return Ok(()) };
        let _lock = self.lock(&attachment.key)?;
        match self.0.records.current(endpoint)? {
            Some(_) => self.remove_locked(&attachment.key).map(drop),
            None => Ok(()),
        }
    }

    /// Removes a network of an engine's once nothing is attached to it.
    ///
    /// # Errors
    /// The kernel or the file system refuses.
    pub fn remove_unused(&mut self, network: &NetworkName) -> Result<(), NetworkError> {
        let Some(dead) = endpoint::load_dead(&self.0.records.layout, network)? else { return Ok(()) };
        // What killed commands have left: once the network is gone, nobody knows of its devices.
        for endpoint in &dead {
            self.remove_if_same(endpoint)?;
        }
        match self.0.remove(network.as_str()) {
            Err(NetworkError::InUse { .. } | NetworkError::NotFound(_)) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Why a network could give nobody an address out of these parts of it: all are taken, and by those who have not ended.
    ///
    /// # Errors
    /// The record cannot be read, or the kernel does not answer.
    pub fn exhaustion(
        &mut self,
        network: &NetworkName,
        wanted: &Wanted,
    ) -> Result<Option<NetworkError>, NetworkError> {
        let nobody = ContainerId::of_words(&[]);
        let owner = Owner::Container { id: nobody, name: "nobody".to_owned(), processes: Vec::new() };
        let connect = ConnectRequest { network, owner: &owner, others: &[], wanted };
        let request = StartRequest { networks: &[connect], before: &[], gone: &[], ports: &[] };
        match self.0.plan().start(&request) {
            Err(error @ NetworkError::SubnetExhausted { .. }) => Ok(Some(error)),
            Err(error) => Err(error),
            Ok(_) => Ok(None),
        }
    }

    fn lock(&self, key: &AttachmentKey) -> Result<Lock, NetworkError> {
        let path = key.lock_file(&self.0.records.layout);
        let action = || format!("lock container {}", key.container);
        let locked = self.0.records.lock_connections(&path);
        locked.map_err(|source| NetworkError::Io { action: action(), source })
    }

    /// Makes room for a new attachment: what was killed while it was made goes, and what was attached to another
    /// namespace that is gone.
    fn clear_away(&mut self, key: &AttachmentKey, namespace: &Namespace) -> Result<(), NetworkError> {
        if let Some(known) = self.find(key)?.filter(Endpoint::is_alive) {
            let other = known.owner.attachment().map(|attachment| &attachment.namespace);
            let is_same = other.is_some_and(|other| other.is_same_as(namespace));
            if is_same || self.0.devices.ended(std::slice::from_ref(&known))?.is_empty() {
                let (who, network) = (known.owner.to_string(), known.network);
                return Err(NetworkError::AlreadyConnected { who, network });
            }
        }
        self.remove_locked(key).map(drop)
    }
}

pub(super) fn not_connected(key: &AttachmentKey) -> NetworkError {
    let who = format!("{} container {}", key.network.engine, key.container);
    NetworkError::NotAttached { who, network: key.network.name.to_string() }
}

/// The request for a port that is published.
fn request_of(mapping: &PortMapping) -> PortRequest {
    PortRequest {
        host_ip: Some(mapping.host_ip),
        host: Some(mapping.host),
        container: mapping.container,
        proto: mapping.proto,
    }
}

/// What a network has that its engine wants otherwise.
fn difference(network: &Network, wanted: &CreateRequest) -> Option<String> {
    for (subnet, gateway) in &wanted.subnets {
        let family = subnet.family();
        let Some(block) = network.block(family) else { return Some(format!("it has no {family} subnet")) };
        if block.subnet != *subnet {
            return Some(format!("its subnet is {} and not {subnet}", block.subnet));
        }
        let of_family = |address: &&IpAddr| Family::of(**address) == family;
        let gateway = gateway.or(wanted.gateways.iter().find(of_family).copied());
        if let Some(gateway) = gateway.filter(|gateway| *gateway != block.gateway) {
            return Some(format!("its gateway is {} and not {gateway}", block.gateway));
        }
    }
    let given = |family| wanted.subnets.iter().any(|(subnet, _)| subnet.family() == family);
    if let Some(block) =
        network.blocks().find(|block| !wanted.subnets.is_empty() && !given(block.subnet.family()))
    {
        return Some(format!("it has the subnet {} as well", block.subnet));
    }
    if let Some(bridge) = wanted.bridge.as_ref().filter(|bridge| **bridge != network.bridge) {
        return Some(format!("its bridge is {} and not {bridge}", network.bridge));
    }
    let isolation_differs =
        if wanted.isolated { !network.isolated } else { network.isolated && !network.isolated_later };
    let settings = [
        (network.internal != wanted.internal, "internal"),
        (isolation_differs, "isolate"),
        (network.apart != wanted.apart, "what containers reach of each other"),
        (network.mode != wanted.mode, "mode"),
        (network.masquerade != wanted.masquerade, "masquerading"),
        (network.check_source != (wanted.check_source || wanted.internal), "the check of sources"),
        (network.mtu != wanted.mtu, "MTU"),
    ];
    settings.into_iter().find_map(|(differs, what)| differs.then(|| format!("{what} is set otherwise")))
}
