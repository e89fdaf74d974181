//! `mydocker logs`

use std::process::ExitCode;

use crate::cli::output::try_print_to;
use crate::cli::times::Moment;
use crate::cli::{CommandError, Context};
use crate::engine::{LogRequest, Stream};

/// Print the output of a container
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker logs -f --since 10m --tail 100 web")]
pub(super) struct Args {
    /// Keep printing until the container ends; a restart is no end
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
    // Of a line that became several entries, only the first has a time in front.
    let mut in_line = [false; 2];
    context.engine()?.logs(&args.container, request, |entry| {
        let in_line = &mut in_line[usize::from(entry.stream == Stream::Stderr)];
        let begins = !std::mem::replace(in_line, !entry.text.ends_with('\n'));
        let stamped = args.timestamps && begins;
        let line = if stamped { format!("{} {}", entry.time, entry.text) } else { entry.text };
        // A reader that has gone away ends the following.
        match entry.stream {
            Stream::Stdout => try_print_to(&mut std::io::stdout().lock(), &line),
            Stream::Stderr => try_print_to(&mut std::io::stderr().lock(), &line),
        }
    })?;
    Ok(ExitCode::SUCCESS)
}
