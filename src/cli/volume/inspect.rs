//! `mydocker volume inspect`

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cli::listing::ObjectFormat;
use crate::cli::{CommandError, Context, inspect};
use crate::engine::VolumeView;

/// Show details of volumes, as a JSON array
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker volume inspect data")]
pub(in crate::cli) struct Args {
    /// Print one line for each, by a Go template or as JSON (json), instead of the array
    #[arg(long, short, value_name = "TEMPLATE")]
    format: Option<ObjectFormat>,
    /// The volumes
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    inspect::inspect(&args.names, args.format.as_ref(), context, |engine, name| {
        Ok(document(&engine.volume(name)?))
    })
}

/// Docker's member names, so that scripts written for it find what they look for.
pub(in crate::cli) fn document(volume: &VolumeView) -> Value {
    json!({
        "CreatedAt": volume.created,
        "Driver": volume.driver,
        "Labels": volume.labels,
        "Mountpoint": volume.path,
        "Name": volume.name,
        "Options": if volume.options.is_empty() { Value::Null } else { json!(volume.options) },
        "Scope": "local",
    })
}
