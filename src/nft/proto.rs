//! Transport protocols with ports.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::element::ElementError;

/// A transport protocol whose ports can be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proto {
    /// TCP, protocol 6.
    Tcp,
    /// UDP, protocol 17.
    Udp,
    /// SCTP, protocol 132.
    Sctp,
}

impl Proto {
    /// The protocol's number in the IP header (IANA protocol numbers).
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// The protocol with that number, if it is one whose ports can be published.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            132 => Some(Self::Sctp),
            _ => None,
        }
    }
}

impl fmt::Display for Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

impl FromStr for Proto {
    type Err = ElementError;
    fn from_str(text: &str) -> Result<Self, ElementError> {
        match text {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            _ => Err(ElementError::UnknownProtocol(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_are_lower_case_everywhere() {
        for proto in [Proto::Tcp, Proto::Udp, Proto::Sctp] {
            assert_eq!(proto.to_string().parse::<Proto>().unwrap(), proto);
            assert_eq!(serde_json::to_string(&proto).unwrap(), format!("\"{proto}\""));
            assert_eq!(Proto::from_number(proto.number()), Some(proto));
        }
        assert_eq!("icmp".parse::<Proto>(), Err(ElementError::UnknownProtocol("icmp".to_owned())));
    }
}
