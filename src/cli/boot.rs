//! `mydocker boot`

use std::process::ExitCode;

use crate::cli::{CommandError, Context, failed, start_each, stop_each};

/// Start the containers that are to run after a boot
///
/// Those are the containers with --restart always, and those with unless-stopped that nobody has stopped.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker boot --stop")]
pub(super) struct Args {
    /// Stop all containers instead, because the host goes down: those are started again at the next boot
    #[arg(long)]
    stop: bool,
}

pub(super) fn run(args: &Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let engine = context.engine()?;
    let plan = if args.stop { engine.to_shut_down()? } else { engine.to_boot()? };
    let code = if args.stop {
        stop_each(&plan.containers, context, |engine, id| engine.shut_down(id))?
    } else {
        start_each(&plan.containers, context, |engine, id| engine.start(id))?
    };
    if plan.broken == 0 {
        return Ok(code);
    }
    let message = format!("the records of {} containers cannot be read", plan.broken);
    failed(&message, Some("see which with: mydocker ps -a")).report(context.log_format);
    Ok(ExitCode::FAILURE)
}
