//! Published ports: the grammar of `-p` and `--expose`, and what they mean as elements of the table.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::nft::{Claim, Element, ElementError, Proto, Published, PublishedRange};

/// Why a `-p` or `--expose` was refused. Each message quotes it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// Not of the form at all.
    #[error("\"{0}\" is not a port mapping: expected [[HOST_IP:]HOST_PORT[-END]:]PORT[-END][/tcp|udp|sctp]")]
    Malformed(String),
    /// An exposed port names nothing of the host.
    #[error("\"{0}\" is not an exposed port: expected PORT[-END][/tcp|udp|sctp]")]
    NotExposable(String),
    /// A number that is no port.
    #[error("\"{part}\" in \"{mapping}\" is not a port: expected 1 to 65535")]
    Port {
        /// The part that should be a port.
        part: String,
        /// The whole mapping.
        mapping: String,
    },
    /// The end of a range lies before its start.
    #[error("the range \"{part}\" in \"{mapping}\" ends before it starts")]
    Backward {
        /// The range.
        part: String,
        /// The whole mapping.
        mapping: String,
    },
    /// As many host ports as container ports are needed, or a range to choose one from.
    #[error(
        "\"{mapping}\" maps {host} host ports to {container} container ports: the ranges must be equally long"
    )]
    Unequal {
        /// The whole mapping.
        mapping: String,
        /// How many host ports it names.
        host: u32,
        /// How many container ports it names.
        container: u32,
    },
    /// Not tcp, udp or sctp.
    #[error("unknown protocol in \"{0}\": expected tcp, udp or sctp")]
    Protocol(String),
    /// Not an address.
    #[error("\"{part}\" in \"{mapping}\" is not an IP address")]
    Address {
        /// The part that should be an address.
        part: String,
        /// The whole mapping.
        mapping: String,
    },
    /// An address to which nothing can be published.
    #[error("\"{mapping}\" cannot be published on {address}: {why}")]
    Unusable {
        /// The whole mapping.
        mapping: String,
        /// The address.
        address: IpAddr,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// Consecutive ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortRange {
    /// The lowest port.
    pub first: u16,
    /// The highest port.
    pub last: u16,
}

impl PortRange {
    /// How many ports these are.
    #[must_use]
    pub fn count(self) -> u32 {
        u32::from(self.last - self.first) + 1
    }

    /// Whether a port is in both.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// All of them.
    pub fn ports(self) -> impl Iterator<Item = u16> {
        self.first..=self.last
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// A `-p` as the user wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortRequest {
    /// The address of the host; `0.0.0.0` and `::` for every address of a family, `None` for every address of
    /// every family that the container has.
    pub host_ip: Option<IpAddr>,
    /// The ports of the host; `None` for any free ones. More than the container's is a range to choose from.
    pub host: Option<PortRange>,
    /// The ports of the container.
    pub container: PortRange,
    /// The protocol.
    pub proto: Proto,
}

/// An `--expose`: ports of the container that `--publish-all` publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExposedPort {
    /// The ports of the container.
    pub container: PortRange,
    /// The protocol.
    pub proto: Proto,
}

/// A published port, or range of ports, with everything decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortMapping {
    /// The address of the host; unspecified for every address of its family.
    pub host_ip: IpAddr,
    /// The ports of the host.
    pub host: PortRange,
    /// The ports of the container, as many.
    pub container: PortRange,
    /// The protocol.
    pub proto: Proto,
}

impl FromStr for PortRequest {
    type Err = PortError;
    fn from_str(text: &str) -> Result<Self, PortError> {
        let (ports, proto) = protocol(text)?;
        let (host_ip, host, container) = split(ports, text)?;
        let container = range(container, text)?;
        let host = match host {
            None | Some("") => None,
            Some(part) => Some(range(part, text)?),
        };
        if let Some(host) = host
            && host.count() != container.count()
            && container.count() != 1
        {
            let (host, container) = (host.count(), container.count());
            return Err(PortError::Unequal { mapping: text.to_owned(), host, container });
        }
        Ok(Self { host_ip, host, container, proto })
    }
}

impl FromStr for ExposedPort {
    type Err = PortError;
    fn from_str(text: &str) -> Result<Self, PortError> {
        let (ports, proto) = protocol(text)?;
        if ports.is_empty() || ports.contains(':') {
            return Err(PortError::NotExposable(text.to_owned()));
        }
        Ok(Self { container: range(ports, text)?, proto })
    }
}

/// The ports, and the protocol behind them; TCP without.
fn protocol(text: &str) -> Result<(&str, Proto), PortError> {
    let Some((ports, proto)) = text.split_once('/') else { return Ok((text, Proto::Tcp)) };
    let proto = proto.to_ascii_lowercase().parse();
    Ok((ports, proto.map_err(|_: ElementError| PortError::Protocol(text.to_owned()))?))
}

type Parts<'a> = (Option<IpAddr>, Option<&'a str>, &'a str);

/// Address, host ports, container ports. From behind, because an IPv6 address needs no brackets.
fn split<'a>(ports: &'a str, text: &str) -> Result<Parts<'a>, PortError> {
    let Some((rest, container)) = ports.rsplit_once(':') else { return Ok((None, None, ports)) };
    let Some((address, host)) = rest.rsplit_once(':') else { return Ok((None, Some(rest), container)) };
    if address.is_empty() {
        return Ok((None, Some(host), container));
    }
    let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    let bracketed = bare.len() != address.len();
    match bare.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) if bracketed => {}
        Ok(parsed) => {
            // `::ffff:192.0.2.1` is how some programs write an IPv4 address.
            let parsed = parsed.to_canonical();
            return match unusable(parsed) {
                None => Ok((Some(parsed), Some(host), container)),
                Some(why) => Err(PortError::Unusable { mapping: text.to_owned(), address: parsed, why }),
            };
        }
        Err(_) => {}
    }
    Err(PortError::Address { part: address.to_owned(), mapping: text.to_owned() })
}

/// Why nothing can be published on an address, whatever host it is on.
fn unusable(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) if address.is_broadcast() || address.is_multicast() => {
            Some("it is not the address of one host")
        }
        IpAddr::V6(address) if address.is_multicast() => Some("it is not the address of one host"),
        // There is no route_localnet for IPv6: answers could not come back.
        IpAddr::V6(Ipv6Addr::LOCALHOST) => {
            Some("the kernel translates no packets of the IPv6 loopback device; publish on 127.0.0.1")
        }
        // A client with a link-local address is never forwarded.
        IpAddr::V6(address) if address.is_unicast_link_local() => {
            Some("packets to link-local addresses are not forwarded")
        }
        _ => None,
    }
}

fn range(part: &str, mapping: &str) -> Result<PortRange, PortError> {
    let port = |text: &str| {
        // `parse` alone would accept "+80".
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let number = digits.then(|| text.parse::<u16>().ok()).flatten().filter(|number| *number != 0);
        number.ok_or_else(|| PortError::Port { part: text.to_owned(), mapping: mapping.to_owned() })
    };
    if part.is_empty() {
        return Err(PortError::Malformed(mapping.to_owned()));
    }
    let (first, last) = match part.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(part)?, port(part)?),
    };
    if last < first {
        return Err(PortError::Backward { part: part.to_owned(), mapping: mapping.to_owned() });
    }
    Ok(PortRange { first, last })
}

/// An address in front of a port: IPv6 in brackets.
fn write_host(f: &mut fmt::Formatter<'_>, address: IpAddr) -> fmt::Result {
    match address {
        IpAddr::V4(address) => write!(f, "{address}:"),
        IpAddr::V6(address) => write!(f, "[{address}]:"),
    }
}

/// As `-p` takes it.
impl fmt::Display for PortRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(address) = self.host_ip {
            write_host(f, address)?;
        }
        match self.host {
            Some(host) => write!(f, "{host}:")?,
            None if self.host_ip.is_some() => write!(f, ":")?,
            None => {}
        }
        write!(f, "{}/{}", self.container, self.proto)
    }
}

/// As `--expose` takes it.
impl fmt::Display for ExposedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.container, self.proto)
    }
}

impl PortRequest {
    /// A request for any free port of the host.
    #[must_use]
    pub const fn for_exposed(exposed: ExposedPort) -> Self {
        Self { host_ip: None, host: None, container: exposed.container, proto: exposed.proto }
    }

    /// The host's ports where the user left no choice.
    #[must_use]
    pub fn fixed(&self) -> Option<PortRange> {
        self.host.filter(|host| host.count() == self.container.count())
    }

    /// The addresses of the host to publish on, for a container that has addresses of these families.
    #[must_use]
    pub fn host_addresses(&self, ipv4: bool, ipv6: bool) -> Vec<IpAddr> {
        match self.host_ip {
            Some(address) => vec![address],
            None => [(ipv4, Ipv4Addr::UNSPECIFIED.into()), (ipv6, Ipv6Addr::UNSPECIFIED.into())]
                .into_iter()
                .filter_map(|(has, any)| has.then_some(any))
                .collect(),
        }
    }

    /// Whether both can only be had by one of the two.
    #[must_use]
    fn collides(&self, other: &Self) -> bool {
        let (Some(one), Some(two)) = (self.fixed(), other.fixed()) else { return false };
        let same_address = match (self.host_ip, other.host_ip) {
            (Some(one), Some(two)) => same_address(one, two),
            _ => true,
        };
        self.proto == other.proto && same_address && one.overlaps(two)
    }
}

/// The first request that cannot be met together with an earlier one.
#[must_use]
pub fn first_collision(requests: &[PortRequest]) -> Option<&PortRequest> {
    let mut rest = requests.iter().enumerate();
    rest.find(|(at, request)| requests[..*at].iter().any(|earlier| earlier.collides(request))).map(|(_, r)| r)
}

/// Whether a packet can be for both: an unspecified address stands for every one of its family.
pub(super) fn same_address(one: IpAddr, other: IpAddr) -> bool {
    one == other || one.is_ipv4() == other.is_ipv4() && (one.is_unspecified() || other.is_unspecified())
}

impl PortMapping {
    /// Whether both want the same port of the same address.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.proto == other.proto
            && same_address(self.host_ip, other.host_ip)
            && self.host.overlaps(other.host)
    }

    /// Whether it is a range that is published under its own numbers: one element, however long it is.
    #[must_use]
    pub fn is_interval(&self) -> bool {
        self.host == self.container && self.host.count() > 1
    }

    /// The elements of the table that publish these ports of `to`, while they are published. The comment tells
    /// who holds them. A shifted range is an element for each port: nftables cannot add to a port.
    ///
    /// # Errors
    /// `to` is not of the host address's family, or the comment is not one that nft could print.
    pub fn elements(&self, to: IpAddr, comment: &str) -> Result<Vec<Element>, ElementError> {
        let (ip, proto, PortRange { first, last }) = (self.host_ip, self.proto, self.host);
        let mut elements = Vec::new();
        if self.is_interval() {
            let range = PublishedRange::new(ip, proto, first, last, to, Some(comment.to_owned()))?;
            elements.push(Element::from(range));
        } else {
            for (host, container) in self.host.ports().zip(self.container.ports()) {
                let port = Published::new(ip, proto, host, to, container, Some(comment.to_owned()))?;
                elements.push(Element::from(port));
            }
        }
        if self.is_interval() || !ip.is_unspecified() {
            elements.extend(self.claims(comment)?);
        }
        Ok(elements)
    }

    /// Elements that exclude these ports and are no part of [`Self::elements`]: publishing creates and deletes them
    /// in the same transaction, which the kernel refuses where one of them has no room. (That no single port lies
    /// in a range is checked when the range is published.)
    ///
    /// # Errors
    /// As for [`Self::elements`].
    pub fn exclusions(&self, to: IpAddr, comment: &str) -> Result<Vec<Element>, ElementError> {
        if self.is_interval() {
            return Ok(Vec::new());
        }
        if self.host_ip.is_unspecified() {
            return self.claims(comment);
        }
        let every = match self.host_ip {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let exclusion = |port| Published::new(every, self.proto, port, to, port, Some(comment.to_owned()));
        self.host.ports().map(|port| exclusion(port).map(Element::from)).collect()
    }

    fn claims(&self, comment: &str) -> Result<Vec<Element>, ElementError> {
        let PortRange { first, last } = self.host;
        let claims = Claim::ports(self.host_ip, self.proto, first, last, Some(comment))?;
        Ok(claims.into_iter().map(Element::from).collect())
    }

    /// The host's side of it: `0.0.0.0:8080/tcp`.
    #[must_use]
    pub fn host_side(&self) -> String {
        let address = match self.host_ip {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        format!("{address}:{}/{}", self.host, self.proto)
    }
}

/// `0.0.0.0:8080->80/tcp`, as listings show it.
impl fmt::Display for PortMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_host(f, self.host_ip)?;
        write!(f, "{}->{}/{}", self.host, self.container, self.proto)
    }
}

/// The same mappings for listings, by the container's ports. Consecutive ones that are published under their own
/// numbers are put together, as Docker does: `8000->8000` and `8001->8001` are `8000-8001->8000-8001`.
#[must_use]
pub fn compact(mappings: &[PortMapping]) -> Vec<PortMapping> {
    let mut sorted = mappings.to_vec();
    sorted.sort_by_key(|m| (m.host_ip, m.proto, m.container.first, m.host.first));
    let mut compact: Vec<PortMapping> = Vec::with_capacity(sorted.len());
    for mapping in sorted {
        let follows = |before: &&mut PortMapping| {
            (before.host_ip, before.proto) == (mapping.host_ip, mapping.proto)
                && (before.host, mapping.host) == (before.container, mapping.container)
                && before.container.last.checked_add(1) == Some(mapping.container.first)
        };
        match compact.last_mut().filter(follows) {
            Some(before) => {
                before.container.last = mapping.container.last;
                before.host.last = mapping.host.last;
            }
            None => compact.push(mapping),
        }
    }
    compact.sort_by_key(|m| (m.container.first, m.host_ip, m.host.first, m.proto));
    compact
}

/// Of the ports that a container exposes, given as `--expose` takes them, those that are not published;
/// consecutive ones put together.
#[must_use]
pub fn unpublished(exposed: &[String], published: &[PortMapping]) -> Vec<ExposedPort> {
    // An image may contain any text here; what is not a port is left out.
    let exposed = exposed.iter().filter_map(|text| text.parse::<ExposedPort>().ok());
    let mut ports: Vec<(Proto, u16)> = exposed
        .flat_map(|exposed| exposed.container.ports().map(move |port| (exposed.proto, port)))
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports.retain(|(proto, port)| {
        let one = PortRange { first: *port, last: *port };
        !published.iter().any(|mapping| mapping.proto == *proto && mapping.container.overlaps(one))
    });
    let mut unpublished: Vec<ExposedPort> = Vec::new();
    for (proto, port) in ports {
        let follows = |before: &&mut ExposedPort| {
            before.proto == proto && before.container.last.checked_add(1) == Some(port)
        };
        match unpublished.last_mut().filter(follows) {
            Some(before) => before.container.last = port,
            None => {
                unpublished.push(ExposedPort { container: PortRange { first: port, last: port }, proto });
            }
        }
    }
    unpublished
}

#[cfg(test)]
mod tests;
