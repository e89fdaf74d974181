//! The raw files: facts as comments, a line of titles, then comma-separated values. Every table that is printed
//! is made from such a text, and can be made from the file again.

use std::fs;
use std::path::{Path, PathBuf};

use crate::machine;

/// The variable with the directory where the files go.
pub(crate) const DIRECTORY: &str = "MYDOCKER_BENCH_RESULTS";
/// The variable with a raw file whose tables are to be printed; nothing is measured then.
const TABLES_OF: &str = "MYDOCKER_BENCH_TABLES_OF";

/// The file whose tables are wanted instead of new figures.
pub(crate) fn wanted_tables() -> Option<String> {
    std::env::var_os(TABLES_OF).map(|path| fs::read_to_string(path).unwrap())
}

/// Where today's file of this kind goes, if results are wanted.
pub(crate) fn path(kind: &str, ending: &str) -> Option<PathBuf> {
    let directory = std::env::var_os(DIRECTORY)?;
    fs::create_dir_all(&directory).unwrap();
    Some(Path::new(&directory).join(format!("{}-{kind}.{ending}", machine::today())))
}

pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "'"))
}

/// The facts, without what makes them comments.
pub(crate) fn facts(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.strip_prefix("# "))
}

/// The values of each line.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = Vec<String>> {
    text.lines().filter(|line| !line.starts_with('#')).skip(1).map(fields)
}

fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut quoted) = (vec![String::new()], false);
    for character in line.chars() {
        match character {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            other => fields.last_mut().unwrap().push(other),
        }
    }
    fields
}
