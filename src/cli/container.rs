//! `mydocker container`: the commands for containers by Docker's longer names.

use std::process::ExitCode;

use crate::cli::{
    CommandError, Context, attach, commit, cp, create, diff, exec, export, inspect, kill, logs, pause, port,
    ps, rename, restart, rm, start, stats, stop, top, unpause, update, wait,
};

/// Manage containers: the same commands under Docker's longer names
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker container ls -a")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Attach(attach::Args),
    Commit(commit::Args),
    Cp(cp::Args),
    Create(Box<create::Args>),
    Diff(diff::Args),
    Exec(exec::Args),
    Export(export::Args),
    Inspect(inspect::Args),
    Kill(kill::Args),
    Logs(logs::Args),
    #[command(visible_aliases = ["list", "ps"])]
    Ls(ps::Args),
    Pause(pause::Args),
    Port(port::Args),
    Prune(PruneArgs),
    Rename(rename::Args),
    Restart(restart::Args),
    #[command(visible_alias = "remove")]
    Rm(rm::Args),
    Run(Box<super::run::Args>),
    Start(start::Args),
    Stats(stats::Args),
    Stop(stop::Args),
    Top(top::Args),
    Unpause(unpause::Args),
    Update(Box<update::Args>),
    Wait(wait::Args),
}

/// Remove all containers that do not run
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker container prune --force --filter label=temporary")]
struct PruneArgs {
    /// Remove only containers with a label, label=KEY[=VALUE], without it, label!=KEY[=VALUE], or made before a time,
    /// until=TIME; may be given more than once
    #[arg(long = "filter", value_name = "KEY=VALUE", value_parser = super::system::condition)]
    filters: Vec<super::system::Condition>,
    /// Do not ask for confirmation
    #[arg(long, short)]
    force: bool,
}

fn prune(args: &PruneArgs, context: &mut Context) -> Result<ExitCode, CommandError> {
    super::system::confirm(args.force, "all containers that do not run")?;
    let freed = super::system::prune_containers(&args.filters, context)?;
    super::output::print(&format!("Total reclaimed space: {}\n", super::images::size(freed)));
    Ok(ExitCode::SUCCESS)
}

impl Args {
    /// Whether the exit status is a container's unless mydocker fails.
    pub(super) fn runs_a_command(&self) -> bool {
        matches!(self.command, Command::Run(_) | Command::Create(_) | Command::Exec(_))
    }
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    match args.command {
        Command::Attach(args) => attach::run(args, context),
        Command::Commit(args) => commit::run(args, context),
        Command::Cp(args) => cp::run(args, context),
        Command::Create(args) => create::run(*args, context),
        Command::Diff(args) => diff::run(args, context),
        Command::Exec(args) => exec::run(args, context),
        Command::Export(args) => export::run(args, context),
        Command::Inspect(args) => inspect::run(args, context),
        Command::Kill(args) => kill::run(args, context),
        Command::Logs(args) => logs::run(args, context),
        Command::Ls(args) => ps::run(args, context),
        Command::Pause(args) => pause::run(args, context),
        Command::Port(args) => port::run(args, context),
        Command::Prune(args) => prune(&args, context),
        Command::Rename(args) => rename::run(args, context),
        Command::Restart(args) => restart::run(args, context),
        Command::Rm(args) => rm::run(args, context),
        Command::Run(args) => super::run::run(*args, context),
        Command::Start(args) => start::run(args, context),
        Command::Stats(args) => stats::run(args, context),
        Command::Stop(args) => stop::run(args, context),
        Command::Top(args) => top::run(args, context),
        Command::Unpause(args) => unpause::run(args, context),
        Command::Update(args) => update::run(*args, context),
        Command::Wait(args) => wait::run(args, context),
    }
}
