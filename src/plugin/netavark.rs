//! Podman's network back end: what the program `netavark` is asked for, by arguments and standard input.
//!
//! Podman chooses addresses and names of bridges itself, and calls one container after another. A network is made with the
//! first container that is in it, and goes with the last one.

mod arguments;
mod create;
mod driver;
#[cfg(any(test, fuzzing, doc))]
pub mod fuzz;
mod names;

use std::ffi::OsString;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use serde_json::{Map, Value, json};

use arguments::{parse, words};

use super::json::{Object, Unexpected};
use super::ports::{self, Entry};
use super::{Answer, Roots};
use crate::engine::{
    AttachRequest, Attached, Attacher, AttachmentKey, CreateNetwork, EngineError, Layout, MacAddress, Origin,
    OtherEngine, PortRequest, Route, Subnet, Wanted, one_line,
};
use crate::names::{ForeignName, NameError};

pub(super) use driver::answer as answer_as_driver;

/// How often a network is made that goes with its last container meanwhile.
const TRIES: u32 = 5;
/// What Podman shows of its back end.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "-mydocker");

/// Why something was not done. Podman shows it to its user.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Refused(String),
    #[error("cannot read the request")]
    Input(#[source] io::Error),
    #[error("malformed request")]
    Json(#[from] serde_json::Error),
    #[error("malformed request: {0}")]
    Unexpected(#[from] Unexpected),
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Does what Podman asks for.
pub(super) fn answer(
    roots: Roots,
    arguments: &[OsString],
    environment: &dyn Fn(&str) -> Option<String>,
    input: impl FnOnce() -> io::Result<Vec<u8>>,
) -> Answer {
    printed(carry_out(roots, arguments, environment, input))
}

/// What does it.
fn attacher(roots: Roots) -> Attacher {
    Attacher::with_name_servers(Layout::new(roots.root, roots.run_root), roots.words)
}

fn printed(result: Result<String, Failure>) -> Answer {
    let remark = String::new();
    match result {
        Ok(result) => Answer { result, remark, status: 0 },
        Err(failure) => {
            let text = match &failure {
                Failure::Engine(error) => match error.hint() {
                    Some(hint) => format!("{} ({hint})", one_line(error)),
                    None => one_line(error),
                },
                other => one_line(other),
            };
            Answer { result: format!("{}\n", json!({ "error": text })), remark, status: 1 }
        }
    }
}

fn carry_out(
    roots: Roots,
    arguments: &[OsString],
    environment: &dyn Fn(&str) -> Option<String>,
    input: impl FnOnce() -> io::Result<Vec<u8>>,
) -> Result<String, Failure> {
    let arguments = parse(arguments)?;
    let read = || -> Result<Value, Failure> {
        let bytes = match &arguments.file {
            Some(path) => super::open(path).and_then(super::read),
            None => input(),
        };
        Ok(serde_json::from_slice(&bytes.map_err(Failure::Input)?)?)
    };
    let operand = |what: &str| {
        let first = arguments.operands.first();
        first.cloned().ok_or_else(|| Failure::Refused(format!("the command needs {what}")))
    };
    if arguments.is_rootless && !matches!(arguments.command.as_deref(), Some("version" | "--version")) {
        return Err(Failure::Refused("rootless networks are not supported by mydocker".to_owned()));
    }
    match arguments.command.as_deref() {
        Some("setup") => {
            let netns = operand("the path of a namespace")?;
            set_up(&read()?, &netns, names::port(environment), &mut attacher(roots))
        }
        Some("teardown") => tear_down(&read()?, &mut attacher(roots)),
        Some("update") => {
            let network = operand("the name of a network")?;
            names::update(&network, arguments.servers.as_deref(), || attacher(roots))
        }
        Some("create") => create::create(&read()?, &mut attacher(roots)),
        Some("firewall-reload") => Ok(attacher(roots).reload().map(|()| String::new())?),
        Some("version") => Ok(version()),
        Some("--version") => Ok(format!("netavark {VERSION}\n")),
        Some(other) => Err(Failure::Refused(format!("mydocker does not have netavark's command {other}"))),
        None => Err(Failure::Refused(
            "a command is missing: setup, teardown, update, create, firewall-reload or version".to_owned(),
        )),
    }
}

fn version() -> String {
    let version = json!({
        "version": VERSION,
        "commit": "",
        "build_time": "",
        "target": std::env::consts::ARCH,
        "default_fw_driver": "nftables",
    });
    format!("{version}\n")
}

/// A network that a container is to be in.
struct Membership<'a> {
    key: AttachmentKey,
    /// What the container asks for there.
    own: Object<'a>,
    /// How the network is to be.
    info: Option<Object<'a>>,
    /// Whether a network that says nothing of it is isolated.
    isolates: bool,
}

/// The networks of a container, in the order of its interfaces.
fn memberships<'a>(options: &Object<'a>, container: &ForeignName) -> Result<Vec<Membership<'a>>, Failure> {
    let infos = options.object("network_info")?;
    let mut named: Vec<(String, Object<'a>)> = Vec::new();
    // Podman 6 says in which order, and its networks are isolated unless they say otherwise.
    let is_podman6 = matches!(options.member("networks"), Some(Value::Array(_)));
    match options.member("networks") {
        Some(Value::Array(_)) => {
            for own in options.objects("networks")? {
                named.push((own.required("name", "the name of a network")?, own));
            }
        }
        _ => {
            for (name, value) in options.object("networks")?.iter().flat_map(Object::members) {
                named.push((name.to_owned(), Object::of(value, &format!("networks.{name}"))?));
            }
            named.sort_by_key(|(_, own)| own.text("interface_name").ok().flatten().map(str::to_owned));
        }
    }
    let described = |(name, own): (String, Object<'a>)| {
        let network = name.parse().map_err(|error: NameError| Failure::Refused(error.to_string()))?;
        let info = infos.as_ref().map(|infos| infos.object(&name)).transpose()?.flatten();
        Ok(Membership { isolates: is_podman6, ..Membership::new(network, container, own, info)? })
    };
    named.into_iter().map(described).collect()
}

impl<'a> Membership<'a> {
    fn new(
        network: ForeignName,
        container: &ForeignName,
        own: Object<'a>,
        info: Option<Object<'a>>,
    ) -> Result<Self, Failure> {
        let key = AttachmentKey {
            network: Origin { engine: OtherEngine::Podman, name: network },
            container: container.clone(),
            interface: own.required("interface_name", "a name of a device")?,
        };
        Ok(Self { key, own, info, isolates: false })
    }
}

fn container_id(options: &Object<'_>) -> Result<ForeignName, Failure> {
    Ok(options.required("container_id", "the id of a container")?)
}

/// All networks of a container, or none.
fn set_up(input: &Value, netns: &str, port: names::Port, attacher: &mut Attacher) -> Result<String, Failure> {
    let options = Object::of(input, "")?;
    let container = Container::read(&options, netns)?;
    let memberships = memberships(&options, &container.id)?;
    let mut plans = Vec::new();
    for membership in &memberships {
        let plan = Plan::read(membership)?;
        port.check(&plan)?;
        plans.push((membership, plan));
    }
    // Its ports lead to its first network that forwards anything.
    let publisher = plans.iter().position(|(_, plan)| !plan.network.internal).unwrap_or(0);
    let mut results = Map::new();
    for (at, (membership, plan)) in plans.iter().enumerate() {
        let ports = if at == publisher { container.ports.as_slice() } else { &[] };
        match plan.carry_out(membership, &container, ports, attacher) {
            Ok(status) => results.insert(membership.key.network.name.to_string(), status),
            Err(error) => {
                // What failed has left nothing, and may be there from an earlier call.
                for (membership, _) in plans.iter().take(at) {
                    take_down(&membership.key, attacher).ok();
                }
                remove_network(&membership.key, attacher).ok();
                return Err(error);
            }
        };
    }
    Ok(format!("{}\n", Value::Object(results)))
}

/// A container, as far as it is the same in all its networks.
struct Container<'a> {
    id: ForeignName,
    name: Option<ForeignName>,
    netns: &'a Path,
    ports: Vec<PortRequest>,
    /// The servers that are asked for names which Podman's containers do not have.
    servers: Vec<IpAddr>,
}

impl<'a> Container<'a> {
    fn read(options: &Object<'_>, netns: &'a str) -> Result<Self, Failure> {
        Ok(Self {
            id: container_id(options)?,
            name: options.parsed("container_name", "a name of a container")?,
            netns: Path::new(netns),
            ports: port_requests(options)?,
            servers: names::servers(options, "dns_servers")?,
        })
    }
}

/// What is to be done for one network.
struct Plan {
    network: CreateNetwork,
    wanted: Wanted,
    /// Whether its containers find each other by name, and the servers that know all other names; none for the host's.
    names: Option<Vec<IpAddr>>,
}

impl Plan {
    fn read(membership: &Membership<'_>) -> Result<Self, Failure> {
        let origin = &membership.key.network;
        let missing = || Failure::Refused(format!("network {} is not described", origin.name));
        let info = membership.info.as_ref().ok_or_else(missing)?;
        Self::of_network(origin, info, wanted(&membership.own)?, membership.isolates)
    }

    fn of_network(
        origin: &Origin,
        info: &Object<'_>,
        mut wanted: Wanted,
        isolates: bool,
    ) -> Result<Self, Failure> {
        let name = &origin.name;
        let refuse =
            |what: String| Failure::Refused(format!("network {name}: mydocker does not support {what}"));
        match info.text("driver")? {
            Some("bridge" | "mydocker") | None => {}
            Some(other) => return Err(refuse(format!("the driver {other}"))),
        }
        let ipam = info.object("ipam_options")?;
        match ipam.map(|ipam| ipam.text("driver")).transpose()?.flatten() {
            Some("host-local") | None => {}
            Some(other) => return Err(refuse(format!("the IPAM driver {other}"))),
        }
        let mut network =
            CreateNetwork::for_engine(origin).map_err(|error| Failure::Refused(error.to_string()))?;
        network.bridge = info.parsed("network_interface", "a name of a device")?;
        network.internal = info.flag("internal")?;
        network.isolated = isolates;
        for subnet in info.objects("subnets")? {
            let net: IpNet = subnet.required("subnet", "a subnet")?;
            let parsed = Subnet::new(net).map_err(|error| Failure::Refused(error.to_string()))?;
            network.subnets.push((parsed, subnet.parsed("gateway", "an IP address")?));
        }
        for (option, value) in info.object("options")?.iter().flat_map(Object::members) {
            let value = value.as_str().unwrap_or_default();
            match (option, value) {
                ("isolate", "true" | "strict") => network.isolated = true,
                ("isolate", "false") => network.isolated = false,
                ("no_default_route", "true" | "1") => wanted.no_default_route = true,
                ("mtu", mtu) => {
                    network.mtu = mtu.parse().map_err(|_| refuse(format!("the MTU {mtu}")))?;
                }
                ("no_default_route", "false" | "0" | "") | ("isolate", "" | "0") | ("mode", "managed") => {}
                (option, value) => return Err(refuse(format!("the option {option}={value}"))),
            }
        }
        for route in info.objects("routes")? {
            wanted.routes.push(self::route(&route)?);
        }
        Ok(Self { names: names::of_network(&network, info)?, network, wanted })
    }

    /// Attaches a container, and returns what Podman is told of it. What fails leaves nothing of it.
    fn carry_out(
        &self,
        membership: &Membership<'_>,
        container: &Container<'_>,
        ports: &[PortRequest],
        attacher: &mut Attacher,
    ) -> Result<Value, Failure> {
        let mut tries = 1..TRIES;
        let attached = loop {
            match self.attach(membership, container, ports, attacher) {
                // The last container of before has taken its network along meanwhile, or is about to.
                Err(Failure::Engine(error)) if error.is_network_gone() && tries.next().is_some() => {}
                attached => break attached?,
            }
        };
        // After that: a network with something attached to it stays.
        if let Some(servers) = &self.names
            && let Err(error) = attacher.answer_names(&attached.network.name, servers)
        {
            attacher.detach(&membership.key).ok();
            return Err(error.into());
        }
        Ok(status(&attached, self.names.is_some()))
    }

    fn attach(
        &self,
        membership: &Membership<'_>,
        container: &Container<'_>,
        ports: &[PortRequest],
        attacher: &mut Attacher,
    ) -> Result<Attached, Failure> {
        let network = attacher.network(&self.network)?;
        let names = match self.names {
            Some(_) => names::of_container(&membership.own, container)?,
            None => Vec::new(),
        };
        let request = AttachRequest {
            key: &membership.key,
            name: container.name.as_ref(),
            network: &network.name,
            netns: container.netns,
            wanted: &self.wanted,
            ports,
            names: &names,
            servers: &container.servers,
        };
        Ok(attacher.attach(&request)?)
    }
}

fn wanted(own: &Object<'_>) -> Result<Wanted, Failure> {
    let mut wanted =
        Wanted { mac: own.parsed::<MacAddress>("static_mac", "a MAC address")?, ..Wanted::default() };
    for text in own.texts("static_ips")? {
        let again = match text.parse() {
            Ok(IpAddr::V4(address)) => wanted.ip.replace(address).is_some(),
            Ok(IpAddr::V6(address)) => wanted.ip6.replace(address).is_some(),
            Err(_) => return Err(own.unexpected("static_ips", "a list of addresses").into()),
        };
        if again {
            return Err(own.unexpected("static_ips", "one address of each family").into());
        }
    }
    let options = own.object("options")?;
    if let Some((option, _)) = options.iter().flat_map(Object::members).next() {
        return Err(Failure::Refused(format!("mydocker does not support a container's option {option}")));
    }
    Ok(wanted)
}

fn route(object: &Object<'_>) -> Result<Route, Failure> {
    if !matches!(object.text("route_type")?, None | Some("unicast")) {
        return Err(object.unexpected("route_type", "unicast").into());
    }
    let to: IpNet = object.required("destination", "a subnet")?;
    Ok(Route {
        to: to.trunc(),
        gateway: object.parsed("gateway", "an IP address")?,
        metric: object.number("metric")?,
    })
}

fn port_requests(options: &Object<'_>) -> Result<Vec<PortRequest>, Failure> {
    const NAMES: Entry<'static> = Entry {
        host_port: "host_port",
        container_port: "container_port",
        range: Some("range"),
        protocol: "protocol",
        host_ip: "host_ip",
    };
    let mut requests = Vec::new();
    for entry in options.objects("port_mappings")? {
        // Podman may name several protocols at once.
        let protocols = entry.text("protocol")?.unwrap_or("tcp");
        for protocol in protocols.split(',') {
            requests.push(ports::request_for(&entry, &NAMES, protocol)?);
        }
    }
    Ok(requests)
}

/// What Podman is told of an interface.
fn status(attached: &Attached, has_names: bool) -> Value {
    let Attached { network, endpoint, .. } = attached;
    let subnets: Vec<Value> = endpoint
        .addresses
        .iter()
        .map(|address| {
            let mut object = json!({ "ipnet": address.net.to_string() });
            if let Some(block) = network.block(address.family()).filter(|_| !network.internal) {
                object["gateway"] = block.gateway.to_string().into();
            }
            object
        })
        .collect();
    json!({
        "interfaces": {
            endpoint.container_if.as_str(): { "mac_address": endpoint.mac.to_string(), "subnets": subnets }
        },
        "dns_server_ips": names::gateways(network, has_names),
        "dns_search_domains": names::domains(has_names),
    })
}

/// Everything of a container goes, however often it is asked for, and with the last container its network.
fn tear_down(input: &Value, attacher: &mut Attacher) -> Result<String, Failure> {
    let options = Object::of(input, "")?;
    let id = container_id(&options)?;
    let mut first = Ok(String::new());
    for membership in memberships(&options, &id)? {
        let taken_down = take_down(&membership.key, attacher).map(|()| String::new());
        first = first.and(taken_down);
    }
    first
}

fn take_down(key: &AttachmentKey, attacher: &mut Attacher) -> Result<(), Failure> {
    attacher.detach(key)?;
    remove_network(key, attacher)
}

/// A network goes with the last container. In one that stays, names are answered.
fn remove_network(key: &AttachmentKey, attacher: &mut Attacher) -> Result<(), Failure> {
    let Some(network) = attacher.recorded_name(&key.network)? else { return Ok(()) };
    attacher.remove_unused(&network)?;
    if attacher.known_network(&key.network)?.is_some()
        && let Err(error) = attacher.answer_again(&network)
    {
        // What was asked for is done.
        tracing::warn!(%network, %error, "cannot start the name server again");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::arguments::Arguments;
    use super::*;

    fn ask(arguments: &[&str], input: &str) -> (u8, Value) {
        let roots =
            Roots { root: "/nowhere/root".into(), run_root: "/nowhere/run".into(), words: Vec::new() };
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        let answer = super::answer(roots, &arguments, &|_| None, || Ok(input.as_bytes().to_vec()));
        (answer.status, serde_json::from_str(&answer.result).unwrap())
    }

    #[test]
    fn options_are_read_as_podman_writes_them() {
        let words =
            "--config /run/x --rootless=false --aardvark-binary=/a --plugin-directory /p setup /run/netns/x";
        let words: Vec<OsString> = words.split(' ').map(OsString::from).collect();
        let expected = Arguments {
            command: Some("setup".to_owned()),
            operands: vec!["/run/netns/x".to_owned()],
            ..Arguments::default()
        };
        assert_eq!(parse(&words).unwrap(), expected);
        assert_eq!(ask(&["version"], "").1["default_fw_driver"], "nftables");
    }

    #[test]
    fn a_path_that_is_no_text_is_refused() {
        use std::os::unix::ffi::OsStringExt as _;
        let roots =
            || Roots { root: "/nowhere/root".into(), run_root: "/nowhere/run".into(), words: Vec::new() };
        let words = ["setup".into(), OsString::from_vec(b"/run/netns/\xff".to_vec())];
        let answers = [
            super::answer(roots(), &words, &|_| None, || Ok(b"{}".to_vec())),
            answer_as_driver(roots(), &words, &|_| None, || Ok(b"{}".to_vec())),
        ];
        assert!(answers.iter().all(|answer| answer.result.contains("not UTF-8")), "{answers:?}");
    }

    #[test]
    fn an_error_is_one_object_with_one_member() {
        let setup = |input: &str| {
            let (status, answer) = ask(&["setup", "/run/netns/x"], input);
            assert_eq!((status, answer.as_object().unwrap().len()), (1, 1));
            answer["error"].as_str().unwrap().to_owned()
        };
        assert!(setup("{").contains("malformed request"));
        assert!(setup(r#"{"container_id":"../x"}"#).contains("container_id"));
        let network = |info: &str| {
            format!(
                r#"{{"container_id":"c","networks":{{"n":{{"interface_name":"eth0"}}}},"network_info":{{"n":{info}}}}}"#
            )
        };
        assert!(setup(&network(r#"{"driver":"macvlan"}"#)).contains("macvlan"));
        assert!(setup(&network(r#"{"driver":"bridge","options":{"vlan":"7"}}"#)).contains("vlan=7"));
        let (status, answer) = ask(&["--rootless=true", "setup", "x"], "{}");
        assert!(status == 1 && answer["error"].as_str().unwrap().contains("rootless"));
        assert_eq!(ask(&["dhcp-proxy"], "").0, 1);
    }
}
