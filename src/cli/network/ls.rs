//! `mydocker network ls`

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::list::{self, Filters, Listed};
use crate::cli::listing::{self, Columns, ListFormat};
use crate::cli::{CommandError, Context, documents, output};
use crate::engine::Network;

/// List the networks as Docker does, with bridge, host and none
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker network ls --filter driver=bridge -q")]
pub(in crate::cli) struct Args {
    /// Print a table, one JSON object a line (json), or one line for each network by a Go template
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: ListFormat,
    #[command(flatten)]
    filters: Filters,
    /// Do not shorten ids
    #[arg(long)]
    no_trunc: bool,
    /// Print the ids only
    #[arg(long, short)]
    quiet: bool,
}

const COLUMNS: Columns = Columns {
    titles: &[
        ("ID", "NETWORK ID"),
        ("Name", "NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("IPv4", "IPV4"),
        ("IPv6", "IPV6"),
        ("Internal", "INTERNAL"),
        ("Labels", "LABELS"),
        ("CreatedAt", "CREATED AT"),
        ("Id", "NETWORK ID"),
        ("Label", ""),
    ],
    shown: &["ID", "Name", "Driver", "Scope"],
};

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let mut networks = context.engine()?.networks()?;
    networks.retain(|network| args.filters.fit(&network.into()));
    let mut rows: Vec<Value> = networks.iter().map(row).collect();
    let names: Vec<String> =
        context.engine()?.networks()?.iter().map(|known| known.name.to_string()).collect();
    for (name, driver) in documents::BUILTIN_NETWORKS {
        let id = documents::builtin_network_id(name);
        let listed = Listed { name, id: &id, driver, labels: None, is_builtin: true };
        // The one that containers get by themselves is made on first use, and has an id of its own then.
        if names.iter().all(|known| known != name) && args.filters.fit(&listed) {
            rows.push(builtin(listed));
        }
    }
    rows.sort_by_key(|row| row["Name"].as_str().unwrap_or_default().to_owned());
    if !args.no_trunc {
        rows.iter_mut().for_each(shorten);
    }
    if args.quiet {
        let ids = rows.iter().map(|row| format!("{}\n", row["ID"].as_str().unwrap_or_default()));
        output::print(&ids.collect::<String>());
        return Ok(ExitCode::SUCCESS);
    }
    listing::print(&args.format, &COLUMNS, &rows)?;
    Ok(ExitCode::SUCCESS)
}

fn row(network: &Network) -> Value {
    let created = DateTime::parse_from_rfc3339(&network.created).map(|time| time.with_timezone(&Utc));
    let mut row = list::row(network);
    if let Value::Object(members) = &mut row {
        // Docker's rows have none.
        members.retain(|name, _| !name.starts_with("IPRange"));
    }
    row["CreatedAt"] = created.map(documents::listed_time).unwrap_or_default().into();
    row["IPv4"] = network.ipv4.is_some().to_string().into();
    row["IPv6"] = network.ipv6.is_some().to_string().into();
    row["Internal"] = network.internal.to_string().into();
    row
}

fn builtin(network: Listed<'_>) -> Value {
    json!({
        "ID": network.id,
        "Id": network.id,
        "Name": network.name,
        "Driver": network.driver,
        "Scope": "local",
        "IPv4": "true",
        "IPv6": "false",
        "Internal": "false",
        "Labels": "",
        "Label": {},
        "CreatedAt": "",
    })
}

fn shorten(row: &mut Value) {
    for member in ["ID", "Id"] {
        let short = row[member].as_str().and_then(|id| id.get(..12)).map(str::to_owned);
        row[member] = short.unwrap_or_default().into();
    }
}
