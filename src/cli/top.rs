//! `mydocker top`: what `ps` of the host would show of a container's processes, without running it.

use std::process::ExitCode;
use std::time::Duration;

use chrono::{DateTime, Datelike as _, Local, Utc};

use crate::cli::output::Table;
use crate::cli::{CommandError, Context};
use crate::engine::{Task, host_memory};

/// Show the processes of a running container
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker top web -o pid,user,args")]
pub(super) struct Args {
    /// The container, by name or id
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// What to show of each process, in the options of ps: -ef, aux, or -o COLUMN,… (default: -ef)
    #[arg(value_name = "PS OPTIONS", trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

/// A column: its name for `-o`, its title, and what it shows.
type Column = (&'static str, &'static str, fn(&Task, &Host) -> String);

/// Columns as they are printed, with the titles that the user may have given.
type Chosen = Vec<(String, Column)>;

/// What a process is compared with.
struct Host {
    now: DateTime<Utc>,
    memory: u64,
}

/// The columns of `ps -f`, `ps` and `ps u`, by their names and titles.
const FULL: [(&str, &str); 8] = [
    ("user", "UID"),
    ("pid", "PID"),
    ("ppid", "PPID"),
    ("c", "C"),
    ("stime", "STIME"),
    ("tty", "TTY"),
    ("time", "TIME"),
    ("args", "CMD"),
];
const SHORT: [(&str, &str); 4] = [("pid", "PID"), ("tty", "TTY"), ("time", "TIME"), ("comm", "CMD")];
const USER: [(&str, &str); 11] = [
    ("user", "USER"),
    ("pid", "PID"),
    ("%cpu", "%CPU"),
    ("%mem", "%MEM"),
    ("vsz", "VSZ"),
    ("rss", "RSS"),
    ("tty", "TTY"),
    ("stat", "STAT"),
    ("stime", "START"),
    ("bsdtime", "TIME"),
    ("args", "COMMAND"),
];
const STATES: [(&str, &str); 5] =
    [("pid", "PID"), ("tty", "TTY"), ("stat", "STAT"), ("bsdtime", "TIME"), ("args", "COMMAND")];

/// Other names of columns (ps(1), STANDARD FORMAT SPECIFIERS).
const ALIASES: [(&str, &str); 23] = [
    ("uname", "user"),
    ("euser", "user"),
    ("ruser", "user"),
    ("euid", "uid"),
    ("egid", "gid"),
    ("pgrp", "pgid"),
    ("session", "sess"),
    ("sid", "sess"),
    ("tt", "tty"),
    ("tname", "tty"),
    ("cputime", "time"),
    ("start_time", "stime"),
    ("start", "stime"),
    ("cmd", "args"),
    ("command", "args"),
    ("ucmd", "comm"),
    ("ucomm", "comm"),
    ("pcpu", "%cpu"),
    ("pmem", "%mem"),
    ("rssize", "rss"),
    ("vsize", "vsz"),
    ("state", "s"),
    ("thcount", "nlwp"),
];

const COLUMNS: [Column; 25] = [
    ("user", "USER", |task, _| task.user_name.clone().unwrap_or_else(|| task.user.to_string())),
    ("uid", "UID", |task, _| task.user.to_string()),
    ("gid", "GID", |task, _| task.user_group.to_string()),
    ("pid", "PID", |task, _| task.pid.to_string()),
    ("ppid", "PPID", |task, _| task.parent.to_string()),
    ("pgid", "PGID", |task, _| task.group.to_string()),
    ("sess", "SESS", |task, _| task.session.to_string()),
    ("tpgid", "TPGID", |task, _| task.foreground.to_string()),
    ("c", "C", |task, host| format!("{:.0}", processor(task, host).trunc().min(99.0))),
    ("%cpu", "%CPU", |task, host| format!("{:.1}", processor(task, host))),
    ("%mem", "%MEM", |task, host| format!("{:.1}", memory(task, host))),
    ("vsz", "VSZ", |task, _| (task.virtual_size / 1024).to_string()),
    ("rss", "RSS", |task, _| (task.resident / 1024).to_string()),
    ("tty", "TTY", |task, _| task.terminal.clone().unwrap_or_else(|| "?".to_owned())),
    ("s", "S", |task, _| task.state.to_string()),
    ("stat", "STAT", |task, _| stat(task)),
    ("stime", "STIME", |task, host| start(task.started, host.now)),
    ("lstart", "STARTED", |task, _| {
        task.started.with_timezone(&Local).format("%a %b %e %H:%M:%S %Y").to_string()
    }),
    ("etime", "ELAPSED", |task, host| elapsed(age(task, host))),
    ("etimes", "ELAPSED", |task, host| age(task, host).as_secs().to_string()),
    ("time", "TIME", |task, _| clock(task.cpu)),
    ("bsdtime", "TIME", |task, _| minutes(task.cpu)),
    ("nlwp", "NLWP", |task, _| task.threads.to_string()),
    ("comm", "COMMAND", |task, _| task.name.clone()),
    ("args", "COMMAND", |task, _| command(task)),
];

const MORE_COLUMNS: [Column; 2] = [
    ("ni", "NI", |task, _| task.nice.to_string()),
    ("pri", "PRI", |task, _| (39 - task.priority).to_string()),
];

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let columns = columns(&args.options).map_err(|error| CommandError {
        message: format!("cannot show the processes of {}: {error}", args.container),
        hint: Some(
            "the options are -ef, aux, and -o COLUMN,… with columns such as pid, user, args".to_owned(),
        ),
        run_status: 125,
    })?;
    let tasks = context.engine()?.processes(&args.container)?;
    let host = Host { now: Utc::now(), memory: host_memory().unwrap_or(0) };
    let titles: Vec<&str> = columns.iter().map(|(title, _)| title.as_str()).collect();
    let mut table = Table::new(&titles);
    for task in &tasks {
        table.row(columns.iter().map(|(_, (_, _, show))| show(task, &host)).collect());
    }
    table.print();
    Ok(ExitCode::SUCCESS)
}

/// Why options of `ps` are not understood. The text is complete.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum OptionError {
    #[error("the ps option {0} is not supported")]
    Unknown(String),
    #[error("there is no column \"{0}\"")]
    Column(String),
    #[error("-o needs the names of columns")]
    NoColumns,
}

/// The columns that options of `ps` ask for.
fn columns(options: &[String]) -> Result<Chosen, OptionError> {
    let mut chosen = Chosen::new();
    let mut preset: &[(&str, &str)] = if options.is_empty() { &FULL } else { &SHORT };
    let mut words = options.iter();
    while let Some(word) = words.next() {
        let unknown = || OptionError::Unknown(word.clone());
        let mut list = None;
        if let Some(long) = word.strip_prefix("--") {
            list = Some(long.strip_prefix("format=").ok_or_else(unknown)?.to_owned());
        } else {
            let (dashed, letters) =
                word.strip_prefix('-').map_or((false, word.as_str()), |rest| (true, rest));
            // With a dash and without it letters mean different things; -aux means aux, as ps guesses.
            let bsd = !dashed || letters == "aux";
            for (place, letter) in letters.char_indices() {
                match letter {
                    'o' => {
                        list = Some(letters[place + 1..].to_owned());
                        break;
                    }
                    'e' | 'A' | 'a' | 'x' if !bsd || matches!(letter, 'a' | 'x') => {
                        if bsd && preset == SHORT {
                            preset = &STATES;
                        }
                    }
                    'f' | 'F' if !bsd => preset = &FULL,
                    'u' if bsd => preset = &USER,
                    'w' => {}
                    _ => return Err(unknown()),
                }
            }
            if letters.is_empty() {
                return Err(unknown());
            }
        }
        if let Some(mut list) = list {
            if list.is_empty() {
                list = words.next().ok_or(OptionError::NoColumns)?.clone();
            }
            choose(&list, &mut chosen)?;
        }
    }
    if chosen.is_empty() {
        for (name, title) in preset {
            chosen.push(((*title).to_owned(), find(name)?));
        }
    }
    Ok(chosen)
}

/// The columns of `-o`: names apart by commas or spaces, of which the last may be followed by `=` and a title.
fn choose(list: &str, chosen: &mut Chosen) -> Result<(), OptionError> {
    let (names, title) = match list.split_once('=') {
        Some((names, title)) => (names, Some(title)),
        None => (list, None),
    };
    let names: Vec<&str> = names.split([',', ' ']).filter(|name| !name.is_empty()).collect();
    let Some(last) = names.len().checked_sub(1) else { return Err(OptionError::NoColumns) };
    for (place, name) in names.into_iter().enumerate() {
        let column = find(name)?;
        let title = title.filter(|_| place == last).unwrap_or(column.1);
        chosen.push((title.to_owned(), column));
    }
    Ok(())
}

fn find(name: &str) -> Result<Column, OptionError> {
    let known = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, known)| known);
    // ps calls these by the name that was asked for.
    let title = match name {
        "cmd" => Some("CMD"),
        "nice" => Some("NI"),
        _ => None,
    };
    let known = if known == "nice" { "ni" } else { known };
    let column = COLUMNS.iter().chain(&MORE_COLUMNS).find(|(column, ..)| *column == known);
    let (name, usual, show) = *column.ok_or_else(|| OptionError::Column(name.to_owned()))?;
    Ok((name, title.unwrap_or(usual), show))
}

fn age(task: &Task, host: &Host) -> Duration {
    (host.now - task.started).to_std().unwrap_or_default()
}

/// How much of one processor it has used since it was started, in percent.
fn processor(task: &Task, host: &Host) -> f64 {
    let age = age(task, host).as_secs_f64();
    if age > 0.0 { task.cpu.as_secs_f64() / age * 100.0 } else { 0.0 }
}

#[expect(clippy::cast_precision_loss, reason = "one digit after the point is printed")]
fn memory(task: &Task, host: &Host) -> f64 {
    if host.memory > 0 { task.resident as f64 / host.memory as f64 * 100.0 } else { 0.0 }
}

/// The state with what `ps` adds to it (ps(1), PROCESS STATE CODES).
fn stat(task: &Task) -> String {
    let mut text = task.state.to_string();
    if task.nice != 0 {
        text.push(if task.nice < 0 { '<' } else { 'N' });
    }
    for (letter, is_so) in
        [('s', task.session == task.pid), ('l', task.threads > 1), ('+', task.foreground == task.group)]
    {
        if is_so {
            text.push(letter);
        }
    }
    text
}

/// The time of a day, the day of a year, or the year: whichever is precise enough.
fn start(started: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let (started, now) = (started.with_timezone(&Local), now.with_timezone(&Local));
    let format = if started.date_naive() == now.date_naive() {
        "%H:%M"
    } else if started.year() == now.year() {
        "%b%d"
    } else {
        "%Y"
    };
    started.format(format).to_string()
}

/// `[DD-]HH:MM:SS`
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let days = if days > 0 { format!("{days}-") } else { String::new() };
    format!("{days}{hours:02}:{:02}:{:02}", seconds / 60 % 60, seconds % 60)
}

/// `[[DD-]HH:]MM:SS`
fn elapsed(time: Duration) -> String {
    let text = clock(time);
    text.strip_prefix("00:").unwrap_or(&text).to_owned()
}

/// `M:SS`
fn minutes(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}

/// The program with its arguments, or its name in brackets.
fn command(task: &Task) -> String {
    if task.arguments.is_empty() { format!("[{}]", task.name) } else { task.arguments.join(" ") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn titles(options: &[&str]) -> String {
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        match columns(&options) {
            Ok(columns) => columns.iter().map(|(title, _)| title.as_str()).collect::<Vec<_>>().join(" "),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn options_of_ps_choose_columns() {
        let full = "UID PID PPID C STIME TTY TIME CMD";
        let user = "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND";
        for (options, expected) in [
            (&[][..], full),
            (&["-ef"], full),
            (&["-e", "-f"], full),
            (&["aux"], user),
            (&["-aux"], user),
            (&["auxww"], user),
            (&["ax"], "PID TTY STAT TIME COMMAND"),
            (&["-e"], "PID TTY TIME CMD"),
            (&["-o", "pid,cmd"], "PID CMD"),
            (&["-eo", "pid,ppid args"], "PID PPID COMMAND"),
            (&["-opid", "-o", "user"], "PID USER"),
            (&["-o", "pid,comm=PROGRAM"], "PID PROGRAM"),
            (&["-eo", "pid,nice,rss,etime,pcpu"], "PID NI RSS ELAPSED %CPU"),
            (&["-o", "nosuch"], "error: there is no column \"nosuch\""),
            (&["-o"], "error: -o needs the names of columns"),
            (&["-o", ","], "error: -o needs the names of columns"),
            (&["-Z"], "error: the ps option -Z is not supported"),
            (&["--forest"], "error: the ps option --forest is not supported"),
            (&["--format=pid"], "PID"),
            (&["-"], "error: the ps option - is not supported"),
        ] {
            assert_eq!(titles(options), expected, "{options:?}");
        }
        for (alias, _) in ALIASES {
            assert!(find(alias).is_ok(), "{alias}");
        }
    }

    #[test]
    fn times_read_as_those_of_ps() {
        let now = "2026-06-15T12:00:00Z".parse().unwrap();
        let ago = |hours: i64| start(now - chrono::TimeDelta::hours(hours), now);
        assert!(ago(0).contains(':') && ago(24 * 30).starts_with("May") && ago(24 * 400) == "2025");
        let seconds = Duration::from_secs;
        assert_eq!(
            (clock(seconds(3661)).as_str(), clock(seconds(90_061)).as_str()),
            ("01:01:01", "1-01:01:01")
        );
        assert_eq!((elapsed(seconds(61)).as_str(), minutes(seconds(3661)).as_str()), ("01:01", "61:01"));
    }

    proptest! {
        #[test]
        fn no_option_makes_us_panic(words in proptest::collection::vec("[-a-z,= é]{0,8}", 0..4)) {
            columns(&words).ok();
        }
    }
}
