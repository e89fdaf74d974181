//! What a plugin is called for: the variables of the environment, checked.

use std::net::IpAddr;

use ipnet::IpNet;

use super::COMMAND;
use super::reply::{Code, Failure};
use crate::engine::MacAddress;
use crate::names::{ForeignName, IfName};

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Add,
    Delete,
    Check,
    CollectGarbage,
    Status,
}

impl Verb {
    fn of(command: &str) -> Option<Self> {
        Some(match command {
            "ADD" => Self::Add,
            "DEL" => Self::Delete,
            "CHECK" => Self::Check,
            "GC" => Self::CollectGarbage,
            "STATUS" => Self::Status,
            _ => return None,
        })
    }

    fn is_about_a_container(self) -> bool {
        matches!(self, Self::Add | Self::Delete | Self::Check)
    }
}

/// The container that it is done for.
#[derive(Debug, Clone)]
pub(super) struct Container {
    pub(super) id: ForeignName,
    pub(super) interface: IfName,
    /// As it was written: results repeat it.
    pub(super) netns: String,
}

/// Addresses that were asked for in the environment.
#[derive(Debug, Clone, Default)]
pub(super) struct Arguments {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) mac: Option<MacAddress>,
}

/// What a plugin is called for.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) verb: Verb,
    container: Option<Container>,
    pub(super) arguments: Arguments,
}

impl Call {
    pub(super) fn new(command: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, Failure> {
        let refuse = |what: &str, why: String| Failure::new(Code::Environment, what, why);
        let Some(verb) = Verb::of(command) else {
            return Err(refuse("unknown CNI command", format!("{COMMAND} is {command:?}")));
        };
        let given = |name: &str| environment(name).filter(|value| !value.is_empty());
        if !verb.is_about_a_container() {
            return Ok(Self { verb, container: None, arguments: Arguments::default() });
        }
        let needed = ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS"];
        let is_needed = |name: &&str| *name != "CNI_NETNS" || verb != Verb::Delete;
        let missing: Vec<&str> =
            needed.into_iter().filter(is_needed).filter(|name| given(name).is_none()).collect();
        if !missing.is_empty() {
            return Err(refuse("required variables are missing", missing.join(", ")));
        }
        let text = |name: &str| given(name).unwrap_or_default();
        let wrong = |name: &str, why: String| refuse(&format!("invalid {name}"), why);
        let container = Container {
            id: text("CNI_CONTAINERID")
                .parse()
                .map_err(|error: crate::names::NameError| wrong("CNI_CONTAINERID", error.to_string()))?,
            interface: text("CNI_IFNAME")
                .parse()
                .map_err(|error: crate::names::NameError| wrong("CNI_IFNAME", error.to_string()))?,
            netns: text("CNI_NETNS"),
        };
        let arguments = match verb {
            Verb::Add => arguments(&text("CNI_ARGS")).map_err(|why| wrong("CNI_ARGS", why))?,
            _ => Arguments::default(),
        };
        Ok(Self { verb, container: Some(container), arguments })
    }

    /// The container; GC and STATUS have none.
    pub(super) fn container(&self) -> Result<&Container, Failure> {
        self.container.as_ref().ok_or_else(|| Failure::new(Code::Environment, "there is no container", ""))
    }
}

/// `KEY=VALUE;KEY=VALUE`, of which addresses are known here.
fn arguments(text: &str) -> Result<Arguments, String> {
    let mut arguments = Arguments::default();
    let pairs: Vec<(&str, &str)> = text
        .split(';')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').ok_or_else(|| format!("{pair:?} is not KEY=VALUE")))
        .collect::<Result<_, _>>()?;
    let is_true = |value: &str| value == "1" || value.eq_ignore_ascii_case("true");
    let ignores_unknown = pairs.iter().any(|(key, value)| *key == "IgnoreUnknown" && is_true(value));
    for (key, value) in pairs {
        match key {
            "IP" => {
                arguments.addresses.push(address(value).ok_or_else(|| format!("{value:?} is no address"))?)
            }
            "MAC" if value.is_empty() => {}
            "MAC" => arguments.mac = Some(value.parse().map_err(|_| format!("{value:?} is no MAC address"))?),
            "IgnoreUnknown" => {}
            _ if ignores_unknown => {}
            _ => return Err(format!("unknown key {key:?}")),
        }
    }
    Ok(arguments)
}

/// An address, with or without the prefix length of its subnet.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().or_else(|| Some(text.parse::<IpNet>().ok()?.addr()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_and_unknown_ones_refused_unless_they_may_be_ignored() {
        let read = arguments("IP=10.0.0.5/24;MAC=02:11:22:33:44:55").unwrap();
        assert_eq!(read.addresses, ["10.0.0.5".parse::<IpAddr>().unwrap()]);
        assert_eq!(read.mac.unwrap().to_string(), "02:11:22:33:44:55");
        assert!(arguments("K8S_POD_NAME=web").is_err());
        assert!(arguments("IgnoreUnknown=1;K8S_POD_NAME=web;").unwrap().addresses.is_empty());
        for wrong in ["IP", "IP=x", "MAC=ff:ff:ff:ff:ff:ff"] {
            assert!(arguments(wrong).is_err(), "{wrong}");
        }
    }
}
