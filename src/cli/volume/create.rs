//! `mydocker volume create`

use std::process::ExitCode;

use crate::cli::output::print;
use crate::cli::{CommandError, Context, key_value};
use crate::names::VolumeName;

/// Create a volume and print its name; if it exists already, it stays as it is
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker volume create --label app=web data")]
pub(in crate::cli) struct Args {
    /// The driver of the volume
    #[arg(long, short, value_name = "DRIVER", default_value = "local", value_parser = ["local"])]
    driver: String,
    /// A label, for your own use; may be given more than once
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = key_value)]
    labels: Vec<(String, String)>,
    /// The name of the volume, as it was given before it could stand alone
    #[arg(long = "name", value_name = "NAME", conflicts_with = "name", hide = true)]
    named: Option<VolumeName>,
    /// The name of the volume (default: a random one)
    #[arg(value_name = "NAME")]
    name: Option<VolumeName>,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let labels = args.labels.into_iter().collect();
    let name = context.engine()?.create_volume(args.name.or(args.named), &labels)?;
    print(&format!("{name}\n"));
    Ok(ExitCode::SUCCESS)
}
