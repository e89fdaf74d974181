//! `mydocker rename`

use std::process::ExitCode;

use crate::cli::{CommandError, Context};
use crate::names::ContainerName;

/// Give a container another name
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker rename web old-web")]
pub(super) struct Args {
    /// The container, by name or id
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// Its new name
    #[arg(value_name = "NEW_NAME")]
    name: ContainerName,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    context.engine()?.rename(&args.container, &args.name)?;
    Ok(ExitCode::SUCCESS)
}
