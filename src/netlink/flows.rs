//! Connection-tracking entries as they are listed and as they come and go, for people to look at.

use std::fmt;
use std::io;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NlasIterator};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};

use super::ctnetlink::{
    CTA_PROTOINFO, CTA_PROTOINFO_SCTP, CTA_PROTOINFO_STATE, CTA_PROTOINFO_TCP, CTA_STATUS, CTA_TIMEOUT,
    CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, Direction, IPCTNL_MSG_CT_DELETE, IPCTNL_MSG_CT_GET, IPCTNL_MSG_CT_NEW,
    VERSION, direction, request,
};
use super::frames::{Frame, answers, datagram, frames};

/// `NFNL_SUBSYS_CTNETLINK` (`<linux/netfilter/nfnetlink_compat.h>`): the upper byte of message types.
const SUBSYSTEM: u16 = 1;
// <linux/netfilter/nf_conntrack_common.h>
const IPS_SEEN_REPLY: u32 = 1 << 1;
const IPS_ASSURED: u32 = 1 << 2;
/// `NFNLGRP_CONNTRACK_NEW`, `_UPDATE`, `_DESTROY`.
const GROUPS: [u32; 3] = [1, 2, 3];

/// Room for what happens while the reader prints: some 20,000 events.
const RECEIVE_BUFFER: usize = 8 << 20;
/// `enum tcp_conntrack` (`<linux/netfilter/nf_conntrack_tcp.h>`).
pub(super) const TCP_STATES: [&str; 10] = [
    "NONE",
    "SYN_SENT",
    "SYN_RECV",
    "ESTABLISHED",
    "FIN_WAIT",
    "CLOSE_WAIT",
    "LAST_ACK",
    "TIME_WAIT",
    "CLOSE",
    "SYN_SENT2",
];
/// `enum sctp_conntrack` (`<linux/netfilter/nf_conntrack_sctp.h>`).
const SCTP_STATES: [&str; 9] = [
    "NONE",
    "CLOSED",
    "COOKIE_WAIT",
    "COOKIE_ECHOED",
    "ESTABLISHED",
    "SHUTDOWN_SENT",
    "SHUTDOWN_RECD",
    "SHUTDOWN_ACK_SENT",
    "HEARTBEAT_SENT",
];

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowState {
    /// By the protocol's own name.
    Named(&'static str),
    /// There was no answer yet.
    Unreplied,
    /// There were answers.
    Replied,
    /// It has lasted so long that it is kept when the table is full.
    Assured,
}

impl fmt::Display for FlowState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Named(name) => name,
            Self::Unreplied => "UNREPLIED",
            Self::Replied => "REPLIED",
            Self::Assured => "ASSURED",
        })
    }
}

/// A connection-tracking entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// How the first packet came.
    pub original: Direction,
    /// How answers come. What was translated shows in the difference.
    pub reply: Direction,
    /// How far it has come; `None` where an event does not say.
    pub state: Option<FlowState>,
    /// The seconds until it is forgotten unless there is another packet; `None` once it is.
    pub timeout: Option<u32>,
}

/// What happened to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowEvent {
    /// It was made.
    New,
    /// Its state changed.
    Update,
    /// It was removed.
    Destroy,
}

impl fmt::Display for FlowEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::New => "NEW",
            Self::Update => "UPDATE",
            Self::Destroy => "DESTROY",
        })
    }
}

/// A socket to the connection tracking of the namespace it was opened in.
#[derive(Debug)]
pub struct FlowSocket {
    socket: Socket,
}

impl FlowSocket {
    /// Opens a socket for listings.
    ///
    /// # Errors
    /// The kernel has no such socket to give.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket })
    }

    /// Opens a socket that receives every change from now on.
    ///
    /// # Errors
    /// The kernel has no such socket, or does not report changes.
    pub fn watch() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        // Only the privileged may; with a smaller buffer more events are lost, which is reported.
        setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).ok();
        for group in GROUPS {
            socket.add_membership(group)?;
        }
        Ok(Self { socket })
    }

    /// All entries, of both families.
    ///
    /// # Errors
    /// The kernel refuses to list them.
    pub fn list(&mut self) -> io::Result<Vec<Flow>> {
        let mut flows = Vec::new();
        for ipv4 in [true, false] {
            let flags = NLM_F_REQUEST | NLM_F_DUMP;
            self.socket.send(&request(ipv4, VERSION, IPCTNL_MSG_CT_GET, Vec::new(), flags), 0)?;
            answers(&self.socket, |frame| flows.extend(parse(frame.attributes())))?;
        }
        Ok(flows)
    }

    /// Waits for changes of a socket that watches, and hands out each until `each` returns false.
    ///
    /// # Errors
    /// The socket failed. Changes that were lost because there were too many of them are logged.
    pub fn follow(&mut self, mut each: impl FnMut(FlowEvent, Flow) -> bool) -> io::Result<()> {
        loop {
            let datagram = match datagram(&self.socket) {
                Ok(datagram) => datagram,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    tracing::warn!("some changes are missing: there were more than could be read");
                    continue;
                }
                Err(error) => return Err(error),
            };
            for (event, flow) in events(&datagram) {
                if !each(event, flow) {
                    return Ok(());
                }
            }
        }
    }
}

/// The changes in a datagram.
pub(super) fn events(datagram: &[u8]) -> Vec<(FlowEvent, Flow)> {
    const NEW: u16 = SUBSYSTEM << 8 | IPCTNL_MSG_CT_NEW as u16;
    const DELETE: u16 = SUBSYSTEM << 8 | IPCTNL_MSG_CT_DELETE as u16;
    let event = |frame: Frame<'_>| {
        let event = match frame.kind {
            NEW if frame.flags & (NLM_F_CREATE | NLM_F_EXCL) != 0 => FlowEvent::New,
            NEW => FlowEvent::Update,
            DELETE => FlowEvent::Destroy,
            _ => return None,
        };
        Some((event, parse(frame.attributes())?))
    };
    frames(datagram).filter_map(event).collect()
}

/// The entry with these attributes; `None` if they are something else's.
fn parse(attributes: &[u8]) -> Option<Flow> {
    let (mut original, mut reply, mut named) = (None, None, None);
    let (mut status, mut timeout) = (None, None);
    for nla in NlasIterator::new(attributes).flatten() {
        match nla.kind() {
            CTA_TUPLE_ORIG => original = direction(nla.value()),
            CTA_TUPLE_REPLY => reply = direction(nla.value()),
            CTA_STATUS => status = number(nla.value()),
            CTA_TIMEOUT => timeout = number(nla.value()),
            CTA_PROTOINFO => named = state(nla.value()),
            _ => {}
        }
    }
    let by_status = |status: u32| {
        if status & IPS_ASSURED != 0 {
            FlowState::Assured
        } else if status & IPS_SEEN_REPLY != 0 {
            FlowState::Replied
        } else {
            FlowState::Unreplied
        }
    };
    let state = named.map(FlowState::Named).or(status.map(by_status));
    Some(Flow { original: original?, reply: reply?, state, timeout })
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_be_bytes)
}

/// The protocol's own name of the state.
fn state(info: &[u8]) -> Option<&'static str> {
    let (kind, names) = NlasIterator::new(info).flatten().find_map(|nla| match nla.kind() {
        CTA_PROTOINFO_TCP => Some((nla.value().to_vec(), &TCP_STATES[..])),
        CTA_PROTOINFO_SCTP => Some((nla.value().to_vec(), &SCTP_STATES[..])),
        _ => None,
    })?;
    let state = NlasIterator::new(&kind).flatten().find(|nla| nla.kind() == CTA_PROTOINFO_STATE)?;
    names.get(usize::from(*state.value().first()?)).copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::frames::{GENMSG, HEADER};
    use super::*;

    proptest! {
        #[test]
        fn any_datagram_is_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            events(&bytes);
            parse(&bytes);
        }

        /// Damage within a message that is otherwise well-formed goes deeper than noise does.
        #[test]
        fn a_damaged_entry_is_read_without_panic(at in 0..BODY.len(), byte: u8, cut in 0..BODY.len()) {
            let mut body = BODY.to_vec();
            body[at] = byte;
            parse(&body);
            parse(&body[..cut]);
        }
    }

    /// An entry of a TCP connection from 203.0.113.7:40000 to 198.51.100.10:8080, which is 172.18.0.2:80.
    const BODY: &[u8] = &[
        2, 0, 0, 0, // nfgenmsg
        52, 0, 1, 0x80, // CTA_TUPLE_ORIG
        20, 0, 1, 0x80, 8, 0, 1, 0, 203, 0, 113, 7, 8, 0, 2, 0, 198, 51, 100, 10, //
        28, 0, 2, 0x80, 5, 0, 1, 0, 6, 0, 0, 0, 6, 0, 2, 0, 0x9c, 0x40, 0, 0, 6, 0, 3, 0, 0x1f, 0x90, 0,
        0, //
        52, 0, 2, 0x80, // CTA_TUPLE_REPLY
        20, 0, 1, 0x80, 8, 0, 1, 0, 172, 18, 0, 2, 8, 0, 2, 0, 203, 0, 113, 7, //
        28, 0, 2, 0x80, 5, 0, 1, 0, 6, 0, 0, 0, 6, 0, 2, 0, 0, 80, 0, 0, 6, 0, 3, 0, 0x9c, 0x40, 0,
        0, //
        8, 0, 3, 0, 0, 0, 1, 0x8e, // CTA_STATUS
        8, 0, 7, 0, 0, 0, 0, 120, // CTA_TIMEOUT
        16, 0, 4, 0x80, 12, 0, 1, 0x80, 5, 0, 1, 0, 3, 0, 0, 0, // CTA_PROTOINFO
    ];

    fn datagram(kind: u16, flags: u16) -> Vec<u8> {
        let length = u32::try_from(HEADER + BODY.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(BODY);
        bytes
    }

    #[test]
    fn an_entry_is_read_with_its_translation_and_state() {
        let flow = parse(&BODY[GENMSG..]).unwrap();
        assert_eq!(flow.original.source.to_string(), "203.0.113.7");
        assert_eq!((flow.original.source_port, flow.original.destination_port), (40000, 8080));
        assert_eq!(flow.reply.source.to_string(), "172.18.0.2");
        assert_eq!((flow.reply.source_port, flow.original.protocol), (80, 6));
        assert_eq!((flow.state, flow.timeout), (Some(FlowState::Named("ESTABLISHED")), Some(120)));
    }

    #[test]
    fn events_are_told_apart() {
        let of = |kind, flags| events(&datagram(kind, flags)).first().map(|(event, _)| *event);
        assert_eq!(of(0x100, NLM_F_CREATE | NLM_F_EXCL), Some(FlowEvent::New));
        assert_eq!(of(0x100, 0), Some(FlowEvent::Update));
        assert_eq!(of(0x102, 0), Some(FlowEvent::Destroy));
        assert_eq!(of(0x101, 0), None);
        let two = [datagram(0x100, 0), datagram(0x102, 0)].concat();
        assert_eq!(events(&two).len(), 2);
        assert_eq!(events(&two[..two.len() - 1]).len(), 1);
    }
}
