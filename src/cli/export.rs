//! `mydocker export`

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::{CommandError, Context, failed};

/// Write the files of a container, without mounts, to a tar archive
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker export -o web.tar web")]
pub(super) struct Args {
    /// The file to write (default: standard output)
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The container, by name or id
    #[arg(value_name = "CONTAINER")]
    container: String,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    match args.output {
        Some(path) => context.engine()?.export_to(&args.container, &path)?,
        None if io::stdout().is_terminal() => {
            let hint = "redirect standard output, or use --output";
            return Err(failed("cannot write an archive to a terminal", Some(hint)));
        }
        None => context.engine()?.export(&args.container, io::stdout().lock())?,
    }
    Ok(ExitCode::SUCCESS)
}
