//! `mydocker update`

use std::process::ExitCode;

use crate::cli::options::limits::AdjustableLimits;
use crate::cli::{CommandError, Context, for_each};

/// Change the limits of containers, of running ones at once
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker update --memory 512m --cpus 1.5 web")]
pub(super) struct Args {
    #[command(flatten)]
    limits: AdjustableLimits,
    /// The containers, by name or id
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let limits = args.limits;
    for_each(&args.containers, context, |engine, name| {
        engine.update_limits(name, |held| limits.clone().apply(held))
    })
}
