//! `mydocker restart`

use std::process::ExitCode;

use super::stop::How;
use crate::cli::{CommandError, Context, print_each, start_each};

/// Stop containers if they are running, and start them
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mydocker restart -t 2 web\n  mydocker restart --dry-run web | nft -c -f -"
)]
pub(super) struct Args {
    #[command(flatten)]
    how: How,
    /// Print what would change in the firewall table, as text for nft -f, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// The containers, by name or id
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    if args.dry_run {
        return print_each(&args.containers, context, |engine, name| engine.plan_restart(name));
    }
    let request = args.how.request();
    start_each(&args.containers, context, |engine, name| engine.restart(name, request))
}
