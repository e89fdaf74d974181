//! The connection tracking's messages: their numbers, how a request is written and how a direction is read.
//!
//! The numbers are those of `<linux/netfilter/nfnetlink_conntrack.h>`.

use std::net::IpAddr;

use netlink_packet_core::{DefaultNla, NetlinkHeader, NetlinkMessage, NetlinkPayload, NlasIterator};
use netlink_packet_netfilter::conntrack::ConntrackMessage;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};

pub(super) const IPCTNL_MSG_CT_NEW: u8 = 0;
pub(super) const IPCTNL_MSG_CT_GET: u8 = 1;
pub(super) const IPCTNL_MSG_CT_DELETE: u8 = 2;
pub(super) const CTA_TUPLE_ORIG: u16 = 1;
pub(super) const CTA_TUPLE_REPLY: u16 = 2;
pub(super) const CTA_STATUS: u16 = 3;
pub(super) const CTA_PROTOINFO: u16 = 4;
pub(super) const CTA_TIMEOUT: u16 = 7;
pub(super) const CTA_ID: u16 = 12;
pub(super) const CTA_FILTER: u16 = 25;
pub(super) const CTA_STATUS_MASK: u16 = 26;
pub(super) const CTA_FILTER_ORIG_FLAGS: u16 = 1;
pub(super) const CTA_FILTER_REPLY_FLAGS: u16 = 2;
pub(super) const CTA_PROTOINFO_TCP: u16 = 1;
pub(super) const CTA_PROTOINFO_SCTP: u16 = 3;
/// The state, in the attributes of TCP as in those of SCTP.
pub(super) const CTA_PROTOINFO_STATE: u16 = 1;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;

/// `NFNETLINK_V0`.
pub(super) const VERSION: u8 = 0;

/// One direction of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Direction {
    /// Where its packets come from.
    pub source: IpAddr,
    /// Where they go.
    pub destination: IpAddr,
    /// The IP protocol number.
    pub protocol: u8,
    /// The port they come from; 0 for protocols without ports.
    pub source_port: u16,
    /// The port they go to; 0 for protocols without ports.
    pub destination_port: u16,
}

/// A request as bytes.
pub(super) fn request(
    ipv4: bool,
    version: u8,
    message_type: u8,
    attributes: Vec<DefaultNla>,
    flags: u16,
) -> Vec<u8> {
    let family = if ipv4 { NetfilterProtoFamily::IPv4 } else { NetfilterProtoFamily::IPv6 };
    let message = ConntrackMessage::Other { message_type, attributes };
    let message = NetfilterMessage::new(NetfilterHeader::new(family, version, 0), message);
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// Reads a tuple; `None` if something is missing in it.
pub(super) fn direction(tuple: &[u8]) -> Option<Direction> {
    let (mut source, mut destination) = (None, None);
    let (mut protocol, mut ports) = (None, [0; 2]);
    for part in NlasIterator::new(tuple).flatten() {
        for nla in NlasIterator::new(part.value()).flatten() {
            match (part.kind(), nla.kind()) {
                (CTA_TUPLE_IP, CTA_IP_V4_SRC | CTA_IP_V6_SRC) => source = address(nla.value()),
                (CTA_TUPLE_IP, CTA_IP_V4_DST | CTA_IP_V6_DST) => destination = address(nla.value()),
                (CTA_TUPLE_PROTO, CTA_PROTO_NUM) => protocol = nla.value().first().copied(),
                (CTA_TUPLE_PROTO, CTA_PROTO_SRC_PORT) => ports[0] = port(nla.value())?,
                (CTA_TUPLE_PROTO, CTA_PROTO_DST_PORT) => ports[1] = port(nla.value())?,
                _ => {}
            }
        }
    }
    Some(Direction {
        source: source?,
        destination: destination?,
        protocol: protocol?,
        source_port: ports[0],
        destination_port: ports[1],
    })
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
    }
}

fn port(bytes: &[u8]) -> Option<u16> {
    bytes.try_into().ok().map(u16::from_be_bytes)
}
