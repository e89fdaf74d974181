//! `mydocker kill`

use std::process::ExitCode;

use crate::cli::{CommandError, Context, for_each, print_each};
use crate::engine::Signal;

/// Send running containers a signal: SIGKILL, or another one
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Only KILL surely ends a container: with --dry-run and another signal nothing is known to change, and nothing is
printed.

Examples:
  mydocker kill -s HUP web
  mydocker kill --dry-run web | nft -c -f -"
)]
pub(super) struct Args {
    /// Print what would change in the firewall table, as text for nft -f, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// The signal, by name or number; KILL without
    #[arg(long, short, value_name = "SIGNAL")]
    signal: Option<Signal>,
    /// The containers, by name or id
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let signal = args.signal;
    if args.dry_run {
        return print_each(&args.containers, context, |engine, name| engine.dry_kill(name, signal));
    }
    for_each(&args.containers, context, |engine, name| engine.kill(name, signal))
}
