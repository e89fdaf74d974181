//! `mydocker logs`

use std::collections::BTreeMap;
use std::process::ExitCode;

use crate::cli::output::try_print_to;
use crate::cli::times::Moment;
use crate::cli::{CommandError, Context};
use crate::engine::{LogRequest, Stream};

/// Print the output of a container
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker logs -f --since 10m --tail 100 web")]
pub(super) struct Args {
    /// Keep printing until the container ends, across restarts
    #[arg(long, short)]
    follow: bool,
    /// Start this many lines before the end; all for the whole log
    #[arg(long, short = 'n', value_name = "LINES", default_value = "all", value_parser = tail)]
    tail: Tail,
    /// Leave out what is older than this: a time, seconds since 1970, or how long ago, such as 10m
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    since: Option<Moment>,
    /// Leave out what is newer than this
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    until: Option<Moment>,
    /// Print the time in front of each line
    #[arg(long, short)]
    timestamps: bool,
    /// Print before each line the labels and variables that were logged with it (--log-opt)
    #[arg(long)]
    details: bool,
    /// The container, by name or id
    #[arg(value_name = "CONTAINER")]
    container: String,
}

/// `None` is the whole log.
#[derive(Debug, Clone, Copy)]
struct Tail(Option<u64>);

fn tail(text: &str) -> Result<Tail, String> {
    match text {
        "all" => Ok(Tail(None)),
        // As Docker: any number below zero is no limit.
        number => match number.parse::<i64>() {
            Ok(number) => Ok(Tail(u64::try_from(number).ok())),
            Err(_) => Err("expected a number or all".to_owned()),
        },
    }
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let request = LogRequest {
        follow: args.follow,
        tail: args.tail.0,
        since: args.since.map(|moment| moment.0),
        until: args.until.map(|moment| moment.0),
    };
    // Of a line that became several entries, only the first has something in front.
    let mut in_line = [false; 2];
    context.engine()?.logs(&args.container, request, |entry| {
        let in_line = &mut in_line[usize::from(entry.stream == Stream::Stderr)];
        let begins = !std::mem::replace(in_line, !entry.text.ends_with('\n'));
        let mut line = String::new();
        if args.timestamps && begins {
            line = entry.time + " ";
        }
        if args.details && begins {
            line += &(in_one_word(&entry.details) + " ");
        }
        line += &entry.text;
        // A reader that has gone away ends the following.
        match entry.stream {
            Stream::Stdout => try_print_to(&mut std::io::stdout().lock(), &line),
            Stream::Stderr => try_print_to(&mut std::io::stderr().lock(), &line),
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Names and values as Docker prints them: `name=value,name=value`, with what is not plain as in a URL.
fn in_one_word(details: &BTreeMap<String, String>) -> String {
    let pairs = details.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value)));
    pairs.collect::<Vec<_>>().join(",")
}

fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b' ' => "+".to_owned(),
            b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_one_word_whatever_they_are() {
        let details = [("b", "x y"), ("a.team", "ä\u{1b}[31m\n,=")];
        let details = details.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        assert_eq!(in_one_word(&details), "a.team=%C3%A4%1B%5B31m%0A%2C%3D,b=x+y");
        assert_eq!(in_one_word(&BTreeMap::new()), "");
    }
}
