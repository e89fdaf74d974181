//! `mydocker volume prune`

use std::process::ExitCode;

use super::{Condition, condition, filter};
use crate::cli::output::print;
use crate::cli::system::confirm;
use crate::cli::{CommandError, Context, waiting};
use crate::engine::Bytes;

/// Remove the anonymous volumes that no container uses
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker volume prune --all --force")]
pub(in crate::cli) struct Args {
    /// Also remove named volumes that no container uses
    #[arg(long, short)]
    all: bool,
    /// Remove only volumes that match: name=PART or label=KEY[=VALUE]; may be given more than once
    #[arg(long = "filter", value_name = "KEY=VALUE", value_parser = condition)]
    filters: Vec<Condition>,
    /// Do not ask for confirmation
    #[arg(long, short)]
    force: bool,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let which = if args.all { "all volumes" } else { "the anonymous volumes" };
    confirm(args.force, &format!("{which} that no container uses"))?;
    let (engine, filter) = (context.engine()?, filter(args.filters));
    let pruned = waiting::during("Removing volumes", || engine.prune_volumes(args.all, &filter))?;
    if !pruned.names.is_empty() {
        print("Deleted Volumes:\n");
        for name in &pruned.names {
            print(&format!("{name}\n"));
        }
        print("\n");
    }
    print(&format!("Total reclaimed space: {}\n", decimal(Bytes(pruned.bytes))));
    Ok(ExitCode::SUCCESS)
}

/// A size in units of a thousand with up to four digits, as Docker shows it.
fn decimal(bytes: Bytes) -> String {
    let (mut unit, mut scale) = ("B", 1_u64);
    for next in ["kB", "MB", "GB", "TB", "PB"] {
        if bytes.0 / scale < 1000 {
            break;
        }
        (unit, scale) = (next, scale * 1000);
    }
    let (whole, rest) = (bytes.0 / scale, bytes.0 % scale);
    // As many digits after the point as make up four, without zeros at the end.
    let digits = 4 - whole.to_string().len();
    let fraction = format!("{:0>15}", u128::from(rest) * 10_u128.pow(15) / u128::from(scale));
    let fraction = fraction[..digits].trim_end_matches('0');
    if fraction.is_empty() { format!("{whole}{unit}") } else { format!("{whole}.{fraction}{unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_docker_shows_them() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (12_345, "12.34kB"),
            (4_096, "4.096kB"),
            (1_500_000, "1.5MB"),
            (123_456_789_000, "123.4GB"),
        ] {
            assert_eq!(decimal(Bytes(bytes)), text);
        }
    }
}
