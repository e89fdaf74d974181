//! `mydocker network create`

use std::net::Ipv4Addr;
use std::process::ExitCode;

use crate::cli::output::print;
use crate::cli::{CommandError, Context, key_value};
use crate::engine::{CreateNetwork, DEFAULT_MTU, DriverKind, Subnet};
use crate::names::NetworkName;

/// Create a network: a bridge with a gateway address, its firewall elements, and forwarding
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker network create --subnet 192.168.0.0/24 testbr0")]
pub(in crate::cli) struct Args {
    /// What makes the network's devices
    #[arg(long, short, value_name = "DRIVER", default_value = "bridge", value_parser = driver)]
    driver: DriverKind,
    /// The addresses of the network, between /8 and /30; host bits name the gateway (162.16.0.1/24). Without
    /// it: the next free /24 of 10.89.0.0/16
    #[arg(long, value_name = "CIDR", value_parser = Subnet::parse_with_gateway)]
    subnet: Vec<(Subnet, Option<Ipv4Addr>)>,
    /// The address of the bridge, which containers route through. Without it: the lowest of the subnet
    #[arg(long, value_name = "IP")]
    gateway: Option<Ipv4Addr>,
    /// Forward nothing in or out: containers reach each other and the gateway only
    #[arg(long)]
    internal: bool,
    /// Let other networks reach it through published ports only
    #[arg(long)]
    isolate: bool,
    /// The largest packet of its devices, in bytes
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MTU, value_parser = clap::value_parser!(u32).range(68..=65535))]
    mtu: u32,
    /// A remark of your own; may be given more than once
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = key_value)]
    labels: Vec<(String, String)>,
    /// The name of the network and of its bridge device: at most 15 characters
    #[arg(value_name = "NAME")]
    name: NetworkName,
}

fn driver(name: &str) -> Result<DriverKind, String> {
    match name {
        "bridge" => Ok(DriverKind::Bridge),
        other => Err(format!("unknown driver \"{other}\": the only driver is bridge")),
    }
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let request = CreateNetwork {
        name: args.name,
        driver: args.driver,
        subnets: args.subnet,
        gateway: args.gateway,
        internal: args.internal,
        isolated: args.isolate,
        mtu: args.mtu,
        labels: args.labels.into_iter().collect(),
    };
    let network = context.engine()?.create_network(&request)?;
    print(&format!("{}\n", network.name));
    Ok(ExitCode::SUCCESS)
}
