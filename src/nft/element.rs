//! Elements: the variable part of the table, as values that cannot be malformed.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use super::claim::Claim;
use super::proto::Proto;
use super::schema::Set;
use crate::names::IfName;

/// The most bytes of an element's comment. nft refuses longer ones (`NFTNL_UDATA_COMMENT_MAXLEN`, which counts
/// the final NUL, is 128).
pub const COMMENT_MAX: usize = 127;

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

pub(super) fn check_comment(comment: Option<&str>) -> Result<(), ElementError> {
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
    /// Publishes `to`:`to_port` as `host`:`host_port`; the unspecified address (`0.0.0.0`, `::`) as `host` means
    /// every address of the host. `comment` names the holder; a conflict is explained with it.
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
    /// A network whose packets leave under the containers' own addresses.
    NoMasquerade(IfName),
    /// A network whose containers may only send from addresses of its subnets.
    NoSpoofing(IfName),
    /// A bridge of somebody else's that was there when mydocker switched forwarding on.
    HostBridge(IfName),
    /// The IPv4 subnet of a network. Host bits do not matter.
    Subnet4(Ipv4Net),
    /// The IPv6 subnet of a network. Host bits do not matter.
    Subnet6(Ipv6Net),
    /// A published port.
    Published(Published),
    /// A range of ports published under the same numbers.
    PublishedRange(PublishedRange),
    /// What ranges and the ports of single addresses take of the host's ports.
    Claim(Claim),
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

impl From<Claim> for Element {
    fn from(claim: Claim) -> Self {
        Self::Claim(claim)
    }
}

impl Element {
    /// The set or map it belongs to.
    pub(super) const fn set(&self) -> Set {
        match self {
            Self::Bridge(_) => Set::Bridges,
            Self::SameBridge(_) => Set::SameBridge,
            Self::Internal(_) => Set::Internal,
            Self::Isolated(_) => Set::Isolated,
            Self::Routed(_) => Set::Routed,
            Self::NoMasquerade(_) => Set::NoMasquerade,
            Self::NoSpoofing(_) => Set::NoSpoofing,
            Self::HostBridge(_) => Set::HostBridges,
            Self::Subnet4(_) => Set::Subnets4,
            Self::Subnet6(_) => Set::Subnets6,
            Self::Claim(_) => Set::Claims,
            Self::Published(Published { ends: Ends::V4 { .. }, .. }) => Set::Published4,
            Self::Published(Published { ends: Ends::V6 { .. }, .. }) => Set::Published6,
            Self::PublishedRange(PublishedRange { ends: Ends::V4 { .. }, .. }) => Set::PublishedRanges4,
            Self::PublishedRange(PublishedRange { ends: Ends::V6 { .. }, .. }) => Set::PublishedRanges6,
        }
    }

    /// The comment it was made with; only published ports have one.
    #[must_use]
    pub fn comment(&self) -> Option<&str> {
        match self {
            Self::Published(published) => published.comment(),
            Self::PublishedRange(range) => range.comment(),
            Self::Claim(claim) => claim.comment(),
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
            | Self::NoMasquerade(name)
            | Self::NoSpoofing(name)
            | Self::HostBridge(name) => write!(f, "\"{name}\""),
            Self::SameBridge(name) => write!(f, "\"{name}\" . \"{name}\""),
            Self::Subnet4(net) => write!(f, "{}", net.trunc()),
            Self::Subnet6(net) => write!(f, "{}", net.trunc()),
            Self::Claim(claim) => claim.write_key(f),
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

    /// Writes key, comment and datum as nft does: what stands in a `create element`.
    pub(super) fn write_item(&self, f: &mut impl fmt::Write) -> fmt::Result {
        self.write_key(f)?;
        if let Some(comment) = self.comment() {
            write!(f, " comment \"{comment}\"")?;
        }
        match self {
            Self::Published(published) => write!(f, " : {} . {}", published.to(), published.to_port),
            Self::PublishedRange(range) => write!(f, " : {}", range.to()),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {{ ", self.set().name())?;
        self.write_item(f)?;
        f.write_str(" }")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(host: &str, port: u16, to: &str) -> Element {
        Published::new(host.parse().unwrap(), Proto::Tcp, port, to.parse().unwrap(), 80, None).unwrap().into()
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
