//! The networks of a container.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::cli::{CommandError, Context};
use crate::engine::{MacAddress, NetworkMode, Wanted, is_dns_name};
use crate::names::{ContainerId, NameError};

/// The networks of a container
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Networks")]
pub(super) struct NetworkOptions {
    /// Connect to a network: its name, or name=NAME,ip=IP,ip6=IP,mac-address=MAC,alias=NAME; or host, none, or
    /// container:NAME to share another container's network. May be given more than once: the default route
    /// leads through the first one that is not internal (default: the network bridge, which is created on
    /// first use)
    #[arg(long = "network", visible_alias = "net", value_name = "NETWORK")]
    network: Vec<Network>,
    /// The container's IPv4 address in the first network (default: the lowest free one)
    #[arg(long, value_name = "IP")]
    ip: Option<Ipv4Addr>,
    /// The container's IPv6 address in the first network, if it has IPv6 (default: a free one)
    #[arg(long, value_name = "IP")]
    ip6: Option<Ipv6Addr>,
    /// The MAC address of the container's first interface (default: derived from its IP address)
    #[arg(long, value_name = "MAC")]
    mac_address: Option<MacAddress>,
    /// One more name by which others find the container in the first network; may be given more than once
    #[arg(long, visible_alias = "net-alias", value_name = "NAME", value_parser = alias)]
    network_alias: Vec<String>,
}

impl NetworkOptions {
    /// The networks in order of connecting, and what is asked for in the first of them.
    pub(super) fn resolve(
        self,
        context: &mut Context,
    ) -> Result<(Vec<(NetworkMode, Wanted)>, Wanted), CommandError> {
        let mut networks = Vec::new();
        for network in self.network {
            let mode = match network.place {
                Place::Mode(mode) => mode,
                Place::OfContainer(name) => NetworkMode::Container(context.engine()?.find(&name)?.record.id),
            };
            networks.push((mode, network.wanted));
        }
        let wanted = Wanted {
            ip: self.ip,
            ip6: self.ip6,
            mac: self.mac_address,
            aliases: self.network_alias,
            ..Wanted::default()
        };
        Ok((networks, wanted))
    }
}

/// One more name of a container.
pub(in crate::cli) fn alias(text: &str) -> Result<String, String> {
    if is_dns_name(text) {
        return Ok(text.to_owned());
    }
    Err("a name has at most 253 letters, digits, - and _, with dots between them".to_owned())
}

/// A network as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Network {
    place: Place,
    wanted: Wanted,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Mode(NetworkMode),
    /// That of a container, by name or id.
    OfContainer(String),
}

impl FromStr for Place {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mode = match text {
            "host" => NetworkMode::Host,
            "none" => NetworkMode::None,
            // Docker's word for the network that is there by itself.
            "default" | "bridge" => NetworkMode::Default,
            name => match name.strip_prefix("container:") {
                Some(container) => return Ok(Self::OfContainer(container.to_owned())),
                None => {
                    // A name has no room for all 64 digits of an id; the rest of them tell as well which it is.
                    let is_id = name.parse::<ContainerId>().is_ok();
                    let name = if is_id { &name[..name.len() - 1] } else { name };
                    NetworkMode::Network(name.parse().map_err(|error: NameError| error.to_string())?)
                }
            },
        };
        Ok(Self::Mode(mode))
    }
}

impl FromStr for Network {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut wanted = Wanted::default();
        if !text.contains('=') {
            return Ok(Self { place: text.parse()?, wanted });
        }
        let mut place = None;
        for field in text.split(',') {
            let (key, value) = field
                .split_once('=')
                .ok_or_else(|| format!("\"{field}\" in \"{text}\" is not of the form KEY=VALUE"))?;
            let invalid = |error: &dyn std::fmt::Display| format!("{key}={value}: {error}");
            match key {
                "name" => place = Some(value.parse()?),
                "ip" => wanted.ip = Some(value.parse().map_err(|error| invalid(&error))?),
                "ip6" => wanted.ip6 = Some(value.parse().map_err(|error| invalid(&error))?),
                "mac-address" => wanted.mac = Some(value.parse().map_err(|error| invalid(&error))?),
                "alias" => wanted.aliases.push(alias(value).map_err(|error| invalid(&error))?),
                _ => {
                    return Err(format!(
                        "unknown key \"{key}\" in \"{text}\": expected name, ip, ip6, mac-address or alias"
                    ));
                }
            }
        }
        let place = place.ok_or_else(|| format!("\"{text}\" does not name a network: expected name=NAME"))?;
        Ok(Self { place, wanted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_named_shortly_or_with_what_is_wanted_in_it() {
        let short: Network = "front".parse().unwrap();
        assert_eq!(short, "name=front".parse().unwrap());
        let long: Network =
            "name=front,ip=10.0.0.9,ip6=fd00::9,mac-address=02:00:00:00:00:09,alias=a,alias=b"
                .parse()
                .unwrap();
        assert_eq!(long.place, short.place);
        assert_eq!(long.wanted.ip, Some([10, 0, 0, 9].into()));
        assert_eq!(long.wanted.ip6, Some("fd00::9".parse().unwrap()));
        assert_eq!(long.wanted.mac, Some("02:00:00:00:00:09".parse().unwrap()));
        assert_eq!(long.wanted.aliases, ["a", "b"]);
        assert_eq!("container:web".parse::<Network>().unwrap().place, Place::OfContainer("web".to_owned()));
        for bad in [
            "",
            "a/b",
            "name=front,alias=a/b",
            "ip=10.0.0.9",
            "name=front,ip=x",
            "name=front,x=1",
            "name=front,ip",
            "name=a/b",
        ] {
            assert!(bad.parse::<Network>().is_err(), "{bad:?} was accepted");
        }
    }
}
