//! `mydocker container …`: the commands on containers under the names that Docker has for them as a group.

use std::process::ExitCode;

use super::{CommandError, Context, inspect, logs, port, ps, rm, stats, stop, top};

/// The commands on containers, as a group
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker container ls -a")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    #[command(visible_aliases = ["list", "ps"])]
    Ls(ps::Args),
    Inspect(inspect::Args),
    Logs(logs::Args),
    Port(port::Args),
    #[command(visible_alias = "remove")]
    Rm(rm::Args),
    Stats(stats::Args),
    Stop(stop::Args),
    Top(top::Args),
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    match args.command {
        Command::Ls(args) => ps::run(args, context),
        Command::Inspect(args) => inspect::run(args, context),
        Command::Logs(args) => logs::run(args, context),
        Command::Port(args) => port::run(args, context),
        Command::Rm(args) => rm::run(args, context),
        Command::Stats(args) => stats::run(args, context),
        Command::Stop(args) => stop::run(args, context),
        Command::Top(args) => top::run(args, context),
    }
}
