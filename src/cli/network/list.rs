//! `mydocker network list`

use std::process::ExitCode;

use serde::Serialize;

use crate::cli::output::{self, Format, Table};
use crate::cli::{CommandError, Context};
use crate::engine::Network;

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
    #[serde(rename = "IPRange6")]
    range6: String,
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
    // The first range is the IPv4 one unless there is none.
    let range = |network: &Network, place| {
        network.blocks().nth(place).map(|block| block.gateway_net().to_string()).unwrap_or_default()
    };
    let rows = networks.into_iter().map(|network| Row {
        range: range(&network, 0),
        range6: range(&network, 1),
        name: network.name.into(),
        driver: network.driver.as_str(),
        internal: network.internal,
        id: network.id.into(),
    });
    match args.format {
        Format::Json => output::json(&rows.collect::<Vec<_>>()),
        Format::Table => {
            let mut table = Table::new(&["NAME", "IPRange", "Driver", "IPRange6"]);
            for row in rows {
                table.row(vec![row.name, row.range, row.driver.to_owned(), row.range6]);
            }
            table.print();
        }
    }
    Ok(ExitCode::SUCCESS)
}
