//! mydocker next to what others do the same with: `make bench-peers`. Needs root, and does nothing unless the
//! variable `MYDOCKER_BENCH_PEERS` is set, for it runs for minutes and writes files.
//!
//! | job | who |
//! |---|---|
//! | `attach`, `detach`: a namespace with one published port, next to 0, 500, 2,000 others | the bare kernel (the floor: messages that were made before, see `speed`), mydocker as library calls and as `network connect --netns`, netavark, the CNI plugins |
//! | `publish`: a namespace with 1,000 published ports | the same |
//! | `up`, `gone`: a container with one published port in the background and its forced removal, next to as many | mydocker, podman as its distribution made it and with netavark, Docker |
//! | `first byte`: from `run -d` to the first byte that a client on another host gets from its web server | the same |
//! | `true`, `stop`, `exec`: `run --rm -p … true`; `stop` of a container that ends at once; `exec … true` | the same |
//! | `1000 ports`: `run -d` with 1,000 published ports | the same |
//! | `ps`, `rm`: 50 running containers, listed and removed by one command; the memory that they take | the same |
//! | `datapath`: connections, requests and 1 GiB through a published port, between containers, to another host | the same, and a bare bridge |
//!
//! All take turns, round by round, so that whatever else the machine does falls on all. Each has a host of its own:
//! a network namespace with an uplink and another host behind it. The files of all of them lie in a mount namespace
//! with a `/run` of its own, and their processes in a process namespace that ends with this program.
//! Who cannot do a job is listed with the reason.
//!
//! | variable | meaning |
//! |---|---|
//! | `MYDOCKER_BENCH_ROUNDS` | how many rounds (default: 20), and a quarter of them to publish 1,000 ports |
//! | `MYDOCKER_BENCH_PARTS` | some of `attach up datapath publish jobs ports many`, where not all are wanted (`datapath` alone measures `up` once) |
//! | `MYDOCKER_BENCH_LIMIT` | seconds after which a command is given up (default: 300) |
//! | `MYDOCKER_BENCH_RESULTS` | where the samples, the table and the plot are written (default: nowhere) |
//! | `MYDOCKER_BENCH_TABLES_OF` | a file of samples: its tables are printed, and nothing is measured |
//! | `MYDOCKER_BENCH_BINARY` | the mydocker to measure (default: the one that was built with this program) |

#![expect(
    clippy::disallowed_methods,
    reason = "benchmarks run programs and write plain files; the rule is about the product"
)]
#![expect(clippy::unwrap_used, reason = "a benchmark that fails shall stop")]
#![expect(clippy::print_stdout, reason = "a benchmark reports to whoever started it")]

mod command;
mod datapath;
#[path = "../speed/floor.rs"]
mod floor;
#[path = "../speed/floor_link.rs"]
mod floor_link;
#[expect(dead_code, reason = "only some of what the other benchmarks need is needed here")]
mod hideout;
#[path = "../speed/machine.rs"]
mod machine;
mod many;
mod plot;
#[path = "../speed/raw.rs"]
mod raw;
mod results;
#[expect(dead_code, reason = "only some of what the other benchmarks need is needed here")]
#[path = "../speed/stage.rs"]
mod stage;
mod tools;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use hideout::{Host, Place};
use results::Results;
use tools::{Engine, Outcome, Tool};

/// The port that is published where there is one.
const PORT: u16 = 8080;
/// The container or namespace that is measured, and the one that all other ports belong to.
const MEASURED: &str = "web";
const OTHERS: &str = "others";
/// What a container does that has nothing to do.
const IDLE: &[&str] = &["sleep", "100000"];

fn main() {
    if let Some(text) = raw::wanted_tables() {
        return print!("{}", Results::of(&text).tables());
    }
    let asked = std::env::var_os("MYDOCKER_BENCH_PEERS").is_some();
    // `cargo bench -- --test` and the like ask for all benchmarks; this one is for those who mean it.
    if !asked {
        return println!("peers: not asked for; see `make bench-peers`");
    }
    if hideout::inside(|_, place| measure(place)) {
        return;
    }
    if let Err(reason) = hideout::start("peers", |_| ()) {
        panic!("peers: {reason}");
    }
}

fn measure(place: &Place) {
    let rounds = command::number("MYDOCKER_BENCH_ROUNDS", 20);
    let mut results = Results::new(tools::versions(place));
    let parts = std::env::var("MYDOCKER_BENCH_PARTS").unwrap_or_default();
    let is_wanted =
        |part: &str| parts.is_empty() || parts.split_ascii_whitespace().any(|wanted| wanted == part);
    for present in [0, 500, 2_000] {
        next_to(&mut results, place, present, rounds, &is_wanted);
        results.save();
    }
    if is_wanted("publish") {
        publish(&mut results, place, rounds.div_ceil(4));
        results.save();
    }
    if is_wanted("jobs") {
        let jobs: [Job<'_>; 4] = [
            ("first byte", &first_byte),
            ("true", &|engine| engine.run_and_remove(PORT)),
            ("stop", &|engine| engine.stop(MEASURED)),
            ("exec", &exec),
        ];
        with_engines(&mut results, place, rounds, &jobs);
        results.save();
    }
    if is_wanted("ports") {
        with_engines(&mut results, place, rounds.div_ceil(4), &[("run with 1000 ports", &thousand_ports)]);
        results.save();
    }
    if is_wanted("many") {
        many::measure(&mut results, place, rounds);
    }
    results.report();
}

/// Whatever may depend on how many ports are published already.
fn next_to(
    results: &mut Results,
    place: &Place,
    present: u16,
    rounds: u32,
    is_wanted: &dyn Fn(&str) -> bool,
) {
    let next_to = format!("next to {present} ports");
    let jobs = |there: &str, gone: &str| [format!("{there} {next_to}"), format!("{gone} {next_to}")];
    if is_wanted("attach") {
        attach_and_detach(results, jobs("attach", "detach"), tools::attaching(place), present, rounds);
    }
    let is_datapath_wanted = present != 500 && is_wanted("datapath");
    if is_wanted("up") || is_datapath_wanted {
        // Traffic alone does not need them again and again.
        let ups = if is_wanted("up") { rounds } else { 1 };
        let ready = attach_and_detach(results, jobs("up", "gone"), tools::engines(place), present, ups);
        if is_datapath_wanted {
            datapath::measure(results, ready, &next_to, rounds);
        }
    }
}

/// As many ports, none next to another: neighbours could be published as one range.
fn other_ports(count: u16) -> Vec<u16> {
    (0..count).map(|n| 20_001 + 2 * n).collect()
}

/// Attaching and detaching, by turns, next to that many ports.
fn attach_and_detach<T: Tool + ?Sized>(
    results: &mut Results,
    [attach, detach]: [String; 2],
    tools: Vec<(&'static str, Outcome<Box<T>>)>,
    present: u16,
    rounds: u32,
) -> Vec<(&'static str, Box<T>)> {
    let mut ready = Vec::new();
    for (name, tool) in tools {
        let seeded = tool.and_then(|mut tool| {
            tool.host().enter();
            if present > 0 {
                tool.prepare(OTHERS)?;
                tool.attach(OTHERS, &other_ports(present))
                    .map_err(|reason| format!("publishing {present} ports: {reason}"))?;
            }
            Ok(tool)
        });
        match seeded {
            Ok(tool) => ready.push((name, tool)),
            Err(reason) => {
                results.missing(&attach, name, &reason);
                results.missing(&detach, name, &reason);
            }
        }
    }
    // The first round is for whatever is made once.
    for round in 0..=rounds {
        ready.retain_mut(|(name, tool)| {
            tool.host().enter();
            let once = tool.prepare(MEASURED).and_then(|()| {
                let attached = tool.attach(MEASURED, &[PORT])?;
                Ok((attached, tool.detach(MEASURED)?))
            });
            match once.and_then(|times| tool.clear(MEASURED).map(|()| times)) {
                Ok((attached, detached)) => {
                    if round > 0 {
                        results.sample(&attach, name, attached);
                        results.sample(&detach, name, detached);
                    }
                    true
                }
                Err(reason) => {
                    results.missing(&attach, name, &reason);
                    results.missing(&detach, name, &reason);
                    false
                }
            }
        });
    }
    // Who holds the other ports goes with the host: their removal can take minutes, and nobody learns from it.
    ready
}

fn publish(results: &mut Results, place: &Place, rounds: u32) {
    const JOB: &str = "publish 1000 ports";
    let mut ready = Vec::new();
    for (name, tool) in tools::attaching(place) {
        match tool {
            Ok(tool) => ready.push((name, tool)),
            Err(reason) => results.missing(JOB, name, &reason),
        }
    }
    // Here a round can take minutes; what is made once is made by one port.
    for round in 0..=rounds {
        let ports = if round == 0 { vec![PORT] } else { other_ports(1_000) };
        ready.retain_mut(|(name, tool)| {
            tool.host().enter();
            let once = tool.prepare(MEASURED).and_then(|()| {
                let attached = tool.attach(MEASURED, &ports)?;
                tool.detach(MEASURED)?;
                tool.clear(MEASURED)?;
                Ok(attached)
            });
            match once {
                Ok(attached) if round > 0 => results.sample(JOB, name, attached),
                Ok(_) => {}
                Err(reason) => {
                    results.missing(JOB, name, &reason);
                    return false;
                }
            }
            true
        });
    }
}

/// A job of an engine: what is returned is what it took.
type Job<'a> = (&'static str, &'a dyn Fn(&mut Engine) -> Outcome<Duration>);

/// The engines that there are. Those that are not cannot do any of these jobs.
fn engines(results: &mut Results, place: &Place, jobs: &[&str]) -> Vec<(&'static str, Box<Engine>)> {
    let mut ready = Vec::new();
    for (name, engine) in tools::engines(place) {
        match engine {
            Ok(engine) => ready.push((name, engine)),
            Err(reason) => jobs.iter().for_each(|job| results.missing(job, name, &reason)),
        }
    }
    ready
}

fn with_engines(results: &mut Results, place: &Place, rounds: u32, jobs: &[Job<'_>]) {
    let mut ready = engines(results, place, &jobs.iter().map(|(job, _)| *job).collect::<Vec<_>>());
    for (job, work) in jobs {
        for round in 0..=rounds {
            ready.retain_mut(|(name, engine)| {
                engine.host().enter();
                match work(engine) {
                    Ok(took) if round > 0 => results.sample(job, name, took),
                    Ok(_) => {}
                    Err(reason) => {
                        results.missing(job, name, &reason);
                        return false;
                    }
                }
                true
            });
        }
    }
}

fn exec(engine: &mut Engine) -> Outcome<Duration> {
    engine.start(MEASURED, &[], IDLE)?;
    let took = engine.ask(&["exec", MEASURED, "true"]);
    engine.detach(MEASURED)?;
    took
}

fn thousand_ports(engine: &mut Engine) -> Outcome<Duration> {
    let took = engine.start(MEASURED, &other_ports(1_000), IDLE)?;
    engine.detach(MEASURED)?;
    Ok(took)
}

/// From the start of the command to the first byte of an answer.
fn first_byte(engine: &mut Engine) -> Outcome<Duration> {
    let start = Instant::now();
    engine.start(MEASURED, &[PORT], &["httpd", "-f", "-p", "80", "-h", "/www"])?;
    let answered = engine.host().outside.run(|| ask(start)).map_err(|error| error.to_string())?;
    engine.detach(MEASURED)?;
    answered
}

fn ask(start: Instant) -> Outcome<Duration> {
    let patience = Duration::from_millis(50);
    while start.elapsed() < command::limit() {
        let answer = TcpStream::connect_timeout(&SocketAddr::from((Host::ADDRESS, PORT)), patience).and_then(
            |mut stream| {
                stream.set_read_timeout(Some(patience))?;
                stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
                stream.read_exact(&mut [0])
            },
        );
        if answer.is_ok() {
            return Ok(start.elapsed());
        }
        // Nobody listens yet.
        std::thread::sleep(Duration::from_micros(200));
    }
    Err("the web server does not answer".to_owned())
}
