//! `mydocker network remove`

use std::process::ExitCode;

use crate::cli::{CommandError, Context, for_each};

/// Remove networks that no container uses
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker network remove testbr0")]
pub(in crate::cli) struct Args {
    /// The networks
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    for_each(&args.names, context, |engine, name| engine.remove_network(name))
}
