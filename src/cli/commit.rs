//! `mydocker commit`

use std::process::ExitCode;

use crate::cli::import::change;
use crate::cli::{CommandError, Context, output, reference};
use crate::engine::{Change, CommitImage, Reference};

/// Make an image of a container, with its changes as one more layer
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker commit -m 'with tools' -c 'CMD [\"sh\"]' web web:tools")]
pub(super) struct Args {
    /// The author of the image
    #[arg(long, short, value_name = "NAME", default_value = "", hide_default_value = true)]
    author: String,
    /// A comment for the image's history
    #[arg(long, short, value_name = "TEXT", default_value = "", hide_default_value = true)]
    message: String,
    /// Change the configuration by an instruction of a Dockerfile: CMD, ENTRYPOINT, ENV, EXPOSE,
    /// HEALTHCHECK, LABEL, STOPSIGNAL, USER, VOLUME or WORKDIR; may be given more than once
    #[arg(long, short, value_name = "INSTRUCTION", value_parser = change)]
    change: Vec<Change>,
    /// Pause the container while its files are read
    #[arg(
        long, short, value_name = "BOOL", default_value_t = true, default_missing_value = "true", num_args = 0..=1,
        require_equals = true, action = clap::ArgAction::Set
    )]
    pause: bool,
    /// The container, by name or id
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// The name of the new image
    #[arg(value_name = "NAME[:TAG]", value_parser = reference)]
    name: Option<Reference>,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let request = CommitImage {
        author: args.author,
        message: args.message,
        changes: args.change,
        name: args.name,
        pause: args.pause,
    };
    let id = context.engine()?.commit(&args.container, request)?;
    output::print(&format!("{id}\n"));
    Ok(ExitCode::SUCCESS)
}
