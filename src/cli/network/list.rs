//! `mydocker network list`

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cli::listing::{self, Columns, ListFormat};
use crate::cli::{CommandError, Context, output};
use crate::engine::Network;

/// List the networks
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker network list --format json")]
pub(in crate::cli) struct Args {
    /// Print a table, one JSON array (json), or one line for each network by a Go template
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: ListFormat,
    /// Print the names only
    #[arg(long, short)]
    quiet: bool,
}

const COLUMNS: Columns = Columns {
    titles: &[
        ("Name", "NAME"),
        ("IPRange", "IPRange"),
        ("Driver", "Driver"),
        ("IPRange6", "IPRange6"),
        ("Internal", "INTERNAL"),
        ("ID", "NETWORK ID"),
        ("Id", "NETWORK ID"),
        ("Scope", "SCOPE"),
        ("Labels", "LABELS"),
        ("Label", ""),
    ],
    shown: &["Name", "IPRange", "Driver", "IPRange6"],
};

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
    let rows: Vec<Value> = networks
        .into_iter()
        .map(|network| {
            let id = String::from(network.id.clone());
            json!({
                "Name": network.name,
                "IPRange": range(&network, 0),
                "Driver": network.driver.as_str(),
                "IPRange6": range(&network, 1),
                "Internal": network.internal,
                "ID": id,
                "Id": id,
                "Scope": "local",
                "Labels": listing::labels(&network.labels),
                "Label": network.labels,
            })
        })
        .collect();
    listing::print(&args.format, &COLUMNS, &rows)?;
    Ok(ExitCode::SUCCESS)
}
