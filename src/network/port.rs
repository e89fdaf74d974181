//! Published ports: the grammar of `-p`, and what it means as elements of the table.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::nft::{Element, ElementError, Proto, Published};

/// Why a `-p` was refused. Each message quotes it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// Not of the form at all.
    #[error("\"{0}\" is not a port mapping: expected [[HOST_IP:]HOST_PORT[-END]:]PORT[-END][/tcp|udp|sctp]")]
    Malformed(String),
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
    /// As many host ports as container ports are needed.
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
    /// IPv6 networks are not there yet.
    #[error("\"{0}\" publishes on an IPv6 address: networks are IPv4 only in this version")]
    Ipv6(String),
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
    /// The address of the host; unspecified for all of them.
    pub host_ip: Ipv4Addr,
    /// The ports of the host; `None` for any free ones.
    pub host: Option<PortRange>,
    /// The ports of the container.
    pub container: PortRange,
    /// The protocol.
    pub proto: Proto,
}

/// A published port, or range of ports, with everything decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortMapping {
    /// The address of the host; unspecified for all of them.
    pub host_ip: Ipv4Addr,
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
        let (ports, proto) = match text.split_once('/') {
            Some((ports, proto)) => {
                let proto = proto.to_ascii_lowercase().parse();
                (ports, proto.map_err(|_: ElementError| PortError::Protocol(text.to_owned()))?)
            }
            None => (text, Proto::Tcp),
        };
        let (host_ip, host, container) = split(ports, text)?;
        let container = range(container, text)?;
        let host = match host {
            None | Some("") => None,
            Some(part) => Some(range(part, text)?),
        };
        if let Some(host) = host
            && host.count() != container.count()
        {
            let (host, container) = (host.count(), container.count());
            return Err(PortError::Unequal { mapping: text.to_owned(), host, container });
        }
        Ok(Self { host_ip, host, container, proto })
    }
}

/// Address, host ports, container ports.
fn split<'a>(ports: &'a str, text: &str) -> Result<(Ipv4Addr, Option<&'a str>, &'a str), PortError> {
    let (rest, container) = match ports.rsplit_once(':') {
        None => return Ok((Ipv4Addr::UNSPECIFIED, None, ports)),
        Some(parts) => parts,
    };
    let Some((address, host)) = rest.rsplit_once(':') else {
        return Ok((Ipv4Addr::UNSPECIFIED, Some(rest), container));
    };
    let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    match bare.parse() {
        Ok(IpAddr::V4(address)) => Ok((address, Some(host), container)),
        Ok(IpAddr::V6(_)) => Err(PortError::Ipv6(text.to_owned())),
        Err(_) => Err(PortError::Address { part: address.to_owned(), mapping: text.to_owned() }),
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

/// As `-p` takes it.
impl fmt::Display for PortRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.host_ip.is_unspecified() {
            write!(f, "{}:", self.host_ip)?;
        }
        if let Some(host) = self.host {
            write!(f, "{host}:")?;
        } else if !self.host_ip.is_unspecified() {
            write!(f, ":")?;
        }
        write!(f, "{}/{}", self.container, self.proto)
    }
}

impl PortMapping {
    /// Whether both want the same port of the same address.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.proto == other.proto
            && self.host_ip == other.host_ip
            && self.host.first <= other.host.last
            && other.host.first <= self.host.last
    }

    /// The host's side of it: `0.0.0.0:8080/tcp`.
    #[must_use]
    pub fn host_side(&self) -> String {
        format!("{}:{}/{}", self.host_ip, self.host, self.proto)
    }

    /// The elements of the table that publish these ports of `to`: one for each port, because the kernel then
    /// refuses each port that is taken. The comment tells who holds them.
    ///
    /// # Errors
    /// The comment is not one that nft could print.
    pub fn elements(&self, to: Ipv4Addr, comment: &str) -> Result<Vec<Element>, ElementError> {
        let ports = (self.host.first..=self.host.last).zip(self.container.first..=self.container.last);
        ports
            .map(|(host, container)| {
                let (ip, to) = (self.host_ip.into(), to.into());
                Published::new(ip, self.proto, host, to, container, Some(comment.to_owned()))
                    .map(Element::from)
            })
            .collect()
    }
}

/// `0.0.0.0:8080->80/tcp`, as listings show it.
impl fmt::Display for PortMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}->{}/{}", self.host_ip, self.host, self.container, self.proto)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<PortRequest, PortError> {
        text.parse()
    }

    #[test]
    fn the_forms_of_dockers_grammar() {
        let one = |port| PortRange { first: port, last: port };
        let any = Ipv4Addr::UNSPECIFIED;
        let tcp = |host_ip, host, container| Ok(PortRequest { host_ip, host, container, proto: Proto::Tcp });
        assert_eq!(parse("8080:80"), tcp(any, Some(one(8080)), one(80)));
        assert_eq!(parse("80"), tcp(any, None, one(80)));
        assert_eq!(parse(":80"), tcp(any, None, one(80)));
        assert_eq!(parse("127.0.0.1:8080:80"), tcp(Ipv4Addr::LOCALHOST, Some(one(8080)), one(80)));
        assert_eq!(parse("127.0.0.1::80"), tcp(Ipv4Addr::LOCALHOST, None, one(80)));
        assert_eq!(
            parse("8000-8010:80-90"),
            tcp(any, Some(PortRange { first: 8000, last: 8010 }), PortRange { first: 80, last: 90 })
        );
        assert_eq!(parse("53:53/UDP").unwrap().proto, Proto::Udp);
        assert_eq!(parse("53:53/sctp").unwrap().proto, Proto::Sctp);
    }

    #[test]
    fn refuses_and_quotes_what_is_malformed() {
        for bad in [
            "",
            ":",
            "a:80",
            "80:",
            "0:80",
            "80:0",
            "65536:80",
            "80:65536",
            "80:80/icmp",
            "80:80/",
            "1:2:3:4",
            "1.2.3:80:80",
            "8000-8010:80-81",
            "90-80:80-90",
            "+80:80",
            "80 :80",
            "-1:80",
            "80-:80",
            "[::1]:80:80",
            "8000-8010:80",
        ] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.contains(&format!("\"{bad}\"")), "{bad:?}: {error}");
        }
    }

    #[test]
    fn a_shifted_range_is_an_element_for_each_port() {
        let mapping = PortMapping {
            host_ip: Ipv4Addr::UNSPECIFIED,
            host: PortRange { first: 8000, last: 8002 },
            container: PortRange { first: 80, last: 82 },
            proto: Proto::Tcp,
        };
        assert_eq!(mapping.to_string(), "0.0.0.0:8000-8002->80-82/tcp");
        let elements = mapping.elements([10, 0, 0, 2].into(), "web").unwrap();
        assert_eq!(elements.len(), 3);
        assert!(matches!(&elements[2], Element::Published(p) if p.host_port() == 8002 && p.to_port() == 82));
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "[0-9.:/a-z\\[\\]-]{0,24}") {
            if let Ok(request) = parse(&text) {
                prop_assert_eq!(parse(&request.to_string()).unwrap(), request.clone());
                prop_assert!(request.container.first > 0 && request.container.first <= request.container.last);
                prop_assert!(request.host.is_none_or(|host| host.count() == request.container.count()));
            }
        }
    }
}
