//! How long a pull takes, next to what no pull can do without, and next to podman and containerd: `make bench-pull`.
//! Needs root, and does nothing unless the variable `MYDOCKER_BENCH_PULL` is set, for it runs for minutes.
//!
//! | image | layers |
//! |---|---|
//! | `one layer` | 500 MB of the machine's own programs and libraries |
//! | `twelve layers` | 40 MB of them in each |
//! | `small files` | 5,000 files of 1 to 4 KB in one layer |
//!
//! The registry is the distribution's own, on the loopback of a network namespace that is this benchmark's. Each pull
//! goes to an empty directory on a disk. All take turns, round by round; between two turns what was written is removed,
//! and everything brought to the disk.
//!
//! **The floors** ([`floor`]) are what every pull has to do: fetch all blobs, and throw them away; decompress the largest
//! layer, with both digests, and write it; write files of the same sizes, and sync the file system. The
//! largest of the three is the one that counts. mydocker syncs before it says that an image is there; podman and
//! containerd do not.
//!
//! | variable | meaning |
//! |---|---|
//! | `MYDOCKER_BENCH_ROUNDS` | how many rounds (default: 5) |
//! | `MYDOCKER_BENCH_SCALE` | the images are so many times smaller (default: 1): for a trial |
//! | `MYDOCKER_BENCH_LIMIT` | seconds after which a command is given up (default: 300) |
//! | `MYDOCKER_BENCH_RESULTS` | where the figures are written (default: nowhere) |
//! | `MYDOCKER_BENCH_TABLES_OF` | a file of figures: its table is printed, and nothing is measured |
//! | `MYDOCKER_BENCH_BINARY` | the mydocker to measure (default: the one that was built with this program) |

#![expect(
    clippy::disallowed_methods,
    reason = "benchmarks run programs and write plain files; the rule is about the product"
)]
#![expect(clippy::unwrap_used, reason = "a benchmark that fails shall stop")]
#![expect(clippy::print_stdout, reason = "a benchmark reports to whoever started it")]

#[path = "../peers/command.rs"]
mod command;
mod floor;
#[expect(dead_code, reason = "only some of what the other benchmarks need is needed here")]
#[path = "../peers/hideout.rs"]
mod hideout;
mod images;
#[path = "../speed/machine.rs"]
mod machine;
#[path = "../speed/raw.rs"]
mod raw;
mod report;
mod tools;

use std::time::Duration;

use command::Outcome;
use hideout::{Host, Place};
use images::Image;
use report::Results;

fn main() {
    if let Some(text) = raw::wanted_tables() {
        return print!("{}", report::table(&text));
    }
    // `cargo bench -- --test` and the like ask for all benchmarks; this one is for those who mean it.
    if std::env::var_os("MYDOCKER_BENCH_PULL").is_none() {
        return println!("pull: not asked for; see `make bench-pull`");
    }
    if hideout::inside(|_, place| measure(place)) {
        return;
    }
    if let Err(reason) = hideout::start("pull", |_| ()) {
        panic!("pull: {reason}");
    }
}

/// Something that takes its turn with an image.
type Turn<'a> = (&'static str, Box<dyn FnMut(&Image) -> Outcome<Duration> + 'a>);

fn measure(place: &Place) {
    let host = Host::new();
    host.enter();
    let rounds = command::number("MYDOCKER_BENCH_ROUNDS", 5);
    let registry = tools::Registry::start(place);
    let mut results = Results::new([machine::describe(), tools::versions()].concat());
    for kind in images::KINDS {
        let image = images::publish(place, &registry, kind);
        results.fact(&image.describe());
        let mut turns: Vec<Turn<'_>> = vec![
            (floor::FETCH, Box::new(|image| Ok(floor::fetch(&registry, image)))),
            (floor::UNPACK, Box::new(|image| Ok(floor::unpack(place, image)))),
            (floor::WRITE, Box::new(|image| Ok(floor::write(place, image)))),
            (tools::MYDOCKER, Box::new(|image| tools::mydocker(place, image))),
            (tools::PODMAN, Box::new(|image| tools::podman(place, image))),
            (tools::CONTAINERD, Box::new(|image| tools::containerd(place, image))),
        ];
        // The first round is for whatever is read for the first time.
        for round in 0..=rounds {
            turns.retain_mut(|(name, turn)| {
                nix::unistd::sync();
                match turn(&image) {
                    Ok(took) if round > 0 => results.sample(kind.name, name, took),
                    Ok(_) => {}
                    Err(reason) => {
                        results.missing(kind.name, name, &reason);
                        return false;
                    }
                }
                true
            });
        }
        results.save();
    }
    results.report();
}
