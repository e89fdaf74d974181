//! `mydocker diff`

use std::os::unix::ffi::OsStrExt as _;
use std::process::ExitCode;

use crate::cli::{CommandError, Context, output};
use crate::engine::ChangeKind;

/// Show what a container added (A), changed (C) and deleted (D) in the files of its image
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker diff web")]
pub(super) struct Args {
    /// The container, by name or id
    #[arg(value_name = "CONTAINER")]
    container: String,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let mut text = Vec::new();
    for change in context.engine()?.changes(&args.container)? {
        let kind = match change.kind {
            ChangeKind::Added => b"A ",
            ChangeKind::Changed => b"C ",
            ChangeKind::Deleted => b"D ",
        };
        text.extend_from_slice(kind);
        text.extend_from_slice(change.path.as_os_str().as_bytes());
        text.push(b'\n');
    }
    output::print(&String::from_utf8_lossy(&text));
    Ok(ExitCode::SUCCESS)
}
