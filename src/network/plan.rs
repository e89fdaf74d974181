//! What a network and an endpoint mean to the kernel: pure functions from records to set elements and
//! kernel parameters. Creating, removing and restoring all read the same plan.

use std::collections::HashSet;
use std::net::IpAddr;

use super::endpoint::Endpoint;
use super::record::Network;
use crate::nft::{Element, ElementError};

/// The elements of a network, the same at its creation, its removal and a rebuild.
#[must_use]
pub(super) fn network_elements(network: &Network) -> Vec<Element> {
    let bridge = &network.bridge;
    let mut elements = vec![
        Element::Bridge(bridge.clone()),
        Element::SameBridge(bridge.clone()),
        Element::Subnet4(network.subnet.net()),
    ];
    if network.internal {
        elements.push(Element::Internal(bridge.clone()));
    }
    if network.isolated {
        elements.push(Element::Isolated(bridge.clone()));
    }
    elements
}

/// The elements of the ports that an endpoint publishes.
///
/// # Errors
/// The container's name cannot be a remark; names are checked where they enter, so this is a fault of ours.
pub(super) fn endpoint_elements(endpoint: &Endpoint) -> Result<Vec<Element>, ElementError> {
    let mut elements = Vec::new();
    for mapping in &endpoint.ports {
        if let Some(to) = target(endpoint, mapping.host_ip) {
            elements.extend(mapping.elements(to, endpoint.comment())?);
        }
    }
    Ok(elements)
}

/// The elements that must have room where the endpoint's ports are to be published, and do not stay.
///
/// # Errors
/// As for [`endpoint_elements`].
pub(super) fn endpoint_exclusions(endpoint: &Endpoint) -> Result<Vec<Element>, ElementError> {
    let mut elements = Vec::new();
    for mapping in &endpoint.ports {
        if let Some(to) = target(endpoint, mapping.host_ip) {
            elements.extend(mapping.exclusions(to, endpoint.comment())?);
        }
    }
    // Two addresses of one port exclude the same.
    let mut seen = HashSet::new();
    elements.retain(|element| seen.insert(element.clone()));
    Ok(elements)
}

/// The endpoint's address that a port of the host can lead to: the one of the same family, because the kernel
/// does not translate between the two.
#[must_use]
pub(super) fn target(endpoint: &Endpoint, host_ip: IpAddr) -> Option<IpAddr> {
    host_ip.is_ipv4().then(|| endpoint.address.addr().into())
}

/// A kernel parameter: its path below `/proc/sys` and its value.
pub(super) type Parameter = (String, &'static str);

/// The parameters of a bridge, to be set while it is still down.
#[must_use]
pub(super) fn bridge_parameters(network: &Network) -> Vec<Parameter> {
    let bridge = &network.bridge;
    let mut parameters = vec![no_ipv6(bridge.as_str())];
    if !network.internal {
        // Lets 127.0.0.1:PORT of the host reach a container. The chain `guard` keeps everybody else's
        // packets for 127.0.0.0/8 out.
        parameters.push((format!("net/ipv4/conf/{bridge}/route_localnet"), "1"));
    }
    parameters
}

/// Without IPv6 in the network there is no IPv6 on its devices, not even link-local addresses: they would be
/// a way around every IPv4 rule.
#[must_use]
pub(super) fn no_ipv6(device: &str) -> Parameter {
    (format!("net/ipv6/conf/{device}/disable_ipv6"), "1")
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::network;
    use super::*;

    #[test]
    fn a_network_is_its_bridge_and_subnet_and_its_options() {
        let mut plain = network("br0", "10.0.0.0/24");
        let elements = network_elements(&plain);
        assert_eq!(elements.len(), 3);
        assert!(elements.contains(&Element::Subnet4("10.0.0.0/24".parse().unwrap())));
        plain.internal = true;
        plain.isolated = true;
        let bridge = plain.bridge.clone();
        let elements = network_elements(&plain);
        assert!(elements.contains(&Element::Internal(bridge.clone())));
        assert!(elements.contains(&Element::Isolated(bridge)));
        assert!(!bridge_parameters(&plain).iter().any(|(name, _)| name.contains("route_localnet")));
    }
}
