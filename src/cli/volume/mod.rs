//! `mydocker volume …`

mod create;
pub(super) mod inspect;
pub(super) mod list;
mod prune;
mod remove;

use std::process::ExitCode;

use super::{CommandError, Context};
use crate::engine::{NamePattern, VolumeFilter};

/// Manage volumes: directories that outlive containers.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Create(create::Args),
    #[command(visible_alias = "list")]
    Ls(list::Args),
    Inspect(inspect::Args),
    #[command(visible_alias = "remove")]
    Rm(remove::Args),
    Prune(prune::Args),
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    match args.command {
        Command::Create(args) => create::run(args, context),
        Command::Ls(args) => list::run(args, context),
        Command::Inspect(args) => inspect::run(args, context),
        Command::Rm(args) => remove::run(args, context),
        Command::Prune(args) => prune::run(args, context),
    }
}

/// One condition of `--filter`.
#[derive(Debug, Clone)]
enum Condition {
    Dangling(bool),
    Name(String),
    Driver(String),
    Label(String, Option<String>),
}

fn condition(text: &str) -> Result<Condition, String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("\"{text}\" is not KEY=VALUE"))?;
    match (key, value) {
        ("dangling", "true" | "1") => Ok(Condition::Dangling(true)),
        ("dangling", "false" | "0") => Ok(Condition::Dangling(false)),
        ("dangling", other) => Err(format!("dangling is true or false, not \"{other}\"")),
        ("name", part) => Ok(Condition::Name(part.to_owned())),
        ("driver", driver) => Ok(Condition::Driver(driver.to_owned())),
        ("label", label) => {
            let (key, value) = label.split_once('=').map_or((label, None), |(key, value)| (key, Some(value)));
            Ok(Condition::Label(key.to_owned(), value.map(str::to_owned)))
        }
        (key, _) => Err(format!("unknown filter \"{key}\": there are dangling, driver, label and name")),
    }
}

fn filter(conditions: Vec<Condition>) -> VolumeFilter {
    let mut filter = VolumeFilter::default();
    for condition in conditions {
        match condition {
            Condition::Dangling(dangling) => filter.dangling = Some(dangling),
            Condition::Name(part) => filter.names.push(NamePattern(part)),
            Condition::Driver(driver) => filter.drivers.push(driver),
            Condition::Label(key, value) => filter.labels.push((key, value)),
        }
    }
    filter
}
