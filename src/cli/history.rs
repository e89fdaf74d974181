//! `mydocker history`

use std::process::ExitCode;

use chrono::Utc;
use serde::Serialize;

use crate::cli::output::{self, Format, Table};
use crate::cli::{CommandError, Context, human, images};

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
    /// Print a table or one JSON array
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// The image, by name or id
    #[arg(value_name = "IMAGE")]
    image: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    #[serde(rename = "ID")]
    id: String,
    created_at: String,
    created_since: String,
    created_by: String,
    size: String,
    comment: String,
}

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
        rows.push(Row {
            id,
            created_at: history.created.map(|created| created.to_rfc3339()).unwrap_or_default(),
            created_since: images::since(history.created, now),
            created_by,
            size: images::size(step.size),
            comment: history.comment,
        });
    }
    if args.quiet {
        rows.iter().for_each(|row| output::print(&format!("{}\n", row.id)));
        return Ok(ExitCode::SUCCESS);
    }
    match args.format {
        Format::Json => output::json(&rows),
        Format::Table => {
            let mut table = Table::new(&["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"]);
            for row in rows {
                table.row(vec![row.id, row.created_since, row.created_by, row.size, row.comment]);
            }
            table.print();
        }
    }
    Ok(ExitCode::SUCCESS)
}
