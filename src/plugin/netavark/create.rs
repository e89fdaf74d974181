//! `netavark create`: a network that a user has asked Podman for is completed and checked. Nothing is made: that is done with
//! its first container.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};
use serde_json::{Map, Value, json};

use super::{Failure, Plan};
use crate::engine::{Attacher, EngineError, Network, Origin, OtherEngine, Subnet, Wanted};
use crate::names::{ForeignName, IfName};
use crate::plugin::json::Object;

/// How bridges are called unless Podman says otherwise: with a number behind it.
const BRIDGE: &str = "podman";
/// So many numbers are tried. A host has fewer bridges.
const BRIDGES: u32 = 100_000;
/// The digits of a network's id.
const ID: usize = 64;
/// How often a subnet is chosen by chance.
const TRIES: u32 = 64;
/// The prefix of a subnet of unique local addresses (RFC 4193).
const LOCAL_PREFIX: u8 = 64;

fn refuse<T>(why: String) -> Result<T, Failure> {
    Err(Failure::Refused(why))
}

/// Completes a network and returns it.
pub(super) fn create(input: &Value, attacher: &mut Attacher) -> Result<String, Failure> {
    let input = Object::of(input, "")?;
    let part = |name: &str| -> Result<Object<'_>, Failure> {
        input.object(name)?.ok_or_else(|| input.unexpected(name, "an object").into())
    };
    let (network, used, options) = (part("network")?, part("used")?, part("options")?);
    let name = name(&network, &used)?;
    let origin = Origin { engine: OtherEngine::Podman, name };
    // One that has this name here is this very network, of which Podman has lost its own record.
    let mut known = attacher.networks()?;
    known.retain(|known| known.origin.as_ref() != Some(&origin));
    let choices = Choices::read(&used, &options, &known)?;
    let mut made: Map<String, Value> =
        network.members().map(|(name, value)| (name.to_owned(), value.clone())).collect();
    let mut set = |name: &str, value: Value| made.insert(name.to_owned(), value);
    set("network_interface", choices.bridge(&network)?.to_string().into());
    if let Some(options) = network.object("options")? {
        set("options", options_of(&options).into());
    }
    let subnets = choices.subnets(&network)?;
    let is_v6 = |subnet: &Value| subnet["subnet"].as_str().is_some_and(|text| text.contains(':'));
    set("ipv6_enabled", (network.flag("ipv6_enabled")? || subnets.iter().any(is_v6)).into());
    set("subnets", subnets.into());
    set("internal", network.flag("internal")?.into());
    set("dns_enabled", network.flag("dns_enabled")?.into());
    let ipam = network.object("ipam_options")?.map(|ipam| ipam.text("driver")).transpose()?.flatten();
    if ipam.is_none_or(str::is_empty) {
        set("ipam_options", json!({ "driver": "host-local" }));
    }
    if network.text("created")?.is_none() {
        set("created", chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Nanos, true).into());
    }
    if !network.flag("dns_enabled")? && !network.list("network_dns_servers")?.is_empty() {
        return refuse(format!(
            "network {}: DNS is not enabled, so network_dns_servers have no use",
            origin.name
        ));
    }
    let made = Value::Object(made);
    // What cannot be made is refused now, and not with the first container.
    Plan::of_network(&origin, &Object::of(&made, "network")?, Wanted::default(), false)?;
    Ok(format!("{made}\n"))
}

/// The network's name, which no other has.
fn name(network: &Object<'_>, used: &Object<'_>) -> Result<ForeignName, Failure> {
    let Some(text) = network.text("name")? else { return refuse("a network needs a name".to_owned()) };
    let Ok(name) = text.parse::<ForeignName>() else {
        return refuse(format!(
            "{text:?} cannot be the name of a network: it has to match [a-zA-Z0-9][a-zA-Z0-9_.-]*"
        ));
    };
    let id = network.text("id")?.unwrap_or_default();
    if id.len() != ID || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return refuse(format!("network {name}: its id has to be of {ID} hexadecimal digits"));
    }
    match used.object("names")? {
        // Podman looks for these words.
        Some(names) if names.members().any(|(other, _)| other == text) => {
            refuse(format!("network already exists {name}"))
        }
        _ => Ok(name),
    }
}

/// What Docker calls the name of a bridge, and its MTU, among a network's options: Podman takes them as well.
const DOCKERS_BRIDGE: &str = "com.docker.network.bridge.name";
const DOCKERS_MTU: &str = "com.docker.network.driver.mtu";

/// A network's options as Podman keeps them.
fn options_of(options: &Object<'_>) -> Map<String, Value> {
    let mut kept = Map::new();
    for (name, value) in options.members().filter(|(name, _)| *name != DOCKERS_BRIDGE) {
        kept.insert(if name == DOCKERS_MTU { "mtu" } else { name }.to_owned(), value.clone());
    }
    kept
}

/// What can be chosen from.
struct Choices<'a> {
    /// The bridges that Podman knows.
    interfaces: Vec<&'a str>,
    /// The networks that Podman knows. A bridge gets none of their names unless that is asked for.
    networks: Vec<&'a str>,
    /// Subnets that Podman knows.
    elsewhere: Vec<IpNet>,
    /// Whether a subnet that overlaps another is refused.
    checks_used: bool,
    /// How bridges are called, but for their number.
    prefix: &'a str,
    options: &'a Object<'a>,
    known: &'a [Network],
}

impl<'a> Choices<'a> {
    fn read(used: &'a Object<'a>, options: &'a Object<'a>, known: &'a [Network]) -> Result<Self, Failure> {
        let networks = used.object("names")?;
        Ok(Self {
            interfaces: used.texts("interfaces")?,
            networks: networks.iter().flat_map(Object::members).map(|(name, _)| name).collect(),
            elsewhere: nets(used, "subnets")?,
            checks_used: options.flag("check_used_subnets")?,
            prefix: options.text("default_interface_name")?.unwrap_or(BRIDGE),
            options,
            known,
        })
    }

    /// The bridge that is asked for, or the first one that nobody has.
    fn bridge(&self, network: &Object<'_>) -> Result<IfName, Failure> {
        let is_taken = |name: &IfName| {
            self.interfaces.contains(&name.as_str()) || self.known.iter().any(|known| known.bridge == *name)
        };
        let dockers =
            network.object("options")?.map(|options| options.parsed(DOCKERS_BRIDGE, "a name of a device"));
        let given: Option<IfName> = match dockers.transpose()?.flatten() {
            None => network.parsed("network_interface", "a name of a device")?,
            dockers => dockers,
        };
        if let Some(name) = given {
            let taken = || refuse(format!("bridge name {name} already in use"));
            return if is_taken(&name) { taken() } else { Ok(name) };
        }
        let prefix = self.prefix;
        // Number 0 is that of the network which is always there.
        for number in 1..BRIDGES {
            let Ok(name) = format!("{prefix}{number}").parse::<IfName>() else {
                let wanted = "the beginning of a name of a device";
                return Err(self.options.unexpected("default_interface_name", wanted).into());
            };
            let is_networks = self.networks.contains(&name.as_str());
            if !is_networks && !is_taken(&name) && nix::net::if_::if_nametoindex(name.as_str()).is_err() {
                return Ok(name);
            }
        }
        refuse(format!("all bridges from {prefix}1 to {prefix}{} are in use", BRIDGES - 1))
    }

    /// The subnets that are asked for, and free ones where there are none.
    fn subnets(&self, network: &Object<'_>) -> Result<Vec<Value>, Failure> {
        let own: Vec<IpNet> =
            self.known.iter().flat_map(Network::blocks).map(|block| block.subnet.net()).collect();
        let mut given: Vec<IpNet> = Vec::new();
        let mut made = Vec::new();
        for subnet in network.objects("subnets")? {
            let net = subnet.required::<IpNet>("subnet", "a subnet")?.trunc();
            self.check(net, &own)?;
            if let Some(other) = given.iter().find(|other| is_v4(other) == is_v4(&net)) {
                return refuse(format!(
                    "mydocker does not support several subnets of one family: {other} and {net}"
                ));
            }
            given.push(net);
            made.push(subnet_of(&subnet, net, network)?);
        }
        let taken = [self.elsewhere.as_slice(), &own].concat();
        let empty = Value::Object(Map::new());
        let mut add = |net: IpNet| -> Result<(), Failure> {
            made.push(subnet_of(&Object::of(&empty, "subnet")?, net, network)?);
            Ok(())
        };
        // With IPv6 means with both.
        let wants_v6 = network.flag("ipv6_enabled")?;
        if given.is_empty() || wants_v6 && !given.iter().any(is_v4) {
            add(free(self.options, &taken)?)?;
        }
        if wants_v6 && given.iter().all(is_v4) {
            add(unique_local(&taken)?)?;
        }
        Ok(made)
    }

    /// Refuses a subnet that is used, unless that is not to be asked.
    fn check(&self, net: IpNet, own: &[IpNet]) -> Result<(), Failure> {
        if !self.checks_used {
            return Ok(());
        }
        if let Some(other) = own.iter().find(|other| overlap(other, &net)) {
            return refuse(format!("subnet {net} is already used: a network of mydocker has {other}"));
        }
        if self.elsewhere.iter().any(|other| overlap(other, &net)) {
            return refuse(format!("subnet {net} is already used on the host or by another network"));
        }
        Ok(())
    }
}

/// One subnet as Podman keeps it, with its gateway, unless nobody would use that.
fn subnet_of(subnet: &Object<'_>, net: IpNet, network: &Object<'_>) -> Result<Value, Failure> {
    let mut made: Map<String, Value> =
        subnet.members().map(|(name, value)| (name.to_owned(), value.clone())).collect();
    made.insert("subnet".to_owned(), net.to_string().into());
    let within = |what: &str, address: IpAddr| {
        let refused = || refuse(format!("{what} {address} not in subnet {net}"));
        if net.contains(&address) { Ok(()) } else { refused() }
    };
    if let Some(range) = subnet.object("lease_range")? {
        let mut ends = [None::<IpAddr>; 2];
        for (member, end) in ["start_ip", "end_ip"].into_iter().zip(&mut ends) {
            *end = range.parsed(member, "an IP address")?;
            end.map_or(Ok(()), |address| within(&format!("lease range {member}"), address))?;
        }
        if let [Some(start), Some(end)] = ends
            && end < start
        {
            return refuse(format!("lease range end_ip {end} is before start_ip {start}"));
        }
    }
    match subnet.parsed::<IpAddr>("gateway", "an IP address")? {
        Some(gateway) => within("gateway", gateway)?,
        None if network.flag("internal")? && !network.flag("dns_enabled")? => {}
        None => {
            let usable = Subnet::new(net).map_err(|error| Failure::Refused(error.to_string()))?;
            made.insert("gateway".to_owned(), usable.address(1).to_string().into());
        }
    }
    Ok(Value::Object(made))
}

/// The first subnet of the pools that overlaps none of these.
fn free(options: &Object<'_>, taken: &[IpNet]) -> Result<IpNet, Failure> {
    for pool in options.objects("subnet_pools")? {
        let base: IpNet = pool.required("base", "a subnet")?;
        let size =
            pool.number::<u8>("size")?.ok_or_else(|| pool.unexpected("size", "a length of a prefix"))?;
        let subnets = base.trunc().subnets(size);
        let mut subnets = subnets
            .map_err(|_| pool.unexpected("size", "the length of a longer prefix than that of base"))?;
        if let Some(free) = subnets.find(|net| !taken.iter().any(|other| overlap(other, net))) {
            return Ok(free);
        }
    }
    refuse("no subnet of subnet_pools is free: choose one with --subnet".to_owned())
}

/// A subnet of unique local addresses, which is nobody else's by chance.
fn unique_local(taken: &[IpNet]) -> Result<IpNet, Failure> {
    for _ in 0..TRIES {
        let mut bytes = [0; 16];
        let filled = getrandom::fill(&mut bytes[1..6]);
        filled.map_err(|error| EngineError::Io {
            action: "choose an IPv6 subnet",
            source: std::io::Error::other(error),
        })?;
        bytes[0] = 0xfd;
        let net = IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from(bytes), LOCAL_PREFIX));
        if !taken.iter().any(|other| overlap(other, &net)) {
            return Ok(net);
        }
    }
    refuse("all unique local IPv6 addresses are in use: choose a subnet with --subnet".to_owned())
}

fn nets(object: &Object<'_>, member: &str) -> Result<Vec<IpNet>, Failure> {
    let parsed: Result<Vec<IpNet>, _> = object.texts(member)?.into_iter().map(str::parse).collect();
    parsed.map_err(|_| object.unexpected(member, "a list of subnets").into())
}

fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

fn is_v4(net: &IpNet) -> bool {
    matches!(net, IpNet::V4(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Layout;

    /// What is returned, or the error, for these changes of a plain input.
    fn created(change: impl FnOnce(&mut Value)) -> Result<Value, String> {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path().join("root"), directory.path().join("run"));
        let mut input = json!({
            "network": { "name": "front", "id": "a".repeat(64), "driver": "bridge", "internal": false,
                "dns_enabled": false, "ipv6_enabled": false },
            "used": { "interfaces": [], "names": {}, "subnets": [] },
            "options": { "subnet_pools": [{ "base": "10.89.0.0/16", "size": 24 }, { "base": "10.90.0.0/30", "size": 30 }],
                "default_interface_name": "unlikely", "check_used_subnets": true },
        });
        change(&mut input);
        match create(&input, &mut Attacher::new(layout)) {
            Ok(text) => Ok(serde_json::from_str(&text).unwrap()),
            Err(failure) => Err(failure.to_string()),
        }
    }

    #[test]
    fn what_is_left_out_is_filled_in() {
        let network = created(|_| {}).unwrap();
        assert_eq!(network["network_interface"], "unlikely1");
        assert_eq!(network["subnets"], json!([{ "subnet": "10.89.0.0/24", "gateway": "10.89.0.1" }]));
        assert_eq!(network["ipam_options"], json!({ "driver": "host-local" }));
        assert!(chrono::DateTime::parse_from_rfc3339(network["created"].as_str().unwrap()).is_ok());
        let network = created(|input| {
            input["used"]["interfaces"] = json!(["unlikely1"]);
            input["used"]["names"] = json!({ "unlikely2": "b" });
            input["used"]["subnets"] = json!(["10.89.0.0/23", "10.89.2.128/30"]);
            input["network"]["ipv6_enabled"] = true.into();
            input["network"]["labels"] = json!({ "a": "b" });
            input["network"]["options"] = json!({ "mtu": "1400", "isolate": "strict" });
        })
        .unwrap();
        assert_eq!(network["network_interface"], "unlikely3");
        assert_eq!(network["subnets"][0]["subnet"], "10.89.3.0/24");
        let v6 = network["subnets"][1]["subnet"].as_str().unwrap();
        assert!(v6.starts_with("fd") && v6.ends_with("::/64"), "{v6}");
        assert_eq!((&network["labels"]["a"], &network["options"]["mtu"]), (&json!("b"), &json!("1400")));
        // The second pool, and nothing.
        let pools = |taken: Value| created(|input| input["used"]["subnets"] = taken);
        assert_eq!(pools(json!(["10.89.0.0/16"])).unwrap()["subnets"][0]["gateway"], "10.90.0.1");
        assert!(pools(json!(["10.88.0.0/13"])).unwrap_err().contains("--subnet"));
        let v6 = created(|input| {
            input["network"]["ipv6_enabled"] = true.into();
            input["used"]["subnets"] = json!(["fc00::/7"]);
        });
        assert!(v6.unwrap_err().contains("IPv6"));
    }

    #[test]
    fn what_is_given_stays() {
        let given = |subnets: Value| created(|input| input["network"]["subnets"] = subnets);
        let network = given(json!([{ "subnet": "10.100.0.9/24", "gateway": "10.100.0.50",
            "lease_range": { "start_ip": "10.100.0.60", "end_ip": "10.100.0.70" } }]))
        .unwrap();
        assert_eq!(
            network["subnets"],
            json!([{ "subnet": "10.100.0.0/24", "gateway": "10.100.0.50",
                "lease_range": { "start_ip": "10.100.0.60", "end_ip": "10.100.0.70" } }])
        );
        let network = given(json!([{ "subnet": "fdcc::/64" }])).unwrap();
        assert_eq!(
            (&network["ipv6_enabled"], &network["subnets"][0]["gateway"]),
            (&json!(true), &json!("fdcc::1"))
        );
        assert_eq!(network["subnets"].as_array().unwrap().len(), 1);
        // With IPv6 means with both; Docker's words for options; an empty driver is none.
        let network = created(|input| {
            input["network"]["subnets"] = json!([{ "subnet": "fdcc::/64" }]);
            input["network"]["ipv6_enabled"] = true.into();
            input["network"]["ipam_options"] = json!({ "driver": "" });
            input["network"]["options"] =
                json!({ "com.docker.network.driver.mtu": "1400", "com.docker.network.bridge.name": "br7" });
        })
        .unwrap();
        assert_eq!(network["subnets"][1]["subnet"], "10.89.0.0/24");
        assert_eq!(network["options"], json!({ "mtu": "1400" }));
        assert_eq!(
            (&network["network_interface"], &network["ipam_options"]["driver"]),
            (&json!("br7"), &json!("host-local"))
        );
        let inner = |dns: bool| {
            created(|input| {
                (input["network"]["internal"], input["network"]["dns_enabled"]) = (true.into(), dns.into());
            })
            .unwrap()["subnets"][0]["gateway"]
                .clone()
        };
        assert_eq!((inner(false), inner(true)), (Value::Null, json!("10.89.0.1")));
    }

    #[test]
    fn what_cannot_be_is_refused_in_words() {
        let refused =
            |member: &str, value: Value| created(|input| input["network"][member] = value).unwrap_err();
        let subnet = |subnet: Value| refused("subnets", json!([subnet]));
        assert!(
            created(|input| input["used"]["names"] = json!({ "front": "b" }))
                .unwrap_err()
                .contains("network already exists")
        );
        assert!(refused("name", "".into()).contains("needs a name"));
        assert!(refused("name", "bad!".into()).contains("bad!"));
        assert!(refused("id", "abc".into()).contains("64"));
        assert!(refused("driver", "macvlan".into()).contains("macvlan"));
        assert!(refused("ipam_options", json!({ "driver": "dhcp" })).contains("dhcp"));
        assert!(refused("options", json!({ "vlan": "7" })).contains("vlan=7"));
        assert!(refused("options", json!({ "mtu": "x" })).contains("MTU x"));
        assert!(refused("network_dns_servers", json!(["192.0.2.1"])).contains("DNS is not enabled"));
        assert!(refused("network_dns_servers", json!(["x"])).contains("DNS is not enabled"));
        assert!(refused("routes", json!([{ "destination": "x" }])).contains("destination"));
        assert!(
            subnet(json!({ "subnet": "10.100.0.0/24", "gateway": "10.200.0.1" }))
                .contains("gateway 10.200.0.1 not in subnet 10.100.0.0/24")
        );
        assert!(
            subnet(json!({ "subnet": "10.100.0.0/24", "lease_range": { "start_ip": "10.200.0.1" } }))
                .contains("start_ip 10.200.0.1 not in subnet")
        );
        assert!(
            subnet(json!({ "subnet": "10.100.0.0/24",
                "lease_range": { "start_ip": "10.100.0.70", "end_ip": "10.100.0.60" } }))
            .contains("end_ip 10.100.0.60 is before start_ip 10.100.0.70")
        );
        let two = json!([{ "subnet": "10.100.0.0/24" }, { "subnet": "10.101.0.0/24" }]);
        assert!(refused("subnets", two).contains("several subnets"));
        let used = |check: bool| {
            created(|input| {
                input["network"]["subnets"] = json!([{ "subnet": "10.100.0.0/24" }]);
                input["used"]["subnets"] = json!(["10.100.0.0/16"]);
                input["options"]["check_used_subnets"] = check.into();
            })
        };
        assert!(used(true).unwrap_err().contains("is already used") && used(false).is_ok());
        let bridge = created(|input| {
            input["network"]["network_interface"] = "br9".into();
            input["used"]["interfaces"] = json!(["br9"]);
        });
        assert!(bridge.unwrap_err().contains("already in use"));
    }
}
