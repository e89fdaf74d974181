//! `mydocker load`

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::process::ExitCode;

use crate::cli::{CommandError, Context, failed, open_archive, output, platform};
use crate::engine::Platform;

/// Load images from a tar archive that save wrote
///
/// The archive may be mydocker's, Docker's, podman's or skopeo's, or an OCI image layout.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker load -i web.tar.gz")]
pub(super) struct Args {
    /// The archive, plain or compressed with gzip or zstd (default: standard input)
    #[arg(long, short, value_name = "FILE")]
    input: Option<String>,
    /// Of images for several platforms, load the one for OS/ARCHITECTURE[/VARIANT] (default: this machine's)
    #[arg(long, value_name = "PLATFORM", value_parser = platform)]
    platform: Option<Platform>,
    /// Accepted for compatibility: no progress is shown anyway
    #[arg(long, short)]
    quiet: bool,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let (file, what) = match args.input {
        Some(path) => (open_archive(&path)?, path),
        None if io::stdin().is_terminal() => {
            let hint = "redirect standard input, or use --input";
            return Err(failed("cannot read an archive from a terminal", Some(hint)));
        }
        None => {
            let stdin = io::stdin().as_fd().try_clone_to_owned();
            let stdin =
                stdin.map_err(|error| failed(&format!("cannot read standard input: {error}"), None))?;
            (File::from(stdin), "standard input".to_owned())
        }
    };
    for image in context.engine()?.load_images(file, &what, args.platform.as_ref())? {
        for name in &image.names {
            output::print(&format!("Loaded image: {name}\n"));
        }
        if image.names.is_empty() {
            output::print(&format!("Loaded image ID: {}\n", image.id));
        }
    }
    Ok(ExitCode::SUCCESS)
}
