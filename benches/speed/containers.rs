//! A thousand containers at once, each with a network namespace, an address and a published port of its own.
//!
//! | group | cases |
//! |---|---|
//! | `containers` | `run -d` of the first and of the last ten, and of each hundred between; `ps` next to none and next to all; `rm -f` next to none and next to all; `run --rm true` without a network and its floor next to none and next to all; a name's address and its floor among few and among all; the memory that mydocker itself takes for each, and the machine |
//!
//! Nothing can take turns with a thousand containers: what is compared is the end with the beginning, of medians. What
//! of it is the kernel's shows the floor of one command in a container (see [`crate::process`]), which takes turns with
//! mydocker at the beginning and at the end. The containers are of the mydocker in `MYDOCKER_BENCH_BINARY`, else of the
//! one that was built with this program. They run in the namespaces of [`hideout`], which ends all of them at once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::command::{self, Outcome};
use crate::floor_process::Order;
use crate::hideout::{self, Host, Place};
use crate::names;
use crate::process::{self, Groups};
use crate::report::{FLOOR, Figure};

pub(crate) const GROUP: &str = "containers";
/// A bridge has no more than 1,023 ports.
const COUNT: u32 = 1_000;
/// What one container takes at most of the machine's memory, the kernel's part included.
const MEMORY: u64 = 8 << 20;
/// How many are the first and the last.
const FEW: usize = 10;
const LISTINGS: usize = 31;
/// How often one command and its floor take turns.
const TURNS: usize = 30;

/// Measures in another process, inside, and returns what it found.
pub(crate) fn all() -> Outcome<Vec<Figure>> {
    let text = hideout::start(GROUP, |directory| fs::read(hideout::result(directory)))?;
    let text = text.map_err(|error| format!("the result cannot be read: {error}"))?;
    serde_json::from_slice::<Outcome<Vec<Figure>>>(&text).map_err(|error| error.to_string())?
}

/// The part inside.
pub(crate) fn measure(place: &Place) {
    let result = enough_memory().and_then(|()| thousand(place));
    fs::write(place.result(), serde_json::to_vec(&result).unwrap()).unwrap();
}

fn count() -> u32 {
    command::number("MYDOCKER_BENCH_CONTAINERS", COUNT)
}

/// What the machine has left, in KiB.
fn memory_left() -> u64 {
    let memory = fs::read_to_string("/proc/meminfo").unwrap();
    let available = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    available.and_then(|text| text.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
}

fn enough_memory() -> Outcome<()> {
    let (available, wanted) = (memory_left() >> 10, (u64::from(count()) * MEMORY) >> 20);
    if available < wanted {
        return Err(format!("{} containers take {wanted} MiB, and {available} MiB are free", count()));
    }
    Ok(())
}

struct Many {
    program: PathBuf,
    root: PathBuf,
    run_root: PathBuf,
    image: PathBuf,
    figures: Vec<Figure>,
}

impl Many {
    fn mydocker(&self, arguments: &[&str]) -> Outcome<Duration> {
        let mut command = Command::new(&self.program);
        command.env("MYDOCKER_ROOT", &self.root).env("MYDOCKER_RUN_ROOT", &self.run_root);
        Ok(command::run(command.args(arguments), "")?.took)
    }

    fn start(&self, number: u32) -> Outcome<Duration> {
        let (name, port) = (name(number), format!("{}:80", 10_000 + number));
        let image = self.image.to_str().unwrap();
        let arguments =
            ["run", "-d", "--network", "bench0", "--name", &name, "-p", &port, image, "sleep", "100000"];
        self.mydocker(&arguments).map_err(|reason| format!("container {number} of {}: {reason}", count()))
    }

    fn remove(&self, number: u32) -> Outcome<Duration> {
        self.mydocker(&["rm", "-f", &name(number)])
    }

    fn note(&mut self, case: impl Into<String>, times: &[Duration]) {
        let mut times = times.to_vec();
        times.sort_unstable();
        let median = times[times.len() / 2].as_nanos() as f64;
        self.figures.push(Figure::new(GROUP, case, "median ns", median));
    }

    /// Listing all, and what is not measured by starting them: their removal.
    fn list_and_remove(&mut self, present: u32) -> Outcome<()> {
        let next_to = format!("next to {present} containers");
        for arguments in [["ps"].as_slice(), &["ps", "-q"]] {
            let times = (0..LISTINGS).map(|_| self.mydocker(arguments)).collect::<Outcome<Vec<_>>>()?;
            self.note(format!("{} {next_to}", arguments.join(" ")), &times);
        }
        let last = count();
        let once = || self.start(last).and_then(|_| self.remove(last));
        let times = (0..FEW).map(|_| once()).collect::<Outcome<Vec<_>>>()?;
        self.note(format!("rm -f {next_to}"), &times);
        Ok(())
    }

    /// A name, asked for in the first container.
    fn names_among(&mut self, present: u32) -> Outcome<()> {
        let mut command = Command::new(&self.program);
        command.env("MYDOCKER_ROOT", &self.root).env("MYDOCKER_RUN_ROOT", &self.run_root);
        let pid = command::run(command.args(["inspect", "-f", "{{.State.Pid}}", &name(0)]), "")?.stdout;
        let space = PathBuf::from(format!("/proc/{}/ns/net", pid.trim()));
        let case = format!("the address of a name among {present} containers");
        let files = self.run_root.join("network/names/bench0").join(name(1));
        self.figures.extend(names::measure(GROUP, &case, &space, &name(1), &files)?);
        Ok(())
    }

    /// One command in a container, and the bare kernel work that it needs, in turn.
    fn next_to_floor(&mut self, present: u32, floor: &Order) -> Outcome<()> {
        let image = self.image.to_str().unwrap().to_owned();
        let arguments = ["run", "--rm", "--net", "none", &image, "true"];
        let (mut ours, mut floors) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            ours.push(self.mydocker(&arguments)?);
            floors.push(process::floor(floor)?.wall());
        }
        let case = format!("run --rm true next to {present} containers");
        self.note(case.clone(), &ours);
        self.note(case + FLOOR, &floors);
        Ok(())
    }
}

fn name(number: u32) -> String {
    format!("web{number}")
}

fn thousand(place: &Place) -> Outcome<Vec<Figure>> {
    let host = Host::new();
    host.enter();
    let groups = Groups::take()?;
    let floor = process::run_order(place, &groups);
    let named = std::env::var_os("MYDOCKER_BENCH_BINARY");
    let mut many = Many {
        program: named.map_or_else(|| env!("CARGO_BIN_EXE_mydocker").into(), PathBuf::from),
        root: place.directory(),
        run_root: Place::run_directory(),
        image: place.image(),
        figures: Vec::new(),
    };
    many.mydocker(&["network", "create", "--subnet", "10.77.0.0/16", "bench0"])?;
    // Its first container is for whatever is made once.
    many.list_and_remove(0)?;
    many.next_to_floor(0, &floor)?;
    let left = memory_left();
    let mut times = (0..2).map(|number| many.start(number)).collect::<Outcome<Vec<_>>>()?;
    many.names_among(2)?;
    times.extend((2..count()).map(|number| many.start(number)).collect::<Outcome<Vec<_>>>()?);
    many.names_among(count())?;
    let few = FEW.min(times.len());
    many.note(format!("run -d, 1 to {few}"), &times[..few]);
    for (number, hundred) in times.chunks(100).enumerate() {
        let first = number * 100;
        many.note(format!("run -d, {} to {}", first + 1, first + hundred.len()), hundred);
    }
    many.note(format!("run -d, {} to {}", times.len() - few + 1, times.len()), &times[times.len() - few..]);
    many.list_and_remove(count())?;
    many.next_to_floor(count(), &floor)?;
    for (whose, size) in
        [("mydocker", proportional_set_size()), ("the machine", left.saturating_sub(memory_left()))]
    {
        let case = format!("memory of {whose} for each container");
        many.figures.push(Figure::new(GROUP, case, "KiB", size as f64 / f64::from(count())));
    }
    Ok(many.figures)
}

/// The sum of what all processes take that neither are the containers' own nor this program's, in KiB.
fn proportional_set_size() -> u64 {
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let ours = |path: &Path| {
        let program = fs::read_link(path.join("exe")).ok()?;
        let of_mydocker = !program.ends_with("busybox") && program != std::env::current_exe().unwrap();
        of_mydocker.then(|| fs::read_to_string(path.join("smaps_rollup")).ok())?
    };
    let sizes = processes.filter_map(|path| {
        let text = ours(&path)?;
        let size = text.lines().find_map(|line| line.strip_prefix("Pss:"))?.trim().strip_suffix(" kB")?;
        size.parse::<u64>().ok()
    });
    sizes.sum()
}
