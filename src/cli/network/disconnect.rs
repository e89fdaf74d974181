//! `mydocker network disconnect`

use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::output::print;
use crate::cli::{CommandError, Context};

/// Disconnect a container, running or not, or any network namespace from a network
#[derive(Debug, clap::Args)]
#[command(after_help = "Default route and published ports move to the next network that is not internal.

Examples:
  mydocker network disconnect back web
  mydocker network disconnect --netns /run/netns/lab back")]
pub(in crate::cli) struct Args {
    /// Also clear up after a container that does not exist any more; a namespace that is not connected is no
    /// error
    #[arg(long, short)]
    force: bool,
    /// Disconnect this network namespace instead of a container: a path, or a name below /run/netns
    #[arg(long, value_name = "PATH", conflicts_with = "container")]
    netns: Option<PathBuf>,
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
    let engine = context.engine()?;
    if args.dry_run {
        let text = match (args.netns, args.container) {
            (Some(netns), _) => engine.plan_disconnect_namespace(&args.network, &netns)?,
            (None, container) => engine.plan_disconnect(&args.network, &container.unwrap_or_default())?,
        };
        print(&text);
    } else if let Some(netns) = args.netns {
        engine.disconnect_namespace(&args.network, &netns, args.force)?;
    } else if let Some(container) = args.container {
        engine.disconnect(&args.network, &container, args.force)?;
    }
    Ok(ExitCode::SUCCESS)
}
