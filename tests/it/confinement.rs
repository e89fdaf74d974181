//! What a container could get at through mydocker itself: descriptors, its executable, its environment.

use crate::host::Host;
use crate::program::Program;

#[test]
fn s15_descriptors_of_the_caller_do_not_reach_the_container() {
    let host = Host::new();
    let binary = env!("CARGO_BIN_EXE_mydocker");
    let list = "ls -l /proc/self/fd | grep -v 'proc/' | grep -c -- '->'";
    host.mydocker(&["run", "-d", "--name", "c", "--net", "none", &host.image, "sleep", "100000"]).ok();
    for command in [
        format!("{binary} run --rm --net none {} sh -c \"{list}\"", host.image),
        format!("{binary} exec c sh -c \"{list}\""),
        format!(
            "LISTEN_FDS=3 LISTEN_PID=$$ exec {binary} run --rm --net none {} sh -c \"{list}\"",
            host.image
        ),
    ] {
        // Directories and files of the host, low and high numbers.
        let script = format!("exec 3</ 4</etc/passwd 7</proc 9</sys; {command}");
        let output = host.program(&["bash", "-c", &script]).run_in(&host.space);
        // Input, output, error output: what else ls has open is below /proc.
        assert_eq!(output.ok(), "3", "{script}");
    }
    // Not a single process of the container has anything of the host's open.
    let open = host.mydocker(&["exec", "c", "sh", "-c", "ls -l /proc/1/fd"]).ok();
    assert!(!open.contains("/etc/passwd") && !open.contains(" -> /sys"), "{open}");
    host.mydocker(&["rm", "-f", "c"]).ok();
    host.assert_nothing_left();
}

#[test]
fn s15_the_executable_cannot_be_overwritten_from_inside() {
    let host = Host::new();
    // A copy: should the attempt succeed, the copy is what is damaged.
    let copy = host.scratch("bin").join("mydocker");
    std::fs::copy(env!("CARGO_BIN_EXE_mydocker"), &copy).unwrap();
    crate::program::forget_closed_descriptors();
    let before = std::fs::read(&copy).unwrap();
    let mydocker = |arguments: &[&str]| {
        let command = [&[copy.to_str().unwrap()], arguments].concat();
        host.program(&command).run_in(&host.space)
    };
    // It has every capability, and looks for a process of ours to join: CVE-2019-5736's attempt.
    let attack = "while :; do for f in /proc/[0-9]*/exe; do \
        case $(busybox readlink $f) in */busybox) ;; ?*) echo seen; (: >> $f) && echo overwritten;; esac; done; done 2>/dev/null";
    let options = [
        "run",
        "-d",
        "--name",
        "c",
        "--net",
        "none",
        "--cap-add",
        "ALL",
        "--security-opt",
        "seccomp=unconfined",
    ];
    mydocker(&[&options[..], &[&host.image, "sh", "-c", attack]].concat()).ok();
    for _ in 0..20 {
        let output = mydocker(&["exec", "c", "true"]);
        assert_eq!(output.code(), 0, "{output}");
    }
    let log = mydocker(&["logs", "c"]).ok();
    assert!(!log.contains("overwritten"), "{log}");
    assert!(before == std::fs::read(&copy).unwrap(), "the executable has changed");
    // A command that is our own executable, as a container's /proc/self/exe would lead to it, is none.
    let output = mydocker(&["exec", "c", "/proc/self/exe", "version"]);
    assert!(output.code() != 0 || !output.stdout.to_lowercase().contains("mydocker"), "{output}");
    mydocker(&["rm", "-f", "c"]).ok();
    host.assert_nothing_left();
}

#[test]
fn the_environment_of_the_caller_stays_outside() {
    let host = Host::new();
    let secret = "SECRET_OF_THE_CALLER";
    let run = |arguments: &[&str]| -> Program { host.command(arguments).environment(secret, "visible") };
    let show = "env; for p in /proc/[0-9]*; do cat $p/environ $p/cmdline; done 2>/dev/null";
    let output = run(&["run", "--rm", "--net", "none", &host.image, "sh", "-c", show]).run_in(&host.space);
    assert!(!output.ok().contains(secret), "{output}");
    run(&["run", "-d", "--name", "c", "--net", "none", &host.image, "sleep", "100000"])
        .run_in(&host.space)
        .ok();
    let output = run(&["exec", "c", "sh", "-c", show]).run_in(&host.space);
    assert!(!output.ok().contains(secret), "{output}");
    // Unless it is asked for by name.
    let output = run(&["exec", "-e", secret, "c", "env"]).run_in(&host.space);
    assert!(output.ok().contains(&format!("{secret}=visible")), "{output}");
    host.mydocker(&["rm", "-f", "c"]).ok();
    host.assert_nothing_left();
}

#[test]
fn s13_calls_that_reach_the_host_are_refused_whatever_the_user() {
    let host = Host::new();
    for (attempt, control) in [
        ("dmesg", None),
        ("date -s 2020-01-01 2>&1 | grep 'not permitted' && false", None),
        ("swapon /tmp", None),
        ("mount -o bind / /tmp", Some("--privileged")),
        ("chroot / true", None),
    ] {
        let output =
            host.run(&["--net", "none"], &["/bin/busybox", "sh", "-c", &format!("/bin/busybox {attempt}")]);
        // The one that Docker's default allows tells that the others were understood.
        assert_eq!(output.code() == 0, attempt.starts_with("chroot"), "{output}");
        if let Some(option) = control {
            let allowed = host.run(
                &["--net", "none", option],
                &["/bin/busybox", "sh", "-c", &format!("/bin/busybox {attempt}")],
            );
            assert_eq!(allowed.code(), 0, "{allowed}");
        }
    }
    host.assert_nothing_left();
}
