//! What each plugin does for each command.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use serde_json::{Map, Value};

use super::Plugin;
use super::call::{Call, Container, Verb};
use super::conf::{Basics, Conf, port_requests};
use super::reply::{self, Code, Failure};
use super::tuning;
use crate::engine::{
    AttachRequest, Attacher, AttachmentKey, Expected, ExpectedDevice, Family, Network, PortRequest, Wanted,
};
use crate::plugin::json::Object;

/// Carries out a command, and returns what is to be printed.
pub(super) fn carry_out(plugin: Plugin, call: &Call, basics: &Basics) -> Result<String, Failure> {
    refuse_version(call.verb, basics)?;
    let mut attacher = Attacher::new(basics.layout.clone());
    match (plugin, call.verb) {
        (Plugin::Mydocker | Plugin::Bridge, verb) => match verb {
            Verb::Add => add(plugin, call, basics, &mut attacher),
            Verb::Delete => delete(call.container()?, basics, &mut attacher),
            Verb::Check => check(call.container()?, basics, &mut attacher),
            Verb::CollectGarbage => collect_garbage(basics, &mut attacher),
            Verb::Status => status(plugin, call, basics, &mut attacher),
        },
        (Plugin::Portmap, Verb::Add) => add_ports(call.container()?, basics, &mut attacher),
        (Plugin::Portmap, Verb::Delete) => {
            attacher.unpublish(&key(call.container()?, basics))?;
            Ok(String::new())
        }
        (Plugin::Firewall, Verb::Add) => admit(call.container()?, basics, &mut attacher),
        (Plugin::Loopback, Verb::Add) => {
            let container = call.container()?;
            attacher.switch_loopback_on(Path::new(&container.netns))?;
            match basics.previous() {
                Ok(previous) => Ok(reply::passed_on(basics, previous)),
                Err(_) => Ok(reply::loopback(basics, container)),
            }
        }
        (Plugin::Tuning, Verb::Add) => tuning::tune(call, basics, &attacher),
        (Plugin::Tuning, Verb::Check) => tuning::check(call.container()?, basics, &attacher),
        (Plugin::Portmap | Plugin::Firewall, Verb::Check) => {
            check_what_was_added(plugin, call.container()?, basics, &mut attacher)
        }
        // The plugin `bridge` of the same chain does it.
        _ => Ok(String::new()),
    }
}

fn refuse_version(verb: Verb, basics: &Basics) -> Result<(), Failure> {
    let (name, major, minor) = match verb {
        Verb::Add | Verb::Delete => return Ok(()),
        Verb::Check => ("CHECK", 0, 4),
        Verb::CollectGarbage => ("GC", 1, 1),
        Verb::Status => ("STATUS", 1, 1),
    };
    if basics.is_at_least(major, minor) {
        return Ok(());
    }
    let details = format!("{name} needs {major}.{minor}.0, and the configuration has {}", basics.version);
    Err(Failure::new(Code::Version, "unsupported CNI version", details))
}

fn key(container: &Container, basics: &Basics) -> AttachmentKey {
    AttachmentKey {
        network: basics.network.clone(),
        container: container.id.clone(),
        interface: container.interface.clone(),
    }
}

fn add(plugin: Plugin, call: &Call, basics: &Basics, attacher: &mut Attacher) -> Result<String, Failure> {
    let container = call.container()?;
    let conf = Conf::read(plugin, basics, &call.arguments)?;
    let network = network(&conf, attacher)?;
    let wanted = wanted(&conf, &network)?;
    let has_family =
        |port: &&PortRequest| port.host_ip.is_none_or(|address| network.block(Family::of(address)).is_some());
    let ports: Vec<PortRequest> = conf.ports.iter().filter(has_family).cloned().collect();
    let request = AttachRequest {
        key: &key(container, basics),
        name: None,
        network: &network.name,
        netns: Path::new(&container.netns),
        wanted: &wanted,
        ports: &ports,
        names: &[],
        servers: &[],
    };
    let attached = attacher.attach(&request)?;
    Ok(reply::attached(basics, container, &attached, &conf.dns))
}

/// The network that the configuration describes. One that it only names may be a user's.
fn network(conf: &Conf, attacher: &mut Attacher) -> Result<Network, Failure> {
    if conf.is_name_only {
        let name = conf.network.origin.as_ref().map(|origin| origin.name.as_str()).unwrap_or_default();
        if let Ok(name) = name.parse()
            && let Some(network) = attacher.users_network(&name)?
        {
            return Ok(network);
        }
    }
    Ok(attacher.network(&conf.network)?)
}

fn wanted(conf: &Conf, network: &Network) -> Result<Wanted, Failure> {
    let mut wanted = Wanted { mac: conf.mac, within: conf.ipam.within(), ..Wanted::default() };
    for address in &conf.addresses {
        let again = match address {
            IpAddr::V4(address) => wanted.ip.replace(*address).is_some(),
            IpAddr::V6(address) => wanted.ip6.replace(*address).is_some(),
        };
        if again {
            let why =
                format!("{address} is a second address of its family, and an interface has one of each");
            return Err(Failure::configuration(why));
        }
    }
    let gateways: Vec<IpAddr> = network.blocks().map(|block| block.gateway).collect();
    let has_default = |gateway: &IpAddr| conf.ipam.has_default_route(Family::of(*gateway), *gateway);
    wanted.no_default_route = !conf.is_default_gateway && !gateways.iter().any(has_default);
    wanted.routes = conf.ipam.further_routes(&gateways);
    Ok(wanted)
}

/// Whatever is left of the container goes; that there is nothing is no failure.
fn delete(container: &Container, basics: &Basics, attacher: &mut Attacher) -> Result<String, Failure> {
    attacher.detach(&key(container, basics))?;
    Ok(String::new())
}

/// What was answered, what is on record and what is there are compared.
fn check(container: &Container, basics: &Basics, attacher: &mut Attacher) -> Result<String, Failure> {
    let previous = Value::Object(basics.previous()?.clone());
    let expected = expected(&Object::of(&previous, "prevResult")?, container)?;
    let faults = attacher.faults(&key(container, basics), expected)?;
    if faults.is_empty() {
        return Ok(String::new());
    }
    let message = format!("container {} is not as it was attached", container.id);
    Err(Failure::new(Code::Fault, &message, faults.join("; ")))
}

/// What another plugin has attached is nothing to look at: `portmap` and `firewall` have added nothing to it.
fn check_what_was_added(
    plugin: Plugin,
    container: &Container,
    basics: &Basics,
    attacher: &mut Attacher,
) -> Result<String, Failure> {
    let value = basics.object()?;
    let conf = Object::of(&value, "")?;
    let asks = match plugin {
        Plugin::Firewall => !matches!(conf.text("ingressPolicy")?, None | Some("open")),
        _ => match conf.object("runtimeConfig")? {
            Some(runtime) => !runtime.list("portMappings")?.is_empty(),
            None => false,
        },
    };
    if !asks && attacher.attached(&key(container, basics))?.is_none() {
        return Ok(String::new());
    }
    check(container, basics, attacher)
}

/// What the result says that there is on the host and in the container's namespace. Other namespaces are not looked at.
pub(super) fn expected(previous: &Object<'_>, container: &Container) -> Result<Expected, Failure> {
    let mut expected = Expected { netns: container.netns.clone().into(), ..Expected::default() };
    let interfaces = previous.objects("interfaces")?;
    let device = |name| ExpectedDevice { name, mac: None, addresses: Vec::new(), is_up: false };
    for interface in &interfaces {
        let mut device = device(interface.required("name", "a name of a device")?);
        device.mac = interface.parsed("mac", "a MAC address")?;
        match interface.text("sandbox")? {
            None => expected.on_host.push(device),
            Some(sandbox) if sandbox == container.netns => expected.inside.push(device),
            Some(_) => {}
        }
    }
    for ip in previous.objects("ips")? {
        let name = match ip.number::<usize>("interface")? {
            None => container.interface.clone(),
            Some(at) => {
                let interface = interfaces.get(at);
                let interface =
                    interface.ok_or_else(|| ip.unexpected("interface", "one of the interfaces"))?;
                if interface.text("sandbox")? != Some(container.netns.as_str()) {
                    continue;
                }
                interface.required("name", "a name of a device")?
            }
        };
        let address = ip.required("address", "an address with a prefix length")?;
        match expected.inside.iter_mut().find(|device| device.name == name) {
            Some(device) => device.addresses.push(address),
            None => expected.inside.push(ExpectedDevice { addresses: vec![address], ..device(name) }),
        }
    }
    for route in previous.objects("routes")? {
        // One of another table is not ours.
        if route.number::<u32>("table")?.is_none_or(|table| table == MAIN_TABLE) {
            let to: IpNet = route.required("dst", "a subnet")?;
            expected.routes.push((to.trunc(), route.parsed("gw", "an IP address")?));
        }
    }
    Ok(expected)
}

/// The kernel's number of the table that routes are in unless another one is named.
const MAIN_TABLE: u32 = 254;

/// Everything of the network goes but what is listed. `null` is an empty list; without a list, what has lost its
/// namespace goes.
fn collect_garbage(basics: &Basics, attacher: &mut Attacher) -> Result<String, Failure> {
    let value = basics.object()?;
    let conf = Object::of(&value, "")?;
    let list = ["cni.dev/valid-attachments", "cni.dev/attachments"].into_iter().find(|name| conf.has(name));
    let kept = list.map(|list| {
        let pair = |object: &Object<'_>| -> Result<(String, String), Failure> {
            let text = |name: &str| -> Result<String, Failure> {
                let text = object.text(name)?;
                Ok(text.ok_or_else(|| object.unexpected(name, "a name"))?.to_owned())
            };
            Ok((text("containerID")?, text("ifname")?))
        };
        conf.objects(list)?.iter().map(pair).collect::<Result<BTreeSet<_>, Failure>>()
    });
    let kept = kept.transpose()?;
    let mut networks: Vec<_> =
        attacher.known_network(&basics.network)?.into_iter().map(|it| it.name).collect();
    if let Ok(name) = basics.network.name.as_str().parse() {
        // A user's network of that name may have attachments as well.
        if attacher.users_network_there(&name)? {
            networks.push(name);
        }
    }
    for network in networks {
        attacher.remove_all_but(&basics.network, &network, kept.as_ref())?;
    }
    Ok(String::new())
}

/// Whether ADD would work, as far as can be known.
fn status(plugin: Plugin, call: &Call, basics: &Basics, attacher: &mut Attacher) -> Result<String, Failure> {
    let conf = Conf::read(plugin, basics, &call.arguments)?;
    let network = attacher.known_network(&basics.network)?.map(|network| network.name);
    // Addresses that were asked for may be those of a container that runs.
    let wanted = Wanted { within: conf.ipam.within(), ..Wanted::default() };
    let obstacles = attacher.obstacles(network.as_ref(), &wanted)?;
    if obstacles.is_empty() {
        return Ok(String::new());
    }
    Err(Failure::new(Code::Unavailable, "mydocker cannot attach containers", obstacles.join("; ")))
}

fn add_ports(container: &Container, basics: &Basics, attacher: &mut Attacher) -> Result<String, Failure> {
    let value = basics.object()?;
    let conf = Object::of(&value, "")?;
    let previous = basics.previous()?;
    for name in ["conditionsV4", "conditionsV6", "externalSetMarkChain"] {
        if let Some(asked) =
            conf.member(name).filter(|asked| !matches!(asked, Value::Array(list) if list.is_empty()))
        {
            return Err(Failure::unsupported(name, asked));
        }
    }
    let ports = conf.object("runtimeConfig")?.map(|runtime| port_requests(&runtime)).transpose()?;
    let mut ports = ports.unwrap_or_default();
    if !ports.is_empty() {
        let key = key(container, basics);
        let endpoint = attacher.attached(&key)?.ok_or_else(|| unknown(container, basics))?;
        let has_family = |port: &PortRequest| {
            port.host_ip
                .is_none_or(|host| endpoint.addresses.iter().any(|it| it.family() == Family::of(host)))
        };
        ports.retain(has_family);
        attacher.publish(&key, &ports)?;
    }
    Ok(reply::passed_on(basics, previous))
}

fn unknown(container: &Container, basics: &Basics) -> Failure {
    let name = &basics.network.name;
    Failure::configuration(format!(
        "container {} was not attached to network {name} by mydocker: mydocker's bridge has to come before it in the list of plugins",
        container.id
    ))
}

/// The table lets through what the network's own rules let through; only isolation has to be asked for.
fn admit(container: &Container, basics: &Basics, attacher: &mut Attacher) -> Result<String, Failure> {
    let value = basics.object()?;
    let conf = Object::of(&value, "")?;
    let previous: &Map<String, Value> = basics.previous()?;
    match conf.text("ingressPolicy")? {
        None | Some("open") => {}
        Some("same-bridge") => {
            let key = key(container, basics);
            attacher.attached(&key)?.ok_or_else(|| unknown(container, basics))?;
            attacher.isolate(&key)?;
        }
        Some(other) => return Err(Failure::unsupported("ingressPolicy", &other.into())),
    }
    Ok(reply::passed_on(basics, previous))
}
