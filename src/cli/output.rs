//! Results on standard output: aligned tables, JSON, names. A reader that has gone away is no error.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd as _;
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use serde::Serialize;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use super::human;
use crate::engine::terminal_size;

/// How a listing is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum Format {
    /// Columns, with a line of titles.
    #[default]
    Table,
    /// As JSON.
    Json,
}

/// Why a result could not be printed; the first reason.
static LOST: OnceLock<io::Error> = OnceLock::new();

/// Why something of the results is missing on standard output. That nobody reads it any more (`| head`) is no failure.
pub(super) fn lost() -> Option<&'static io::Error> {
    LOST.get()
}

/// Prints lines to standard output. What cannot be printed is told at the end: see [`lost`].
pub(super) fn print(text: &str) {
    try_print(text);
}

/// Prints to standard output, and says whether it arrived there.
pub(super) fn try_print(text: &str) -> bool {
    try_print_to(&mut io::stdout().lock(), text)
}

/// As [`try_print`], to standard output or standard error.
pub(super) fn try_print_to(stream: &mut impl Write, text: &str) -> bool {
    let written = stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
    written.map_err(not_printed).is_ok()
}

/// Takes note of what went wrong on the way to standard output.
pub(super) fn not_printed(error: io::Error) {
    if error.kind() != io::ErrorKind::BrokenPipe {
        // Only the first reason counts.
        LOST.set(error).ok();
    }
}

/// Prints a line to standard error. What is in it may come from a container, an image or another user: it stays one
/// line, and does not draw on the user's terminal.
pub(super) fn complain(text: &str) {
    // Nobody reads it: nothing to be done.
    writeln!(io::stderr().lock(), "{}", escaped(text)).ok();
}

/// As [`complain`], with a word in front that says what it is: on a terminal in a colour.
pub(super) fn complain_of(what: Complaint, text: &str) {
    let (word, colour) = match what {
        Complaint::Error => ("error:", Colour::Red),
        Complaint::Warning => ("warning:", Colour::Yellow),
    };
    let word = if wants_colours(&io::stderr()) { colour.paint(word) } else { word.to_owned() };
    // Nobody reads it: nothing to be done.
    writeln!(io::stderr().lock(), "{word} {}", escaped(text)).ok();
}

/// Warnings as [`complain_of`] has them.
pub(super) struct PlainLines;

impl<S, N> FormatEvent<S, N> for PlainLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let level = event.metadata().level();
        let word = if *level == tracing::Level::ERROR { "error" } else { "warning" };
        write!(writer, "{word}: ")?;
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// What is told on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Complaint {
    /// The command failed.
    Error,
    /// The command goes on.
    Warning,
}

/// A colour of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Colour {
    Red,
    Green,
    Yellow,
}

impl Colour {
    /// The text in this colour, after which the terminal's own comes back (ECMA-48, SGR).
    fn paint(self, text: &str) -> String {
        let code = match self {
            Self::Red => 31,
            Self::Green => 32,
            Self::Yellow => 33,
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// Whether a stream's reader wants colours: a terminal that can show them, of a user who has not said no
/// (<https://no-color.org>).
fn wants_colours(stream: &impl IsTerminal) -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// A text with its control characters written out: as in a string of Rust's or C's, or of JSON's.
pub(super) fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => plain.push_str("\\n"),
            '\t' => plain.push_str("\\t"),
            '\r' => plain.push_str("\\r"),
            c if c.is_control() => plain.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => plain.push(c),
        }
    }
    Cow::Owned(plain)
}

/// A document as a template may fill it in where a terminal shows what comes of it: all texts are [`escaped`]. Whoever
/// reads it otherwise gets it as it is.
pub(super) fn for_reader(document: &Value) -> Cow<'_, Value> {
    static IS_TERMINAL: OnceLock<bool> = OnceLock::new();
    if *IS_TERMINAL.get_or_init(|| io::stdout().is_terminal()) {
        Cow::Owned(with_plain_texts(document))
    } else {
        Cow::Borrowed(document)
    }
}

fn with_plain_texts(document: &Value) -> Value {
    match document {
        Value::String(text) => escaped(text).into(),
        Value::Array(list) => list.iter().map(with_plain_texts).collect(),
        Value::Object(members) => {
            let plain = members.iter().map(|(name, value)| (escaped(name).into(), with_plain_texts(value)));
            Value::Object(plain.collect())
        }
        other => other.clone(),
    }
}

/// JSON in which no control character stands for itself. Those above ASCII may, as far as JSON is concerned, but some
/// terminals obey them. They can only stand in strings.
pub(super) fn plain_json(json: &str) -> Cow<'_, str> {
    let obeyed = |c: char| c.is_control() && c > ' ';
    if !json.contains(obeyed) {
        return Cow::Borrowed(json);
    }
    let mut plain = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if obeyed(c) {
            plain.push_str(&escaped(c.encode_utf8(&mut [0; 4])));
        } else {
            plain.push(c);
        }
    }
    Cow::Owned(plain)
}

/// Asks on standard error, and reads the answer from standard input. No answer means no.
pub(super) fn confirm(question: &str) -> bool {
    let mut stderr = io::stderr().lock();
    let answer = answer(|| {
        // Who cannot be asked can still answer.
        write!(stderr, "{} [y/N] ", escaped(question)).and_then(|()| stderr.flush()).ok();
    });
    let answer = answer.unwrap_or_default();
    if answer.is_empty() || !io::stdin().is_terminal() {
        // Nobody ended the line, or nobody saw it.
        writeln!(stderr).ok();
    }
    matches!(answer.trim(), "y" | "Y" | "yes")
}

/// A line of standard input; nothing if the user presses Ctrl-C instead: that is a no, and no reason to end without a
/// word. It counts from before `ask` has asked.
fn answer(ask: impl FnOnce()) -> io::Result<String> {
    let mut interrupts = SigSet::empty();
    interrupts.add(Signal::SIGINT);
    interrupts.thread_block()?;
    let pressed = SignalFd::with_flags(&interrupts, SfdFlags::SFD_CLOEXEC)?;
    ask();
    let stdin = io::stdin();
    let mut ready = [stdin.as_fd(), pressed.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    while matches!(poll(&mut ready, PollTimeout::NONE), Err(Errno::EINTR)) {}
    let is_pressed = ready[1].any().unwrap_or(false);
    let mut answer = String::new();
    if is_pressed {
        pressed.read_signal()?;
    } else {
        stdin.read_line(&mut answer)?;
    }
    interrupts.thread_unblock()?;
    Ok(answer)
}

/// Prints a value as JSON, as people read it.
pub(super) fn json(value: &impl Serialize) {
    print(&json_text(value));
}

/// A value as JSON, as people read it.
pub(super) fn json_text(value: &impl Serialize) -> String {
    // What is printed has names for its members, so that it can always be written.
    serde_json::to_string_pretty(value).map(|text| plain_json(&text).into_owned() + "\n").unwrap_or_default()
}

/// A value as JSON on one line.
pub(super) fn json_line(value: &Value) -> String {
    plain_json(&value.to_string()).into_owned() + "\n"
}

/// How many spaces stand between two columns.
const GAP: usize = 3;

/// How narrow a column may become that is wider than the terminal has room for.
const NARROWEST: usize = 12;

/// The widths of columns of which all together are to have so many characters: the widest ones give way.
fn fitting(widths: &[usize], most: usize) -> Vec<usize> {
    let mut widths = widths.to_vec();
    let gaps = GAP * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > most {
        let Some(widest) = widths.iter_mut().max().filter(|width| **width > NARROWEST) else { break };
        *widest -= 1;
    }
    widths
}

/// A cell in lines of so many characters.
fn broken(cell: &str, width: usize) -> Vec<String> {
    if cell.chars().count() <= width {
        return vec![cell.to_owned()];
    }
    let mut lines: Vec<String> = Vec::new();
    for word in cell.split(' ') {
        let word = if word.chars().count() > width { human::shorten(word, width) } else { word.to_owned() };
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

/// The colour of a container's state in words: whether it is well.
fn state_colour(status: &str) -> Option<Colour> {
    let starts = |word: &str| status.starts_with(word);
    if starts("Up ") {
        Some(if status.ends_with("(Paused)") { Colour::Yellow } else { Colour::Green })
    } else if starts("Restarting") {
        Some(Colour::Yellow)
    } else if starts("Exited (") && !starts("Exited (0)") || starts("Dead") {
        Some(Colour::Red)
    } else {
        None
    }
}

/// Rows under titles, each column as wide as its widest cell, three spaces apart.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(titles: &[&str]) -> Self {
        Self { rows: vec![titles.iter().map(|title| (*title).to_owned()).collect()] }
    }

    /// Adds a row. What is in it may come from a container: it is not to draw on the user's terminal.
    pub(super) fn row(&mut self, cells: Vec<String>) {
        let plain = |cell: String| cell.replace(char::is_control, "?");
        self.rows.push(cells.into_iter().map(plain).collect());
    }

    /// The table for whoever reads standard output: on a terminal it is no wider than that, and states have colours.
    pub(super) fn render(&self) -> String {
        let stdout = io::stdout();
        if !stdout.is_terminal() {
            return self.whole();
        }
        let columns = terminal_size(&stdout).map_or(80, |(_, columns)| usize::from(columns));
        self.within(columns, wants_colours(&stdout))
    }

    /// The table in lines of so many characters, as far as that is possible: what is long is broken at spaces, and cut
    /// off where there is none.
    fn within(&self, most: usize, colours: bool) -> String {
        let widths = fitting(&self.widths(), most);
        let status = self.rows.first().and_then(|titles| titles.iter().position(|title| title == "STATUS"));
        let mut text = String::new();
        for row in &self.rows {
            let cells: Vec<Vec<String>> =
                row.iter().zip(&widths).map(|(cell, width)| broken(cell, *width)).collect();
            let height = cells.iter().map(Vec::len).max().unwrap_or(0);
            for place in 0..height {
                let mut line = String::new();
                for (column, (parts, width)) in cells.iter().zip(&widths).enumerate() {
                    let part = parts.get(place).map_or("", String::as_str);
                    let colour = state_colour(&row[column]).filter(|_| colours && Some(column) == status);
                    line.push_str(&colour.map_or_else(|| part.to_owned(), |colour| colour.paint(part)));
                    line.extend(std::iter::repeat_n(' ', width - part.chars().count().min(*width) + GAP));
                }
                text.push_str(line.trim_end());
                text.push('\n');
            }
        }
        text
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let cells = |column: usize| self.rows.iter().filter_map(move |row| row.get(column));
        (0..columns).map(|column| cells(column).map(|cell| cell.chars().count()).max().unwrap_or(0)).collect()
    }

    /// The table with all that is in it, whatever reads it.
    fn whole(&self) -> String {
        let widths = self.widths();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell);
                // Not by a format, which has no widths above 65,535.
                line.extend(std::iter::repeat_n(' ', width - cell.chars().count() + GAP));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    pub(super) fn print(&self) {
        print(&self.render());
    }
}

/// A line of the JSON log that does not come from an event.
pub(super) fn log_line(level: &str, message: &str, hint: Option<&str>) -> String {
    let mut members = Map::new();
    members.insert("level".to_owned(), level.into());
    members.insert("msg".to_owned(), message.into());
    members.insert("time".to_owned(), now().into());
    if let Some(hint) = hint {
        members.insert("hint".to_owned(), hint.into());
    }
    Value::Object(members).to_string()
}

/// The time of a log line, RFC 3339 in the local zone.
fn now() -> String {
    chrono::Local::now().to_rfc3339()
}

/// Log lines as JSON objects: `{"level":"debug","msg":"…","time":"…",…}`.
pub(super) struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut members = Members(Map::new());
        members.0.insert("level".to_owned(), event.metadata().level().as_str().to_ascii_lowercase().into());
        members.0.insert("time".to_owned(), now().into());
        event.record(&mut members);
        writeln!(writer, "{}", Value::Object(members.0))
    }
}

/// The fields of an event; its text is called `msg`.
struct Members(Map<String, Value>);

impl Members {
    fn insert(&mut self, field: &Field, value: impl Into<Value>) {
        let name = if field.name() == "message" { "msg" } else { field.name() };
        self.0.insert(name.to_owned(), value.into());
    }
}

impl Visit for Members {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field, format!("{value:?}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value);
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value);
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value);
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_an_object_with_level_message_and_time() {
        let line: Value = serde_json::from_str(&log_line("error", "no \"x\"", Some("try y"))).unwrap();
        assert_eq!(
            (&line["level"], &line["msg"], &line["hint"]),
            (&"error".into(), &"no \"x\"".into(), &"try y".into())
        );
        assert!(chrono::DateTime::parse_from_rfc3339(line["time"].as_str().unwrap()).is_ok());
    }

    #[test]
    fn nothing_from_outside_draws_on_a_terminal() {
        let hostile = "a\x1b[31m\nb\t\r\u{9b}2J\x7f\u{0}ä\\";
        let plain = "a\\u001b[31m\\nb\\t\\r\\u009b2J\\u007f\\u0000ä\\";
        assert_eq!(escaped(hostile), plain);
        assert!(matches!(escaped("plain ä"), Cow::Borrowed(_)));
        let document = serde_json::json!({ hostile: [hostile, { "x": hostile }], "n": 1 });
        let shown = with_plain_texts(&document);
        assert_eq!(shown, serde_json::json!({ plain: [plain, { "x": plain }], "n": 1 }));
        // JSON stays the same document.
        let text = json_text(&document);
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), document);
    }

    #[test]
    fn columns_are_aligned_and_lines_end_without_spaces() {
        let mut table = Table::new(&["NAME", "IPRange", "Driver"]);
        table.row(vec!["testbr0".into(), "192.168.0.1/24".into(), "bridge".into()]);
        assert_eq!(table.whole(), "NAME      IPRange          Driver\ntestbr0   192.168.0.1/24   bridge\n");
    }

    #[test]
    fn on_a_terminal_a_table_is_no_wider_than_that() {
        let mut table = Table::new(&["ID", "STATUS", "PORTS"]);
        let ports = (1..6).map(|port| format!("0.0.0.0:{port}->80/tcp")).collect::<Vec<_>>().join(", ");
        table.row(vec!["0123456789ab".into(), "Up 3 hours".into(), ports]);
        table.row(vec!["0123456789ab".into(), "Exited (1) 2 hours ago".into(), "x".repeat(90)]);
        let text = table.within(80, false);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(
            text.contains("0.0.0.0:1->80/tcp, 0.0.0.0:2->80/tcp") && text.contains("5->80/tcp"),
            "{text}"
        );
        assert!(text.contains("xxx…\n") && !text.contains("Up 3\n"), "{text}");
        assert_eq!(table.within(1000, false), table.whole());
        let coloured = table.within(1000, true);
        assert!(coloured.contains("\u{1b}[32mUp 3 hours\u{1b}[0m "), "{coloured}");
        assert!(coloured.contains("\u{1b}[31mExited (1) 2 hours ago\u{1b}[0m   x"), "{coloured}");
        // However narrow it is, something is to be seen of each column.
        assert!(table.within(10, false).lines().all(|line| line.chars().count() <= 3 * NARROWEST + 2 * GAP));
    }

    #[test]
    fn no_cell_is_too_wide_or_on_more_than_one_line() {
        let mut table = Table::new(&["NAME", "COMMAND"]);
        let wide = "ä".repeat(70_000);
        table.row(vec![wide.clone(), "a\n\x1b[31mb\tc".into()]);
        assert_eq!(table.whole(), format!("NAME{}   COMMAND\n{wide}   a??[31mb?c\n", " ".repeat(70_000 - 4)));
    }
}
