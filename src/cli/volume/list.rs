//! `mydocker volume ls`

use std::process::ExitCode;

use serde_json::{Value, json};

use super::{Condition, condition, filter};
use crate::cli::output::{self, Format, Table};
use crate::cli::{CommandError, Context};
use crate::engine::VolumeView;

/// List the volumes
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker volume ls --filter dangling=true")]
pub(in crate::cli) struct Args {
    /// Only those with: dangling=true|false, name=PART, label=KEY[=VALUE], driver=local
    #[arg(long = "filter", short, value_name = "KEY=VALUE", value_parser = condition)]
    filters: Vec<Condition>,
    /// Print a table or one JSON array
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Print the names only
    #[arg(long, short)]
    quiet: bool,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let volumes = context.engine()?.volumes(&filter(args.filters))?;
    if args.quiet {
        for volume in volumes {
            output::print(&format!("{}\n", volume.name));
        }
        return Ok(ExitCode::SUCCESS);
    }
    match args.format {
        Format::Json => output::json(&volumes.iter().map(document).collect::<Vec<_>>()),
        Format::Table => {
            let mut table = Table::new(&["DRIVER", "VOLUME NAME"]);
            for volume in volumes {
                table.row(vec![volume.driver.to_owned(), volume.name.into()]);
            }
            table.print();
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn document(volume: &VolumeView) -> Value {
    let labels: Vec<String> = volume.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    json!({
        "Driver": volume.driver,
        "Labels": labels.join(","),
        "Mountpoint": volume.path,
        "Name": volume.name,
        "Scope": "local",
    })
}
