//! `mydocker volume rm`

use std::process::ExitCode;

use crate::cli::{CommandError, Context, for_each};

/// Remove volumes that no container uses, with everything in them
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker volume rm data")]
pub(in crate::cli) struct Args {
    /// Do not fail for volumes that do not exist
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
