//! `mydocker wait`

use std::process::ExitCode;

use crate::cli::{CommandError, Context, print_each_at_once};
use crate::engine::HealthStatus;

/// Wait until containers have ended, and print their exit statuses
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mydocker wait job\n  mydocker wait --condition healthy database")]
pub(super) struct Args {
    /// The containers, by name or id
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
    /// What to wait for: the end, or a health status, which is printed then
    #[arg(long, value_name = "CONDITION", value_enum, default_value_t)]
    condition: Condition,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Condition {
    /// It has ended
    #[default]
    Stopped,
    /// Its health check succeeds
    Healthy,
    /// Its health check fails
    Unhealthy,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let wanted = match args.condition {
        Condition::Stopped => None,
        Condition::Healthy => Some(HealthStatus::Healthy),
        Condition::Unhealthy => Some(HealthStatus::Unhealthy),
    };
    print_each_at_once(&args.containers, context, |engine, name| match wanted {
        None => engine.wait(name).map(|status| format!("{status}\n")),
        Some(wanted) => engine.wait_until(name, wanted).map(|()| format!("{}\n", wanted.as_str())),
    })
}
