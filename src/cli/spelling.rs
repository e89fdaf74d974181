//! Older spellings: long options with a single dash, `-name bird` for `--name bird`.
//!
//! They are rewritten before the arguments are parsed, and only where options stand: a container's own
//! command is never touched.

use std::ffi::OsString;

use clap::CommandFactory as _;

/// The long options that may be written with one dash.
const SINGLE_DASH: [&str; 5] = ["name", "net", "mem", "cpu", "cpuset"];

/// Replaces the older spellings by the ones that the parser knows.
pub(super) fn normalize(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let Some(options) = options_of_run(&arguments) else { return arguments };
    let command = super::Arguments::command();
    let run = command.find_subcommand("run");
    let mut place = options;
    while let Some(word) = arguments.get(place).and_then(|word| word.to_str()).map(str::to_owned) {
        let word = match word.strip_prefix('-').filter(|rest| is_long_option(rest)) {
            Some(rest) => {
                let respelled = format!("--{rest}");
                arguments[place] = OsString::from(&respelled);
                respelled
            }
            None => word,
        };
        // The first word that is no option is the image; what follows belongs to the container.
        if word == "--" || word == "-" || !word.starts_with('-') {
            break;
        }
        place += if run.is_some_and(|run| takes_next_word(run, &word)) { 2 } else { 1 };
    }
    arguments
}

fn is_long_option(text: &str) -> bool {
    SINGLE_DASH.contains(&text.split_once('=').map_or(text, |(name, _)| name))
}

/// Where the options of `run` start: behind the subcommand, which is the first word that is neither a global
/// option nor its value.
fn options_of_run(arguments: &[OsString]) -> Option<usize> {
    let command = super::Arguments::command();
    let mut place = 1;
    loop {
        let word = arguments.get(place)?.to_str()?;
        if !word.starts_with('-') {
            return (word == "run").then_some(place + 1);
        }
        place += if takes_next_word(&command, word) { 2 } else { 1 };
    }
}

/// Whether the option consumes the word after it.
fn takes_next_word(command: &clap::Command, word: &str) -> bool {
    let takes = |arg: &clap::Arg| arg.get_action().takes_values();
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
    fn single_dash_long_options_of_run_are_understood() {
        assert_eq!(
            normalized("mydocker run -d -e bird=123 -name bird -net=br0 / top"),
            "mydocker run -d -e bird=123 --name bird --net=br0 / top"
        );
        assert_eq!(
            normalized("mydocker --root /x run -it -net br0 / sh"),
            "mydocker --root /x run -it --net br0 / sh"
        );
    }

    #[test]
    fn the_containers_own_command_is_left_alone() {
        for line in [
            "mydocker run / find . -name x",
            "mydocker run -e -name / ls",
            "mydocker run -p 80:80 / ip -net x",
            "mydocker exec bird find -name x",
            "mydocker ps",
            "mydocker",
        ] {
            assert_eq!(normalized(line), line);
        }
    }
}
