//! What `boot` brings back after a reboot, and what it leaves; and the units that call it.

use std::collections::BTreeSet;

use crate::host::Host;
use crate::program::eventually;

/// What a reboot leaves: no process, no mount, no network, nothing that does not survive one; and another boot.
pub(crate) fn reboot(host: &Host) {
    host.clean_up();
    let bridges = "for link in $(ls /sys/class/net); do test -d /sys/class/net/$link/bridge && ip link delete $link; done";
    host.space.ok(&["sh", "-c", &format!("nft flush ruleset; rm -rf /run/netns; {bridges}; true")]);
    if host.run_root.exists() {
        std::fs::remove_dir_all(&host.run_root).expect("the run directory");
    }
    let boot = host.scratch("boot").join("id");
    std::fs::write(&boot, "01234567-89ab-cdef-0123-456789abcdef\n").expect("another boot's id");
    host.space.ok(&[
        "mount",
        "--bind",
        boot.to_str().expect("a plain path"),
        "/proc/sys/kernel/random/boot_id",
    ]);
}

/// Starts a container that sleeps, with these options.
fn start(host: &Host, name: &str, options: &[&str]) {
    let words = ["run", "-d", "--name", name, "--stop-timeout", "0"];
    host.mydocker(&[&words[..], options, &[&host.image, "sleep", "100000"]].concat()).ok();
}

fn running(host: &Host) -> BTreeSet<String> {
    host.mydocker(&["ps", "--format", "{{.Names}}"]).ok().lines().map(str::to_owned).collect()
}

fn names<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

#[test]
fn after_a_reboot_what_is_always_to_run_comes_back_and_nothing_else() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    start(&host, "plain", &["--net", "none"]);
    start(&host, "failing", &["--net", "none", "--restart", "on-failure"]);
    start(&host, "always", &["--net", "front", "-p", "8080:80", "--restart", "always"]);
    start(&host, "always-stopped", &["--net", "none", "--restart", "always"]);
    start(&host, "unless", &["--net", "none", "--restart", "unless-stopped"]);
    start(&host, "unless-stopped", &["--net", "none", "--restart", "unless-stopped"]);
    start(&host, "unless-killed", &["--net", "none", "--restart", "unless-stopped"]);
    let never =
        ["create", "--name", "never", "--net", "none", "--restart", "always", &host.image, "sleep", "1"];
    host.mydocker(&never).ok();
    host.mydocker(&["stop", "always-stopped", "unless-stopped"]).ok();
    host.mydocker(&["kill", "unless-killed"]).ok();
    // One that was stopped and started again was not stopped.
    host.mydocker(&["restart", "unless"]).ok();
    reboot(&host);
    assert_eq!(running(&host), names([]));
    let told = host.mydocker(&["boot"]).ok();
    assert_eq!(told.lines().count(), 3, "{told}");
    assert_eq!(running(&host), names(["always", "always-stopped", "unless"]));
    assert_eq!(host.published().len(), 1, "{:?}", host.published());
    // Once more: they run already.
    assert_eq!(host.mydocker(&["boot"]).ok(), "");
    host.mydocker(&["rm", "-f", "plain", "failing", "always", "always-stopped", "unless", "never"]).ok();
    host.mydocker(&["rm", "-f", "unless-stopped", "unless-killed"]).ok();
    host.mydocker(&["network", "rm", "front"]).ok();
    host.assert_nothing_left();
}

/// Starts all that can be started. One fails, because of its directory `gone`.
fn boot_without_the_broken_one(host: &Host) {
    let output = host.mydocker(&["boot"]);
    assert!(output.code() == 1 && output.stderr.contains("/gone on /data"), "{output}");
}

#[test]
fn one_that_cannot_be_started_holds_up_nobody_and_owners_come_first() {
    let host = Host::new();
    let always = ["--restart", "always", "--net"];
    start(&host, "owner", &[&always[..], &["none", "--ipc", "shareable"]].concat());
    start(&host, "joins", &[&always[..], &["container:owner", "--ipc", "container:owner"]].concat());
    start(&host, "second", &[&always[..], &["none", "--pid", "container:joins"]].concat());
    let gone = host.scratch("gone");
    let mount = format!("type=bind,src={},dst=/data", gone.display());
    start(&host, "broken", &[&always[..], &["none", "--mount", &mount]].concat());
    start(&host, "fine", &[&always[..], &["none"]].concat());
    reboot(&host);
    std::fs::remove_dir(&gone).unwrap();
    boot_without_the_broken_one(&host);
    assert_eq!(running(&host), names(["owner", "joins", "second", "fine"]));
    // All end, who joins others first, and none of them by the user's wish.
    let ended = host.mydocker(&["boot", "--stop"]).ok();
    assert_eq!(ended.lines().count(), 4, "{ended}");
    assert_eq!(running(&host), names([]));
    eventually("the ends of their supervisors", || host.supervisors().is_empty().then_some(()));
    boot_without_the_broken_one(&host);
    assert_eq!(running(&host), names(["owner", "joins", "second", "fine"]));
    host.mydocker(&["rm", "-f", "second", "joins", "owner", "broken", "fine"]).ok();
    host.assert_nothing_left();
}

#[test]
fn before_the_host_goes_down_all_are_stopped_and_those_come_back_that_the_user_wants() {
    let host = Host::new();
    let script = "trap 'exit 7' TERM; echo up; while :; do sleep 0.02; done";
    let words =
        ["run", "-d", "--name", "polite", "--net", "none", "--restart", "unless-stopped", &host.image];
    host.mydocker(&[&words[..], &["sh", "-c", script]].concat()).ok();
    start(&host, "plain", &["--net", "none"]);
    // Between two runs.
    let words =
        ["run", "-d", "--name", "again", "--net", "none", "--restart", "always", &host.image, "false"];
    host.mydocker(&words).ok();
    eventually("a long wait", || (host.inspect("again")["RestartCount"].as_u64() > Some(3)).then_some(()));
    eventually("its traps", || (host.mydocker(&["logs", "polite"]).stdout == "up\n").then_some(()));
    host.mydocker(&["boot", "--stop"]).ok();
    assert_eq!(running(&host), names([]));
    assert_eq!(host.inspect("polite")["State"]["ExitCode"], 7);
    reboot(&host);
    host.mydocker(&["boot"]).ok();
    assert!(running(&host).is_superset(&names(["polite"])) && !running(&host).contains("plain"));
    assert!(host.inspect("again")["RestartCount"].as_u64().is_some());
    host.mydocker(&["rm", "-f", "polite", "plain", "again"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_unit_for_one_container_calls_this_very_binary_for_these_directories() {
    let host = Host::new();
    let words =
        ["create", "--name", "web", "--net", "none", "--restart", "on-failure", &host.image, "sh", "-c"];
    host.mydocker(&[&words[..], &["echo ran; exit 3"]].concat()).ok();
    let unit = host.mydocker(&["generate", "unit", "web"]).ok();
    assert!(
        unit.contains("\nRestart=on-failure\n") && unit.contains("\nWantedBy=multi-user.target"),
        "{unit}"
    );
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("a command");
    assert!(
        line.contains(host.root.to_str().unwrap()) && line.contains(host.run_root.to_str().unwrap()),
        "{line}"
    );
    host.mydocker(&["update", "--restart", "no", "web"]).ok();
    assert!(host.mydocker(&["generate", "unit", "web"]).ok().contains("\nRestart=no\n"));
    // As a service manager executes it: in the foreground, with the container's status.
    let output = host.space.program(&line.split(' ').collect::<Vec<_>>());
    assert_eq!((output.code(), output.stdout.as_str()), (3, "ran\n"));
    host.mydocker(&["generate", "unit", "nobody"]).refused(&[1], &["nobody"]);
    host.mydocker(&["rm", "web"]).ok();
    host.assert_nothing_left();
}
