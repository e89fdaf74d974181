//! `mydocker man`: the manual pages, for those who install mydocker. Made from the very definitions that the command
//! line is read by.

use std::fs::{DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_mangen::Man;

use crate::cli::{Arguments, CommandError, directory};
use crate::engine::{EngineError, FileError};

/// Write the manual pages, one for each command
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker man /usr/local/share/man/man1")]
pub(super) struct Args {
    /// The date that the pages bear, YYYY-MM-DD
    #[arg(long, value_name = "DATE", default_value = "", hide_default_value = true)]
    date: String,
    /// The directory that they are written to; it is made if need be
    #[arg(value_name = "DIR", value_parser = directory)]
    directory: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, CommandError> {
    let file = |action, path| move |source| EngineError::File(FileError { action, path, source });
    // For everybody to read.
    let made = DirBuilder::new().recursive(true).mode(0o755).create(&args.directory);
    made.map_err(file("make", args.directory.clone()))?;
    for (name, text) in pages(&args.date).map_err(file("write pages for", args.directory.clone()))? {
        let path = args.directory.join(name);
        let opened = File::options().write(true).create(true).truncate(true).mode(0o644).open(&path);
        let written = opened.and_then(|mut page| page.write_all(&text));
        written.map_err(file("write", path))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The pages of all commands that the help shows, by the names of their files.
fn pages(date: &str) -> io::Result<Vec<(String, Vec<u8>)>> {
    // `help` has no page, and no page tells of it: there are the pages.
    let mut whole = Arguments::command().disable_help_subcommand(true);
    whole.build();
    let mut pages = Vec::new();
    let mut left = vec![(None, whole)];
    while let Some((above, command)) = left.pop() {
        let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
        let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
        left.extend(shown.map(|below| (Some(name.clone()), below.clone())));
        pages.push((format!("{name}.1"), page(command, above.as_deref(), date)?));
    }
    Ok(pages)
}

/// The page of one command.
fn page(command: clap::Command, above: Option<&str>, date: &str) -> io::Result<Vec<u8>> {
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let has_options = command.get_arguments().any(|argument| !argument.is_hide_set());
    let has_commands = command.get_subcommands().any(|command| !command.is_hide_set());
    let man = Man::new(command).manual("mydocker").source(env!("CARGO_PKG_VERSION")).date(date);
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    if has_options {
        man.render_options_section(&mut page)?;
    }
    if has_commands {
        man.render_subcommands_section(&mut page)?;
    }
    let (notes, examples) = parts(&after);
    if !notes.is_empty() {
        writeln!(
            page,
            ".SH NOTES\n{}",
            notes.iter().map(|line| escaped(line)).collect::<Vec<_>>().join("\n.br\n")
        )?;
    }
    if !examples.is_empty() {
        writeln!(
            page,
            ".SH EXAMPLES\n.nf\n{}\n.fi",
            examples.iter().map(|line| escaped(line)).collect::<Vec<_>>().join("\n")
        )?;
    }
    if let Some(above) = above {
        writeln!(page, ".SH SEE ALSO\n\\fB{}\\fR(1)", escaped(above))?;
    }
    Ok(tidied(&String::from_utf8_lossy(&page)).into_bytes())
}

/// The page without what the generator says more than once.
fn tidied(page: &str) -> String {
    // Each part begins with what an apostrophe is, and an empty line between two breaks is a break already.
    let apostrophe = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";
    let text = page.replace(apostrophe, "").replace("\n.br\n\n.br\n", "\n.sp\n");
    format!("{apostrophe}{text}")
}

/// What stands below the options in the help: remarks, and examples, which keep their lines.
fn parts(after: &str) -> (Vec<&str>, Vec<&str>) {
    let mut lines = after.lines();
    let notes = lines.by_ref().take_while(|line| !matches!(*line, "Example:" | "Examples:"));
    let notes = notes.filter(|line| !line.is_empty()).collect();
    (notes, lines.map(|line| line.strip_prefix("  ").unwrap_or(line)).collect())
}

/// Text as roff takes it for itself, with the marks that stand on a keyboard.
fn escaped(line: &str) -> String {
    let mut text = String::new();
    for letter in line.chars() {
        match letter {
            '\\' => text.push_str("\\e"),
            '-' => text.push_str("\\-"),
            '\'' => text.push_str("\\(aq"),
            '`' => text.push_str("\\(ga"),
            '^' => text.push_str("\\(ha"),
            '~' => text.push_str("\\(ti"),
            other => text.push(other),
        }
    }
    // At the beginning of a line it is a command.
    if text.starts_with('.') { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(pages: &[(String, Vec<u8>)], name: &str) -> String {
        let (_, page) =
            pages.iter().find(|(other, _)| other == name).unwrap_or_else(|| panic!("no page {name}"));
        String::from_utf8(page.clone()).unwrap()
    }

    /// Each command with the words that call it, the hidden ones left out.
    fn commands() -> Vec<(String, clap::Command)> {
        let mut found = Vec::new();
        let mut left = vec![("mydocker".to_owned(), Arguments::command())];
        while let Some((name, command)) = left.pop() {
            let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
            left.extend(shown.map(|below| (format!("{name} {}", below.get_name()), below.clone())));
            found.push((name, command));
        }
        found
    }

    #[test]
    fn each_command_has_a_page_with_each_of_its_options() {
        let pages = pages("2026-01-02").unwrap();
        let commands = commands();
        assert_eq!(pages.len(), commands.len());
        for (words, command) in commands {
            let page = text_of(&pages, &format!("{}.1", words.replace(' ', "-")));
            let about = command.get_about().expect(&words).to_string();
            let plain = page.replace("\\*(Aq", "'").replace('\\', "");
            assert!(plain.contains(&about), "{words}: {about}");
            for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                let Some(long) = argument.get_long() else { continue };
                assert!(page.contains(&format!("\\-\\-{}", long.replace('-', "\\-"))), "{words} --{long}");
            }
            let example = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert_eq!(page.contains(".SH EXAMPLES"), example.contains("Example"), "{words}");
        }
        assert!(!pages.iter().any(|(name, _)| name.contains("supervise") || name.contains("-man")));
    }

    #[test]
    fn examples_keep_their_lines_and_remarks_stand_before_them() {
        let after = "One.\nTwo.\n\nExamples:\n  mydocker ps -a\n  .hidden '\\n'";
        let (notes, examples) = parts(after);
        assert_eq!(
            (notes, examples.clone()),
            (vec!["One.", "Two."], vec!["mydocker ps -a", ".hidden '\\n'"])
        );
        assert_eq!(escaped(examples[0]), "mydocker ps \\-a");
        assert_eq!(escaped(examples[1]), "\\&.hidden \\(aq\\en\\(aq");
        assert_eq!(parts("Example:\n  x"), (vec![], vec!["x"]));
    }
}
