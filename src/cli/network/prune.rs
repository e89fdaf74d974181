//! `mydocker network prune`

use std::process::ExitCode;

use crate::cli::output::print;
use crate::cli::system::confirm;
use crate::cli::{CommandError, Context, key_value, listing};
use crate::engine::Network;

/// Remove the networks that no running container uses
///
/// The default network stays: it would come back by itself. A container that does not run and had one of the others
/// needs another network before it can start.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mydocker network prune --force --filter label=temporary\n  mydocker network prune --dry-run | nft -c -f -"
)]
pub(in crate::cli) struct Args {
    /// Print what would change in the firewall table, as text for nft -f, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Remove only networks that have a label, label=KEY[=VALUE], or that do not, label!=KEY[=VALUE]
    #[arg(long = "filter", value_name = "KEY=VALUE", value_parser = condition)]
    filters: Vec<Condition>,
    /// Do not ask for confirmation
    #[arg(long, short)]
    force: bool,
}

/// One `--filter`.
#[derive(Debug, Clone)]
struct Condition {
    key: String,
    /// `None` for any value.
    value: Option<String>,
    negated: bool,
}

fn condition(text: &str) -> Result<Condition, String> {
    let (name, label) = listing::filter_pair(text)?;
    let negated = match name.as_str() {
        "label" => false,
        "label!" => true,
        other => return Err(format!("unknown filter \"{other}\": expected label or label!")),
    };
    let (key, _) = key_value(&label)?;
    let value = label.split_once('=').map(|(_, value)| value.to_owned());
    Ok(Condition { key, value, negated })
}

impl Condition {
    fn holds(&self, network: &Network) -> bool {
        let found = network.labels.get(&self.key);
        let has = found.is_some_and(|found| self.value.as_ref().is_none_or(|value| value == found));
        has != self.negated
    }
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let wanted = |network: &Network| args.filters.iter().all(|filter| filter.holds(network));
    if args.dry_run {
        print(&context.engine()?.plan_prune_networks(wanted)?);
        return Ok(ExitCode::SUCCESS);
    }
    confirm(args.force, "all networks that no running container uses")?;
    let removed = context.engine()?.prune_networks(wanted)?;
    if !removed.is_empty() {
        print("Deleted Networks:\n");
        for name in removed {
            print(&format!("{name}\n"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_about_labels() {
        for good in ["label=a", "label=a=b", "label!=a", "label=a="] {
            assert!(condition(good).is_ok(), "{good}");
        }
        for bad in ["", "label", "until=1h", "label=", "label==b"] {
            assert!(condition(bad).is_err(), "{bad}");
        }
        assert!(
            condition("label!=a=b")
                .is_ok_and(|c| c.negated && c.key == "a" && c.value.as_deref() == Some("b"))
        );
    }
}
