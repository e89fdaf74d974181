//! `mydocker exec`

use std::process::ExitCode;

use crate::cli::{CommandError, Context, container_path, environment};
use crate::engine::{ContainerPath, ExecRequest, UserSpec};

/// Run another command in a running container
#[derive(Debug, clap::Args)]
#[command(override_usage = "mydocker exec [OPTIONS] CONTAINER COMMAND [ARGUMENT]...")]
#[command(after_help = "Example:\n  mydocker exec -it web sh")]
pub(super) struct Args {
    /// Keep standard input open
    #[arg(long, short)]
    interactive: bool,
    /// Give the command a terminal
    #[arg(long, short)]
    tty: bool,
    /// Set an environment variable, beside the container's own; a NAME alone takes over yours
    #[arg(long, short, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Where the command starts; the container's own working directory without
    #[arg(long, short, value_name = "DIR", value_parser = container_path)]
    workdir: Option<ContainerPath>,
    /// As whom the command runs; the container's own user without
    #[arg(long, short, value_name = "USER")]
    user: Option<UserSpec>,
    /// The container by name or id, then the command and its arguments
    #[arg(value_name = "CONTAINER", required = true, num_args = 2..)]
    container_and_command: Vec<String>,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let mut words = args.container_and_command.into_iter();
    let container = words.next().unwrap_or_default();
    let request = ExecRequest {
        command: words.collect(),
        env: environment(&args.env)?,
        working_dir: args.workdir,
        user: args.user,
        tty: args.tty,
        interactive: args.interactive,
    };
    Ok(ExitCode::from(context.engine()?.exec(&container, request)?))
}
