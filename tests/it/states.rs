//! The states of a container by Docker's names, and what can be done in which.

use serde_json::Value;

use crate::host::Host;
use crate::program::eventually;

fn status(host: &Host, name: &str) -> String {
    host.inspect(name)["State"]["Status"].as_str().expect("a word").to_owned()
}

/// The number of ticks that a container which counts has written to its log.
fn ticks(host: &Host, name: &str) -> usize {
    host.mydocker(&["logs", name]).stdout.lines().count()
}

#[test]
fn a_paused_container_stands_still_until_it_is_let_go_or_ended() {
    let host = Host::new();
    let words = ["run", "-d", "--name", "c", "--net", "none", &host.image, "sh", "-c"];
    let script = "trap 'exit 9' TERM; while :; do echo tick; sleep 0.01; done";
    host.mydocker(&[&words[..], &[script]].concat()).ok();
    host.mydocker(&["unpause", "c"]).refused(&[1], &["c", "not paused"]);
    for _ in 0..2 {
        assert_eq!(host.mydocker(&["pause", "c"]).ok(), "c");
        let state = host.inspect("c")["State"].clone();
        let seen = [&state["Status"], &state["Paused"], &state["Running"]];
        assert_eq!(seen, [&Value::from("paused"), &true.into(), &true.into()]);
        host.mydocker(&["pause", "c"]).refused(&[1], &["c", "paused"]);
        host.mydocker(&["exec", "c", "true"]).refused(&[125], &["c", "paused"]);
        host.mydocker(&["start", "c"]).refused(&[1], &["c", "paused"]);
        host.mydocker(&["attach", "c"]).refused(&[1], &["c", "paused"]);
        host.mydocker(&["rm", "c"]).refused(&[1], &["c", "paused"]);
        assert_eq!(host.mydocker(&["ps", "-q"]).ok().lines().count(), 1);
        // What was on its way arrives; then nothing comes any more.
        let mut before = ticks(&host, "c");
        eventually("the end of its ticks", || {
            let (was, now) = (before, ticks(&host, "c"));
            before = now;
            (was == now).then_some(())
        });
        assert_eq!(host.mydocker(&["unpause", "c"]).ok(), "c");
        eventually("more ticks", || (ticks(&host, "c") > before).then_some(()));
    }
    // It ends as it would if it had not been paused.
    host.mydocker(&["pause", "c"]).ok();
    host.mydocker(&["stop", "-t", "60", "c"]).ok();
    assert_eq!(host.inspect("c")["State"]["ExitCode"], 9);
    host.mydocker(&["pause", "c"]).refused(&[1], &["c", "not running"]);
    host.mydocker(&["unpause", "c"]).refused(&[1], &["c", "not running"]);
    for end in [&["kill", "c"][..], &["rm", "-f", "c"]] {
        host.mydocker(&["start", "c"]).ok();
        host.mydocker(&["pause", "c"]).ok();
        host.mydocker(end).ok();
    }
    host.assert_nothing_left();
}

#[test]
fn a_paused_container_whose_supervisor_was_killed_is_cleaned_up() {
    let host = Host::new();
    host.mydocker(&["run", "-d", "--name", "c", "--net", "none", &host.image, "sleep", "1000"]).ok();
    host.mydocker(&["pause", "c"]).ok();
    assert!(host.kill_supervisors() >= 1);
    host.mydocker(&["rm", "-f", "c"]).ok();
    host.assert_nothing_left();
}

#[test]
fn the_states_have_dockers_names() {
    let host = Host::new();
    let words = ["create", "--name", "c", "--net", "none", &host.image, "sh", "-c", "exit 2"];
    let id = host.mydocker(&words).ok();
    assert_eq!(status(&host, "c"), "created");
    host.mydocker(&["start", "-a", "c"]).code();
    assert_eq!(status(&host, "c"), "exited");
    let words = ["run", "-d", "--restart", "always", "--name", "r", "--net", "none", &host.image, "true"];
    host.mydocker(&words).ok();
    eventually("it to wait for its restart", || (status(&host, "r") == "restarting").then_some(()));
    host.mydocker(&["rm", "-f", "r"]).ok();
    // A removal that was killed.
    let record = host.root(&format!("containers/{id}/config.json"));
    let mut value: Value = serde_json::from_str(&std::fs::read_to_string(&record).unwrap()).unwrap();
    let nobody = serde_json::json!({ "pid": i32::MAX, "start_time": 1 });
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    value["state"] = serde_json::json!({ "removing": { "remover": nobody, "boot_id": boot.trim() } });
    std::fs::write(&record, value.to_string()).unwrap();
    assert_eq!(status(&host, "c"), "dead");
    host.mydocker(&["start", "c"]).refused(&[1], &["c", "dead"]);
    assert!(host.mydocker(&["ps", "-a"]).ok().contains("Dead"));
    // One that goes on.
    let me = std::fs::read_to_string("/proc/self/stat").unwrap();
    let started: u64 = me.rsplit(')').next().unwrap().split_whitespace().nth(19).unwrap().parse().unwrap();
    let remover = serde_json::json!({ "pid": std::process::id(), "start_time": started });
    value["state"]["removing"]["remover"] = remover;
    std::fs::write(&record, value.to_string()).unwrap();
    assert_eq!(status(&host, "c"), "removing");
    host.mydocker(&["rm", "c"]).refused(&[1], &["c", "removed"]);
    value["state"]["removing"]["remover"] = nobody;
    std::fs::write(&record, value.to_string()).unwrap();
    host.mydocker(&["rm", "c"]).ok();
    host.assert_nothing_left();
}
