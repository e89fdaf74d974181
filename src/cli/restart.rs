//! `mydocker restart`

use std::process::ExitCode;

use super::stop::How;
use crate::cli::{CommandError, Context, for_each};

/// Stop containers if they run, and start them
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker restart -t 2 web")]
pub(super) struct Args {
    #[command(flatten)]
    how: How,
    /// The containers, by name or id
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let request = args.how.request();
    for_each(&args.containers, context, |engine, name| engine.restart(name, request))
}
