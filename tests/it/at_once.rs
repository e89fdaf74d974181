//! Commands for several containers work on all of them at the same time: one that takes long keeps none waiting.

use nix::sys::signal::Signal;

use crate::host::Host;
use crate::program::{Running, eventually};

/// Holds the lock of a container's record until its input ends: no command gets on with the container.
pub(crate) fn hold(host: &Host, id: &str) -> Running {
    let lock = host.root("containers").join(id).join("lock");
    let words = ["flock", lock.to_str().expect("a plain path"), "sh", "-c", "echo held; read -r end"];
    let holder = host.program(&words).open_input().start_in(&host.space);
    holder.wait_for("held");
    holder
}

fn create(host: &Host, name: &str, options: &[&str], command: &[&str]) -> String {
    let words = ["create", "--name", name, "--net", "none"];
    host.mydocker(&[&words[..], options, &[&host.image], command].concat()).ok()
}

#[test]
fn one_that_is_stuck_keeps_no_other_waiting() {
    let host = Host::new();
    for (command, runs_before) in [
        (&["start"][..], false),
        (&["stop", "-t", "0"], true),
        (&["kill"], true),
        (&["restart", "-t", "0"], true),
        (&["rm", "-f"], true),
        (&["rm"], false),
    ] {
        // Letters that no id begins with.
        let ids = ["x", "y", "z"].map(|name| create(&host, name, &[], &["sleep", "100000"]));
        if runs_before {
            host.mydocker(&["start", "x", "y", "z"]).ok();
        }
        let state = |name: &str| {
            let output = host.mydocker(&["inspect", name]);
            output.status.success().then(|| output.json()[0]["State"].clone())
        };
        let before = ["y", "z"].map(state);
        let is_done = |name: &str, before: &Option<serde_json::Value>| match (command[0], state(name)) {
            ("rm", state) => state.is_none(),
            ("start", Some(state)) => state["Running"] == true,
            ("restart", Some(state)) => {
                state["Running"] == true && Some(&state["Pid"]) != before.as_ref().map(|state| &state["Pid"])
            }
            (_, Some(state)) => state["Running"] == false,
            (_, None) => false,
        };
        let mut held = hold(&host, &ids[0]);
        let mut client = host.start(&[command, &["x", "y", "z"]].concat());
        let mut has_ended = false;
        eventually("the others", || {
            has_ended = !client.is_running();
            (has_ended || is_done("y", &before[0]) && is_done("z", &before[1])).then_some(())
        });
        if has_ended {
            panic!("{command:?} ended: {}", client.wait());
        }
        held.end_input();
        held.wait();
        // In the order of the names, whoever was first.
        assert_eq!(client.wait().ok(), "x\ny\nz", "{command:?}");
        host.mydocker(&["rm", "-f", "x", "y", "z"]).ok();
    }
    host.assert_nothing_left();
}

#[test]
fn containers_that_wait_for_each_other_are_stopped_together() {
    let host = Host::new();
    let shared = host.scratch("shared");
    let volume = format!("{}:/shared", shared.display());
    let names = ["a", "b", "c", "d"];
    for name in names {
        // Each ends when all have been asked to.
        let all = names.map(|name| format!("test -e /shared/{name}")).join(" && ");
        let script = format!(
            "trap 'touch /shared/{name}; until {all}; do sleep 0.02; done; exit 7' TERM; \
             touch /shared/up-{name}; while :; do sleep 0.02; done"
        );
        create(&host, name, &["-v", &volume], &["sh", "-c", &script]);
    }
    host.mydocker(&[&["start"][..], &names].concat()).ok();
    for name in names {
        eventually("it to be up", || shared.join(format!("up-{name}")).exists().then_some(()));
    }
    // One that is not there keeps none waiting either, and is told of.
    let output = host.mydocker(&["stop", "-t", "100", "a", "b", "nothere", "c", "d"]);
    assert_eq!((output.code(), output.stdout.as_str()), (1, "a\nb\nc\nd\n"), "{output}");
    assert!(output.stderr.contains("nothere"), "{output}");
    for name in names {
        assert_eq!(host.inspect(name)["State"]["ExitCode"], 7, "{name}");
    }
    host.mydocker(&[&["rm"][..], &names].concat()).ok();
    host.assert_nothing_left();
}

#[test]
fn all_are_waited_for_from_the_start() {
    let host = Host::new();
    let script = |code: u8| format!("while ! test -e /tmp/go; do sleep 0.02; done; exit {code}");
    // Names that are no beginnings of ids, or another one would be found once it is gone.
    create(&host, "one", &[], &["sh", "-c", &script(3)]);
    // It is gone by the time that the first one ends.
    create(&host, "two", &["--rm"], &["sh", "-c", &script(5)]);
    host.mydocker(&["start", "one", "two"]).ok();
    let client = host.start(&["wait", "one", "two"]);
    let sockets = || {
        let open = std::fs::read_dir(format!("/proc/{}/fd", client.pid())).expect("its descriptors");
        let targets = open.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok());
        targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
    };
    eventually("it to be connected with both", || (sockets() == 2).then_some(()));
    host.let_go("two");
    eventually("it to go", || (!host.mydocker(&["inspect", "two"]).status.success()).then_some(()));
    host.let_go("one");
    assert_eq!(client.wait().ok(), "3\n5");
    host.mydocker(&["rm", "one"]).ok();
    host.assert_nothing_left();
}

#[test]
fn one_that_joins_another_is_started_after_it() {
    let host = Host::new();
    create(&host, "owner", &["--ipc", "shareable"], &["sleep", "100000"]);
    for (name, options) in [
        ("net", ["--net", "container:owner"]),
        ("pid", ["--pid", "container:owner"]),
        ("ipc", ["--ipc", "container:owner"]),
        ("far", ["--net", "container:net"]),
    ] {
        let words = [&["create", "--name", name][..], &options, &[&host.image, "sleep", "100000"]].concat();
        host.mydocker(&words).ok();
    }
    let names = ["far", "net", "pid", "ipc", "owner"];
    for command in [&["start"][..], &["restart", "-t", "0"]] {
        let output = host.mydocker(&[command, &names].concat()).ok();
        let lines: Vec<&str> = output.lines().collect();
        assert_eq!((lines[0], lines[4], lines.len()), ("owner", "far", 5), "{output}");
        for name in names {
            assert_eq!(host.inspect(name)["State"]["Running"], true, "{name}");
        }
    }
    // The first process of a namespace of process ids takes all of them along.
    host.mydocker(&[&["rm", "-f"][..], &names].concat()).ok();
    host.mydocker(&["network", "rm", "default"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_name_that_is_given_twice_is_served_twice() {
    let host = Host::new();
    create(&host, "a", &[], &["sleep", "100000"]);
    assert_eq!(host.mydocker(&["start", "a", "a"]).ok(), "a\na");
    let output = host.mydocker(&["rm", "-f", "a", "a"]);
    assert_eq!((output.code(), output.stdout.as_str()), (0, "a\n"), "{output}");
    assert!(output.stderr.contains("No such container: a"), "{output}");
    host.assert_nothing_left();
}

/// A signal to the client of a command for many ends it, and what is begun is finished by whoever comes next.
#[test]
fn a_command_for_many_can_be_interrupted() {
    let host = Host::new();
    for name in ["a", "b"] {
        create(&host, name, &[], &["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.02; done"]);
    }
    host.mydocker(&["start", "a", "b"]).ok();
    for name in ["a", "b"] {
        let logs = || host.mydocker(&["logs", name]).ok();
        eventually("it to be deaf to signals", || logs().contains("deaf").then_some(()));
    }
    let client = host.start(&["stop", "-t", "-1", "a", "b"]);
    let tasks = || std::fs::read_dir(format!("/proc/{}/task", client.pid())).map_or(0, Iterator::count);
    eventually("it to be at work", || (tasks() >= 3).then_some(()));
    client.signal(Signal::SIGINT);
    assert!(!client.wait().status.success());
    assert_eq!(host.mydocker(&["stop", "-t", "0", "a", "b"]).ok(), "a\nb");
    host.mydocker(&["rm", "a", "b"]).ok();
    host.assert_nothing_left();
}
