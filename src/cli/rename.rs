//! `mydocker rename`

use std::process::ExitCode;

use crate::cli::output::print;
use crate::cli::{CommandError, Context};
use crate::names::ContainerName;

/// Give a container another name
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mydocker rename web old-web\n  mydocker rename --dry-run web old-web | nft -c -f -"
)]
pub(super) struct Args {
    /// Print what would change in the firewall table, as text for nft -f, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// The container, by name or id
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// Its new name
    #[arg(value_name = "NEW_NAME")]
    name: ContainerName,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    if args.dry_run {
        print(&context.engine()?.plan_rename(&args.container, &args.name)?);
        return Ok(ExitCode::SUCCESS);
    }
    context.engine()?.rename(&args.container, &args.name)?;
    Ok(ExitCode::SUCCESS)
}
