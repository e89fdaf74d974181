//! `mydocker rmi`

use std::process::ExitCode;

use crate::cli::{CommandError, Context, remove_each};

/// Remove names of images; an image goes with its last name
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker rmi web:old")]
pub(super) struct Args {
    /// Also remove images with several names, and images of containers that are not running; it is no failure if one
    /// does not exist
    #[arg(long, short)]
    force: bool,
    /// The images, by name or id
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    remove_each(&args.images, args.force, context, |engine, name| {
        let removed = engine.remove_image(name, args.force)?;
        Ok(removed.iter().map(ToString::to_string).collect())
    })
}
