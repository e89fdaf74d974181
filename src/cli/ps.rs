//! `mydocker ps`

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::cli::filters::Filters;
use crate::cli::listing::{self, Columns, ListFormat};
use crate::cli::{CommandError, Context, documents, human, output};
use crate::engine::{DiskUsage, Endpoint, MountView, Snapshot, compact_ports};

/// List containers
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  mydocker ps -a --filter status=exited --format '{{.Names}}: {{.Status}}'"
)]
pub(super) struct Args {
    /// Also show containers that are not running
    #[arg(long, short)]
    all: bool,
    /// Print the ids only
    #[arg(long, short)]
    quiet: bool,
    /// Do not shorten ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// Show only the newest container, running or not
    #[arg(long, short)]
    latest: bool,
    /// Show only this many of the newest containers, running or not
    #[arg(long, short = 'n', value_name = "NUMBER", allow_hyphen_values = true)]
    last: Option<i64>,
    /// Also show how much disk space each uses
    #[arg(long, short)]
    size: bool,
    /// Show only containers that match, such as status=exited, name=web or label=KEY=VALUE; may be given more
    /// than once
    #[arg(long = "filter", short, value_name = "NAME=VALUE", value_parser = listing::filter_pair)]
    filters: Vec<(String, String)>,
    /// Print a table, one JSON object a line (json), or one line for each container by a Go template
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: ListFormat,
}

const COLUMNS: Columns = Columns {
    titles: &[
        ("ID", "CONTAINER ID"),
        ("Names", "NAMES"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("CreatedAt", "CREATED AT"),
        ("RunningFor", "CREATED"),
        ("State", "STATE"),
        ("Status", "STATUS"),
        ("IP", "IP"),
        ("IPs", "IPS"),
        ("Ports", "PORTS"),
        ("Size", "SIZE"),
        ("Labels", "LABELS"),
        ("Label", ""),
        ("Mounts", "MOUNTS"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Networks", "NETWORKS"),
    ],
    shown: &["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"],
};

const COLUMNS_WITH_SIZE: Columns = Columns {
    shown: &["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names", "Size"],
    ..COLUMNS
};

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let format = context.log_format;
    let engine = context.engine()?;
    let filters = Filters::new(&args.filters, engine)?;
    let listing = engine.list_containers()?;
    for error in listing.broken {
        // It is reported and left out: the others are listed all the same.
        CommandError::from(error).warn(format);
    }
    let last = if args.latest { Some(1) } else { args.last.and_then(|number| usize::try_from(number).ok()) };
    let last = last.filter(|&number| number > 0);
    let all = args.all || filters.want_all() || last.is_some();
    let mut containers = listing.containers;
    containers.retain(|container| {
        (all || documents::is_up(&container.state))
            && filters.accept(container, &engine.mounts(&container.record), &|| {
                // Of one whose ports are not known, none is meant.
                engine.endpoints(container).unwrap_or_default()
            })
    });
    containers.truncate(last.unwrap_or(usize::MAX));
    if args.quiet {
        let id = |container: &Snapshot| {
            if args.no_trunc {
                container.record.id.to_string()
            } else {
                container.record.id.short().to_owned()
            }
        };
        output::print(&containers.iter().map(|container| id(container) + "\n").collect::<String>());
        return Ok(ExitCode::SUCCESS);
    }
    let now = Utc::now();
    let rows: Vec<Value> = containers
        .iter()
        .zip(engine.endpoints_of_each(&containers))
        .map(|(container, endpoints)| {
            // An image that is a directory may be all of the host: nobody waits for that in a listing.
            let image = !container.record.config.image.starts_with(['/', '.']);
            let disk = args.size.then(|| engine.disk_usage(&container.record, image));
            // It is listed all the same.
            let endpoints = endpoints.unwrap_or_else(|error| {
                CommandError::from(error).warn(format);
                Vec::new()
            });
            row(container, &endpoints, &engine.mounts(&container.record), now, args.no_trunc, disk)
        })
        .collect();
    let columns = if args.size { &COLUMNS_WITH_SIZE } else { &COLUMNS };
    listing::print(&args.format, columns, &rows)?;
    Ok(ExitCode::SUCCESS)
}

/// A container as listings show it.
pub(super) fn row(
    snapshot: &Snapshot,
    endpoints: &[Endpoint],
    mounts: &[MountView],
    now: DateTime<Utc>,
    whole: bool,
    disk: Option<DiskUsage>,
) -> Value {
    let record = &snapshot.record;
    let ports = documents::unpublished(snapshot, endpoints).into_iter().map(|port| port.to_string());
    let published = endpoints.iter().flat_map(|endpoint| compact_ports(&endpoint.ports));
    let ports: Vec<String> = ports.chain(published.map(|port| port.to_string())).collect();
    let addresses = endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
    let addresses: Vec<String> = addresses.map(|address| address.address().to_string()).collect();
    let size = disk.map_or_else(|| "0B".to_owned(), size);
    json!({
        "ID": if whole { record.id.as_str() } else { record.id.short() },
        "Names": record.name,
        "Image": record.config.image,
        "Command": quoted(record.config.command.words(), whole),
        "CreatedAt": documents::listed_time(record.created),
        "RunningFor": format!("{} ago", human::span(now - record.created)),
        "State": documents::state(&snapshot.state),
        "Status": documents::status(snapshot, now),
        "IP": addresses.join(", "),
        "IPs": addresses.join(", "),
        "Ports": ports.join(", "),
        "Size": size,
        "Labels": listing::labels(&record.config.labels),
        "Label": record.config.labels,
        "Mounts": mounts.iter().map(documents::mount_label).collect::<Vec<_>>().join(","),
        "LocalVolumes": mounts.iter().filter(|mount| mount.kind == "volume").count().to_string(),
        "Networks": record.network.describe(),
    })
}

/// A command as listings show it: quoted as a string of a program, on one line whatever is in it, as with Docker.
pub(super) fn quoted(words: &[String], whole: bool) -> String {
    let command = command_line(words);
    format!("{:?}", if whole { command } else { human::shorten(&command, 20) })
}

/// A command in one line. As Docker shows it, arguments with spaces stand in quotes.
fn command_line(words: &[String]) -> String {
    let quoted = |(at, word): (usize, &String)| {
        if at > 0 && word.contains(' ') { format!("'{word}'") } else { word.clone() }
    };
    words.iter().enumerate().map(quoted).collect::<Vec<_>>().join(" ")
}

fn size(disk: DiskUsage) -> String {
    let own = human::decimal_size(disk.own);
    match disk.image {
        Some(image) => format!("{own} (virtual {})", human::decimal_size(disk.own + image)),
        None => own,
    }
}
