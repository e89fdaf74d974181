//! Clients that come and go: `attach`, the keys that leave a container running, sizes, signals, streams.

use nix::sys::signal::Signal;

use crate::host::Host;
use crate::program::{Running, eventually};

/// Starts a container without a network in the background.
#[track_caller]
fn run(host: &Host, name: &str, options: &[&str], script: &str) {
    let words = ["run", "-d", "--name", name, "--net", "none"];
    host.mydocker(&[&words, options, &[&host.image, "sh", "-c", script]].concat()).ok();
}

/// Starts mydocker on a terminal.
fn on_a_terminal(host: &Host, arguments: &[&str]) -> Running {
    host.command(arguments).on_a_terminal().start_in(&host.space)
}

fn is_running(host: &Host, name: &str) -> bool {
    host.inspect(name)["State"]["Running"] == true
}

/// Ctrl-p, ctrl-q.
const DETACH: &str = "\x10\x11";

/// Answers each line of input, and ends with `end`.
const ECHO: &str = "trap 'exit 9' TERM; echo ready; \
                    while read line; do test \"$line\" = end && exit 6; echo \"<$line>\"; echo \"!$line\" >&2; done; \
                    exit 7";

#[test]
fn several_clients_share_a_container_and_leave_with_its_exit_status() {
    let host = Host::new();
    run(&host, "c", &["-i"], ECHO);
    let mut one = host.command(&["attach", "c"]).open_input().start_in(&host.space);
    one.say("one\n");
    one.wait_for("<one>\n");
    let watcher = host.start(&["attach", "--no-stdin", "c"]);
    let mut two = host.command(&["attach", "c"]).open_input().start_in(&host.space);
    // Until both are connected.
    eventually("a line that both have got", || {
        two.say("two\n");
        (watcher.stdout().contains("<two>") && two.stdout().contains("<two>")).then_some(())
    });
    one.wait_for("<two>\n");
    two.end_input();
    one.say("end\n");
    for client in [one, two, watcher] {
        let output = client.wait();
        assert_eq!(output.code(), 6, "{output}");
        assert!(output.stderr.lines().all(|line| line.starts_with('!')), "{output}");
    }
    host.mydocker(&["attach", "c"]).refused(&[1], &["c", "not running"]);
    host.mydocker(&["attach", "nothere"]).refused(&[1], &["nothere"]);
    host.mydocker(&["rm", "c"]).ok();
    host.assert_nothing_left();
}

#[test]
fn input_of_a_container_without_a_terminal_ends_with_its_client_only_where_it_was_run_so() {
    let host = Host::new();
    // Detached with -i: clients come and go.
    run(&host, "stays", &["-i"], ECHO);
    let output = host.command(&["attach", "stays"]).input("a\n").start_in(&host.space);
    output.wait_for("<a>");
    drop(output);
    assert!(is_running(&host, "stays"));
    let mut client = host.command(&["attach", "stays"]).open_input().start_in(&host.space);
    client.say("b\n");
    client.wait_for("<b>");
    client.say("end\n");
    assert_eq!(client.wait().code(), 6);
    // In the foreground: the end of the input is the container's.
    let words = ["run", "-i", "--name", "once", "--net", "none", &host.image, "sh", "-c", ECHO];
    assert_eq!(host.command(&words).input("a\n").run_in(&host.space).code(), 7);
    host.mydocker(&["rm", "stays", "once"]).ok();
    host.assert_nothing_left();
}

#[test]
fn keys_leave_a_container_running_and_attach_comes_back_to_it() {
    let host = Host::new();
    let words = ["run", "-it", "--name", "c", "--net", "none", &host.image, "sh", "-c", ECHO];
    let mut client = on_a_terminal(&host, &words);
    client.wait_for("ready");
    client.say("one\n");
    client.wait_for("<one>");
    client.say(DETACH);
    let output = client.wait();
    assert!(output.code() == 0 && output.stdout.contains("detached"), "{output}");
    assert!(is_running(&host, "c"));
    // Half of the sequence is the container's.
    let mut client = on_a_terminal(&host, &["attach", "c"]);
    client.say("x\x10y\n");
    client.wait_for("<x\x10y>");
    client.say(&DETACH[..1]);
    client.say(&DETACH[1..]);
    assert_eq!(client.wait().code(), 0);
    // Other keys, and the container's own status for who stays.
    let mut client = on_a_terminal(&host, &["attach", "--detach-keys", "a,ctrl-b", "c"]);
    client.say("aa\x02");
    assert_eq!(client.wait().code(), 0);
    let mut client = on_a_terminal(&host, &["attach", "c"]);
    client.say("\n");
    client.wait_for("<a>");
    client.say("end\n");
    assert_eq!(client.wait().code(), 6);
    let mut client = on_a_terminal(&host, &["start", "-ai", "c"]);
    client.wait_for("ready");
    client.say(DETACH);
    assert_eq!(client.wait().code(), 0);
    // A terminal of the container's is none of the caller's.
    host.mydocker(&["attach", "c"]).refused(&[1], &["terminal"]);
    host.mydocker(&["attach", "--detach-keys", "ctrl-P", "c"]).refused(&[125], &["ctrl-P"]);
    // The command of an exec goes on as well.
    let script = "echo here; while ! test -e /tmp/go; do sleep 0.02; done; touch /tmp/gone";
    let mut client = on_a_terminal(&host, &["exec", "-it", "c", "sh", "-c", script]);
    client.wait_for("here");
    client.say(DETACH);
    assert_eq!(client.wait().code(), 0);
    host.let_go("c");
    eventually("its end", || host.mydocker(&["exec", "c", "ls", "/tmp"]).ok().contains("gone").then_some(()));
    host.mydocker(&["rm", "-f", "c"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_terminal_that_changes_its_size_changes_the_containers() {
    let host = Host::new();
    let script = "trap 'stty size' WINCH; echo ready; while :; do sleep 0.02; done";
    let words = ["run", "-it", "--name", "c", "--net", "none", &host.image, "sh", "-c", script];
    let client = on_a_terminal(&host, &words);
    client.wait_for("ready");
    client.resize(17, 71);
    client.wait_for("17 71\r\n");
    drop(client);
    let second = on_a_terminal(&host, &["attach", "c"]);
    second.wait_for("33 111\r\n");
    second.resize(20, 80);
    second.wait_for("20 80\r\n");
    let shell = on_a_terminal(&host, &["exec", "-it", "c", "sh", "-c", script]);
    shell.wait_for("ready");
    shell.resize(18, 72);
    shell.wait_for("18 72\r\n");
    host.mydocker(&["rm", "-f", "c"]).ok();
    assert_eq!(second.wait().code(), 137);
    host.assert_nothing_left();
}

#[test]
fn signals_reach_the_container_or_end_the_client() {
    let host = Host::new();
    let script = "trap 'echo usr1' USR1; trap 'exit 9' TERM; echo ready; while :; do sleep 0.02; done";
    let words = ["run", "--name", "c", "--net", "none", &host.image, "sh", "-c", script];
    let client = host.start(&words);
    client.wait_for("ready");
    client.signal(Signal::SIGUSR1);
    client.wait_for("usr1");
    let deaf = host.start(&["attach", "--sig-proxy=false", "c"]);
    eventually("it to be connected", || {
        client.signal(Signal::SIGUSR1);
        deaf.stdout().contains("usr1").then_some(())
    });
    deaf.signal(Signal::SIGTERM);
    assert_eq!(deaf.wait().code(), 128 + 15);
    assert!(is_running(&host, "c"));
    client.signal(Signal::SIGTERM);
    assert_eq!(client.wait().code(), 9);
    host.mydocker(&["rm", "c"]).ok();
    host.assert_nothing_left();
}

#[test]
fn only_the_streams_asked_for_are_connected() {
    let host = Host::new();
    let run = |options: &[&str]| {
        host.run(&[&["--net", "none"], options].concat(), &["sh", "-c", "echo out; echo err >&2"])
    };
    let output = run(&["-a", "stdout"]);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", ""));
    let output = run(&["-a", "STDERR"]);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("", "err\n"));
    let output = run(&["-a", "stdout", "-a", "stderr"]);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
    // With input alone, the id is the result.
    let words = ["run", "--rm", "-i", "-a", "stdin", "--net", "none", &host.image, "cat"];
    let output = host.command(&words).input("unseen").run_in(&host.space);
    assert_eq!(output.ok().len(), 64);
    run(&["-d", "-a", "stdout"]).refused(&[125], &["--attach", "--detach"]);
    run(&["-a", "stdother"]).refused(&[125], &["stdother"]);
    host.assert_nothing_left();
}

#[test]
fn a_detached_exec_runs_on_by_itself() {
    let host = Host::new();
    run(&host, "c", &[], "sleep 1000");
    let script = "while ! test -e /tmp/go; do sleep 0.02; done; touch /tmp/gone";
    for options in [&["-d"][..], &["-dit"]] {
        assert_eq!(host.mydocker(&[&["exec"], options, &["c", "sh", "-c", script]].concat()).ok(), "");
        host.let_go("c");
        eventually("its end", || {
            host.mydocker(&["exec", "c", "ls", "/tmp"]).ok().contains("gone").then_some(())
        });
        host.mydocker(&["exec", "c", "rm", "/tmp/go", "/tmp/gone"]).ok();
    }
    host.mydocker(&["exec", "-d", "c", "nosuchcommand"]).refused(&[127], &["nosuchcommand"]);
    let status = "grep CapEff /proc/self/status";
    let plain = host.mydocker(&["exec", "c", "sh", "-c", status]).ok();
    assert_ne!(host.mydocker(&["exec", "--privileged", "c", "sh", "-c", status]).ok(), plain);
    host.mydocker(&["rm", "-f", "c"]).ok();
    host.assert_nothing_left();
}
