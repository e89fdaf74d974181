//! `mydocker volume ls`

use std::process::ExitCode;

use serde_json::{Value, json};

use super::{Condition, condition, filter};
use crate::cli::listing::{self, Columns, ListFormat};
use crate::cli::{CommandError, Context, output};
use crate::engine::VolumeView;

/// List the volumes
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker volume ls --filter dangling=true")]
pub(in crate::cli) struct Args {
    /// Show only volumes that match: dangling=true|false, name=PART, label=KEY[=VALUE] or driver=local; may be
    /// given more than once
    #[arg(long = "filter", short, value_name = "KEY=VALUE", value_parser = condition)]
    filters: Vec<Condition>,
    /// Print a table, one JSON object a line (json), or one line for each volume by a Go template
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: ListFormat,
    /// Print the names only
    #[arg(long, short)]
    quiet: bool,
}

const COLUMNS: Columns = Columns {
    titles: &[
        ("Driver", "DRIVER"),
        ("Name", "VOLUME NAME"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Scope", "SCOPE"),
        ("Labels", "LABELS"),
        ("Label", ""),
        ("Links", "LINKS"),
        ("Size", "SIZE"),
        ("Status", "STATUS"),
        ("Group", "GROUP"),
        ("Availability", "AVAILABILITY"),
    ],
    shown: &["Driver", "Name"],
};

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let volumes = context.engine()?.volumes(&filter(args.filters))?;
    if args.quiet {
        for volume in volumes {
            output::print(&format!("{}\n", volume.name));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<Value> = volumes.iter().map(document).collect();
    listing::print(&args.format, &COLUMNS, &rows)?;
    Ok(ExitCode::SUCCESS)
}

/// A volume as listings show it.
pub(in crate::cli) fn document(volume: &VolumeView) -> Value {
    json!({
        "Driver": volume.driver,
        "Labels": listing::labels(&volume.labels),
        "Label": volume.labels,
        "Mountpoint": volume.path,
        "Name": volume.name,
        "Scope": "local",
        // Docker finds these out for its listing of disk space alone.
        "Availability": "N/A",
        "Group": "N/A",
        "Links": "N/A",
        "Size": "N/A",
        "Status": "N/A",
    })
}
