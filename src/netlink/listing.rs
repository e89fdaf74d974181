//! What a namespace may have any number of: the kernel chooses what concerns us, and nothing is kept of the rest.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::NetlinkPayload;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::frames::datagram;
use super::route::{RequestError, RouteSocket, host_address, messages};

/// How much of a listing is looked at. Whoever rules in a namespace may have made more, which is no reason to read on.
const LIMIT: usize = 1 << 17;
/// `RT_TABLE_MAIN` (`<linux/rtnetlink.h>`).
const MAIN_TABLE: u8 = 254;

impl RouteSocket {
    /// Looks at the addresses of a device, one after another. The socket serves nothing else afterwards.
    ///
    /// # Errors
    /// The kernel refused the listing, or it has no end.
    pub fn each_address(self, link: u32, mut each: impl FnMut(IpNet)) -> Result<(), RequestError> {
        let mut request = AddressMessage::default();
        request.header.index = link;
        self.each("list the addresses", RouteNetlinkMessage::GetAddress(request), |message| {
            if let Some(found) = host_address(message).filter(|found| found.link == link) {
                each(found.address);
            }
        })
    }

    /// Looks at the unicast routes of the main table, each with its gateway. The socket serves nothing else afterwards.
    ///
    /// # Errors
    /// The kernel refused the listing, or it has no end.
    pub fn each_route(self, mut each: impl FnMut(IpNet, Option<IpAddr>)) -> Result<(), RequestError> {
        let mut request = RouteMessage::default();
        request.header.table = MAIN_TABLE;
        self.each("list the routes", RouteNetlinkMessage::GetRoute(request), |message| {
            let RouteNetlinkMessage::NewRoute(route) = message else { return };
            if route.header.table == MAIN_TABLE
                && route.header.kind == RouteType::Unicast
                && let Some(to) = destination(&route)
            {
                each(to, gateway(&route));
            }
        })
    }

    fn each(
        self,
        action: &'static str,
        request: RouteNetlinkMessage,
        mut each: impl FnMut(RouteNetlinkMessage),
    ) -> Result<(), RequestError> {
        let error = |source| RequestError { action, source };
        // Kernels before 4.20 list everything.
        self.socket.set_netlink_get_strict_chk(true).ok();
        self.ask_for_all(request).map_err(error)?;
        let mut looked_at = 0;
        loop {
            let datagram = datagram(&self.socket).map_err(error)?;
            for message in messages(&datagram) {
                match message.map_err(error)?.payload {
                    NetlinkPayload::InnerMessage(inner) => each(inner),
                    NetlinkPayload::Done(_) => return Ok(()),
                    NetlinkPayload::Error(answer) => return Err(error(answer.to_io())),
                    _ => {}
                }
                looked_at += 1;
            }
            if looked_at > LIMIT {
                return Err(error(std::io::Error::other(format!("there are more than {LIMIT}"))));
            }
        }
    }
}

fn destination(route: &RouteMessage) -> Option<IpNet> {
    let length = route.header.destination_prefix_length;
    let named = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(address) => ip(address),
        _ => None,
    });
    let default: IpAddr = match route.header.address_family {
        AddressFamily::Inet => [0; 4].into(),
        AddressFamily::Inet6 => [0; 16].into(),
        _ => return None,
    };
    IpNet::new(named.unwrap_or(default), length).ok()
}

fn gateway(route: &RouteMessage) -> Option<IpAddr> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(address) => ip(address),
        _ => None,
    })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}
