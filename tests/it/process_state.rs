//! What a process in a container starts with, the whole of it against one table, for a container's first process
//! and for one that `exec` brings in: mounts, capabilities, filter, limits, descriptors, session, signals, umask,
//! keyring. And what a start costs: system calls, and mounts of the host.
//!
//! mydocker is started in a bad way for all of it: with a umask and ignored signals that are the caller's affair.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use nix::libc;

use crate::host::Host;
use crate::insider::{Insider, task};
use crate::program::Output;

/// Docker's default capabilities: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP,
/// NET_BIND_SERVICE, NET_RAW, SYS_CHROOT, MKNOD, AUDIT_WRITE, SETFCAP.
const DEFAULT_CAPABILITIES: u64 = 0xa804_25fb;
/// Files of the kernel that are hidden, as far as this kernel has them.
const MASKED: [&str; 13] = [
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
/// Files of the kernel that can be read but not written, as far as this kernel has them.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
/// The files that tell all this, in the order in which they are shown.
const FILES: [&str; 5] = [
    "/proc/self/status",
    "/proc/self/limits",
    "/proc/self/stat",
    "/proc/self/oom_score_adj",
    "/proc/self/mountinfo",
];

/// What may be done with a mount, of the flags that matter.
const FLAGS: [&str; 5] = ["ro", "rw", "nosuid", "nodev", "noexec"];
const RW: &str = "rw";
const RO_SYSTEM: &str = "ro nosuid nodev noexec";
const RW_SYSTEM: &str = "rw nosuid nodev noexec";

/// What a process says of itself.
#[derive(Debug)]
struct State {
    status: BTreeMap<String, String>,
    /// Soft and hard limit by name.
    limits: BTreeMap<String, String>,
    /// Those of stat(5), from the first one.
    stat: Vec<String>,
    score: String,
    mounts: BTreeMap<String, String>,
}

impl State {
    /// What `head` shows of all the files.
    #[track_caller]
    fn of(output: &Output) -> Self {
        let text = output.ok().replace('\r', "");
        let files: BTreeMap<&str, &str> = text
            .split("==> ")
            .filter_map(|part| part.split_once(" <==\n"))
            .map(|(name, text)| (name, text.trim_end()))
            .collect();
        let file = |name: &str| *files.get(name).unwrap_or_else(|| panic!("no {name}: {output}"));
        let status = file(FILES[0]).lines().filter_map(|line| line.split_once(':'));
        Self {
            status: status.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect(),
            limits: limits(file(FILES[1])),
            stat: file(FILES[2]).split(' ').map(str::to_owned).collect(),
            score: file(FILES[3]).to_owned(),
            mounts: mounts(file(FILES[4])),
        }
    }

    fn mask(&self, name: &str) -> u64 {
        u64::from_str_radix(&self.status[name], 16).expect("hexadecimal digits")
    }
}

/// The limits as the kernel lists them, in columns.
fn limits(text: &str) -> BTreeMap<String, String> {
    let rows = text.lines().skip(1).map(|line| line.split_at_checked(26).expect("a name of 26 columns"));
    rows.map(|(name, rest)| {
        let values: Vec<&str> = rest.split_whitespace().take(2).collect();
        (name.trim().to_owned(), values.join(" "))
    })
    .collect()
}

/// The mount that is seen at each place: kind of file system and flags; of a single file, the file.
fn mounts(text: &str) -> BTreeMap<String, String> {
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split(' ').collect()).collect();
    let is_covered = |row: &[&str]| rows.iter().any(|other| other[1] == row[0] && other[4] == row[4]);
    let seen = rows.iter().filter(|row| !is_covered(row));
    seen.map(|row| {
        let own: BTreeSet<&str> = row[5].split(',').collect();
        let flags: Vec<&str> = FLAGS.iter().copied().filter(|flag| own.contains(flag)).collect();
        let kind = row[row.iter().position(|word| *word == "-").expect("a separator") + 1];
        let place = row[4].to_owned();
        // What is hidden is hidden by whatever can be read as nothing and written without effect.
        if kind == "tmpfs" && row[3] == "/null" {
            return (place, "null".to_owned());
        }
        // A file of ours has the flags of the file system that it is on, but for these.
        if place.starts_with("/etc/") {
            return (place, flags[0].to_owned());
        }
        if MASKED.contains(&row[4]) {
            return (place, format!("{kind} {}", flags[0]));
        }
        (place, format!("{kind} {}", flags.join(" ")))
    })
    .collect()
}

/// A way to start a container, and what is not as usual then.
#[derive(Default)]
struct Case {
    options: &'static [&'static str],
    is_privileged: bool,
    has_read_only_root: bool,
    has_terminal: bool,
    /// A first process of mydocker's own runs beside the command.
    has_init: bool,
    sees_the_hosts_processes: bool,
    has_the_hosts_network: bool,
    promises: bool,
    user: Option<(&'static str, &'static str)>,
    limits: &'static [(&'static str, &'static str)],
    score: Option<&'static str>,
}

fn cases() -> Vec<Case> {
    let case = |options| Case { options, ..Case::default() };
    vec![
        case(&[]),
        Case { is_privileged: true, ..case(&["--privileged"]) },
        Case { has_read_only_root: true, ..case(&["--read-only"]) },
        Case { has_terminal: true, ..case(&["-t"]) },
        Case { has_init: true, ..case(&["--init"]) },
        Case { sees_the_hosts_processes: true, ..case(&["--pid", "host"]) },
        case(&["--ipc", "host"]),
        case(&["--uts", "host"]),
        case(&["--cgroupns", "host"]),
        Case { has_the_hosts_network: true, ..case(&["--net", "host"]) },
        Case { user: Some(("1234", "2345 3456")), ..case(&["-u", "tester"]) },
        Case { user: Some(("1000", "0")), ..case(&["-u", "1000"]) },
        Case { promises: true, ..case(&["--security-opt", "no-new-privileges"]) },
        Case {
            limits: &[("Max open files", "123 234"), ("Max core file size", "0 0")],
            score: Some("321"),
            ..case(&["--ulimit", "nofile=123:234", "--ulimit", "core=0:0", "--oom-score-adj", "321"])
        },
    ]
}

/// Runs mydocker with the caller's umask and ignored signals.
fn badly_started(host: &Host, case: &Case, arguments: &[&str]) -> Output {
    let script = "umask 077; trap '' HUP QUIT PIPE USR1 TERM; exec \"$@\"";
    let words = [&["sh", "-c", script, "sh", env!("CARGO_BIN_EXE_mydocker")], arguments].concat();
    let program = host.program(&words);
    if case.has_terminal { program.on_a_terminal() } else { program }.run_in(&host.space)
}

/// The mounts that a container has.
fn expected_mounts(host: &Host, case: &Case) -> BTreeMap<String, String> {
    let root = if case.has_read_only_root { "ro" } else { RW };
    let system = if case.is_privileged { RW_SYSTEM } else { RO_SYSTEM };
    let mut mounts = BTreeMap::from([
        ("/".to_owned(), format!("overlay {root}")),
        ("/proc".to_owned(), format!("proc {RW_SYSTEM}")),
        ("/dev".to_owned(), "tmpfs rw nosuid".to_owned()),
        ("/dev/pts".to_owned(), "devpts rw nosuid noexec".to_owned()),
        ("/dev/mqueue".to_owned(), format!("mqueue {RW_SYSTEM}")),
        ("/dev/shm".to_owned(), format!("tmpfs {RW_SYSTEM}")),
        ("/sys".to_owned(), format!("sysfs {system}")),
    ]);
    for name in ["hostname", "hosts", "resolv.conf"] {
        mounts.insert(format!("/etc/{name}"), root.to_owned());
    }
    if case.has_terminal {
        mounts.insert("/dev/console".to_owned(), "devpts rw nosuid noexec".to_owned());
    }
    let groups = "/sys/fs/cgroup";
    if Path::new(groups).join("cgroup.controllers").exists() {
        mounts.insert(groups.to_owned(), format!("cgroup2 {system}"));
    } else {
        mounts.insert(groups.to_owned(), format!("tmpfs {system}"));
        let here = std::fs::read_to_string("/proc/self/mounts").expect("the mounts of this machine");
        let trees = here.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        for tree in trees.filter(|words| words[2].starts_with("cgroup") && words[1].starts_with(groups)) {
            mounts.insert(tree[1].to_owned(), format!("{} {system}", tree[2]));
        }
    }
    if case.is_privileged {
        return mounts;
    }
    // A privileged container shows what there is to hide.
    let there = |path: &&&str| Path::new(path).exists();
    let is_directory = |path: &str| host.space.run(|| Path::new(path).is_dir());
    for path in MASKED.iter().filter(there) {
        let mask = if is_directory(path) { "tmpfs ro" } else { "null" };
        mounts.insert((*path).to_owned(), mask.to_owned());
    }
    for path in READ_ONLY.iter().filter(there) {
        mounts.insert((*path).to_owned(), format!("proc {RO_SYSTEM}"));
    }
    mounts
}

/// Every capability that this process has.
fn all_capabilities() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the test's own status");
    let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).expect("a bounding set");
    u64::from_str_radix(line.trim(), 16).expect("hexadecimal digits")
}

/// Holds one process against the table. Complaints name what is not as it should be.
fn complaints(host: &Host, case: &Case, state: &State, is_exec: bool) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut compare = |what: &str, found: &str, expected: &str| {
        if found != expected {
            complaints.push(format!("{what} is {found:?} instead of {expected:?}"));
        }
    };
    let bounding = if case.is_privileged { all_capabilities() } else { DEFAULT_CAPABILITIES };
    let effective = if case.user.is_some() { 0 } else { bounding };
    for (name, expected) in [
        ("CapInh", 0),
        ("CapPrm", effective),
        ("CapEff", effective),
        ("CapBnd", bounding),
        ("CapAmb", 0),
        ("SigPnd", 0),
        ("ShdPnd", 0),
        ("SigBlk", 0),
        ("SigIgn", 0),
        ("SigCgt", 0),
    ] {
        compare(name, &format!("{:x}", state.mask(name)), &format!("{expected:x}"));
    }
    let (user, groups) = case.user.unwrap_or(("0", "0"));
    let group = groups.split(' ').next().unwrap_or_default();
    for (name, expected) in [
        ("NoNewPrivs", if case.promises { "1" } else { "0" }),
        ("Seccomp", if case.is_privileged { "0" } else { "2" }),
        ("Umask", "0022"),
        ("Uid", &[user; 4].join("\t")),
        ("Gid", &[group; 4].join("\t")),
        ("Groups", groups),
        ("TracerPid", "0"),
    ] {
        compare(name, &state.status[name], expected);
    }
    let here = std::fs::read_to_string("/proc/self/limits").expect("the test's own limits");
    for (name, ours) in limits(&here) {
        let asked = case.limits.iter().find(|(limit, _)| *limit == name);
        compare(&name, &state.limits[&name], asked.map_or(ours.as_str(), |(_, value)| value));
    }
    let score = std::fs::read_to_string("/proc/self/oom_score_adj").expect("the test's own score");
    compare("oom_score_adj", &state.score, case.score.unwrap_or(score.trim_end()));
    // pid, parent, group, session, terminal
    let [pid, parent, group, session, terminal] =
        [0, 3, 4, 5, 6].map(|at| state.stat.get(at).map_or("none", String::as_str));
    compare("the process group", group, pid);
    compare("the session", session, if case.has_init && !is_exec { "1" } else { pid });
    if !is_exec && !case.sees_the_hosts_processes {
        compare("the pid", pid, if case.has_init { "2" } else { "1" });
        compare("the parent", parent, if case.has_init { "1" } else { "0" });
    }
    compare("having a terminal", &(terminal != "0").to_string(), &case.has_terminal.to_string());
    let expected = expected_mounts(host, case);
    for place in expected.keys().chain(state.mounts.keys()).collect::<BTreeSet<_>>() {
        let seen = |mounts: &BTreeMap<String, String>| {
            mounts.get(place).map_or_else(|| "not mounted".to_owned(), Clone::clone)
        };
        compare(place, &seen(&state.mounts), &seen(&expected));
    }
    complaints
}

/// The descriptors that a program finds, and what they lead to; `ls` itself has one more.
fn descriptor_complaints(case: &Case, output: &Output) -> Vec<String> {
    let text = output.ok().replace('\r', "");
    let words = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let found: Vec<(String, String)> = words
        .filter(|words| words.len() > 8 && words[8].parse::<u32>().is_ok())
        .map(|words| (words[8].to_owned(), words.get(10).copied().unwrap_or("(its own)").to_owned()))
        .collect();
    let numbers: Vec<&str> = found.iter().map(|(number, _)| number.as_str()).collect();
    let mut complaints = Vec::new();
    if numbers != ["0", "1", "2", "3"] {
        complaints.push(format!("the descriptors are {found:?}"));
    }
    if case.has_terminal && !found.iter().take(3).all(|(_, link)| link.starts_with("/dev/")) {
        complaints.push(format!("the terminal is {found:?}"));
    }
    complaints
}

#[test]
fn a_process_starts_with_exactly_what_the_table_says() {
    let host = Host::new();
    let mut all = Vec::new();
    for case in cases() {
        let net = if case.has_the_hosts_network { &[][..] } else { &["--net", "none"] };
        let show = [&["head", "-n", "1000"], &FILES[..]].concat();
        let list = ["ls", "-l", "/proc/self/fd"];
        let run = |command: &[&str]| {
            badly_started(
                &host,
                &case,
                &[&["run", "--rm"], net, case.options, &[&host.image], command].concat(),
            )
        };
        let mut note = |who: &str, complaints: Vec<String>| {
            all.extend(
                complaints.into_iter().map(|text| format!("{who} {}: {text}", case.options.join(" "))),
            );
        };
        note("run", complaints(&host, &case, &State::of(&run(&show)), false));
        note("run", descriptor_complaints(&case, &run(&list)));
        let start = ["run", "-d", "--name", "c"];
        badly_started(&host, &case, &[&start, net, case.options, &[&host.image, "sleep", "100000"]].concat())
            .ok();
        let exec = |command: &[&str]| {
            let terminal = if case.has_terminal { &["-t"][..] } else { &[] };
            badly_started(&host, &case, &[&["exec"], terminal, &["c"], command].concat())
        };
        note("exec", complaints(&host, &case, &State::of(&exec(&show)), true));
        note("exec", descriptor_complaints(&case, &exec(&list)));
        host.mydocker(&["rm", "-f", "c"]).ok();
    }
    // All of them at once: together they tell more.
    assert!(all.is_empty(), "{} differences:\n{}", all.len(), all.join("\n"));
    host.assert_nothing_left();
}

#[test]
fn a_terminals_size_and_device_are_the_containers_own_in_run_and_exec() {
    let host = Host::new();
    let look = "tty; stty size; stat -c %t:%T /dev/console; ls /dev/pts | grep -c '^0$'";
    let run = ["run", "--rm", "-it", "--net", "none", &host.image, "sh", "-c", look];
    let output = host.command(&run).on_a_terminal().run_in(&host.space).ok().replace('\r', "");
    let [tty, size, console, count] = output.lines().collect::<Vec<_>>()[..] else { panic!("{output}") };
    assert!(["/dev/pts/0", "/dev/console"].contains(&tty), "{output}");
    // Device 136:0 is the first one of a devpts.
    assert_eq!((size, console, count), ("33 111", "88:0", "1"), "{output}");
    host.mydocker(&["run", "-d", "--name", "c", "--net", "none", &host.image, "sleep", "100000"]).ok();
    let exec = ["exec", "-it", "c", "sh", "-c", "tty; stty size; stat -c %u:%g $(tty)"];
    let output = host.command(&exec).on_a_terminal().run_in(&host.space).ok().replace('\r', "");
    assert_eq!(output, "/dev/pts/0\n33 111\n0:5");
    // It belongs to whoever sits at it, from the beginning: the command may look at once.
    let look = ["sh", "-c", "stat -c %u $(tty); echo x > $(tty)"];
    let exec = [&["exec", "-it", "-u", "1234", "c"], &look[..]].concat();
    let run = [&["run", "--rm", "-it", "--net", "none", "-u", "1234", &host.image], &look[..]].concat();
    for words in [&exec, &exec, &exec, &run, &run] {
        let output = host.command(words).on_a_terminal().run_in(&host.space).ok().replace('\r', "");
        assert_eq!(output, "1234\nx", "{words:?}");
    }
    host.mydocker(&["rm", "-f", "c"]).ok();
    host.assert_nothing_left();
}

/// The session keyring of the calling process.
#[expect(unsafe_code, reason = "no crate of ours has keyctl(2)")]
fn session_keyring() -> i64 {
    const GET_KEYRING_ID: libc::c_long = 0;
    const SESSION_KEYRING: libc::c_long = -3;
    // SAFETY: this operation takes two numbers and touches no memory.
    let id = unsafe { libc::syscall(libc::SYS_keyctl, GET_KEYRING_ID, SESSION_KEYRING, 0) };
    assert!(id > 0, "the session keyring: {}", std::io::Error::last_os_error());
    id
}

/// Prints the number of its keyring inside a container.
#[test]
#[ignore = "is run inside a container by the test below"]
fn keyring_inside() {
    if task().is_some() {
        println!("keyring {}", session_keyring());
    }
}

#[test]
fn each_process_has_a_keyring_of_its_own() {
    let host = Host::new();
    let insider = Insider::new("process_state::keyring_inside", "print");
    // The default filter refuses the question.
    let options =
        [&["--net", "none", "--security-opt", "seccomp=unconfined"], &insider.options()[..]].concat();
    let number = |output: &Output| {
        let text = output.ok();
        let number =
            text.lines().find_map(|line| line.split_once("keyring ")).map(|(_, number)| number.to_owned());
        number.unwrap_or_else(|| panic!("no keyring: {output}"))
    };
    let mut keyrings = vec![session_keyring().to_string()];
    for _ in 0..2 {
        keyrings.push(number(&host.run(&options, &insider.command())));
    }
    host.mydocker(&[&["run", "-d", "--name", "c"], &options[..], &[&host.image, "sleep", "100000"]].concat())
        .ok();
    keyrings.push(number(&host.mydocker(&[&["exec", "c"], &insider.command()[..]].concat())));
    let different: BTreeSet<&String> = keyrings.iter().collect();
    assert_eq!(different.len(), keyrings.len(), "the caller's, of two containers, of exec: {keyrings:?}");
    host.mydocker(&["rm", "-f", "c"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_set_uid_program_gains_its_owner_unless_new_privileges_are_given_up_and_keeps_the_filter() {
    let host = Host::new();
    // busybox itself gives up what it gained for nearly all of its applets. su keeps it, and wants no password
    // where there is none.
    let image = host.scratch("with-su");
    let path = image.to_str().expect("a plain path");
    host.space.ok(&["cp", "-a", &format!("{}/.", host.image), path]);
    std::os::unix::fs::symlink("busybox", image.join("bin/su")).unwrap();
    std::fs::set_permissions(image.join("bin/busybox"), std::fs::Permissions::from_mode(0o4755)).unwrap();
    std::fs::write(image.join("etc/passwd"), "root::0:0:root:/root:/bin/sh\n").unwrap();
    let show = ["su", "root", "-c", "grep -E '^(Uid|CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status"];
    let gained = format!(
        "Uid:\t0\t0\t0\t0\nCapEff:\t{0:016x}\nCapBnd:\t{0:016x}\nNoNewPrivs:\t0\nSeccomp:\t2",
        DEFAULT_CAPABILITIES
    );
    let run = |options: &[&str]| {
        host.mydocker(&[&["run", "--rm", "--net", "none", "-u", "1000"], options, &[path], &show].concat())
    };
    assert_eq!(run(&[]).ok(), gained);
    let refused = |output: &Output| {
        assert!(output.code() != 0 && output.stderr.contains("must be suid"), "{output}");
    };
    let promise = ["--security-opt", "no-new-privileges"];
    refused(&run(&promise));
    for (name, options) in [("free", &[][..]), ("bound", &promise)] {
        let start = ["run", "-d", "--name", name, "--net", "none", "-u", "1000"];
        host.mydocker(&[&start, options, &[path, "sleep", "100000"]].concat()).ok();
    }
    let exec = |name: &str| host.mydocker(&[&["exec", name], &show[..]].concat());
    assert_eq!(exec("free").ok(), gained);
    refused(&exec("bound"));
    host.mydocker(&["rm", "-f", "free", "bound"]).ok();
    // In a volume it gains nothing that it would not gain in the image; that is for the volume's owner to know.
    host.assert_nothing_left();
}

/// How many system calls a container may cost that runs `true` and goes, with the client's, the supervisor's and
/// its own, all records written.
const CALLS: usize = 1550;
/// How many containers run beside it the second time.
const COMPANY: usize = 25;

/// The calls of `run --rm true` by all its processes.
#[track_caller]
fn calls_of_a_run(host: &Host, name: &str) -> usize {
    let log = host.scratch(name).join("log");
    let log = log.to_str().expect("a plain path");
    let run = ["run", "--rm", "--net", "none", &host.image, "true"];
    let strace = ["strace", "-f", "-c", "-o", log, "--", env!("CARGO_BIN_EXE_mydocker")];
    host.program(&[&strace[..], &run].concat()).run_in(&host.space).ok();
    let table = std::fs::read_to_string(log).expect("strace's table");
    // % time, seconds, usecs/call, calls, sometimes errors, name
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let calls: BTreeMap<&str, usize> = rows
        .filter_map(|row| Some((*row.last()?, row.get(3)?.parse().ok()?)))
        .filter(|(name, _)| *name != "total")
        .collect();
    // strace ends when the last of them has ended: the supervisor and the container.
    assert!(calls.contains_key("pivot_root"), "the container's own calls are missing:\n{table}");
    // Where debug assertions are on, the standard library asks before each close whether the descriptor is open.
    let asked = if cfg!(debug_assertions) { calls.get("fcntl").copied().unwrap_or(0) } else { 0 };
    let count = calls.values().sum::<usize>() - asked;
    println!("{count} calls");
    assert!(count <= CALLS, "{count} calls instead of {CALLS} at most:\n{table}");
    count
}

#[test]
fn a_container_costs_no_more_system_calls_than_it_may_whoever_runs_beside_it() {
    let host = Host::new();
    // The first one makes directories that stay.
    host.run(&["--net", "none"], &["true"]).ok();
    let alone = calls_of_a_run(&host, "alone");
    let names: Vec<String> = (0..COMPANY).map(|number| format!("beside{number}")).collect();
    for name in &names {
        let start = ["run", "-d", "--name", name, "--net", "none", &host.image, "sleep", "100000"];
        host.mydocker(&start).ok();
    }
    let in_company = calls_of_a_run(&host, "in-company");
    // Some more or less by chance: how often what is still ending is waited for.
    assert!(in_company <= alone + 5 * COMPANY, "{in_company} calls beside {COMPANY} others, {alone} alone");
    let remove: Vec<&str> = ["rm", "-f"].into_iter().chain(names.iter().map(String::as_str)).collect();
    host.mydocker(&remove).ok();
    host.assert_nothing_left();
}

/// Where something is mounted on the host.
fn places(host: &Host) -> Vec<String> {
    let text = host.space.ok(&["cat", "/proc/self/mountinfo"]);
    text.lines().map(|line| line.split(' ').nth(4).unwrap_or_default().to_owned()).collect()
}

/// What `now` has more than `before`, in order, and what it lacks.
fn difference(before: &[String], now: Vec<String>) -> Vec<String> {
    let mut more = now;
    let mut lacking = Vec::new();
    for place in before {
        match more.iter().position(|other| other == place) {
            Some(at) => drop(more.remove(at)),
            None => lacking.push(format!("(no more) {place}")),
        }
    }
    more.extend(lacking);
    more.sort();
    more
}

#[test]
fn a_container_adds_no_mount_to_the_host_but_the_pin_of_its_network() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    // The first container may make the place for the pins.
    host.run(&["--net", "front"], &["true"]).ok();
    let before = places(&host);
    let more = || difference(&before, places(&host));
    let start = |name: &str, options: &[&str]| {
        let words = ["run", "-d", "--name", name];
        host.mydocker(&[&words, options, &[&host.image, "sleep", "100000"]].concat()).ok()
    };
    let volume = format!("{}:/data", host.scratch("data").display());
    let mut pins = BTreeSet::new();
    for (name, options) in [
        ("a", &["--net", "front"][..]),
        ("b", &["--net", "front", "-v", &volume, "-v", "/anonymous", "--tmpfs", "/t"]),
        ("c", &["--net", "none", "-t", "--read-only"]),
    ] {
        pins.insert(format!("/run/netns/{}", start(name, options)));
        assert_eq!(more(), Vec::from_iter(pins.clone()), "after the start of {name} with {options:?}");
    }
    let pins = Vec::from_iter(pins);
    start("d", &["--net", "host"]);
    start("e", &["--net", "container:a"]);
    assert_eq!(more(), pins, "without a network of their own");
    let copy = host.scratch("copy").join("passwd");
    let copy = ["cp", "a:/etc/passwd", copy.to_str().expect("a plain path")];
    host.mydocker(&["exec", "a", "true"]).ok();
    host.mydocker(&copy).ok();
    assert_eq!(more(), pins, "after exec and cp");
    host.mydocker(&["stop", "-t", "0", "a", "b", "c", "d", "e"]).ok();
    assert_eq!(more(), Vec::<String>::new(), "after the end");
    host.mydocker(&copy).ok();
    assert_eq!(more(), Vec::<String>::new(), "after a copy at rest");
    host.mydocker(&["rm", "-v", "a", "b", "c", "d", "e"]).ok();
    assert_eq!(more(), Vec::<String>::new(), "after their removal");
    host.mydocker(&["network", "remove", "front"]).ok();
    host.assert_nothing_left();
}
