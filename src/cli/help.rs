//! The help of the program itself: its commands in groups, as people look for them.

use std::fmt::Write as _;

use clap::Command;
use clap::builder::Resettable;

/// The groups in their order, and the commands of each in theirs.
const GROUPS: [(&str, &[&str]); 6] = [
    ("Common commands", &["run", "exec", "ps", "logs", "stop", "rm"]),
    (
        "Containers",
        &[
            "attach",
            "commit",
            "container",
            "cp",
            "create",
            "diff",
            "export",
            "kill",
            "pause",
            "port",
            "rename",
            "restart",
            "start",
            "stats",
            "top",
            "unpause",
            "update",
            "wait",
        ],
    ),
    (
        "Images",
        &[
            "history", "image", "images", "import", "load", "login", "logout", "pull", "push", "rmi", "save",
            "tag",
        ],
    ),
    ("Networks", &["network"]),
    ("Volumes", &["volume"]),
    ("System", &["boot", "completion", "events", "generate", "help", "info", "inspect", "system", "version"]),
];

/// The command with a help that lists its commands in groups, and the options of each without empty lines between them.
pub(super) fn grouped(command: Command) -> Command {
    let command = compact(command);
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n{}\nOptions:\n{{options}}{{after-help}}",
        groups(&command)
    );
    command.help_template(template)
}

/// The command with one text for each option, whichever way the help is asked for: clap leaves empty lines between options
/// as soon as one of them has two.
fn compact(mut command: Command) -> Command {
    if let Some(long) = command.get_long_about().map(ToString::to_string) {
        // In lists of commands, the first paragraph alone stands for each.
        let short = command.get_about().map(ToString::to_string).unwrap_or_default();
        let rest = long.strip_prefix(&short).unwrap_or(&long).trim_start().to_owned();
        let after = command.get_after_help().map(|after| format!("\n\n{after}")).unwrap_or_default();
        command = command.after_help(rest + &after).long_about(Resettable::Reset);
    }
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    let command = names.into_iter().fold(command, |command, name| command.mut_subcommand(name, compact));
    command.mut_args(|arg| {
        let Some(help) = arg.get_long_help().or(arg.get_help()).map(ToString::to_string) else { return arg };
        let mut help = with_default(&help);
        let values = arg.get_possible_values();
        let described =
            !arg.is_hide_possible_values_set() && values.iter().any(|value| value.get_help().is_some());
        let mut arg = arg;
        if described {
            // Each would get a line of its own.
            let names: Vec<&str> = values.iter().map(clap::builder::PossibleValue::get_name).collect();
            write!(help, " [possible values: {}]", names.join(", ")).ok();
            arg = arg.hide_possible_values(true);
        }
        arg.help(help).long_help(Resettable::Reset)
    })
}

/// A text with what holds where the option is not given, as clap writes that itself.
fn with_default(help: &str) -> String {
    match help.rsplit_once(" (default: ") {
        Some((text, default)) if default.ends_with(')') => {
            format!("{text} [default: {}]", &default[..default.len() - 1])
        }
        _ => help.to_owned(),
    }
}

fn groups(command: &Command) -> String {
    let visible: Vec<&Command> = command.get_subcommands().filter(|sub| !sub.is_hide_set()).collect();
    let grouped = |name: &str| GROUPS.iter().any(|(_, names)| names.contains(&name));
    let others: Vec<&str> = visible.iter().map(|sub| sub.get_name()).filter(|name| !grouped(name)).collect();
    let mut text = String::new();
    for (heading, names) in GROUPS.into_iter().chain([("Other commands", others.as_slice())]) {
        let found = names.iter().filter_map(|name| visible.iter().find(|sub| sub.get_name() == *name));
        let lines = found.fold(String::new(), |mut lines, sub| {
            // Writing to a String cannot fail.
            writeln!(lines, "  {:<11} {}", sub.get_name(), sub.get_about().unwrap_or_default()).ok();
            lines
        });
        if !lines.is_empty() {
            write!(text, "\n{heading}:\n{lines}").ok();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use clap::CommandFactory as _;

    use super::super::Arguments;
    use super::*;

    /// The help of a command and of all below it, one after the other.
    fn tree(command: &mut Command, text: &mut String) {
        let help = command.clone().render_help().to_string();
        let path = command.get_bin_name().unwrap_or(command.get_name()).to_owned();
        text.push_str(&format!("$ {path} --help\n{help}\n"));
        let shown =
            command.get_subcommands_mut().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help");
        // Its commands but for `prune` are those of the program, under longer names.
        let is_longer_name = |sub: &Command| path == "mydocker container" && sub.get_name() != "prune";
        shown.filter(|sub| !is_longer_name(sub)).for_each(|sub| tree(sub, text));
    }

    /// With `MYDOCKER_NEW_HELP=1` in its environment, the test writes the file anew.
    #[test]
    fn the_help_of_every_command_is_as_it_was_read_through() {
        let mut command = grouped(Arguments::command()).term_width(100);
        command.build();
        let mut text = String::new();
        tree(&mut command, &mut text);
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/testdata/help.txt");
        if std::env::var_os("MYDOCKER_NEW_HELP").is_some() {
            let mut file = std::fs::OpenOptions::new();
            let mut file = file.write(true).create(true).truncate(true).open(&path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap();
        for (number, (kept, now)) in kept.lines().zip(text.lines()).enumerate() {
            assert_eq!(now, kept, "{}:{}", path.display(), number + 1);
        }
        assert_eq!(text.lines().count(), kept.lines().count());
        assert!(text.lines().all(|line| line.chars().count() <= 120), "a line is too long");
    }

    /// The words of an example, as a shell would read them up to what it does itself.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
        for c in line.chars() {
            match (c, quote) {
                ('\'' | '"', None) => {
                    quote = Some(c);
                    word.get_or_insert_default();
                }
                (c, Some(open)) if c == open => quote = None,
                (' ', None) => words.extend(word.take()),
                ('|' | '<' | '>' | ';', None) => break,
                (c, _) => word.get_or_insert_default().push(c),
            }
        }
        words.extend(word);
        words
    }

    #[test]
    fn examples_can_be_pasted() {
        fn examples(command: &Command, found: &mut Vec<String>) {
            let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            found.extend(text.lines().filter_map(|line| line.strip_prefix("  mydocker ")).map(str::to_owned));
            command.get_subcommands().for_each(|sub| examples(sub, found));
        }
        let mut found = Vec::new();
        examples(&Arguments::command(), &mut found);
        assert!(found.len() > 50, "{}", found.len());
        for line in found {
            let words = std::iter::once("mydocker".to_owned()).chain(words(&line));
            let words = super::super::spelling::normalize(words.map(Into::into).collect());
            if let Err(error) = super::super::parse::arguments(&words) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn every_command_is_in_one_group_and_fits_a_line() {
        let command = Arguments::command();
        let text = groups(&command);
        assert!(!text.contains("Other commands"), "{text}");
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            let start = format!("  {} ", sub.get_name());
            assert_eq!(text.lines().filter(|line| line.starts_with(&start)).count(), 1, "{}", sub.get_name());
        }
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "too long for 80 columns: {line}");
        }
        for (heading, names) in GROUPS.iter().skip(1) {
            assert!(names.is_sorted(), "{heading} is not sorted");
        }
    }
}
