//! A container that may trace processes lies in wait for whatever `exec` brings into it.
//!
//! It seizes each new process as soon as the process has a number in the container, which non-dumpable processes
//! do not prevent: only the order of things in `exec` does. What it gets hold of must have nothing that the
//! container has not: not the host's mounts, no more capabilities, no lack of a filter, no descriptor.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use nix::sys::ptrace::{self, Options};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::host::Host;
use crate::insider::{Insider, task};
use crate::program::{Running, eventually};

/// How many processes are brought into each container in the normal run, and in the long one (see `sweep`).
const EXECS: (usize, usize) = (30, 100);
/// How often a process is offered to the one that wants to hold it up.
const OFFERS: usize = 300;
/// How many of those that have too much are told of.
const SHOWN: usize = 3;
/// Where the attacker writes what it finds.
const FINDINGS: &str = "/findings";

/// What the kernel says of a process that was seized.
#[derive(Debug, Serialize, Deserialize)]
struct Facts {
    pid: i32,
    /// What it runs. Before its execve(2) it is not a program of the container's.
    program: String,
    mounts: String,
    root: String,
    effective: u64,
    bounding: u64,
    filter: String,
    /// What its descriptors lead to.
    descriptors: BTreeMap<i32, String>,
}

impl Facts {
    fn of(pid: i32) -> std::io::Result<Self> {
        let process = Path::new("/proc").join(pid.to_string());
        let link = |name: &str| {
            std::fs::read_link(process.join(name)).map(|link| link.to_string_lossy().into_owned())
        };
        let status = std::fs::read_to_string(process.join("status"))?;
        let line = |name: &str| {
            let rest = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            rest.unwrap_or_default().trim().to_owned()
        };
        let mask = |name: &str| u64::from_str_radix(&line(name), 16).map_err(std::io::Error::other);
        let mut descriptors = BTreeMap::new();
        for entry in std::fs::read_dir(process.join("fd"))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let number = name.parse().map_err(std::io::Error::other)?;
            descriptors.insert(number, link(&format!("fd/{name}")).unwrap_or_default());
        }
        Ok(Self {
            pid,
            // Its own executable may be nowhere in the container, and has no path then.
            program: link("exe").unwrap_or_default(),
            mounts: link("ns/mnt")?,
            root: link("root")?,
            effective: mask("CapEff")?,
            bounding: mask("CapBnd")?,
            filter: line("Seccomp"),
            descriptors,
        })
    }

    /// Whether it has not become the container's program yet.
    fn is_on_its_way(&self) -> bool {
        !self.program.ends_with("/busybox")
    }

    /// Whatever it has that the attacker, the container's first process, has not; its mounts may be others where
    /// there is somebody whose they must not be.
    fn excess(&self, own: &Self, not_of: Option<&str>) -> Vec<String> {
        let mut excess = Vec::new();
        let mut unless = |fine: bool, what: String| {
            if !fine {
                excess.push(what)
            }
        };
        let fine = not_of.map_or(self.mounts == own.mounts, |others| self.mounts != others);
        unless(fine, format!("the mounts {}", self.mounts));
        unless(self.root == "/", format!("the root {}", self.root));
        unless(self.effective & !own.effective == 0, format!("the capabilities {:x}", self.effective));
        unless(self.bounding & !own.bounding == 0, format!("the bounding set {:x}", self.bounding));
        unless(self.filter == "2", format!("the filter {:?}", self.filter));
        let others: Vec<&String> =
            self.descriptors.iter().filter(|(number, _)| **number > 2).map(|(_, link)| link).collect();
        // The one on which it tells how far it came.
        let is_socket = |link: &&String| link.starts_with("socket:");
        unless(others.len() <= 1 && others.iter().all(is_socket), format!("the descriptors {others:?}"));
        excess
    }
}

/// The attacker. Its task is to `note` what it seizes, or to `hold` it for ever.
#[test]
#[ignore = "lies in wait inside a container that the tests below start"]
fn attacker() {
    let Some(task) = task() else { return };
    let mut findings = File::create(Path::new(FINDINGS).join("found")).expect("a file for the findings");
    let mut tell = |facts: &Facts| {
        let line = serde_json::to_string(facts).expect("facts as JSON") + "\n";
        findings.write_all(line.as_bytes()).expect("write down what was found");
    };
    let own = Facts::of(i32::try_from(std::process::id()).expect("a pid")).expect("the attacker's own facts");
    tell(&own);
    let mut last = own.pid;
    loop {
        // Numbers are given out in turn, so that the next ones are known in advance. A look at the list tells now
        // and then where they are: numbers are used up by what is not brought in.
        for _ in 0..2000 {
            for pid in last + 1..=last + 4 {
                if let Some(facts) = seize(pid, &task) {
                    tell(&facts);
                }
                if Path::new("/proc").join(pid.to_string()).exists() {
                    last = pid;
                }
            }
        }
        let numbers = std::fs::read_dir("/proc").expect("/proc").flatten();
        let highest = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).max();
        last = last.max(highest.unwrap_or(last));
    }
}

/// Seizes and stops a process, if there is one, and looks at it.
fn seize(pid: i32, task: &str) -> Option<Facts> {
    let pid = Pid::from_raw(pid);
    ptrace::seize(pid, Options::empty()).ok()?;
    // It may end at any of these moments; then its end is reported to the tracer, and to nobody else before that.
    ptrace::interrupt(pid).ok();
    let WaitStatus::PtraceEvent(..) = waitpid(pid, Some(WaitPidFlag::__WALL)).ok()? else { return None };
    let facts = Facts::of(pid.as_raw()).ok();
    if task == "hold" && facts.as_ref().is_some_and(Facts::is_on_its_way) {
        return facts;
    }
    ptrace::detach(pid, None).ok();
    facts.filter(|_| task != "hold")
}

/// An ambush that is laid.
struct Ambush<'a> {
    host: &'a Host,
    findings: std::path::PathBuf,
}

impl<'a> Ambush<'a> {
    /// Starts the attacker as the container `c` with these options.
    fn lay(host: &'a Host, task: &str, options: &[&str]) -> Self {
        let findings = host.scratch("findings");
        let volume = format!("{}:{FINDINGS}", findings.display());
        let insider = Insider::new("exec_attack::attacker", task);
        let run = ["run", "-d", "--name", "c", "--net", "none", "--cap-add", "SYS_PTRACE", "-v", &volume];
        let words = [&run[..], options, &insider.options(), &[&host.image], &insider.command()].concat();
        host.mydocker(&words).ok();
        let ambush = Self { host, findings };
        eventually("the attacker to begin", || ambush.found().pop());
        ambush
    }

    /// What was found so far: the attacker itself first.
    fn found(&self) -> Vec<Facts> {
        let text = std::fs::read_to_string(self.findings.join("found")).unwrap_or_default();
        // The last line may not be whole yet.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| serde_json::from_str(line).expect("facts as JSON")).collect()
    }

    /// Brings processes into the container, and looks at what the attacker made of that.
    #[track_caller]
    fn spring(self, options: &[&str]) {
        self.spring_by(&[&["exec"], options, &["c", "true"]].concat(), None);
    }

    /// The same by another command, whose processes have mounts of their own: anybody's but those of `not_of`.
    #[track_caller]
    fn spring_by(self, words: &[&str], not_of: Option<&str>) {
        let is_long = std::env::var("MYDOCKER_SWEEP").is_ok_and(|value| value == "all");
        let execs = if is_long { EXECS.1 } else { EXECS.0 };
        for _ in 0..execs {
            let output = self.host.mydocker(words);
            assert_eq!(output.code(), 0, "{output}");
        }
        let found = self.found();
        let log = self.host.mydocker(&["logs", "c"]);
        let (own, seized) = found.split_first().expect("the attacker's own facts");
        let on_their_way = seized.iter().filter(|facts| facts.is_on_its_way()).count();
        println!("{execs} processes, {} seized, {on_their_way} of them early", seized.len());
        // Without that it would have been no attack.
        assert!(!seized.is_empty(), "not one of {execs} processes was seized: {log}");
        let excess: Vec<String> = seized
            .iter()
            .map(|facts| (facts, facts.excess(own, not_of)))
            .filter(|(_, excess)| !excess.is_empty())
            .map(|(facts, excess)| format!("{} ({:?}) had {}", facts.pid, facts.program, excess.join(", ")))
            .collect();
        let (some, count) = (&excess[..excess.len().min(SHOWN)], excess.len());
        assert_eq!(
            count,
            0,
            "{count} of {} had more than the container, such as\n{}",
            seized.len(),
            some.join("\n")
        );
        self.host.mydocker(&["rm", "-f", "c"]).ok();
        self.host.assert_nothing_left();
    }
}

#[test]
fn a_tracer_gets_hold_of_nothing_that_the_container_has_not() {
    let host = Host::new();
    Ambush::lay(&host, "note", &[]).spring(&[]);
}

#[test]
fn a_tracer_that_administrates_gets_hold_of_nothing_more() {
    let host = Host::new();
    Ambush::lay(&host, "note", &["--cap-add", "SYS_ADMIN"]).spring(&[]);
}

#[test]
fn a_tracer_gets_hold_of_nothing_more_when_it_is_another_user_that_is_brought_in() {
    let host = Host::new();
    Ambush::lay(&host, "note", &[]).spring(&["-u", "1234"]);
}

#[test]
fn a_tracer_gets_hold_of_nothing_of_a_container_that_is_put_to_its_own() {
    let host = Host::new();
    let hosts = host.space.run(|| std::fs::read_link("/proc/thread-self/ns/mnt").expect("its own mounts"));
    let words = ["run", "--rm", "--net", "none", "--pid", "container:c", &host.image, "true"];
    Ambush::lay(&host, "note", &[]).spring_by(&words, hosts.to_str());
}

#[test]
fn a_process_that_is_held_up_on_its_way_in_is_in_nobody_elses_way() {
    let host = Host::new();
    let ambush = Ambush::lay(&host, "hold", &[]);
    host.mydocker(&["run", "-d", "--name", "d", "--net", "none", &host.image, "sleep", "100000"]).ok();
    // Not each of them is met early enough. What comes in gives way to the attacker: where others want the
    // processors too, it would have passed each time before the attacker had its turn.
    let mut held: Option<Running> = None;
    for _ in 0..OFFERS {
        let command = ["exec", "c", "sh", "-c", "exit 3"];
        let words = [&["nice", "-n", "19", env!("CARGO_BIN_EXE_mydocker")][..], &command].concat();
        let mut exec = host.program(&words).start_in(&host.space);
        eventually("a process to come in or to be held up", || {
            (ambush.found().len() > 1 || !exec.is_running()).then_some(())
        });
        if ambush.found().len() > 1 {
            held = Some(exec);
            break;
        }
        assert_eq!(exec.wait().code(), 3);
    }
    let mut held = held.unwrap_or_else(|| panic!("none of {OFFERS} processes was held up"));
    assert!(held.is_running(), "a process that is held up should keep its caller waiting");
    host.mydocker(&["exec", "d", "true"]).ok();
    host.mydocker(&["ps", "-a"]).ok();
    host.mydocker(&["run", "--rm", "--net", "none", &host.image, "true"]).ok();
    host.mydocker(&["rm", "-f", "c"]).ok();
    // Whoever waited for it learns that it never ran; or how it ended, for the end of its tracer lets it go on for a
    // moment.
    let output = held.wait();
    assert!([125, 3, 137].contains(&output.code()), "{output}");
    host.mydocker(&["rm", "-f", "d"]).ok();
    host.assert_nothing_left();
}
