//! Health checks: what they find, what is shown of it, what follows; and that they leave nothing and hold up nothing,
//! whatever the container does.

use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::archives::import;
use crate::host::Host;
use crate::limits::everywhere;
use crate::program::eventually;

/// Starts a container that sleeps, with these options.
fn start(host: &Host, name: &str, options: &[&str]) {
    let words = ["run", "-d", "--name", name, "--net", "none"];
    host.mydocker(&[&words[..], options, &[&host.image, "sleep", "100000"]].concat()).ok();
}

fn health(host: &Host, name: &str) -> Value {
    host.inspect(name)["State"]["Health"].clone()
}

fn until(host: &Host, name: &str, status: &str) -> Value {
    eventually(status, || {
        let health = health(host, name);
        (health["Status"] == status).then_some(health)
    })
}

/// How often a container was checked: each check appends a letter to a file.
fn rounds(host: &Host, name: &str) -> usize {
    let output = host.mydocker(&["exec", name, "sh", "-c", "cat /tmp/rounds 2>/dev/null; true"]);
    output.ok().trim().len()
}

/// The processes that the container sees, as the lines of their `stat` files, but for those of this question.
fn processes(host: &Host, name: &str) -> Vec<String> {
    let script =
        "for file in /proc/[0-9]*/stat; do read -r line <$file && echo \"$line\"; done 2>/dev/null; true";
    let output = host.mydocker(&["exec", name, "sh", "-c", script]).ok();
    output.lines().filter(|line| !line.contains("(sh) R")).map(str::to_owned).collect()
}

/// The process of a supervisor's that makes a check, if there is one.
fn checker(supervisor: i32) -> Option<i32> {
    let is_child = |pid: &i32| {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let parent =
            read("stat").rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)?.parse::<i32>().ok());
        parent == Some(supervisor) && read("cmdline").trim_end_matches('\0').ends_with("supervise")
    };
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let mut pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.find(is_child)
}

/// The directories of the control groups for checks.
fn groups(host: &Host, name: &str) -> Vec<PathBuf> {
    let id = host.inspect(name)["Id"].as_str().expect("an id").to_owned();
    everywhere(&format!("/mydocker/{id}/mydocker-health"))
}

#[test]
fn what_a_check_finds_is_shown_everywhere() {
    let host = Host::new();
    let check = "echo looked; test -e /tmp/works";
    let quick = ["--health-interval", "50ms", "--health-retries", "2"];
    start(&host, "web", &[&["--health-cmd", check][..], &quick].concat());
    start(&host, "plain", &[]);
    let unhealthy = until(&host, "web", "unhealthy");
    assert!(unhealthy["FailingStreak"].as_u64() >= Some(2), "{unhealthy}");
    assert_eq!(
        (&unhealthy["Log"][0]["ExitCode"], &unhealthy["Log"][0]["Output"]),
        (&1.into(), &"looked\n".into())
    );
    let listed = |filter: &str| host.mydocker(&["ps", "--format", "{{.Names}}", "-f", filter]).ok();
    assert_eq!((&*listed("health=unhealthy"), &*listed("health=none")), ("web", "plain"));
    assert!(host.mydocker(&["ps"]).ok().contains(" (unhealthy)"));
    assert!(host.inspect("plain")["State"].get("Health").is_none());
    assert_eq!(host.inspect("web")["Config"]["Healthcheck"]["Test"][1], check);
    host.mydocker(&["wait", "--condition", "healthy", "plain"]).refused(&[1], &["plain", "no health check"]);
    let waiting = host.start(&["wait", "--condition", "healthy", "web"]);
    host.mydocker(&["exec", "web", "touch", "/tmp/works"]).ok();
    assert_eq!(waiting.wait().ok(), "healthy");
    let healthy = until(&host, "web", "healthy");
    assert_eq!(healthy["FailingStreak"], 0);
    assert!(host.mydocker(&["ps"]).ok().contains(" (healthy)"));
    // Five results are kept.
    eventually("five results", || (health(&host, "web")["Log"].as_array()?.len() == 5).then_some(()));
    // A new run starts anew; one that has ended is nobody's idea of healthy.
    host.mydocker(&["stop", "-t", "0", "web"]).ok();
    assert_eq!(health(&host, "web")["Status"], "unhealthy");
    host.mydocker(&["wait", "--condition", "healthy", "web"]).refused(&[1], &["web", "not running"]);
    host.mydocker(&["start", "web"]).ok();
    until(&host, "web", "healthy");
    host.mydocker(&["rm", "-f", "web", "plain"]).ok();
    host.assert_nothing_left();
}

#[test]
fn failures_do_not_count_while_a_container_starts() {
    let host = Host::new();
    let check = "echo -n x >>/tmp/rounds; false";
    let times = ["--health-start-period", "1h", "--health-start-interval", "20ms", "--health-interval", "1h"];
    start(&host, "slow", &[&["--health-cmd", check, "--health-retries", "1"][..], &times].concat());
    eventually("some failures", || (rounds(&host, "slow") > 3).then_some(()));
    let state = health(&host, "slow");
    assert_eq!((&state["Status"], &state["FailingStreak"]), (&"starting".into(), &0.into()));
    assert!(host.mydocker(&["ps"]).ok().contains(" (health: starting)"));
    host.mydocker(&["rm", "-f", "slow"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_check_that_forks_and_hangs_leaves_no_process_in_a_hundred_rounds() {
    let host = Host::new();
    let check = "sleep 7000 & (sleep 7000 & sh -c 'sleep 7000 & sleep 7000' &); echo begun; sleep 7000";
    let times = ["--health-interval", "1ms", "--health-timeout", "30ms", "--health-retries", "100"];
    start(&host, "stuck", &[&["--health-cmd", check][..], &times].concat());
    let state = until(&host, "stuck", "unhealthy");
    let last = &state["Log"][4];
    assert_eq!(last["ExitCode"], -1, "{state}");
    assert!(last["Output"].as_str().unwrap().starts_with("Health check exceeded timeout (30ms)"), "{state}");
    // The container's first process reaps nobody: what was left to it would be there for ever.
    let before = processes(&host, "stuck");
    assert!(before.len() < 16, "{before:#?}");
    // Nor does one that ends in time leave any.
    host.mydocker(&["rm", "-f", "stuck"]).ok();
    let check = "sleep 7000 & echo -n x >>/tmp/rounds";
    start(&host, "loose", &["--health-cmd", check, "--health-interval", "1ms"]);
    eventually("some rounds", || (rounds(&host, "loose") > 20).then_some(()));
    let seen = processes(&host, "loose");
    assert!(seen.len() < 8, "{seen:#?}");
    host.mydocker(&["rm", "-f", "loose"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_check_that_is_killed_is_cleared_away_by_the_next() {
    let host = Host::new();
    let check = "sleep 7000 & echo -n x >>/tmp/rounds; sleep 7000";
    start(&host, "hurt", &["--health-cmd", check, "--health-interval", "30ms"]);
    for round in 1..=3 {
        eventually("a check", || (rounds(&host, "hurt") == round).then_some(()));
        let checking = checker(host.supervisors()[0]).expect("the process of the check");
        kill(Pid::from_raw(checking), Signal::SIGKILL).unwrap();
    }
    eventually("one more check", || (rounds(&host, "hurt") == 4).then_some(()));
    let sleeping = processes(&host, "hurt").iter().filter(|line| line.contains("(sleep) S")).count();
    assert_eq!(sleeping, 3, "{:#?}", processes(&host, "hurt"));
    // Without its supervisor there is neither container nor check.
    host.kill_supervisors();
    host.mydocker(&["rm", "-f", "hurt"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_paused_container_is_not_checked() {
    let host = Host::new();
    let check = "echo -n x >>/tmp/rounds";
    start(&host, "still", &["--health-cmd", check, "--health-interval", "20ms", "--health-retries", "1"]);
    until(&host, "still", "healthy");
    host.mydocker(&["pause", "still"]).ok();
    assert!(host.mydocker(&["ps"]).ok().contains(" (Paused)"));
    let last = health(&host, "still")["Log"][4].clone();
    for _ in 0..20 {
        // Each is a process of its own that takes longer than the time between two checks.
        assert_eq!(health(&host, "still")["Status"], "healthy");
    }
    let now = health(&host, "still");
    assert!(now["Log"].as_array().unwrap().iter().all(|result| result["ExitCode"] == 0), "{now}");
    host.mydocker(&["unpause", "still"]).ok();
    eventually("a newer result", || (health(&host, "still")["Log"][4] != last).then_some(()));
    host.mydocker(&["rm", "-f", "still"]).ok();
    // One that is paused while it is checked, and stays so beyond the check's time.
    let check = "echo -n x >>/tmp/rounds; sleep 7000";
    let times = ["--health-interval", "10ms", "--health-timeout", "300ms", "--health-retries", "1"];
    start(&host, "caught", &[&["--health-cmd", check][..], &times].concat());
    let is_checked = || !groups(&host, "caught").is_empty();
    eventually("one that is paused while it is checked, and whose check stays", || {
        host.mydocker(&["pause", "caught"]).ok();
        if is_checked() {
            let supervisor = host.supervisors()[0];
            eventually("the end of the check's process", || checker(supervisor).is_none().then_some(()));
        }
        is_checked().then_some(()).or_else(|| {
            host.mydocker(&["unpause", "caught"]).ok();
            None
        })
    });
    host.mydocker(&["stop", "-t", "0", "caught"]).ok();
    host.mydocker(&["rm", "caught"]).ok();
    host.assert_nothing_left();
}

#[test]
fn output_without_end_is_cut_and_holds_up_nothing() {
    let host = Host::new();
    let check = "while :; do echo 0123456789012345678901234567890123456789; done";
    let times = ["--health-interval", "10ms", "--health-timeout", "2s"];
    start(&host, "loud", &[&["--health-cmd", check][..], &times].concat());
    let output =
        eventually("a result", || health(&host, "loud")["Log"][0]["Output"].as_str().map(str::to_owned));
    assert!(output.ends_with("...") && output.len() < 4200, "{}: {output}", output.len());
    // Nor do bytes that are no text, and words for a terminal are not for the reader's.
    let check = r"printf 'a\377\033[31m'; echo -n x >>/tmp/rounds";
    start(&host, "rude", &["--health-cmd", check, "--health-interval", "10ms"]);
    until(&host, "rude", "healthy");
    assert_eq!(health(&host, "rude")["Log"][0]["Output"], "a\u{fffd}\u{1b}[31m");
    assert!(!host.mydocker(&["inspect", "rude"]).stdout.contains('\u{1b}'));
    host.mydocker(&["rm", "-f", "loud", "rude"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_check_that_cannot_be_run_fails() {
    let host = Host::new();
    import(&host, "noshell", &["-c", "HEALTHCHECK --interval=20ms --retries=1 CMD [\"/no/such\"]"], &[]);
    let words = ["run", "-d", "--name", "c", "--net", "none", "noshell", "sleep", "100000"];
    host.mydocker(&words).ok();
    let state = until(&host, "c", "unhealthy");
    assert_eq!(state["Log"][0]["ExitCode"], -1);
    assert!(state["Log"][0]["Output"].as_str().unwrap().contains("/no/such"), "{state}");
    host.mydocker(&["rm", "-f", "c"]).ok();
    host.mydocker(&["rmi", "noshell"]).ok();
    host.assert_nothing_left();
}

#[test]
fn the_image_says_how_it_is_checked_unless_the_user_does() {
    let host = Host::new();
    import(&host, "checked", &["-c", "HEALTHCHECK --interval=20ms --timeout=7s CMD test -e /tmp/x"], &[]);
    let create = |name: &str, options: &[&str]| {
        let options = &[&["--net", "none"][..], options].concat();
        host.mydocker(&[&["create", "--name", name][..], options, &["checked", "sleep", "1"]].concat()).ok();
        host.inspect(name)["Config"]["Healthcheck"].clone()
    };
    let said = create("as-it-is", &[]);
    assert_eq!((&said["Test"][0], &said["Test"][1]), (&"CMD-SHELL".into(), &"test -e /tmp/x".into()));
    assert_eq!((&said["Interval"], &said["Timeout"]), (&20_000_000.into(), &7_000_000_000_u64.into()));
    let other = create("other", &["--health-interval", "1m", "--health-retries", "9"]);
    assert_eq!((&other["Interval"], &other["Retries"]), (&60_000_000_000_u64.into(), &9.into()));
    assert_eq!(other["Timeout"], 7_000_000_000_u64);
    assert_eq!(create("nothing", &["--no-healthcheck"])["Test"], serde_json::json!(["NONE"]));
    // An image that is made of a container is checked as that one was.
    host.mydocker(&["start", "other"]).ok();
    host.mydocker(&["commit", "other", "again"]).ok();
    let again = host.mydocker(&["image", "inspect", "again"]).json()[0]["Config"]["Healthcheck"].clone();
    assert_eq!(again["Retries"], 9);
    host.mydocker(&["rm", "-f", "as-it-is", "other", "nothing"]).ok();
    host.mydocker(&["rmi", "checked", "again"]).ok();
    for (options, needle) in [
        (&["--no-healthcheck", "--health-cmd", "x"][..], "--no-healthcheck"),
        (&["--health-interval", "1us"], "1ms"),
        (&["--health-timeout", "soon"], "length of time"),
        (&["--health-retries", "-1"], "--health-retries"),
        (&["--health-on-failure", "explode"], "none, kill, restart or stop"),
    ] {
        host.run(options, &["true"]).refused(&[125], &[needle]);
    }
    host.assert_nothing_left();
}

#[test]
fn an_unhealthy_container_is_ended_as_the_user_wants_it() {
    let host = Host::new();
    let script = "trap 'exit 7' TERM; while :; do sleep 0.02; done";
    let quick = ["--health-cmd", "test -e /tmp/works", "--health-interval", "50ms", "--health-retries", "1"];
    let run = |name: &str, options: &[&str]| {
        let words = ["run", "-d", "--name", name, "--net", "none"];
        host.mydocker(&[&words[..], &quick, options, &[&host.image, "sh", "-c", script]].concat()).ok();
    };
    let ended = |name: &str| {
        eventually("its end", || {
            let state = host.inspect(name)["State"].clone();
            (state["Status"] == "exited").then(|| state["ExitCode"].as_i64())
        })
    };
    run("killed", &["--health-on-failure", "kill"]);
    assert_eq!(ended("killed"), Some(137));
    // What its check found is still there.
    assert_eq!(health(&host, "killed")["Log"][0]["ExitCode"], 1);
    run("stopped", &["--health-on-failure", "stop", "--restart", "always"]);
    assert_eq!(ended("stopped"), Some(7));
    run("renewed", &["--health-on-failure", "restart"]);
    eventually("its next run", || (host.inspect("renewed")["RestartCount"].as_u64() > Some(0)).then_some(()));
    host.mydocker(&["stop", "-t", "60", "renewed"]).ok();
    run("policy", &["--health-on-failure", "kill", "--restart", "on-failure"]);
    eventually("its next run", || (host.inspect("policy")["RestartCount"].as_u64() > Some(0)).then_some(()));
    // One that takes its time to end is not checked meanwhile, and comes back all the same.
    let slow = "trap '' TERM; while :; do sleep 0.02; done";
    let options = ["--health-on-failure", "restart", "--stop-timeout", "1"];
    let words = ["run", "-d", "--name", "slow", "--net", "none"];
    host.mydocker(&[&words[..], &quick, &options, &[&host.image, "sh", "-c", slow]].concat()).ok();
    eventually("its next run", || (host.inspect("slow")["RestartCount"].as_u64() > Some(0)).then_some(()));
    host.mydocker(&["rm", "-f", "killed", "stopped", "renewed", "policy", "slow"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_container_cannot_stop_its_checks() {
    let host = Host::new();
    // Whatever appears beside its first process is stopped before it can begin.
    let stops = "while :; do for p in /proc/[0-9]*; do p=${p#/proc/}; [ $p -gt 1 ] && kill -STOP $p; done; done 2>/dev/null";
    let options = ["--health-cmd", "true", "--health-interval", "100ms", "--health-timeout", "1s"];
    let fails = ["--health-retries", "1"];
    let words = ["run", "-d", "--name", "stops", "--net", "none"];
    host.mydocker(&[&words[..], &options, &fails, &[&host.image, "sh", "-c", stops]].concat()).ok();
    let health = until(&host, "stops", "unhealthy");
    let code = &health["Log"].as_array().unwrap().last().unwrap()["ExitCode"];
    // It has not begun in time, or was stopped later and then killed: which of them is a matter of luck.
    assert!(*code == -1 || *code == 137, "{health}");
    host.mydocker(&["rm", "-f", "stops"]).ok();
    host.assert_nothing_left();
}
