//! How listings are printed: as a table, as one JSON object a line, or by a template of the user's own.

use std::str::FromStr;

use serde_json::Value;

use crate::cli::CommandError;
use crate::cli::output::{self, Table};
use crate::cli::template::{Template, TemplateError};

/// The members of rows that only templates have: what names can be looked up in, and what Docker's rows have not.
const TEMPLATES_ONLY: [&str; 4] = ["Label", "IP", "IPs", "Id"];

/// What `--format` asks for.
#[derive(Debug, Clone)]
pub(super) enum ListFormat {
    /// Aligned columns with titles.
    Table,
    /// One JSON object for each row, on a line of its own.
    Json,
    /// One line for each row.
    Lines(Template),
    /// Aligned columns with titles, as the template has them.
    Columns(Template),
}

impl FromStr for ListFormat {
    type Err = TemplateError;
    fn from_str(text: &str) -> Result<Self, TemplateError> {
        match text.trim() {
            "table" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            text => match text.strip_prefix("table").filter(|rest| rest.starts_with(char::is_whitespace)) {
                Some(rest) => Template::parse_with_escapes(rest.trim_start()).map(Self::Columns),
                None => Template::parse_with_escapes(text).map(Self::Lines),
            },
        }
    }
}

impl From<TemplateError> for CommandError {
    fn from(error: TemplateError) -> Self {
        Self { message: format!("cannot fill in --format: {error}"), hint: None, run_status: 125 }
    }
}

/// The columns that a listing can have.
#[derive(Debug)]
pub(super) struct Columns {
    /// The members of its rows and their titles.
    pub(super) titles: &'static [(&'static str, &'static str)],
    /// Which of them are shown without a template.
    pub(super) shown: &'static [&'static str],
}

impl Columns {
    fn title(&self, member: &str) -> &'static str {
        self.titles.iter().find(|(name, _)| *name == member).map_or("", |(_, title)| title)
    }
}

/// Prints rows, which are objects.
pub(super) fn print(format: &ListFormat, columns: &Columns, rows: &[Value]) -> Result<(), CommandError> {
    output::print(&render(format, columns, rows)?);
    Ok(())
}

/// The text of a listing.
pub(super) fn render(format: &ListFormat, columns: &Columns, rows: &[Value]) -> Result<String, CommandError> {
    match format {
        ListFormat::Json => Ok(rows.iter().map(|row| output::json_line(&for_json(row))).collect()),
        ListFormat::Table => {
            let titles: Vec<&str> = columns.shown.iter().map(|member| columns.title(member)).collect();
            let mut table = Table::new(&titles);
            for row in rows {
                table.row(columns.shown.iter().map(|member| cell(&row[*member])).collect());
            }
            Ok(table.render())
        }
        ListFormat::Lines(template) => {
            let mut text = String::new();
            for row in rows {
                text.push_str(&template.render(row)?);
                text.push('\n');
            }
            Ok(text)
        }
        ListFormat::Columns(template) => {
            let titles = columns.titles.iter().map(|(member, title)| ((*member).to_owned(), (*title).into()));
            let titles = template.render_titles(&Value::Object(titles.collect()))?;
            let mut table = Table::new(&titles.split('\t').collect::<Vec<_>>());
            for row in rows {
                for line in template.render(row)?.lines() {
                    table.row(line.split('\t').map(str::to_owned).collect());
                }
            }
            Ok(table.render())
        }
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// A row as JSON shows it.
pub(super) fn for_json(row: &Value) -> Value {
    let mut row = row.clone();
    if let Value::Object(members) = &mut row {
        members.retain(|name, _| !TEMPLATES_ONLY.contains(&name.as_str()));
    }
    row
}

/// How a single object is printed: as JSON, or by a template. `json` is the template of one line of JSON.
#[derive(Debug, Clone)]
pub(super) enum ObjectFormat {
    /// For people: each command has its own way.
    Plain,
    /// One line of JSON.
    Json,
    /// By a template.
    Template(Template),
}

impl FromStr for ObjectFormat {
    type Err = TemplateError;
    fn from_str(text: &str) -> Result<Self, TemplateError> {
        match text {
            "" => Ok(Self::Plain),
            "json" => Ok(Self::Json),
            text => Template::parse(text).map(Self::Template),
        }
    }
}

impl ObjectFormat {
    /// The object as text; `None` where the command's own way is wanted.
    pub(super) fn render(&self, object: &Value) -> Result<Option<String>, CommandError> {
        match self {
            Self::Plain => Ok(None),
            Self::Json => Ok(Some(output::json_line(&without_empty(object)))),
            Self::Template(template) => Ok(Some(format!("{}\n", template.render(object)?))),
        }
    }
}

/// Members that Go leaves out of the JSON where there is nothing in them. Templates have them all the same.
const OPTIONAL: [&str; 15] = [
    "Annotations",
    "ArgsEscaped",
    "AuxiliaryAddresses",
    "Health",
    "Healthcheck",
    "Init",
    "Mounts",
    "NetworkDisabled",
    "Shell",
    "SizeRootFs",
    "SizeRw",
    "StopTimeout",
    "StorageOpt",
    "Sysctls",
    "Tmpfs",
];

/// A document as JSON shows it: without the members that are left out where there is nothing in them.
pub(super) fn without_empty(document: &Value) -> Value {
    match document {
        Value::Object(members) => {
            let shown = members
                .iter()
                .filter(|(name, value)| !(value.is_null() && OPTIONAL.contains(&name.as_str())));
            Value::Object(shown.map(|(name, value)| (name.clone(), without_empty(value))).collect())
        }
        Value::Array(items) => items.iter().map(without_empty).collect(),
        other => other.clone(),
    }
}

/// Labels as listings show them: `a=b,c=d`.
pub(super) fn labels<'a>(labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> String {
    labels.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
}

/// `NAME=VALUE` of a filter.
pub(super) fn filter_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        }
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const COLUMNS: Columns =
        Columns { titles: &[("ID", "IMAGE ID"), ("Name", "NAME"), ("Label", "")], shown: &["Name", "ID"] };

    fn text(format: &str) -> String {
        let rows = [
            json!({ "ID": "1", "Name": "web", "Label": { "a": "b" } }),
            json!({ "ID": "2", "Name": "a-longer-name", "Label": {} }),
        ];
        render(&format.parse().unwrap(), &COLUMNS, &rows).unwrap()
    }

    #[test]
    fn listings_have_dockers_formats() {
        assert_eq!(text("table"), "NAME            IMAGE ID\nweb             1\na-longer-name   2\n");
        assert_eq!(text("{{.ID}}: {{.Name}}"), "1: web\n2: a-longer-name\n");
        assert_eq!(
            text("table {{.ID}}\\t{{lower .Name}}"),
            "IMAGE ID   NAME\n1          web\n2          a-longer-name\n"
        );
        assert_eq!(text("{{.Label \"a\"}}"), "b\n\n");
        assert_eq!(text("{{.ID}}\\t{{json .Name}}"), "1\t\"web\"\n2\t\"a-longer-name\"\n");
        assert_eq!(
            text("json"),
            "{\"ID\":\"1\",\"Name\":\"web\"}\n{\"ID\":\"2\",\"Name\":\"a-longer-name\"}\n"
        );
    }

    #[test]
    fn mistakes_in_formats_are_told() {
        assert!("{{.ID".parse::<ListFormat>().is_err());
        let error = render(&"{{.Nope}}".parse().unwrap(), &COLUMNS, &[json!({ "ID": "1" })]).unwrap_err();
        assert!(error.message.contains("--format") && error.message.contains("Nope"), "{error:?}");
    }
}
