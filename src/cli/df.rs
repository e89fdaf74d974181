//! `mydocker system df`

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::listing::{self, Columns, ListFormat};
use super::{CommandError, Context, documents, human, images, output, ps};
use crate::engine::{EngineError, SpaceOfEach};

/// Show how much disk space containers, images and volumes take, and how much of it is not used
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker system df --verbose")]
pub(super) struct Args {
    /// Show each image, container and volume
    #[arg(long, short)]
    verbose: bool,
    /// Print a table, one JSON object a line (json), or one line for each kind by a Go template
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: ListFormat,
}

const COLUMNS: Columns = Columns {
    titles: &[
        ("Type", "TYPE"),
        ("TotalCount", "TOTAL"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Reclaimable", "RECLAIMABLE"),
    ],
    shown: &["Type", "TotalCount", "Active", "Size", "Reclaimable"],
};

pub(super) fn run(args: &Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    if args.verbose {
        return each(args, context);
    }
    let space = context.engine()?.disk_space()?;
    let kinds =
        [("Images", space.images), ("Containers", space.containers), ("Local Volumes", space.volumes)];
    let rows: Vec<Value> = kinds
        .into_iter()
        .map(|(kind, space)| {
            let free = space.bytes - space.used;
            let share = (free * 100).checked_div(space.bytes).map(|percent| format!(" ({percent}%)"));
            json!({
                "Type": kind,
                "TotalCount": space.count.to_string(),
                "Active": space.active.to_string(),
                "Size": images::size(space.bytes),
                "Reclaimable": format!("{}{}", images::size(free), share.unwrap_or_default()),
            })
        })
        .collect();
    listing::print(&args.format, &COLUMNS, &rows)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints a table of each kind.
fn each(args: &Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    if !matches!(args.format, ListFormat::Table) {
        let (option, other) = ("--format".to_owned(), "--verbose".to_owned());
        return Err(EngineError::Conflict { option, other }.into());
    }
    let space = context.engine()?.space_of_each()?;
    output::print(&tables(&space, Utc::now()));
    Ok(ExitCode::SUCCESS)
}

/// Docker's tables, in its order.
fn tables(space: &SpaceOfEach, now: DateTime<Utc>) -> String {
    let mut pictures = output::Table::new(&[
        "REPOSITORY",
        "TAG",
        "IMAGE ID",
        "CREATED",
        "SIZE",
        "SHARED SIZE",
        "UNIQUE SIZE",
        "CONTAINERS",
    ]);
    for it in &space.images {
        let name = it.image.names.first();
        pictures.row(vec![
            name.map_or("<none>", |name| name.repository()).to_owned(),
            name.map_or("<none>", |name| name.tag()).to_owned(),
            it.image.id.short().to_owned(),
            images::since(it.image.config.created, now),
            images::size(it.image.size),
            images::size(it.shared),
            images::size(it.unique),
            it.containers.to_string(),
        ]);
    }
    let mut containers = output::Table::new(&[
        "CONTAINER ID",
        "IMAGE",
        "COMMAND",
        "LOCAL VOLUMES",
        "SIZE",
        "CREATED",
        "STATUS",
        "NAMES",
    ]);
    for (snapshot, bytes) in &space.containers {
        let record = &snapshot.record;
        let volumes = record.config.settings.mounts.iter().filter(|mount| mount.volume().is_some()).count();
        containers.row(vec![
            record.id.short().to_owned(),
            record.config.image.clone(),
            ps::quoted(record.config.command.words(), false),
            volumes.to_string(),
            images::size(*bytes),
            format!("{} ago", human::span(now - record.created)),
            documents::status(snapshot, now),
            record.name.to_string(),
        ]);
    }
    let mut volumes = output::Table::new(&["VOLUME NAME", "LINKS", "SIZE"]);
    for (name, links, bytes) in &space.volumes {
        volumes.row(vec![name.to_string(), links.to_string(), images::size(*bytes)]);
    }
    format!(
        "Images space usage:\n\n{}\nContainers space usage:\n\n{}\nLocal Volumes space usage:\n\n{}",
        pictures.render(),
        containers.render(),
        volumes.render(),
    )
}
