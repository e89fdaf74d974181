//! What a container can know of its networks by asking: the names in them, whose an address is, where its host is.

use std::net::IpAddr;

use super::endpoint::{self, Endpoint};
use super::error::NetworkError;
use super::links::{Link, Links};
use super::name_files::holders;
use super::record;
use super::remembered::{Evidence, Remembered};
use super::subnet::Family;
use crate::names::{ContainerId, NetworkName};
use crate::netns::NetNs;
use crate::nft::{Diversion, Socket, Transaction};
use crate::store::Layout;

/// Looks at the networks of one container, which come and go: every answer is of this moment. What cannot be read counts
/// as not there.
#[derive(Debug)]
pub struct Neighbours {
    layout: Layout,
    container: ContainerId,
    names: Remembered<Vec<IpAddr>>,
    outside: Remembered<bool>,
}

/// Whose an address is, as a container sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Neighbour {
    /// A running container's: its name, and the network.
    Container(String, NetworkName),
    /// In one of the container's networks, and no running container's.
    Nobody,
    /// In none of its networks.
    Elsewhere,
}

impl Neighbours {
    pub(super) fn new(layout: Layout, container: ContainerId) -> Self {
        Self { layout, container, names: Remembered::default(), outside: Remembered::default() }
    }

    fn links(&self, evidence: &mut Evidence) -> Vec<Link> {
        let links = Links::of_container(&self.layout, &self.container);
        evidence.reads(links.directory().to_owned());
        let mut links = links.list().unwrap_or_default();
        links.retain(|link| link.is_made);
        links.sort_by(|one, other| one.network.as_str().cmp(other.network.as_str()));
        links
    }

    /// The container's own endpoints, in order of connecting.
    fn endpoints(&self, evidence: &mut Evidence) -> Vec<Endpoint> {
        let links = self.links(evidence);
        let load = |link: Link| {
            evidence.reads(endpoint::path(&self.layout, &link.network, link.address));
            endpoint::load(&self.layout, &link.network, link.address).ok().flatten()
        };
        let mut endpoints: Vec<Endpoint> = links.into_iter().filter_map(load).collect();
        endpoints.retain(|endpoint| endpoint.is_of(&self.container));
        endpoints.sort_by_key(|endpoint| endpoint.position);
        endpoints
    }

    /// The addresses of a name, which is in lower case: `NAME` in each of the networks, or `NAME.NETWORK`.
    #[must_use]
    pub fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        self.names.get(name, |evidence| self.find(name, evidence))
    }

    fn find(&self, name: &str, evidence: &mut Evidence) -> Option<Vec<IpAddr>> {
        let mut found: Option<Vec<IpAddr>> = None;
        for Link { network, .. } in self.links(evidence) {
            let short = || {
                let suffixes = [network.as_str(), "bridge"].into_iter();
                let count = if network == NetworkName::of_default() { 2 } else { 1 };
                suffixes.take(count).find_map(|suffix| without_suffix(name, suffix))
            };
            for name in [Some(name), short()].into_iter().flatten() {
                if let Some(addresses) = holders(&self.layout, &network, name, evidence) {
                    found.get_or_insert_default().extend(addresses);
                }
            }
        }
        found
    }

    /// Whose an address is.
    #[must_use]
    pub fn holder(&self, address: IpAddr) -> Neighbour {
        for own in self.endpoints(&mut Evidence::new()) {
            if !own.addresses.iter().any(|it| it.net.contains(&address)) {
                continue;
            }
            let holder = endpoint::load(&self.layout, &own.network, address).ok().flatten();
            return match holder {
                Some(Endpoint { owner, network, .. }) if owner.answers_to_names() => {
                    Neighbour::Container(owner.name(), network)
                }
                _ => Neighbour::Nobody,
            };
        }
        Neighbour::Elsewhere
    }

    /// The host's addresses as the container reaches it: its gateways, even where no route leads through them.
    #[must_use]
    pub fn host(&self) -> Vec<IpAddr> {
        let endpoints = self.endpoints(&mut Evidence::new());
        let gateway = |family| endpoints.iter().find_map(|endpoint| endpoint.gateway(family));
        let gateways: Vec<IpAddr> = Family::ALL.into_iter().filter_map(gateway).collect();
        if !gateways.is_empty() {
            return gateways;
        }
        let load = |endpoint: &Endpoint| record::load(&self.layout, &endpoint.network).ok().flatten();
        let network = endpoints.first().and_then(load).map(|loaded| loaded.network);
        network.iter().flat_map(|network| network.blocks()).map(|block| block.gateway).collect()
    }

    /// Whether a route leads out of its networks.
    #[must_use]
    pub fn reaches_outside(&self) -> bool {
        let leads_out =
            |endpoint: &Endpoint| Family::ALL.into_iter().any(|it| endpoint.gateway(it).is_some());
        let found = self.outside.get("", |evidence| Some(self.endpoints(evidence).iter().any(leads_out)));
        found.unwrap_or(false)
    }
}

/// What stands before `.suffix`, which may be written in any case.
pub(super) fn without_suffix<'a>(name: &'a str, suffix: &str) -> Option<&'a str> {
    let (short, end) = name.split_at_checked(name.len().checked_sub(suffix.len() + 1)?)?;
    let end = end.strip_prefix('.')?;
    (end.eq_ignore_ascii_case(suffix) && !short.is_empty()).then_some(short)
}

/// Leads questions to a name server in a namespace to other ports.
pub(super) fn divert(netns: &NetNs, diversion: Diversion) -> Result<(), NetworkError> {
    let action = || "keep port 53 of the container free".to_owned();
    let entered = netns.run(Socket::open);
    let entered = entered
        .map_err(|error| NetworkError::Io { action: action(), source: std::io::Error::other(error) })?;
    let mut transaction = Transaction::new();
    transaction.divert(diversion);
    let committed = entered.map_err(NetworkError::NftSocket)?.commit(transaction);
    committed.map_err(|source| NetworkError::Table { action: action(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_the_end_of_a_name() {
        assert_eq!(without_suffix("web.front", "Front"), Some("web"));
        assert_eq!(without_suffix("a.web.front", "front"), Some("a.web"));
        for (name, suffix) in
            [("front", "front"), (".front", "front"), ("webfront", "front"), ("web", "front")]
        {
            assert_eq!(without_suffix(name, suffix), None, "{name}");
        }
    }
}
