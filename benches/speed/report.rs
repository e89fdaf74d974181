//! The list at the end: each figure next to its floor, on standard output and as a file of comma-separated values.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::{raw, table};

/// What ends the name of a floor.
pub(crate) const FLOOR: &str = " (floor)";

/// One figure.
#[derive(Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) group: String,
    pub(crate) case: String,
    /// `median ns`, `mean ns`, `min ns`, `p90 ns`, `p99 ns`, `median CPU ns`, `connections/s`, `answers/s`, `KiB`.
    pub(crate) measure: String,
    pub(crate) value: f64,
}

impl Figure {
    pub(crate) fn new(group: &str, case: impl Into<String>, measure: &str, value: f64) -> Self {
        Self { group: group.to_owned(), case: case.into(), measure: measure.to_owned(), value }
    }
}

#[derive(Deserialize)]
struct Benchmark {
    group_id: String,
    function_id: Option<String>,
}

#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
}

/// Where criterion keeps its figures and its report.
pub(crate) fn criterion_directory() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target")).join("criterion")
}

/// Prints what was measured since `started`, and writes it to a file if one is wanted.
pub(crate) fn report(directory: &Path, started: SystemTime, facts: &[String], others: Vec<Figure>) {
    let mut figures = Vec::new();
    collect(directory, started, &mut figures);
    figures.sort_by_key(|(at, _)| *at);
    let mut figures: Vec<Figure> = figures.into_iter().map(|(_, figure)| figure).collect();
    figures.extend(others);
    if figures.is_empty() {
        return;
    }
    let mut text = facts.iter().fold(String::new(), |text, fact| text + "# " + fact + "\n");
    text.push_str("group,case,measure,value,floor,ratio\n");
    println!("{:<24} {:<58} {:>16} {:>14} {:>7}", "group", "case", "", "floor", "ratio");
    for figure in figures.iter().filter(|figure| !figure.case.ends_with(FLOOR)) {
        let Figure { group, case, measure, value } = figure;
        let of_floor = |other: &&Figure| {
            other.group == *group && other.measure == *measure && other.case == format!("{case}{FLOOR}")
        };
        let floor = figures.iter().find(of_floor).map(|floor| floor.value);
        let ratio = floor.map(|floor| format!("{:.2}", value / floor)).unwrap_or_default();
        let whole = floor.map(|floor| format!("{floor:.0}")).unwrap_or_default();
        let [quoted_group, quoted_case] = [group, case].map(|text| raw::quoted(text));
        let _ = writeln!(text, "{quoted_group},{quoted_case},{measure},{value:.0},{whole},{ratio}");
        println!(
            "{group:<24} {case:<58} {:>16} {:>14} {ratio:>7}",
            with_measure(measure, *value),
            floor.map_or(String::new(), |floor| with_measure(measure, floor)),
        );
    }
    if let (Some(path), Some(table)) = (raw::path("speed", "csv"), raw::path("speed", "md")) {
        fs::write(&path, &text).unwrap();
        fs::write(&table, table::markdown(&text)).unwrap();
        println!("written to {} and {}", path.display(), table.display());
    }
    println!("criterion's report: {}", directory.join("report/index.html").display());
}

fn with_measure(measure: &str, value: f64) -> String {
    match measure {
        "min ns" => "min ",
        "mean ns" => "mean ",
        "p50 ns" => "p50 ",
        "p90 ns" => "p90 ",
        "p99 ns" => "p99 ",
        "median CPU ns" => "CPU ",
        _ => "",
    }
    .to_owned()
        + &with_unit(measure, value)
}

/// A figure as one reads it.
pub(crate) fn with_unit(measure: &str, value: f64) -> String {
    if measure.ends_with("/s") {
        return format!("{value:.0} {measure}");
    }
    let (value, unit) = match value {
        kib if measure == "KiB" => (kib / 1024.0, "MiB"),
        ..1e3 => (value, "ns"),
        ..1e6 => (value / 1e3, "µs"),
        _ => (value / 1e6, "ms"),
    };
    // Three digits that count.
    match value {
        ..10.0 => format!("{value:.2} {unit}"),
        ..100.0 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

/// The medians that criterion wrote since `started`, with the time of each.
fn collect(directory: &Path, started: SystemTime, figures: &mut Vec<(SystemTime, Figure)>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.file_name().is_some_and(|name| name != "new") {
            collect(&path, started, figures);
            continue;
        }
        let estimates = path.join("estimates.json");
        let Ok(written) = fs::metadata(&estimates).and_then(|file| file.modified()) else { continue };
        if written < started {
            continue;
        }
        let read = |path: &Path| fs::read(path).unwrap();
        let benchmark: Benchmark = serde_json::from_slice(&read(&path.join("benchmark.json"))).unwrap();
        let estimates: Estimates = serde_json::from_slice(&read(&estimates)).unwrap();
        let case = benchmark.function_id.unwrap_or_default();
        let figure = Figure::new(&benchmark.group_id, case, "median ns", estimates.median.point_estimate);
        figures.push((written, figure));
    }
}
