//! `mydocker wait`

use std::process::ExitCode;

use crate::cli::{CommandError, Context, print_each_at_once};

/// Wait until containers have ended, and print their exit statuses
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker wait job")]
pub(super) struct Args {
    /// The containers, by name or id
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    print_each_at_once(&args.containers, context, |engine, name| {
        engine.wait(name).map(|status| format!("{status}\n"))
    })
}
