//! Requests about network devices: bridges, veth pairs, bridge ports.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::str::FromStr;

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, BridgePortState, In6AddrGenMode, InfoBridgePort, InfoData, InfoKind,
    InfoPortData, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, Prop,
};
use rtnetlink::{LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth};
use serde::{Deserialize, Serialize};

use super::Batch;
use crate::names::IfName;

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress([u8; 6]);

impl MacAddress {
    /// The address `02:42:` followed by the bytes of an IPv4 address.
    ///
    /// The same address then always has the same MAC, so that no neighbour's ARP entry is ever stale when an
    /// address is handed out again. Bit 1 of the first byte marks it as locally administered (IEEE 802).
    #[must_use]
    pub fn from_ipv4(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x02, 0x42, a, b, c, d])
    }

    /// The address `02:42:` followed by four bytes that depend on all of an IPv6 address, and differ for any two
    /// addresses of one subnet that differ in their last four bytes only.
    #[must_use]
    pub fn from_ipv6(address: Ipv6Addr) -> Self {
        let words = u128::from(address).to_be_bytes();
        let mut folded = [0; 4];
        for (place, byte) in words.into_iter().enumerate() {
            folded[place % 4] ^= byte;
        }
        Self::from_ipv4(folded.into())
    }

    /// The six bytes.
    pub(super) const fn bytes(self) -> [u8; 6] {
        self.0
    }

    /// One of the two, by the family of the address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::from_ipv4(address),
            IpAddr::V6(address) => Self::from_ipv6(address),
        }
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// The text is not six hexadecimal bytes with colons between them, or no address that one device can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not the MAC address of a device: expected six bytes such as 02:42:ac:12:00:02")]
pub struct MacAddressError(String);

impl FromStr for MacAddress {
    type Err = MacAddressError;
    fn from_str(text: &str) -> Result<Self, MacAddressError> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2);
            *byte = part
                // `from_str_radix` alone would accept "+2".
                .filter(|part| part.bytes().all(|byte| byte.is_ascii_hexdigit()))
                .and_then(|part| u8::from_str_radix(part, 16).ok())
                .ok_or_else(|| MacAddressError(text.to_owned()))?;
        }
        // Bit 0 of the first byte marks groups (IEEE 802).
        if parts.next().is_some() || bytes[0] & 1 == 1 || bytes == [0; 6] {
            return Err(MacAddressError(text.to_owned()));
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for MacAddress {
    type Error = MacAddressError;
    fn try_from(text: String) -> Result<Self, MacAddressError> {
        text.parse()
    }
}

impl From<MacAddress> for String {
    fn from(mac: MacAddress) -> String {
        mac.to_string()
    }
}

/// A network device as the kernel describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Whether it is a bridge.
    pub is_bridge: bool,
    /// Whether it is switched on (`IFF_UP`).
    pub is_up: bool,
    /// The other end's number in its own namespace, for a veth.
    pub peer: Option<u32>,
    /// The bridge it is a port of.
    pub master: Option<u32>,
    /// Its Ethernet address.
    pub mac: Option<MacAddress>,
    /// Whether it is a bridge port that passes frames on.
    pub is_forwarding: bool,
    /// The device group; 0 is that of devices in no other one.
    pub group: u32,
}

impl Link {
    pub(super) fn from_message(message: &LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            is_bridge: false,
            is_up: message.header.flags.contains(LinkFlags::Up),
            peer: None,
            master: None,
            mac: None,
            is_forwarding: false,
            group: 0,
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Link(peer) => link.peer = Some(*peer),
                LinkAttribute::Group(group) => link.group = *group,
                LinkAttribute::Controller(master) => link.master = Some(*master),
                LinkAttribute::Address(bytes) => {
                    link.mac = bytes.as_slice().try_into().ok().map(MacAddress);
                }
                LinkAttribute::LinkInfo(infos) => {
                    link.is_bridge = infos.contains(&LinkInfo::Kind(InfoKind::Bridge));
                    link.is_forwarding = infos.iter().any(is_forwarding_port);
                }
                _ => {}
            }
        }
        link
    }
}

fn is_forwarding_port(info: &LinkInfo) -> bool {
    let LinkInfo::PortData(InfoPortData::BridgePort(port)) = info else { return false };
    port.contains(&InfoBridgePort::State(BridgePortState::Forwarding))
}

/// A bridge to be made.
#[derive(Debug, Clone, Copy)]
pub struct BridgeSpec<'a> {
    /// Its name.
    pub name: &'a IfName,
    /// Its own Ethernet address. Always given: a bridge that chooses for itself takes the lowest of its
    /// ports, so that the gateway's MAC would change as containers come and go.
    pub mac: MacAddress,
    /// The largest packet in bytes.
    pub mtu: u32,
}

/// A pair of devices to be made: one a port of a bridge here, the other in a container's namespace.
#[derive(Debug, Clone, Copy)]
pub struct VethSpec<'a> {
    /// The name of the end that stays here.
    pub host: &'a IfName,
    /// The number of the bridge it becomes a port of.
    pub bridge: u32,
    /// The namespace of the other end.
    pub netns: BorrowedFd<'a>,
    /// The name of the other end.
    pub container: &'a IfName,
    /// The Ethernet address of the other end.
    pub mac: MacAddress,
    /// The largest packet in bytes, on both ends.
    pub mtu: u32,
    /// The device group of the end that stays here (`ip link show group N`).
    pub group: u32,
}

impl Batch {
    /// Makes a bridge that is down; a device of that name must not exist yet.
    pub fn create_bridge(&mut self, spec: BridgeSpec<'_>) {
        let message = LinkMessageBuilder::<LinkBridge>::new(spec.name.as_str())
            .address(spec.mac.0.to_vec())
            .mtu(spec.mtu)
            .build();
        self.push("create the bridge", RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL);
    }

    /// Makes a veth pair whose host end is up and a port of the bridge, and whose other end is down.
    pub fn create_veth(&mut self, spec: VethSpec<'_>) {
        let peer = LinkMessageBuilder::<LinkUnspec>::new()
            .name(spec.container.as_str())
            .address(spec.mac.0.to_vec())
            .mtu(spec.mtu)
            .setns_by_fd(spec.netns.as_raw_fd())
            .build();
        let message = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(spec.host.as_str())
            .mtu(spec.mtu)
            .controller(spec.bridge)
            .link_group(spec.group)
            .up()
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .build();
        self.push("create the veth pair", RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL);
    }

    /// Lets a bridge port send a frame back where it came from: a container that uses its own published port
    /// needs it where br_netfilter translates bridged packets.
    pub fn set_hairpin(&mut self, port: &IfName) {
        // By name, so that it can travel in the batch that makes the port; and RTM_NEWLINK, because
        // RTM_SETLINK ignores what belongs to the port's kind (rtnetlink.c).
        let message = LinkBridgePort::new(0).name(port.as_str()).hairpin(true).build();
        self.push("set hairpin mode", RouteNetlinkMessage::NewLink(message), 0);
    }

    /// Lets a bridge port send frames to no other port that is set so (bridge(8), `isolated`).
    pub fn set_apart(&mut self, port: &IfName) {
        // As for hairpin mode.
        let message = LinkBridgePort::new(0).name(port.as_str()).isolated(true).build();
        self.push("isolate the bridge port", RouteNetlinkMessage::NewLink(message), 0);
    }

    /// Asks for one device by its name; the answer comes from [`super::RouteSocket::query`].
    pub fn get_link(&mut self, name: &IfName) {
        let message = LinkUnspec::new_with_name(name.as_str()).build();
        self.push("find the device", RouteNetlinkMessage::GetLink(message), 0);
    }

    /// Keeps the kernel from giving the device link-local IPv6 addresses of its own accord.
    pub fn disable_ipv6_autoconf(&mut self, link: u32) {
        let none = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
        let message = LinkUnspec::new_with_index(link)
            .append_extra_attribute(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![none])]))
            .build();
        self.push("switch IPv6 autoconfiguration off", RouteNetlinkMessage::SetLink(message), 0);
    }

    /// Gives a device an Ethernet address. One that it has already is announced by it in this way, with its IP
    /// addresses (`arp_notify`, `ndisc_notify`).
    pub fn set_mac(&mut self, link: u32, mac: MacAddress) {
        let message = LinkUnspec::new_with_index(link).address(mac.0.to_vec()).build();
        self.push("set the Ethernet address", RouteNetlinkMessage::SetLink(message), 0);
    }

    /// Switches a device on.
    pub fn set_up(&mut self, link: u32) {
        let message = LinkUnspec::new_with_index(link).up().build();
        self.push("switch the device on", RouteNetlinkMessage::SetLink(message), 0);
    }

    /// Switches a device off and takes it off its bridge, in one request: from then on nothing sends from or
    /// to it. Two hundred times cheaper than deleting it (which waits for RCU grace periods).
    pub fn detach(&mut self, name: &IfName) {
        let message = LinkUnspec::new_with_name(name.as_str()).down().nocontroller().build();
        self.push("detach the device from its bridge", RouteNetlinkMessage::SetLink(message), 0);
    }

    /// Makes a device a port of a bridge and switches it on, in one request.
    pub fn attach(&mut self, name: &IfName, bridge: u32) {
        let message = LinkUnspec::new_with_name(name.as_str()).up().controller(bridge).build();
        self.push("attach the device to its bridge", RouteNetlinkMessage::SetLink(message), 0);
    }

    /// Deletes a device by name; of a veth both ends go.
    pub fn delete_link(&mut self, name: &IfName) {
        let message = LinkUnspec::new_with_name(name.as_str()).build();
        self.push("delete the device", RouteNetlinkMessage::DelLink(message), 0);
    }

    /// Gives a device a second name.
    pub fn add_alternative_name(&mut self, link: u32, name: &str) {
        let message = LinkUnspec::new_with_index(link)
            .append_extra_attribute(LinkAttribute::PropList(vec![Prop::AltIfName(name.to_owned())]))
            .build();
        let flags = NLM_F_CREATE | NLM_F_EXCL | NLM_F_APPEND;
        self.push("add the alternative name", RouteNetlinkMessage::NewLinkProp(message), flags);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_address_follows_from_the_ipv4_address() {
        let mac = MacAddress::from_ipv4("172.18.0.2".parse().unwrap());
        assert_eq!(mac.to_string(), "02:42:ac:12:00:02");
        assert_eq!("02:42:ac:12:00:02".parse::<MacAddress>().unwrap(), mac);
        for bad in [
            "",
            "02:42:ac:12:00",
            "02:42:ac:12:00:02:03",
            "2:42:ac:12:00:02",
            "02-42-ac-12-00-02",
            "+2:42:ac:12:00:02",
            "01:00:5e:00:00:01",
            "ff:ff:ff:ff:ff:ff",
            "00:00:00:00:00:00",
        ] {
            assert!(bad.parse::<MacAddress>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_mac_address_follows_from_the_whole_ipv6_address() {
        let mac = |text: &str| MacAddress::of(text.parse().unwrap()).to_string();
        assert_eq!(mac("fd00:18::2"), "02:42:fd:00:00:1a");
        assert_ne!(mac("fd00:18::2"), mac("fd00:18::3"));
        assert_ne!(mac("fd00:18::2"), mac("fd00:18::1:0:2"));
        assert_eq!(mac("172.18.0.2"), "02:42:ac:12:00:02");
    }
}
