//! Who asks the name server of a network, and what they can know: the names in their own networks.

use std::net::IpAddr;

use super::endpoint::{self, Endpoint};
use super::links::{Link, Links};
use super::name_files::holders;
use super::name_server;
use super::neighbours::{Neighbour, without_suffix};
use super::owner::Owner;
use super::record::{self, Network};
use super::remembered::{Evidence, Remembered};
use crate::names::NetworkName;
use crate::store::Layout;

/// The view of the name server of one network. Every answer is of this moment; what cannot be read counts as not there.
#[derive(Debug)]
pub struct NameServerClients {
    layout: Layout,
    network: Network,
    names: Remembered<Vec<IpAddr>>,
}

impl NameServerClients {
    pub(super) fn new(layout: Layout, network: Network) -> Self {
        Self { layout, network, names: Remembered::default() }
    }

    /// Whether somebody with this address is in the network. Nobody else is answered, so that nobody outside learns names,
    /// or asks others through this host.
    #[must_use]
    pub fn has(&self, client: IpAddr) -> bool {
        self.network.blocks().any(|block| block.subnet.contains(client))
    }

    /// Whether the name server answers at this address.
    #[must_use]
    pub fn is_gateway(&self, address: IpAddr) -> bool {
        self.network.blocks().any(|block| block.gateway == address)
    }

    fn load(&self, network: &NetworkName, address: IpAddr, evidence: &mut Evidence) -> Option<Endpoint> {
        evidence.reads(endpoint::path(&self.layout, network, address));
        endpoint::load(&self.layout, network, address).ok().flatten()
    }

    /// The endpoints of whoever has this address, that one first; none where nobody has it.
    fn endpoints(&self, client: IpAddr, evidence: &mut Evidence) -> Vec<Endpoint> {
        let Some(own) = self.load(&self.network.name, client, evidence) else { return Vec::new() };
        let links = match &own.owner {
            Owner::Attachment(attachment) => Links::of_other_engines(&self.layout, &attachment.key),
            Owner::Container { id, .. } => Links::of_container(&self.layout, id),
            Owner::Namespace { .. } => return vec![own],
        };
        evidence.reads(links.directory().to_owned());
        let mut others: Vec<Link> = links.list().unwrap_or_default();
        others.retain(|link| link.is_made && link.network != own.network);
        others.sort_by(|one, other| one.network.as_str().cmp(other.network.as_str()));
        let mut endpoints: Vec<Endpoint> =
            others.into_iter().filter_map(|link| self.load(&link.network, link.address, evidence)).collect();
        // An address may be another's by now.
        endpoints.retain(|endpoint| is_of_same(&endpoint.owner, &own.owner));
        endpoints.insert(0, own);
        endpoints
    }

    /// The addresses of a name, which is in lower case: `NAME` or `NAME.NETWORK`, in each of the client's networks.
    #[must_use]
    pub fn addresses(&self, name: &str, client: IpAddr) -> Option<Vec<IpAddr>> {
        self.names.get(&format!("{client} {name}"), |evidence| {
            let endpoints = self.endpoints(client, evidence);
            let mut networks: Vec<NetworkName> = endpoints.into_iter().map(|it| it.network).collect();
            if networks.is_empty() {
                networks.push(self.network.name.clone());
            }
            let mut found: Option<Vec<IpAddr>> = None;
            for network in networks {
                let short = without_suffix(name, network.as_str());
                for name in [Some(name), short].into_iter().flatten() {
                    if let Some(addresses) = holders(&self.layout, &network, name, evidence) {
                        found.get_or_insert_default().extend(addresses);
                    }
                }
            }
            found
        })
    }

    /// Whose an address in one of the client's networks is.
    #[must_use]
    pub fn holder(&self, address: IpAddr, client: IpAddr) -> Neighbour {
        let endpoints = self.endpoints(client, &mut Evidence::new());
        let with = endpoints.iter().find(|own| own.addresses.iter().any(|it| it.net.contains(&address)));
        let network = match with {
            Some(own) => &own.network,
            None if self.has(address) => &self.network.name,
            None => return Neighbour::Elsewhere,
        };
        match endpoint::load(&self.layout, network, address).ok().flatten() {
            Some(Endpoint { owner, network, .. }) if owner.answers_to_names() => {
                Neighbour::Container(owner.name(), network)
            }
            _ => Neighbour::Nobody,
        }
    }

    /// Whether the network leads anywhere else.
    #[must_use]
    pub fn leads_outside(&self) -> bool {
        !self.network.internal
    }

    /// Whether the client reaches anything outside of its networks, by this one or another.
    #[must_use]
    pub fn reaches_outside(&self, client: IpAddr) -> bool {
        let leads_out = |endpoint: &Endpoint| {
            let loaded = record::load(&self.layout, &endpoint.network).ok().flatten();
            loaded.is_some_and(|loaded| !loaded.network.internal)
        };
        self.leads_outside() || self.endpoints(client, &mut Evidence::new()).iter().any(leads_out)
    }

    /// The servers that are asked for the client: its own, else those of the network; `None` for the host's.
    #[must_use]
    pub fn servers(&self, client: IpAddr) -> Option<Vec<IpAddr>> {
        let own = endpoint::load(&self.layout, &self.network.name, client).ok().flatten();
        let own = own.and_then(|endpoint| Some(endpoint.owner.attachment()?.servers.clone()));
        let own = own.filter(|servers| !servers.is_empty());
        own.or_else(|| {
            let known = name_server::load(&self.layout, &self.network.name).ok().flatten();
            known.map(|known| known.servers).filter(|servers| !servers.is_empty())
        })
    }
}

/// Whether both are one container, in whatever networks.
fn is_of_same(one: &Owner, other: &Owner) -> bool {
    match (one.attachment(), other.attachment()) {
        (Some(one), Some(other)) => {
            one.key.container == other.key.container && one.namespace.is_same_as(&other.namespace)
        }
        (None, None) => one.id() == other.id(),
        _ => false,
    }
}
