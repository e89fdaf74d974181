//! `mydocker kill`

use std::process::ExitCode;

use crate::cli::{CommandError, Context, for_each};
use crate::engine::Signal;

/// Send running containers a signal: SIGKILL, or another one
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker kill -s HUP web")]
pub(super) struct Args {
    /// The signal, by name or number; KILL without
    #[arg(long, short, value_name = "SIGNAL")]
    signal: Option<Signal>,
    /// The containers, by name or id
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let signal = args.signal;
    for_each(&args.containers, context, |engine, name| engine.kill(name, signal))
}
