//! Connection-tracking entries that have to go when a UDP port changes hands.
//!
//! Whether a flow is translated is decided by its first packet alone, and a UDP flow lasts as long as its
//! client keeps sending. So an entry from before a port was published keeps a client at the host, and one
//! from before it was taken away keeps it at an address that may be somebody else's by now.

use std::io;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use netlink_packet_core::{
    DefaultNla, Emitable as _, NLA_F_NESTED, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, Nla, NlasIterator,
};
use netlink_packet_netfilter::conntrack::{ConntrackMessage, IPTuple, ProtoTuple, Protocol, Tuple};
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use nix::libc;

// <linux/netfilter/nfnetlink_conntrack.h>
const IPCTNL_MSG_CT_GET: u8 = 1;
const IPCTNL_MSG_CT_DELETE: u8 = 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_ID: u16 = 12;
const CTA_FILTER: u16 = 25;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
const CTA_FILTER_REPLY_FLAGS: u16 = 2;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
// Which parts of a tuple the kernel compares (enum ctattr_filter's flags, nf_conntrack_netlink.c).
const FILTER_IP_SRC: u32 = 1;
const FILTER_PROTO: u32 = 1 << 3;
const FILTER_DST_PORT: u32 = 1 << 5;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const HEADER: usize = 16;
/// Behind the message header stands `struct nfgenmsg`.
const GENERIC: usize = 4;
const UDP: u8 = 17;

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

/// An entry: how the first packet came, and how answers are expected.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Flow {
    original: Direction,
    reply: Direction,
    /// The attributes that name it to the kernel.
    identity: Vec<DefaultNla>,
}

/// Removes the entries of UDP flows to `ports` of this host's own addresses that were not translated: they
/// began before the ports were published. Returns how many there were.
///
/// # Errors
/// The kernel cannot be asked, or refuses to remove an entry.
pub fn forget_untranslated_udp(ports: RangeInclusive<u16>) -> io::Result<usize> {
    let (mut proto, mut flags) = (vec![ProtoTuple::Protocol(Protocol::Udp)], FILTER_PROTO);
    // The kernel compares with one port, not with a range.
    if ports.start() == ports.end() {
        proto.push(ProtoTuple::DestinationPort(*ports.start()));
        flags |= FILTER_DST_PORT;
    }
    let request = vec![nested(CTA_TUPLE_ORIG, &[Tuple::Proto(proto)]), filter(CTA_FILTER_ORIG_FLAGS, flags)];
    remove(request, |flow| {
        let untranslated =
            flow.reply.source == flow.original.destination && flow.reply.destination == flow.original.source;
        flow.original.protocol == UDP
            && ports.contains(&flow.original.destination_port)
            && untranslated
            && is_local(flow.original.destination)
    })
}

/// Removes the entries of UDP flows that were translated to `ports` of `container`. Returns how many there
/// were.
///
/// # Errors
/// The kernel cannot be asked, or refuses to remove an entry.
pub fn forget_translated_udp(container: IpAddr, ports: RangeInclusive<u16>) -> io::Result<usize> {
    let wanted = [
        Tuple::Ip(vec![IPTuple::SourceAddress(container)]),
        Tuple::Proto(vec![ProtoTuple::Protocol(Protocol::Udp)]),
    ];
    let request =
        vec![nested(CTA_TUPLE_REPLY, &wanted), filter(CTA_FILTER_REPLY_FLAGS, FILTER_IP_SRC | FILTER_PROTO)];
    remove(request, |flow| {
        flow.reply.protocol == UDP
            && flow.reply.source == container
            && ports.contains(&flow.reply.source_port)
            && flow.original.destination != container
    })
}

/// An address that a socket can be bound to is one of this host.
fn is_local(address: IpAddr) -> bool {
    std::net::UdpSocket::bind((address, 0)).is_ok()
}

/// The attribute that has the kernel compare before it answers. One that does not know it (Linux before
/// 5.8) lists everything, so the answers are compared here as well.
fn filter(which: u16, flags: u32) -> DefaultNla {
    nested(CTA_FILTER, &[DefaultNla::new(which, flags.to_ne_bytes().to_vec())])
}

/// An attribute that holds others. `ConntrackAttribute::Other` would lose the flag that says so.
fn nested<N: Nla>(kind: u16, parts: &[N]) -> DefaultNla {
    let mut bytes = vec![0; parts.buffer_len()];
    parts.emit(&mut bytes);
    DefaultNla::new(kind | NLA_F_NESTED, bytes)
}

/// Lists the entries that the request asks for, and removes those that match.
fn remove(request: Vec<DefaultNla>, matches: impl Fn(&Flow) -> bool) -> io::Result<usize> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    send(&socket, IPCTNL_MSG_CT_GET, request, NLM_F_REQUEST | NLM_F_DUMP)?;
    let mut flows = Vec::new();
    receive(&socket, |body| flows.extend(parse(body).filter(&matches)))?;
    let found = flows.len();
    for flow in flows {
        send(&socket, IPCTNL_MSG_CT_DELETE, flow.identity, NLM_F_REQUEST | NLM_F_ACK)?;
        match receive(&socket, |_| {}) {
            // It has ended by itself.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            other => other?,
        }
    }
    Ok(found)
}

fn send(socket: &Socket, message_type: u8, attributes: Vec<DefaultNla>, flags: u16) -> io::Result<()> {
    let message = ConntrackMessage::Other { message_type, attributes };
    let header = NetfilterHeader::new(NetfilterProtoFamily::IPv4, 0, 0);
    let mut netlink = NetlinkHeader::default();
    netlink.flags = flags;
    let message = NetfilterMessage::new(header, message);
    let mut message = NetlinkMessage::new(netlink, NetlinkPayload::from(message));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0).map(drop)
}

/// Reads answers until the kernel says that it is done.
pub(super) fn receive(socket: &Socket, mut entry: impl FnMut(&[u8])) -> io::Result<()> {
    loop {
        let mut datagram = Vec::with_capacity(64 * 1024);
        socket.recv(&mut datagram, 0)?;
        let mut rest = &datagram[..];
        while rest.len() >= HEADER {
            let length = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            let Some(body) = rest.get(HEADER..length) else { break };
            match u16::from_ne_bytes([rest[4], rest[5]]) {
                NLMSG_DONE => return Ok(()),
                NLMSG_ERROR => {
                    let code = body.get(..4).map_or(0, |b| i32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
                    return match code {
                        0 => Ok(()),
                        code => Err(io::Error::from_raw_os_error(code.saturating_neg())),
                    };
                }
                _ => entry(body),
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

/// The parts of an entry that matter here; `None` for what is none.
fn parse(body: &[u8]) -> Option<Flow> {
    let (mut original, mut reply) = (None, None);
    let mut identity = Vec::new();
    for nla in NlasIterator::new(body.get(GENERIC..)?).flatten() {
        match nla.kind() {
            CTA_TUPLE_ORIG => {
                original = direction(nla.value());
                identity.push(DefaultNla::new(CTA_TUPLE_ORIG | NLA_F_NESTED, nla.value().to_vec()));
            }
            CTA_TUPLE_REPLY => reply = direction(nla.value()),
            // With its number, so that a later entry of the same addresses is not meant.
            CTA_ID => identity.push(DefaultNla::new(CTA_ID, nla.value().to_vec())),
            _ => {}
        }
    }
    Some(Flow { original: original?, reply: reply?, identity })
}

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_entry_is_read_without_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            parse(&body);
        }
    }

    #[test]
    fn an_address_of_this_host_is_told_from_others() {
        assert!(is_local("127.0.0.1".parse().unwrap()));
        assert!(!is_local("192.0.2.77".parse().unwrap()));
    }
}
