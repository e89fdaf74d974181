//! The help of the program itself: its commands in groups, as people look for them.

use std::fmt::Write as _;

use clap::Command;

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
    ("System", &["completion", "help", "info", "inspect", "system", "version"]),
];

/// The command with a help that lists its commands in groups.
pub(super) fn grouped(command: Command) -> Command {
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n{}\nOptions:\n{{options}}{{after-help}}",
        groups(&command)
    );
    command.help_template(template)
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
    use clap::CommandFactory as _;

    use super::super::Arguments;
    use super::*;

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
