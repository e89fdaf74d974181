//! `mydocker rmi`

use std::process::ExitCode;

use crate::cli::{CommandError, Context, remove_each};

/// Remove images: a name, or with the last one the image
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker rmi web:old")]
pub(super) struct Args {
    /// Also images with several names, and those that containers were made from which do not run; one that does not
    /// exist is no failure
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
