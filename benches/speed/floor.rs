//! The floors' side of netlink: bytes out, nothing back.
//!
//! No acknowledgement is asked for, so the kernel says nothing but refusals; [`Wire::check`] looks for one when the
//! measuring is over. The routing messages are made here and not by mydocker's own code, with device numbers of
//! our choice, so that all of them can be made before anything is measured.

use std::net::Ipv4Addr;
use std::os::fd::AsRawFd as _;

use mydocker::netns::NetNs;
use netlink_packet_core::{
    NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, Prop};
use netlink_sys::Socket;
use nix::errno::Errno;
use nix::libc::MSG_DONTWAIT;
use nix::sys::socket::{setsockopt, sockopt};
use rtnetlink::{
    AddressMessageBuilder, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
};

/// The number of the loopback device in every namespace.
pub(crate) const LOOPBACK: u32 = 1;

/// A netlink socket of the calling thread's namespace.
pub(crate) struct Wire {
    socket: Socket,
}

impl Wire {
    pub(crate) fn open(protocol: isize) -> Self {
        let socket = Socket::new(protocol).unwrap();
        // For ten thousand elements at once.
        setsockopt(&socket, sockopt::SndBufForce, &(8 << 20)).unwrap();
        setsockopt(&socket, sockopt::RcvBufForce, &(8 << 20)).unwrap();
        Self { socket }
    }

    /// The kernel has carried it out when this returns.
    pub(crate) fn send(&self, bytes: &[u8]) {
        self.socket.send(bytes, 0).unwrap();
    }

    /// Stops if the kernel has refused anything since the last check.
    pub(crate) fn check(&self) {
        const NLMSG_ERROR: u16 = 2;
        let mut answer = Vec::with_capacity(64 * 1024);
        match self.socket.recv(&mut answer, MSG_DONTWAIT) {
            Err(error) => assert_eq!(error.raw_os_error(), Some(Errno::EAGAIN as i32), "{error}"),
            Ok(_) => {
                let kind = u16::from_ne_bytes(answer[4..6].try_into().unwrap());
                assert_eq!(kind, NLMSG_ERROR, "an unexpected answer");
                let errno = i32::from_ne_bytes(answer[16..20].try_into().unwrap());
                panic!("the kernel refused a message of a floor: {}", Errno::from_raw(-errno));
            }
        }
    }
}

/// Routing messages as bytes.
#[derive(Default)]
pub(crate) struct Messages(Vec<u8>);

impl Messages {
    pub(crate) fn bytes(self) -> Vec<u8> {
        self.0
    }

    fn push(mut self, message: RouteNetlinkMessage, flags: u16) -> Self {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let start = self.0.len();
        self.0.resize(start + message.buffer_len().next_multiple_of(4), 0);
        message.serialize(&mut self.0[start..start + message.buffer_len()]);
        self
    }

    /// A pair: one end here, as `name` with that number, up, and a port of the bridge if there is one; the other
    /// as `eth0` with the same number in `netns`, down.
    pub(crate) fn pair(self, name: &str, number: u32, bridge: Option<u32>, netns: &NetNs) -> Self {
        use std::os::fd::AsFd as _;
        let mut peer = LinkMessageBuilder::<LinkUnspec>::new()
            .name("eth0")
            .setns_by_fd(netns.as_fd().as_raw_fd())
            .build();
        peer.header.index = number;
        let mut here = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth).name(name).up();
        if let Some(bridge) = bridge {
            here = here.controller(bridge);
        }
        let mut message = here.set_info_data(InfoData::Veth(InfoVeth::Peer(peer))).build();
        message.header.index = number;
        self.push(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    pub(crate) fn hairpin(self, name: &str) -> Self {
        let message = LinkBridgePort::new(0).name(name).hairpin(true).build();
        self.push(RouteNetlinkMessage::NewLink(message), 0)
    }

    pub(crate) fn up(self, number: u32) -> Self {
        let message = LinkUnspec::new_with_index(number).up().build();
        self.push(RouteNetlinkMessage::SetLink(message), 0)
    }

    pub(crate) fn second_name(self, number: u32, name: &str) -> Self {
        let message = LinkUnspec::new_with_index(number)
            .append_extra_attribute(LinkAttribute::PropList(vec![Prop::AltIfName(name.to_owned())]))
            .build();
        self.push(RouteNetlinkMessage::NewLinkProp(message), NLM_F_CREATE | NLM_F_EXCL | NLM_F_APPEND)
    }

    pub(crate) fn address(self, number: u32, address: Ipv4Addr, prefix: u8) -> Self {
        let message = AddressMessageBuilder::<Ipv4Addr>::new().index(number).address(address, prefix).build();
        self.push(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// A route to `net`, or the default route.
    pub(crate) fn route(self, number: u32, net: Option<(Ipv4Addr, u8)>, gateway: Ipv4Addr) -> Self {
        let mut route = RouteMessageBuilder::<Ipv4Addr>::new().output_interface(number).gateway(gateway);
        if let Some((net, prefix)) = net {
            route = route.destination_prefix(net, prefix);
        }
        self.push(RouteNetlinkMessage::NewRoute(route.build()), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Switches a device off and takes it off its bridge.
    pub(crate) fn detach(self, name: &str) -> Self {
        let message = LinkUnspec::new_with_name(name).down().nocontroller().build();
        self.push(RouteNetlinkMessage::SetLink(message), 0)
    }

    pub(crate) fn delete(self, name: &str) -> Self {
        let message = LinkUnspec::new_with_name(name).build();
        self.push(RouteNetlinkMessage::DelLink(message), 0)
    }
}

/// The number of a device of the calling thread's namespace.
pub(crate) fn number_of(name: &str) -> u32 {
    nix::net::if_::if_nametoindex(name).unwrap()
}
