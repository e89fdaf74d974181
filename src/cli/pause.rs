//! `mydocker pause`

use std::process::ExitCode;

use crate::cli::{CommandError, Context, for_each};

/// Pause all processes of containers
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker pause web")]
pub(super) struct Args {
    /// The containers, by name or id
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    for_each(&args.containers, context, |engine, name| engine.pause(name))
}
