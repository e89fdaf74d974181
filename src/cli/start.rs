//! `mydocker start`

use std::process::ExitCode;

use crate::cli::{CommandError, Context, left, print_each, start_each};
use crate::engine::{Attachment, DetachKeys, EngineError, SignalProxy};

/// Start containers that are not running
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker start -a job")]
pub(super) struct Args {
    /// Connect to the container's output, and exit with its exit status
    #[arg(long, short)]
    attach: bool,
    /// Also connect standard input, if the container was created with --interactive
    #[arg(long, short)]
    interactive: bool,
    /// The keys that detach from the container and leave it running
    #[arg(long, value_name = "KEYS", default_value_t)]
    detach_keys: DetachKeys,
    /// Pass the signals that mydocker gets on to the container, unless it has a terminal
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", action = clap::ArgAction::Set)]
    sig_proxy: bool,
    /// Print what would change in the firewall table, as text for nft -f, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// The containers, by name or id
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    if args.dry_run {
        return print_each(&args.containers, context, |engine, name| engine.plan_start(name));
    }
    if !args.attach && !args.interactive {
        return start_each(&args.containers, context, |engine, name| engine.start(name));
    }
    let [container] = &args.containers[..] else {
        return Err(EngineError::AttachMany(args.containers.len()).into());
    };
    let attachment = Attachment {
        stdin: args.interactive,
        stdout: true,
        stderr: true,
        proxy: if args.sig_proxy { SignalProxy::Streams } else { SignalProxy::Nothing },
        detach_keys: args.detach_keys,
    };
    Ok(left(context.engine()?.start_attached(container, &attachment)?))
}
