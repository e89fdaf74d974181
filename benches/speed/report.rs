//! The list at the end: each figure next to its floor, on standard output and as a file of comma-separated values.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Deserialize;

use crate::machine;

/// What ends the name of a floor.
pub(crate) const FLOOR: &str = " (floor)";

/// One figure.
pub(crate) struct Figure {
    pub(crate) group: String,
    pub(crate) case: String,
    pub(crate) measure: &'static str,
    pub(crate) value: f64,
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
pub(crate) fn report(directory: &Path, started: SystemTime, machine: &[String], connections: Vec<Figure>) {
    let mut figures = Vec::new();
    collect(directory, started, &mut figures);
    figures.sort_by_key(|(at, _)| *at);
    let mut figures: Vec<Figure> = figures.into_iter().map(|(_, figure)| figure).collect();
    figures.extend(connections);
    if figures.is_empty() {
        return;
    }
    let mut values = machine.iter().fold(String::new(), |text, fact| text + "# " + fact + "\n");
    values.push_str("group,case,measure,value,floor,ratio\n");
    println!("{:<24} {:<58} {:>16} {:>14} {:>7}", "group", "case", "", "floor", "ratio");
    for figure in figures.iter().filter(|figure| !figure.case.ends_with(FLOOR)) {
        let Figure { group, case, measure, value } = figure;
        let of_floor = |other: &&Figure| {
            other.group == *group && other.measure == *measure && other.case == format!("{case}{FLOOR}")
        };
        let floor = figures.iter().find(of_floor).map(|floor| floor.value);
        let ratio = floor.map(|floor| value / floor);
        let text =
            |number: Option<f64>, decimals| number.map_or(String::new(), |n| format!("{n:.decimals$}"));
        let _ =
            writeln!(values, "{group},\"{case}\",{measure},{value:.0},{},{}", text(floor, 0), text(ratio, 2));
        println!(
            "{group:<24} {case:<58} {:>16} {:>14} {:>7}",
            with_unit(measure, *value),
            floor.map_or(String::new(), |floor| with_unit(measure, floor)),
            text(ratio, 2)
        );
    }
    if let Some(directory) = std::env::var_os("MYDOCKER_BENCH_RESULTS") {
        let path = Path::new(&directory).join(format!("{}-speed.csv", machine::today()));
        fs::create_dir_all(&directory).unwrap();
        fs::write(&path, values).unwrap();
        println!("written to {}", path.display());
    }
    println!("criterion's report: {}", directory.join("report/index.html").display());
}

fn with_unit(measure: &str, value: f64) -> String {
    if measure.ends_with("/s") {
        return format!("{value:.0} {measure}");
    }
    let (value, unit) = match value {
        ..1e3 => (value, "ns"),
        ..1e6 => (value / 1e3, "µs"),
        _ => (value / 1e6, "ms"),
    };
    let name = if measure == "median ns" { String::new() } else { measure.replace(" ns", " ") };
    format!("{name}{value:.2} {unit}")
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
        let figure = Figure {
            group: benchmark.group_id,
            case: benchmark.function_id.unwrap_or_default(),
            measure: "median ns",
            value: estimates.median.point_estimate,
        };
        figures.push((written, figure));
    }
}
