//! Which extra names a container can look up, and which name servers it asks.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::names::ContainerId;

/// Why a value was refused. The text is complete.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolutionError {
    /// Not `NAME:ADDRESS`.
    #[error("\"{0}\" is not HOST:IP or HOST=IP, where the IP is an address or host-gateway")]
    Host(String),
    /// Not a domain.
    #[error("\"{0}\" is not a domain to search in, or . for none")]
    Domain(String),
    /// Not an option of the resolver.
    #[error("\"{0}\" is not an option of resolv.conf")]
    Option(String),
}

/// A line for the hosts file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ExtraHost {
    pub(in crate::container) name: String,
    pub(in crate::container) address: HostAddress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::container) enum HostAddress {
    Ip(IpAddr),
    /// The address by which the container reaches its host.
    Gateway,
}

impl FromStr for ExtraHost {
    type Err = ResolutionError;
    fn from_str(text: &str) -> Result<Self, ResolutionError> {
        let refused = || ResolutionError::Host(text.to_owned());
        let (name, address) = text.split_once('=').or_else(|| text.split_once(':')).ok_or_else(refused)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        if name.is_empty() || name.len() > 253 || !name.bytes().all(plain) {
            return Err(refused());
        }
        let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
        let address = match bare {
            "host-gateway" => HostAddress::Gateway,
            ip => HostAddress::Ip(ip.parse().map_err(|_| refused())?),
        };
        Ok(Self { name: name.to_owned(), address })
    }
}

impl fmt::Display for ExtraHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            HostAddress::Ip(ip) => write!(f, "{}:{ip}", self.name),
            HostAddress::Gateway => write!(f, "{}:host-gateway", self.name),
        }
    }
}

impl TryFrom<String> for ExtraHost {
    type Error = ResolutionError;
    fn try_from(text: String) -> Result<Self, ResolutionError> {
        text.parse()
    }
}

impl From<ExtraHost> for String {
    fn from(host: ExtraHost) -> Self {
        host.to_string()
    }
}

/// A word of resolv.conf: neither empty nor with anything that would end it.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() && c != '#' && c != ';')
}

/// A domain that short names are looked up in; `.` stands for no search at all.
///
/// # Errors
/// [`ResolutionError::Domain`].
pub fn search_domain(text: &str) -> Result<String, ResolutionError> {
    let long = text.len() > 253;
    if is_word(text) && !long { Ok(text.to_owned()) } else { Err(ResolutionError::Domain(text.to_owned())) }
}

/// An option of the resolver, such as `ndots:2`.
///
/// # Errors
/// [`ResolutionError::Option`].
pub fn resolver_option(text: &str) -> Result<String, ResolutionError> {
    if is_word(text) { Ok(text.to_owned()) } else { Err(ResolutionError::Option(text.to_owned())) }
}

/// What is asked for beside what the host has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Resolution {
    /// Lines for the hosts file.
    pub hosts: Vec<ExtraHost>,
    /// Name servers, instead of the host's.
    pub servers: Vec<IpAddr>,
    /// Domains to search in, instead of the host's; `.` stands for none.
    pub search: Vec<String>,
    /// Options of the resolver, instead of the host's.
    pub options: Vec<String>,
    /// Names of other containers that this one alone knows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<ContainerLink>,
}

/// A name that one container has for another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerLink {
    /// The other container.
    pub container: ContainerId,
    /// What the other one was called when the link was made.
    pub target: String,
    /// The name.
    pub alias: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_values_are_refused() {
        for bad in
            ["", "db", "db:", ":1.2.3.4", "db:1.2.3", "d b:1.2.3.4", "db\n:1.2.3.4", "db=[1.2.3.4", "db:x"]
        {
            let error = bad.parse::<ExtraHost>().unwrap_err();
            assert!(error.to_string().contains(&format!("\"{bad}\"")), "{error}");
        }
        for bad in ["", "a b", "a\nnameserver 1.2.3.4", "#"] {
            assert!(search_domain(bad).is_err() && resolver_option(bad).is_err(), "{bad}");
        }
        assert!(search_domain(".").is_ok() && resolver_option("ndots:2").is_ok());
    }
}
