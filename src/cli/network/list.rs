//! `mydocker network list`

use std::process::ExitCode;

use serde::Serialize;

use crate::cli::output::{self, Format, Table};
use crate::cli::{CommandError, Context};

/// List the networks
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker network list --format json")]
pub(in crate::cli) struct Args {
    /// Print a table or one JSON array
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Print the names only
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    name: String,
    #[serde(rename = "IPRange")]
    range: String,
    driver: &'static str,
    internal: bool,
    #[serde(rename = "Id")]
    id: String,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let networks = context.engine()?.networks()?;
    if args.quiet {
        for network in networks {
            output::print(&format!("{}\n", network.name));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let rows = networks.into_iter().map(|network| Row {
        range: network.gateway_net().to_string(),
        name: network.name.into(),
        driver: network.driver.as_str(),
        internal: network.internal,
        id: network.id.into(),
    });
    match args.format {
        Format::Json => output::json(&rows.collect::<Vec<_>>()),
        Format::Table => {
            let mut table = Table::new(&["NAME", "IPRange", "Driver"]);
            for row in rows {
                table.row(vec![row.name, row.range, row.driver.to_owned()]);
            }
            table.print();
        }
    }
    Ok(ExitCode::SUCCESS)
}
