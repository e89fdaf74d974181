//! Containers belong to nobody's session: what a service manager, a CI job or a login does to its own processes leaves
//! them alone, and who ends a supervisor in order stops its container.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::host::Host;
use crate::program::{Output, eventually};

/// The groups of a service, in every tree of this machine, as its manager makes them.
struct Service(Vec<PathBuf>);

impl Service {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("mydocker-test-service-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let root = Path::new("/sys/fs/cgroup");
        let trees: Vec<PathBuf> = if root.join("cgroup.procs").exists() {
            vec![root.to_owned()]
        } else {
            let entries = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
            entries.filter(|tree| tree.join("cgroup.procs").exists()).collect()
        };
        let groups: Vec<PathBuf> = trees.iter().map(|tree| tree.join(&name)).collect();
        for group in &groups {
            std::fs::create_dir(group).unwrap();
            for file in ["cpuset.cpus", "cpuset.mems"].iter().filter(|_| group.join("tasks").exists()) {
                if let Ok(value) = std::fs::read_to_string(group.with_file_name(file)) {
                    std::fs::write(group.join(file), value.trim()).unwrap();
                }
            }
        }
        assert!(!groups.is_empty());
        Self(groups)
    }

    /// Runs mydocker in these groups, to its end.
    fn run(&self, host: &Host, arguments: &[&str]) -> Output {
        let script =
            r#"until [ "$1" = -- ]; do echo $$ >"$1/cgroup.procs" || exit 99; shift; done; shift; exec "$@""#;
        let groups: Vec<&str> = self.0.iter().map(|group| group.to_str().unwrap()).collect();
        let words =
            [&["sh", "-c", script, "sh"], &groups[..], &["--", env!("CARGO_BIN_EXE_mydocker")], arguments];
        host.program(&words.concat()).run_in(&host.space)
    }

    /// The processes that its manager would wait for, and kill.
    fn processes(&self) -> Vec<String> {
        let list = |group: &PathBuf| std::fs::read_to_string(group.join("cgroup.procs")).unwrap();
        self.0.iter().flat_map(|group| list(group).lines().map(str::to_owned).collect::<Vec<_>>()).collect()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        for group in &self.0 {
            std::fs::remove_dir(group).ok();
        }
    }
}

fn state(host: &Host, name: &str) -> Value {
    host.inspect(name)["State"].clone()
}

/// The only supervisor there is.
fn supervisor(host: &Host) -> Pid {
    let found = eventually("one supervisor", || <[i32; 1]>::try_from(host.supervisors()).ok());
    Pid::from_raw(found[0])
}

#[test]
fn who_started_a_container_has_none_of_its_processes_in_his_groups() {
    let host = Host::new();
    let service = Service::new();
    let once = "test -e /tmp/go && exec sleep 1000; while ! test -e /tmp/go; do sleep 0.02; done";
    let create = ["create", "--name", "c", "--net", "none", "--restart", "always", &host.image];
    host.mydocker(&[&create[..], &["sh", "-c", once]].concat()).ok();
    service.run(&host, &["start", "c"]).ok();
    assert_eq!(service.processes(), [""; 0]);
    // One that is started again stays where it is, and so does what is run in it by another service.
    let before = state(&host, "c")["Pid"].as_i64();
    host.let_go("c");
    eventually("its next run", || {
        let now = state(&host, "c");
        (now["Status"] == "running" && now["Pid"].as_i64() != before).then_some(())
    });
    service.run(&host, &["exec", "-d", "c", "sleep", "1000"]).ok();
    assert_eq!(service.processes(), [""; 0]);
    for pid in host.supervisors() {
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let elsewhere = groups.lines().find(|line| !line.ends_with(":/mydocker/supervisors"));
        assert_eq!(elsewhere, None, "{groups}");
    }
    // Its groups can be removed, as at its end.
    for group in &service.0 {
        std::fs::remove_dir(group).unwrap();
    }
    assert_eq!(state(&host, "c")["Status"], "running");
    host.mydocker(&["rm", "-f", "c"]).ok();
    host.assert_nothing_left();
}

#[test]
fn the_sigterm_of_a_supervisor_is_a_stop() {
    let host = Host::new();
    let asked = "trap 'exit 7' TERM; echo up; while :; do sleep 0.02; done";
    let deaf = "trap '' TERM; echo up; while :; do sleep 0.02; done";
    let other = "trap 'exit 9' USR1; trap '' TERM; echo up; while :; do sleep 0.02; done";
    for (options, script, paused, code) in [
        (&["--restart", "always"][..], asked, false, 7),
        (&["--restart", "always", "--stop-timeout", "0"], deaf, false, 137),
        (&["--stop-timeout", "1"], deaf, true, 137),
        (&["--restart", "unless-stopped", "--stop-signal", "USR1"], other, false, 9),
        (&["--restart", "always"], asked, true, 7),
    ] {
        let words = ["run", "-d", "--name", "c", "--net", "none"];
        host.mydocker(&[&words[..], options, &[&host.image, "sh", "-c", script]].concat()).ok();
        eventually("its traps", || (host.mydocker(&["logs", "c"]).stdout == "up\n").then_some(()));
        if paused {
            host.mydocker(&["pause", "c"]).ok();
        }
        let waiting = host.start(&["wait", "c"]);
        kill(supervisor(&host), Signal::SIGTERM).unwrap();
        assert_eq!(waiting.wait().ok(), code.to_string(), "{options:?}");
        eventually("its supervisor's end", || host.supervisors().is_empty().then_some(()));
        let now = state(&host, "c");
        assert_eq!((&now["Status"], &now["ExitCode"]), (&"exited".into(), &code.into()), "{options:?}");
        host.mydocker(&["rm", "c"]).ok();
    }
    host.assert_nothing_left();
}

#[test]
fn the_sigterm_of_a_supervisor_counts_whenever_it_comes() {
    let host = Host::new();
    // It waits for longer and longer until the next run.
    let words = ["run", "-d", "--name", "c", "--net", "none", "--restart", "always"];
    host.mydocker(&[&words[..], &[&host.image, "false"]].concat()).ok();
    eventually("a long wait", || (host.inspect("c")["RestartCount"].as_u64() > Some(2)).then_some(()));
    kill(supervisor(&host), Signal::SIGTERM).unwrap();
    eventually("its supervisor's end", || host.supervisors().is_empty().then_some(()));
    assert_eq!(state(&host, "c")["Status"], "exited");
    assert_eq!(state(&host, "c")["ExitCode"], 1);
    // One that is to be removed at its end is.
    let words = ["run", "-d", "--rm", "--name", "gone", "--net", "none", "--stop-timeout", "0"];
    host.mydocker(&[&words[..], &[&host.image, "sleep", "1000"]].concat()).ok();
    kill(supervisor(&host), Signal::SIGTERM).unwrap();
    host.mydocker(&["wait", "gone"]);
    eventually("its removal", || (!host.mydocker(&["inspect", "gone"]).status.success()).then_some(()));
    // The supervisor of a command in a container ends that command, and nothing else.
    let words = ["run", "-d", "--name", "d", "--net", "none", &host.image, "sleep", "1000"];
    host.mydocker(&words).ok();
    let main = supervisor(&host);
    let client = host.start(&["exec", "d", "sleep", "1000"]);
    let second = eventually("the second supervisor", || {
        host.supervisors().into_iter().find(|pid| *pid != main.as_raw() && host.supervisors().len() == 2)
    });
    eventually("its command", || host.mydocker(&["top", "d"]).stdout.matches("sleep").nth(1).map(drop));
    kill(Pid::from_raw(second), Signal::SIGTERM).unwrap();
    assert_eq!(client.wait().code(), 128 + 15);
    assert_eq!(state(&host, "d")["Status"], "running");
    host.mydocker(&["rm", "-f", "c", "d"]).ok();
    host.assert_nothing_left();
}
