//! The plugin `tuning`: kernel parameters of the container's network.

use std::path::Path;

use serde_json::{Map, Value};

use super::call::{Call, Container};
use super::conf::Basics;
use super::reply::{self, Code, Failure};
use super::verbs::expected;
use crate::engine::{Attacher, MacAddress};
use crate::plugin::json::Object;

/// What stands for the container's interface in the name of a parameter.
const INTERFACE: &str = "IFNAME";

/// Sets the kernel parameters. What else `tuning` can do is refused; an Ethernet address that `bridge` has set already is
/// nothing to do.
pub(super) fn tune(call: &Call, basics: &Basics, attacher: &Attacher) -> Result<String, Failure> {
    let value = basics.object()?;
    let conf = Object::of(&value, "")?;
    let previous = basics.previous()?;
    let container = call.container()?;
    let further = conf.object("args")?.map(|args| args.object("cni")).transpose()?.flatten();
    let asks = |value: &&Value| match value {
        Value::Object(members) => !members.is_empty(),
        Value::String(text) => !text.is_empty(),
        Value::Bool(value) => *value,
        other => other.as_u64() != Some(0),
    };
    for name in ["promisc", "mtu", "allmulti", "txQLen"] {
        let mut asked =
            [Some(&conf), further.as_ref()].into_iter().flatten().filter_map(|it| it.member(name));
        if let Some(value) = asked.find(asks) {
            return Err(Failure::unsupported(name, value));
        }
    }
    let stated = |object: Option<&Object<'_>>| -> Result<Option<MacAddress>, Failure> {
        Ok(object.map(|object| object.parsed("mac", "a MAC address")).transpose()?.flatten())
    };
    let runtime = stated(conf.object("runtimeConfig")?.as_ref())?;
    let mac = runtime.or(stated(further.as_ref())?).or(call.arguments.mac).or(stated(Some(&conf))?);
    if let Some(mac) = mac
        && !has_mac(previous, container, mac)?
    {
        return Err(Failure::unsupported("mac", &mac.to_string().into()));
    }
    let parameters = parameters(&conf, container)?;
    if !parameters.is_empty() {
        attacher.tune(Path::new(&container.netns), &parameters)?;
    }
    Ok(reply::passed_on(basics, previous))
}

/// Whether the kernel parameters are as they were set.
pub(super) fn check(container: &Container, basics: &Basics, attacher: &Attacher) -> Result<String, Failure> {
    let value = basics.object()?;
    let parameters = parameters(&Object::of(&value, "")?, container)?;
    if parameters.is_empty() {
        return Ok(String::new());
    }
    let wrong = attacher.mistuned(Path::new(&container.netns), &parameters)?;
    if wrong.is_empty() {
        return Ok(String::new());
    }
    let message = format!("container {} is not tuned as it was", container.id);
    Err(Failure::new(Code::Fault, &message, wrong.join("; ")))
}

/// The parameters that are asked for, as paths below `/proc/sys/net`, with their values.
fn parameters(conf: &Object<'_>, container: &Container) -> Result<Vec<(String, String)>, Failure> {
    let sysctls = conf.object("sysctl")?;
    let parameter = |(name, value): (&str, &Value)| {
        let wrong = |why: &str| Failure::configuration(format!("sysctl {name:?}: {why}"));
        let value = value.as_str().ok_or_else(|| wrong("its value is no text"))?;
        let path = path(name, container.interface.as_str());
        let path = path
            .ok_or_else(|| wrong("only parameters of the network can be set, whose names begin with net."))?;
        Ok((path, value.to_owned()))
    };
    sysctls.iter().flat_map(Object::members).map(parameter).collect()
}

/// The path below `/proc/sys/net` of a parameter. The first of dot and slash separates the parts of its name, and the other
/// one stands for a dot, as names of devices may have some (sysctl.d(5)).
fn path(name: &str, interface: &str) -> Option<String> {
    let [separator, dot] = match name.find(['.', '/']).map(|at| &name[at..=at])? {
        "/" => ['/', '.'],
        _ => ['.', '/'],
    };
    let mut parts = name.split(separator).map(|part| match part {
        INTERFACE => interface.to_owned(),
        part if separator == '.' => part.replace(dot, "."),
        part => part.to_owned(),
    });
    if parts.next()? != "net" {
        return None;
    }
    let parts: Vec<String> = parts.collect();
    let is_plain = |part: &String| !matches!(part.as_str(), "" | "." | "..") && !part.contains(['/', '\0']);
    parts.iter().all(is_plain).then(|| parts.join("/"))
}

/// Whether the container's interface has this address, by the result of the plugins before.
fn has_mac(previous: &Map<String, Value>, container: &Container, mac: MacAddress) -> Result<bool, Failure> {
    let previous = Value::Object(previous.clone());
    let expected = expected(&Object::of(&previous, "prevResult")?, container)?;
    Ok(expected.inside.iter().any(|it| it.name == container.interface && it.mac == Some(mac)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_parameters_are_paths_below_net_and_nothing_else() {
        for (name, expected) in [
            ("net.core.somaxconn", "core/somaxconn"),
            ("net/core/somaxconn", "core/somaxconn"),
            ("net.ipv4.conf.IFNAME.arp_filter", "ipv4/conf/eth0.1/arp_filter"),
            ("net/ipv4/conf/eth0.5/arp_filter", "ipv4/conf/eth0.5/arp_filter"),
            ("net.ipv4.conf.eth0/5.arp_filter", "ipv4/conf/eth0.5/arp_filter"),
        ] {
            assert_eq!(path(name, "eth0.1").as_deref(), Some(expected), "{name}");
        }
        for bad in [
            "",
            "net",
            "net.",
            "kernel.panic",
            "net..x",
            "net/../kernel/panic",
            "net.ipv4.//.x",
            "/net/x",
            "netx.y",
            "net/./x",
            "net.a\0b",
        ] {
            assert_eq!(path(bad, "eth0"), None, "{bad:?}");
        }
    }
}
