//! How the command lines of `run`, `create` and `exec` differ from what the parser knows.
//!
//! Their options end with the image or the container: what follows is the container's own command, whatever
//! it looks like. And long options may be written with a single dash, `-name bird` for `--name bird`. Both
//! are brought into the parser's form before it sees the arguments.

use std::ffi::OsString;

use clap::CommandFactory as _;

/// The long options that may be written with one dash.
const SINGLE_DASH: [&str; 5] = ["name", "net", "mem", "cpu", "cpuset"];

/// Brings the arguments of `run`, `create` and `exec` into the parser's form; others stay as they are.
pub(super) fn normalize(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let command = match super::parse::name(&arguments) {
        // To describe all commands takes longer than most of them.
        Some(name @ ("run" | "create" | "exec")) => super::parse::alone(name),
        Some("container") | None => Some(super::Arguments::command()),
        Some(_) => None,
    };
    let Some(command) = command else { return arguments };
    let Some((subcommand, mut place)) = subcommand_with_command(&command, &arguments) else {
        return arguments;
    };
    while let Some(word) = arguments.get(place).map(|word| word.to_string_lossy().into_owned()) {
        if word == "--" {
            break;
        }
        if word == "-" || !word.starts_with('-') {
            arguments.insert(place, "--".into());
            break;
        }
        let word = match word.strip_prefix('-').filter(|rest| is_long_option(rest)) {
            Some(rest) => {
                let respelled = format!("--{rest}");
                arguments[place] = OsString::from(&respelled);
                respelled
            }
            None => word,
        };
        place += if takes_next_word(subcommand, &word) { 2 } else { 1 };
    }
    arguments
}

fn is_long_option(text: &str) -> bool {
    SINGLE_DASH.contains(&text.split_once('=').map_or(text, |(name, _)| name))
}

/// The subcommand, if it is one whose options end with an image or a container, and where its options start.
/// The subcommand is the first word that is neither a global option nor its value.
fn subcommand_with_command<'a>(
    command: &'a clap::Command,
    arguments: &[OsString],
) -> Option<(&'a clap::Command, usize)> {
    let mut command = command;
    let mut place = 1;
    loop {
        let word = arguments.get(place)?.to_str()?;
        place += 1;
        if matches!(word, "run" | "create" | "exec") {
            return Some((command.find_subcommand(word)?, place));
        }
        if word == "container" {
            command = command.find_subcommand(word)?;
            continue;
        }
        if !word.starts_with('-') {
            return None;
        }
        if takes_next_word(command, word) {
            place += 1;
        }
    }
}

/// Whether the option consumes the word after it.
fn takes_next_word(command: &clap::Command, word: &str) -> bool {
    let takes = |arg: &clap::Arg| arg.get_action().takes_values() && !arg.is_require_equals_set();
    if let Some(long) = word.strip_prefix("--") {
        return !long.contains('=')
            && command.get_arguments().any(|arg| {
                takes(arg)
                    && (arg.get_long() == Some(long)
                        || arg.get_all_aliases().is_some_and(|a| a.contains(&long)))
            });
    }
    // In a cluster such as -itp the first option with a value takes the rest, or the next word if it is last.
    for (position, letter) in word.char_indices().skip(1) {
        if command.get_arguments().any(|arg| arg.get_short() == Some(letter) && takes(arg)) {
            return position + letter.len_utf8() == word.len();
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalized(line: &str) -> String {
        let words = line.split(' ').map(OsString::from).collect();
        let words = normalize(words);
        words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn single_dash_long_options_are_understood() {
        assert_eq!(
            normalized("mydocker run -d -e bird=123 -name bird -net=br0 / top"),
            "mydocker run -d -e bird=123 --name bird --net=br0 -- / top"
        );
        assert_eq!(
            normalized("mydocker --root /x run -it -net br0 / sh"),
            "mydocker --root /x run -it --net br0 -- / sh"
        );
    }

    #[test]
    fn what_follows_image_or_container_is_the_containers_own() {
        for (line, expected) in [
            ("mydocker run / find . -name x", "mydocker run -- / find . -name x"),
            ("mydocker run / -e", "mydocker run -- / -e"),
            ("mydocker run -e -name / ls", "mydocker run -e -name -- / ls"),
            ("mydocker run -p 80:80 / ip -net x", "mydocker run -p 80:80 -- / ip -net x"),
            ("mydocker run -itp 80:80 / sh", "mydocker run -itp 80:80 -- / sh"),
            ("mydocker exec -it bird find -name x", "mydocker exec -it -- bird find -name x"),
            ("mydocker container run -it / ls -l", "mydocker container run -it -- / ls -l"),
            ("mydocker run --sig-proxy / ls", "mydocker run --sig-proxy -- / ls"),
            ("mydocker run --sig-proxy=false / ls", "mydocker run --sig-proxy=false -- / ls"),
            ("mydocker run -- / ls", "mydocker run -- / ls"),
            ("mydocker run --bogus / ls", "mydocker run --bogus -- / ls"),
        ] {
            assert_eq!(normalized(line), expected);
        }
    }

    #[test]
    fn other_commands_are_left_alone() {
        for line in [
            "mydocker container ls -name",
            "mydocker ps -name",
            "mydocker network run -name",
            "mydocker run --help",
            "mydocker",
        ] {
            assert_eq!(normalized(line), line);
        }
    }
}
