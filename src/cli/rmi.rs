//! `mydocker rmi`

use std::process::ExitCode;

use crate::cli::{CommandError, Context, output};

/// Remove images: a name, or with the last one the image
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker rmi web:old")]
pub(super) struct Args {
    /// Also images with several names, and those that containers were made from which do not run
    #[arg(long, short)]
    force: bool,
    /// The images, by name or id
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let mut code = ExitCode::SUCCESS;
    for image in &args.images {
        match context.engine()?.remove_image(image, args.force) {
            Ok(removals) => {
                removals.iter().for_each(|removal| output::print(&format!("{removal}\n")));
            }
            Err(error) => {
                CommandError::from(error).report(context.log_format);
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}
