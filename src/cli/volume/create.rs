//! `mydocker volume create`

use std::process::ExitCode;

use crate::cli::output::print;
use crate::cli::{CommandError, Context, key_value};
use crate::engine::WantedVolume;
use crate::names::VolumeName;

/// Create a volume and print its name; if it exists already, it stays as it is
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker volume create --label app=web data")]
pub(in crate::cli) struct Args {
    /// The driver of the volume
    #[arg(long, short, value_name = "DRIVER", default_value = "local", value_parser = ["local"])]
    driver: String,
    /// An option: with type=none, o=bind and device=/DIRECTORY the volume is that directory of the host; may be given
    /// more than once
    #[arg(long = "opt", short, value_name = "KEY=VALUE", value_parser = key_value)]
    options: Vec<(String, String)>,
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
    let wanted = WantedVolume {
        labels: args.labels.into_iter().collect(),
        options: args.options.into_iter().collect(),
        ..WantedVolume::default()
    };
    let name = context.engine()?.create_volume(args.name.or(args.named), wanted)?;
    print(&format!("{name}\n"));
    Ok(ExitCode::SUCCESS)
}
