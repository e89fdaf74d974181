//! `mydocker wait`

use std::process::ExitCode;

use crate::cli::{CommandError, Context, output};

/// Wait until containers have ended, and print their exit statuses
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker wait job")]
pub(super) struct Args {
    /// The containers, by name or id
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let mut code = ExitCode::SUCCESS;
    for name in &args.containers {
        match context.engine()?.wait(name) {
            Ok(status) => output::print(&format!("{status}\n")),
            Err(error) => {
                CommandError::from(error).report(context.log_format);
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}
