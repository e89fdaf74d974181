//! Elements: the variable part of the table, as values that cannot be malformed.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use netlink_packet_core::{DefaultNla, NLA_F_NESTED};
use netlink_packet_netfilter::nftables::{
    DataAttribute, ListAttribute, SetElementAttribute, SetElementFlags,
};

use super::proto::Proto;
use super::schema::Set;
use crate::names::IfName;

/// The most bytes of an element's comment. nft refuses longer ones (`NFTNL_UDATA_COMMENT_MAXLEN`, which counts
/// the final NUL, is 128).
pub const COMMENT_MAX: usize = 127;

/// `NFTA_DATA_VALUE`, the attribute that wraps every key and datum (`<linux/netfilter/nf_tables.h>`).
const NFTA_DATA_VALUE: u16 = 1;

/// Why a published port cannot be expressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ElementError {
    /// Not one of the protocols that have ports to publish.
    #[error("\"{0}\" is not a protocol with ports: tcp, udp or sctp")]
    UnknownProtocol(String),
    /// NAT never changes the address family.
    #[error("{host} and {to} are of different address families")]
    MixedFamilies {
        /// The address of the host.
        host: IpAddr,
        /// The address of the container.
        to: IpAddr,
    },
    /// Port 0 cannot be published.
    #[error("port 0 cannot be published")]
    PortZero,
    /// The last port of a range lies before its first.
    #[error("{first}-{last} is not a range of ports")]
    BackwardRange {
        /// The first port.
        first: u16,
        /// The last port.
        last: u16,
    },
    /// A comment that nft could not print so that it reads it again: too long, or with a quote or a control
    /// character in it.
    #[error("\"{}\" cannot be a comment: at most 127 bytes without quotes and control characters", .0.escape_debug())]
    Comment(String),
}

/// The host's and the container's address of one published port: always of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Ends {
    V4 { host: Ipv4Addr, to: Ipv4Addr },
    V6 { host: Ipv6Addr, to: Ipv6Addr },
}

impl Ends {
    fn new(host: IpAddr, to: IpAddr) -> Result<Self, ElementError> {
        match (host, to) {
            (IpAddr::V4(host), IpAddr::V4(to)) => Ok(Self::V4 { host, to }),
            (IpAddr::V6(host), IpAddr::V6(to)) => Ok(Self::V6 { host, to }),
            _ => Err(ElementError::MixedFamilies { host, to }),
        }
    }

    const fn host(&self) -> IpAddr {
        match *self {
            Self::V4 { host, .. } => IpAddr::V4(host),
            Self::V6 { host, .. } => IpAddr::V6(host),
        }
    }

    const fn to(&self) -> IpAddr {
        match *self {
            Self::V4 { to, .. } => IpAddr::V4(to),
            Self::V6 { to, .. } => IpAddr::V6(to),
        }
    }
}

fn check_comment(comment: Option<&str>) -> Result<(), ElementError> {
    match comment {
        // nft's grammar has no escape for a quote inside a quoted string.
        Some(text) if text.len() > COMMENT_MAX || text.contains(|c: char| c == '"' || c.is_control()) => {
            Err(ElementError::Comment(text.to_owned()))
        }
        _ => Ok(()),
    }
}

/// One published port: packets to (host address, protocol, host port) go to (container address, port).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Published {
    ends: Ends,
    proto: Proto,
    host_port: u16,
    to_port: u16,
    comment: Option<String>,
}

impl Published {
    /// Publishes `to`:`to_port` as `host`:`host_port`; the unspecified address (`0.0.0.0`, `::`) as `host`
    /// means every address of the host. `comment` is what a conflicting publisher is told of the holder.
    ///
    /// # Errors
    /// [`ElementError::MixedFamilies`], [`ElementError::PortZero`], [`ElementError::Comment`].
    pub fn new(
        host: IpAddr,
        proto: Proto,
        host_port: u16,
        to: IpAddr,
        to_port: u16,
        comment: Option<String>,
    ) -> Result<Self, ElementError> {
        let ends = Ends::new(host, to)?;
        check_comment(comment.as_deref())?;
        if host_port == 0 || to_port == 0 {
            return Err(ElementError::PortZero);
        }
        Ok(Self { ends, proto, host_port, to_port, comment })
    }

    /// The host's address; unspecified means every address.
    #[must_use]
    pub const fn host(&self) -> IpAddr {
        self.ends.host()
    }

    /// The protocol.
    #[must_use]
    pub const fn proto(&self) -> Proto {
        self.proto
    }

    /// The port on the host.
    #[must_use]
    pub const fn host_port(&self) -> u16 {
        self.host_port
    }

    /// The container's address.
    #[must_use]
    pub const fn to(&self) -> IpAddr {
        self.ends.to()
    }

    /// The port in the container.
    #[must_use]
    pub const fn to_port(&self) -> u16 {
        self.to_port
    }

    /// The comment.
    #[must_use]
    pub fn comment(&self) -> Option<&str> {
        self.comment.as_deref()
    }
}

/// A range of ports published under the same numbers: one element, however long the range is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PublishedRange {
    ends: Ends,
    proto: Proto,
    first: u16,
    last: u16,
    comment: Option<String>,
}

impl PublishedRange {
    /// Publishes the ports `first..=last` of `to` as the same ports of `host`; the unspecified address as
    /// `host` means every address of the host.
    ///
    /// # Errors
    /// [`ElementError::MixedFamilies`], [`ElementError::PortZero`], [`ElementError::BackwardRange`],
    /// [`ElementError::Comment`].
    pub fn new(
        host: IpAddr,
        proto: Proto,
        first: u16,
        last: u16,
        to: IpAddr,
        comment: Option<String>,
    ) -> Result<Self, ElementError> {
        let ends = Ends::new(host, to)?;
        check_comment(comment.as_deref())?;
        if first == 0 {
            return Err(ElementError::PortZero);
        }
        if last < first {
            return Err(ElementError::BackwardRange { first, last });
        }
        Ok(Self { ends, proto, first, last, comment })
    }

    /// The host's address; unspecified means every address.
    #[must_use]
    pub const fn host(&self) -> IpAddr {
        self.ends.host()
    }

    /// The protocol.
    #[must_use]
    pub const fn proto(&self) -> Proto {
        self.proto
    }

    /// The ports, the first and the last.
    #[must_use]
    pub const fn ports(&self) -> (u16, u16) {
        (self.first, self.last)
    }

    /// The container's address.
    #[must_use]
    pub const fn to(&self) -> IpAddr {
        self.ends.to()
    }

    /// The comment.
    #[must_use]
    pub fn comment(&self) -> Option<&str> {
        self.comment.as_deref()
    }
}

/// One element of one set or map of the table.
///
/// Its `Display` is the set and the element as nft writes them: `published4 { 0.0.0.0 . tcp . 8443 : 172.18.0.2 . 443 }`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Element {
    /// The bridge of a network.
    Bridge(IfName),
    /// The same name once more: traffic in and out by one bridge stays inside its network.
    SameBridge(IfName),
    /// A network with `--internal`: nothing is forwarded in or out.
    Internal(IfName),
    /// A network with `--isolate`: other networks reach it only through published ports.
    Isolated(IfName),
    /// A network in routed mode: no masquerade, and the outside may reach every port.
    Routed(IfName),
    /// A network whose containers may only send from addresses of its subnets.
    NoSpoofing(IfName),
    /// The IPv4 subnet of a network. Host bits do not matter.
    Subnet4(Ipv4Net),
    /// The IPv6 subnet of a network. Host bits do not matter.
    Subnet6(Ipv6Net),
    /// A published port.
    Published(Published),
    /// A range of ports published under the same numbers.
    PublishedRange(PublishedRange),
}

impl From<Published> for Element {
    fn from(published: Published) -> Self {
        Self::Published(published)
    }
}

impl From<PublishedRange> for Element {
    fn from(range: PublishedRange) -> Self {
        Self::PublishedRange(range)
    }
}

/// An element as the kernel takes it: the attributes of one `NFTA_LIST_ELEM`.
pub(super) type Item = ListAttribute<SetElementAttribute>;

impl Element {
    /// The set or map it belongs to.
    pub(super) const fn set(&self) -> Set {
        match self {
            Self::Bridge(_) => Set::Bridges,
            Self::SameBridge(_) => Set::SameBridge,
            Self::Internal(_) => Set::Internal,
            Self::Isolated(_) => Set::Isolated,
            Self::Routed(_) => Set::Routed,
            Self::NoSpoofing(_) => Set::NoSpoofing,
            Self::Subnet4(_) => Set::Subnets4,
            Self::Subnet6(_) => Set::Subnets6,
            Self::Published(Published { ends: Ends::V4 { .. }, .. }) => Set::Published4,
            Self::Published(Published { ends: Ends::V6 { .. }, .. }) => Set::Published6,
            Self::PublishedRange(PublishedRange { ends: Ends::V4 { .. }, .. }) => Set::PublishedRanges4,
            Self::PublishedRange(PublishedRange { ends: Ends::V6 { .. }, .. }) => Set::PublishedRanges6,
        }
    }

    /// How many [`Item`]s it is: a subnet is the start of an interval and its end.
    pub(super) fn item_count(&self) -> usize {
        match self {
            Self::Subnet4(net) => 1 + usize::from(after4(*net).is_some()),
            Self::Subnet6(net) => 1 + usize::from(after6(*net).is_some()),
            _ => 1,
        }
    }

    /// What identifies it in its set: the key, and the upper bounds of the key's fields if it is a range.
    pub(super) fn key(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        match self {
            Self::Bridge(name)
            | Self::Internal(name)
            | Self::Isolated(name)
            | Self::Routed(name)
            | Self::NoSpoofing(name) => (name.padded().to_vec(), None),
            Self::SameBridge(name) => ([name.padded(), name.padded()].concat(), None),
            Self::Subnet4(net) => (net.network().octets().to_vec(), None),
            Self::Subnet6(net) => (net.network().octets().to_vec(), None),
            Self::Published(published) => {
                let Published { ends, proto, host_port, .. } = published;
                (port_key(ends.host(), *proto, *host_port), None)
            }
            Self::PublishedRange(range) => {
                let PublishedRange { ends, proto, first, last, .. } = range;
                let host = ends.host();
                (port_key(host, *proto, *first), Some(port_key(highest(host), *proto, *last)))
            }
        }
    }

    /// Appends what the kernel takes to add it or, `with_data` being false, to find or delete it.
    pub(super) fn push_items(&self, items: &mut Vec<Item>, with_data: bool) {
        let (key, key_end) = self.key();
        let mut attributes = vec![SetElementAttribute::Key(DataAttribute::Value(key))];
        if let Some(end) = key_end {
            attributes.push(SetElementAttribute::KeyEnd(vec![DefaultNla::new(NFTA_DATA_VALUE, end)]));
        }
        if with_data {
            if let Some(data) = self.data() {
                attributes.push(SetElementAttribute::Data(DataAttribute::Value(data)));
            }
            if let Some(comment) = self.comment() {
                attributes.push(SetElementAttribute::UserData(comment_userdata(comment)));
            }
        }
        items.push(ListAttribute::Element(attributes));
        let interval_end = match self {
            Self::Subnet4(net) => after4(*net).map(|address| address.octets().to_vec()),
            Self::Subnet6(net) => after6(*net).map(|address| address.octets().to_vec()),
            _ => None,
        };
        if let Some(end) = interval_end {
            items.push(ListAttribute::Element(vec![
                SetElementAttribute::Key(DataAttribute::Value(end)),
                SetElementAttribute::Flags(SetElementFlags::IntervalEnd),
            ]));
        }
    }

    /// The datum of a map's element.
    fn data(&self) -> Option<Vec<u8>> {
        match self {
            Self::Published(published) => {
                let mut data = octets(published.to());
                data.extend(published.to_port.to_be_bytes());
                data.extend([0; 2]);
                Some(data)
            }
            Self::PublishedRange(range) => Some(octets(range.to())),
            _ => None,
        }
    }

    /// The comment it was made with; only published ports have one.
    #[must_use]
    pub fn comment(&self) -> Option<&str> {
        match self {
            Self::Published(published) => published.comment(),
            Self::PublishedRange(range) => range.comment(),
            _ => None,
        }
    }

    /// Writes the key as nft does: what stands in a `delete element`.
    pub(super) fn write_key(&self, f: &mut impl fmt::Write) -> fmt::Result {
        match self {
            Self::Bridge(name)
            | Self::Internal(name)
            | Self::Isolated(name)
            | Self::Routed(name)
            | Self::NoSpoofing(name) => write!(f, "\"{name}\""),
            Self::SameBridge(name) => write!(f, "\"{name}\" . \"{name}\""),
            Self::Subnet4(net) => write!(f, "{}", net.trunc()),
            Self::Subnet6(net) => write!(f, "{}", net.trunc()),
            Self::Published(Published { ends, proto, host_port, .. }) => {
                write!(f, "{} . {proto} . {host_port}", ends.host())
            }
            Self::PublishedRange(PublishedRange { ends, proto, first, last, .. }) => {
                let host = ends.host();
                let any = if host.is_unspecified() { "/0" } else { "" };
                write!(f, "{host}{any} . {proto} . {first}-{last}")
            }
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {{ ", self.set().name())?;
        self.write_key(f)?;
        if let Some(comment) = self.comment() {
            write!(f, " comment \"{comment}\"")?;
        }
        match self {
            Self::Published(published) => write!(f, " : {} . {}", published.to(), published.to_port)?,
            Self::PublishedRange(range) => write!(f, " : {}", range.to())?,
            _ => {}
        }
        f.write_str(" }")
    }
}

/// The first address after a subnet: where its interval ends. None for a subnet that ends with the last address.
fn after4(net: Ipv4Net) -> Option<Ipv4Addr> {
    u32::from(net.broadcast()).checked_add(1).map(Ipv4Addr::from)
}

/// [`after4`] for IPv6.
fn after6(net: Ipv6Net) -> Option<Ipv6Addr> {
    u128::from(net.broadcast()).checked_add(1).map(Ipv6Addr::from)
}

/// Address, protocol and port, each padded to four bytes, as concatenated keys are.
fn port_key(host: IpAddr, proto: Proto, port: u16) -> Vec<u8> {
    let mut key = octets(host);
    key.extend([proto.number(), 0, 0, 0]);
    key.extend(port.to_be_bytes());
    key.extend([0; 2]);
    key
}

/// The upper bound that goes with a range's host address: every address if it is unspecified, else itself.
const fn highest(host: IpAddr) -> IpAddr {
    match host {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::BROADCAST),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::from_bits(u128::MAX)),
        address => address,
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    // Room for what a key appends: one allocation for each.
    let mut bytes = Vec::with_capacity(24);
    match address {
        IpAddr::V4(address) => bytes.extend(address.octets()),
        IpAddr::V6(address) => bytes.extend(address.octets()),
    }
    bytes
}

/// A comment as libnftnl stores it in the user data of tables, rules and elements: type 0, length, text, NUL.
pub(super) fn comment_userdata(comment: &str) -> Vec<u8> {
    super::schema::userdata_text(0, comment)
}

/// `NFTA_LIST_ELEM`, as the kernel expects it when a list of fields is nested by hand.
pub(super) const NFTA_LIST_ELEM: u16 = 1 | NLA_F_NESTED;

#[cfg(test)]
mod tests {
    use super::*;

    fn published(host: &str, port: u16, to: &str) -> Element {
        Published::new(host.parse().unwrap(), Proto::Tcp, port, to.parse().unwrap(), 80, None).unwrap().into()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn keys_are_padded_field_by_field() {
        let element = published("0.0.0.0", 8080, "172.18.0.2");
        assert_eq!(hex(&element.key().0), "00000000060000001f900000");
        assert_eq!(hex(&element.data().unwrap()), "ac12000200500000");
        let element = published("::", 8080, "fd00:18::2");
        assert_eq!(hex(&element.key().0), "00000000000000000000000000000000060000001f900000");
        assert_eq!(hex(&element.data().unwrap()), "fd00001800000000000000000000000200500000");
        let name: IfName = "br-new".parse().unwrap();
        assert_eq!(hex(&Element::Bridge(name.clone()).key().0), "62722d6e657700000000000000000000");
        assert_eq!(
            hex(&Element::SameBridge(name).key().0),
            "62722d6e65770000000000000000000062722d6e657700000000000000000000"
        );
    }

    #[test]
    fn a_range_is_one_element_with_both_bounds() {
        let range = |host: &str, to: &str| {
            let element = PublishedRange::new(
                host.parse().unwrap(),
                Proto::Udp,
                20000,
                29999,
                to.parse().unwrap(),
                None,
            );
            Element::from(element.unwrap())
        };
        let (low, high) = range("0.0.0.0", "172.18.0.2").key();
        assert_eq!(hex(&low), "00000000110000004e200000");
        assert_eq!(hex(&high.unwrap()), "ffffffff11000000752f0000");
        let (low, high) = range("198.51.100.10", "172.18.0.2").key();
        assert_eq!(hex(&low), "c633640a110000004e200000");
        assert_eq!(hex(&high.unwrap()), "c633640a11000000752f0000");
        let (_, high) = range("::", "fd00::2").key();
        assert_eq!(hex(&high.unwrap()), "ffffffffffffffffffffffffffffffff11000000752f0000");
    }

    #[test]
    fn a_subnet_is_an_interval_and_ignores_host_bits() {
        let items = |element: Element| {
            let mut items = Vec::new();
            element.push_items(&mut items, true);
            assert_eq!(items.len(), element.item_count());
            items
        };
        let ends = |element| format!("{:?}", items(element));
        let text = ends(Element::Subnet4("172.30.0.1/16".parse().unwrap()));
        assert!(text.contains("[172, 30, 0, 0]") && text.contains("[172, 31, 0, 0]"), "{text}");
        assert!(text.contains("SetElementFlags(IntervalEnd)"), "{text}");
        assert_eq!(items(Element::Subnet4("240.0.0.0/4".parse().unwrap())).len(), 1);
        assert_eq!(items(Element::Subnet6("ff00::/8".parse().unwrap())).len(), 1);
        assert_eq!(items(Element::Subnet6("fd00::/64".parse().unwrap())).len(), 2);
    }

    #[test]
    fn text_is_nfts() {
        assert_eq!(
            published("0.0.0.0", 8443, "172.18.0.2").to_string(),
            "published4 { 0.0.0.0 . tcp . 8443 : 172.18.0.2 . 80 }"
        );
        let element = Published::new(
            "::".parse().unwrap(),
            Proto::Sctp,
            1,
            "fd00:18::2".parse().unwrap(),
            2,
            Some("web".to_owned()),
        );
        assert_eq!(
            Element::from(element.unwrap()).to_string(),
            "published6 { :: . sctp . 1 comment \"web\" : fd00:18::2 . 2 }"
        );
        let range = |host: &str| {
            let to = "172.18.0.2".parse().unwrap();
            let range = PublishedRange::new(host.parse().unwrap(), Proto::Tcp, 20000, 29999, to, None);
            Element::from(range.unwrap()).to_string()
        };
        assert_eq!(range("0.0.0.0"), "published_ranges4 { 0.0.0.0/0 . tcp . 20000-29999 : 172.18.0.2 }");
        assert_eq!(
            range("198.51.100.10"),
            "published_ranges4 { 198.51.100.10 . tcp . 20000-29999 : 172.18.0.2 }"
        );
        assert_eq!(Element::Subnet4("10.1.2.3/8".parse().unwrap()).to_string(), "subnets4 { 10.0.0.0/8 }");
        assert_eq!(
            Element::SameBridge("br0".parse().unwrap()).to_string(),
            "same_bridge { \"br0\" . \"br0\" }"
        );
    }

    #[test]
    fn what_cannot_be_published_is_refused() {
        let new = |host: &str, port, to: &str, comment: Option<&str>| {
            let (host, to) = (host.parse().unwrap(), to.parse().unwrap());
            Published::new(host, Proto::Tcp, port, to, 80, comment.map(str::to_owned))
        };
        assert!(matches!(new("0.0.0.0", 80, "fd00::2", None), Err(ElementError::MixedFamilies { .. })));
        assert_eq!(new("0.0.0.0", 0, "10.0.0.2", None), Err(ElementError::PortZero));
        for bad in ["a\"b", "a\nb", &"x".repeat(128)] {
            assert!(matches!(new("0.0.0.0", 80, "10.0.0.2", Some(bad)), Err(ElementError::Comment(_))));
        }
        assert!(new("0.0.0.0", 80, "10.0.0.2", Some(&"x".repeat(127))).is_ok());
        let to = "10.0.0.2".parse().unwrap();
        let backward = PublishedRange::new("0.0.0.0".parse().unwrap(), Proto::Tcp, 2, 1, to, None);
        assert_eq!(backward, Err(ElementError::BackwardRange { first: 2, last: 1 }));
    }
}
