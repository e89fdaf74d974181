//! The life of a container by its commands: created, started again and again, awaited, renamed, killed.

use std::path::Path;

use serde_json::Value;

use crate::host::Host;
use crate::program::eventually;

/// Creates a container without a network that runs a shell command. Returns its id.
#[track_caller]
fn create(host: &Host, name: &str, options: &[&str], script: &str) -> String {
    let words = ["create", "--name", name, "--net", "none"];
    host.mydocker(&[&words, options, &[&host.image, "sh", "-c", script]].concat()).ok()
}

fn state(host: &Host, name: &str) -> Value {
    host.inspect(name)["State"].clone()
}

const FOREVER: &str = "echo up; while :; do sleep 0.02; done";

#[test]
fn a_created_container_is_started_as_often_as_one_likes() {
    let host = Host::new();
    let id = create(&host, "c", &[], "echo run $(ls /tmp | wc -l); touch /tmp/$(ls /tmp | wc -l); exit 3");
    assert_eq!(state(&host, "c")["Status"], "created");
    for run in 0..3 {
        let output = host.mydocker(&["start", "-a", "c"]);
        assert_eq!((output.code(), output.stdout.as_str()), (3, format!("run {run}\n").as_str()), "{output}");
        assert_eq!(state(&host, "c")["ExitCode"], 3);
    }
    // By any of its names; what it is called by is printed.
    assert_eq!(host.mydocker(&["start", &id[..12]]).ok(), &id[..12]);
    assert_eq!(host.mydocker(&["wait", "c"]).ok(), "3");
    assert_eq!(host.mydocker(&["logs", "c"]).stdout, "run 0\nrun 1\nrun 2\nrun 3\n");
    create(&host, "long", &[], FOREVER);
    let two = host.mydocker(&["start", "long", "nothere"]);
    assert_eq!((two.code(), two.stdout.as_str()), (1, "long\n"), "{two}");
    let pid = state(&host, "long")["Pid"].clone();
    assert_eq!(host.mydocker(&["start", "long"]).ok(), "long");
    assert_eq!(state(&host, "long")["Pid"], pid, "the same run");
    assert_eq!(host.mydocker(&["restart", "-t", "0", "long", "c"]).ok(), "long\nc");
    assert_ne!(state(&host, "long")["Pid"], pid);
    host.mydocker(&["start", "-a", "long", "c"]).refused(&[1], &["2"]);
    // Input goes where it is asked for.
    let words = ["create", "-i", "--name", "cat", "--net", "none", &host.image, "cat"];
    host.mydocker(&words).ok();
    for input in ["first", "second"] {
        let output = host.command(&["start", "-ai", "cat"]).input(input).run_in(&host.space);
        assert_eq!((output.code(), output.stdout.as_str()), (0, input), "{output}");
    }
    host.mydocker(&["rm", "-f", "long", "c", "cat"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_start_that_fails_keeps_the_container_and_tells_why_and_a_run_leaves_none() {
    let host = Host::new();
    for (command, code) in [("nosuchcommand", 127), ("/etc/not-executable", 126)] {
        host.mydocker(&["create", "--name", "c", "--net", "none", &host.image, command]).ok();
        host.mydocker(&["start", "c"]).refused(&[1], &[command]);
        let state = state(&host, "c");
        assert_eq!((&state["Status"], &state["ExitCode"]), (&"exited".into(), &code.into()), "{state}");
        assert!(state["Error"].as_str().unwrap().contains(command), "{state}");
        host.mydocker(&["start", "-a", "c"]).refused(&[1], &[command]);
        assert_eq!(host.mydocker(&["wait", "c"]).ok(), code.to_string());
        host.mydocker(&["rm", "c"]).ok();
        host.mydocker(&["run", "--name", "c", "--net", "none", &host.image, command]).refused(&[code], &[]);
        host.mydocker(&["run", "-d", "--name", "c", "--net", "none", &host.image, command])
            .refused(&[code], &[]);
    }
    host.assert_nothing_left();
}

#[test]
fn wait_prints_exit_statuses_when_they_are_known() {
    let host = Host::new();
    create(&host, "never", &[], "exit 1");
    for (name, code) in [("a", 4), ("b", 5)] {
        create(&host, name, &[], &format!("while ! test -e /tmp/go; do sleep 0.02; done; exit {code}"));
    }
    host.mydocker(&["start", "a", "b"]).ok();
    let mut waiting = host.start(&["wait", "a", "b", "never"]);
    host.let_go("b");
    host.mydocker(&["wait", "b"]).ok();
    assert!(waiting.is_running() && waiting.stdout().is_empty(), "the first one runs still");
    host.let_go("a");
    assert_eq!(waiting.wait().ok(), "4\n5\n0");
    // One that is removed while it is awaited, by itself or by force.
    let words = ["run", "-d", "--rm", "--name", "gone", "--net", "none", &host.image, "sh", "-c", FOREVER];
    for end in [&["stop", "-t", "0", "gone"][..], &["rm", "-f", "gone"]] {
        host.mydocker(&words).ok();
        let waiting = host.start(&["wait", "gone"]);
        eventually("the client to be connected", || is_awaited(&host).then_some(()));
        host.mydocker(end).ok();
        assert_eq!(waiting.wait().ok(), "137");
    }
    let mixed = host.mydocker(&["wait", "nothere", "a"]);
    assert_eq!((mixed.code(), mixed.stdout.as_str()), (1, "4\n"), "{mixed}");
    host.mydocker(&["rm", "a", "b", "never"]).ok();
    host.assert_nothing_left();
}

/// Whether somebody is connected with the supervisor of a container.
fn is_awaited(host: &Host) -> bool {
    // The supervisor's end bears the path it was bound to, which is that of a descriptor.
    let sockets = host.space.run(|| std::fs::read_to_string("/proc/thread-self/net/unix"));
    let sockets = sockets.expect("the table of sockets");
    // Of state 3, connected; the listening one is in state 1.
    let connected =
        |line: &&str| line.ends_with("/attach.sock") && line.split_whitespace().nth(5) == Some("03");
    sockets.lines().filter(connected).count() > 0
}

#[test]
fn kill_sends_any_signal_to_what_runs_and_to_nothing_else() {
    let host = Host::new();
    create(&host, "c", &[], &format!("trap 'echo hup' HUP; trap 'exit 9' TERM; {FOREVER}"));
    host.mydocker(&["kill", "c"]).refused(&[1], &["c", "not running"]);
    host.mydocker(&["start", "c"]).ok();
    eventually("the traps", || host.mydocker(&["logs", "c"]).stdout.contains("up").then_some(()));
    assert_eq!(host.mydocker(&["kill", "-s", "HUP", "c"]).ok(), "c");
    eventually("the signal", || host.mydocker(&["logs", "c"]).stdout.contains("hup").then_some(()));
    assert_eq!(state(&host, "c")["Running"], true);
    host.mydocker(&["kill", "--signal", "15", "c"]).ok();
    assert_eq!(host.mydocker(&["wait", "c"]).ok(), "9");
    host.mydocker(&["start", "c"]).ok();
    host.mydocker(&["kill", "c"]).ok();
    assert_eq!(state(&host, "c")["ExitCode"], 137, "it has ended when kill returns");
    host.mydocker(&["kill", "-s", "NOTHING", "c"]).refused(&[125], &["NOTHING"]);
    host.mydocker(&["stop", "-s", "NOTHING", "c"]).refused(&[125], &["NOTHING"]);
    // stop's own signal, and one that is waited for without end.
    host.mydocker(&["start", "c"]).ok();
    host.mydocker(&["kill", "-s", "HUP", "c"]).ok();
    eventually("the traps again", || {
        (host.mydocker(&["logs", "c"]).stdout.matches("up").count() > 3).then_some(())
    });
    assert_eq!(host.mydocker(&["stop", "-s", "TERM", "-t", "-1", "c"]).ok(), "c");
    assert_eq!(state(&host, "c")["ExitCode"], 9);
    host.mydocker(&["rm", "c"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_renamed_container_keeps_its_ports_and_is_found_by_the_new_name_only() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    let container = host.container("old", "front", &["-p", "8080:80"]);
    drop(container);
    host.mydocker(&["create", "--name", "other", &host.image, "true"]).ok();
    assert_eq!(host.mydocker(&["rename", "old", "new"]).ok(), "");
    host.mydocker(&["inspect", "old"]).refused(&[1], &["old"]);
    assert_eq!(host.inspect("new")["Name"], "/new");
    let error = host.run(&["--net", "front", "-p", "8080:80"], &["true"]).refused(&[125], &["8080"]);
    assert!(error.contains("container new"), "{error}");
    assert!(host.inspect_network("front")["Containers"].to_string().contains("\"new\""));
    host.mydocker(&["rename", "new", "other"]).refused(&[1], &["other"]);
    host.mydocker(&["rename", "new", "new"]).refused(&[1], &["new"]);
    host.mydocker(&["rename", "nothere", "x"]).refused(&[1], &["nothere"]);
    host.mydocker(&["rename", "new", "a b"]).refused(&[125], &["a b"]);
    host.mydocker(&["rename", "other", "old"]).ok();
    // Whoever cleans up after its supervisor knows its ports by the new name, too.
    assert!(host.kill_supervisors() >= 1);
    eventually("its end", || (state(&host, "new")["Running"] == false).then_some(()));
    host.mydocker(&["rm", "new", "old"]).ok();
    assert_eq!(host.published(), Vec::<String>::new());
    host.mydocker(&["network", "remove", "front"]).ok();
    host.assert_nothing_left();
}

#[test]
fn the_files_for_the_id_and_the_pid_are_written_and_an_id_file_is_never_overwritten() {
    let host = Host::new();
    let directory = host.scratch("files");
    let (cid, pid) = (directory.join("cid"), directory.join("pid"));
    let (cid, pid) = (cid.to_str().unwrap(), pid.to_str().unwrap());
    let run = |options: &[&str], command: &[&str]| {
        host.mydocker(
            &[&["run", "--net", "none", "--cidfile", cid], options, &[&host.image], command].concat(),
        )
    };
    let id = run(&["-d", "--name", "c", "--pidfile", pid], &["sleep", "1000"]).ok();
    assert_eq!(std::fs::read_to_string(cid).unwrap(), id);
    let written = || std::fs::read_to_string(pid).unwrap().trim().parse::<i64>().unwrap();
    assert_eq!(written(), state(&host, "c")["Pid"]);
    host.mydocker(&["restart", "-t", "0", "c"]).ok();
    assert_eq!(written(), state(&host, "c")["Pid"]);
    run(&["--rm"], &["true"]).refused(&[125], &[cid]);
    assert_eq!(std::fs::read_to_string(cid).unwrap(), id);
    assert_eq!(host.mydocker(&["ps", "-aq"]).ok().lines().count(), 1, "nothing was made");
    std::fs::remove_file(cid).unwrap();
    // What does not come to be has no id.
    run(&["--rm"], &["nosuchcommand"]).refused(&[127], &[]);
    run(&["--rm", "--pidfile", "/no/such/directory/pid"], &["true"])
        .refused(&[125], &["/no/such/directory/pid"]);
    assert!(!Path::new(cid).exists());
    run(&["--rm", "--pull", "never"], &["true"]).ok();
    assert!(Path::new(cid).exists());
    // A directory is what it is: there is nothing to pull.
    host.mydocker(&["create", "--pull", "always", "--name", "d", &host.image, "true"]).ok();
    host.mydocker(&["rm", "d"]).ok();
    host.mydocker(&["rm", "-f", "c"]).ok();
    host.assert_nothing_left();
}

#[test]
fn variables_and_labels_come_from_files() {
    let host = Host::new();
    let directory = host.scratch("files");
    let path = |name: &str, text: &str| {
        std::fs::write(directory.join(name), text).unwrap();
        directory.join(name).to_str().unwrap().to_owned()
    };
    let (env, labels) =
        (path("env", "# remark\nA=1\nB=two words\n\nHOST_VALUE\n"), path("labels", "x=y\nz\n"));
    let bad = path("bad", "A=1\nB C=2\n");
    let script = "echo $A $B $HOST_VALUE; sleep 1000";
    let words = [
        "run",
        "-d",
        "--name",
        "c",
        "--net",
        "none",
        "--env-file",
        &env,
        "-e",
        "A=3",
        "--label-file",
        &labels,
    ];
    let words = [&words[..], &["-l", "z=q", &host.image, "sh", "-c", script]].concat();
    host.command(&words).environment("HOST_VALUE", "of the caller").run_in(&host.space).ok();
    eventually("its output", || {
        (host.mydocker(&["logs", "c"]).stdout == "3 two words of the caller\n").then_some(())
    });
    let inspected = host.inspect("c");
    assert_eq!(inspected["Config"]["Labels"], serde_json::json!({ "x": "y", "z": "q" }));
    assert_eq!(host.mydocker(&["exec", "--env-file", &env, "c", "sh", "-c", "echo $A"]).ok(), "1");
    host.mydocker(&["exec", "--env-file", "/nothere", "c", "true"]).refused(&[125], &["/nothere"]);
    host.run(&["--env-file", &bad], &["true"]).refused(&[125], &["line 2", &bad, "B C"]);
    host.mydocker(&["rm", "-f", "c"]).ok();
    host.assert_nothing_left();
}

#[test]
fn an_init_reaps_hands_signals_on_and_gives_nothing_away() {
    let host = Host::new();
    let run = |options: &[&str], script: &str| {
        host.command(
            &[&["run", "--rm", "--init", "--net", "none"], options, &[&host.image, "sh", "-c", script]]
                .concat(),
        )
        .environment("SECRET", "of the caller")
        .run_in(&host.space)
    };
    // Statuses pass through it, even of a command that ends at once.
    assert_eq!(run(&[], "exit 7").code(), 7);
    assert_eq!(run(&["-u", "tester"], "kill -9 $$").code(), 137);
    host.run(&["--init", "--net", "none"], &["nosuchcommand"]).refused(&[127], &["nosuchcommand"]);
    host.run(&["--init", "--net", "none"], &["/etc/not-executable"])
        .refused(&[126], &["/etc/not-executable"]);
    assert_eq!(run(&[], "cat /proc/1/comm; echo $$").ok(), "mydocker-init\n2");
    let line = run(&[], "cat /proc/1/cmdline").ok().replace('\0', " ");
    assert!(
        line.starts_with("mydocker-init -- sh -c") && !line.contains(host.root.to_str().unwrap()),
        "{line}"
    );
    // Neither its environment nor its files, memory or program can be seen, even by root.
    for file in ["environ", "maps"] {
        let output = run(&[], &format!("cat /proc/1/{file}"));
        assert!(!output.status.success() && !output.stdout.contains("SECRET"), "{file}: {output}");
    }
    for link in ["exe", "cwd", "root"] {
        assert!(
            !run(&[], &format!("ls -l /proc/1/{link} | grep '[>]'; cat /proc/1/{link}")).status.success()
        );
    }
    let script = "trap 'exit 9' TERM; (true & exec sleep 0.1) & echo up; while :; do sleep 0.02; done";
    let words = ["run", "-d", "--init", "--name", "c", "--net", "none", &host.image, "sh", "-c", script];
    host.mydocker(&words).ok();
    eventually("the trap", || host.mydocker(&["logs", "c"]).stdout.contains("up").then_some(()));
    let pid = state(&host, "c")["Pid"].as_i64().unwrap();
    // On the host root may look: it holds no file, and its environment is empty.
    assert_eq!(std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count(), 0);
    assert_eq!(std::fs::read(format!("/proc/{pid}/environ")).unwrap(), b"");
    eventually("no zombie", || {
        let list = host.mydocker(&["exec", "c", "ps", "-o", "stat,args"]).ok();
        (!list.contains('Z')).then_some(())
    });
    host.mydocker(&["stop", "-t", "60", "c"]).ok();
    assert_eq!(state(&host, "c")["ExitCode"], 9);
    // A terminal's keys reach the command, which is in the foreground of it.
    let words = ["run", "--rm", "--init", "-it", "--net", "none", &host.image, "sh", "-c"];
    let script = "trap 'echo interrupted; exit 5' INT; echo ready; while :; do sleep 0.02; done";
    let mut terminal = host.command(&[&words[..], &[script]].concat()).on_a_terminal().start_in(&host.space);
    terminal.wait_for("ready");
    terminal.say("\x03");
    let output = terminal.wait();
    assert!(output.stdout.contains("interrupted") && output.code() == 5, "{output}");
    host.mydocker(&["rm", "c"]).ok();
    host.assert_nothing_left();
}

#[test]
fn two_hundred_containers_leave_nothing() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    let names: Vec<String> = (0..200).map(|number| format!("c{number}")).collect();
    // Four at a time, as a busy machine would.
    std::thread::scope(|scope| {
        for names in names.chunks(50) {
            let host = &host;
            scope.spawn(move || {
                for (at, name) in names.iter().enumerate() {
                    let network = if at % 10 == 0 { "front" } else { "none" };
                    let words =
                        ["run", "-d", "--name", name, "--net", network, &host.image, "sleep", "100000"];
                    host.mydocker(&words).ok();
                }
            });
        }
    });
    assert_eq!(host.mydocker(&["ps", "-q"]).ok().lines().count(), 200);
    std::thread::scope(|scope| {
        for names in names.chunks(50) {
            let host = &host;
            scope.spawn(move || {
                for names in names.chunks(10) {
                    let names: Vec<&str> = names.iter().map(String::as_str).collect();
                    host.mydocker(&[&["stop", "-t", "0"], &names[..]].concat()).ok();
                    host.mydocker(&[&["rm"], &names[..]].concat()).ok();
                }
            });
        }
    });
    assert_eq!(host.mydocker(&["ps", "-aq"]).ok(), "");
    host.mydocker(&["network", "remove", "front"]).ok();
    host.assert_nothing_left();
}
