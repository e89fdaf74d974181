//! The kernel's connection tracking remembers where a flow was led. What it remembers is removed where it is no
//! longer true: flows would go on to an address that has another holder by now, or none.

use std::net::IpAddr;

use super::endpoint::{self, Endpoint};
use super::error::NetworkError;
use super::port::PortMapping;
use super::record::Network;
use super::{Networks, plan};
use crate::netlink::{self, HostPorts};
use crate::sysctl;

impl Networks {
    /// Removes the connection-tracking entries of flows that were translated to the endpoint's addresses: they
    /// would go on, and reach whoever gets the address next.
    pub(super) fn forget_flows_to(&self, endpoint: &Endpoint) -> Result<(), NetworkError> {
        if !tracks_connections() {
            return Ok(());
        }
        let mut targets: Vec<IpAddr> =
            endpoint.ports.iter().filter_map(|mapping| plan::target(endpoint, mapping.host_ip)).collect();
        targets.sort_unstable();
        targets.dedup();
        for address in targets {
            // What is left of a dead container may be cleared away after its address was given to another.
            let holder = endpoint::load(&self.layout, &endpoint.network, address)?;
            if holder.is_some_and(|holder| holder.container != endpoint.container) {
                continue;
            }
            note_forgotten(&endpoint.container_name, netlink::forget_flows_to_container(address));
        }
        Ok(())
    }
}

/// Removes the connection-tracking entries of flows to the endpoint's ports that began before these were
/// published, or while they led elsewhere: they would go on as if nothing had changed.
pub(super) fn forget_flows_elsewhere(endpoint: &Endpoint) {
    if !tracks_connections() {
        return;
    }
    let ports = endpoint.ports.iter().filter_map(|mapping| {
        let PortMapping { host_ip: address, host, proto, .. } = mapping;
        let container = plan::target(endpoint, *address)?;
        Some(HostPorts {
            address: *address,
            protocol: proto.number(),
            ports: host.first..=host.last,
            container,
        })
    });
    let ports: Vec<_> = ports.collect();
    note_forgotten(&endpoint.container_name, netlink::forget_flows_to_ports(&ports));
}

/// Whether there is any entry in the host's namespace. To look for some of them costs a walk through a table
/// that all namespaces share.
fn tracks_connections() -> bool {
    sysctl::read("net/netfilter/nf_conntrack_count").ok().flatten().as_deref() != Some("0")
}

/// Flows that remain are a nuisance for their clients, not a reason to fail.
fn note_forgotten(container: &str, forgotten: std::io::Result<usize>) {
    match forgotten {
        Ok(count) => tracing::debug!(container, count, "removed connection-tracking entries"),
        Err(error) => tracing::warn!(container, %error, "cannot remove connection-tracking entries"),
    }
}

/// Removes the connection-tracking entries of flows that began while the table was missing: what is translated is
/// decided by the first packet alone, and what is dropped too.
pub(super) fn forget_flows_without_rules(networks: &[Network]) {
    let subnets: Vec<_> = networks.iter().flat_map(Network::blocks).map(|block| block.subnet.net()).collect();
    match netlink::forget_untranslated_flows(&subnets) {
        Ok(count) => {
            tracing::debug!(count, "removed connection-tracking entries from before the table was restored")
        }
        // They are a nuisance for their clients, not a reason to fail.
        Err(error) => tracing::warn!(%error, "cannot remove connection-tracking entries"),
    }
}
