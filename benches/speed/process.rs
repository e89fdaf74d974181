//! One command in a container: what it costs to make a container for `true`, and to join one that runs.
//!
//! | group | cases |
//! |---|---|
//! | `process` | `run --rm --net none IMAGE true`; `exec CONTAINER true`; the same with `crun` and `runc`, with an overlay around `run` |
//!
//! **The floors** ([`crate::floor_process`]) are programs too, so that one process image more is loaded there as well:
//! they make the same namespaces, layer, groups, mounts, and confine themselves in the same way.
//!
//! All cases take turns, round by round, each round beginning with another one. Besides the median there are the least
//! and the 90th percentile, and the processor time of all processes that took part, whoever's children they are: of
//! the control group that all of them are in or below, less this program's own. Each case lasts, for that, until the
//! last of them has ended; the clock is stopped before, when the command that was started returns.
//!
//! The trees of the control groups are covered, in the mount namespace of [`hideout`], by the group of this benchmark in
//! each of them. So whoever makes groups makes them below that one, and they go with it.

use std::fs;
use std::ops::Add;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, statfs};
use nix::sys::time::TimeValLike as _;

use crate::command::{self, Outcome};
use crate::floor::{LOOPBACK, Messages};
use crate::floor_process::{self, Exec, Order, Run};
use crate::hideout::{self, Host, Place};
use crate::oci::{self, Runtime};
use crate::report::{FLOOR, Figure};

pub(crate) const GROUP: &str = "process";
const ROUNDS: u32 = 40;
/// How long whoever is left may take to end after the command.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is hidden in a container, and what cannot be written to, where the kernel has it.
const HIDDEN: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/kernel/debug",
];
const PROTECTED: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Figures, and what there is to know about them.
pub(crate) type Found = (Vec<Figure>, Vec<String>);

/// Measures in another process, inside, and returns what it found.
pub(crate) fn all() -> Outcome<Found> {
    let text = hideout::start(GROUP, |directory| fs::read(hideout::result(directory)))?;
    let text = text.map_err(|error| format!("the result cannot be read: {error}"))?;
    serde_json::from_slice::<Outcome<Found>>(&text).map_err(|error| error.to_string())?
}

/// The part inside.
pub(crate) fn measure(place: &Place) {
    let result = cases(place);
    fs::write(place.result(), serde_json::to_vec(&result).unwrap()).unwrap();
}

/// What one turn took: by the clock, and of the processor in this very process.
#[derive(Clone, Copy)]
pub(crate) struct Took {
    wall: Duration,
    own_processor: Duration,
}

impl Took {
    /// In other processes.
    pub(crate) fn outside(wall: Duration) -> Self {
        Self { wall, own_processor: Duration::ZERO }
    }

    /// By the clock.
    pub(crate) fn wall(self) -> Duration {
        self.wall
    }
}

impl Add for Took {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { wall: self.wall + other.wall, own_processor: self.own_processor + other.own_processor }
    }
}

/// Work that this process does itself and that belongs to a case.
pub(crate) fn timed(work: impl FnOnce()) -> Took {
    let (start, own) = (Instant::now(), own_processor());
    work();
    Took { wall: start.elapsed(), own_processor: own_processor().saturating_sub(own) }
}

fn own_processor() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let microseconds = (usage.user_time() + usage.system_time()).num_microseconds();
    Duration::from_micros(microseconds.unsigned_abs())
}

/// The control groups of this benchmark, which stand for the trees inside.
pub(crate) struct Groups {
    /// The names and places of version 1.
    legacy: Vec<(String, PathBuf)>,
    unified: Option<PathBuf>,
    /// Where the processor's time is counted of all that is started here.
    accounts: PathBuf,
    /// Where that is started, by its file of processes.
    processes: PathBuf,
}

impl Groups {
    pub(crate) fn take() -> Outcome<Self> {
        let top = PathBuf::from("/sys/fs/cgroup");
        let directory = std::env::var_os(hideout::DIRECTORY).unwrap();
        let name = Path::new(&directory).file_name().unwrap();
        let (mut legacy, mut unified) = (Vec::new(), None);
        let kind = |path: &Path| statfs(path).unwrap().filesystem_type();
        let trees: Vec<PathBuf> = if kind(&top) == CGROUP2_SUPER_MAGIC {
            vec![top]
        } else {
            let entries = fs::read_dir(&top).unwrap().flatten();
            entries.filter(|entry| entry.file_type().unwrap().is_dir()).map(|entry| entry.path()).collect()
        };
        for tree in trees {
            match kind(&tree) {
                CGROUP2_SUPER_MAGIC => unified = Some(tree.clone()),
                CGROUP_SUPER_MAGIC => {
                    legacy.push((tree.file_name().unwrap().to_str().unwrap().to_owned(), tree.clone()));
                }
                _ => continue,
            }
            cover(&tree, &tree.join(name));
        }
        let has_accounts = |(tree, _): &&(String, PathBuf)| tree.split(',').any(|name| name == "cpuacct");
        let accounts = legacy.iter().find(has_accounts).map(|(_, tree)| tree.clone());
        let Some(accounts) = accounts.or_else(|| unified.clone()) else {
            return Err("no control group counts the processor's time".to_owned());
        };
        // A group of version 2 that lets groups below it have controllers cannot have processes.
        let home = if Some(&accounts) == unified.as_ref() { accounts.join("home") } else { accounts.clone() };
        fs::create_dir_all(&home).unwrap();
        let processes = home.join("cgroup.procs");
        fs::write(&processes, "0").unwrap();
        Ok(Self { legacy, unified, accounts, processes })
    }

    /// The processor time of all who are and were here.
    fn processor(&self) -> Duration {
        if let Ok(nanoseconds) = fs::read_to_string(self.accounts.join("cpuacct.usage")) {
            return Duration::from_nanos(nanoseconds.trim().parse().unwrap());
        }
        let text = fs::read_to_string(self.accounts.join("cpu.stat")).unwrap();
        let microseconds = text.lines().find_map(|line| line.strip_prefix("usage_usec ")).unwrap();
        Duration::from_micros(microseconds.parse().unwrap())
    }

    /// How many processes there are outside of the containers.
    fn count(&self) -> usize {
        fs::read_to_string(&self.processes).unwrap().lines().count()
    }

    /// What one turn takes, with all that it leaves to be done behind its back.
    fn measure(&self, turn: &dyn Fn() -> Outcome<Took>) -> Outcome<[Duration; 2]> {
        let before = self.count();
        let (own, all) = (own_processor(), self.processor());
        let took = turn()?;
        let deadline = Instant::now() + PATIENCE;
        while self.count() > before {
            if Instant::now() > deadline {
                return Err("a process does not end".to_owned());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let (own, all) = (own_processor().saturating_sub(own), self.processor().saturating_sub(all));
        Ok([took.wall, (all + took.own_processor).saturating_sub(own)])
    }

    /// A group below each tree of version 1, ready for groups below it, and in that of version 2.
    fn below(&self, name: &str) -> (Vec<(String, PathBuf)>, Option<PathBuf>) {
        let named = |tree: &Path| tree.join(name);
        let legacy = self.legacy.iter().map(|(tree, path)| (tree.clone(), named(path))).collect();
        (legacy, self.unified.as_deref().map(named))
    }
}

/// Makes a group of a tree, and has it stand for the tree.
fn cover(tree: &Path, group: &Path) {
    make_group(group);
    mount(Some(group), tree, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
}

/// A group that processes can join, with what the group above it has.
fn make_group(group: &Path) {
    fs::create_dir(group).unwrap();
    let above = group.parent().unwrap();
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let own = group.join(file);
        // In version 2 they are inherited.
        if own.exists() && !above.join("cgroup.controllers").exists() {
            fs::write(own, fs::read_to_string(above.join(file)).unwrap().trim()).unwrap();
        }
    }
    let_have_controllers(above);
}

/// Lets the groups below one of version 2 have all controllers that it has itself.
fn let_have_controllers(group: &Path) {
    let controllers = fs::read_to_string(group.join("cgroup.controllers")).unwrap_or_default();
    for name in controllers.split_whitespace() {
        // As far as it is possible: where it is not, those who make the containers say so.
        fs::write(group.join("cgroup.subtree_control"), format!("+{name}")).ok();
    }
}

/// Who takes turns.
struct Contender<'a> {
    case: String,
    turn: Box<dyn Fn() -> Outcome<Took> + 'a>,
    /// By the clock and of the processor.
    times: [Vec<Duration>; 2],
}

fn contender<'a>(case: impl Into<String>, turn: impl Fn() -> Outcome<Took> + 'a) -> Contender<'a> {
    Contender { case: case.into(), turn: Box::new(turn), times: [Vec::new(), Vec::new()] }
}

fn take_turns(groups: &Groups, mut contenders: Vec<Contender<'_>>, found: &mut Found) -> Outcome<()> {
    // Once for whatever is made once; and who cannot do it at all is missing.
    contenders.retain(|contender| match groups.measure(&*contender.turn) {
        Ok(_) => true,
        Err(reason) => {
            miss(found, &contender.case, &reason);
            false
        }
    });
    let count = contenders.len();
    for round in 0..command::number("MYDOCKER_BENCH_ROUNDS", ROUNDS) as usize {
        for position in 0..count {
            let contender = &mut contenders[(round + position) % count];
            let took = groups.measure(&*contender.turn);
            let took = took.map_err(|reason| format!("{}: {reason}", contender.case))?;
            contender.times.iter_mut().zip(took).for_each(|(times, took)| times.push(took));
        }
    }
    for Contender { case, mut times, .. } in contenders {
        times.iter_mut().for_each(|times| times.sort_unstable());
        let [wall, processor] = times;
        let mut note = |measure, value: Duration| {
            found.0.push(Figure::new(GROUP, &case, measure, value.as_nanos() as f64));
        };
        note("median ns", wall[wall.len() / 2]);
        note("min ns", wall[0]);
        note("p90 ns", wall[(wall.len() * 9).div_ceil(10) - 1]);
        note("median CPU ns", processor[processor.len() / 2]);
    }
    Ok(())
}

fn miss(found: &mut Found, what: &str, reason: &str) {
    println!("missing: {GROUP}: {what}: {reason}");
    found.1.push(format!("{what}: missing: {reason}"));
}

fn cases(place: &Place) -> Outcome<Found> {
    let host = Host::new();
    host.enter();
    let groups = Groups::take()?;
    let mut found = Found::default();
    let mut runtimes = Vec::new();
    for program in oci::RUNTIMES {
        match Runtime::version(program) {
            Ok(version) => {
                found.1.push(version);
                runtimes.push(program);
            }
            Err(reason) => miss(&mut found, program, &reason),
        }
    }
    let ours = Ours::new(place);
    run(place, &groups, &ours, &runtimes, &mut found)?;
    exec(place, &groups, &ours, &runtimes, &mut found)?;
    Ok(found)
}

fn run(
    place: &Place,
    groups: &Groups,
    ours: &Ours,
    runtimes: &[&'static str],
    found: &mut Found,
) -> Outcome<()> {
    let case = "run --rm true";
    let order = run_order(place, groups);
    let mut contenders = vec![
        contender(case, || ours.command(&["run", "--rm", "--net", "none", &ours.image, "true"])),
        contender(format!("{case}{FLOOR}"), || floor(&order)),
    ];
    for program in runtimes {
        let runtime = bundle(place, program, &["true"]);
        contenders.push(contender(format!("{program} run true, {}", oci::FILTER), move || runtime.run()));
    }
    take_turns(groups, contenders, found)
}

fn exec(
    place: &Place,
    groups: &Groups,
    ours: &Ours,
    runtimes: &[&'static str],
    found: &mut Found,
) -> Outcome<()> {
    let case = "exec true";
    ours.command(&["run", "-d", "--name", "bench", "--net", "none", &ours.image, "sleep", "100000"])?;
    let order = ours.exec_order(groups)?;
    let mut started = Vec::new();
    for program in runtimes {
        let runtime = bundle(place, program, &["sleep", "100000"]);
        match runtime.start() {
            Ok(()) => started.push((program, runtime)),
            Err(reason) => miss(found, &format!("{program} exec"), &reason),
        }
    }
    let mut contenders = vec![
        contender(case, || ours.command(&["exec", "bench", "true"])),
        contender(format!("{case}{FLOOR}"), || floor(&order)),
    ];
    for (program, runtime) in &started {
        contenders.push(contender(format!("{program} exec true, {}", oci::FILTER), || runtime.exec()));
    }
    take_turns(groups, contenders, found)?;
    started.iter().try_for_each(|(_, runtime)| runtime.delete())?;
    ours.command(&["rm", "-f", "bench"]).map(drop)
}

/// The mydocker that is measured.
struct Ours {
    program: PathBuf,
    root: PathBuf,
    run_root: PathBuf,
    image: String,
}

impl Ours {
    fn new(place: &Place) -> Self {
        let named = std::env::var_os("MYDOCKER_BENCH_BINARY");
        Self {
            program: named.map_or_else(|| env!("CARGO_BIN_EXE_mydocker").into(), PathBuf::from),
            root: place.directory(),
            run_root: Place::run_directory(),
            image: place.image().to_str().unwrap().to_owned(),
        }
    }

    fn said(&self, arguments: &[&str]) -> Outcome<command::Done> {
        let mut command = Command::new(&self.program);
        command.env("MYDOCKER_ROOT", &self.root).env("MYDOCKER_RUN_ROOT", &self.run_root);
        command::run(command.args(arguments), "")
    }

    fn command(&self, arguments: &[&str]) -> Outcome<Took> {
        Ok(Took::outside(self.said(arguments)?.took))
    }

    /// How the floor joins the very container that mydocker joins.
    fn exec_order(&self, groups: &Groups) -> Outcome<Order> {
        let said = self.said(&["inspect", "--format", "{{.Id}} {{.State.Pid}}", "bench"])?.stdout;
        let (id, pid) = said.trim().split_once(' ').unwrap();
        let (legacy, unified) = groups.below(&format!("mydocker/{id}"));
        let legacy = legacy.into_iter().map(|(_, path)| path).collect();
        Ok(Order::Exec(Exec { pid: pid.parse().unwrap(), legacy, unified }))
    }
}

pub(crate) fn floor(order: &Order) -> Outcome<Took> {
    let mut command = Command::new("/proc/self/exe");
    command.env(floor_process::FLOOR, serde_json::to_string(order).unwrap());
    Ok(Took::outside(command::run(&mut command, "")?.took))
}

pub(crate) fn run_order(place: &Place, groups: &Groups) -> Order {
    let (above, above_unified) = groups.below("floor");
    for group in above.iter().map(|(_, path)| path).chain(&above_unified) {
        make_group(group);
        let_have_controllers(group);
    }
    let (legacy, unified) = groups.below("floor/container");
    let cpuset = legacy.iter().find(|(tree, _)| tree.split(',').any(|name| name == "cpuset"));
    let above = |file: &str| {
        let value = |(_, group): &(String, PathBuf)| fs::read_to_string(group.parent().unwrap().join(file));
        cpuset.map_or(String::new(), |cpuset| value(cpuset).unwrap().trim().to_owned())
    };
    let existing = |paths: &[&str], wanted: &dyn Fn(&Path) -> bool| {
        let existing = paths.iter().filter(|path| wanted(Path::new(path)));
        existing.map(|path| path.trim_start_matches('/').to_owned()).collect()
    };
    Order::Run(Run {
        image: place.image(),
        layer: place.directory().join("layer"),
        cpuset: ["cpuset.cpus", "cpuset.mems"].map(above),
        legacy,
        unified,
        hidden_files: existing(&HIDDEN, &|path| path.exists() && !path.is_dir()),
        hidden_directories: existing(&HIDDEN, &Path::is_dir),
        protected: existing(&PROTECTED, &Path::exists),
        loopback: Messages::default().up(LOOPBACK).bytes(),
    })
}

fn bundle(place: &Place, program: &'static str, words: &[&str]) -> Runtime {
    let paths = (&HIDDEN[..], &PROTECTED[..]);
    Runtime::new(program, place.directory(), Place::run_directory(), place.image(), words, paths)
}
