//! Safe to kill: every command is killed at each of its steps, and at random moments, and what it leaves is
//! understood by the commands that follow.
//!
//! A step is a system call that changes something, made by any process of mydocker that the command brings
//! about or talks to: the client, the supervisors, the containers' processes until they are their commands (see `tracer`). The kill comes right
//! before it (then it is not carried out) or right after, and meets all of mydocker's processes, or only the one
//! that makes the call, or only the client. After each kill, in an order that changes from kill to kill:
//!
//! - `ps -a` and `network list` answer;
//! - the same command works, or says that what it was to make or take away is there or gone already, and then
//!   works once everything has been removed by its id or name;
//! - two more containers start, on the same network and on the same host port unless a running container has it,
//!   and no two namespaces have one address on a network;
//! - each running container is found by its names, nobody by any other, and its `/etc/hosts` has its addresses;
//! - removing all that `ps -a` and `network list` show, and pruning volumes and images, leaves nothing: no process,
//!   mount, group, namespace, device, table, or file, but hidden temporary files.
//!
//! The normal run meets every Kth step of some of the commands; which commands, K, and the first step follow from
//! a seed, and that is always the same: a change is judged as the one before it was. Random moments differ from run
//! to run whatever the seed, and are met only on demand. All of it, and all there is, at length:
//!
//! ```text
//! MYDOCKER_SWEEP=all  cargo test --test it sweep:: -- --include-ignored --nocapture
//!                                                                    every step; 1,000 random kills; the counts
//! MYDOCKER_SWEEP=K    …                                              every Kth of these kills
//! MYDOCKER_SEED=N     …                                              the very steps and moments of an earlier run
//! MYDOCKER_SWEEP_ONLY=NAME,NAME                                      only these commands, by their names below
//! MYDOCKER_SWEEP_STEPS=1                                             the steps themselves
//! ```

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use tar::EntryType;

use crate::archives::{file, tar};
use crate::host::Host;
use crate::leftovers::Scope;
use crate::program::{Output, eventually};
use crate::tracer::{Kill, Moment, Role, Step, Trace, Until, Victims, trace};

/// How many commands the normal run has.
const COMMANDS: usize = 6;
/// How many kills of each command the normal run has.
const KILLS: usize = 4;
/// How many random kills the normal run has, and the long one.
const ROUNDS: (usize, usize) = (20, 1000);

/// A command, and what has to be there before it. `IMAGE` stands for the image, `TAR` for a small archive,
/// `SYSTEM` for one with what containers need, `OUT` for a file of the host.
struct Scenario {
    name: &'static str,
    prepare: &'static [&'static str],
    command: &'static str,
    /// What the command may say when it is given once more: that it is done already.
    refusals: &'static [&'static str],
    /// Whether it says the first of these the first time as well.
    is_refused: bool,
    /// How long what it leaves running is followed.
    until: Until,
}

const NETWORK: &str = "network create --subnet 172.20.0.0/24 --subnet fd20::/64 n";
const OTHER_NETWORK: &str = "network create --subnet 172.21.0.0/24 m";
const RUN: &str = "run -d --name c --net n -p 8080:80 -p 5353:53/udp IMAGE sleep 100000";
const CREATE: &str = "create --name c --net n -p 8080:80 IMAGE sleep 100000";
const STOP: &str = "stop -t 0 c";
const VOLUMES: &str = "run -d --name c --net n -p 8080:80 -v v:/v -v /w IMAGE sleep 100000";
const SMALL: &str = "import TAR small";
const SYSTEM: &str = "import SYSTEM system";
const RUN_STORED: &str = "run -d --name c --net n -p 8080:80 system sleep 100000";
// Its first run fails, its second one finds the directory.
const TWICE: &str = "run -d --name c --net n -p 8080:80 --restart on-failure:3 IMAGE \
                     sh -c mkdir${IFS}/here&&exit${IFS}1;true";
const TAKEN: &[&str] = &["already in use", "of that name exists"];
const CONNECT: &str = "network connect m c";
const CONNECTED: &[&str] = &["is connected already"];
const DISCONNECTED: &[&str] = &["is not connected"];
const GONE: &[&str] = &["no such"];
const NOT_RUNNING: &[&str] = &["is not running"];

const SCENARIOS: &[Scenario] = &[
    done("network create", &[], NETWORK, TAKEN),
    done("network create beside another", &[OTHER_NETWORK], NETWORK, TAKEN),
    done("network connect", &[NETWORK, OTHER_NETWORK, RUN], "network connect m c", CONNECTED),
    done("network connect at rest", &[NETWORK, OTHER_NETWORK, CREATE], "network connect m c", CONNECTED),
    done(
        "network disconnect",
        &[NETWORK, OTHER_NETWORK, RUN, CONNECT],
        "network disconnect n c",
        DISCONNECTED,
    ),
    done(
        "network disconnect at rest",
        &[NETWORK, OTHER_NETWORK, CREATE, CONNECT],
        "network disconnect n c",
        DISCONNECTED,
    ),
    done("network remove", &[NETWORK], "network remove n", GONE),
    done("network remove beside another", &[OTHER_NETWORK, NETWORK], "network remove n", GONE),
    refused(
        "network remove while it is in use",
        &[NETWORK, RUN],
        "network remove n",
        // The container may have been killed as well.
        &["in use by c", "no such network"],
    ),
    done("run -d", &[NETWORK], RUN, TAKEN),
    done("run -d on the default network", &[], "run -d --name c -p 8080:80 IMAGE sleep 100000", TAKEN),
    done("run -d with volumes", &[NETWORK], VOLUMES, TAKEN),
    done("run -d of a stored image", &[NETWORK, SYSTEM], RUN_STORED, TAKEN),
    done("run --rm", &[NETWORK], "run --rm --name c --net n -p 8080:80 IMAGE true", TAKEN),
    Scenario { until: Until::End, ..done("run -d --restart", &[NETWORK], TWICE, TAKEN) },
    done("create", &[NETWORK], CREATE, TAKEN),
    done("start", &[NETWORK, CREATE], "start c", &[]),
    done("start again", &[NETWORK, RUN, STOP], "start c", &[]),
    done("restart", &[NETWORK, RUN], "restart -t 0 c", &[]),
    done("stop", &[NETWORK, RUN], STOP, &[]),
    done("kill", &[NETWORK, RUN], "kill c", NOT_RUNNING),
    done("pause", &[NETWORK, RUN], "pause c", &["is paused", "is not running"]),
    done("unpause", &[NETWORK, RUN, "pause c"], "unpause c", &["is not paused", "is not running"]),
    done("rename", &[NETWORK, RUN], "rename c cc", &["has this name already", "no such"]),
    done("rename at rest", &[NETWORK, CREATE], "rename c cc", &["has this name already", "no such"]),
    done("update", &[NETWORK, RUN], "update --pids-limit 100 c", &[]),
    done("network reload", &[NETWORK, RUN], "network reload", &[]),
    done("network prune", &[NETWORK, OTHER_NETWORK, RUN], "network prune -f", &[]),
    done("exec", &[NETWORK, RUN], "exec c true", NOT_RUNNING),
    done("exec -d", &[NETWORK, RUN], "exec -d c sleep 100000", NOT_RUNNING),
    done("cp", &[NETWORK, RUN], "cp TAR c:/tmp/copy", &[]),
    done("cp at rest", &[NETWORK, CREATE], "cp TAR c:/tmp/copy", &[]),
    done("export at rest", &[NETWORK, CREATE], "export -o OUT c", &[]),
    done("rm -f", &[NETWORK, RUN], "rm -f c", GONE),
    done("rm", &[NETWORK, RUN, STOP], "rm c", GONE),
    done("rm -v", &[NETWORK, VOLUMES, STOP], "rm -v c", GONE),
    done("volume create", &[], "volume create v", &[]),
    done("volume rm", &["volume create v"], "volume rm v", GONE),
    done("import", &[], SMALL, &[]),
    done("import anew", &[SMALL], SMALL, &[]),
    done("tag", &[SMALL], "tag small other", &[]),
    done("rmi", &[SMALL], "rmi small", GONE),
    done("commit", &[NETWORK, SYSTEM, RUN_STORED], "commit c copy", &[]),
];

const fn done(
    name: &'static str,
    prepare: &'static [&'static str],
    command: &'static str,
    refusals: &'static [&'static str],
) -> Scenario {
    Scenario { name, prepare, command, refusals, is_refused: false, until: Until::Rest }
}

const fn refused(
    name: &'static str,
    prepare: &'static [&'static str],
    command: &'static str,
    refusals: &'static [&'static str],
) -> Scenario {
    Scenario { name, prepare, command, refusals, is_refused: true, until: Until::Rest }
}

impl Scenario {
    #[track_caller]
    fn prepare(&self, host: &Host) {
        for command in self.prepare {
            run(host, command).ok();
        }
    }

    #[track_caller]
    fn trace(&self, host: &Host, kill: Option<Kill>) -> Trace {
        trace(host, &borrowed(&words(host, self.command)), self.until, kill)
    }

    /// Checks what the command says where nothing was killed.
    #[track_caller]
    fn check(&self, output: &Output) {
        if self.is_refused {
            output.refused(&[1, 125], &self.refusals[..1]);
        } else {
            output.ok();
        }
    }
}

/// A host with the archives that commands read.
fn new_host() -> Host {
    let host = Host::new();
    let busybox = std::fs::read(Path::new(&host.image).join("bin/busybox")).expect("busybox");
    let few = [("etc", EntryType::Directory, "", &b""[..]), ("etc/motd", EntryType::Regular, "", b"hello")];
    let system = [
        ("bin", EntryType::Directory, "", &b""[..]),
        ("bin/busybox", EntryType::Regular, "", &busybox),
        ("bin/sleep", EntryType::Symlink, "busybox", b""),
    ];
    file(&host, "small.tar", &tar(&few));
    file(&host, "system.tar", &tar(&system));
    host
}

/// The words of a command line.
fn words(host: &Host, command: &str) -> Vec<String> {
    let below = |name: &str| {
        let path = host.root.parent().expect("the host's directory").join(name);
        path.to_str().expect("a plain path").to_owned()
    };
    let words = command.split_ascii_whitespace().map(|word| match word {
        "IMAGE" => host.image.clone(),
        "TAR" => below("small.tar"),
        "SYSTEM" => below("system.tar"),
        "OUT" => below("out.tar"),
        word => word.to_owned(),
    });
    words.collect()
}

/// Runs mydocker to its end.
#[track_caller]
fn run(host: &Host, command: &str) -> Output {
    host.mydocker(&borrowed(&words(host, command)))
}

fn borrowed(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

/// Small random numbers that follow from a seed (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(number).expect("31 bits") % limit
    }
}

fn seed() -> u64 {
    // Always the same without one: who changes something else should not meet a step that nobody has met before.
    let given = std::env::var("MYDOCKER_SEED").ok();
    given.map_or(1, |text| text.parse().expect("MYDOCKER_SEED should be a number"))
}

/// Every how many-th kill the long run has; `None` in the normal one.
fn long() -> Option<usize> {
    let value = std::env::var("MYDOCKER_SWEEP").ok()?;
    Some(if value == "all" { 1 } else { value.parse().expect("MYDOCKER_SWEEP should be `all` or a number") })
}

/// The commands to be swept: all, or those that the user has named, or some that are chosen at random.
fn scenarios(random: &mut Random) -> Vec<&'static Scenario> {
    if let Ok(only) = std::env::var("MYDOCKER_SWEEP_ONLY") {
        let named = |scenario: &&Scenario| only.split(',').any(|name| scenario.name == name.trim());
        return SCENARIOS.iter().filter(named).collect();
    }
    let mut scenarios: Vec<&Scenario> = SCENARIOS.iter().collect();
    while long().is_none() && scenarios.len() > COMMANDS {
        scenarios.remove(random.below(scenarios.len()));
    }
    scenarios
}

/// What was found wrong, each with the kill that brought it about. What is left behind on a host would be
/// found again after every further kill, so each finding costs the host.
struct Findings {
    host: Host,
    seed: u64,
    kills: usize,
    found: Vec<String>,
}

impl Findings {
    fn new(seed: u64) -> Self {
        Self { host: new_host(), seed, kills: 0, found: Vec::new() }
    }

    fn check(&mut self, what: impl FnOnce() -> String, work: impl FnOnce(&Host)) {
        self.kills += 1;
        let Err(panic) = std::panic::catch_unwind(AssertUnwindSafe(|| work(&self.host))) else { return };
        let why = panic.downcast_ref::<String>().cloned();
        let why = why.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let finding = format!("{}:\n{}", what(), why.unwrap_or_default());
        println!("FOUND {finding}");
        self.found.push(finding);
        self.host = new_host();
    }

    fn end(self) {
        let count = self.found.len();
        let text = self.found.join("\n\n");
        assert_eq!(count, 0, "MYDOCKER_SEED={}: after {} kills:\n{text}", self.seed, self.kills);
    }
}

/// The kills that meet everything there is to meet.
fn all_kills(steps: &[Step]) -> Vec<Kill> {
    let mut kills = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        let mut add = |moment, victims| kills.push(Kill { step: number, moment, victims });
        add(Moment::Before, Victims::All);
        let next = steps.get(number + 1);
        // After a step is before the next one, if that is of the same process.
        if next.is_none_or(|next| next.role != step.role) {
            add(Moment::After, Victims::All);
        }
        if step.in_company {
            add(Moment::Before, Victims::Doer);
            if step.role != Role::Client {
                add(Moment::Before, Victims::Client);
            }
        }
    }
    kills
}

/// A few of the kills, the first of them and their kind chosen at random.
fn some_kills(steps: &[Step], random: &mut Random, name: &str) -> Vec<Kill> {
    let every = steps.len().div_ceil(KILLS).max(1);
    let first = random.below(every);
    println!("{name}: every {every}th of {} steps, from the {first}th", steps.len());
    let numbers = (first..steps.len()).step_by(every);
    numbers
        .map(|step| Kill {
            step,
            moment: if random.below(2) == 0 { Moment::Before } else { Moment::After },
            victims: [Victims::All, Victims::Doer, Victims::Client][random.below(3)],
        })
        .collect()
}

#[test]
fn r5_a_command_that_is_killed_at_any_step_leaves_what_the_next_one_understands() {
    let seed = seed();
    println!("MYDOCKER_SEED={seed}");
    let mut random = Random(seed | 1);
    let mut findings = Findings::new(seed);
    for scenario in scenarios(&mut random) {
        let mut steps = Vec::new();
        let counting = || format!("{}, not killed at all", scenario.name);
        findings.check(counting, |host| {
            scenario.prepare(host);
            let traced = scenario.trace(host, None);
            scenario.check(&traced.output);
            steps = traced.steps;
            nothing_remains(host);
        });
        if std::env::var_os("MYDOCKER_SWEEP_STEPS").is_some() {
            steps.iter().enumerate().for_each(|(number, step)| println!("{number:5} {step}"));
        }
        let kills = match long() {
            Some(every) => {
                let first = random.below(every);
                all_kills(&steps).into_iter().skip(first).step_by(every).collect()
            }
            None => some_kills(&steps, &mut random, scenario.name),
        };
        let (mut met, before) = (0, findings.found.len());
        for kill in &kills {
            let order = random.below(ORDERS);
            // Read by the one what the other has written.
            let seen = RefCell::new("not reached".to_owned());
            let what = || {
                let Kill { step, moment, victims } = kill;
                format!("{}, {victims:?} killed {moment:?} step {step}, {}", scenario.name, seen.borrow())
            };
            let mut reached = false;
            findings.check(what, |host| {
                scenario.prepare(host);
                let traced = scenario.trace(host, Some(*kill));
                reached = traced.killed;
                if let Some(step) = traced.steps.get(kill.step) {
                    *seen.borrow_mut() = step.to_string();
                }
                aftermath(host, scenario, order);
            });
            met += usize::from(reached);
        }
        let found = findings.found.len() - before;
        let (name, steps, kills) = (scenario.name, steps.len(), kills.len());
        println!("{name}: {steps} steps, {kills} kills, of which {met} met their step; {found} found");
    }
    println!("{} kills in all", findings.kills);
    findings.end();
}

/// Calls at which kills once left something for ever, each with its command, and who was killed.
const ONCE_LEAKED: &[(&str, &str, Victims)] = &[
    // Ports whose remark had the old name and the record the new one.
    ("rename", "sendto", Victims::All),
    // The directory of a name without any file.
    ("rename", "names/n/cc", Victims::All),
    // A container that had the one name in its record and was found by the other.
    ("rename", "names/c", Victims::Doer),
    // The log of a container that had no record any more.
    ("rm", "unlinkat", Victims::All),
    // A layer half-made for the first image of all.
    ("import", "image/lock", Victims::All),
    // What a volume held that had no name any more.
    ("volume rm", "unlinkat", Victims::All),
    // A client and a supervisor that waited for ever for a process that nobody had told them of.
    ("exec", "write socket", Victims::Doer),
];

#[test]
fn r5_what_kills_once_left_behind_is_found_and_removed() {
    let mut findings = Findings::new(0);
    for (name, call, victims) in ONCE_LEAKED {
        let scenario = SCENARIOS.iter().find(|scenario| scenario.name == *name).expect("a command");
        let mut steps = Vec::new();
        // The second time, because the first one makes directories that stay.
        for _ in 0..2 {
            findings.check(
                || format!("{name}, not killed at all"),
                |host| {
                    scenario.prepare(host);
                    steps = scenario.trace(host, None).steps;
                    nothing_remains(host);
                },
            );
        }
        for step in (0..steps.len()).filter(|step| steps[*step].call.contains(call)) {
            findings.check(
                || format!("{name}, {victims:?} killed before step {step}, {}", steps[step]),
                |host| {
                    scenario.prepare(host);
                    scenario.trace(host, Some(Kill { step, moment: Moment::Before, victims: *victims }));
                    aftermath(host, scenario, 0);
                },
            );
        }
    }
    println!("{} kills in all", findings.kills);
    findings.end();
}

#[test]
#[ignore = "what it meets differs from run to run: it looks for what nobody has thought of, and judges no change"]
fn r5_a_command_that_is_killed_at_a_random_moment_leaves_what_the_next_one_understands() {
    let seed = seed();
    println!("MYDOCKER_SEED={seed}");
    let mut random = Random(seed | 1);
    let mut findings = Findings::new(seed);
    let scenarios = scenarios(&mut random);
    for round in 0..long().map_or(ROUNDS.0, |every| ROUNDS.1 / every) {
        let scenario = scenarios[random.below(scenarios.len())];
        // Most of what happens happens early.
        let pause = Duration::from_micros(1 << random.below(17)) + Duration::from_micros(500);
        let (victims, order) = (random.below(3), random.below(ORDERS));
        let what = || {
            let victims = ["the client", "the supervisors", "all of mydocker"][victims];
            format!("round {round}: {}, {victims} killed after {pause:?}", scenario.name)
        };
        findings.check(what, |host| {
            scenario.prepare(host);
            let command = host.start(&borrowed(&words(host, scenario.command)));
            std::thread::sleep(pause);
            match victims {
                0 => command.signal(Signal::SIGKILL),
                1 => drop(host.kill_supervisors()),
                _ => host.kill_mydocker(),
            }
            command.wait();
            aftermath(host, scenario, order);
        });
    }
    println!("{} kills in all", findings.kills);
    findings.end();
}

/// In how many orders the commands after a kill are given.
const ORDERS: usize = 20;

/// Whatever was killed: the next commands work, and everything can be removed.
#[track_caller]
fn aftermath(host: &Host, scenario: &Scenario, order: usize) {
    let bit = |number: usize| order & (1 << number) != 0;
    let look = || {
        host.mydocker(&["ps", "-a"]).ok();
        host.mydocker(&["network", "list"]).ok();
    };
    if bit(0) {
        look();
    }
    if bit(4) {
        // At once to the removal.
    } else if bit(1) {
        again(host, scenario);
        two_more(host, bit(2));
    } else {
        two_more(host, bit(2));
        for name in ["d", "e"] {
            host.mydocker(&["rm", "-f", name]).ok();
        }
        again(host, scenario);
    }
    if bit(3) {
        look();
    }
    if !bit(4) {
        host.assert_names_are_right();
    }
    nothing_remains(host);
}

/// Removes all that there is, and looks for what stays.
#[track_caller]
fn nothing_remains(host: &Host) {
    remove_everything(host);
    host.assert_nothing_left_but_temporary_files(Scope::All);
    for forwarding in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        assert_eq!(host.space.sysctl(forwarding), "0", "{forwarding} should be off as it was");
    }
}

/// The same command once more.
#[track_caller]
fn again(host: &Host, scenario: &Scenario) {
    let output = run(host, scenario.command);
    if output.status.success() {
        return;
    }
    let said = output.refused(&[1, 125], &[]);
    let is_done = scenario.refusals.iter().any(|refusal| said.to_lowercase().contains(refusal));
    assert!(is_done, "that is no reason to refuse: {output}");
    // What says that it is done has to be done.
    host.assert_names_are_right();
    remove_everything(host);
    scenario.prepare(host);
    scenario.check(&run(host, scenario.command));
}

/// Two more containers, on the network and the port that the killed command was about. With `try_first`, they
/// are started before the network is created once more.
#[track_caller]
fn two_more(host: &Host, try_first: bool) {
    const OTHER: &str = "run -d --name e --net n -p 8082:80 IMAGE sleep 100000";
    let tried = try_first.then(|| {
        let output = run(host, OTHER);
        if !output.status.success() {
            output.refused(&[125], &["no such network"]);
        }
        output.status.success()
    });
    let created = run(host, NETWORK);
    if tried == Some(true) || !created.status.success() {
        created.refused(&[1], &["network n", "exists"]);
    }
    let first = |port: u16| run(host, &format!("run -d --name d --net n -p {port}:80 IMAGE sleep 100000"));
    // A container that is about to end or to start may be neither for a moment.
    eventually("the host port, or a living holder of it", || {
        let output = first(8080);
        if output.status.success() {
            let address = host.inspect("d")["NetworkSettings"]["Networks"]["n"]["IPAddress"].clone();
            let address = address.as_str().expect("an address").to_owned();
            let leads = host.published().iter().any(|line| line.contains("8080") && line.contains(&address));
            assert!(leads, "port 8080 should lead to {address}: {:?}", host.published());
            return Some(());
        }
        output.refused(&[125], &["8080", "allocated, container c"]);
        // A remark may tell the old name of one that was being renamed.
        let runs = |holder: &str| {
            let holder = host.mydocker(&["inspect", holder]);
            holder.status.success() && holder.json()[0]["State"]["Running"] == true
        };
        (runs("c") || runs("cc")).then(|| drop(first(8081).ok()))
    });
    if tried != Some(true) {
        run(host, OTHER).ok();
    }
    let mut holders: BTreeMap<IpAddr, String> = BTreeMap::new();
    for (pin, address) in addresses(host) {
        if let Some(other) = holders.insert(address, pin.clone()) {
            panic!("{address} was given to {other} and to {pin}");
        }
    }
    assert!(holders.len() >= 4, "two containers run, with two addresses each: {holders:?}");
}

/// The addresses in the pinned namespaces whose interface is connected to a bridge of the host.
fn addresses(host: &Host) -> Vec<(String, IpAddr)> {
    let pins = host.space.run(|| {
        let entries = std::fs::read_dir("/run/netns").into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect::<Vec<_>>()
    });
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let ports = list(&host.ip_json(&["link", "show", "type", "veth"]));
    let is_port =
        |index: &Value| ports.iter().any(|link| link["ifindex"] == *index && link["master"].is_string());
    let mut found = Vec::new();
    for pin in pins {
        // One that was left by a command that was killed may be no namespace, or gone by now.
        let shown = host.space.program(&["ip", "-n", &pin, "-j", "address"]);
        let interfaces = serde_json::from_str(&shown.stdout).unwrap_or_default();
        for interface in list(&interfaces).iter().filter(|interface| is_port(&interface["link_index"])) {
            for address in list(&interface["addr_info"]).iter().filter(|info| info["scope"] == "global") {
                let address = address["local"].as_str().and_then(|text| text.parse().ok());
                found.extend(address.map(|address| (pin.clone(), address)));
            }
        }
    }
    found
}

/// Removes all that mydocker shows.
#[track_caller]
fn remove_everything(host: &Host) {
    // A supervisor whose client was killed may still be removing its container by itself.
    eventually("all containers to go", || {
        let ids = host.mydocker(&["ps", "-aq"]).ok();
        for id in ids.lines() {
            let removed = host.mydocker(&["rm", "-f", id]);
            if !removed.status.success() {
                let said = removed.refused(&[1], &[]);
                assert!(
                    ["No such container", "being removed"].iter().any(|why| said.contains(why)),
                    "{said}"
                );
            }
        }
        ids.is_empty().then_some(())
    });
    for name in host.mydocker(&["network", "list", "-q"]).ok().lines() {
        host.mydocker(&["network", "remove", name]).ok();
    }
    run(host, "volume prune -a -f").ok();
    run(host, "image prune -a -f").ok();
}
