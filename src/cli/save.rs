//! `mydocker save`

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::{CommandError, Context, failed, platform};
use crate::engine::Platform;

/// Write images to a tar archive
///
/// Docker, podman and skopeo load it as well.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker save web:v1 db | zstd > images.tar.zst")]
pub(super) struct Args {
    /// The file to write (default: standard output)
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Refuse images that are not for OS/ARCHITECTURE[/VARIANT]
    #[arg(long, value_name = "PLATFORM", value_parser = platform)]
    platform: Option<Platform>,
    /// The images, by name or id; a name without a tag stands for all its tags
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let platform = args.platform.as_ref();
    match args.output {
        Some(path) => context.engine()?.save_images_to(&args.images, platform, &path)?,
        None if io::stdout().is_terminal() => {
            let hint = "redirect standard output, or use --output";
            return Err(failed("cannot write an archive to a terminal", Some(hint)));
        }
        None => context.engine()?.save_images(&args.images, platform, io::stdout().lock())?,
    }
    Ok(ExitCode::SUCCESS)
}
