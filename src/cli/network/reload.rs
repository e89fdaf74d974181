//! `mydocker network reload`

use std::process::ExitCode;

use crate::cli::output::print;
use crate::cli::{CommandError, Context};

/// Rebuild the firewall table, the bridges and the interfaces of all networks, and print the networks' names
///
/// For use after something else has changed the firewall, the devices or the kernel parameters. The whole table
/// is replaced in one transaction; running containers and their connections go on. What killed commands have
/// left behind is removed.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  nft flush ruleset && mydocker network reload\n  mydocker network reload --dry-run | nft -c -f -"
)]
pub(in crate::cli) struct Args {
    /// Print what would change in the firewall table, as text for nft -f, and change nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(args: &Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    if args.dry_run {
        print(&context.engine()?.plan_reload_networks()?);
        return Ok(ExitCode::SUCCESS);
    }
    for network in context.engine()?.reload_networks()? {
        print(&format!("{}\n", network.name));
    }
    Ok(ExitCode::SUCCESS)
}
