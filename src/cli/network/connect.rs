//! `mydocker network connect`

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::options::networks::alias;
use crate::cli::output::print;
use crate::cli::{CommandError, Context};
use crate::engine::{MacAddress, PortRequest, Wanted};

/// Connect a container, running or not, or any network namespace to a network
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A running container gets one more interface (eth1, eth2, …) at once. Default route and published
ports use the first network, in the order of connecting, that is not internal, for IPv4 and IPv6 separately.

With --netns the address is printed, IPv4 first, each on a line of its own. The connection ends with
`network disconnect --netns`, or when the namespace is gone from that path.

Examples:
  mydocker network connect back web
  mydocker network connect --ip 10.5.0.9 back web
  mydocker network connect --netns /run/netns/lab -p 8080:80 back"
)]
pub(in crate::cli) struct Args {
    /// The IPv4 address in the network (default: the lowest free one)
    #[arg(long, value_name = "IP")]
    ip: Option<Ipv4Addr>,
    /// The IPv6 address, in a network that has IPv6 (default: a free one)
    #[arg(long, value_name = "IP")]
    ip6: Option<Ipv6Addr>,
    /// The MAC address of the interface (default: derived from the IP address)
    #[arg(long, value_name = "MAC")]
    mac_address: Option<MacAddress>,
    /// One more name by which others find the container in the network; may be given more than once, and to more than
    /// one container
    #[arg(long, value_name = "NAME", conflicts_with = "netns", value_parser = alias)]
    alias: Vec<String>,
    /// Connect this network namespace instead of a container: a path, or a name below /run/netns
    #[arg(long, value_name = "PATH", conflicts_with = "container")]
    netns: Option<PathBuf>,
    /// Publish a port of the namespace, as with run; may be given more than once. Only with --netns: the ports
    /// of a container are given to run or create
    #[arg(long, short, value_name = "PORT", conflicts_with = "container")]
    publish: Vec<PortRequest>,
    /// Print what would change in the firewall table, as text for nft -f, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// The network
    #[arg(value_name = "NETWORK")]
    network: String,
    /// The container, by name or id
    #[arg(value_name = "CONTAINER", required_unless_present = "netns")]
    container: Option<String>,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let wanted = Wanted {
        ip: args.ip,
        ip6: args.ip6,
        mac: args.mac_address,
        aliases: args.alias,
        ..Wanted::default()
    };
    let engine = context.engine()?;
    if args.dry_run {
        let text = match (args.netns, args.container) {
            (Some(netns), _) => {
                engine.plan_connect_namespace(&args.network, &netns, &wanted, &args.publish)?
            }
            (None, container) => {
                engine.plan_connect(&args.network, &container.unwrap_or_default(), &wanted)?
            }
        };
        print(&text);
    } else if let Some(netns) = args.netns {
        for address in engine.connect_namespace(&args.network, &netns, &wanted, &args.publish)? {
            print(&format!("{address}\n"));
        }
    } else if let Some(container) = args.container {
        engine.connect(&args.network, &container, &wanted)?;
    }
    Ok(ExitCode::SUCCESS)
}
