//! `mydocker exec`

use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::options::env_files;
use crate::cli::{CommandError, Context, container_path, environment, left};
use crate::engine::{ContainerPath, DetachKeys, ExecRequest, UserSpec};

/// Run another command in a running container
#[derive(Debug, clap::Args)]
#[command(override_usage = "mydocker exec [OPTIONS] CONTAINER COMMAND [ARGUMENT]...")]
#[command(after_help = "Example:\n  mydocker exec -it web sh")]
pub(super) struct Args {
    /// Run the command in the background
    #[arg(long, short)]
    detach: bool,
    /// Keep standard input open
    #[arg(long, short)]
    interactive: bool,
    /// Give the command a terminal
    #[arg(long, short)]
    tty: bool,
    /// Set an environment variable in addition to the container's; NAME alone takes the value of your own,
    /// and unsets the variable if you have none
    #[arg(long, short, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Read environment variables from a file, one on each line; may be given more than once
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// The command's working directory (default: the container's)
    #[arg(long, short, value_name = "DIR", value_parser = container_path)]
    workdir: Option<ContainerPath>,
    /// The user that the command runs as (default: the container's)
    #[arg(long, short, value_name = "USER")]
    user: Option<UserSpec>,
    /// Give the command all capabilities, whatever the container has
    #[arg(long)]
    privileged: bool,
    /// The keys that detach from the command and leave it running
    #[arg(long, value_name = "KEYS", default_value_t)]
    detach_keys: DetachKeys,
    /// The container by name or id, then the command and its arguments
    #[arg(value_names = ["CONTAINER", "COMMAND"], required = true, num_args = 2..)]
    container_and_command: Vec<String>,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let mut words = args.container_and_command.into_iter();
    let container = words.next().unwrap_or_default();
    let (env, env_absent) = environment(&[env_files::read_all(&args.env_file)?, args.env].concat())?;
    let request = ExecRequest {
        command: words.collect(),
        env,
        env_absent,
        working_dir: args.workdir,
        user: args.user,
        tty: args.tty,
        interactive: args.interactive && !args.detach,
        privileged: args.privileged,
    };
    if args.detach {
        context.engine()?.exec_detached(&container, request)?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(left(context.engine()?.exec(&container, request, args.detach_keys)?))
}
