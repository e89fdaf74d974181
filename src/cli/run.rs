//! `mydocker run`

use std::process::ExitCode;

use crate::cli::options::ContainerOptions;
use crate::cli::output::print;
use crate::cli::{CommandError, Context};

/// Create a container and run a command in it
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
#[command(
    after_help = "IMAGE is the path of a directory with a root file system; it starts with / or . and is never written.
The exit status is the command's own; 125 if mydocker failed, 126 if the command cannot be invoked,
127 if it was not found, 128+N if signal N ended it.

Examples:
  mydocker run --rm -it / sh
  mydocker run -d --name web -p 8080:80 / python3 -m http.server 80"
)]
pub(super) struct Args {
    /// Run in the background and print the container's id
    #[arg(long, short)]
    detach: bool,
    #[command(flatten)]
    container: ContainerOptions,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let request = args.container.request(args.detach, context)?;
    let engine = context.engine()?;
    let record = engine.create_container(request)?;
    if args.detach {
        engine.start_detached(&record)?;
        print(&format!("{}\n", record.id));
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::from(engine.start_attached(&record)?))
}
