//! `mydocker update`

use std::process::ExitCode;

use crate::cli::options::limits::AdjustableLimits;
use crate::cli::{CommandError, Context, failed, for_each};
use crate::engine::RestartPolicy;

/// Change the limits and the restart policy of containers
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker update --memory 512m --cpus 1.5 --restart on-failure:3 web")]
pub(super) struct Args {
    /// When to restart the container after it has ended: no, on-failure[:N], always or unless-stopped
    #[arg(long, value_name = "POLICY")]
    restart: Option<RestartPolicy>,
    #[command(flatten)]
    limits: AdjustableLimits,
    /// The containers, by name or id
    #[arg(value_name = "CONTAINER", required = true, help_heading = "Arguments")]
    containers: Vec<String>,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let (restart, limits) = (args.restart, args.limits);
    if restart.is_none() && limits == AdjustableLimits::default() {
        let hint = "give at least one option, such as --memory 512m";
        return Err(failed("cannot update containers: nothing is to be changed", Some(hint)));
    }
    for_each(&args.containers, context, |engine, name| {
        engine.update(name, restart, |held| limits.clone().apply(held))
    })
}
