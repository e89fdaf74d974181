//! Results on standard output: aligned tables, JSON, names. A reader that has gone away is no error.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, IsTerminal as _, Write};
use std::sync::OnceLock;

use serde::Serialize;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

/// How a listing is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum Format {
    /// Columns, with a line of titles.
    #[default]
    Table,
    /// As JSON.
    Json,
}

/// Prints lines to standard output. Once the reader has gone (`| head`), the rest is dropped silently.
pub(super) fn print(text: &str) {
    // There is nowhere left to report it.
    try_print(text);
}

/// Prints to standard output, and says whether anybody still reads it.
pub(super) fn try_print(text: &str) -> bool {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).is_ok()
}

/// Prints a line to standard error. What is in it may come from a container, an image or another user: it stays one
/// line, and does not draw on the user's terminal.
pub(super) fn complain(text: &str) {
    // Nobody reads it: nothing to be done.
    writeln!(io::stderr().lock(), "{}", escaped(text)).ok();
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
    // Who cannot be asked can still answer.
    write!(stderr, "{} [y/N] ", escaped(question)).and_then(|()| stderr.flush()).ok();
    let mut answer = String::new();
    let answered = io::stdin().read_line(&mut answer).is_ok_and(|length| length > 0);
    if !answered {
        // Nobody ended the line.
        writeln!(stderr).ok();
    }
    answered && matches!(answer.trim(), "y" | "Y" | "yes")
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

    pub(super) fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell);
                // Not by a format, which has no widths above 65,535.
                line.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 3));
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
        assert_eq!(table.render(), "NAME      IPRange          Driver\ntestbr0   192.168.0.1/24   bridge\n");
    }

    #[test]
    fn no_cell_is_too_wide_or_on_more_than_one_line() {
        let mut table = Table::new(&["NAME", "COMMAND"]);
        let wide = "ä".repeat(70_000);
        table.row(vec![wide.clone(), "a\n\x1b[31mb\tc".into()]);
        assert_eq!(
            table.render(),
            format!("NAME{}   COMMAND\n{wide}   a??[31mb?c\n", " ".repeat(70_000 - 4))
        );
    }
}
