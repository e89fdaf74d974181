//! Samples, and what is made of them: a file with all of them, a table, a plot.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::tools::{COMMAND, LIBRARY, MYDOCKER};
use crate::{machine, plot};

/// What one measured at one job.
pub(crate) struct Row {
    pub(crate) job: String,
    pub(crate) tool: &'static str,
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

    fn row(&mut self, job: &str, tool: &'static str) -> &mut Row {
        let known = self.rows.iter().position(|row| row.job == job && row.tool == tool);
        let index = known.unwrap_or_else(|| {
            self.rows.push(Row { job: job.to_owned(), tool, outcome: Ok(Vec::new()) });
            self.rows.len() - 1
        });
        &mut self.rows[index]
    }

    pub(crate) fn sample(&mut self, job: &str, tool: &'static str, took: Duration) {
        if let Ok(times) = &mut self.row(job, tool).outcome {
            times.push(took);
        }
    }

    /// Whoever fails once has no result.
    pub(crate) fn missing(&mut self, job: &str, tool: &'static str, reason: &str) {
        println!("missing: {job}: {tool}: {reason}");
        self.row(job, tool).outcome = Err(reason.to_owned());
    }

    /// All of one job together, in the order in which the jobs came.
    fn sorted(&self) -> Vec<&Row> {
        let mut jobs: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !jobs.contains(&row.job.as_str()) {
                jobs.push(&row.job);
            }
        }
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

    fn table(&self) -> String {
        let mut table =
            "| job | who | median | fastest | slowest | compared |\n|---|---|--:|--:|--:|--:|\n".to_owned();
        for row in self.sorted() {
            let Row { job, tool, outcome } = row;
            let _ = match (row.summary(), outcome) {
                (Some((median, fastest, slowest)), _) => {
                    let compared = self.reference(job).map_or(String::new(), |(_, reference)| {
                        format!("{:.2}×", median.as_secs_f64() / reference.as_secs_f64())
                    });
                    let [median, fastest, slowest] = [median, fastest, slowest].map(milliseconds);
                    writeln!(table, "| {job} | {tool} | {median} | {fastest} | {slowest} | {compared} |")
                }
                (None, Err(reason)) => writeln!(table, "| {job} | {tool} | missing: {reason} | | | |"),
                (None, Ok(_)) => writeln!(table, "| {job} | {tool} | missing: not measured | | | |"),
            };
        }
        table
    }

    fn samples(&self) -> String {
        let mut text = self.facts.iter().fold(String::new(), |text, fact| text + "# " + fact + "\n");
        text.push_str("job,who,round,nanoseconds,missing\n");
        for Row { job, tool, outcome } in self.sorted() {
            match outcome {
                Ok(times) => {
                    for (round, took) in times.iter().enumerate() {
                        let _ = writeln!(text, "{job},\"{tool}\",{},{},", round + 1, took.as_nanos());
                    }
                }
                Err(reason) => {
                    let _ = writeln!(text, "{job},\"{tool}\",,,\"{}\"", reason.replace('"', "'"));
                }
            }
        }
        text
    }

    /// Prints the table, and writes the files if they are wanted.
    pub(crate) fn report(&self) {
        let table = self.table();
        println!("\n{table}");
        let Some(directory) = std::env::var_os("MYDOCKER_BENCH_RESULTS") else { return };
        std::fs::create_dir_all(&directory).unwrap();
        let facts = self.facts.iter().fold(String::new(), |text, fact| text + "- " + fact + "\n");
        for (ending, text) in [
            ("csv", self.samples()),
            ("md", format!("{facts}\n{table}")),
            ("svg", plot::draw(&self.sorted())),
        ] {
            let path = Path::new(&directory).join(format!("{}-peers.{ending}", machine::today()));
            std::fs::write(&path, text).unwrap();
            println!("written to {}", path.display());
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
