//! `mydocker kill`

use std::process::ExitCode;

use crate::cli::{CommandError, Context, for_each, print_each};
use crate::engine::Signal;

/// Send a signal to running containers, SIGKILL by default
#[derive(Debug, clap::Args)]
#[command(
    after_help = "With --dry-run, nothing is printed for other signals than KILL: only KILL is certain to end a container.

Examples:
  mydocker kill -s HUP web
  mydocker kill --dry-run web | nft -c -f -"
)]
pub(super) struct Args {
    /// Print what would change in the firewall table, as text for nft -f, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// The signal, by name or number (default: KILL)
    #[arg(long, short, value_name = "SIGNAL")]
    signal: Option<Signal>,
    /// The containers, by name or id
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let signal = args.signal;
    if args.dry_run {
        return print_each(&args.containers, context, |engine, name| engine.plan_kill(name, signal));
    }
    for_each(&args.containers, context, |engine, name| engine.kill(name, signal))
}
