//! Name servers for containers, asked by the same program for the same name: mydocker's, dnsmasq and aardvark-dns.
//!
//! Each is asked over the loopback device of a network namespace by `dnsperf`: one question after the other, which shows
//! how long an answer takes, and a hundred at once, which shows how many it gives. They take turns, and the median of the
//! turns is told. What is not there is reported as missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::command::{self, Outcome};
use crate::hideout::{self, Host, Place};
use crate::report::Figure;

pub(crate) const GROUP: &str = "names";
/// Turns of each server, and the seconds of one.
const TURNS: usize = 5;
const SECONDS: &str = "2";
/// The name, and who asks: aardvark-dns answers those only whose address it knows.
const NAME: &str = "web1";
const ASKER: &str = "127.0.0.2";
/// How long a server may take to begin.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was measured, and notes about what it was measured with.
type Found = (Vec<Figure>, Vec<String>);

/// Measures in another process, inside, and returns what it found.
pub(crate) fn all() -> Outcome<Found> {
    let text = hideout::start(GROUP, |directory| fs::read(hideout::result(directory)))?;
    let text = text.map_err(|error| format!("the result cannot be read: {error}"))?;
    serde_json::from_slice::<Outcome<Found>>(&text).map_err(|error| error.to_string())?
}

/// The part inside.
pub(crate) fn measure(place: &Place) {
    fs::write(place.result(), serde_json::to_vec(&compare(place)).unwrap()).unwrap();
}

/// A server that is running, and where it is asked.
struct Server {
    name: &'static str,
    /// The network namespace.
    space: String,
    address: &'static str,
    process: Option<Child>,
    /// Its times and numbers so far.
    took: Vec<f64>,
    answered: Vec<f64>,
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            process.kill().ok();
            process.wait().ok();
        }
    }
}

impl Server {
    /// What dnsperf says of it: the mean time in seconds, and answers in a second.
    fn ask(&self, at_once: &str, questions: &Path) -> Outcome<(f64, f64)> {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.space)).args(["dnsperf", "-s", self.address, "-a", ASKER]);
        command.args(["-c", "1", "-T", "1", "-l", SECONDS, "-q", at_once, "-d"]).arg(questions);
        let said = command::run(&mut command, "")?.stdout;
        let number = |before: &str| -> Outcome<f64> {
            let rest = said.split_once(before).map(|(_, rest)| rest.trim_start());
            let word = rest.and_then(|rest| rest.split([' ', '\n']).next());
            let number = word.and_then(|word| word.parse().ok());
            number.ok_or_else(|| format!("dnsperf says nothing after {before:?}: {said}"))
        };
        let (sent, answered) = (number("Queries sent:")?, number("NOERROR ")?);
        if answered < sent * 0.99 {
            return Err(format!("{}: {answered} of {sent} questions were answered", self.name));
        }
        Ok((number("Average Latency (s):")?, number("Queries per second:")?))
    }

    fn turn(&mut self, questions: &Path) -> Outcome<()> {
        let (took, _) = self.ask("1", questions)?;
        let (_, answered) = self.ask("100", questions)?;
        self.took.push(took * 1e9);
        self.answered.push(answered);
        Ok(())
    }

    /// Waits until it answers.
    fn begin(self, questions: &Path) -> Outcome<Self> {
        let start = Instant::now();
        loop {
            let mut command = Command::new("nsenter");
            command.arg(format!("--net={}", self.space)).args(["dnsperf", "-s", self.address, "-a", ASKER]);
            command.args(["-n", "1", "-t", "1", "-d"]).arg(questions);
            let answers = command::run(&mut command, "");
            if answers.as_ref().is_ok_and(|done| done.stdout.contains("NOERROR 1 ")) {
                return Ok(self);
            }
            if start.elapsed() > PATIENCE {
                return Err(format!(
                    "{} does not answer: {answers:?}",
                    self.name,
                    answers = answers.map(|it| it.stdout)
                ));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn figures(&mut self) -> [Figure; 2] {
        let median = |values: &mut Vec<f64>| {
            values.sort_unstable_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let name = self.name;
        [
            Figure::new(GROUP, format!("{name}, one question at a time"), "mean ns", median(&mut self.took)),
            Figure::new(GROUP, format!("{name}, a hundred at once"), "answers/s", median(&mut self.answered)),
        ]
    }
}

fn compare(place: &Place) -> Outcome<Found> {
    let there = command::run(Command::new("dnsperf").arg("-h"), "");
    there.map_err(|reason| format!("{reason} (package dnsperf)"))?;
    let questions = place.directory().join("questions");
    fs::write(&questions, format!("{NAME} A\n")).unwrap();
    let host = Host::new();
    host.enter();
    let ours = ours(place)?.begin(&questions)?;
    let (mut servers, mut notes) = (vec![ours], Vec::new());
    for (name, other) in [("dnsmasq", dnsmasq as fn(&Place) -> Outcome<Server>), ("aardvark-dns", aardvark)] {
        match other(place).and_then(|server| server.begin(&questions)) {
            Ok(server) => servers.push(server),
            Err(reason) => notes.push(format!("{GROUP}: missing: {name}: {reason}")),
        }
    }
    let programs = aardvark_program().into_iter().chain([PathBuf::from("dnsmasq")]);
    notes.extend(programs.filter_map(|program| version(program).ok()));
    for _ in 0..TURNS {
        for server in &mut servers {
            server.turn(&questions)?;
        }
    }
    Ok((servers.iter_mut().flat_map(Server::figures).collect(), notes))
}

/// The supervisor of a container, which has a neighbour of this name.
fn ours(place: &Place) -> Outcome<Server> {
    let named = std::env::var_os("MYDOCKER_BENCH_BINARY");
    let program = named.map_or_else(|| env!("CARGO_BIN_EXE_mydocker").into(), PathBuf::from);
    let (root, run_root) = (place.directory(), Place::run_directory());
    let mydocker = |words: &[&str]| {
        let mut command = Command::new(&program);
        command.env("MYDOCKER_ROOT", &root).env("MYDOCKER_RUN_ROOT", &run_root);
        command::run(command.args(words), "").map(|done| done.stdout)
    };
    mydocker(&["network", "create", "--subnet", "10.77.0.0/16", "bench0"])?;
    let image = place.image();
    for name in ["web0", NAME] {
        mydocker(&[
            "run",
            "-d",
            "--network",
            "bench0",
            "--name",
            name,
            image.to_str().unwrap(),
            "sleep",
            "100000",
        ])?;
    }
    let pid = mydocker(&["inspect", "-f", "{{.State.Pid}}", "web0"])?;
    Ok(server("mydocker", format!("/proc/{}/ns/net", pid.trim()), "127.0.0.11", None))
}

fn server(name: &'static str, space: String, address: &'static str, process: Option<Child>) -> Server {
    Server { name, space, address, process, took: Vec::new(), answered: Vec::new() }
}

/// Starts a program that stays, in a network namespace of its own.
fn start(name: &'static str, command: &mut Command) -> Outcome<Server> {
    hideout::named::add(name)?;
    let space = hideout::named::path(name).to_str().unwrap().to_owned();
    command::run(Command::new("ip").args(["-n", name, "link", "set", "lo", "up"]), "")?;
    let mut inside = Command::new("nsenter");
    inside.arg(format!("--net={space}")).arg(command.get_program()).args(command.get_args());
    inside.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let process = inside.spawn().map_err(|error| format!("nsenter: {error}"))?;
    Ok(server(name, space, "127.0.0.1", Some(process)))
}

fn dnsmasq(_: &Place) -> Outcome<Server> {
    version("dnsmasq").map_err(|reason| format!("{reason} (package dnsmasq-base)"))?;
    let mut command = Command::new("dnsmasq");
    command.args(["--keep-in-foreground", "--port=53", "--listen-address=127.0.0.1", "--bind-interfaces"]);
    command.args(["--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--user=root", "--pid-file="]);
    start("dnsmasq", command.arg(format!("--host-record={NAME},10.77.0.3")))
}

/// The one that `make bench` has built, else the distribution's.
fn aardvark_program() -> Option<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"));
    let places = ["/usr/lib/podman", "/usr/libexec/podman", "/usr/bin"].map(PathBuf::from);
    let places = std::iter::once(target.join("peers/bin")).chain(places);
    places.map(|directory| directory.join("aardvark-dns")).find(|path| path.exists())
}

/// What a program says it is.
fn version(program: impl AsRef<std::ffi::OsStr>) -> Outcome<String> {
    let said = command::run(Command::new(program).arg("--version"), "")?.stdout;
    Ok(format!("{GROUP}: {}", said.lines().next().unwrap_or_default()))
}

fn aardvark(place: &Place) -> Outcome<Server> {
    let program = aardvark_program().ok_or("there is none (package aardvark-dns)")?;
    let directory = place.directory();
    let id = "a".repeat(64);
    fs::write(directory.join("bench0"), format!("127.0.0.1\n{id} {ASKER}  web0,{NAME}\n")).unwrap();
    start(
        "aardvark-dns",
        Command::new(&program).arg("--config").arg(&directory).args(["--port", "53", "run"]),
    )
}
