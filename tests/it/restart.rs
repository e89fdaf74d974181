//! Restart policies: who comes back, how often, and who does not.

use serde_json::Value;

use crate::host::Host;
use crate::program::eventually;

/// Runs a container without a network in the background that runs a shell command.
#[track_caller]
fn run(host: &Host, name: &str, policy: &str, script: &str) {
    let words =
        ["run", "-d", "--name", name, "--restart", policy, "--net", "none", &host.image, "sh", "-c", script];
    host.mydocker(&words).ok();
}

fn state(host: &Host, name: &str) -> Value {
    host.inspect(name)["State"].clone()
}

fn restarts(host: &Host, name: &str) -> u64 {
    host.inspect(name)["RestartCount"].as_u64().expect("a number")
}

/// Waits until the container has ended and will not come back.
#[track_caller]
fn ended(host: &Host, name: &str) -> Value {
    eventually("the last end", || Some(state(host, name)).filter(|state| state["Status"] == "exited"))
}

#[test]
fn on_failure_comes_back_so_many_times_and_not_after_success() {
    let host = Host::new();
    run(&host, "fails", "on-failure:2", "echo run; exit 4");
    run(&host, "works", "on-failure:2", "echo run; exit 0");
    run(&host, "recovers", "on-failure", "echo run; test -e /tmp/x && exit 0; touch /tmp/x; exit 1");
    run(&host, "no", "no", "echo run; exit 4");
    for (name, code, count) in [("fails", 4, 2), ("works", 0, 0), ("recovers", 0, 1), ("no", 4, 0)] {
        assert_eq!(ended(&host, name)["ExitCode"], code, "{name}");
        assert_eq!(restarts(&host, name), count, "{name}");
        let runs = usize::try_from(count).unwrap() + 1;
        assert_eq!(host.mydocker(&["logs", name]).stdout, "run\n".repeat(runs), "{name}");
    }
    assert_eq!(host.inspect("fails")["HostConfig"]["RestartPolicy"]["MaximumRetryCount"], 2);
    // A user's start begins the count anew.
    host.mydocker(&["start", "fails"]).ok();
    eventually("three more runs", || {
        (host.mydocker(&["logs", "fails"]).stdout.lines().count() == 6).then_some(())
    });
    ended(&host, "fails");
    assert_eq!(restarts(&host, "fails"), 2);
    host.mydocker(&["rm", "fails", "works", "recovers", "no"]).ok();
    host.assert_nothing_left();
}

#[test]
fn always_comes_back_with_the_same_supervisor_until_the_user_ends_it() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    let words = ["run", "-d", "--name", "c", "--restart", "always", "--net", "front", "-p", "8080:80"];
    host.mydocker(&[&words[..], &[&host.image, "sleep", "1000"]].concat()).ok();
    let before = host.supervisors();
    for count in 1..=3 {
        let pid = state(&host, "c")["Pid"].as_i64().unwrap();
        // Not by the user's order: by whatever happens to it.
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap()),
            nix::sys::signal::Signal::SIGKILL,
        )
        .unwrap();
        eventually("the next run", || {
            let now = state(&host, "c");
            (restarts(&host, "c") == count && now["Status"] == "running" && now["Pid"] != pid).then_some(())
        });
        // Until the first process is the command, it looks like the supervisor that it comes from.
        eventually("the same supervisor alone", || (host.supervisors() == before).then_some(()));
        assert_eq!(host.published().len(), 1);
    }
    assert_eq!(host.inspect("c")["NetworkSettings"]["Networks"]["front"]["IPAddress"], "172.18.0.2");
    assert_eq!(host.mydocker(&["exec", "c", "echo", "inside"]).ok(), "inside");
    host.mydocker(&["stop", "-t", "0", "c"]).ok();
    assert_eq!(state(&host, "c")["Status"], "exited");
    eventually("its supervisor's end", || host.supervisors().is_empty().then_some(()));
    host.mydocker(&["start", "c"]).ok();
    assert_eq!(restarts(&host, "c"), 0);
    host.mydocker(&["kill", "c"]).ok();
    assert_eq!(state(&host, "c")["Status"], "exited");
    host.mydocker(&["rm", "c"]).ok();
    host.mydocker(&["network", "remove", "front"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_stop_is_not_lost_whenever_it_comes() {
    let host = Host::new();
    for (round, order) in (0..24).zip(["stop", "kill", "rm"].iter().cycle()) {
        run(&host, "c", "always", "sleep 0.01");
        // Somewhere between its end and its next start, or in the middle of either.
        std::thread::sleep(std::time::Duration::from_millis(round * 13));
        match *order {
            "rm" => host.mydocker(&["rm", "-f", "c"]).ok(),
            // A moment at which it does not run is none for a signal.
            "kill" => {
                eventually("a moment to kill it", || {
                    host.mydocker(&["kill", "c"]).status.success().then_some(())
                });
                host.mydocker(&["wait", "c"]).ok()
            }
            _ => host.mydocker(&["stop", "c"]).ok(),
        };
        // A supervisor tells that all is taken down a little before it ends.
        eventually("nobody who could start it", || host.supervisors().is_empty().then_some(()));
        if *order != "rm" {
            assert_eq!(state(&host, "c")["Status"], "exited", "{order}");
        }
        if *order != "rm" {
            host.mydocker(&["rm", "c"]).ok();
        }
    }
    host.assert_nothing_left();
}

#[test]
fn a_killed_supervisor_restarts_nothing_and_its_container_is_seen_as_it_ended() {
    let host = Host::new();
    run(&host, "c", "always", "exit 6");
    eventually("it to wait for its restart", || {
        (state(&host, "c")["Status"] == "restarting" && restarts(&host, "c") > 2).then_some(())
    });
    assert!(host.kill_supervisors() >= 1);
    let state = ended(&host, "c");
    assert!(state["ExitCode"] == 6 || state["ExitCode"] == 137, "{state}");
    host.mydocker(&["start", "c"]).ok();
    host.mydocker(&["update", "--restart", "no", "c"]).ok();
    assert_eq!(ended(&host, "c")["ExitCode"], 6);
    host.mydocker(&["rm", "c"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_policy_can_be_changed_and_nonsense_is_refused() {
    let host = Host::new();
    run(&host, "c", "no", "while ! test -e /tmp/go; do sleep 0.02; done; echo run; exit 3");
    assert_eq!(host.mydocker(&["update", "--restart", "on-failure:2", "c"]).ok(), "c");
    host.let_go("c");
    assert_eq!(ended(&host, "c")["ExitCode"], 3);
    assert_eq!(restarts(&host, "c"), 2);
    host.mydocker(&["update", "--restart", "no", "nothere"]).refused(&[1], &["nothere"]);
    host.mydocker(&["update", "--restart", "always:3", "c"]).refused(&[125], &["always"]);
    for bad in ["sometimes", "on-failure:x", "always:1"] {
        host.run(&["--restart", bad], &["true"]).refused(&[125], &["--restart", bad]);
    }
    host.run(&["--restart", "always"], &["true"]).refused(&[125], &["--restart always", "--rm"]);
    let words = ["run", "-d", "--rm", "--name", "rm", "--net", "none", &host.image, "sleep", "1000"];
    host.mydocker(&words).ok();
    host.mydocker(&["update", "--restart", "always", "rm"]).refused(&[1], &["always", "--rm"]);
    // Restarted by the user it stays, and goes at its next end.
    host.mydocker(&["restart", "-t", "0", "rm"]).ok();
    assert_eq!(state(&host, "rm")["Status"], "running");
    host.mydocker(&["stop", "-t", "0", "rm"]).ok();
    host.mydocker(&["inspect", "rm"]).refused(&[1], &["rm"]);
    // A run that cannot be started is not tried again.
    let words = ["run", "--restart", "always", "--net", "none", &host.image, "nosuchcommand"];
    host.mydocker(&words).refused(&[127], &["nosuchcommand"]);
    host.mydocker(&["rm", "c"]).ok();
    host.assert_nothing_left();
}
