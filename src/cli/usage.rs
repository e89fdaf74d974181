//! Words that the command line does not know, and every other kind of wrong usage: one line that says what is wrong,
//! with a hint below it where there is one.
//!
//! What Docker has and mydocker has not is answered by name: a guess at a similar word would be wrong. Everything else
//! gets a guess only where a slip of the hand explains the word.
//!
#![doc = include_str!("commands.md")]

use std::ffi::OsString;
use std::process::ExitCode;

use clap::CommandFactory as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::{Arguments, FAILED, LogFormat, USAGE, output};

/// The tables of what Docker has, in which the rows of what mydocker has not say what to do instead.
const TABLES: &str = concat!(include_str!("options/docker.md"), "\n", include_str!("commands.md"));
/// The second column of those rows.
const MISSING: &str = "not yet";

/// Reports what the parser said of the words (the program's name first). Help and version are no errors.
pub(super) fn report(error: &clap::Error, words: &[OsString]) -> ExitCode {
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        if let Err(error) = error.print() {
            output::not_printed(error);
        }
        let is_whole = super::all_was_printed(format(words));
        return if error.use_stderr() || !is_whole { ExitCode::from(FAILED) } else { ExitCode::SUCCESS };
    }
    let Wrong { message, hint } = explain(error, words);
    match format(words) {
        LogFormat::Json => output::complain(&output::log_line("error", &message, hint.as_deref())),
        LogFormat::Text => {
            output::complain_of(output::Complaint::Error, &message);
            if let Some(hint) = hint {
                output::complain(&format!("hint: {hint}"));
            }
        }
    }
    ExitCode::from(if is_number_of_arguments(error) { FAILED } else { USAGE })
}

/// What is wrong with a command line.
struct Wrong {
    message: String,
    hint: Option<String>,
}

fn explain(error: &clap::Error, words: &[OsString]) -> Wrong {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let path = command_path(words);
    let see = format!("see {path} --help");
    match (error.kind(), text(ContextKind::InvalidArg), text(ContextKind::InvalidSubcommand)) {
        (ErrorKind::UnknownArgument, Some(option), _) if option.starts_with('-') => {
            unknown(option, "option", &path, near(error, ContextKind::SuggestedArg, option), see)
        }
        (ErrorKind::InvalidSubcommand, _, Some(command)) => {
            let suggested = near(error, ContextKind::SuggestedSubcommand, command);
            unknown(command, "command", &path, suggested, see)
        }
        _ => rendered(error),
    }
}

/// An option or a command that is not there.
fn unknown(word: &str, what: &str, path: &str, similar: Option<String>, see: String) -> Wrong {
    let word = word.split('=').next().unwrap_or(word);
    let full = if what == "command" { format!("{path} {word}") } else { word.to_owned() };
    let full = full.strip_prefix("mydocker ").unwrap_or(&full);
    if let Some(instead) = missing(full) {
        return Wrong {
            message: format!("{full}: mydocker does not have this {what} of Docker"),
            hint: Some(instead).filter(|hint| !hint.is_empty()),
        };
    }
    Wrong {
        message: format!("{path} has no {what} {word}"),
        hint: Some(similar.map_or(see, |similar| format!("did you mean {similar}?"))),
    }
}

/// What to do instead of an option or a command of Docker's that mydocker does not have.
fn missing(word: &str) -> Option<String> {
    let row = |line: &str| {
        let mut columns = line.strip_prefix('|')?.split('|').map(str::trim);
        let (names, state, comment) = (columns.next()?, columns.next()?, columns.next()?);
        let is_it = names.split(", ").any(|name| name.trim_matches('`') == word);
        (is_it && state == MISSING).then(|| comment.replace('`', ""))
    };
    TABLES.lines().find_map(row)
}

/// The word that the parser guesses, if so few letters are changed that it may have been meant.
fn near(error: &clap::Error, kind: ContextKind, word: &str) -> Option<String> {
    let guesses: Vec<&str> = match error.get(kind)? {
        ContextValue::String(guess) => vec![guess],
        ContextValue::Strings(guesses) => guesses.iter().map(String::as_str).collect(),
        _ => return None,
    };
    let allowed = word.trim_start_matches('-').chars().count().div_ceil(4);
    let distances = guesses.into_iter().map(|guess| (distance(guess, word), guess));
    let (least, guess) = distances.min()?;
    (least <= allowed).then(|| guess.to_owned())
}

/// How many letters have to be added, removed, replaced or swapped with the next one to make one word of the other.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for (i, letter) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, other) in to.iter().enumerate() {
            let replaced = rows[i][j] + usize::from(letter != other);
            let mut least = replaced.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *letter == to[j - 1] && from[i - 1] == *other {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows.last().and_then(|row| row.last()).copied().unwrap_or_default()
}

/// Any other error, as the parser says it: the first paragraph is the error, the rest are hints.
fn rendered(error: &clap::Error) -> Wrong {
    let text = error.render().to_string();
    let mut paragraphs =
        text.split("\n\n").map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "));
    let message = paragraphs.next().unwrap_or_default();
    let hints: Vec<String> = paragraphs.filter(|paragraph| !paragraph.is_empty()).collect();
    Wrong {
        message: message.strip_prefix("error: ").unwrap_or(&message).to_owned(),
        hint: (!hints.is_empty()).then(|| hints.join("; ")),
    }
}

/// The command that the words name, with the program: as far as there is such a command.
fn command_path(words: &[OsString]) -> String {
    let mut path = "mydocker".to_owned();
    let mut command = Arguments::command();
    for word in words.iter().skip(1).filter_map(|word| word.to_str()) {
        if let Some(found) = command.find_subcommand(word) {
            path = format!("{path} {}", found.get_name());
            command = found.clone();
        } else if !word.starts_with('-') && path != "mydocker" {
            break;
        }
    }
    path
}

/// In which form errors are wanted. The parser did not come so far as to say it.
fn format(words: &[OsString]) -> LogFormat {
    let mut words = words.iter().skip(1).filter_map(|word| word.to_str());
    while let Some(word) = words.next() {
        match word.strip_prefix("--log-format") {
            Some("=json") => return LogFormat::Json,
            Some("") => return if words.next() == Some("json") { LogFormat::Json } else { LogFormat::Text },
            _ => {}
        }
    }
    LogFormat::Text
}

/// Whether arguments are missing, or there are too many: Docker has a status of its own for that.
fn is_number_of_arguments(error: &clap::Error) -> bool {
    match error.kind() {
        ErrorKind::MissingRequiredArgument => true,
        ErrorKind::UnknownArgument
        | ErrorKind::TooFewValues
        | ErrorKind::TooManyValues
        | ErrorKind::WrongNumberOfValues => matches!(
            error.get(ContextKind::InvalidArg),
            Some(ContextValue::String(word)) if !word.starts_with('-')
        ),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(line: &str) -> (String, String) {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let words = super::super::spelling::normalize(words);
        let error = super::super::parse::arguments(&words).expect_err("wrong usage");
        let Wrong { message, hint } = explain(&error, &words);
        (message, hint.unwrap_or_default())
    }

    #[test]
    fn what_docker_has_is_answered_by_name() {
        for (line, word) in [
            ("mydocker run --gpus all / true", "--gpus"),
            ("mydocker container create --link-local-ip=1.2.3.4 / true", "--link-local-ip"),
            ("mydocker swarm init", "swarm"),
            ("mydocker build .", "build"),
            ("mydocker search nginx", "search"),
        ] {
            let (message, hint) = explained(line);
            assert!(
                message.starts_with(&format!("{word}: mydocker does not have this ")),
                "{line}: {message}"
            );
            assert!(!hint.contains("did you mean") && !hint.contains("-- --"), "{line}: {hint}");
        }
    }

    #[test]
    fn a_guess_is_made_only_where_it_is_near() {
        for (line, message, hint) in [
            ("mydocker run --nmae x / true", "mydocker run has no option --nmae", "did you mean --name?"),
            ("mydocker run --zzz / true", "mydocker run has no option --zzz", "see mydocker run --help"),
            (
                "mydocker run --hopeless / true",
                "mydocker run has no option --hopeless",
                "see mydocker run --help",
            ),
            ("mydocker satrt web", "mydocker has no command satrt", "did you mean start?"),
            ("mydocker frobnicate", "mydocker has no command frobnicate", "see mydocker --help"),
            ("mydocker network creat x", "mydocker network has no command creat", "did you mean create?"),
            ("mydocker network zap x", "mydocker network has no command zap", "see mydocker network --help"),
        ] {
            assert_eq!(explained(line), (message.to_owned(), hint.to_owned()), "{line}");
        }
    }

    #[test]
    fn letters_that_were_changed_are_counted() {
        for (from, to, expected) in [
            ("name", "name", 0),
            ("nmae", "name", 1),
            ("nam", "name", 1),
            ("gpus", "cpus", 1),
            ("a", "xyz", 3),
        ] {
            assert_eq!(distance(from, to), expected, "{from} {to}");
        }
    }

    #[test]
    fn nothing_that_is_there_is_said_to_be_missing() {
        let command = Arguments::command();
        for sub in command.get_subcommands() {
            assert_eq!(missing(sub.get_name()), None);
            for below in sub.get_subcommands() {
                assert_eq!(missing(&format!("{} {}", sub.get_name(), below.get_name())), None);
            }
        }
    }
}
