//! `mydocker stop`

use std::process::ExitCode;

use crate::cli::{CommandError, Context, for_each};

/// Stop containers: the stop signal first, SIGKILL after the timeout
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker stop -t 2 web")]
pub(super) struct Args {
    /// The seconds between the stop signal and SIGKILL; the container's own (10) without
    #[arg(long, short, value_name = "SECONDS", visible_alias = "time")]
    timeout: Option<u32>,
    /// The containers, by name or id
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let timeout = args.timeout;
    for_each(&args.containers, context, |engine, name| engine.stop(name, timeout))
}
