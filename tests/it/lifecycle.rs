//! A container after its start: `ps`, `logs`, `exec`, `stop`, `rm`, `inspect`.

use serde_json::Value;

use crate::host::Host;
use crate::program::{Output, eventually};

/// Starts a detached container without a network that runs a shell command.
#[track_caller]
fn start(host: &Host, name: &str, script: &str) -> String {
    host.mydocker(&["run", "-d", "--name", name, "--net", "none", &host.image, "sh", "-c", script]).ok()
}

/// Waits until the container has ended.
#[track_caller]
fn ended(host: &Host, name: &str) -> Value {
    eventually("the container to end", || {
        let state = host.inspect(name)["State"].clone();
        (state["Running"] == false).then_some(state)
    })
}

#[test]
fn ps_shows_running_containers_and_with_a_all_of_them() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    let web = host.container("web", "front", &["-p", "8080:80", "-p", "127.0.0.1:5353:53/udp"]);
    start(&host, "done", "exit 3");
    ended(&host, "done");
    let running = host.mydocker(&["ps"]).ok();
    let header = running.lines().next().unwrap();
    for column in ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"] {
        assert!(header.contains(column), "{column} is missing: {header}");
    }
    assert_eq!(running.lines().count(), 2, "{running}");
    let row = running.lines().nth(1).unwrap();
    for text in [&web.id[..12], "web", "sleep", "Up", "8080->80/tcp", "127.0.0.1:5353->53/udp"] {
        assert!(row.contains(text), "{text} is missing: {row}");
    }
    let all = host.mydocker(&["ps", "-a"]).ok();
    assert_eq!(all.lines().count(), 3, "{all}");
    let row = all.lines().find(|row| row.contains("done")).unwrap();
    assert!(row.contains("Exited (3)"), "{row}");
    let quiet = host.mydocker(&["ps", "-q"]).ok();
    assert!(quiet.lines().count() == 1 && web.id.starts_with(&quiet), "{quiet}");
    assert_eq!(host.mydocker(&["ps", "-aq"]).ok().lines().count(), 2);
    let json = host.mydocker(&["ps", "-a", "--format", "json"]).rows();
    assert_eq!(json.as_array().expect("one array").len(), 2, "{json}");
    assert!(json.to_string().contains(&web.id[..12]), "{json}");
}

#[test]
fn the_columns_of_ps_are_aligned() {
    let host = Host::new();
    start(&host, "a", "sleep 1000");
    start(&host, "a-much-longer-name-than-that", "sleep 1000");
    let table = host.mydocker(&["ps"]).ok();
    let at = table.lines().next().unwrap().find("IMAGE").expect("a column");
    for row in table.lines().skip(1) {
        assert_eq!(&row[at..=at], "/", "the image's path should start below IMAGE: {table}");
    }
}

#[test]
fn logs_repeat_what_the_container_wrote_on_either_output() {
    let host = Host::new();
    start(&host, "c", "echo one; echo two >&2; echo three");
    ended(&host, "c");
    let output = host.mydocker(&["logs", "c"]);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("one\nthree\n", "two\n"));
    assert_eq!(output.code(), 0);
    start(&host, "many", "seq 1 5000; printf 'the end'");
    ended(&host, "many");
    let expected: String = (1..=5000).map(|n| format!("{n}\n")).collect();
    assert!(host.mydocker(&["logs", "many"]).stdout == expected + "the end", "the log is not whole");
    assert_eq!(host.mydocker(&["logs", "--tail", "2", "many"]).stdout, "5000\nthe end");
    assert_eq!(host.mydocker(&["logs", "--tail", "0", "many"]).stdout, "");
    host.mydocker(&["logs", "nothere"]).refused(&[1], &["nothere"]);
    host.mydocker(&["logs", "--tail", "some", "many"]).refused(&[1, 125], &["some"]);
}

#[test]
fn logs_follow_a_container_until_it_ends() {
    let host = Host::new();
    start(&host, "c", "echo begun; while ! test -e /tmp/go; do sleep 0.02; done; echo going; exit 4");
    let follower = host.start(&["logs", "-f", "c"]);
    follower.wait_for("begun\n");
    host.let_go("c");
    let output = follower.wait();
    assert_eq!(output.stdout, "begun\ngoing\n");
    assert_eq!(output.code(), 0);
    // Of a container that has ended, it is the log as it stands.
    assert_eq!(host.mydocker(&["logs", "-f", "c"]).stdout, "begun\ngoing\n");
    assert_eq!(host.mydocker(&["logs", "-f", "--tail", "1", "c"]).stdout, "going\n");
}

#[test]
fn output_of_a_foreground_run_is_kept_in_the_log_too() {
    let host = Host::new();
    host.mydocker(&["run", "--name", "c", "--net", "none", &host.image, "echo", "hello"]).ok();
    assert_eq!(host.mydocker(&["logs", "c"]).stdout, "hello\n");
}

#[track_caller]
fn exec(host: &Host, options: &[&str], command: &[&str]) -> Output {
    host.mydocker(&[&["exec"], options, &["c"], command].concat())
}

#[test]
fn exec_exits_as_its_command_does() {
    let host = Host::new();
    let id = start(&host, "c", "sleep 1000");
    assert_eq!(exec(&host, &[], &["sh", "-c", "echo out; echo err >&2; exit 7"]).code(), 7);
    assert_eq!(exec(&host, &[], &["true"]).code(), 0);
    exec(&host, &[], &["nosuchcommand"]).refused(&[127], &["nosuchcommand"]);
    exec(&host, &[], &["/etc/not-executable"]).refused(&[126], &["/etc/not-executable"]);
    assert_eq!(exec(&host, &[], &["sh", "-c", "kill -9 $$"]).code(), 128 + 9);
    host.mydocker(&["exec", "nothere", "true"]).refused(&[125], &["nothere"]);
    // The id and any unambiguous beginning of it name the container as well.
    assert_eq!(host.mydocker(&["exec", &id, "echo", "by id"]).ok(), "by id");
    assert_eq!(host.mydocker(&["exec", &id[..12], "echo", "by short id"]).ok(), "by short id");
    host.mydocker(&["stop", "-t", "0", "c"]).ok();
    exec(&host, &[], &["true"]).refused(&[125], &["c"]);
}

#[test]
fn exec_runs_inside_the_container_with_its_environment_and_the_options() {
    let host = Host::new();
    let run = [
        "run",
        "-d",
        "--name",
        "c",
        "--net",
        "none",
        "-e",
        "bird=123",
        "-w",
        "/var",
        &host.image,
        "sleep",
        "1000",
    ];
    let id = host.mydocker(&run).ok();
    assert_eq!(exec(&host, &[], &["sh", "-c", "echo $bird $(pwd) $(id -u)"]).ok(), "123 /var 0");
    assert_eq!(
        exec(
            &host,
            &["-e", "x=y", "-w", "/etc", "-u", "tester"],
            &["sh", "-c", "echo $x $bird $(pwd) $(id -un)"]
        )
        .ok(),
        "y 123 /etc tester"
    );
    assert_eq!(exec(&host, &[], &["hostname"]).ok(), id[..12]);
    assert_eq!(exec(&host, &[], &["cat", "/proc/1/comm"]).ok(), "sleep");
    exec(&host, &[], &["sh", "-c", "echo shared > /tmp/file"]).ok();
    assert_eq!(exec(&host, &[], &["cat", "/tmp/file"]).ok(), "shared");
    exec(&host, &["-u", "nobodyhere"], &["true"]).refused(&[125], &["nobodyhere"]);
}

#[test]
fn exec_takes_input_and_a_terminal() {
    let host = Host::new();
    start(&host, "c", "sleep 1000");
    let cat = host.command(&["exec", "-i", "c", "cat"]).input("some\ninput").run_in(&host.space);
    assert_eq!(cat.stdout, "some\ninput");
    let arguments = ["exec", "-it", "c", "sh", "-c", "stty size; tty; exit 3"];
    let terminal = host.command(&arguments).on_a_terminal().run_in(&host.space);
    assert!(terminal.stdout.contains("33 111\r\n") && terminal.stdout.contains("/dev/pts/"), "{terminal}");
    assert_eq!(terminal.code(), 3);
    assert_eq!(exec(&host, &[], &["sh", "-c", "tty; cat"]).stdout, "not a tty\n");
}

#[test]
fn stop_asks_with_a_signal_first_and_kills_after_the_time_given() {
    let host = Host::new();
    start(&host, "polite", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.02; done");
    start(&host, "deaf", "trap '' TERM; echo ready; while :; do sleep 0.02; done");
    for name in ["polite", "deaf"] {
        eventually("the trap", || host.mydocker(&["logs", name]).stdout.contains("ready").then_some(()));
    }
    assert_eq!(host.mydocker(&["stop", "-t", "50", "polite"]).ok(), "polite");
    assert_eq!(host.inspect("polite")["State"]["ExitCode"], 7);
    host.mydocker(&["stop", "-t", "1", "deaf"]).ok();
    assert_eq!(host.inspect("deaf")["State"]["ExitCode"], 137);
    assert_eq!(host.inspect("deaf")["State"]["Running"], false);
    // What has ended is not running: nothing to do, and no error.
    host.mydocker(&["stop", "polite", "deaf"]).ok();
    host.mydocker(&["stop", "nothere"]).refused(&[1], &["nothere"]);
    assert_eq!(host.mydocker(&["ps", "-q"]).ok(), "");
}

#[test]
fn a_container_that_ends_keeps_its_record_and_its_log_and_nothing_else() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    let run = [
        "run",
        "-d",
        "--name",
        "c",
        "--net",
        "front",
        "-p",
        "8080:80",
        &host.image,
        "sh",
        "-c",
        "echo bye; exit 3",
    ];
    let id = host.mydocker(&run).ok();
    assert_eq!(ended(&host, "c")["ExitCode"], 3);
    let records =
        ["containers", "names", "overlay2"].map(|below| format!("file {}/", host.root(below).display()));
    let kept = |line: &String| records.iter().any(|records| line.starts_with(records));
    eventually("all but records to go", || {
        host.leftovers(crate::leftovers::Scope::Containers).iter().all(kept).then_some(())
    });
    assert!(host.root(&format!("containers/{id}/config.json")).exists());
    assert!(!host.table().contains("8080"));
    // Its address and its port are free again.
    assert_eq!(host.container("next", "front", &["-p", "8080:80"]).address.to_string(), "172.18.0.2");
    assert_eq!(host.mydocker(&["logs", "c"]).ok(), "bye");
    host.mydocker(&["rm", "c"]).ok();
    assert!(!host.root(&format!("containers/{id}")).exists());
    host.mydocker(&["rm", "-f", "next"]).ok();
    host.mydocker(&["network", "remove", "front"]).ok();
    host.assert_nothing_left();
}

#[test]
fn rm_refuses_what_runs_unless_forced() {
    let host = Host::new();
    start(&host, "one", "sleep 1000");
    start(&host, "two", "sleep 1000");
    start(&host, "three", "exit 0");
    ended(&host, "three");
    let output = host.mydocker(&["rm", "one"]);
    output.refused(&[1], &["one", "running"]);
    assert!(output.stderr.lines().any(|line| line.starts_with("hint: ")), "a remedy: {output}");
    assert_eq!(host.inspect("one")["State"]["Running"], true);
    assert_eq!(host.mydocker(&["rm", "three"]).ok(), "three");
    host.mydocker(&["rm", "three"]).refused(&[1], &["three"]);
    let mixed = host.mydocker(&["rm", "-f", "one", "nothere", "two"]);
    assert!(mixed.stdout.contains("one") && mixed.stdout.contains("two"), "{mixed}");
    host.mydocker(&["inspect", "one"]).refused(&[1], &["one"]);
    host.mydocker(&["inspect", "three"]).refused(&[1], &["three"]);
    host.assert_nothing_left();
}

#[test]
fn inspect_has_the_members_that_scripts_pick() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    let web = host.container("web", "front", &["-p", "8080:80", "-e", "A=1"]);
    let both = {
        start(&host, "done", "exit 3");
        ended(&host, "done");
        host.mydocker(&["inspect", "web", "done"]).json()
    };
    let record = &both[0];
    assert_eq!(record["Id"], web.id.as_str());
    assert_eq!(record["Name"].as_str().unwrap().trim_start_matches('/'), "web");
    assert_eq!(record["State"]["Running"], true);
    assert_eq!(record["State"]["Status"], "running");
    assert!(record["Created"].as_str().unwrap().contains('T'), "{record}");
    let pid = record["State"]["Pid"].as_i64().expect("a pid");
    assert_eq!(std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap(), "sleep\n");
    let endpoint = &record["NetworkSettings"]["Networks"]["front"];
    assert_eq!(endpoint["IPAddress"], "172.18.0.2");
    assert_eq!(endpoint["Gateway"], "172.18.0.1");
    assert_eq!(endpoint["IPPrefixLen"], 16);
    assert_eq!(endpoint["MacAddress"], "02:42:ac:12:00:02");
    let port = &record["NetworkSettings"]["Ports"]["80/tcp"][0];
    assert_eq!((&port["HostIp"], &port["HostPort"]), (&Value::from("0.0.0.0"), &Value::from("8080")));
    assert_eq!(record["Config"]["Hostname"], &web.id[..12]);
    assert!(record["Config"]["Env"].as_array().unwrap().contains(&Value::from("A=1")), "{record}");
    assert_eq!(both[1]["State"]["Status"], "exited");
    assert_eq!(both[1]["State"]["ExitCode"], 3);
    assert_eq!(both[1]["State"]["Pid"], 0);
    host.mydocker(&["inspect", "nothere"]).refused(&[1], &["nothere"]);
}

#[test]
fn an_ambiguous_beginning_of_ids_is_refused() {
    let host = Host::new();
    // Of seventeen ids, two begin with the same digit.
    let ids: Vec<String> = (0..17).map(|n| start(&host, &format!("c{n}"), "exit 0")).collect();
    let shared = |digit: &char| ids.iter().filter(|id| id.starts_with(*digit)).count() > 1;
    let digit = "0123456789abcdef".chars().find(shared).expect("a pigeonhole").to_string();
    host.mydocker(&["inspect", &digit]).refused(&[1], &[&digit]);
}

#[test]
fn every_command_explains_itself_with_an_example() {
    let host = Host::new();
    let commands = [
        "run",
        "ps",
        "logs",
        "exec",
        "stop",
        "rm",
        "inspect",
        "port",
        "top",
        "stats",
        "info",
        "version",
        "completion",
        "container",
        "network create",
        "network list",
        "network inspect",
        "network remove",
        "network graph",
        "network rules",
    ];
    for command in commands {
        let words: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let help = host.mydocker(&words).ok();
        let last = help.trim_end().lines().next_back().unwrap_or_default();
        assert!(
            last.contains(&format!("mydocker {command}")),
            "the last line of {command} --help is no example: {last}"
        );
    }
    host.mydocker(&["nosuchcommand"]).refused(&[125], &["nosuchcommand"]);
}
