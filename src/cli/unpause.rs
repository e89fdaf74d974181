//! `mydocker unpause`

use std::process::ExitCode;

use crate::cli::{CommandError, Context, for_each};

/// Resume all processes of paused containers
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker unpause web")]
pub(super) struct Args {
    /// The containers, by name or id
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    for_each(&args.containers, context, |engine, name| engine.unpause(name))
}
