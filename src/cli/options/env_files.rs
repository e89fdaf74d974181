//! Files of environment variables and labels, as Docker reads them: one on each line, taken as it is; empty
//! lines and those that start with `#` are passed over.

use std::path::PathBuf;

use crate::cli::CommandError;
use crate::engine::{EngineError, FileError};

/// No file of variables is larger; a device that never ends gets an error instead of our memory.
const LARGEST: u64 = 16 << 20;

/// The entries of all these files, in order.
pub(in crate::cli) fn read_all(paths: &[PathBuf]) -> Result<Vec<String>, CommandError> {
    let mut entries = Vec::new();
    for path in paths {
        let text = read(path).map_err(|source| {
            CommandError::from(EngineError::File(FileError { action: "read", path: path.clone(), source }))
        })?;
        let parsed = parse(&text).map_err(|(line, reason)| CommandError {
            message: format!("cannot use line {line} of {}: {reason}", path.display()),
            hint: None,
            run_status: 125,
        })?;
        entries.extend(parsed);
    }
    Ok(entries)
}

fn read(path: &PathBuf) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?.take(LARGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "it is larger than 16 MiB"));
    }
    Ok(text)
}

/// The entries of a text, or the number of the line that is malformed, and why.
fn parse(text: &str) -> Result<Vec<String>, (usize, String)> {
    // Some editors begin files with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut entries = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let entry = line.trim_start();
        if entry.is_empty() || entry.starts_with('#') {
            continue;
        }
        let name = entry.split_once('=').map_or(entry, |(name, _)| name);
        let refused = |reason: String| Err((number + 1, reason));
        if name.is_empty() {
            return refused(format!("\"{entry}\" has no name before the equals sign"));
        }
        if name.contains(char::is_whitespace) {
            return refused(format!("the name \"{name}\" has a space in it"));
        }
        if entry.contains('\0') {
            return refused("it has a NUL byte in it".to_owned());
        }
        entries.push(entry.to_owned());
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_are_taken_as_they_are() {
        let text = "\u{feff}A=1\n\n  # a remark\n\tB= two \"words\" \r\nC=\nD\nE=a=b";
        assert_eq!(parse(text).unwrap(), ["A=1", "B= two \"words\" ", "C=", "D", "E=a=b"]);
        assert_eq!(parse("").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn the_line_at_fault_is_named() {
        for bad in ["A=1\n=x", "#\nA B=1", "\nA =1"] {
            assert_eq!(parse(bad).unwrap_err().0, 2, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn every_entry_has_a_name(text in "[A=# \n\r\t]{0,60}") {
            for entry in parse(&text).unwrap_or_default() {
                let name = entry.split('=').next().unwrap_or_default();
                prop_assert!(!name.is_empty() && !name.contains(char::is_whitespace), "{:?}", entry);
            }
        }
    }
}
