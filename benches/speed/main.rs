//! How fast mydocker's parts are, each next to the bare kernel: `make bench`, or for some of it
//! `cargo bench --bench speed -- 'rules'` (any part of a name, as criterion takes it). Needs root.
//!
//! | file | measures |
//! |---|---|
//! | `allocator` | addresses taken and given back: in memory, in `subnet.json`, by eight processes at once |
//! | `rules` | the table: ports, networks, ranges, rebuilding, next to anything between nothing and 10,000 ports |
//! | `links` | a namespace connected to a network and disconnected from it |
//! | `datapath` | connections through a published port |
//! | `process` | `true` in a container of its own and in one that runs, next to the bare system calls, `crun` and `runc`; only if all is measured, or `-- process` |
//! | `containers` | a thousand containers: starting, listing, removing, their memory; only if all is measured, or `-- containers` |
//! | `names` | the address of another container, asked by name, next to a bare echo; of a few containers and of all (with `containers`) |
//! | `resolvers` | mydocker's answers to `dnsperf`, next to those of dnsmasq and aardvark-dns; only if all is measured, or `-- names` |
//! | `floor`, `floor_link` | the messages that the floors send |
//! | `floor_process` | what the floors of `process` do |
//! | `oci` | how `process` uses `crun` and `runc` |
//!
//! **The floor** of a case has the same name and ends in `(floor)`: the same work of the kernel, with messages and
//! paths that were made before, no answer read, nothing looked up and nothing written down. The ratio of the two
//! is what mydocker adds. The list at the end has it for each case, and so has the file that is written into the
//! directory `MYDOCKER_BENCH_RESULTS`, if that is set; next to it goes the same as a table, for `benches/README.md`.
//! `MYDOCKER_BENCH_TABLES_OF=FILE` prints that table again and measures nothing.
//!
//! Everything happens in network namespaces that are held by descriptors only: they go with this process, however
//! it ends. Files lie in the directories for temporary files. The containers have more namespaces around them.
//!
//! | variable | meaning |
//! |---|---|
//! | `MYDOCKER_BENCH_ROUNDS` | how often each case of `process` takes its turn (default: 40) |
//! | `MYDOCKER_BENCH_CONTAINERS` | how many containers (default: 1,000) |
//! | `MYDOCKER_BENCH_BINARY` | the mydocker that starts them (default: the one that was built with this program) |

#![expect(
    clippy::disallowed_methods,
    reason = "benchmarks run programs and write plain files; the rule is about the product"
)]
#![expect(clippy::unwrap_used, reason = "a benchmark that fails shall stop")]
#![expect(clippy::print_stdout, reason = "a benchmark reports to whoever started it")]

mod allocator;
#[path = "../peers/command.rs"]
mod command;
mod containers;
mod datapath;
mod floor;
mod floor_link;
mod floor_process;
#[expect(dead_code, reason = "only some of what the other benchmarks need is needed here")]
#[path = "../peers/hideout.rs"]
mod hideout;
mod links;
mod machine;
mod names;
mod oci;
mod process;
mod raw;
mod report;
mod resolvers;
mod rules;
mod stage;
mod table;

use std::time::{Duration, SystemTime};

use criterion::Criterion;

fn main() {
    // The allocator's contenders are this program once more.
    if let Some(order) = std::env::var_os(allocator::CONTENDER) {
        return allocator::contend(&order);
    }
    // So are the floors of containers.
    if let Some(order) = std::env::var_os(floor_process::FLOOR) {
        return floor_process::be(&order);
    }
    if let Some(text) = raw::wanted_tables() {
        return print!("{}", table::markdown(&text));
    }
    let inside = hideout::inside(|task, place| match task {
        process::GROUP => process::measure(place),
        resolvers::GROUP => resolvers::measure(place),
        _ => containers::measure(place),
    });
    if inside {
        return;
    }
    let started = SystemTime::now();
    let mut facts = machine::describe();
    let output = report::criterion_directory();
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(500))
        .output_directory(&output)
        .configure_from_args();
    allocator::all(&mut criterion);
    rules::all(&mut criterion);
    links::all(&mut criterion);
    let mut others = datapath::all(&mut criterion);
    criterion.final_summary();
    if wants(process::GROUP) {
        println!("{}: it takes a minute", process::GROUP);
        match process::all() {
            Ok((figures, notes)) => {
                others.extend(figures);
                facts.extend(notes);
            }
            Err(reason) => miss(&mut facts, process::GROUP, &reason),
        }
    }
    if wants(resolvers::GROUP) {
        println!("{}: they take a minute", resolvers::GROUP);
        match resolvers::all() {
            Ok((figures, notes)) => {
                others.extend(figures);
                facts.extend(notes);
            }
            Err(reason) => miss(&mut facts, resolvers::GROUP, &reason),
        }
    }
    if wants(containers::GROUP) {
        println!("{}: they take minutes", containers::GROUP);
        match containers::all() {
            Ok(figures) => others.extend(figures),
            Err(reason) => miss(&mut facts, containers::GROUP, &reason),
        }
    }
    report::report(&output, started, &facts, others);
}

fn miss(facts: &mut Vec<String>, group: &str, reason: &str) {
    println!("missing: {group}: {reason}");
    facts.push(format!("{group}: missing: {reason}"));
}

/// Criterion does not tell which names it was asked for.
fn wants(group: &str) -> bool {
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    words.next().is_none_or(|word| word == group)
}
