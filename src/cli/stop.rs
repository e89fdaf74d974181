//! `mydocker stop`

use std::process::ExitCode;

use crate::cli::{CommandError, Context, for_each, print_each};
use crate::engine::{Grace, Signal, StopRequest};

/// Stop containers: the stop signal first, SIGKILL after the timeout
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker stop -t 2 web")]
pub(super) struct Args {
    #[command(flatten)]
    how: How,
    /// Print what would change in the firewall table, as text for nft -f, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// The containers, by name or id
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

/// What `stop` and `restart` have in common
#[derive(Debug, clap::Args)]
pub(super) struct How {
    /// The signal that asks the container to end (default: the container's stop signal, usually TERM)
    #[arg(long, short, value_name = "SIGNAL")]
    signal: Option<Signal>,
    /// Seconds to wait before SIGKILL, -1 to wait forever (default: the container's stop timeout, usually 10)
    #[arg(long, short, value_name = "SECONDS", visible_alias = "time", value_parser = grace,
          allow_negative_numbers = true)]
    timeout: Option<Grace>,
}

impl How {
    pub(super) fn request(&self) -> StopRequest {
        StopRequest { signal: self.signal, grace: self.timeout }
    }
}

fn grace(text: &str) -> Result<Grace, String> {
    match text.parse::<i64>() {
        Ok(seconds @ 0..) => u32::try_from(seconds)
            .map(Grace::Seconds)
            .map_err(|_| format!("at most {} seconds can be waited for", u32::MAX)),
        Ok(_) => Ok(Grace::Forever),
        Err(_) => Err("expected a number of seconds".to_owned()),
    }
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    if args.dry_run {
        return print_each(&args.containers, context, |engine, name| engine.plan_stop(name, true));
    }
    let request = args.how.request();
    for_each(&args.containers, context, |engine, name| engine.stop(name, request))
}
