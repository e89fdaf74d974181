//! `mydocker network …`

mod check;
mod connect;
mod create;
mod disconnect;
mod flows;
mod graph;
pub(super) mod inspect;
mod list;
mod ls;
mod prune;
mod reload;
mod remove;
mod rules;

use std::process::ExitCode;

use super::{CommandError, Context};

/// Manage networks.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Create(create::Args),
    Connect(connect::Args),
    Disconnect(disconnect::Args),
    Ls(ls::Args),
    List(list::Args),
    Inspect(inspect::Args),
    #[command(visible_alias = "rm")]
    Remove(remove::Args),
    Prune(prune::Args),
    Reload(reload::Args),
    Check(check::Args),
    Flows(flows::Args),
    Graph(graph::Args),
    Rules(rules::Args),
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    match args.command {
        Command::Create(args) => create::run(args, context),
        Command::Connect(args) => connect::run(args, context),
        Command::Disconnect(args) => disconnect::run(args, context),
        Command::Ls(args) => ls::run(args, context),
        Command::List(args) => list::run(args, context),
        Command::Inspect(args) => inspect::run(args, context),
        Command::Remove(args) => remove::run(args, context),
        Command::Prune(args) => prune::run(args, context),
        Command::Reload(args) => reload::run(&args, context),
        Command::Check(args) => check::run(&args, context),
        Command::Flows(args) => flows::run(&args, context),
        Command::Graph(args) => graph::run(&args, context),
        Command::Rules(args) => rules::run(args, context),
    }
}
