//! The kernel's connection tracking remembers where a flow was led. What it remembers is removed where it is no
//! longer true: flows would go on to an address that has another holder by now, or none.

use std::io;
use std::net::IpAddr;

use super::endpoint::Endpoint;
use super::error::NetworkError;
use super::port::PortMapping;
use super::publisher::Publisher;
use super::record::Network;
use super::records::Records;
use super::table::Table;
use crate::netlink::{Conntrack, HostPorts};

impl Table {
    /// Removes the connection-tracking entries of flows that were translated to the endpoint's addresses: they
    /// would go on, and reach the next holder of the address.
    pub(super) fn forget_flows_to(
        &mut self,
        records: &Records,
        endpoint: &Endpoint,
    ) -> Result<(), NetworkError> {
        let publisher = Publisher::from(endpoint);
        let mut targets: Vec<IpAddr> =
            endpoint.ports.iter().filter_map(|mapping| publisher.target(mapping.host_ip)).collect();
        targets.sort_unstable();
        targets.dedup();
        for address in targets {
            // What is left of a dead container may be cleared away after its address was given to another.
            let holder = records.holder(&endpoint.network, address)?;
            if holder.is_some_and(|holder| !holder.is_of(endpoint.owner.id())) {
                continue;
            }
            self.forget_flows(|conntrack| conntrack.forget_flows_to_container(address));
        }
        Ok(())
    }

    /// Removes every connection-tracking entry of the endpoint's addresses, once nothing can be sent from them any
    /// more: what the container was told, or told others, would reach the next holder of the address, past the rules
    /// that look at the first packet of a flow only.
    pub(super) fn forget_flows_of(
        &mut self,
        records: &Records,
        endpoint: &Endpoint,
    ) -> Result<(), NetworkError> {
        for address in &endpoint.addresses {
            let address = address.address();
            // As above.
            let holder = records.holder(&endpoint.network, address)?;
            if holder.is_some_and(|holder| holder.is_of(endpoint.owner.id())) {
                self.forget_flows(|conntrack| conntrack.forget_flows_of_container(address));
            }
        }
        Ok(())
    }

    /// Removes the connection-tracking entries of flows to these ports that began before they were
    /// published, or while they led elsewhere: they would go on as if nothing had changed.
    pub(super) fn forget_flows_elsewhere(&mut self, publisher: &Publisher) {
        let ports = publisher.ports.iter().filter_map(|mapping| {
            let PortMapping { host_ip: address, host, proto, .. } = mapping;
            let container = publisher.target(*address)?;
            Some(HostPorts {
                address: *address,
                protocol: proto.number(),
                ports: host.first..=host.last,
                container,
            })
        });
        let ports: Vec<_> = ports.collect();
        self.forget_flows(|conntrack| conntrack.forget_flows_to_ports(&ports));
    }

    /// Removes the connection-tracking entries of flows that began while the table was missing: what is translated
    /// is decided by the first packet alone, and what is dropped too.
    pub(super) fn forget_flows_without_rules(&mut self, networks: &[Network]) {
        let subnets: Vec<_> =
            networks.iter().flat_map(Network::blocks).map(|block| block.subnet.net()).collect();
        self.forget_flows(|conntrack| conntrack.forget_untranslated_flows(&subnets));
    }

    /// A flow that remains disturbs its client until it times out; that is no reason to fail.
    fn forget_flows(&mut self, forget: impl FnOnce(&mut Conntrack) -> io::Result<()>) {
        let opened = self.conntrack.take().map_or_else(Conntrack::open, Ok);
        let forgotten = opened.and_then(|mut conntrack| {
            forget(&mut conntrack)?;
            self.conntrack = Some(conntrack);
            Ok(())
        });
        if let Err(error) = forgotten {
            tracing::warn!(%error, "cannot remove connection-tracking entries");
        }
    }
}
