//! `mydocker network …`

mod create;
pub(super) mod inspect;
mod list;
mod remove;
mod rules;

use std::process::ExitCode;

use super::{CommandError, Context};

/// Networks that containers are connected to.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Create(create::Args),
    #[command(visible_alias = "ls")]
    List(list::Args),
    Inspect(inspect::Args),
    #[command(visible_alias = "rm")]
    Remove(remove::Args),
    Rules(rules::Args),
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    match args.command {
        Command::Create(args) => create::run(args, context),
        Command::List(args) => list::run(args, context),
        Command::Inspect(args) => inspect::run(args, context),
        Command::Remove(args) => remove::run(args, context),
        Command::Rules(args) => rules::run(args, context),
    }
}
