//! `mydocker attach`

use std::process::ExitCode;

use crate::cli::{CommandError, Context, left};
use crate::engine::{Attachment, DetachKeys};

/// Connect to the input and output of a running container
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker attach --detach-keys ctrl-x web")]
pub(super) struct Args {
    /// Do not pass standard input on
    #[arg(long)]
    no_stdin: bool,
    /// Whether signals are passed on to a container without a terminal
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", action = clap::ArgAction::Set)]
    sig_proxy: bool,
    /// The keys that leave the container running; ctrl-p,ctrl-q without
    #[arg(long, value_name = "KEYS", default_value_t)]
    detach_keys: DetachKeys,
    /// The container, by name or id
    #[arg(value_name = "CONTAINER")]
    container: String,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let attachment = Attachment {
        stdin: !args.no_stdin,
        stdout: true,
        stderr: true,
        sig_proxy: args.sig_proxy,
        detach_keys: args.detach_keys,
    };
    Ok(left(context.engine()?.attach(&args.container, &attachment)?))
}
