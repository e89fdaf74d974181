//! Reading the command line.
//!
//! To describe all commands to clap takes longer (0.8 ms) than to read one. So a command that is often waited for is
//! first read by a parser that knows this command alone; what that one does not accept, and every help text, is left to
//! the whole one.
//!
//! Options are read as Docker's parser reads them, whatever the command: a boolean one may have a value (`--rm=false`),
//! one that is given twice counts the last time, and what follows an option that takes a value is its value, even if it
//! begins with a dash (`--tail -1`). An empty text (`--name ""`) is as if the option were not there.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Args as _, Command, CommandFactory as _, FromArgMatches as _};

use super::{Arguments, Options, create, exec, help, network, ps, rm, run, start, stop, supervise};

/// What the words (the program's name first) ask for.
pub(super) fn arguments(words: &[OsString]) -> Result<Arguments, clap::Error> {
    let command = name(words).and_then(alone);
    let read = command.and_then(|command| {
        let matches = as_docker_reads(command).try_get_matches_from(words).ok()?;
        Arguments::from_arg_matches(&matches).ok()
    });
    read.map_or_else(|| whole(words), Ok)
}

/// The value names of options that are numbers: they have no empty value.
const NUMBERS: [&str; 6] = ["N", "NUMBER", "SIZE", "SECONDS", "MICROSECONDS", "true|false"];

/// Reads the words by the parser that knows all commands.
fn whole(words: &[OsString]) -> Result<Arguments, clap::Error> {
    let command = as_docker_reads(Arguments::command());
    let mut words = words.to_vec();
    if words.len() == 1 {
        // Whoever asks for nothing is shown what there is.
        words.push("--help".into());
    }
    loop {
        let error = match command.clone().try_get_matches_from(&words) {
            Ok(matches) => return Arguments::from_arg_matches(&matches),
            Err(error) => error,
        };
        if matches!(
            error.kind(),
            ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        ) {
            // The help shows the options as they are usually written: without the values that nobody gives them.
            let command = help::grouped(Arguments::command());
            return Err(command.try_get_matches_from(&words).err().unwrap_or(error));
        }
        match without_empty_text(&command, &words, &error) {
            Some(rest) => words = rest,
            None => return Err(error),
        }
    }
}

/// The words without an option whose empty value was refused, if that is a text.
fn without_empty_text(command: &Command, words: &[OsString], error: &clap::Error) -> Option<Vec<OsString>> {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let refused = text(ContextKind::InvalidArg).filter(|_| text(ContextKind::InvalidValue) == Some(""))?;
    let long = refused.strip_prefix("--")?.split([' ', '=', '[']).next()?;
    let option = option_named(command, long)?;
    let is_number =
        option.get_value_names().into_iter().flatten().any(|name| NUMBERS.contains(&name.as_str()));
    if is_number || !matches!(option.get_action(), ArgAction::Set) {
        return None;
    }
    let short = option.get_short().map(|letter| format!("-{letter}"));
    let mut rest = words.to_vec();
    for (place, word) in words.iter().enumerate() {
        let word = word.to_str().unwrap_or_default();
        let is_option = word.strip_prefix("--") == Some(long) || short.as_deref() == Some(word);
        if word == "--" {
            break;
        } else if word.strip_prefix("--").and_then(|word| word.strip_suffix('=')) == Some(long) {
            rest.remove(place);
            return Some(rest);
        } else if is_option && words.get(place + 1).is_some_and(|value| value.is_empty()) {
            rest.drain(place..place + 2);
            return Some(rest);
        }
    }
    None
}

fn option_named<'a>(command: &'a Command, long: &str) -> Option<&'a Arg> {
    let own = command.get_arguments().find(|arg| arg.get_long() == Some(long));
    own.or_else(|| command.get_subcommands().find_map(|command| option_named(command, long)))
}

/// A parser that takes options as Docker's does.
fn as_docker_reads(command: Command) -> Command {
    let command = command.args_override_self(true).mut_args(|arg| match arg.get_action() {
        ArgAction::SetTrue => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .value_name("true|false")
            .value_parser(boolean)
            .default_missing_value("true")
            .default_value("false"),
        ArgAction::Set | ArgAction::Append if !arg.is_positional() => with_any_value(arg),
        _ => arg,
    });
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| command.mut_subcommand(name, as_docker_reads))
}

fn with_any_value(arg: Arg) -> Arg {
    // One whose value is optional has it behind an equals sign only: these are the booleans that are true by themselves.
    if arg.is_require_equals_set() { arg.value_parser(boolean) } else { arg.allow_hyphen_values(true) }
}

/// What Docker takes for a truth value.
fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}

/// The word that names the command: the first one that is no option, nor the value of one.
pub(super) fn name(words: &[OsString]) -> Option<&str> {
    let mut words = words.iter().skip(1);
    loop {
        let word = words.next()?.to_str()?;
        match word {
            "--root" | "--run-root" | "--log-level" | "--log-format" => drop(words.next()?),
            _ if word.starts_with('-') && !word.contains('=') => return None,
            _ if word.starts_with('-') => {}
            _ => return Some(word),
        }
    }
}

/// The parser for one command.
pub(super) fn alone(name: &str) -> Option<Command> {
    let command = match name {
        "run" => run::Args::augment_args(Command::new("run")),
        "create" => create::Args::augment_args(Command::new("create")),
        "start" => start::Args::augment_args(Command::new("start")),
        "stop" => stop::Args::augment_args(Command::new("stop")),
        "exec" => exec::Args::augment_args(Command::new("exec")),
        "rm" => rm::Args::augment_args(Command::new("rm")),
        "ps" => ps::Args::augment_args(Command::new("ps")),
        "network" => network::Args::augment_args(Command::new("network")),
        "supervise" => supervise::Args::augment_args(Command::new("supervise")),
        _ => return None,
    };
    Some(Options::augment_args(Command::new("mydocker")).subcommand_required(true).subcommand(command))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        super::super::spelling::normalize(line.split(' ').map(OsString::from).collect())
    }

    #[test]
    fn the_command_is_found_behind_the_options() {
        assert_eq!(name(&words("mydocker ps -a")), Some("ps"));
        assert_eq!(name(&words("mydocker --root /x --log-level=debug run --root")), Some("run"));
        for none in ["mydocker", "mydocker --help", "mydocker --root", "mydocker -x ps", "mydocker --root /x"]
        {
            assert_eq!(name(&words(none)), None, "{none}");
        }
    }

    #[test]
    fn a_command_read_alone_is_read_as_among_all_others() {
        let lines = [
            "mydocker ps -aq --filter name=x --format {{.ID}}",
            "mydocker --root /x run --rm -it -p 80:80 -e A=B --net n / sh -c exit",
            "mydocker run -d --name c -v /a:/b:ro --restart on-failure:3 image",
            "mydocker exec -it -u 1 c sh",
            "mydocker rm -fv a b",
            "mydocker start -a c",
            "mydocker stop -t 3 c",
            "mydocker network create --subnet 10.0.0.0/24 --internal n",
            "mydocker network connect --netns /run/netns/x -p 80:80 n",
            "mydocker --run-root /r --log-format json supervise",
        ];
        for line in lines {
            let words = words(line);
            let command = name(&words).and_then(alone).expect("a command of its own");
            let matches = as_docker_reads(command).try_get_matches_from(&words).expect(line);
            let read = Arguments::from_arg_matches(&matches);
            let whole = Arguments::try_parse_from(&words).expect(line);
            assert_eq!(format!("{:?}", read.expect(line)), format!("{whole:?}"));
        }
    }

    #[test]
    fn what_is_wrong_is_told_by_the_parser_that_knows_all() {
        for line in
            ["mydocker ps --no-such-option", "mydocker run", "mydocker network creat n", "mydocker rm --help"]
        {
            let told = arguments(&words(line)).expect_err(line).to_string();
            let whole = Arguments::try_parse_from(words(line)).expect_err(line).to_string();
            assert_eq!(told, whole);
        }
    }

    /// Every option of every command: the words that lead to the command, and the option.
    fn all_options() -> Vec<(Vec<String>, Arg)> {
        fn collect(command: &Command, path: &[String], found: &mut Vec<(Vec<String>, Arg)>) {
            let options =
                command.get_arguments().filter(|arg| !arg.is_positional() && arg.get_long().is_some());
            found.extend(options.map(|arg| (path.to_vec(), arg.clone())));
            for sub in command.get_subcommands() {
                collect(sub, &[path, &[sub.get_name().to_owned()]].concat(), found);
            }
        }
        let mut found = Vec::new();
        collect(&Arguments::command(), &["mydocker".to_owned()], &mut found);
        assert!(found.len() > 200, "{}", found.len());
        found
    }

    /// What the options were read as, or what is wrong with them. That arguments are missing does not matter.
    fn read(path: &[String], options: &[&str]) -> Result<(), String> {
        let words = path.iter().map(String::as_str).chain(options.iter().copied()).map(OsString::from);
        match arguments(&words.collect::<Vec<_>>()) {
            Ok(_) => Ok(()),
            Err(error) => match error.kind() {
                ErrorKind::MissingRequiredArgument
                | ErrorKind::MissingSubcommand
                | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Ok(()),
                _ => Err(error.to_string()),
            },
        }
    }

    #[test]
    fn every_boolean_option_may_have_a_value_and_be_given_twice() {
        let mut count = 0;
        for (path, option) in all_options() {
            let is_boolean = matches!(option.get_action(), ArgAction::SetTrue)
                || option.is_require_equals_set()
                    && option.get_num_args().is_some_and(|n| n.min_values() == 0);
            if !is_boolean {
                continue;
            }
            count += 1;
            let long = format!("--{}", option.get_long().unwrap());
            for value in ["true", "True", "1", "t", "false", "FALSE", "0", "f"] {
                let with = format!("{long}={value}");
                read(&path, &[&with]).unwrap();
                read(&path, &[&long, &with, &long]).unwrap();
            }
            for bad in ["yes", "2"] {
                let error = read(&path, &[&format!("{long}={bad}")]).unwrap_err();
                assert!(error.contains(&long), "{error}");
            }
        }
        assert!(count > 40, "{count}");
    }

    #[test]
    fn every_option_with_one_value_counts_the_last_time_and_may_be_an_empty_text() {
        for (path, option) in all_options() {
            let takes_one = matches!(option.get_action(), ArgAction::Set) && !option.is_require_equals_set();
            if !takes_one {
                continue;
            }
            let long = format!("--{}", option.get_long().unwrap());
            // What begins with a dash is the value; whether it is a good one is another question.
            for value in ["-1", "-x", "--name"] {
                for given in [vec![long.as_str(), value], vec![&long, value, &long, value]] {
                    let error = read(&path, &given).err().unwrap_or_default();
                    assert!(!error.contains("cannot be used multiple times"), "{path:?} {given:?} {error}");
                    assert!(!error.contains("a value is required"), "{path:?} {given:?} {error}");
                }
            }
            let names: Vec<&str> =
                option.get_value_names().into_iter().flatten().map(clap::builder::Str::as_str).collect();
            let is_number = names.iter().any(|name| NUMBERS.contains(name));
            for given in [vec![long.as_str(), ""], vec![&format!("{long}=")]] {
                assert_eq!(read(&path, &given).is_err(), is_number, "{path:?} {given:?}");
            }
        }
    }

    #[test]
    fn the_last_of_several_values_counts() {
        let lines = [
            ("mydocker run --name a --rm=false --name b --rm -- x", "mydocker run --name b --rm -- x"),
            ("mydocker run --rm --rm=false -d=false -- x", "mydocker run -- x"),
            ("mydocker logs --tail -1 c", "mydocker logs --tail=-1 c"),
            ("mydocker run -e -FOO=1 -- x", "mydocker run -e=-FOO=1 -- x"),
        ];
        for (line, same) in lines {
            let [given, wanted] = [line, same].map(|line| arguments(&words(line)).expect(line));
            assert_eq!(format!("{given:?}"), format!("{wanted:?}"), "{line}");
        }
    }
}
