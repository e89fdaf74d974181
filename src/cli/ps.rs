//! `mydocker ps`

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::cli::output::{self, Format, Table};
use crate::cli::{CommandError, Context};
use crate::engine::{Snapshot, State, compact_ports};

/// List containers
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker ps -a")]
pub(super) struct Args {
    /// Also those that do not run
    #[arg(long, short)]
    all: bool,
    /// Print the ids only
    #[arg(long, short)]
    quiet: bool,
    /// Do not shorten ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// Print a table or one JSON array
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Serialize)]
struct Row {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Names")]
    name: String,
    #[serde(rename = "Image")]
    image: String,
    #[serde(rename = "Command")]
    command: String,
    #[serde(rename = "CreatedAt")]
    created_at: String,
    #[serde(skip)]
    created: String,
    #[serde(rename = "State")]
    state: &'static str,
    #[serde(rename = "Status")]
    status: String,
    #[serde(rename = "IP")]
    ip: String,
    #[serde(rename = "Ports")]
    ports: String,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let containers = context.engine()?.containers(args.all)?;
    let now = Utc::now();
    let rows = containers.iter().map(|container| row(container, now, args.no_trunc));
    if args.quiet {
        for row in rows {
            output::print(&format!("{}\n", row.id));
        }
        return Ok(ExitCode::SUCCESS);
    }
    match args.format {
        Format::Json => output::json(&rows.collect::<Vec<_>>()),
        Format::Table => {
            let titles = ["CONTAINER ID", "NAME", "IMAGE", "COMMAND", "CREATED", "STATUS", "IP", "PORTS"];
            let mut table = Table::new(&titles);
            for row in rows {
                table.row(vec![
                    row.id,
                    row.name,
                    row.image,
                    row.command,
                    row.created,
                    row.status,
                    row.ip,
                    row.ports,
                ]);
            }
            table.print();
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(snapshot: &Snapshot, now: DateTime<Utc>, whole: bool) -> Row {
    let record = &snapshot.record;
    let endpoints = if snapshot.state.is_running() { &record.network.endpoints[..] } else { &[] };
    let ports = endpoints.iter().flat_map(|endpoint| compact_ports(&endpoint.ports));
    let command = record.config.command.words().join(" ");
    Row {
        id: if whole { record.id.to_string() } else { record.id.short().to_owned() },
        name: record.name.to_string(),
        image: record.config.image.clone(),
        command: format!("\"{}\"", if whole { command } else { shorten(&command, 20) }),
        created_at: record.created.to_rfc3339(),
        created: format!("{} ago", span(now - record.created)),
        state: state(&snapshot.state),
        status: status(&snapshot.state, now),
        ip: endpoints.iter().map(|e| e.address.addr().to_string()).collect::<Vec<_>>().join(", "),
        ports: ports.map(|port| port.to_string()).collect::<Vec<_>>().join(", "),
    }
}

/// Docker's word for the state.
pub(super) fn state(state: &State) -> &'static str {
    match state {
        State::Created | State::Starting { .. } => "created",
        State::Running { .. } => "running",
        State::Exited(_) => "exited",
    }
}

fn status(state: &State, now: DateTime<Utc>) -> String {
    match state {
        State::Created => "Created".to_owned(),
        State::Starting { .. } => "Starting".to_owned(),
        State::Running { started, .. } => format!("Up {}", span(now - *started)),
        State::Exited(exit) => match exit.finished {
            Some(finished) => format!("Exited ({}) {} ago", exit.code, span(now - finished)),
            None => format!("Exited ({})", exit.code),
        },
    }
}

/// A span of time in words, as Docker puts it.
fn span(span: chrono::TimeDelta) -> String {
    let seconds = span.num_seconds().max(0);
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match (seconds, minutes, hours) {
        (0, ..) => "Less than a second".to_owned(),
        (1, ..) => "1 second".to_owned(),
        (s, 0, _) => format!("{s} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, m, 0) => format!("{m} minutes"),
        (_, _, 1) => "About an hour".to_owned(),
        (_, _, h) if h < 48 => format!("{h} hours"),
        (_, _, h) if h < 24 * 14 => format!("{} days", h / 24),
        (_, _, h) if h < 24 * 60 => format!("{} weeks", h / (24 * 7)),
        (_, _, h) if h < 24 * 730 => format!("{} months", h / (24 * 30)),
        (_, _, h) => format!("{} years", h / (24 * 365)),
    }
}

fn shorten(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(limit - 1).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_dockers() {
        let say = |seconds| span(chrono::TimeDelta::seconds(seconds));
        let expected = [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (150, "2 minutes"),
            (3600, "About an hour"),
            (7200, "2 hours"),
            (3 * 86_400, "3 days"),
            (21 * 86_400, "3 weeks"),
            (90 * 86_400, "3 months"),
            (800 * 86_400, "2 years"),
        ];
        for (seconds, words) in expected {
            assert_eq!(say(seconds), words);
        }
    }
}
