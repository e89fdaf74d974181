//! Connection-tracking entries that have to go when a port changes hands.
//!
//! Whether a flow is translated is decided by its first packet alone, and a UDP flow lasts as long as its
//! client keeps sending. So an entry from before a port was published keeps a client at the host, and one
//! from before it was taken away keeps it at an address that may be somebody else's by now. TCP is no different
//! for a client that comes again from the same port.
//!
//! The kernel has no index of entries by port or address: each question here is one walk through its table, in
//! the kernel, which only hands out what matches. That walk costs as much as the table has buckets (0.04 µs each:
//! some 10 ms for the 262,144 of a machine with more than 4 GB), however many entries there are, so it is only taken
//! where a quick look (`flow_text`) has not shown that nothing matches. Nor does it compare ports for both families
//! at once (`EOPNOTSUPP`). Deleting by a filter passes over empty buckets (0.1 ms); it serves where a filter
//! says all there is to say.

use std::io;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::os::fd::AsFd as _;

use ipnet::IpNet;
use netlink_packet_core::{
    DefaultNla, Emitable as _, NLA_F_NESTED, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, Nla, NlasIterator,
};
use netlink_packet_netfilter::conntrack::{IPTuple, ProtoTuple, Tuple};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use nix::libc;

use super::ctnetlink::{
    CTA_FILTER, CTA_FILTER_ORIG_FLAGS, CTA_FILTER_REPLY_FLAGS, CTA_ID, CTA_PROTOINFO, CTA_PROTOINFO_STATE,
    CTA_PROTOINFO_TCP, CTA_STATUS, CTA_STATUS_MASK, CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, Direction,
    IPCTNL_MSG_CT_DELETE, IPCTNL_MSG_CT_GET, VERSION, direction, request,
};
use super::flow_text::shows_none;
use super::frames::{Frame, answers};
use crate::sys;

// Which parts of a tuple the kernel compares (enum ctattr_filter's flags, nf_conntrack_netlink.c).
const FILTER_IP_SRC: u32 = 1;
const FILTER_PROTO: u32 = 1 << 3;
const FILTER_DST_PORT: u32 = 1 << 5;
/// The connection's destination was translated (`<linux/netfilter/nf_conntrack_common.h>`).
const IPS_DST_NAT: u32 = 1 << 5;

/// Deleting by a filter looks at the message's family in messages of a later version only.
const VERSION_OF_FILTER: u8 = 1;

/// `TCP_CONNTRACK_ESTABLISHED` to `TCP_CONNTRACK_LAST_ACK` (`<linux/netfilter/nf_conntrack_tcp.h>`): somebody has
/// accepted the connection, and it has not ended.
const TCP_ALIVE: RangeInclusive<u8> = 3..=6;
/// So many ports are asked for one by one. With more, one walk for each protocol hands out all its entries.
const PORTS_ONE_BY_ONE: usize = 4;

/// An entry: how the first packet came, and how answers are expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flow {
    pub(super) original: Direction,
    pub(super) reply: Direction,
    /// The state of a TCP connection, as a number of the kernel's.
    pub(super) tcp_state: Option<u8>,
    /// The attributes that name it to the kernel.
    pub(super) identity: Vec<DefaultNla>,
}

/// Ports of this host that lead somewhere else from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPorts {
    /// The address; unspecified for every one of its family.
    pub address: IpAddr,
    /// The IP protocol number.
    pub protocol: u8,
    /// The ports.
    pub ports: RangeInclusive<u16>,
    /// Where they lead to.
    pub container: IpAddr,
}

impl HostPorts {
    /// Whether the flow is one to these ports that would not reach the container. Of TCP, what a process of the
    /// host has accepted goes on.
    fn misses(&self, flow: &Flow, is_local: &mut impl FnMut(IpAddr) -> bool) -> bool {
        let Flow { original, reply, .. } = flow;
        let untranslated = reply.source == original.destination;
        let alive = untranslated && flow.tcp_state.is_some_and(|state| TCP_ALIVE.contains(&state));
        original.protocol == self.protocol
            && self.ports.contains(&original.destination_port)
            && reply.source != self.container
            && !alive
            && original.destination.is_ipv4() == self.address.is_ipv4()
            && if self.address.is_unspecified() {
                is_local(original.destination)
            } else {
                original.destination == self.address
            }
    }
}

/// A side of a flow: how its first packet came, or how answers are expected.
#[derive(Debug, Clone, Copy)]
enum Side {
    Original,
    Reply,
}

/// A socket to the kernel's connection tracking, in the network namespace in which it was opened.
///
/// As any netfilter socket, it is closed behind, and to be kept for as long as there may be something to do.
#[derive(Debug)]
pub struct Conntrack {
    socket: Socket,
}

impl Drop for Conntrack {
    fn drop(&mut self) {
        // Otherwise this waits for the clean-up after the last change of the rules.
        sys::close_in_background(self.socket.as_fd()).ok();
    }
}

impl Conntrack {
    /// Opens a socket in the network namespace of the calling thread.
    ///
    /// # Errors
    /// The kernel has no netfilter netlink, or no memory.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket })
    }

    /// Removes the entries of flows to `ports` that began before these were published, or when they led elsewhere.
    ///
    /// # Errors
    /// The kernel cannot be asked, or refuses to remove an entry. Whatever it was, the socket is not to be used any
    /// more.
    pub fn forget_flows_to_ports(&mut self, ports: &[HostPorts]) -> io::Result<()> {
        let mut known: Vec<(IpAddr, bool)> = Vec::new();
        let mut local = |address| match known.iter().find(|(of, _)| *of == address) {
            Some((_, local)) => *local,
            None => {
                let local = is_local(address);
                known.push((address, local));
                local
            }
        };
        let mut misses = |flow: &Flow| ports.iter().any(|wanted| wanted.misses(flow, &mut local));
        if shows_none(&mut misses) {
            return Ok(());
        }
        let mut walks: Vec<(bool, u8, Option<u16>)> = Vec::new();
        for wanted in ports {
            let (ipv4, protocol) = (wanted.address.is_ipv4(), wanted.protocol);
            walks.extend(wanted.ports.clone().take(PORTS_ONE_BY_ONE + 1).map(|n| (ipv4, protocol, Some(n))));
        }
        walks.sort_unstable();
        walks.dedup();
        if walks.len() > PORTS_ONE_BY_ONE {
            walks.iter_mut().for_each(|walk| walk.2 = None);
            walks.dedup();
        }
        for (ipv4, protocol, port) in walks {
            let mut tuple = vec![ProtoTuple::Protocol(protocol.into())];
            let mut flags = FILTER_PROTO;
            if let Some(port) = port {
                tuple.push(ProtoTuple::DestinationPort(port));
                flags |= FILTER_DST_PORT;
            }
            let request =
                vec![nested(CTA_TUPLE_ORIG, &[Tuple::Proto(tuple)]), filter(CTA_FILTER_ORIG_FLAGS, flags)];
            self.remove(ipv4, request, &mut misses)?;
        }
        Ok(())
    }

    /// Removes the entries of flows that were translated to `container`, of every protocol.
    ///
    /// # Errors
    /// As for [`forget_flows_to_ports`](Self::forget_flows_to_ports).
    pub fn forget_flows_to_container(&mut self, container: IpAddr) -> io::Result<()> {
        let leads_there =
            |flow: &Flow| flow.reply.source == container && flow.original.destination != container;
        if shows_none(leads_there) {
            return Ok(());
        }
        let translated = [CTA_STATUS, CTA_STATUS_MASK]
            .map(|kind| DefaultNla::new(kind, IPS_DST_NAT.to_be_bytes().to_vec()));
        self.remove_by_source(Side::Reply, container, translated.into(), leads_there)
    }

    /// Removes every entry of a container's address: of flows that it began, and of those that led to it.
    ///
    /// # Errors
    /// As for [`forget_flows_to_ports`](Self::forget_flows_to_ports).
    pub fn forget_flows_of_container(&mut self, container: IpAddr) -> io::Result<()> {
        let began = |flow: &Flow| flow.original.source == container;
        let leads_there = |flow: &Flow| flow.reply.source == container;
        if shows_none(|flow| began(flow) || leads_there(flow)) {
            return Ok(());
        }
        if container.is_ipv6() {
            return self.remove(false, Vec::new(), |flow| began(flow) || leads_there(flow));
        }
        self.remove_by_source(Side::Original, container, Vec::new(), began)?;
        self.remove_by_source(Side::Reply, container, Vec::new(), leads_there)
    }

    /// Removes the entries that have `source` as the source of one side; `matches` says the same of a single entry,
    /// `further` are conditions in the kernel's form.
    fn remove_by_source(
        &mut self,
        side: Side,
        source: IpAddr,
        further: Vec<DefaultNla>,
        matches: impl FnMut(&Flow) -> bool,
    ) -> io::Result<()> {
        // Of IPv6 addresses the kernel takes all but the wanted one (`ctnetlink_filter_match_tuple` has the
        // comparison the wrong way round, in 6.18 as well). So every flow with the rest is asked for.
        if source.is_ipv6() {
            return self.remove(false, further, matches);
        }
        let (tuple, flags) = match side {
            Side::Original => (CTA_TUPLE_ORIG, CTA_FILTER_ORIG_FLAGS),
            Side::Reply => (CTA_TUPLE_REPLY, CTA_FILTER_REPLY_FLAGS),
        };
        let wanted = [Tuple::Ip(vec![IPTuple::SourceAddress(source)])];
        let by_address = vec![nested(tuple, &wanted), filter(flags, FILTER_IP_SRC)];
        let request = [by_address.clone(), further].concat();
        self.send(true, VERSION_OF_FILTER, IPCTNL_MSG_CT_DELETE, request, NLM_F_REQUEST | NLM_F_ACK)?;
        match answers(&self.socket, |_| {}) {
            // Linux before 6.8 deletes single entries only, and this names none.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => {
                self.remove(true, by_address, matches)
            }
            deleted => deleted,
        }
    }

    /// Removes the entries of flows of an address in `subnets` that are not translated although its partner is in
    /// none of them: they began while there were no rules.
    ///
    /// # Errors
    /// As for [`forget_flows_to_ports`](Self::forget_flows_to_ports).
    pub fn forget_untranslated_flows(&mut self, subnets: &[IpNet]) -> io::Result<()> {
        let within = |address: IpAddr| subnets.iter().any(|subnet| subnet.contains(&address));
        let escapes = |flow: &Flow| {
            let Flow { original, reply, .. } = flow;
            let untranslated = (original.source, original.destination) == (reply.destination, reply.source);
            untranslated && within(original.source) != within(original.destination)
        };
        if shows_none(escapes) {
            return Ok(());
        }
        for ipv4 in [true, false] {
            if subnets.iter().any(|subnet| subnet.addr().is_ipv4() == ipv4) {
                self.remove(ipv4, Vec::new(), escapes)?;
            }
        }
        Ok(())
    }

    /// Lists the entries that the request asks for, and removes those that match.
    fn remove(
        &mut self,
        ipv4: bool,
        request: Vec<DefaultNla>,
        mut matches: impl FnMut(&Flow) -> bool,
    ) -> io::Result<()> {
        self.send(ipv4, VERSION, IPCTNL_MSG_CT_GET, request, NLM_F_REQUEST | NLM_F_DUMP)?;
        let mut flows = Vec::new();
        answers(&self.socket, |frame| flows.extend(parse(frame).filter(|flow| matches(flow))))?;
        tracing::debug!(count = flows.len(), "removing connection-tracking entries");
        for flow in flows {
            let flags = NLM_F_REQUEST | NLM_F_ACK;
            self.send(ipv4, VERSION, IPCTNL_MSG_CT_DELETE, flow.identity, flags)?;
            match answers(&self.socket, |_| {}) {
                // It has ended by itself.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                other => other?,
            }
        }
        Ok(())
    }

    fn send(
        &self,
        ipv4: bool,
        version: u8,
        message_type: u8,
        attributes: Vec<DefaultNla>,
        flags: u16,
    ) -> io::Result<()> {
        self.socket.send(&request(ipv4, version, message_type, attributes, flags), 0).map(drop)
    }
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

/// The parts of an entry that matter here; `None` if it is not an entry.
fn parse(frame: Frame<'_>) -> Option<Flow> {
    let (mut original, mut reply, mut tcp_state) = (None, None, None);
    let mut identity = Vec::new();
    for nla in NlasIterator::new(frame.attributes()).flatten() {
        match nla.kind() {
            CTA_TUPLE_ORIG => {
                original = direction(nla.value());
                identity.push(DefaultNla::new(CTA_TUPLE_ORIG | NLA_F_NESTED, nla.value().to_vec()));
            }
            CTA_TUPLE_REPLY => reply = direction(nla.value()),
            CTA_PROTOINFO => tcp_state = state_of_tcp(nla.value()),
            // With its number, so that a later entry of the same addresses is not meant.
            CTA_ID => identity.push(DefaultNla::new(CTA_ID, nla.value().to_vec())),
            _ => {}
        }
    }
    Some(Flow { original: original?, reply: reply?, tcp_state, identity })
}

fn state_of_tcp(info: &[u8]) -> Option<u8> {
    let tcp = NlasIterator::new(info).flatten().find(|nla| nla.kind() == CTA_PROTOINFO_TCP)?;
    let state = NlasIterator::new(tcp.value()).flatten().find(|nla| nla.kind() == CTA_PROTOINFO_STATE)?;
    state.value().first().copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_entry_is_read_without_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            parse(frame_with(&body));
        }
    }

    fn frame_with(bytes: &[u8]) -> Frame<'_> {
        Frame { kind: 0, flags: 0, seq: 0, bytes }
    }

    fn flow(protocol: u8, to: &str, port: u16, answers_from: &str, tcp_state: Option<u8>) -> Flow {
        let (client, to) = ("203.0.113.7".parse().unwrap(), to.parse().unwrap());
        let direction = |source, destination, source_port, destination_port| Direction {
            source,
            destination,
            protocol,
            source_port,
            destination_port,
        };
        Flow {
            original: direction(client, to, 5000, port),
            reply: direction(answers_from.parse().unwrap(), client, port, 5000),
            tcp_state,
            identity: Vec::new(),
        }
    }

    #[test]
    fn what_does_not_reach_the_container_goes_and_the_hosts_own_stays() {
        let host = "198.51.100.10";
        let ports = HostPorts {
            address: "0.0.0.0".parse().unwrap(),
            protocol: 17,
            ports: 53..=54,
            container: "172.18.0.2".parse().unwrap(),
        };
        let misses = |ports: &HostPorts, flow: &Flow| {
            ports.misses(flow, &mut |address| address.to_string().starts_with("198."))
        };
        assert!(misses(&ports, &flow(17, host, 53, host, None)), "from before it was published");
        assert!(misses(&ports, &flow(17, host, 54, "172.18.0.9", None)), "led elsewhere");
        assert!(!misses(&ports, &flow(17, host, 53, "172.18.0.2", None)), "leads there already");
        assert!(!misses(&ports, &flow(17, host, 55, host, None)), "another port");
        assert!(!misses(&ports, &flow(6, host, 53, host, None)), "another protocol");
        assert!(!misses(&ports, &flow(17, "8.8.8.8", 53, "8.8.8.8", None)), "a container's own question");
        assert!(!misses(&ports, &flow(17, "2001:db8::1", 53, "2001:db8::1", None)), "the other family");
        let one = HostPorts { address: "198.51.100.11".parse().unwrap(), ..ports.clone() };
        assert!(!misses(&one, &flow(17, host, 53, host, None)), "another address");
        let tcp = HostPorts { protocol: 6, ..ports };
        for (state, goes) in [(1, true), (3, false), (6, false), (7, true), (8, true)] {
            assert_eq!(misses(&tcp, &flow(6, host, 53, host, Some(state))), goes, "state {state}");
        }
        assert!(misses(&tcp, &flow(6, host, 53, "172.18.0.9", Some(3))), "its container has gone");
    }

    #[test]
    fn an_address_of_this_host_is_told_from_others() {
        assert!(is_local("127.0.0.1".parse().unwrap()));
        assert!(!is_local("192.0.2.77".parse().unwrap()));
    }
}
