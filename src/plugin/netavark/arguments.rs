//! The arguments of the program `netavark`.

use std::ffi::OsString;

use super::Failure;

/// What is asked for, and the options that change it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Arguments {
    pub(super) command: Option<String>,
    pub(super) operands: Vec<String>,
    pub(super) is_rootless: bool,
    pub(super) file: Option<String>,
    pub(super) servers: Option<String>,
}

/// Reads them. What says where others keep their state is of no use here.
pub(super) fn parse(arguments: &[OsString]) -> Result<Arguments, Failure> {
    let mut parsed = Arguments::default();
    let mut words = words(arguments)?.into_iter();
    while let Some(word) = words.next() {
        if !word.starts_with('-') {
            match parsed.command {
                None => parsed.command = Some(word),
                Some(_) => parsed.operands.push(word),
            }
            continue;
        }
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (word, None),
        };
        if matches!(name.as_str(), "--version" | "-V") {
            parsed.command = Some("--version".to_owned());
            continue;
        }
        let value = value.or_else(|| words.next());
        let value = value.ok_or_else(|| Failure::Refused(format!("the option {name} has no value")))?;
        match name.as_str() {
            "--rootless" | "-r" => parsed.is_rootless = value == "true",
            "--file" | "-f" => parsed.file = Some(value),
            "--network-dns-servers" => parsed.servers = Some(value),
            // Where others keep their state, and which other programs they run.
            "--config" | "-c" | "--aardvark-binary" | "-a" | "--plugin-directory" => {}
            _ => return Err(Failure::Refused(format!("unknown option {name}"))),
        }
    }
    Ok(parsed)
}

/// The arguments as text. A path that is no text would become that of another file.
pub(super) fn words(arguments: &[OsString]) -> Result<Vec<String>, Failure> {
    let word = |word: &OsString| {
        let text = word.to_str().map(str::to_owned);
        text.ok_or_else(|| Failure::Refused(format!("the argument {} is not UTF-8", word.display())))
    };
    arguments.iter().map(word).collect()
}
