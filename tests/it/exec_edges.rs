//! `exec` into containers at their limits: paused, full, out of memory, just ended, with groups of their own making.
//! It works, or it is refused in words; it is never a riddle, and never a wait.

use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::host::Host;
use crate::program::{Output, eventually};

/// Starts a container `c` without a network that runs a shell command.
#[track_caller]
fn start(host: &Host, options: &[&str], script: &str) {
    let run = ["run", "-d", "--name", "c", "--net", "none"];
    host.mydocker(&[&run, options, &[&host.image, "sh", "-c", script]].concat()).ok();
}

#[track_caller]
fn exec(host: &Host, options: &[&str], command: &[&str]) -> Output {
    host.mydocker(&[&["exec"], options, &["c"], command].concat())
}

/// The first process of the container `c`, as the host numbers it.
#[track_caller]
fn first_process(host: &Host) -> Pid {
    let pid = host.inspect("c")["State"]["Pid"].as_i64().expect("a pid");
    Pid::from_raw(i32::try_from(pid).expect("a pid"))
}

/// How many processes are in the container, seen from outside.
#[track_caller]
fn processes(host: &Host) -> usize {
    host.mydocker(&["top", "c"]).ok().lines().count() - 1
}

#[test]
fn a_paused_container_takes_nobody_in_and_says_so() {
    let host = Host::new();
    start(&host, &[], "sleep 100000");
    host.mydocker(&["pause", "c"]).ok();
    for options in [&[][..], &["-d"], &["-t"], &["-i", "-u", "1234"]] {
        exec(&host, options, &["true"]).refused(&[125], &["container c", "paused"]);
    }
    // Nobody waits at its door either.
    host.mydocker(&["unpause", "c"]).ok();
    assert_eq!(processes(&host), 1);
    exec(&host, &[], &["true"]).ok();
    // One that is in already is stopped and goes on with it.
    let mut inside =
        host.start(&["exec", "c", "sh", "-c", "echo in; while ! test -e /tmp/go; do sleep 0.02; done"]);
    inside.wait_for("in");
    host.mydocker(&["pause", "c"]).ok();
    assert!(inside.is_running());
    host.mydocker(&["unpause", "c"]).ok();
    host.let_go("c");
    inside.wait().ok();
    host.mydocker(&["pause", "c"]).ok();
    host.mydocker(&["rm", "-f", "c"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_container_full_of_processes_takes_nobody_in_and_says_so() {
    let host = Host::new();
    // A shell and what it waits for: as many as it may have.
    start(&host, &["--pids-limit", "3"], "sleep 100000 & sleep 100001 & wait");
    eventually("three processes", || (processes(&host) == 3).then_some(()));
    for options in [&[][..], &["-d"], &["-t"], &["-u", "1234"]] {
        let refusal = exec(&host, options, &["true"]).refused(&[125], &["limit"]);
        assert!(refusal.contains("process"), "{refusal}");
    }
    assert_eq!(processes(&host), 3);
    // For a moment two are needed.
    host.mydocker(&["update", "--pids-limit", "5", "c"]).ok();
    for _ in 0..10 {
        exec(&host, &[], &["true"]).ok();
    }
    host.mydocker(&["rm", "-f", "c"]).ok();
    host.assert_nothing_left();
}

/// The least that a container may be given.
const LEAST_MEMORY: [&str; 4] = ["-m", "6m", "--memory-swap", "6m"];

#[test]
fn the_least_memory_is_enough_to_start_and_to_be_joined() {
    let host = Host::new();
    host.run(&[&["--net", "none"], &LEAST_MEMORY[..]].concat(), &["true"]).ok();
    host.run(&[&["--net", "none", "--pids-limit", "1"], &LEAST_MEMORY[..]].concat(), &["true"]).ok();
    start(&host, &LEAST_MEMORY, "sleep 100000");
    for options in [&[][..], &["-t"], &["-u", "1234"]] {
        assert_eq!(exec(&host, options, &["echo", "here"]).ok().trim_end(), "here");
    }
    host.mydocker(&["rm", "-f", "c"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_container_without_free_memory_is_joined_or_says_that_it_cannot_be() {
    let host = Host::new();
    // dd fills its buffer and then waits for ever for somebody to read it.
    let fill = "busybox mkfifo /tmp/fifo; dd if=/dev/zero of=/tmp/fifo bs=4500k count=1 & exec sleep 100000";
    start(&host, &LEAST_MEMORY, fill);
    eventually("dd to begin", || (processes(&host) == 2).then_some(()));
    for _ in 0..10 {
        // The kernel chooses whom it ends: the one that comes in, as a process on its way or as the command, or
        // the one that has all the memory.
        let hungry = ["dd", "if=/dev/zero", "of=/dev/null", "bs=2500k", "count=1"];
        let output = exec(&host, &[], &hungry);
        if output.code() == 125 {
            output.refused(&[125], &["memory"]);
        } else {
            assert!([0, 137].contains(&output.code()), "{output}");
        }
    }
    assert_eq!(host.inspect("c")["State"]["Running"], true);
    host.mydocker(&["rm", "-f", "c"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_container_whose_first_process_has_just_ended_is_not_running() {
    let host = Host::new();
    start(&host, &[], "sleep 100000");
    let pid = first_process(&host);
    // Its end is known to nobody yet: whoever would tell is stopped.
    let [supervisor] = host.supervisors()[..] else { panic!("one supervisor") };
    kill(Pid::from_raw(supervisor), Signal::SIGSTOP).unwrap();
    kill(pid, Signal::SIGKILL).unwrap();
    eventually("the end of the first process", || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')).then_some(())
    });
    for options in [&[][..], &["-d"], &["-t"]] {
        exec(&host, options, &["true"]).refused(&[125], &["container c", "not running"]);
    }
    kill(Pid::from_raw(supervisor), Signal::SIGCONT).unwrap();
    eventually("its end to be known", || (host.inspect("c")["State"]["Running"] == false).then_some(()));
    exec(&host, &[], &["true"]).refused(&[125], &["container c", "not running"]);
    host.mydocker(&["rm", "c"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_container_that_ends_while_it_is_joined_is_not_running() {
    let host = Host::new();
    for round in 0..12 {
        start(&host, &[], "sleep 100000");
        let pid = first_process(&host);
        let joining = host.start(&["exec", "c", "sleep", "100000"]);
        // Each time at another moment, from before it begins to when it is done.
        for _ in 0..round {
            host.space.ok(&["true"]);
        }
        kill(pid, Signal::SIGKILL).unwrap();
        let output = joining.wait();
        if output.code() == 125 {
            output.refused(&[125], &["container c", "not running"]);
        } else {
            // The command ended with all processes of the container.
            assert_eq!(output.code(), 137, "{output}");
        }
        host.mydocker(&["rm", "-f", "c"]).ok();
    }
    host.assert_nothing_left();
}

#[test]
fn a_container_that_made_groups_of_its_own_can_be_joined_and_leaves_none() {
    let host = Host::new();
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    // In version 2 a group with controllers for groups below has no processes of its own: all of them are below,
    // and whoever joins has to go there.
    let script = if unified {
        "cd /sys/fs/cgroup && mkdir x && echo 1 > x/cgroup.procs && echo +pids > cgroup.subtree_control &&
            mkdir x/y && echo ready && exec sleep 100000"
    } else {
        "mkdir -p /sys/fs/cgroup/pids/x/y /sys/fs/cgroup/memory/z && echo 1 > /sys/fs/cgroup/pids/x/cgroup.procs &&
            echo ready && exec sleep 100000"
    };
    start(&host, &["--privileged"], script);
    eventually("the groups", || (host.mydocker(&["logs", "c"]).stdout == "ready\n").then_some(()));
    for options in [&[][..], &["-t"], &["-u", "1234"]] {
        let groups = exec(&host, options, &["cat", "/proc/self/cgroup"]).ok().replace('\r', "");
        // Not outside of the container's own group, whichever it is below that.
        let outside = groups.lines().find(|line| line.contains(":/.."));
        assert!(outside.is_none(), "{groups}");
        if unified {
            assert!(groups.lines().any(|line| line == "0::/x"), "{groups}");
        }
    }
    host.mydocker(&["pause", "c"]).ok();
    exec(&host, &[], &["true"]).refused(&[125], &["paused"]);
    host.mydocker(&["unpause", "c"]).ok();
    host.mydocker(&["stop", "-t", "0", "c"]).ok();
    host.mydocker(&["start", "c"]).ok();
    eventually("the groups once more", || {
        (host.mydocker(&["logs", "c"]).stdout == "ready\nready\n").then_some(())
    });
    host.mydocker(&["rm", "-f", "c"]).ok();
    host.assert_nothing_left();
}

#[test]
fn many_join_at_once() {
    let host = Host::new();
    start(&host, &[], "sleep 100000");
    let all: Vec<_> = (0..12).map(|number| host.start(&["exec", "c", "echo", &number.to_string()])).collect();
    for (number, one) in all.into_iter().enumerate() {
        assert_eq!(one.wait().ok(), number.to_string());
    }
    assert_eq!(processes(&host), 1);
    host.mydocker(&["rm", "-f", "c"]).ok();
    host.assert_nothing_left();
}

#[test]
fn what_cannot_be_run_is_refused_by_name_and_the_container_goes_on() {
    let host = Host::new();
    start(&host, &[], "cd /tmp; echo '#!/no/such/program' > bad; chmod 755 bad; exec sleep 100000");
    eventually("the file", || (exec(&host, &[], &["test", "-x", "/tmp/bad"]).code() == 0).then_some(()));
    for (options, command, code, needles) in [
        (&[][..], "nosuch", 127, &["nosuch", "PATH"][..]),
        (&[], "/no/such", 127, &["/no/such"]),
        (&[], "/tmp/bad", 127, &["/tmp/bad", "interpreter"]),
        (&[], "/etc/not-executable", 126, &["/etc/not-executable"]),
        (&[], "/etc", 126, &["/etc", "directory"]),
        (&["-t"], "nosuch", 127, &["nosuch"]),
        (&["-d"], "nosuch", 127, &["nosuch"]),
        (&["-u", "nobody-here"], "true", 125, &["nobody-here"]),
        (&["-w", "/no/such"], "true", 125, &["/no/such"]),
        (&["-w", "/etc/passwd"], "true", 125, &["/etc/passwd", "directory"]),
    ] {
        let output = exec(&host, options, &[command]);
        output.refused(&[code], needles);
        assert_eq!(host.inspect("c")["State"]["Running"], Value::Bool(true), "{output}");
        assert_eq!(processes(&host), 1, "{output}");
    }
    host.mydocker(&["rm", "-f", "c"]).ok();
    host.assert_nothing_left();
}
