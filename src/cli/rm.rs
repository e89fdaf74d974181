//! `mydocker rm`

use std::process::ExitCode;

use crate::cli::{CommandError, Context, print_each, remove_each_at_once};

/// Remove containers, with their logs and everything they wrote
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker rm -f web")]
pub(super) struct Args {
    /// Print what would change in the firewall table, as text for nft -f, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Kill containers that are running, and remove them; do not fail if one does not exist
    #[arg(long, short)]
    force: bool,
    /// Also remove the containers' anonymous volumes
    #[arg(long, short)]
    volumes: bool,
    /// The containers, by name or id
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let (force, volumes) = (args.force, args.volumes);
    if args.dry_run {
        return print_each(&args.containers, context, |engine, name| engine.plan_stop(name, args.force));
    }
    remove_each_at_once(&args.containers, force, context, |engine, name| {
        engine.remove_container(name, force, volumes)
    })
}
