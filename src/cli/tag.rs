//! `mydocker tag`

use std::process::ExitCode;

use crate::cli::{CommandError, Context, reference};
use crate::engine::Reference;

/// Give an image one more name
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker tag web web:v1")]
pub(super) struct Args {
    /// The image, by name or id
    #[arg(value_name = "IMAGE")]
    source: String,
    /// The new name; an image that has it loses it
    #[arg(value_name = "NAME[:TAG]", value_parser = reference)]
    name: Reference,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    context.engine()?.tag_image(&args.source, &args.name)?;
    Ok(ExitCode::SUCCESS)
}
