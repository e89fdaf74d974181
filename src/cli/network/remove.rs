//! `mydocker network remove`

use std::process::ExitCode;

use crate::cli::{CommandError, Context, print_each, remove_each};

/// Remove networks that no running container uses
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker network remove testbr0")]
pub(in crate::cli) struct Args {
    /// Print what would change in the firewall table, as text for nft -f, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not fail if a network does not exist
    #[arg(long, short)]
    force: bool,
    /// The networks
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    if args.dry_run {
        return print_each(&args.names, context, |engine, name| engine.plan_remove_network(name));
    }
    remove_each(&args.names, args.force, context, |engine, name| {
        engine.remove_network(name).map(|()| vec![name.to_owned()])
    })
}
