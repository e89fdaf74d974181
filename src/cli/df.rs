//! `mydocker system df`

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::listing::{self, Columns, ListFormat, ObjectFormat};
use super::{CommandError, Context, documents, human, images, output, ps, volume, waiting};
use crate::engine::{Engine, EngineError, SpaceOfEach};

/// Show how much disk space containers, images and volumes take, and how much of it is not used
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker system df --verbose")]
pub(super) struct Args {
    /// Show each image, container and volume
    #[arg(long, short)]
    verbose: bool,
    /// Print a table, one JSON object a line (json), or one line for each kind by a Go template; with --verbose, one object
    /// that has Images, Containers and Volumes
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: ListFormat,
}

/// What is said while the files are looked at.
const LOOKING: &str = "Measuring the files of containers, images and volumes";

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
    let engine = context.engine()?;
    let space = waiting::during(LOOKING, || engine.disk_space())?;
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

/// Prints each object: a table of each kind, or one object with all of them as JSON or by a template.
fn each(args: &Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let engine = context.engine()?;
    let space = waiting::during(LOOKING, || engine.space_of_each())?;
    let now = Utc::now();
    let format = match &args.format {
        ListFormat::Table => {
            output::print(&tables(&space, now));
            return Ok(ExitCode::SUCCESS);
        }
        ListFormat::Json => ObjectFormat::Json,
        ListFormat::Lines(template) => ObjectFormat::Template(template.clone()),
        // It would be one row.
        ListFormat::Columns(_) => {
            let (option, other) = ("--format table".to_owned(), "--verbose".to_owned());
            return Err(EngineError::Conflict { option, other }.into());
        }
    };
    output::print(&format.render(&document(&space, engine, now))?.unwrap_or_default());
    Ok(ExitCode::SUCCESS)
}

/// All objects, in the members that listings show them with. There is no build cache.
fn document(space: &SpaceOfEach, engine: &Engine, now: DateTime<Utc>) -> Value {
    let with = |mut row: Value, more: &[(&str, String)]| {
        more.iter().for_each(|(name, value)| row[*name] = value.as_str().into());
        listing::for_json(&row)
    };
    let pictures = space.images.iter().map(|it| {
        let own = [
            ("Containers", it.containers.to_string()),
            ("SharedSize", images::size(it.shared)),
            ("UniqueSize", images::size(it.unique)),
        ];
        with(images::row(&it.image, it.image.names.first(), now, true), &own)
    });
    let containers = space.containers.iter().map(|(snapshot, bytes)| {
        // As in the table, without what is asked of other files for each.
        let row = ps::row(snapshot, &[], &engine.mounts(&snapshot.record), now, true, None);
        with(row, &[("Size", images::size(*bytes))])
    });
    let volumes = space.volumes.iter().map(|(volume, links, bytes)| {
        let own = [("Links", links.to_string()), ("Size", images::size(*bytes))];
        with(volume::list::document(volume), &own)
    });
    json!({
        "Images": pictures.collect::<Vec<_>>(),
        "Containers": containers.collect::<Vec<_>>(),
        "Volumes": volumes.collect::<Vec<_>>(),
        "BuildCache": [],
    })
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
    for (volume, links, bytes) in &space.volumes {
        volumes.row(vec![volume.name.to_string(), links.to_string(), images::size(*bytes)]);
    }
    format!(
        "Images space usage:\n\n{}\nContainers space usage:\n\n{}\nLocal Volumes space usage:\n\n{}",
        pictures.render(),
        containers.render(),
        volumes.render(),
    )
}
