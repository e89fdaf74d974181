//! The table of Docker's options in `src/cli/options/docker.md`, held against what the program itself says.

use std::collections::BTreeMap;

use crate::host::Host;

/// The rows of the table: the long option, and whether it is said to work.
fn table() -> BTreeMap<String, bool> {
    let page = include_str!("../../src/cli/options/docker.md");
    let rows = page.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    rows.inspect(|line| assert!(line.starts_with('|'), "something follows the table: {line}"))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let option = cells[1].rsplit(' ').next().unwrap().trim_matches('`').to_owned();
            assert!(matches!(cells[2], "works" | "not yet"), "{line}");
            (option, cells[2] == "works")
        })
        .collect()
}

/// The long options that a help text lists, without their aliases.
fn listed(help: &str) -> Vec<String> {
    let words = help.lines().filter_map(|line| {
        let line = line.trim_start();
        let rest = if line.starts_with("--") {
            line
        } else {
            line.split_once(", ").filter(|_| line.starts_with('-'))?.1
        };
        let option: String =
            rest.chars().take_while(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-').collect();
        option.starts_with("--").then_some(option)
    });
    words.collect()
}

/// What `run` has beyond Docker's options.
const OWN: [&str; 9] = [
    "--dry-run",
    "--health-on-failure",
    "--help",
    "--pidfile",
    "--root",
    "--run-root",
    "--log-level",
    "--debug",
    "--log-format",
];

#[test]
fn the_table_tells_the_truth_about_every_option() {
    let host = Host::new();
    let table = table();
    assert!(table.len() > 90, "{} options only", table.len());
    let help = host.mydocker(&["run", "--help"]).ok();
    let listed = listed(&help);
    for (option, works) in &table {
        assert_eq!(listed.contains(option), *works, "{option}: the table says {works}");
        if !works {
            // Refused, not ignored.
            let output = host.mydocker(&["run", "--rm", "--net", "none", option, &host.image, "true"]);
            output.refused(&[125], &[option]);
        }
    }
    for option in &listed {
        let known = table.contains_key(option) || OWN.contains(&option.as_str());
        assert!(known, "{option} is missing in the table of options");
    }
    host.assert_nothing_left();
}

#[test]
fn create_has_the_options_of_run() {
    let host = Host::new();
    let of = |command: &str| listed(&host.mydocker(&[command, "--help"]).ok());
    let create = of("create");
    let only_run = ["--dry-run", "--detach", "--detach-keys", "--sig-proxy"];
    for option in of("run").iter().filter(|option| !only_run.contains(&option.as_str())) {
        assert!(create.contains(option), "create lacks {option}");
    }
}
