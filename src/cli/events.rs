//! `mydocker events`

use std::process::ExitCode;

use chrono::{Local, SecondsFormat};
use serde_json::{Value, json};

use crate::cli::listing::{ObjectFormat, filter_pair};
use crate::cli::times::Moment;
use crate::cli::{CommandError, Context, failed, output};
use crate::engine::{Event, EventKind};

/// Print what happens to containers, networks, volumes and images
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker events --since 10m --filter type=container --filter event=die")]
pub(super) struct Args {
    /// Begin with what has happened since this time: a time, seconds since 1970, or how long ago, such as 10m
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    since: Option<Moment>,
    /// End at this time
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    until: Option<Moment>,
    /// Print only events that match, such as event=die, container=web, type=network or label=KEY=VALUE; may be given
    /// more than once
    #[arg(long = "filter", short, value_name = "NAME=VALUE", value_parser = filter_pair)]
    filters: Vec<(String, String)>,
    /// Print one JSON object a line (json), or one line for each event by a Go template
    #[arg(long, value_name = "FORMAT", default_value = "", hide_default_value = true)]
    format: ObjectFormat,
}

/// The names of filters, as Docker has them.
const FILTERS: [&str; 8] = ["event", "type", "container", "image", "network", "volume", "label", "scope"];

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    if let Some((name, _)) = args.filters.iter().find(|(name, _)| !FILTERS.contains(&name.as_str())) {
        let hint = format!("the filters are {}", FILTERS.join(", "));
        return Err(CommandError {
            run_status: 125,
            ..failed(&format!("--filter: there is no filter {name}"), Some(&hint))
        });
    }
    let (since, until) = (args.since.map(|moment| moment.0), args.until.map(|moment| moment.0));
    if since.zip(until).is_some_and(|(since, until)| since > until) {
        return Err(failed("--since is a later time than --until", None));
    }
    let mut wrong = None;
    context.engine()?.events(since, until, |event| {
        if !is_wanted(&args.filters, event) {
            return true;
        }
        match text(event, &args.format) {
            // A reader that has gone away ends the following.
            Ok(line) => output::try_print(&line),
            Err(error) => {
                wrong = Some(error);
                false
            }
        }
    })?;
    wrong.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// Whether an event passes: of different names all have to be met, of the values of one name one. Docker's rules.
fn is_wanted(filters: &[(String, String)], event: &Event) -> bool {
    let met = |name: &str| {
        let mut values =
            filters.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str()).peekable();
        values.peek().is_none() || values.any(|value| is_met(name, value, event))
    };
    let labels =
        filters.iter().filter(|(name, _)| name == "label").all(|(_, value)| is_met("label", value, event));
    labels && FILTERS.iter().filter(|name| **name != "label").all(|name| met(name))
}

fn is_met(name: &str, value: &str, event: &Event) -> bool {
    let attribute = |name: &str| event.actor.attributes.get(name).map(String::as_str);
    let is_called = |kind: EventKind| {
        let names = [Some(event.actor.id.as_str()), attribute("name")];
        event.kind == kind
            && !value.is_empty()
            && names.into_iter().flatten().any(|name| name.starts_with(value))
    };
    match name {
        // `exec_start` stands for `exec_start: sh -c true`.
        "event" => event.action == value || event.action.split(':').next() == Some(value),
        "type" => event.kind.as_str() == value,
        "scope" => event.scope == value,
        "container" => is_called(EventKind::Container),
        "network" => is_called(EventKind::Network),
        "volume" => is_called(EventKind::Volume),
        "image" => {
            let image = attribute("image").filter(|_| event.kind == EventKind::Container);
            let without_tag = |name: &str| name.rsplit_once(':').map_or(name, |(name, _)| name).to_owned();
            is_called(EventKind::Image)
                || image.is_some_and(|image| image == value || without_tag(image) == value)
        }
        "label" => match value.split_once('=') {
            Some((key, value)) => attribute(key) == Some(value),
            None => attribute(value).is_some(),
        },
        _ => false,
    }
}

fn text(event: &Event, format: &ObjectFormat) -> Result<String, CommandError> {
    let document = match format {
        ObjectFormat::Plain => return Ok(plain(event)),
        ObjectFormat::Json => return Ok(output::json_line(&serde_json::to_value(event).unwrap_or_default())),
        ObjectFormat::Template(_) => document(event),
    };
    Ok(format.render(&document)?.unwrap_or_default())
}

/// What templates see: Docker's members.
fn document(event: &Event) -> Value {
    json!({
        "Status": event.status,
        "ID": event.id,
        "From": event.from,
        "Type": event.kind.as_str(),
        "Action": event.action,
        "Actor": { "ID": event.actor.id, "Attributes": event.actor.attributes },
        "Scope": event.scope,
        "Time": event.time,
        "TimeNano": event.time_nano,
    })
}

fn plain(event: &Event) -> String {
    let time = event.at().with_timezone(&Local).to_rfc3339_opts(SecondsFormat::Nanos, true);
    let attributes: Vec<String> =
        event.actor.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let more = if attributes.is_empty() { String::new() } else { format!(" ({})", attributes.join(", ")) };
    let line = format!("{time} {} {} {}{more}", event.kind.as_str(), event.action, event.actor.id);
    // One line, whatever is in it.
    format!("{}\n", output::escaped(&line.replace('\n', " ")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn filters_are_dockers() {
        let attributes = [("image", "busybox:latest"), ("name", "web"), ("team", "blue")];
        let attributes: BTreeMap<String, String> =
            attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let event = Event::new(EventKind::Container, "exec_start: sh -c true", "1f2e", attributes);
        let is = |pairs: &[(&str, &str)]| {
            let pairs: Vec<_> =
                pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            is_wanted(&pairs, &event)
        };
        for met in [
            &[][..],
            &[("event", "exec_start")],
            &[("event", "exec_start: sh -c true")],
            &[("event", "die"), ("event", "exec_start")],
            &[("type", "container"), ("container", "web"), ("label", "team=blue"), ("label", "team")],
            &[("container", "1f"), ("image", "busybox"), ("scope", "local")],
            &[("image", "busybox:latest")],
        ] {
            assert!(is(met), "{met:?}");
        }
        for not in [
            &[("event", "start")][..],
            &[("type", "network")],
            &[("container", "db")],
            &[("network", "web")],
            &[("label", "team"), ("label", "other")],
            &[("image", "busy")],
        ] {
            assert!(!is(not), "{not:?}");
        }
    }
}
