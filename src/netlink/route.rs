//! The rtnetlink socket: a batch of requests out, one acknowledgement for each back.

use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteScope, RouteType};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use rtnetlink::{AddressMessageBuilder, RouteMessageBuilder};

use super::Link;
use super::frames::{datagram, frames};

/// A request that the kernel refused, or that could not be brought to it.
#[derive(Debug, thiserror::Error)]
#[error("the kernel refused to {action}")]
pub struct RequestError {
    /// What was asked for, as a verb and its object.
    pub action: &'static str,
    /// The answer.
    #[source]
    pub source: io::Error,
}

impl RequestError {
    /// The kernel's error number; `EIO` where the error has none.
    #[must_use]
    pub fn errno(&self) -> Errno {
        self.source.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
    }

    /// Whether the kernel has but one routing table (`CONFIG_IP_MULTIPLE_TABLES`).
    #[must_use]
    pub fn is_without_rules(&self) -> bool {
        self.action == ADD_SOURCE_RULE && matches!(self.errno(), Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT)
    }

    /// Whether the request was to remove something that is not there.
    #[must_use]
    pub fn is_already_gone(&self) -> bool {
        matches!(self.errno(), Errno::ENODEV | Errno::ENOENT | Errno::ESRCH | Errno::EADDRNOTAVAIL)
    }
}

/// Requests that go to the kernel in one system call, in order.
///
/// The kernel does not stop at one that fails: it goes on with the next. So a batch holds what belongs
/// together, and who sends it undoes all of it when any part failed.
#[derive(Debug, Default)]
pub struct Batch {
    pub(super) bytes: Vec<u8>,
    actions: Vec<&'static str>,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends one request. The sequence number is its place in the batch.
    pub(super) fn push(&mut self, action: &'static str, message: RouteNetlinkMessage, flags: u16) {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        self.actions.push(action);
        header.sequence_number = u32::try_from(self.actions.len()).unwrap_or(u32::MAX);
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let start = self.bytes.len();
        // Each message starts on a multiple of four bytes (NLMSG_ALIGN, <linux/netlink.h>).
        self.bytes.resize(start + message.buffer_len().next_multiple_of(4), 0);
        message.serialize(&mut self.bytes[start..start + message.buffer_len()]);
    }

    /// Adds an address to a device; it must not have it yet. It is usable at once: nobody is asked whether they
    /// have it already (`nodad`; duplicates are the allocator's business).
    pub fn add_address(&mut self, link: u32, address: IpNet) {
        let mut message = match address {
            IpNet::V4(net) => AddressMessageBuilder::<std::net::Ipv4Addr>::new()
                .index(link)
                .address(net.addr(), net.prefix_len())
                .build(),
            IpNet::V6(net) => AddressMessageBuilder::<std::net::Ipv6Addr>::new()
                .index(link)
                .address(net.addr(), net.prefix_len())
                .build(),
        };
        message.header.flags.set(AddressHeaderFlags::Nodad, matches!(address, IpNet::V6(_)));
        self.push("add the address", RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL);
    }

    /// Adds the default route of the gateway's family. There must be none yet.
    pub fn add_default_route(&mut self, link: u32, gateway: IpAddr) {
        let message = default_route(link, gateway, MAIN_TABLE);
        self.push(ADD_DEFAULT_ROUTE, RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL);
    }

    /// Adds a route, through a gateway or to who is on the link; without a link, through the one that leads to the gateway.
    /// There must be none of the same metric yet.
    pub fn add_route(&mut self, link: Option<u32>, to: IpNet, gateway: Option<IpAddr>, metric: Option<u32>) {
        let message = route(link, to, gateway, metric);
        self.push("add a route", RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL);
    }

    /// Deletes a route through a gateway, whichever link it leads through.
    pub fn delete_route(&mut self, to: IpNet, gateway: IpAddr, metric: Option<u32>) {
        let message = route(None, to, Some(gateway), metric);
        self.push("delete a route", RouteNetlinkMessage::DelRoute(message), 0);
    }

    /// Deletes the default route of the gateway's family if it leads there.
    pub fn delete_default_route(&mut self, link: u32, gateway: IpAddr) {
        let message = default_route(link, gateway, MAIN_TABLE);
        self.push("delete the default route", RouteNetlinkMessage::DelRoute(message), 0);
    }

    /// Lets what is sent from an address leave through the device that has it, whatever the default route says:
    /// a table of the device's own, and a rule that leads there. Replies then go back the way that the packets
    /// came, and a strict `rp_filter` passes both.
    pub fn add_source_routes(&mut self, link: u32, address: IpNet, gateway: IpAddr) {
        let table = SOURCE_TABLES + link;
        let flags = NLM_F_CREATE | NLM_F_REPLACE;
        for message in [subnet_route(link, address, table), default_route(link, gateway, table)] {
            self.push("add the routes of an address", RouteNetlinkMessage::NewRoute(message), flags);
        }
        let mut rule = source_rule(address.addr());
        rule.header.action = RuleAction::ToTable;
        rule.attributes.push(RuleAttribute::Table(table));
        self.push(ADD_SOURCE_RULE, RouteNetlinkMessage::NewRule(rule), NLM_F_CREATE | NLM_F_EXCL);
    }

    /// Takes the rule of an address away. Its routes go with the device.
    pub fn delete_source_rule(&mut self, address: IpAddr) {
        self.push("delete the rule of an address", RouteNetlinkMessage::DelRule(source_rule(address)), 0);
    }
}

/// The action of [`Batch::add_default_route`], for who can do without that route.
pub const ADD_DEFAULT_ROUTE: &str = "add the default route";
/// The action of [`Batch::add_source_routes`] that fails where the kernel has but one table.
const ADD_SOURCE_RULE: &str = "route by source address";
/// `RT_TABLE_MAIN` (`<linux/rtnetlink.h>`).
const MAIN_TABLE: u32 = 254;
/// The table of an address is this and the number of its device. Beyond 255, the numbers are anybody's.
const SOURCE_TABLES: u32 = 28_000_000;
/// Where the rules of addresses stand among others: before those of the main table (32766).
const SOURCE_PRIORITY: u32 = 28_004;

fn default_route(link: u32, gateway: IpAddr, table: u32) -> RouteMessage {
    match gateway {
        IpAddr::V4(gateway) => RouteMessageBuilder::<std::net::Ipv4Addr>::new()
            .table_id(table)
            .output_interface(link)
            .gateway(gateway)
            .build(),
        IpAddr::V6(gateway) => RouteMessageBuilder::<std::net::Ipv6Addr>::new()
            .table_id(table)
            .output_interface(link)
            .gateway(gateway)
            .build(),
    }
}

fn route(link: Option<u32>, to: IpNet, gateway: Option<IpAddr>, metric: Option<u32>) -> RouteMessage {
    let mut message = match to {
        IpNet::V4(net) => {
            let route = RouteMessageBuilder::<std::net::Ipv4Addr>::new()
                .table_id(MAIN_TABLE)
                .destination_prefix(net.network(), net.prefix_len());
            match gateway {
                Some(IpAddr::V4(gateway)) => route.gateway(gateway).build(),
                _ => route.scope(RouteScope::Link).build(),
            }
        }
        IpNet::V6(net) => {
            let route = RouteMessageBuilder::<std::net::Ipv6Addr>::new()
                .table_id(MAIN_TABLE)
                .destination_prefix(net.network(), net.prefix_len());
            match gateway {
                Some(IpAddr::V6(gateway)) => route.gateway(gateway).build(),
                _ => route.build(),
            }
        }
    };
    message.attributes.extend(link.map(RouteAttribute::Oif));
    message.attributes.extend(metric.map(RouteAttribute::Priority));
    message
}

/// The route to the neighbours of an address.
fn subnet_route(link: u32, address: IpNet, table: u32) -> RouteMessage {
    match address {
        IpNet::V4(net) => RouteMessageBuilder::<std::net::Ipv4Addr>::new()
            .table_id(table)
            .output_interface(link)
            .scope(RouteScope::Link)
            .destination_prefix(net.network(), net.prefix_len())
            .pref_source(net.addr())
            .build(),
        IpNet::V6(net) => RouteMessageBuilder::<std::net::Ipv6Addr>::new()
            .table_id(table)
            .output_interface(link)
            .destination_prefix(net.network(), net.prefix_len())
            .build(),
    }
}

/// The rule for what is sent from an address, without what it says.
fn source_rule(address: IpAddr) -> RuleMessage {
    let mut rule = RuleMessage::default();
    (rule.header.family, rule.header.src_len) = match address {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    rule.attributes = vec![RuleAttribute::Source(address), RuleAttribute::Priority(SOURCE_PRIORITY)];
    rule
}

/// An address of a network device of this namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostAddress {
    /// The address and the prefix of its link.
    pub address: IpNet,
    /// The device's index.
    pub link: u32,
}

/// A route of this namespace to something narrower than everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRoute {
    /// What it leads to.
    pub destination: IpNet,
    /// The index of the device it leads through, where there is one.
    pub link: Option<u32>,
}

/// A socket to the kernel's routing netlink in the namespace it was opened in.
#[derive(Debug)]
pub struct RouteSocket {
    pub(super) socket: Socket,
}

impl RouteSocket {
    /// Opens a socket in the calling thread's namespace.
    ///
    /// # Errors
    /// The kernel has no such socket to give.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // Errors then carry a reason in words and not the whole request.
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        Ok(Self { socket })
    }

    /// Sends a batch and waits until the kernel has answered every request in it.
    ///
    /// # Errors
    /// The first request that was refused. Those after it were tried all the same.
    pub fn run(&mut self, batch: &Batch) -> Result<(), RequestError> {
        self.exchange(batch).map(drop)
    }

    /// Like [`RouteSocket::run`]; returns the links that the kernel sent back for `RTM_GETLINK` requests.
    ///
    /// # Errors
    /// The first request that was refused.
    pub fn query(&mut self, batch: &Batch) -> Result<Vec<Link>, RequestError> {
        Ok(self.exchange(batch)?.iter().map(Link::from_message).collect())
    }

    fn exchange(&mut self, batch: &Batch) -> Result<Vec<LinkMessage>, RequestError> {
        let transport = |source| RequestError { action: "take a request", source };
        if batch.actions.is_empty() {
            return Ok(Vec::new());
        }
        self.socket.send(&batch.bytes, 0).map_err(transport)?;
        let mut links = Vec::new();
        let mut refused: Option<(usize, RequestError)> = None;
        let mut waiting = batch.actions.len();
        while waiting > 0 {
            let datagram = datagram(&self.socket).map_err(transport)?;
            for message in messages(&datagram) {
                let message = message.map_err(transport)?;
                match message.payload {
                    NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => links.push(link),
                    NetlinkPayload::Error(answer) => {
                        waiting = waiting.saturating_sub(1);
                        let place = (message.header.sequence_number as usize).saturating_sub(1);
                        let earlier = refused.as_ref().is_some_and(|(at, _)| *at < place);
                        if answer.code.is_some() && !earlier {
                            let action = batch.actions.get(place).copied().unwrap_or("answer");
                            refused = Some((place, RequestError { action, source: answer.to_io() }));
                        }
                    }
                    _ => {}
                }
            }
        }
        refused.map_or(Ok(links), |(_, error)| Err(error))
    }

    /// Asks for a listing; the answers are for the caller to read.
    pub(super) fn ask_for_all(&self, request: RouteNetlinkMessage) -> io::Result<()> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map(drop)
    }

    fn dump(
        &mut self,
        action: &'static str,
        request: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, RequestError> {
        let error = |source| RequestError { action, source };
        self.ask_for_all(request).map_err(error)?;
        let mut found = Vec::new();
        loop {
            let datagram = datagram(&self.socket).map_err(error)?;
            for message in messages(&datagram) {
                match message.map_err(error)?.payload {
                    NetlinkPayload::InnerMessage(inner) => found.push(inner),
                    NetlinkPayload::Done(_) => return Ok(found),
                    NetlinkPayload::Error(answer) => return Err(error(answer.to_io())),
                    _ => {}
                }
            }
        }
    }

    /// All addresses of this namespace. Only for the creation of networks: the cost grows with their number.
    ///
    /// # Errors
    /// The kernel refused the listing.
    pub fn addresses(&mut self) -> Result<Vec<HostAddress>, RequestError> {
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let answers = self.dump("list the addresses", request)?;
        Ok(answers.into_iter().filter_map(host_address).collect())
    }

    /// All devices of this namespace. Only for diagnosis and repair: the cost grows with their number.
    ///
    /// # Errors
    /// The kernel refused the listing.
    pub fn links(&mut self) -> Result<Vec<Link>, RequestError> {
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let answers = self.dump("list the devices", request)?;
        let links = answers.iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewLink(message) => Some(Link::from_message(message)),
            _ => None,
        });
        Ok(links.collect())
    }

    /// The unicast routes of all tables but the default routes. Only for the creation of networks.
    ///
    /// # Errors
    /// The kernel refused the listing.
    pub fn routes(&mut self) -> Result<Vec<HostRoute>, RequestError> {
        let request = RouteNetlinkMessage::GetRoute(RouteMessage::default());
        let answers = self.dump("list the routes", request)?;
        Ok(answers.into_iter().filter_map(host_route).collect())
    }
}

/// The messages of one datagram.
pub(super) fn messages(
    datagram: &[u8],
) -> impl Iterator<Item = io::Result<NetlinkMessage<RouteNetlinkMessage>>> + '_ {
    frames(datagram).map(|frame| NetlinkMessage::deserialize(frame.bytes).map_err(io::Error::other))
}

pub(super) fn host_address(message: RouteNetlinkMessage) -> Option<HostAddress> {
    let RouteNetlinkMessage::NewAddress(message) = message else { return None };
    let mut address = None;
    for attribute in &message.attributes {
        match attribute {
            // On a point-to-point link IFA_ADDRESS is the other end; IFA_LOCAL is ours.
            AddressAttribute::Local(local) => address = Some(*local),
            AddressAttribute::Address(other) => address = address.or(Some(*other)),
            _ => {}
        }
    }
    let address = IpNet::new(address?, message.header.prefix_len).ok()?;
    Some(HostAddress { address, link: message.header.index })
}

/// `RT_TABLE_LOCAL` (`<linux/rtnetlink.h>`).
const LOCAL_TABLE: u8 = 255;

fn host_route(message: RouteNetlinkMessage) -> Option<HostRoute> {
    let RouteNetlinkMessage::NewRoute(message) = message else { return None };
    let header = &message.header;
    // The host's own addresses are in the local table.
    if header.table == LOCAL_TABLE || header.kind != RouteType::Unicast {
        return None;
    }
    let mut destination = None;
    let mut link = None;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => {
                destination = Some(IpAddr::V4(*address));
            }
            RouteAttribute::Destination(RouteAddress::Inet6(address)) => {
                destination = Some(IpAddr::V6(*address));
            }
            RouteAttribute::Oif(index) => link = Some(*index),
            _ => {}
        }
    }
    let destination = IpNet::new(destination?, header.destination_prefix_length).ok()?;
    (destination.prefix_len() > 0).then_some(HostRoute { destination, link })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever the kernel may send: no panic, no endless loop.
        #[test]
        fn any_datagram_is_read_to_its_end(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let count = messages(&bytes).count();
            prop_assert!(count <= bytes.len() / 16);
        }
    }

    #[test]
    fn a_batch_is_aligned_and_numbered() {
        let mut batch = Batch::new();
        batch.add_address(7, "10.0.0.1/24".parse().unwrap());
        batch.add_default_route(7, "10.0.0.254".parse().unwrap());
        let read: Vec<_> = messages(&batch.bytes).map(Result::unwrap).collect();
        assert_eq!(read.iter().map(|m| m.header.sequence_number).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(batch.bytes.len() % 4, 0);
        let address = host_address(match &read[0].payload {
            NetlinkPayload::InnerMessage(inner) => inner.clone(),
            other => panic!("{other:?}"),
        });
        assert_eq!(address, Some(HostAddress { address: "10.0.0.1/24".parse().unwrap(), link: 7 }));
    }
}
