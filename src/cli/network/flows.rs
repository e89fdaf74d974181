//! `mydocker network flows`

use std::net::SocketAddr;
use std::process::ExitCode;

use serde_json::{Map, Value, json};

use crate::cli::output::{self, Format, Table, print, try_print};
use crate::cli::{CommandError, Context};
use crate::engine::{ContainerFlow, Direction, FlowEvent};

/// List the tracked connections of containers, with their address translations
///
/// SOURCE and DESTINATION are those of the first packet. TRANSLATED shows where it was redirected to (a
/// published port), and the address that its sender was given (masquerading).
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker network flows -f web")]
pub(in crate::cli) struct Args {
    /// Keep printing: each entry that is added, changed or removed, until interrupted
    #[arg(long, short)]
    follow: bool,
    /// Print a table, or JSON (json): one array, or with --follow one object on each line
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    format: Format,
    /// Show only those of this container, by name or id
    #[arg(value_name = "CONTAINER")]
    container: Option<String>,
}

const TITLES: [&str; 7] = ["CONTAINER", "PROTO", "STATE", "TIMEOUT", "SOURCE", "DESTINATION", "TRANSLATED"];
/// What the columns are at least as wide as where later rows are not known yet.
const WIDTHS: [usize; 7] = [15, 5, 11, 7, 21, 21, 1];

pub(super) fn run(args: &Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let engine = context.engine()?;
    let container = args.container.as_deref();
    if args.follow {
        let begin = |flows: Vec<ContainerFlow>| {
            if args.format == Format::Table {
                print(&line("EVENT", &TITLES.map(str::to_owned)));
            }
            for flow in &flows {
                print(&change(args.format, None, flow));
            }
        };
        // A reader that has gone away ends the following.
        engine.follow_flows(container, begin, |event, flow| {
            try_print(&change(args.format, Some(event), &flow))
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    let flows = engine.flows(container)?;
    match args.format {
        Format::Json => output::json(&flows.iter().map(|flow| document(None, flow)).collect::<Vec<_>>()),
        Format::Table => {
            let mut table = Table::new(&TITLES);
            for flow in &flows {
                table.row(cells(flow).to_vec());
            }
            table.print();
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// One line for an entry that is there, or that something happened to.
fn change(format: Format, event: Option<FlowEvent>, flow: &ContainerFlow) -> String {
    match format {
        Format::Json => format!("{}\n", document(event, flow)),
        Format::Table => line(&event.map_or(String::new(), |event| event.to_string()), &cells(flow)),
    }
}

fn line(event: &str, cells: &[String; 7]) -> String {
    let mut line = format!("{event:<10}");
    for (cell, width) in cells.iter().zip(WIDTHS) {
        line.push_str(&format!("{cell:<width$}   "));
    }
    format!("{}\n", line.trim_end())
}

fn cells(flow: &ContainerFlow) -> [String; 7] {
    let ContainerFlow { owner, flow } = flow;
    let original = flow.original;
    [
        owner.name.clone(),
        protocol(original.protocol),
        flow.state.map_or("-".to_owned(), |state| state.to_string()),
        flow.timeout.map_or("-".to_owned(), |seconds| format!("{seconds}s")),
        source(original),
        destination(original),
        translation(original, flow.reply),
    ]
}

/// By their IANA names, in lower case as everywhere.
fn protocol(number: u8) -> String {
    match number {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        58 => "icmpv6".to_owned(),
        132 => "sctp".to_owned(),
        other => other.to_string(),
    }
}

fn has_ports(protocol: u8) -> bool {
    matches!(protocol, 6 | 17 | 33 | 132 | 136)
}

fn source(direction: Direction) -> String {
    end(direction.protocol, direction.source, direction.source_port)
}

fn destination(direction: Direction) -> String {
    end(direction.protocol, direction.destination, direction.destination_port)
}

fn end(protocol: u8, address: std::net::IpAddr, port: u16) -> String {
    if has_ports(protocol) { SocketAddr::new(address, port).to_string() } else { address.to_string() }
}

/// Answers come from where the first packet was redirected to, and go to the address that its sender was given.
fn translation(original: Direction, reply: Direction) -> String {
    let to = (source(reply) != destination(original)).then(|| format!("to {}", source(reply)));
    let from = (destination(reply) != source(original)).then(|| format!("from {}", destination(reply)));
    let both: Vec<String> = to.into_iter().chain(from).collect();
    if both.is_empty() { "-".to_owned() } else { both.join(" ") }
}

fn document(event: Option<FlowEvent>, flow: &ContainerFlow) -> Value {
    let ContainerFlow { owner, flow } = flow;
    let tuple = |direction: Direction| {
        let ports = has_ports(direction.protocol);
        json!({
            "Source": direction.source,
            "SourcePort": ports.then_some(direction.source_port),
            "Destination": direction.destination,
            "DestinationPort": ports.then_some(direction.destination_port),
        })
    };
    let translation = translation(flow.original, flow.reply);
    let mut members = Map::new();
    if let Some(event) = event {
        members.insert("Event".to_owned(), event.to_string().into());
    }
    members.extend([
        ("Container".to_owned(), owner.name.clone().into()),
        ("ContainerID".to_owned(), owner.container.to_string().into()),
        ("Network".to_owned(), owner.network.to_string().into()),
        ("Protocol".to_owned(), protocol(flow.original.protocol).into()),
        ("State".to_owned(), flow.state.map(|state| state.to_string()).into()),
        ("Timeout".to_owned(), flow.timeout.into()),
        ("Original".to_owned(), tuple(flow.original)),
        ("Reply".to_owned(), tuple(flow.reply)),
        ("Translated".to_owned(), Some(translation).filter(|text| text != "-").into()),
    ]);
    Value::Object(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn direction(source: &str, destination: &str) -> Direction {
        let (source, destination): (SocketAddr, SocketAddr) =
            (source.parse().unwrap(), destination.parse().unwrap());
        Direction {
            source: source.ip(),
            destination: destination.ip(),
            protocol: 6,
            source_port: source.port(),
            destination_port: destination.port(),
        }
    }

    #[test]
    fn translations_are_told_in_words() {
        let published = direction("203.0.113.7:4000", "198.51.100.10:8080");
        assert_eq!(
            translation(published, direction("172.18.0.2:80", "203.0.113.7:4000")),
            "to 172.18.0.2:80"
        );
        let out = direction("172.18.0.2:4000", "203.0.113.7:80");
        assert_eq!(
            translation(out, direction("203.0.113.7:80", "198.51.100.10:4000")),
            "from 198.51.100.10:4000"
        );
        let hairpin = direction("172.18.0.2:4000", "198.51.100.10:8080");
        assert_eq!(
            translation(hairpin, direction("172.18.0.2:80", "172.18.0.1:4000")),
            "to 172.18.0.2:80 from 172.18.0.1:4000"
        );
        assert_eq!(translation(out, direction("203.0.113.7:80", "172.18.0.2:4000")), "-");
        let ipv6 = direction("[fd00::2]:4000", "[2001:db8::1]:80");
        assert_eq!((source(ipv6).as_str(), protocol(58).as_str()), ("[fd00::2]:4000", "icmpv6"));
        assert_eq!(end(1, "172.18.0.2".parse().unwrap(), 0), "172.18.0.2");
    }
}
