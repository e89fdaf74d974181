//! `mydocker system …`: what all containers, images and volumes take, and the removal of what is not used.

use std::process::ExitCode;

use super::listing;
use super::times::Moment;
use super::{CommandError, Context, df, events, failed, images, info, key_value, output, waiting};
use crate::engine::{Network, Record, VolumeFilter};

/// Look after the disk space of all containers, images and volumes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Df(df::Args),
    Events(events::Args),
    Info(info::Args),
    Prune(PruneArgs),
}

/// Remove all containers that do not run, all networks but the default one that no container uses, and the images
/// without a name
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker system prune --all --volumes --force")]
struct PruneArgs {
    /// Also remove images with a name that no container uses
    #[arg(long, short)]
    all: bool,
    /// Also remove the anonymous volumes that no container uses
    #[arg(long)]
    volumes: bool,
    /// Remove only containers with a label, label=KEY[=VALUE], without it, label!=KEY[=VALUE], or made before a time,
    /// until=TIME; with one, nothing but containers is removed; may be given more than once
    #[arg(long = "filter", value_name = "KEY=VALUE", value_parser = condition)]
    filters: Vec<Condition>,
    /// Do not ask for confirmation
    #[arg(long, short)]
    force: bool,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    match args.command {
        Command::Df(args) => df::run(&args, context),
        Command::Events(args) => events::run(args, context),
        Command::Info(args) => info::run(args, context),
        Command::Prune(args) => prune(&args, context),
    }
}

/// One `--filter` for containers that are to be removed.
#[derive(Debug, Clone)]
pub(super) enum Condition {
    Label { key: String, value: Option<String>, negated: bool },
    Until(Moment),
}

/// Reads a filter.
pub(super) fn condition(text: &str) -> Result<Condition, String> {
    let (name, value) = listing::filter_pair(text)?;
    match name.as_str() {
        "label" | "label!" => {
            let (key, _) = key_value(&value)?;
            let value = value.split_once('=').map(|(_, value)| value.to_owned());
            Ok(Condition::Label { key, value, negated: name == "label!" })
        }
        "until" => Ok(Condition::Until(value.parse::<Moment>().map_err(|error| error.to_string())?)),
        other => Err(format!("unknown filter \"{other}\": expected label, label! or until")),
    }
}

impl Condition {
    fn holds(&self, record: &Record) -> bool {
        match self {
            Self::Label { key, value, negated } => {
                let found = record.config.labels.get(key);
                let has = found.is_some_and(|found| value.as_ref().is_none_or(|value| value == found));
                has != *negated
            }
            Self::Until(moment) => record.created < moment.0,
        }
    }
}

/// Goes on only where the user wants it.
pub(super) fn confirm(force: bool, what: &str) -> Result<(), CommandError> {
    if force || output::confirm(&format!("This removes {what}. Go on?")) {
        return Ok(());
    }
    let hint = "use --force where there is no terminal to ask";
    Err(failed("nothing was removed: not confirmed", Some(hint)))
}

/// Removes the containers that do not run and meet all conditions, and prints which. Returns how many bytes that frees.
pub(super) fn prune_containers(conditions: &[Condition], context: &mut Context) -> Result<u64, CommandError> {
    let wanted = |record: &Record| conditions.iter().all(|condition| condition.holds(record));
    let engine = context.engine()?;
    let (removed, freed) = waiting::during("Removing containers", || engine.prune_containers(wanted))?;
    if !removed.is_empty() {
        let ids: String = removed.iter().map(|id| format!("{id}\n")).collect();
        output::print(&format!("Deleted Containers:\n{ids}\n"));
    }
    Ok(freed)
}

fn prune(args: &PruneArgs, context: &mut Context) -> Result<ExitCode, CommandError> {
    let mut what = "all containers that do not run".to_owned();
    if args.filters.is_empty() {
        let images = if args.all { "all images that no container uses" } else { "the images without a name" };
        what.push_str(&format!(", all networks but the default one that no container uses, and {images}"));
        if args.volumes {
            what.push_str(", and the anonymous volumes that no container uses");
        }
    }
    confirm(args.force, &what)?;
    let mut freed = prune_containers(&args.filters, context)?;
    if args.filters.is_empty() {
        let engine = context.engine()?;
        let networks = waiting::during("Removing networks", || engine.prune_networks(|_: &Network| true))?;
        if !networks.is_empty() {
            let names: String = networks.iter().map(|name| format!("{name}\n")).collect();
            output::print(&format!("Deleted Networks:\n{names}\n"));
        }
        if args.volumes {
            let filter = VolumeFilter::default();
            let pruned = waiting::during("Removing volumes", || engine.prune_volumes(false, &filter))?;
            if !pruned.names.is_empty() {
                let names: String = pruned.names.iter().map(|name| format!("{name}\n")).collect();
                output::print(&format!("Deleted Volumes:\n{names}\n"));
            }
            freed += pruned.bytes;
        }
        let (removals, bytes) = waiting::during("Removing images", || engine.prune_images(args.all))?;
        if !removals.is_empty() {
            let lines: String = removals.iter().map(|removal| format!("{removal}\n")).collect();
            output::print(&format!("Deleted Images:\n{lines}\n"));
        }
        freed += bytes;
    }
    output::print(&format!("Total reclaimed space: {}\n", images::size(freed)));
    Ok(ExitCode::SUCCESS)
}
