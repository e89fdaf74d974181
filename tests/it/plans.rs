//! What `--dry-run` prints against what the command then does, for many requests: the same refusals in the same words,
//! and the same addresses, ports and elements.
//!
//! ```text
//! MYDOCKER_PLANS=10000 cargo test --test it plans::     so many requests instead of a few
//! MYDOCKER_SEED=N      …                                the requests of that run again
//! ```

use std::process::id;

use crate::host::Host;
use crate::program::Program;

/// How many requests are tried where nobody says otherwise.
const FEW: u64 = 24;

/// Small pseudo-random numbers (an xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap_or(0) % limit
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }
}

/// The words before and after which `--dry-run` stands.
struct Request {
    command: Vec<String>,
    rest: Vec<String>,
    /// What takes it back.
    undo: Vec<String>,
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn port(random: &mut Random) -> String {
    let host = 7000 + random.below(12);
    let container = 80 + random.below(3);
    let last = host + random.below(4);
    let proto = random.pick(&["", "", "/tcp", "/udp", "/sctp"]);
    let length = last - host;
    match random.below(12) {
        0 => format!("{container}{proto}"),
        1 => format!("{container}-{}{proto}", container + 2),
        2 => format!("{host}-{last}:{container}{proto}"),
        3 => format!("{host}-{last}:{container}-{}{proto}", container + length),
        4 => format!("{host}-{last}:{host}-{last}{proto}"),
        5 => format!("127.0.0.1:{host}:{container}{proto}"),
        6 => format!("[::]:{host}:{container}{proto}"),
        7 => format!("0.0.0.0:{host}-{last}:{host}-{last}{proto}"),
        8 => format!("127.0.0.1::{container}{proto}"),
        9 => format!("192.0.2.77:{host}:{container}{proto}"),
        _ => format!("{host}:{container}{proto}"),
    }
}

fn wanted(random: &mut Random, options: &mut Vec<String>) {
    let number = random.below(70);
    if random.one_in(3) {
        let address = match random.below(8) {
            0 => "1.2.3.4".to_owned(),
            1 => format!("10.78.0.{number}"),
            2 => "10.77.0.255".to_owned(),
            _ => format!("10.77.0.{number}"),
        };
        options.extend(["--ip".to_owned(), address]);
    }
    if random.one_in(3) {
        let address = match random.below(8) {
            0 => "fd00:1::2".to_owned(),
            1 => format!("fd00:79::{number:x}"),
            2 => "fd00:77::1:0:2".to_owned(),
            _ => format!("fd00:77::{number:x}"),
        };
        options.extend(["--ip6".to_owned(), address]);
    }
    if random.one_in(4) {
        options.extend(["--mac-address".to_owned(), format!("02:42:00:00:00:{number:02x}")]);
    }
}

fn ports(random: &mut Random, options: &mut Vec<String>) {
    for _ in 0..random.below(4) {
        options.extend(["-p".to_owned(), port(random)]);
    }
}

/// Connects a namespace: cheap, and all that there is to addresses and ports.
fn connection(random: &mut Random) -> Request {
    let network = random.pick(&["both", "both", "four", "six", "inside", "default", "nowhere"]);
    let mut rest = words(&["--netns", "lab"]);
    wanted(random, &mut rest);
    ports(random, &mut rest);
    rest.push(network.to_owned());
    let undo = words(&["network", "disconnect", "-f", "--netns", "lab", network]);
    Request { command: words(&["network", "connect"]), rest, undo }
}

/// Runs a container: modes, several networks, exposed ports, and what is wrong with it otherwise.
fn run(random: &mut Random, image: &str) -> Request {
    // A plan fetches nothing, so neither may the command.
    let mut rest = words(&["-d", "--pull", "never"]);
    rest.extend(["--name".to_owned(), random.pick(&["case", "case", "case", "case", "first"]).to_owned()]);
    for _ in 0..random.below(3) {
        let choices = ["both", "both", "four", "six", "inside", "host", "none", "container:first", "nowhere"];
        rest.extend(["--net".to_owned(), random.pick(&choices).to_owned()]);
    }
    wanted(random, &mut rest);
    ports(random, &mut rest);
    if random.one_in(3) {
        rest.extend(words(&["--expose", "90", "--expose", "91-92/udp", "-P"]));
    }
    if random.one_in(6) {
        rest.extend(words(&["--rm", "--restart", "always"]));
    }
    let image = if random.one_in(8) { "nosuchimage" } else { image };
    rest.extend(words(&[image, "sleep", "100000"]));
    Request { command: words(&["run"]), rest, undo: words(&["rm", "-f", "case"]) }
}

#[track_caller]
fn apply(host: &Host, text: &str) {
    Program::new(&["nft", "-f", "-"]).input(&format!("{text}\n")).run_in(&host.space).ok();
}

/// Asks for the plan and then for the thing itself, and compares. True if it was done.
#[track_caller]
fn compare(host: &Host, request: &Request, context: &str) -> bool {
    let arguments =
        |dry: &[&str]| -> Vec<String> { [&request.command, &words(dry)[..], &request.rest].concat() };
    let call = |arguments: &[String]| {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        host.mydocker(&arguments)
    };
    let context = format!("{context}: {}", arguments(&[]).join(" "));
    let before = host.table();
    let plan = call(&arguments(&["--dry-run"]));
    assert_eq!(host.table(), before, "{context}: the plan has changed something");
    if plan.code() == 0 {
        apply(host, &plan.stdout);
        let foretold = host.table();
        apply(host, &format!("flush ruleset\n{before}"));
        let done = call(&arguments(&[]));
        assert_eq!(done.code(), 0, "{context}: planned, and then\n{done}");
        assert_eq!(host.table(), foretold, "{context}: {}", plan.stdout);
        return true;
    }
    let done = call(&arguments(&[]));
    assert_eq!((plan.code(), &plan.stderr), (done.code(), &done.stderr), "{context}");
    assert_eq!(host.table(), before, "{context}: something is left of what was refused");
    false
}

fn host_with_networks() -> Host {
    let host = Host::new();
    host.network("both", "10.77.0.0/24", &["--subnet", "fd00:77::/64"]);
    host.network("four", "10.78.0.0/24", &[]);
    host.network("six", "fd00:79::/64", &[]);
    host.network("inside", "10.80.0.0/24", &["--internal", "--subnet", "fd00:80::/64"]);
    host.space.ok(&["ip", "netns", "add", "lab"]);
    drop(host.container("first", "both", &["-p", "7003:80", "-p", "7008-7010:7008-7010/udp"]));
    host
}

#[test]
fn whatever_is_asked_for_happens_as_it_was_planned() {
    let count = std::env::var("MYDOCKER_PLANS").ok().and_then(|count| count.parse().ok()).unwrap_or(FEW);
    let given = std::env::var("MYDOCKER_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = given.unwrap_or_else(|| u64::from(id()) * 0x9e37_79b9 + 1);
    let mut random = Random(seed);
    let host = host_with_networks();
    // The first container that needs it leaves the default network, also one that is refused then.
    host.run(&[], &["true"]).ok();
    let mut done = 0;
    for case in 0..count {
        let request = if random.one_in(4) { run(&mut random, &host.image) } else { connection(&mut random) };
        if compare(&host, &request, &format!("MYDOCKER_SEED={seed}, request {case}")) {
            done += 1;
            let undo: Vec<&str> = request.undo.iter().map(String::as_str).collect();
            host.mydocker(&undo).ok();
        }
    }
    assert!(count < FEW || (done > 0 && done < count), "{done} of {count} requests were carried out");
    host.mydocker(&["rm", "-f", "first"]).ok();
}

/// What was printed and not done, or done and not printed, each once.
#[test]
fn a_plan_has_the_addresses_and_the_refusals_of_the_command() {
    let host = host_with_networks();
    let image = host.image.clone();
    let request = |command: &[&str], rest: &[&str]| Request {
        command: words(command),
        rest: words(rest),
        undo: Vec::new(),
    };
    let run = |rest: &[&str]| {
        let rest = [&["-d"], rest, &[&image, "sleep", "100000"]].concat();
        request(&["run"], &rest)
    };
    // The second family has the number of the first.
    let same_number = run(&["--name", "case", "--net", "both", "--ip", "10.77.0.50", "-p", "8080:80"]);
    assert!(compare(&host, &same_number, "the number of the other family"));
    let endpoint = &host.inspect("case")["NetworkSettings"]["Networks"]["both"];
    assert_eq!(endpoint["GlobalIPv6Address"], "fd00:77::32");
    for (why, refused) in [
        ("an address outside", run(&["--name", "out", "--net", "both", "--ip", "1.2.3.4"])),
        ("an address that is taken", run(&["--name", "out", "--net", "both", "--ip", "10.77.0.50"])),
        ("the gateway's address", run(&["--name", "out", "--net", "both", "--ip", "10.77.0.1"])),
        ("an IPv6 address on an IPv4 network", run(&["--name", "out", "--net", "four", "--ip6", "fd00::9"])),
        ("options that exclude each other", run(&["--name", "out", "--rm", "--restart", "always"])),
        ("a name that is taken", run(&["--name", "first", "--net", "both"])),
        (
            "a missing image and a taken name",
            request(&["run"], &["-d", "--pull", "never", "--name", "first", "nosuchimage", "true"]),
        ),
        ("another's port", run(&["--name", "out", "--net", "both", "-p", "7003:80"])),
        (
            "two ports of others: the first is named",
            request(
                &["network", "connect"],
                &["--netns", "lab", "-p", "7003-7004:81-82", "-p", "7010-7010:7010-7010/udp", "six"],
            ),
        ),
        (
            "the same the other way round",
            request(
                &["network", "connect"],
                &["--netns", "lab", "-p", "7008-7010:7008-7010/udp", "-p", "7003:81", "six"],
            ),
        ),
        ("another's range", run(&["--name", "out", "--net", "both", "-p", "7009:80/udp"])),
        (
            "connecting with an address outside",
            request(&["network", "connect"], &["--ip", "1.2.3.4", "four", "first"]),
        ),
        (
            "connecting with an IPv6 address",
            request(&["network", "connect"], &["--ip6", "fd00::9", "four", "first"]),
        ),
        (
            "connecting a namespace",
            request(&["network", "connect"], &["--ip", "1.2.3.4", "--netns", "lab", "four"]),
        ),
    ] {
        assert!(!compare(&host, &refused, why), "{why}");
    }
    // Of a container that does not run as well.
    host.mydocker(&["stop", "-t", "0", "case"]).ok();
    let stopped = request(&["network", "connect"], &["--ip", "1.2.3.4", "four", "case"]);
    assert!(!compare(&host, &stopped, "a stopped container and an address outside"));
    // The default network is there by being asked for.
    let default = run(&["--name", "default", "-p", "7100:80"]);
    assert!(compare(&host, &default, "the default network"));
    // The image's exposed ports are published by -P.
    let all = run(&["--name", "all", "--net", "four", "--expose", "90", "-P"]);
    assert!(compare(&host, &all, "exposed ports"));
}
