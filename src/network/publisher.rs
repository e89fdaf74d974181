//! Who publishes ports, and where these lead: one address of each family, which may be of different networks.

use std::collections::HashSet;
use std::net::IpAddr;

use super::endpoint::{Endpoint, InterfaceAddress};
use super::owner::Owner;
use super::port::PortMapping;
use super::subnet::Family;
use crate::names::NetworkName;
use crate::nft::{Element, ElementError};

/// All of a container or namespace that its published ports lead to.
#[derive(Debug, Clone)]
pub(super) struct Publisher {
    /// Who it is.
    pub(super) owner: Owner,
    /// The network that is named where an address is missing.
    pub(super) network: NetworkName,
    /// Where ports of IPv4 addresses of the host lead.
    pub(super) ipv4: Option<InterfaceAddress>,
    /// Where ports of IPv6 addresses of the host lead.
    pub(super) ipv6: Option<InterfaceAddress>,
    /// The ports.
    pub(super) ports: Vec<PortMapping>,
}

/// An endpoint with its own ports.
impl From<&Endpoint> for Publisher {
    fn from(endpoint: &Endpoint) -> Self {
        let of = |family| endpoint.of(family).copied();
        Self {
            owner: endpoint.owner.clone(),
            network: endpoint.network.clone(),
            ipv4: of(Family::V4),
            ipv6: of(Family::V6),
            ports: endpoint.ports.clone(),
        }
    }
}

impl Publisher {
    /// What the ports of someone with these endpoints lead to, without ports yet; `None` if there is nothing.
    #[must_use]
    pub(super) fn of(endpoints: &[Endpoint]) -> Option<Self> {
        let [ipv4, ipv6] = Family::ALL.map(|family| publisher_of(endpoints, family));
        let first = ipv4.or(ipv6)?;
        Some(Self {
            owner: first.owner.clone(),
            network: first.network.clone(),
            ipv4: ipv4.and_then(|endpoint| endpoint.of(Family::V4).copied()),
            ipv6: ipv6.and_then(|endpoint| endpoint.of(Family::V6).copied()),
            ports: Vec::new(),
        })
    }

    fn address(&self, family: Family) -> Option<&InterfaceAddress> {
        match family {
            Family::V4 => self.ipv4.as_ref(),
            Family::V6 => self.ipv6.as_ref(),
        }
    }

    /// The address that a port of the host can lead to: the one of the same family, because the kernel does not
    /// translate between the two.
    #[must_use]
    pub(super) fn target(&self, host_ip: IpAddr) -> Option<IpAddr> {
        self.address(Family::of(host_ip)).map(InterfaceAddress::address)
    }

    /// Whether packets of the host's neighbours come through to ports of this family.
    #[must_use]
    pub(super) fn is_reachable(&self, family: Family) -> bool {
        self.address(family).is_some_and(|address| address.gateway.is_some())
    }

    /// The elements of its ports.
    ///
    /// # Errors
    /// The comment is not one that nft could print; names are checked where they enter, so this would be a bug.
    pub(super) fn elements(&self) -> Result<Vec<Element>, ElementError> {
        let comment = self.owner.comment();
        let mut elements = Vec::new();
        for mapping in &self.ports {
            if let Some(to) = self.target(mapping.host_ip) {
                elements.extend(mapping.elements(to, &comment)?);
            }
        }
        Ok(elements)
    }

    /// The elements that must have room where its ports are to be published, and do not stay.
    ///
    /// # Errors
    /// As for [`Publisher::elements`].
    pub(super) fn exclusions(&self) -> Result<Vec<Element>, ElementError> {
        let comment = self.owner.comment();
        let mut elements = Vec::new();
        for mapping in &self.ports {
            if let Some(to) = self.target(mapping.host_ip) {
                elements.extend(mapping.exclusions(to, &comment)?);
            }
        }
        // Two addresses of one port exclude the same.
        let mut seen = HashSet::new();
        elements.retain(|element| seen.insert(element.clone()));
        Ok(elements)
    }
}

/// The endpoint of a namespace that the default route of a family leads through: the first, in order of connecting,
/// in a network that forwards packets of the family.
#[must_use]
pub(super) fn default_route_of(endpoints: &[Endpoint], family: Family) -> Option<&Endpoint> {
    endpoints.iter().find(|endpoint| endpoint.gateway(family).is_some())
}

/// The families whose default routes lead through an endpoint that comes after these.
#[must_use]
pub(super) fn defaults_beside(others: &[Endpoint]) -> Vec<Family> {
    Family::ALL.into_iter().filter(|family| default_route_of(others, *family).is_none()).collect()
}

/// The endpoint that published ports of a family lead to: the one with the default route, because replies to
/// anywhere have to find their way back; where there is none, the first with an address of the family.
#[must_use]
pub(super) fn publisher_of(endpoints: &[Endpoint], family: Family) -> Option<&Endpoint> {
    let has_address = |endpoint: &&Endpoint| endpoint.of(family).is_some();
    default_route_of(endpoints, family).or_else(|| endpoints.iter().find(has_address))
}
