//! `mydocker attach`

use std::process::ExitCode;

use crate::cli::{CommandError, Context, left};
use crate::engine::{Attachment, DetachKeys, SignalProxy};

/// Connect your terminal or streams to a running container
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker attach --detach-keys ctrl-x web")]
pub(super) struct Args {
    /// Do not connect standard input
    #[arg(long)]
    no_stdin: bool,
    /// Pass the signals that mydocker gets on to the container, unless it has a terminal
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", action = clap::ArgAction::Set)]
    sig_proxy: bool,
    /// The keys that detach from the container and leave it running
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
        proxy: if args.sig_proxy { SignalProxy::Streams } else { SignalProxy::Nothing },
        detach_keys: args.detach_keys,
    };
    Ok(left(context.engine()?.attach(&args.container, &attachment)?))
}
