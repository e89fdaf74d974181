//! Many running containers: listed, removed at once, and what memory they take.

use std::fs;
use std::time::Duration;

use crate::hideout::Place;
use crate::results::Results;
use crate::tools::{Engine, Outcome};
use crate::{IDLE, engines};

const CONTAINERS: u16 = 50;
/// Each of them has one published port.
const FIRST_PORT: u16 = 30_001;

pub(crate) fn measure(results: &mut Results, place: &Place, rounds: u32) {
    let (list, remove) = (format!("ps of {CONTAINERS}"), format!("rm -f of {CONTAINERS}"));
    for (name, mut engine) in engines(results, place, &[&list, &remove]) {
        engine.host().enter();
        match of_one(&mut engine, rounds) {
            Ok(Figures { each, listed, removed }) => {
                results
                    .fact(format!("memory, {name}: {} for each of {CONTAINERS} containers", mebibytes(each)));
                listed.into_iter().for_each(|took| results.sample(&list, name, took));
                results.sample(&remove, name, removed);
            }
            Err(reason) => [&list, &remove].into_iter().for_each(|job| results.missing(job, name, &reason)),
        }
    }
}

struct Figures {
    /// Bytes of the engine's processes for each container. What is there without one cannot be told from what
    /// earlier jobs and the other engines' daemons have.
    each: u64,
    listed: Vec<Duration>,
    removed: Duration,
}

fn of_one(engine: &mut Engine, rounds: u32) -> Outcome<Figures> {
    let own = [std::process::id(), 1];
    engine.run_and_remove(crate::PORT)?;
    let before = memory(&own);
    let names: Vec<String> = (0..CONTAINERS).map(|number| format!("many{number}x")).collect();
    for (name, port) in names.iter().zip(FIRST_PORT..) {
        engine.start(name, &[port], IDLE)?;
    }
    // Whatever is only there while a container starts has gone then.
    std::thread::sleep(Duration::from_secs(2));
    let each = memory(&own).saturating_sub(before) / u64::from(CONTAINERS);
    let listed = (0..rounds).map(|_| engine.ask(&["ps"])).collect::<Outcome<_>>()?;
    let mut remove = engine.removal();
    remove.extend(names.iter().map(String::as_str));
    let removed = engine.ask(&remove)?;
    Ok(Figures { each, listed, removed })
}

/// The memory of all processes in this process namespace but these and the containers' own, each shared page by the share
/// that it has in it. In bytes.
fn memory(but: &[u32]) -> u64 {
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse::<u32>().ok();
    let processes = fs::read_dir("/proc").unwrap().flatten().filter_map(number);
    let read =
        |process: u32, file: &str| fs::read_to_string(format!("/proc/{process}/{file}")).unwrap_or_default();
    let engines =
        processes.filter(|process| !but.contains(process) && read(*process, "comm").trim() != IDLE[0]);
    let share = |process: u32| {
        let told = read(process, "smaps_rollup");
        let line = told.lines().find_map(|line| line.strip_prefix("Pss:"))?.split_whitespace().next()?;
        line.parse::<u64>().ok()
    };
    engines.filter_map(share).sum::<u64>() * 1024
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.2} MiB", bytes as f64 / f64::from(1 << 20))
}
