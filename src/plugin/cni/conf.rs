//! The configuration that a plugin gets: which network, and how it is to be.

use std::net::IpAddr;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::call::{Arguments, address};
use super::ipam::Ipam;
use super::reply::{Code, Failure};
use super::{Plugin, VERSIONS};
use crate::engine::{CreateNetwork, Layout, MacAddress, Mode, Origin, OtherEngine, PortRequest};
use crate::names::{ForeignName, IfName};
use crate::plugin::Roots;
use crate::plugin::json::Object;
use crate::plugin::ports::{self, Entry};

/// The bridge of the plugin `bridge` where none is named.
const DEFAULT_BRIDGE: &str = "cni0";
/// Members that ask for what mydocker does not do.
const UNSUPPORTED: [&str; 9] = [
    "vlan",
    "vlanTrunk",
    "promiscMode",
    "portIsolation",
    "disableContainerInterface",
    "masqueradeExcept",
    "ipMasqBackend",
    "conditionsV4",
    "conditionsV6",
];

/// What everything else depends on.
#[derive(Debug)]
pub(super) struct Basics {
    pub(super) version: String,
    pub(super) network: Origin,
    pub(super) layout: Layout,
    conf: Map<String, Value>,
}

impl Basics {
    /// Reads the version first: a failure repeats it.
    pub(super) fn read(text: &[u8], roots: Roots, version: &mut String) -> Result<Self, Failure> {
        let undecoded = |why: &str| Failure::new(Code::Decoding, "cannot decode the configuration", why);
        let conf = match serde_json::from_slice(text) {
            Ok(Value::Object(conf)) => conf,
            Ok(_) => return Err(undecoded("it is no object")),
            Err(error) => return Err(undecoded(&error.to_string())),
        };
        let value = Value::Object(conf);
        let object = Object::of(&value, "")?;
        let wanted = object.text("cniVersion")?.unwrap_or("0.1.0");
        if !VERSIONS.contains(&wanted) {
            let details = format!("the configuration has {wanted:?}, and there are {}", VERSIONS.join(", "));
            return Err(Failure::new(Code::Version, "unsupported CNI version", details));
        }
        wanted.clone_into(version);
        let name: ForeignName = object.required("name", "a name of a network: [a-zA-Z0-9][a-zA-Z0-9_.-]*")?;
        let directory = |member: &str, default: PathBuf| -> Result<PathBuf, Failure> {
            let Some(path) = object.text(member)?.map(PathBuf::from) else { return Ok(default) };
            if path.is_absolute() {
                Ok(path)
            } else {
                Err(object.unexpected(member, "an absolute path").into())
            }
        };
        let layout = Layout::new(directory("root", roots.root)?, directory("runRoot", roots.run_root)?);
        let Value::Object(conf) = value else { return Err(undecoded("it is no object")) };
        let network = Origin { engine: OtherEngine::Cni, name };
        Ok(Self { version: version.clone(), network, layout, conf })
    }

    /// Whether the version is this one or later.
    pub(super) fn is_at_least(&self, major: u32, minor: u32) -> bool {
        let mut numbers = self.version.split('.').filter_map(|number| number.parse::<u32>().ok());
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (major, minor)
    }

    /// The whole configuration.
    pub(super) fn object(&self) -> Result<Value, Failure> {
        Ok(Value::Object(self.conf.clone()))
    }

    /// The result of the plugins before this one.
    pub(super) fn previous(&self) -> Result<&Map<String, Value>, Failure> {
        let found = self.conf.iter().find(|(name, _)| name.eq_ignore_ascii_case("prevResult"));
        match found {
            Some((_, Value::Object(result))) => Ok(result),
            Some((_, Value::Null)) | None => Err(Failure::configuration("prevResult is missing")),
            Some(_) => Err(Failure::configuration("prevResult is no object")),
        }
    }
}

/// What a container is told of names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Dns {
    pub(super) servers: Vec<String>,
    pub(super) domain: Option<String>,
    pub(super) search: Vec<String>,
    pub(super) options: Vec<String>,
}

impl Dns {
    fn read(object: &Object<'_>, servers: &str, search: &str) -> Result<Self, Failure> {
        let texts = |name: &str| -> Result<Vec<String>, Failure> {
            Ok(object.texts(name)?.into_iter().map(str::to_owned).collect())
        };
        Ok(Self {
            servers: texts(servers)?,
            domain: object.text("domain")?.map(str::to_owned),
            search: texts(search)?,
            options: texts("options")?,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// As results have it.
    pub(super) fn value(&self) -> Value {
        let mut dns = Map::new();
        for (name, list) in
            [("nameservers", &self.servers), ("search", &self.search), ("options", &self.options)]
        {
            if !list.is_empty() {
                dns.insert(name.to_owned(), json!(list));
            }
        }
        if let Some(domain) = &self.domain {
            dns.insert("domain".to_owned(), json!(domain));
        }
        Value::Object(dns)
    }
}

/// Everything that ADD needs.
#[derive(Debug)]
pub(super) struct Conf {
    /// How the network is to be; its name is not decided yet.
    pub(super) network: CreateNetwork,
    /// Whether the configuration only names a network, which a user may have made.
    pub(super) is_name_only: bool,
    pub(super) ipam: Ipam,
    /// A default route is wanted, whatever the routes say.
    pub(super) is_default_gateway: bool,
    pub(super) ports: Vec<PortRequest>,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) mac: Option<MacAddress>,
    pub(super) dns: Dns,
}

impl Conf {
    pub(super) fn read(plugin: Plugin, basics: &Basics, arguments: &Arguments) -> Result<Self, Failure> {
        let value = basics.object()?;
        let conf = Object::of(&value, "")?;
        refuse_unsupported(&conf)?;
        let ipam = Ipam::read(conf.object("ipam")?.as_ref())?;
        let runtime = conf.object("runtimeConfig")?;
        let further = conf.object("args")?.map(|args| args.object("cni")).transpose()?.flatten();
        let mut addresses = arguments.addresses.clone();
        let mut mac = arguments.mac;
        // The later one of these counts.
        for object in further.iter().chain(&runtime) {
            for text in object.texts("ips")? {
                addresses.push(address(text).ok_or_else(|| object.unexpected("ips", "a list of addresses"))?);
            }
            mac = object.parsed("mac", "a MAC address")?.or(mac);
        }
        addresses.extend(&ipam.addresses);
        addresses.sort_unstable();
        addresses.dedup();
        let ports = match (&runtime, plugin) {
            (Some(runtime), Plugin::Mydocker) => port_requests(runtime)?,
            _ => Vec::new(),
        };
        let is_own = plugin == Plugin::Mydocker;
        if !is_own {
            refuse_without_gateway(&conf, &ipam)?;
        }
        let is_name_only = is_own && !ipam.is_given && !conf.has("bridge");
        let network = network(&conf, basics, is_own, &ipam)?;
        Ok(Self {
            is_name_only,
            is_default_gateway: is_own || conf.flag("isDefaultGateway")?,
            dns: dns(&conf, &ipam, runtime.as_ref())?,
            network,
            ipam,
            ports,
            addresses,
            mac,
        })
    }
}

/// A network of mydocker's has addresses, and its bridge is the gateway.
fn refuse_without_gateway(conf: &Object<'_>, ipam: &Ipam) -> Result<(), Failure> {
    if !ipam.is_given {
        return Err(conf
            .unexpected("ipam", "host-local or static: mydocker has no networks without addresses")
            .into());
    }
    if conf.choice("isGateway")? == Some(false) && !conf.flag("isDefaultGateway")? {
        return Err(Failure::unsupported("isGateway", &false.into()));
    }
    Ok(())
}

/// The published ports of `runtimeConfig`.
pub(super) fn port_requests(runtime: &Object<'_>) -> Result<Vec<PortRequest>, Failure> {
    const NAMES: Entry<'static> = Entry {
        host_port: "hostPort",
        container_port: "containerPort",
        range: None,
        protocol: "protocol",
        host_ip: "hostIP",
    };
    let entries = runtime.objects("portMappings")?;
    Ok(entries.iter().map(|entry| ports::request(entry, &NAMES)).collect::<Result<_, _>>()?)
}

/// What is not done is never taken for done.
fn refuse_unsupported(conf: &Object<'_>) -> Result<(), Failure> {
    let asks = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::Number(number) => number.as_u64() != Some(0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Bool(true) | Value::Object(_) => true,
    };
    for name in UNSUPPORTED {
        match conf.member(name) {
            // Whatever makes the rules: masquerading is what was asked for.
            Some(_) if name == "ipMasqBackend" => {}
            Some(value) if asks(value) => return Err(Failure::unsupported(name, value)),
            _ => {}
        }
    }
    let runtime = conf.object("runtimeConfig")?;
    let bandwidth = runtime.map(|runtime| runtime.object("bandwidth")).transpose()?.flatten();
    if let Some(bandwidth) = bandwidth
        && let Some((_, rate)) = bandwidth
            .members()
            .find(|(name, value)| name.to_ascii_lowercase().ends_with("rate") && asks(value))
    {
        return Err(Failure::unsupported("bandwidth", rate));
    }
    Ok(())
}

fn network(conf: &Object<'_>, basics: &Basics, is_own: bool, ipam: &Ipam) -> Result<CreateNetwork, Failure> {
    let mut network = CreateNetwork::for_engine(&basics.network).map_err(Failure::configuration)?;
    let bridge = conf.parsed::<IfName>("bridge", "a name of a device")?;
    network.bridge = match bridge {
        Some(bridge) => Some(bridge),
        None if is_own => None,
        None => DEFAULT_BRIDGE.parse().ok(),
    };
    network.subnets = ipam.subnets();
    network.internal = is_own && conf.flag("internal")?;
    network.isolated = is_own && conf.flag("isolate")?;
    network.check_source = conf.flag("macspoofchk")?;
    if let Some(mtu) = conf.number::<u32>("mtu")?.filter(|mtu| *mtu > 0) {
        network.mtu = mtu;
    }
    let masquerades = conf.choice("ipMasq")?;
    let mode = if is_own { conf.text("mode")? } else { None };
    network.mode = match mode {
        Some("nat") => Mode::Nat,
        Some("routed") => Mode::Routed,
        Some(_) => return Err(conf.unexpected("mode", "nat or routed").into()),
        // `bridge` without `ipMasq` lets containers be reached at their own addresses.
        None if !is_own && masquerades != Some(true) => Mode::Routed,
        None => Mode::Nat,
    };
    network.masquerade = masquerades.unwrap_or(true);
    Ok(network)
}

/// What the configuration says of name servers, else what its file says, else what the engine says.
fn dns(conf: &Object<'_>, ipam: &Ipam, runtime: Option<&Object<'_>>) -> Result<Dns, Failure> {
    let own = conf.object("dns")?.map(|dns| Dns::read(&dns, "nameservers", "search")).transpose()?;
    if let Some(own) = own.filter(|own| !own.is_empty()) {
        return Ok(own);
    }
    if !ipam.dns.is_empty() {
        return Ok(ipam.dns.clone());
    }
    let runtime = runtime.map(|runtime| runtime.object("dns")).transpose()?.flatten();
    Ok(runtime.map(|dns| Dns::read(&dns, "servers", "searches")).transpose()?.unwrap_or_default())
}
