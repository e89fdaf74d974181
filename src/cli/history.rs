//! `mydocker history`

use std::process::ExitCode;

use chrono::Utc;
use serde_json::json;

use crate::cli::listing::{self, Columns, ListFormat};
use crate::cli::{CommandError, Context, human, images, output};

/// Show how an image came to be, the newest step first
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker history web")]
pub(super) struct Args {
    /// Print the ids only
    #[arg(long, short)]
    quiet: bool,
    /// Do not shorten ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// Print a table, one JSON object a line (json), or one line for each step by a Go template
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: ListFormat,
    /// The image, by name or id
    #[arg(value_name = "IMAGE")]
    image: String,
}

const COLUMNS: Columns = Columns {
    titles: &[
        ("ID", "IMAGE"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedSince", "CREATED"),
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
    ],
    shown: &["ID", "CreatedSince", "CreatedBy", "Size", "Comment"],
};

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let (image, steps) = context.engine()?.image_history(&args.image)?;
    let now = Utc::now();
    let mut rows = Vec::new();
    for (position, step) in steps.into_iter().enumerate() {
        let history = step.history;
        let id = match position {
            0 if args.no_trunc => image.id.to_string(),
            0 => image.id.short().to_owned(),
            // The images in between are not kept, as those that Docker has from elsewhere.
            _ => "<missing>".to_owned(),
        };
        let created_by =
            if args.no_trunc { history.created_by } else { human::shorten(&history.created_by, 45) };
        rows.push(json!({
            "ID": id,
            "CreatedAt": history.created.map(|created| created.to_rfc3339()).unwrap_or_default(),
            "CreatedSince": images::since(history.created, now),
            "CreatedBy": created_by,
            "Size": images::size(step.size),
            "Comment": history.comment,
        }));
    }
    if args.quiet {
        let ids = rows.iter().filter_map(|row| row["ID"].as_str());
        output::print(&ids.map(|id| format!("{id}\n")).collect::<String>());
        return Ok(ExitCode::SUCCESS);
    }
    listing::print(&args.format, &COLUMNS, &rows)?;
    Ok(ExitCode::SUCCESS)
}
