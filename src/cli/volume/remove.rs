//! `mydocker volume rm`

use std::process::ExitCode;

use crate::cli::{CommandError, Context, for_each};

/// Remove volumes that no container has, with all that is in them
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker volume rm data")]
pub(in crate::cli) struct Args {
    /// Do not complain of volumes that are not there
    #[arg(long, short)]
    force: bool,
    /// The volumes
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let force = args.force;
    for_each(&args.names, context, |engine, name| engine.remove_volume(name, force))
}
