//! Clients and supervisors that are killed: the container is seen as it is, and nothing is left for good.

use nix::sys::signal::Signal;

use crate::host::Host;
use crate::program::{Program, eventually};

const LOOP: &str = "echo up; while :; do sleep 0.02; done";

/// A foreground run of a shell command.
fn words<'a>(host: &'a Host, options: &[&'a str], script: &'a str) -> Vec<&'a str> {
    [&["run", "--name", "c", "--net", "none"], options, &[&host.image, "sh", "-c", script]].concat()
}

fn is_running(host: &Host) -> bool {
    host.inspect("c")["State"]["Running"] == true
}

#[test]
fn a_container_survives_its_clients_end() {
    let host = Host::new();
    for options in [&[][..], &["-i"], &["--rm"]] {
        let script = "echo up; while ! test -e /tmp/go; do sleep 0.02; done; echo went";
        let client = host.start(&words(&host, options, script));
        client.wait_for("up");
        client.signal(Signal::SIGKILL);
        drop(client.wait());
        assert!(is_running(&host), "{options:?}");
        let waiting = host.start(&["wait", "c"]);
        host.let_go("c");
        // The wait may have come too late for one that removes itself.
        let code = waiting.wait();
        if options == ["--rm"] {
            eventually("it to go", || (!host.mydocker(&["inspect", "c"]).status.success()).then_some(()));
        } else {
            assert_eq!(code.ok(), "0");
            assert_eq!(host.mydocker(&["logs", "c"]).stdout, "up\nwent\n");
            host.mydocker(&["rm", "c"]).ok();
        }
    }
    host.assert_nothing_left();
}

#[test]
fn a_client_whose_output_nobody_reads_ends_and_the_container_goes_on() {
    let host = Host::new();
    let script = "seq 1 100; while ! test -e /tmp/go; do echo more; sleep 0.02; done";
    let mydocker = env!("CARGO_BIN_EXE_mydocker");
    let pipe = format!("{mydocker} run --name c --net none {} sh -c '{script}' | head -n 3", host.image);
    let output = host.program(&["sh", "-c", &pipe]).run_in(&host.space);
    assert_eq!(output.ok(), "1\n2\n3");
    assert!(is_running(&host));
    host.let_go("c");
    assert_eq!(host.mydocker(&["wait", "c"]).ok(), "0");
    assert!(host.mydocker(&["logs", "c"]).stdout.starts_with("1\n2\n3\n4\n"));
    host.mydocker(&["rm", "c"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_start_whose_client_is_killed_is_finished_or_never_begun() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    for round in 0..12_u64 {
        let words = ["run", "--name", "c", "--net", "front", "-p", "8080:80", &host.image, "sleep", "1000"];
        let client = host.start(&words);
        std::thread::sleep(std::time::Duration::from_millis(round * 4));
        client.signal(Signal::SIGKILL);
        drop(client.wait());
        // Created, running, or not there at all; whatever it is, it can be removed.
        eventually("a state to stay in", || {
            let listed = host.mydocker(&["ps", "-a", "--format", "json"]).rows();
            let states: Vec<&str> =
                listed.as_array()?.iter().filter_map(|row| row["State"].as_str()).collect();
            match states[..] {
                [] => Some(()),
                ["created" | "running" | "exited"] => {
                    let removed = host.mydocker(&["rm", "-f", "c"]);
                    removed.status.success().then_some(())
                }
                _ => None,
            }
        });
    }
    eventually("nobody who is still starting it", || host.published().is_empty().then_some(()));
    host.mydocker(&["network", "remove", "front"]).ok();
    host.assert_nothing_left_but_temporary_files(crate::leftovers::Scope::All);
}

#[test]
fn a_container_whose_supervisor_was_killed_is_seen_and_cleaned_up_by_every_command() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    for (command, answer) in [
        (&["ps", "-aq"][..], None),
        (&["wait", "c"], Some("137")),
        (&["stop", "c"], Some("c")),
        (&["logs", "-f", "c"], Some("up")),
        (&["rm", "-f", "c"], Some("c")),
        (&["restart", "c"], Some("c")),
    ] {
        let run =
            ["run", "-d", "--name", "c", "--net", "front", "-p", "8080:80", &host.image, "sh", "-c", LOOP];
        let id = host.mydocker(&run).ok();
        eventually("its output", || (host.mydocker(&["logs", "c"]).stdout == "up\n").then_some(()));
        let followers = [host.start(&["logs", "-f", "c"]), host.start(&["wait", "c"])];
        assert!(host.kill_supervisors() >= 1);
        let [log, wait] = followers.map(|follower| follower.wait());
        assert_eq!(log.ok(), "up");
        assert_eq!(wait.ok(), "137");
        let output = host.mydocker(command).ok();
        match answer {
            Some(answer) => assert_eq!(output, answer, "{command:?}"),
            None => assert!(id.starts_with(&output) && !output.is_empty(), "{output}"),
        }
        if command[0] != "rm" {
            let status = host.inspect("c")["State"]["Status"].clone();
            assert_eq!(status, if command[0] == "restart" { "running" } else { "exited" }, "{command:?}");
            if status == "exited" {
                let listed = host.mydocker(&["ps", "-a", "--format", "{{.Status}}"]).ok();
                assert!(listed.starts_with("Exited (137) ") && listed.ends_with(" ago"), "{listed}");
                assert_ne!(host.inspect("c")["State"]["FinishedAt"], "0001-01-01T00:00:00Z");
            }
            host.mydocker(&["rm", "-f", "c"]).ok();
        }
        host.assert_no_container_left();
    }
    host.mydocker(&["network", "remove", "front"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_creation_that_is_killed_leaves_no_record_without_a_name() {
    let host = Host::new();
    for round in 0..12_u64 {
        let client = host.start(&["create", "--name", "c", "--net", "none", &host.image, "true"]);
        std::thread::sleep(std::time::Duration::from_millis(round));
        client.signal(Signal::SIGKILL);
        drop(client.wait());
        let listed = host.mydocker(&["ps", "-aq"]).ok();
        // What is listed has its name.
        if listed.is_empty() {
            host.mydocker(&["inspect", "c"]).refused(&[1], &["c"]);
        } else {
            host.mydocker(&["rm", "c"]).ok();
        }
    }
    let records = std::fs::read_dir(host.root("containers")).map_or(0, |entries| {
        entries.flatten().filter(|entry| entry.path().join("config.json").exists()).count()
    });
    assert_eq!(records, 0);
}

#[test]
fn what_another_container_has_by_now_is_left_to_it() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    let first = host.container("first", "front", &[]);
    let id = first.id.clone();
    drop(first);
    assert!(host.kill_supervisors() >= 1);
    // Its device goes with its namespace, and the name is free for somebody else's.
    host.space.ok(&["umount", "-l", &format!("/run/netns/{id}")]);
    let device = &id[..5];
    eventually("the device to go", || (!crate::host::devices(&host.space).contains(device)).then_some(()));
    let second = host.container("second", "front", &[]);
    // As if it had an id that begins as the first one's.
    let own = &second.id[..5];
    host.space.ip(&format!("link set {own} down\nlink set {own} name {device}\nlink set {device} up\n"));
    let endpoint = host.run_root("network/endpoints/front").join(second.address.to_string());
    let text = std::fs::read_to_string(&endpoint).unwrap();
    let renamed = text.replace(&format!("\"host_if\":\"{own}\""), &format!("\"host_if\":\"{device}\""));
    assert_ne!(text, renamed);
    std::fs::write(&endpoint, renamed).unwrap();
    host.mydocker(&["rm", "first"]).ok();
    let link = host.ip_json(&["link", "show", device]);
    assert_eq!(link[0]["master"], "front", "{link}");
    drop(second);
}

#[test]
fn supervisors_know_nothing_of_their_callers_environment() {
    let host = Host::new();
    let words = ["run", "-d", "--name", "c", "--net", "none", &host.image, "sleep", "1000"];
    let arguments: Vec<&str> = [env!("CARGO_BIN_EXE_mydocker")].into_iter().chain(words).collect();
    Program::new(&arguments)
        .environment("MYDOCKER_ROOT", host.root.to_str().unwrap())
        .environment("MYDOCKER_RUN_ROOT", host.run_root.to_str().unwrap())
        .environment("SECRET", "of the caller")
        .run_in(&host.space)
        .ok();
    let pid = host.inspect("c")["State"]["Pid"].as_i64().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim();
    assert_eq!(std::fs::read(format!("/proc/{parent}/environ")).unwrap(), b"");
    host.mydocker(&["rm", "-f", "c"]).ok();
    host.assert_nothing_left();
}

/// The first process of a container and all that it is called with, if it is the command itself by now.
fn first_process(host: &Host) -> i32 {
    i32::try_from(host.inspect("c")["State"]["Pid"].as_i64().expect("a pid")).expect("a pid")
}

fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
}

/// Starts a container that does not die with its supervisor: a program of another group has the signal for that cleared
/// by the kernel (prctl(2), `PR_SET_PDEATHSIG`).
fn lasting(host: &Host) -> i32 {
    host.mydocker(&[
        "run",
        "-d",
        "--name",
        "c",
        "--net",
        "none",
        &host.image,
        "/lasting/busybox",
        "sleep",
        "1000",
    ])
    .ok();
    host.mydocker(&["run", "-d", "--name", "plain", "--net", "none", &host.image, "sleep", "1000"]).ok();
    let plain = i32::try_from(host.inspect("plain")["State"]["Pid"].as_i64().expect("a pid")).expect("a pid");
    let init = first_process(host);
    // Only the program itself has the signal cleared.
    eventually("the program", || {
        let words = std::fs::read(format!("/proc/{init}/cmdline")).unwrap_or_default();
        words.starts_with(b"/lasting/busybox").then_some(())
    });
    assert!(host.kill_supervisors() >= 2);
    eventually("the end of one that does", || (!is_alive(plain)).then_some(()));
    assert!(is_alive(init), "it should have outlived its supervisor");
    host.mydocker(&["rm", "-f", "plain"]).ok();
    init
}

#[test]
fn a_container_that_outlives_its_supervisor_is_ended_by_the_next_command() {
    use std::os::unix::fs::{PermissionsExt as _, chown};
    let host = Host::new();
    let program = std::path::Path::new(&host.image).join("lasting/busybox");
    std::fs::create_dir(program.parent().unwrap()).unwrap();
    std::fs::copy(std::path::Path::new(&host.image).join("bin/busybox"), &program).unwrap();
    chown(&program, None, Some(2345)).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o2755)).unwrap();
    crate::program::forget_closed_descriptors();
    for (command, status) in [
        (&["ps"][..], 0),
        (&["ps", "-aq"], 0),
        (&["inspect", "c"], 0),
        (&["start", "c"], 0),
        (&["restart", "c"], 0),
        (&["stop", "c"], 0),
        (&["wait", "c"], 0),
        (&["logs", "c"], 0),
        (&["logs", "-f", "c"], 0),
        (&["port", "c"], 0),
        (&["diff", "c"], 0),
        (&["rename", "c", "c2"], 0),
        (&["attach", "c"], 1),
        (&["kill", "c"], 1),
        (&["top", "c"], 1),
        (&["exec", "c", "true"], 125),
        (&["rm", "c"], 0),
        (&["rm", "-f", "c"], 0),
    ] {
        let init = lasting(&host);
        let output = host.mydocker(command);
        assert_eq!(output.code(), status, "{output}");
        assert!(!is_alive(init), "{command:?} left it running");
        if matches!(command[0], "start" | "restart") {
            assert_ne!(first_process(&host), init);
            assert_eq!(host.inspect("c")["State"]["Running"], true, "{command:?}");
        } else if command[0] != "rm" && command[0] != "rename" {
            let state = host.inspect("c")["State"].clone();
            assert_eq!(
                (&state["Status"], &state["ExitCode"]),
                (&"exited".into(), &137.into()),
                "{command:?}"
            );
        }
        host.mydocker(&["rm", "-f", "c", "c2"]).ok();
        host.assert_no_container_left();
    }
    // Those who follow or wait when it happens learn of it as well.
    host.mydocker(&[
        "run",
        "-d",
        "--name",
        "c",
        "--net",
        "none",
        &host.image,
        "/lasting/busybox",
        "sleep",
        "1000",
    ])
    .ok();
    let followers = [host.start(&["logs", "-f", "c"]), host.start(&["wait", "c"])];
    assert!(host.kill_supervisors() >= 1);
    let [log, wait] = followers.map(|follower| follower.wait());
    assert_eq!((log.ok().as_str(), wait.ok().as_str()), ("", "137"));
    host.mydocker(&["rm", "-f", "c"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_start_right_after_the_supervisor_was_killed_starts() {
    let host = Host::new();
    host.mydocker(&["run", "-d", "--name", "c", "--net", "none", &host.image, "sleep", "1000"]).ok();
    for round in 0..20 {
        let init = first_process(&host);
        assert!(host.kill_supervisors() >= 1);
        assert_eq!(host.mydocker(&["start", "c"]).ok(), "c");
        let state = host.inspect("c")["State"].clone();
        assert_eq!(state["Running"], true, "round {round}: {state}");
        assert_ne!(state["Pid"], init, "round {round}");
    }
    host.mydocker(&["rm", "-f", "c"]).ok();
    host.assert_nothing_left();
}
