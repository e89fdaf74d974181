//! `mydocker import`

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use crate::cli::{CommandError, Context, failed, open_archive, output, reference};
use crate::engine::{Change, ImportImage, Reference};

/// Make an image of a tar archive of a root file system
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker export web | mydocker import -c 'CMD [\"sh\"]' - web:copy")]
pub(super) struct Args {
    /// Change the configuration by an instruction of a Dockerfile: CMD, ENTRYPOINT, ENV, EXPOSE,
    /// HEALTHCHECK, LABEL, STOPSIGNAL, USER, VOLUME or WORKDIR; may be given more than once
    #[arg(long, short, value_name = "INSTRUCTION", value_parser = change)]
    change: Vec<Change>,
    /// A comment for the image's history
    #[arg(long, short, value_name = "TEXT", default_value = "", hide_default_value = true)]
    message: String,
    /// The archive, plain or compressed with gzip or zstd; - for standard input
    #[arg(value_name = "FILE|-")]
    file: String,
    /// The name of the new image
    #[arg(value_name = "NAME[:TAG]", value_parser = reference)]
    name: Option<Reference>,
}

/// An instruction, as an option's value.
pub(super) fn change(text: &str) -> Result<Change, crate::engine::ImageError> {
    text.parse()
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let request = ImportImage { changes: args.change, message: args.message, name: args.name };
    let engine = context.engine()?;
    let id = if args.file == "-" {
        if io::stdin().is_terminal() {
            return Err(failed("cannot read an archive from a terminal", Some("redirect standard input")));
        }
        engine.import_image(io::stdin().lock(), "-", request)?
    } else {
        engine.import_image(open_archive(&args.file)?, &args.file, request)?
    };
    output::print(&format!("{id}\n"));
    Ok(ExitCode::SUCCESS)
}
