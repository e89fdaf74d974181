//! Names in DNS, as Podman asks for them: of containers in their networks, answered at the networks' gateways.

use std::net::IpAddr;

use super::{Container, Failure, Plan};
use crate::engine::{Attacher, CreateNetwork, NAMES_DOMAIN, Network, Origin, OtherEngine};
use crate::names::NameError;
use crate::plugin::json::Object;

/// How many digits of a container's id are a name.
const SHORT_ID: usize = 12;
/// Where Podman says that name servers are to have another port than 53.
const PORT_VARIABLE: &str = "NETAVARK_DNS_PORT";

/// The port that name servers are to have.
#[derive(Debug, Clone)]
pub(super) struct Port(Option<String>);

/// Reads the port out of the environment.
pub(super) fn port(environment: &dyn Fn(&str) -> Option<String>) -> Port {
    Port(environment(PORT_VARIABLE).filter(|port| !port.is_empty() && port != "53"))
}

impl Port {
    /// Refuses a network with names where their servers are to have another port.
    pub(super) fn check(&self, plan: &Plan) -> Result<(), Failure> {
        match (&self.0, &plan.names) {
            (Some(port), Some(_)) => Err(Failure::Refused(format!(
                "mydocker answers questions for names at port 53 and not at {port}: remove dns_bind_port from \
                 containers.conf"
            ))),
            _ => Ok(()),
        }
    }
}

/// Whether the containers of a network find each other by name, and the servers that know all other names.
pub(super) fn of_network(network: &CreateNetwork, info: &Object<'_>) -> Result<Option<Vec<IpAddr>>, Failure> {
    let servers = servers(info, "network_dns_servers")?;
    let gateways: Vec<IpAddr> = network.subnets.iter().filter_map(|(_, gateway)| *gateway).collect();
    match servers.iter().find(|server| gateways.contains(server)) {
        Some(gateway) => Err(info
            .impossible(
                "network_dns_servers",
                &format!("{gateway} is the network's gateway, where names are asked for"),
            )
            .into()),
        None => Ok(info.flag("dns_enabled")?.then_some(servers)),
    }
}

/// The addresses of servers in a list.
pub(super) fn servers(object: &Object<'_>, member: &str) -> Result<Vec<IpAddr>, Failure> {
    let texts = object.texts(member)?;
    let parsed: Result<Vec<IpAddr>, _> = texts.into_iter().map(str::parse).collect();
    let parsed = parsed.map(|all| all.iter().map(IpAddr::to_canonical).collect());
    parsed.map_err(|_| object.unexpected(member, "a list of addresses").into())
}

/// The names by which others find a container in a network.
pub(super) fn of_container(own: &Object<'_>, container: &Container<'_>) -> Result<Vec<String>, Failure> {
    let id = container.id.as_str();
    let name = container.name.as_ref().map(ToString::to_string);
    let short = id.get(..SHORT_ID).unwrap_or(id).to_owned();
    let mut names: Vec<String> = name.into_iter().chain([short]).collect();
    for alias in own.texts("aliases")? {
        if !names.iter().any(|name| name == alias) {
            names.push(alias.to_owned());
        }
    }
    Ok(names)
}

/// Where the containers of a network ask.
pub(super) fn gateways(network: &Network, has_names: bool) -> Vec<String> {
    network.blocks().filter(|_| has_names).map(|block| block.gateway.to_string()).collect()
}

/// What they search.
pub(super) fn domains(has_names: bool) -> Vec<&'static str> {
    has_names.then_some(NAMES_DOMAIN).into_iter().collect()
}

/// Has the name server of a network ask other servers for the names that it does not know. Without a list, nothing is to
/// be changed.
pub(super) fn update(
    network: &str,
    servers: Option<&str>,
    attacher: impl FnOnce() -> Attacher,
) -> Result<String, Failure> {
    let name = network.parse().map_err(|error: NameError| Failure::Refused(error.to_string()))?;
    let Some(list) = servers else { return Ok(String::new()) };
    let mut parsed = Vec::new();
    for text in list.split(',').map(str::trim).filter(|text| !text.is_empty()) {
        let wrong = || Failure::Refused(format!("--network-dns-servers: {text} is not an IP address"));
        parsed.push(text.parse().map_err(|_| wrong())?);
    }
    let mut attacher = attacher();
    // One that is not there is made with the servers that Podman has written down.
    if let Some(network) = attacher.known_network(&Origin { engine: OtherEngine::Podman, name })? {
        attacher.redirect_names(&network.name, &parsed)?;
    }
    Ok(String::new())
}
