//! What other engines ask for: networks for their containers, and their containers in networks.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::Path;

use super::launch::Supervisors;
use super::{EngineError, answering, privileges, reload};
use crate::names::NetworkName;
use crate::needs::Weight;
use crate::netns::NetNs;
use crate::network::{
    self, AttachRequest, Attached, AttachmentKey, CreateRequest, Endpoint, Expected, Network, NetworkError,
    Networks, Origin, PortRequest, Wanted,
};
use crate::store::Layout;

/// What other engines can do below one pair of root directories.
#[derive(Debug)]
pub struct Attacher {
    layout: Layout,
    networks: Networks,
    supervisors: Supervisors,
}

impl Attacher {
    /// Nothing is opened yet.
    #[must_use]
    pub fn new(layout: Layout) -> Self {
        Self::with_name_servers(layout, Vec::new())
    }

    /// The same, where name servers may be started: by our own binary with these arguments.
    #[must_use]
    pub fn with_name_servers(layout: Layout, words: Vec<OsString>) -> Self {
        Self { networks: Networks::new(layout.clone()), layout, supervisors: Supervisors::new(words) }
    }

    /// Restores all networks and what is attached to them, as the records have them.
    ///
    /// # Errors
    /// A missing privilege, or the kernel refuses.
    pub fn reload(&mut self) -> Result<(), EngineError> {
        reload::reload(&self.layout, &mut self.networks, &self.supervisors).map(drop)
    }

    /// Has somebody answer questions for names at the gateways of a network, who asks these other servers, or else the
    /// host's.
    ///
    /// # Errors
    /// A missing privilege, or port 53 of a gateway cannot be had.
    pub fn answer_names(&mut self, network: &NetworkName, servers: &[IpAddr]) -> Result<(), EngineError> {
        privileges::for_networks()?;
        if self.networks.name_servers().wanted(network, servers)? {
            answering::start(&self.supervisors, network)?;
        }
        Ok(())
    }

    /// Starts the name server of a network again if it was killed.
    ///
    /// # Errors
    /// Port 53 of a gateway cannot be had.
    pub fn answer_again(&mut self, network: &NetworkName) -> Result<(), EngineError> {
        if self.networks.name_servers().is_missing(network)? {
            answering::start(&self.supervisors, network)?;
        }
        Ok(())
    }

    /// Has the name server of a network, if it has one, ask these others from now on.
    ///
    /// # Errors
    /// Its record cannot be written.
    pub fn redirect_names(&mut self, network: &NetworkName, servers: &[IpAddr]) -> Result<(), EngineError> {
        privileges::for_networks()?;
        Ok(self.networks.name_servers().redirect(network, servers)?)
    }

    /// The network that an engine describes, made where there is none.
    ///
    /// # Errors
    /// A missing privilege, or the network cannot be made or is another and in use.
    pub fn network(&mut self, wanted: &CreateRequest) -> Result<Network, EngineError> {
        privileges::for_networks()?;
        Ok(self.networks.attachments().network(wanted)?)
    }

    /// All networks, whoever's they are.
    ///
    /// # Errors
    /// A record cannot be read.
    pub fn networks(&self) -> Result<Vec<Network>, EngineError> {
        Ok(self.networks.list()?)
    }

    /// The name that an engine's network has here, even if a killed command has left it half made.
    ///
    /// # Errors
    /// Its record cannot be read.
    pub fn recorded_name(&mut self, origin: &Origin) -> Result<Option<NetworkName>, EngineError> {
        Ok(self.networks.attachments().recorded_name(origin)?)
    }

    /// The network of an engine, if there is one.
    ///
    /// # Errors
    /// Its record cannot be read.
    pub fn known_network(&mut self, origin: &Origin) -> Result<Option<Network>, EngineError> {
        Ok(self.networks.attachments().known_network(origin)?)
    }

    /// A network that a user has made; the default one is made when it is first asked for.
    ///
    /// # Errors
    /// Its record cannot be read, or the default network cannot be made.
    pub fn users_network(&mut self, name: &NetworkName) -> Result<Option<Network>, EngineError> {
        if *name == NetworkName::of_default() {
            return Ok(Some(self.networks.default_network()?));
        }
        Ok(self.networks.named(name)?.filter(|network| network.origin.is_none()))
    }

    /// Whether a user has made a network of this name; none is made.
    ///
    /// # Errors
    /// Its record cannot be read.
    pub fn users_network_there(&self, name: &NetworkName) -> Result<bool, EngineError> {
        Ok(self.networks.named(name)?.is_some_and(|network| network.origin.is_none()))
    }

    /// Removes a network of an engine's that nothing is attached to any more; one in use stays.
    ///
    /// # Errors
    /// The kernel or the file system refuses.
    pub fn remove_unused(&mut self, network: &NetworkName) -> Result<(), EngineError> {
        privileges::for_networks()?;
        Ok(self.networks.attachments().remove_unused(network)?)
    }

    /// Attaches a container.
    ///
    /// # Errors
    /// A missing privilege, or it cannot be connected: nothing is left behind then.
    pub fn attach(&mut self, request: &AttachRequest<'_>) -> Result<Attached, EngineError> {
        privileges::for_namespaces()?;
        Ok(self.networks.attachments().add(request)?)
    }

    /// Takes away what is attached by these names, whatever has become of the namespace. False if there is nothing.
    ///
    /// # Errors
    /// A missing privilege, or the kernel or the file system refuses.
    pub fn detach(&mut self, key: &AttachmentKey) -> Result<bool, EngineError> {
        privileges::for_namespaces()?;
        Ok(self.networks.attachments().remove(key)?)
    }

    /// What is attached by these names.
    ///
    /// # Errors
    /// Its record cannot be read.
    pub fn attached(&mut self, key: &AttachmentKey) -> Result<Option<Endpoint>, EngineError> {
        Ok(self.networks.attachments().find(key)?)
    }

    /// What is wrong with what is attached by these names.
    ///
    /// # Errors
    /// Nothing is attached by them, or the kernel or the file system refuses to answer.
    pub fn faults(&mut self, key: &AttachmentKey, expected: Expected) -> Result<Vec<String>, EngineError> {
        privileges::for_namespaces()?;
        Ok(self.networks.attachments().faults(key, expected)?)
    }

    /// Takes everything of a network of an engine's away that is not among these (container, interface), or, where that
    /// is not known, whose namespace has gone.
    ///
    /// # Errors
    /// A missing privilege, or the kernel or the file system refuses something.
    pub fn remove_all_but(
        &mut self,
        origin: &Origin,
        network: &NetworkName,
        kept: Option<&BTreeSet<(String, String)>>,
    ) -> Result<(), EngineError> {
        privileges::for_namespaces()?;
        Ok(self.networks.attachments().remove_all_but(origin, network, kept)?)
    }

    /// Publishes further ports of what is attached.
    ///
    /// # Errors
    /// Nothing is attached by these names, or a port cannot be had.
    pub fn publish(&mut self, key: &AttachmentKey, ports: &[PortRequest]) -> Result<(), EngineError> {
        privileges::for_networks()?;
        Ok(self.networks.attachments().publish(key, ports)?)
    }

    /// Takes the ports of what is attached away.
    ///
    /// # Errors
    /// The kernel or the file system refuses.
    pub fn unpublish(&mut self, key: &AttachmentKey) -> Result<(), EngineError> {
        privileges::for_networks()?;
        Ok(self.networks.attachments().unpublish(key)?)
    }

    /// Has other networks reach the network of what is attached through published ports only.
    ///
    /// # Errors
    /// Nothing is attached by these names, or the network is a user's and not isolated.
    pub fn isolate(&mut self, key: &AttachmentKey) -> Result<(), EngineError> {
        privileges::for_networks()?;
        Ok(self.networks.attachments().isolate(key)?)
    }

    /// Switches the loopback device of a namespace on.
    ///
    /// # Errors
    /// The namespace cannot be entered, or the kernel refuses.
    pub fn switch_loopback_on(&mut self, netns: &Path) -> Result<(), EngineError> {
        privileges::for_namespaces()?;
        let netns = NetNs::open(netns)?;
        Ok(self.networks.connect_to_nothing(&netns)?)
    }

    /// Sets kernel parameters of a namespace, which are paths below `/proc/sys/net`.
    ///
    /// # Errors
    /// A missing privilege, or the namespace cannot be entered, or the kernel refuses one; those before it are set.
    pub fn tune(&self, netns: &Path, parameters: &[(String, String)]) -> Result<(), EngineError> {
        privileges::for_namespaces()?;
        Ok(network::tune(netns, parameters)?)
    }

    /// What is wrong with such parameters, in words.
    ///
    /// # Errors
    /// A missing privilege, or the namespace cannot be entered.
    pub fn mistuned(
        &self,
        netns: &Path,
        parameters: &[(String, String)],
    ) -> Result<Vec<String>, EngineError> {
        privileges::for_namespaces()?;
        Ok(network::mistuned(netns, parameters)?)
    }

    /// Why nothing can be attached to a network, where that is known beforehand: something that the host lacks, or that
    /// no address of these parts is left.
    ///
    /// # Errors
    /// A record cannot be read, or the kernel does not answer.
    pub fn obstacles(
        &mut self,
        network: Option<&NetworkName>,
        wanted: &Wanted,
    ) -> Result<Vec<String>, EngineError> {
        let required = crate::network::lacking().into_iter().filter(|lack| lack.weight == Weight::Required);
        let mut obstacles: Vec<String> = required.map(|lack| lack.to_string()).collect();
        if let Some(name) = network
            && let Some(NetworkError::SubnetExhausted { net, usable, .. }) =
                self.networks.attachments().exhaustion(name, wanted)?
        {
            obstacles.push(format!("all {usable} addresses of {net} are taken"));
        }
        Ok(obstacles)
    }
}
