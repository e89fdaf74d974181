//! `mydocker network inspect`

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cli::listing::ObjectFormat;
use crate::cli::{CommandError, Context, documents, inspect};
use crate::engine::{AddressBlock, Engine, EngineError, Network, NetworkInspection};

/// Show details of networks, as a JSON array
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker network inspect testbr0")]
pub(in crate::cli) struct Args {
    /// Print one line for each, by a Go template or as JSON (json), instead of the array
    #[arg(long, short, value_name = "TEMPLATE")]
    format: Option<ObjectFormat>,
    /// The networks
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    inspect::inspect(&args.names, args.format.as_ref(), context, |engine, name| Ok(called(engine, name)?))
}

/// The document of the network that is called so, among them those that were not made.
pub(in crate::cli) fn called(engine: &Engine, name: &str) -> Result<Value, EngineError> {
    match engine.inspect_network(name) {
        Ok(inspection) => Ok(document(&inspection)),
        Err(error) if error.is_not_found() => {
            let name = if name == "default" { "bridge" } else { name };
            documents::builtin_network(name).ok_or(error)
        }
        Err(error) => Err(error),
    }
}

/// Docker's member names, so that scripts written for it find what they look for.
pub(in crate::cli) fn document(inspection: &NetworkInspection) -> Value {
    let network = &inspection.network;
    let containers: BTreeMap<String, Value> = inspection
        .endpoints
        .iter()
        .map(|endpoint| {
            let value = json!({
                "Name": endpoint.owner.name(),
                "EndpointID": documents::endpoint_id(endpoint),
                "MacAddress": endpoint.mac.to_string(),
                "IPv4Address": endpoint.ipv4().map(|net| net.to_string()).unwrap_or_default(),
                "IPv6Address": endpoint.ipv6().map(|net| net.to_string()).unwrap_or_default(),
            });
            (endpoint.owner.id().to_string(), value)
        })
        .collect();
    let config: Vec<Value> = network.blocks().map(|block| address_block(network, block)).collect();
    let subnets: BTreeMap<String, Value> = inspection
        .usage
        .iter()
        .map(|usage| {
            let value = json!({
                "IPsInUse": usage.taken.len(),
                "DynamicIPsAvailable": usage.free,
                "Used": usage.taken,
            });
            (usage.subnet.to_string(), value)
        })
        .collect();
    json!({
        "Name": network.name,
        "Id": network.id,
        "Created": network.created,
        "Scope": "local",
        "Driver": network.driver.as_str(),
        "EnableIPv4": network.ipv4.is_some(),
        "EnableIPv6": network.ipv6.is_some(),
        "IPAM": { "Driver": "default", "Options": {}, "Config": config },
        "Internal": network.internal,
        "Options": {
            "bridge": network.bridge,
            "mtu": network.mtu.to_string(),
            "isolate": network.isolated.to_string(),
            "mode": network.mode.as_str(),
            "masquerade": network.masquerade.to_string(),
            "check-source": network.check_source.to_string(),
            "icc": (!network.apart).to_string(),
            "com.docker.network.bridge.name": network.bridge,
            "com.docker.network.bridge.enable_icc": (!network.apart).to_string(),
            "com.docker.network.bridge.enable_ip_masquerade": network.masquerade.to_string(),
            "com.docker.network.driver.mtu": network.mtu.to_string(),
        },
        "Labels": network.labels,
        "Containers": containers,
        "Attachable": false,
        "Ingress": false,
        "ConfigFrom": { "Network": "" },
        "ConfigOnly": false,
        "Peers": null,
        "Services": null,
        "Status": { "IPAM": { "Subnets": subnets } },
    })
}

/// What a network has of one family. `IPRange` and `AuxiliaryAddresses` are there where they were asked for.
fn address_block(network: &Network, block: &AddressBlock) -> Value {
    let mut config = json!({ "Subnet": block.subnet.to_string(), "Gateway": block.gateway.to_string() });
    if let Some(range) = block.range {
        config["IPRange"] = range.to_string().into();
    }
    let reserved = network.reserved.iter().filter(|address| block.subnet.contains(**address));
    // Docker has names for these; here they have none but their own.
    let reserved: BTreeMap<String, String> =
        reserved.map(|address| (address.to_string(), address.to_string())).collect();
    if !reserved.is_empty() {
        config["AuxiliaryAddresses"] = json!(reserved);
    }
    config
}
