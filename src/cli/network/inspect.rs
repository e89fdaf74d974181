//! `mydocker network inspect`

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cli::listing::ObjectFormat;
use crate::cli::{CommandError, Context, inspect};
use crate::engine::NetworkInspection;

/// Show all that is known of networks, as a JSON array
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker network inspect testbr0")]
pub(in crate::cli) struct Args {
    /// Print one line for each by a Go template, or as JSON (json), instead of the array
    #[arg(long, short, value_name = "TEMPLATE")]
    format: Option<ObjectFormat>,
    /// The networks
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let mut all = Vec::new();
    for name in &args.names {
        all.push(document(&context.engine()?.inspect_network(name)?));
    }
    inspect::print(&all, args.format.as_ref())?;
    Ok(ExitCode::SUCCESS)
}

/// Docker's member names, so that scripts written for it find what they look for.
pub(in crate::cli) fn document(inspection: &NetworkInspection) -> Value {
    let network = &inspection.network;
    let containers: BTreeMap<String, Value> = inspection
        .endpoints
        .iter()
        .map(|endpoint| {
            let value = json!({
                "Name": endpoint.container_name,
                "MacAddress": endpoint.mac.to_string(),
                "IPv4Address": endpoint.address.to_string(),
                "IPv6Address": "",
            });
            (endpoint.container.to_string(), value)
        })
        .collect();
    json!({
        "Name": network.name,
        "Id": network.id,
        "Created": network.created,
        "Scope": "local",
        "Driver": network.driver.as_str(),
        "EnableIPv4": true,
        "EnableIPv6": false,
        "IPAM": {
            "Driver": "default",
            "Config": [{ "Subnet": network.subnet.to_string(), "Gateway": network.gateway.to_string() }],
        },
        "Internal": network.internal,
        "Options": {
            "bridge": network.bridge,
            "mtu": network.mtu.to_string(),
            "isolate": network.isolated.to_string(),
        },
        "Labels": network.labels,
        "Containers": containers,
        "Status": {
            "IPAM": { "Subnets": { network.subnet.to_string(): {
                "IPsInUse": inspection.taken.len(),
                "DynamicIPsAvailable": inspection.free,
                "Used": inspection.taken,
            } } },
        },
    })
}
