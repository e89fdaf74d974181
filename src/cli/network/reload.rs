//! `mydocker network reload`

use std::process::ExitCode;

use crate::cli::output::print;
use crate::cli::{CommandError, Context};

/// Rebuild the table, the bridges and the interfaces of all networks from the records, and print the networks
///
/// To be used after something else has changed the firewall, the devices or the kernel parameters. The whole table is
/// replaced in one transaction; running containers and their connections go on. What killed commands have left
/// behind is removed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  nft flush ruleset && mydocker network reload")]
pub(in crate::cli) struct Args {}

pub(super) fn run(_: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    for network in context.engine()?.reload_networks()? {
        print(&format!("{}\n", network.name));
    }
    Ok(ExitCode::SUCCESS)
}
