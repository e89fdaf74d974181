//! A long session written from Docker's documentation: each command gives Docker's status and output.
//!
//! The script is `testdata/docker.session`:
//!
//! ```text
//! # a remark
//! $ docker run --rm IMAGE echo hello     a line for the shell; IMAGE stands for the small image's path
//! hello                                   what it prints, line by line; `*` stands for anything in a line
//! ...                                     any number of lines
//! ! No such container*                    a line of standard error that has to be there
//! = 125                                   the exit status, if it is not 0
//! ```

use crate::host::Host;
use crate::program::Output;

/// One command and what is expected of it.
#[derive(Debug, Default)]
struct Step {
    line: usize,
    command: String,
    output: Vec<String>,
    errors: Vec<String>,
    status: i32,
}

fn parse(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step { line: number + 1, command: command.to_owned(), ..Step::default() });
            continue;
        }
        if line.is_empty() || line.starts_with("# ") {
            continue;
        }
        let step = steps.last_mut().expect("a command before its output");
        if let Some(error) = line.strip_prefix("! ") {
            step.errors.push(error.to_owned());
        } else if let Some(status) = line.strip_prefix("= ") {
            step.status = status.parse().expect("a status");
        } else {
            step.output.push(line.to_owned());
        }
    }
    steps
}

/// Whether a line is as expected, where `*` stands for anything.
fn fits(pattern: &str, line: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == line };
    let Some(mut left) = line.strip_prefix(start) else { return false };
    if rest.is_empty() {
        return true;
    }
    loop {
        if fits(rest, left) {
            return true;
        }
        let mut characters = left.chars();
        if characters.next().is_none() {
            return false;
        }
        left = characters.as_str();
    }
}

fn all_fit(patterns: &[String], lines: &[&str]) -> bool {
    match patterns.split_first() {
        None => lines.is_empty(),
        Some((first, rest)) if first == "..." => (0..=lines.len()).any(|skip| all_fit(rest, &lines[skip..])),
        Some((first, rest)) => {
            lines.first().is_some_and(|line| fits(first, line) && all_fit(rest, &lines[1..]))
        }
    }
}

fn run(host: &Host, step: &Step) -> Output {
    let binary = env!("CARGO_BIN_EXE_mydocker");
    let script = format!("set -o pipefail; cd \"$WORK\"; docker() {{ {binary} \"$@\"; }}; {}", step.command);
    let work = host.root("..").join("session");
    let program = host.program(&["bash", "-c", &script.replace("IMAGE", &host.image)]);
    program.environment("WORK", work.to_str().expect("a plain path")).run_in(&host.space)
}

#[test]
fn a_session_from_dockers_documentation_gives_dockers_results() {
    let host = Host::new();
    host.scratch("session");
    let steps = parse(include_str!("testdata/docker.session"));
    assert!(steps.len() >= 60, "{} commands only", steps.len());
    let mut complaints = Vec::new();
    for step in &steps {
        let output = run(&host, step);
        let lines: Vec<&str> = output.stdout.lines().collect();
        let wrong = if output.status.code() != Some(step.status) {
            Some(format!("the status should be {}", step.status))
        } else if !all_fit(&step.output, &lines) {
            Some(format!("the output should be\n{}", step.output.join("\n")))
        } else {
            let missing = |error: &&String| !output.stderr.lines().any(|line| fits(error, line));
            step.errors.iter().find(missing).map(|error| format!("there should be the error {error:?}"))
        };
        if let Some(wrong) = wrong {
            complaints.push(format!("line {}: {}\n{wrong}\nbut: {output}", step.line, step.command));
        }
    }
    // All of them at once: one look shows whether the first led to the others.
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    host.assert_nothing_left();
}

#[test]
fn patterns_fit_what_they_say() {
    assert!(
        fits("a*c", "abc") && fits("*", "") && fits("a*b*", "a-b-") && !fits("a*c", "ab") && !fits("a", "ab")
    );
    let patterns = ["a", "...", "z"].map(str::to_owned);
    assert!(
        all_fit(&patterns, &["a", "b", "z"])
            && all_fit(&patterns, &["a", "z"])
            && !all_fit(&patterns, &["a"])
    );
}
