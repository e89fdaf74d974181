//! Samples, and what is made of them: a file with all of them, a table, a plot.

use std::fmt::Write as _;
use std::time::Duration;

use crate::tools::{
    BRIDGE, CNI, COMMAND, DOCKER, FLOOR, LIBRARY, MYDOCKER, NETAVARK, PODMAN, PODMAN_NETAVARK,
};
use crate::{machine, plot, raw};

/// A job belongs to the last of them whose first tool does it.
const TABLES: [&[&str]; 3] = [
    &[FLOOR, LIBRARY, COMMAND, NETAVARK, CNI],
    &[MYDOCKER, PODMAN, PODMAN_NETAVARK, DOCKER],
    &[BRIDGE, MYDOCKER, PODMAN, PODMAN_NETAVARK, DOCKER],
];

/// What one measured at one job.
pub(crate) struct Row {
    pub(crate) job: String,
    pub(crate) tool: String,
    pub(crate) outcome: Result<Vec<Duration>, String>,
}

impl Row {
    /// The median, the fastest and the slowest.
    pub(crate) fn summary(&self) -> Option<(Duration, Duration, Duration)> {
        let mut times = self.outcome.clone().ok()?;
        times.sort_unstable();
        Some((times[times.len() / 2], *times.first()?, *times.last()?))
    }
}

pub(crate) struct Results {
    facts: Vec<String>,
    rows: Vec<Row>,
}

impl Results {
    pub(crate) fn new(versions: Vec<String>) -> Self {
        let facts = [machine::describe(), versions].concat();
        facts.iter().for_each(|fact| println!("{fact}"));
        Self { facts, rows: Vec::new() }
    }

    fn row(&mut self, job: &str, tool: &str) -> &mut Row {
        let known = self.rows.iter().position(|row| row.job == job && row.tool == tool);
        let index = known.unwrap_or_else(|| {
            self.rows.push(Row { job: job.to_owned(), tool: tool.to_owned(), outcome: Ok(Vec::new()) });
            self.rows.len() - 1
        });
        &mut self.rows[index]
    }

    pub(crate) fn sample(&mut self, job: &str, tool: &str, took: Duration) {
        if let Ok(times) = &mut self.row(job, tool).outcome {
            times.push(took);
        }
    }

    /// Whoever fails once has no result.
    pub(crate) fn missing(&mut self, job: &str, tool: &str, reason: &str) {
        println!("missing: {job}: {tool}: {reason}");
        self.row(job, tool).outcome = Err(reason.to_owned());
    }

    /// What is no time: a line before the tables.
    pub(crate) fn fact(&mut self, fact: String) {
        println!("{fact}");
        self.facts.push(fact);
    }

    /// In the order in which they came.
    fn jobs(&self) -> Vec<&str> {
        let mut jobs: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !jobs.contains(&row.job.as_str()) {
                jobs.push(&row.job);
            }
        }
        jobs
    }

    /// All of one job together, the fastest first.
    fn sorted(&self) -> Vec<&Row> {
        let jobs = self.jobs();
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        rows.sort_by_key(|row| {
            let job = jobs.iter().position(|job| *job == row.job);
            (job, row.summary().map_or(Duration::MAX, |(median, ..)| median))
        });
        rows
    }

    /// What the job's others are compared with: mydocker as one would call it.
    fn reference(&self, job: &str) -> Option<(&'static str, Duration)> {
        [COMMAND, MYDOCKER, LIBRARY].into_iter().find_map(|tool| {
            let row = self.rows.iter().find(|row| row.job == job && row.tool == tool)?;
            Some((tool, row.summary()?.0))
        })
    }

    /// A table of a job a line and a column for each of those who do it, then why who is missing, then all of it.
    pub(crate) fn tables(&self) -> String {
        let mut text = self.facts.iter().fold(String::new(), |text, fact| text + "- " + fact + "\n");
        let mut reasons: Vec<&String> = Vec::new();
        for (table, tools) in TABLES.iter().enumerate() {
            let _ = writeln!(text, "\n| | {} |\n|---|{}", tools.join(" | "), "--:|".repeat(tools.len()));
            for job in self.jobs() {
                let row = |tool: &&str| self.rows.iter().find(|row| row.job == job && row.tool == **tool);
                if TABLES.iter().rposition(|tools| row(&tools[0]).is_some()) != Some(table) {
                    continue;
                }
                let _ = write!(text, "| {job} |");
                for tool in *tools {
                    let cell = match row(tool).map(|row| (row.summary(), &row.outcome)) {
                        Some((Some((median, ..)), _)) => {
                            milliseconds(median) + &self.compared(job, tool, median)
                        }
                        Some((None, Err(reason))) => {
                            if !reasons.contains(&reason) {
                                reasons.push(reason);
                            }
                            let number = reasons.iter().position(|known| *known == reason);
                            format!("missing ({})", number.unwrap_or_default() + 1)
                        }
                        _ => "missing".to_owned(),
                    };
                    let _ = write!(text, " {cell} |");
                }
                text.push('\n');
            }
        }
        for (number, reason) in reasons.iter().enumerate() {
            let _ = write!(text, "\n({}) {reason}\n", number + 1);
        }
        text + "\n| job | who | rounds | median | fastest | slowest |\n|---|---|--:|--:|--:|--:|\n"
            + &self.whole()
    }

    /// How many times as long as mydocker, as one would call it, somebody else takes.
    fn compared(&self, job: &str, tool: &str, median: Duration) -> String {
        match self.reference(job) {
            Some((_, time)) if ![FLOOR, LIBRARY, COMMAND, MYDOCKER].contains(&tool) => {
                format!(" ({:.2}×)", median.as_secs_f64() / time.as_secs_f64())
            }
            _ => String::new(),
        }
    }

    fn whole(&self) -> String {
        let mut table = String::new();
        for row in self.sorted() {
            let Row { job, tool, outcome } = row;
            let _ = match (row.summary(), outcome) {
                (Some((median, fastest, slowest)), Ok(times)) => {
                    let [median, fastest, slowest] = [median, fastest, slowest].map(milliseconds);
                    writeln!(table, "| {job} | {tool} | {} | {median} | {fastest} | {slowest} |", times.len())
                }
                (_, Err(reason)) => writeln!(table, "| {job} | {tool} | missing: {reason} | | | |"),
                (None, Ok(_)) => writeln!(table, "| {job} | {tool} | missing: not measured | | | |"),
            };
        }
        table
    }

    fn samples(&self) -> String {
        let mut text = self.facts.iter().fold(String::new(), |text, fact| text + "# " + fact + "\n");
        text.push_str("job,who,round,nanoseconds,missing\n");
        for Row { job, tool, outcome } in self.sorted() {
            let [job, tool] = [job, tool].map(|text| raw::quoted(text));
            match outcome {
                Ok(times) => {
                    for (round, took) in times.iter().enumerate() {
                        let _ = writeln!(text, "{job},{tool},{},{},", round + 1, took.as_nanos());
                    }
                }
                Err(reason) => {
                    let _ = writeln!(text, "{job},{tool},,,{}", raw::quoted(reason));
                }
            }
        }
        text
    }

    /// What a raw file tells.
    pub(crate) fn of(text: &str) -> Self {
        let mut results = Self { facts: raw::facts(text).map(str::to_owned).collect(), rows: Vec::new() };
        for line in raw::lines(text) {
            let [job, tool, _, nanoseconds, missing] = line.as_slice() else { panic!("no sample: {line:?}") };
            match nanoseconds.parse() {
                Ok(nanoseconds) => results.sample(job, tool, Duration::from_nanos(nanoseconds)),
                Err(_) => results.row(job, tool).outcome = Err(missing.clone()),
            }
        }
        results
    }

    /// Writes what there is, if it is wanted: the whole run takes long.
    pub(crate) fn save(&self) {
        if let Some(path) = raw::path("peers", "csv") {
            std::fs::write(path, self.samples()).unwrap();
        }
    }

    /// Prints the tables, and writes the files if they are wanted.
    pub(crate) fn report(&self) {
        let samples = self.samples();
        let written = Self::of(&samples);
        println!("\n{}", written.tables());
        let files = [("csv", samples), ("md", written.tables()), ("svg", plot::draw(&written.sorted()))];
        for (ending, text) in files {
            if let Some(path) = raw::path("peers", ending) {
                std::fs::write(&path, text).unwrap();
                println!("written: {}", path.file_name().unwrap().display());
            }
        }
    }
}

/// With three digits that count.
pub(crate) fn milliseconds(time: Duration) -> String {
    let time = time.as_secs_f64() * 1e3;
    match time {
        ..10.0 => format!("{time:.2} ms"),
        ..100.0 => format!("{time:.1} ms"),
        _ => format!("{time:.0} ms"),
    }
}
