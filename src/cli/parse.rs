//! Reading the command line.
//!
//! To describe all commands to clap takes longer (0.8 ms) than to read one. So a command that is often waited for is
//! first read by a parser that knows this command alone; what that one does not accept, and every help text, is left to
//! the whole one.

use std::ffi::OsString;

use clap::{Args as _, FromArgMatches as _, Parser as _};

use super::{Arguments, Options, exec, network, ps, rm, run, start, stop, supervise};

/// What the words (the program's name first) ask for.
pub(super) fn arguments(words: &[OsString]) -> Result<Arguments, clap::Error> {
    let command = name(words).and_then(alone);
    let read = command.and_then(|command| {
        let matches = command.try_get_matches_from(words).ok()?;
        Arguments::from_arg_matches(&matches).ok()
    });
    read.map_or_else(|| Arguments::try_parse_from(words), Ok)
}

/// The word that names the command: the first one that is no option, nor the value of one.
fn name(words: &[OsString]) -> Option<&str> {
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
fn alone(name: &str) -> Option<clap::Command> {
    let command = match name {
        "run" => run::Args::augment_args(clap::Command::new("run")),
        "start" => start::Args::augment_args(clap::Command::new("start")),
        "stop" => stop::Args::augment_args(clap::Command::new("stop")),
        "exec" => exec::Args::augment_args(clap::Command::new("exec")),
        "rm" => rm::Args::augment_args(clap::Command::new("rm")),
        "ps" => ps::Args::augment_args(clap::Command::new("ps")),
        "network" => network::Args::augment_args(clap::Command::new("network")),
        "supervise" => supervise::Args::augment_args(clap::Command::new("supervise")),
        _ => return None,
    };
    Some(Options::augment_args(clap::Command::new("mydocker")).subcommand_required(true).subcommand(command))
}

#[cfg(test)]
mod tests {
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
            let read = Arguments::from_arg_matches(&command.try_get_matches_from(&words).expect(line));
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
}
