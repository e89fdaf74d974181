//! `mydocker diff`

use std::process::ExitCode;

use crate::cli::{CommandError, Context, output};
use crate::engine::ChangeKind;

/// Show which files a container added (A), changed (C), deleted (D)
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker diff web")]
pub(super) struct Args {
    /// The container, by name or id
    #[arg(value_name = "CONTAINER")]
    container: String,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let mut text = String::new();
    for change in context.engine()?.changes(&args.container)? {
        let kind = match change.kind {
            ChangeKind::Added => "A ",
            ChangeKind::Changed => "C ",
            ChangeKind::Deleted => "D ",
        };
        text.push_str(kind);
        // The container chose it: it is to be one line and nothing else.
        text.push_str(&output::escaped(&change.path.to_string_lossy()));
        text.push('\n');
    }
    output::print(&text);
    Ok(ExitCode::SUCCESS)
}
