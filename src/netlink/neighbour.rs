//! Entries that tie an IP address to an Ethernet address, and an Ethernet address to a port of a bridge, so that nothing
//! that arrives changes them.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourHeader, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::LinkBridgePort;

use super::link::MacAddress;
use super::route::Batch;
use crate::names::IfName;

impl Batch {
    /// Ties the IP address to the Ethernet address, for what leaves by the device: no ARP or neighbour discovery
    /// changes it (`NUD_PERMANENT`). Whatever was known before is replaced.
    pub fn tie_neighbour(&mut self, link: u32, address: IpAddr, mac: MacAddress) {
        let mut message = neighbour(link, address);
        message.header.state = NeighbourState::Permanent;
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.bytes().to_vec()));
        let flags = NLM_F_CREATE | NLM_F_REPLACE;
        self.push("tie an address to its interface", RouteNetlinkMessage::NewNeighbour(message), flags);
    }

    /// Takes such an entry away.
    pub fn untie_neighbour(&mut self, link: u32, address: IpAddr) {
        let message = RouteNetlinkMessage::DelNeighbour(neighbour(link, address));
        self.push("forget the interface of an address", message, 0);
    }

    /// Ties an Ethernet address to a port of a bridge, whatever frames pretend. The entry goes when the port leaves
    /// the bridge.
    pub fn tie_to_port(&mut self, port: u32, mac: MacAddress) {
        let mut message = NeighbourMessage::default();
        message.header = NeighbourHeader {
            family: AddressFamily::Bridge,
            ifindex: port,
            // Not learned, and not the bridge's own.
            state: NeighbourState::Noarp,
            flags: NeighbourFlags::Controller,
            ..NeighbourHeader::default()
        };
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.bytes().to_vec()));
        let flags = NLM_F_CREATE | NLM_F_REPLACE;
        self.push("tie an interface to its port", RouteNetlinkMessage::NewNeighbour(message), flags);
    }

    /// Keeps the bridge from learning Ethernet addresses from what comes in by a port.
    pub fn stop_learning(&mut self, port: &IfName) {
        // As for hairpin mode.
        let message = LinkBridgePort::new(0).name(port.as_str()).learning(false).build();
        self.push("switch learning off", RouteNetlinkMessage::NewLink(message), 0);
    }
}

fn neighbour(link: u32, address: IpAddr) -> NeighbourMessage {
    let (family, address) = match address {
        IpAddr::V4(address) => (AddressFamily::Inet, NeighbourAddress::Inet(address)),
        IpAddr::V6(address) => (AddressFamily::Inet6, NeighbourAddress::Inet6(address)),
    };
    let mut message = NeighbourMessage::default();
    message.header = NeighbourHeader { family, ifindex: link, ..NeighbourHeader::default() };
    message.attributes.push(NeighbourAttribute::Destination(address));
    message
}
