//! `mydocker stats`

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::listing::{self, Columns, ListFormat};
use crate::cli::{CommandError, Context, documents, human, output};
use crate::engine::{Engine, Snapshot, Transfer, Usage};

/// How long the processor time is measured before the first table.
const FIRST_INTERVAL: Duration = Duration::from_millis(500);

/// How often the table is drawn.
const INTERVAL: Duration = Duration::from_secs(1);

/// Clears a terminal and goes to its upper left corner (ECMA-48, ED and CUP).
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Show what containers use of processor, memory, network and disk
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker stats --no-stream --format '{{.Name}} {{.MemUsage}}'")]
pub(super) struct Args {
    /// Also show containers that are not running
    #[arg(long, short)]
    all: bool,
    /// Print one table and exit, instead of a new one each second
    #[arg(long)]
    no_stream: bool,
    /// Do not shorten ids
    #[arg(long)]
    no_trunc: bool,
    /// Print a table, one JSON object a line (json), or one line for each container by a Go template
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: ListFormat,
    /// The containers, by name or id (default: all that are running)
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

const COLUMNS: Columns = Columns {
    titles: &[
        ("Container", "CONTAINER"),
        ("ID", "CONTAINER ID"),
        ("Name", "NAME"),
        ("CPUPerc", "CPU %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("MemPerc", "MEM %"),
        ("NetIO", "NET I/O"),
        ("BlockIO", "BLOCK I/O"),
        ("PIDs", "PIDS"),
    ],
    shown: &["ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"],
};

/// A container with what it used at one time.
type Measured = (Snapshot, Option<Usage>);

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let log_format = context.log_format;
    let engine = context.engine()?;
    // A name that means nothing is refused at once; later, its container may have been removed.
    for name in &args.containers {
        engine.find(name)?;
    }
    for error in engine.list_containers()?.broken {
        CommandError::from(error).warn(log_format);
    }
    let clear = !args.no_stream && std::io::stdout().is_terminal();
    let mut earlier = measure(&args, engine)?;
    std::thread::sleep(FIRST_INTERVAL);
    loop {
        let now = measure(&args, engine)?;
        let rows: Vec<Value> = now.iter().map(|measured| row(measured, &earlier, args.no_trunc)).collect();
        let table = listing::render(&args.format, &COLUMNS, &rows)?;
        let read = output::try_print(&if clear { format!("{CLEAR}{table}") } else { table });
        // Of containers that were named, there may be none left.
        let over = !args.containers.is_empty() && now.is_empty();
        if args.no_stream || over || !read {
            return Ok(ExitCode::SUCCESS);
        }
        earlier = now;
        std::thread::sleep(INTERVAL);
    }
}

fn measure(args: &Args, engine: &Engine) -> Result<Vec<Measured>, CommandError> {
    let snapshots = if args.containers.is_empty() {
        let mut containers = engine.list_containers()?.containers;
        containers.retain(|container| args.all || documents::is_up(&container.state));
        containers
    } else {
        let mut containers = Vec::new();
        for name in &args.containers {
            match engine.find(name) {
                Ok(container) => containers.push(container),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        containers
    };
    let mut measured = Vec::new();
    for snapshot in snapshots {
        let usage = engine.usage(&snapshot)?;
        measured.push((snapshot, usage));
    }
    Ok(measured)
}

fn row((snapshot, usage): &Measured, earlier: &[Measured], whole: bool) -> Value {
    let record = &snapshot.record;
    let before = earlier.iter().find(|(other, _)| other.record.id == record.id);
    let before = before.and_then(|(_, usage)| usage.as_ref());
    let usage = usage.as_ref();
    let percent = |value: Option<f64>| match (usage, value) {
        // Docker shows nothing used where nothing runs.
        (None, _) => "0.00%".to_owned(),
        (_, Some(value)) => format!("{value:.2}%"),
        (_, None) => "--".to_owned(),
    };
    let memory = |value: Option<u64>| known(usage, value, human::binary_size);
    let transfer = |value: Option<Transfer>| {
        let size = |bytes: Option<u64>| known(usage, bytes, human::decimal_size);
        format!("{} / {}", size(value.map(|v| v.inbound)), size(value.map(|v| v.outbound)))
    };
    json!({
        "Container": if whole { record.id.as_str() } else { record.id.short() },
        "ID": if whole { record.id.as_str() } else { record.id.short() },
        "Name": record.name,
        "CPUPerc": percent(usage.zip(before).and_then(|(usage, before)| usage.cpu_percent(before))),
        "MemUsage": format!(
            "{} / {}",
            memory(usage.and_then(|usage| usage.memory)),
            memory(usage.and_then(|usage| usage.memory_limit))
        ),
        "MemPerc": percent(usage.and_then(Usage::memory_percent)),
        "NetIO": transfer(usage.and_then(|usage| usage.network)),
        "BlockIO": transfer(usage.and_then(|usage| usage.blocks)),
        "PIDs": known(usage, usage.and_then(|usage| usage.processes), |number| number.to_string()),
    })
}

/// A figure; none of a container that does not run is 0, and one that the host does not count is unknown.
fn known(usage: Option<&Usage>, value: Option<u64>, show: impl Fn(u64) -> String) -> String {
    match (usage, value) {
        (_, Some(value)) => show(value),
        (None, None) => show(0),
        (Some(_), None) => "--".to_owned(),
    }
}
