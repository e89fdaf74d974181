//! `mydocker network list`

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cli::listing::{self, Columns, ListFormat};
use crate::cli::{CommandError, Context, output};
use crate::engine::{NamePattern, Network};
use crate::names::NetworkName;

/// List the networks that mydocker has made, with their address ranges
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker network list --format json")]
pub(in crate::cli) struct Args {
    /// Print a table, one JSON object a line (json), or one line for each network by a Go template
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: ListFormat,
    #[command(flatten)]
    filters: Filters,
    /// Print the names only
    #[arg(long, short)]
    quiet: bool,
}

/// Which networks are listed.
#[derive(Debug, clap::Args)]
pub(super) struct Filters {
    /// Show only networks that match: name=PART, id=PART, label=KEY[=VALUE], driver=bridge, scope=local or type=custom;
    /// may be given more than once
    #[arg(long = "filter", short, value_name = "NAME=VALUE", value_parser = condition)]
    filters: Vec<(Condition, String)>,
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

impl Filters {
    /// Whether a network is meant: by all kinds of conditions that were given, by all labels, and of the others by one.
    pub(super) fn fit(&self, network: &Listed<'_>) -> bool {
        let filters = &self.filters;
        let of =
            |kind: Condition| filters.iter().filter(move |(own, _)| *own == kind).map(|(_, value)| value);
        let any = |kind: Condition, met: &dyn Fn(&str) -> bool| {
            of(kind).next().is_none() || of(kind).any(|value| met(value))
        };
        let labels = of(Condition::Label).all(|label| {
            let (key, wanted) =
                label.split_once('=').map_or((label.as_str(), None), |(key, value)| (key, Some(value)));
            let value = network.labels.and_then(|labels| labels.get(key));
            value.is_some_and(|value| wanted.is_none_or(|wanted| wanted == value))
        });
        let fits = |value: &str, text: &str| NamePattern(value.to_owned()).fits(text);
        labels
            && any(Condition::Name, &|value| fits(value, network.name))
            && any(Condition::Id, &|value| fits(value, network.id))
            && any(Condition::Driver, &|value| value == network.driver)
            && any(Condition::Scope, &|value| value == "local")
            && any(Condition::Type, &|value| (value == "builtin") == network.is_builtin)
    }
}

/// What filters look at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listed<'a> {
    pub(super) name: &'a str,
    pub(super) id: &'a str,
    pub(super) driver: &'a str,
    pub(super) labels: Option<&'a BTreeMap<String, String>>,
    pub(super) is_builtin: bool,
}

impl<'a> From<&'a Network> for Listed<'a> {
    fn from(network: &'a Network) -> Self {
        Self {
            name: network.name.as_str(),
            id: network.id.as_str(),
            driver: network.driver.as_str(),
            labels: Some(&network.labels),
            is_builtin: network.name == NetworkName::of_default(),
        }
    }
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
    networks.retain(|network| args.filters.fit(&network.into()));
    if args.quiet {
        for network in networks {
            output::print(&format!("{}\n", network.name));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<Value> = networks.iter().map(row).collect();
    listing::print(&args.format, &COLUMNS, &rows)?;
    Ok(ExitCode::SUCCESS)
}

/// The members of a network's row.
pub(super) fn row(network: &Network) -> Value {
    // The first range is the IPv4 one unless there is none.
    let range =
        |place| network.blocks().nth(place).map(|block| block.gateway_net().to_string()).unwrap_or_default();
    let id = network.id.as_str();
    json!({
        "Name": network.name,
        "IPRange": range(0),
        "Driver": network.driver.as_str(),
        "IPRange6": range(1),
        "Internal": network.internal,
        "ID": id,
        "Id": id,
        "Scope": "local",
        "Labels": listing::labels(&network.labels),
        "Label": network.labels,
    })
}
