//! `mydocker network list`

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cli::listing::{self, Columns, ListFormat};
use crate::cli::{CommandError, Context, output};
use crate::engine::{NamePattern, Network};

/// List the networks
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker network list --format json")]
pub(in crate::cli) struct Args {
    /// Print a table, one JSON object a line (json), or one line for each network by a Go template
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: ListFormat,
    /// Show only networks that match: name=PART, id=PART, label=KEY[=VALUE], driver=bridge, scope=local or type=custom;
    /// may be given more than once
    #[arg(long = "filter", short, value_name = "NAME=VALUE", value_parser = condition)]
    filters: Vec<(Condition, String)>,
    /// Print the names only
    #[arg(long, short)]
    quiet: bool,
}

/// What a filter is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Name,
    Id,
    Label,
    Driver,
    Scope,
    Type,
}

fn condition(text: &str) -> Result<(Condition, String), String> {
    let (name, value) = listing::filter_pair(text)?;
    let condition = match name.as_str() {
        "name" => Condition::Name,
        "id" => Condition::Id,
        "label" => Condition::Label,
        "driver" => Condition::Driver,
        "scope" => Condition::Scope,
        "type" if matches!(value.as_str(), "custom" | "builtin") => Condition::Type,
        "type" => return Err("type is custom or builtin".to_owned()),
        _ => {
            return Err(format!(
                "unknown filter \"{name}\": there are driver, id, label, name, scope and type"
            ));
        }
    };
    Ok((condition, value))
}

/// Whether a network is meant: by all kinds of conditions that were given, by all labels, and of the others by one.
fn fits(filters: &[(Condition, String)], network: &Network) -> bool {
    let of = |kind: Condition| filters.iter().filter(move |(own, _)| *own == kind).map(|(_, value)| value);
    let any = |kind: Condition, met: &dyn Fn(&str) -> bool| {
        of(kind).next().is_none() || of(kind).any(|value| met(value))
    };
    let labels = of(Condition::Label).all(|label| {
        let (key, wanted) =
            label.split_once('=').map_or((label.as_str(), None), |(key, value)| (key, Some(value)));
        network.labels.get(key).is_some_and(|value| wanted.is_none_or(|wanted| wanted == value))
    });
    let id = String::from(network.id.clone());
    let is_builtin = network.name == crate::names::NetworkName::of_default();
    labels
        && any(Condition::Name, &|value| NamePattern(value.to_owned()).fits(network.name.as_str()))
        && any(Condition::Id, &|value| NamePattern(value.to_owned()).fits(&id))
        && any(Condition::Driver, &|value| value == network.driver.as_str())
        && any(Condition::Scope, &|value| value == "local")
        && any(Condition::Type, &|value| (value == "builtin") == is_builtin)
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
    let mut networks = context.engine()?.networks()?;
    networks.retain(|network| fits(&args.filters, network));
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
