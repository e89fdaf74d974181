//! Devices: those that every container has, those that are asked for, and no others.

use std::collections::BTreeSet;
use std::os::unix::fs::FileTypeExt as _;

use crate::host::Host;
use crate::program::Output;

#[track_caller]
fn inside(host: &Host, options: &[&str], command: &str) -> Output {
    host.run(&[&["--net", "none"], options].concat(), &["sh", "-c", command])
}

#[test]
fn a_container_has_dockers_devices_and_no_others() {
    let host = Host::new();
    let list = inside(&host, &[], "busybox find /dev -type c -o -type b | busybox sort").ok();
    let expected = "/dev/full\n/dev/null\n/dev/pts/ptmx\n/dev/random\n/dev/tty\n/dev/urandom\n/dev/zero";
    assert_eq!(list, expected);
    let script = "head -c 4 /dev/zero | wc -c; head -c 4 /dev/urandom | wc -c; echo x > /dev/null; (echo x > /dev/full) 2>&1
        busybox readlink /dev/ptmx; busybox readlink /dev/fd";
    let output = inside(&host, &[], script).ok();
    assert!(output.starts_with("4\n4\n") && output.contains("No space left"), "{output}");
    assert!(output.ends_with("pts/ptmx\n/proc/self/fd"), "{output}");
    // A disk cannot be made into one's own: the node is made, and cannot be opened.
    for (kind, numbers) in [("b", "7 0"), ("b", "254 0"), ("c", "1 1"), ("c", "10 229")] {
        let script =
            format!("mknod /tmp/node {kind} {numbers} 2>/dev/null; head -c 1 /tmp/node && echo opened");
        let output = inside(&host, &[], &script);
        assert!(!output.stdout.contains("opened"), "{output}");
    }
    // Nor can the host's kernel be told anything.
    let script =
        "for file in /sys/kernel/profiling /sys/power/state /proc/sys/kernel/panic /proc/sysrq-trigger; do
            (echo 1 > $file) 2>/dev/null && echo wrote $file
        done; true";
    assert_eq!(inside(&host, &[], script).ok(), "");
    host.assert_nothing_left();
}

#[test]
fn a_device_that_is_asked_for_can_be_used_as_far_as_it_was_asked_for() {
    let host = Host::new();
    // The machine's own /dev/null under another name: its number is allowed to every container, so that only
    // the node is new; /dev/kmsg is not.
    assert_eq!(
        inside(
            &host,
            &["--device", "/dev/null:/dev/sub/nothing"],
            "echo x > /dev/sub/nothing && stat -c %t:%T /dev/sub/nothing"
        )
        .ok(),
        "1:3"
    );
    let kmsg = host.scratch("kernel").join("messages");
    host.space.ok(&["mknod", kmsg.to_str().unwrap(), "c", "1", "11"]);
    let device = |access: &str| format!("{}:/dev/kmsg{access}", kmsg.to_str().unwrap());
    let look = "test -c /dev/kmsg && (exec 3</dev/kmsg) && echo read; (exec 3>/dev/kmsg) && echo write; true";
    let run = |options: &[&str]| inside(&host, options, look).stdout;
    assert_eq!(run(&["--device", &device(""), "--privileged"]), "read\nwrite\n");
    assert_eq!(run(&["--device", &device(":w"), "--cap-add", "SYSLOG"]), "write\n");
    // Without a node of its own, but with the right to make one.
    let make = "mknod /tmp/k c 1 11; (exec 3>/tmp/k) && echo write; true";
    assert_eq!(inside(&host, &["--device-cgroup-rule", "c 1:11 rwm"], make).stdout, "write\n");
    assert_eq!(inside(&host, &[], make).stdout, "");
    // All devices below a directory.
    let directory = host.scratch("devices");
    for (name, minor) in [("null", "3"), ("zero", "5")] {
        host.space.ok(&["mknod", directory.join(name).to_str().unwrap(), "c", "1", minor]);
    }
    std::fs::write(directory.join("file"), "").unwrap();
    let option = format!("{}:/dev/all", directory.to_str().unwrap());
    assert_eq!(inside(&host, &["--device", &option], "ls /dev/all").ok(), "null\nzero");
    host.assert_nothing_left();
}

/// The devices right below the machine's /dev that are not the container's own affair.
fn of_the_machine() -> BTreeSet<String> {
    let entries = std::fs::read_dir("/dev").expect("/dev").flatten();
    let devices = entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_char_device() || kind.is_block_device()));
    let mut names: BTreeSet<String> =
        devices.map(|entry| entry.path().to_string_lossy().into_owned()).collect();
    names.remove("/dev/console");
    names.remove("/dev/ptmx");
    names
}

#[test]
fn a_privileged_container_has_the_hosts_devices() {
    let host = Host::new();
    // Devices may come and go meanwhile.
    let before = of_the_machine();
    let output = inside(&host, &["--privileged"], "busybox find /dev -type c -o -type b").ok();
    let found: BTreeSet<String> = output.lines().map(str::to_owned).collect();
    let always: BTreeSet<String> = before.intersection(&of_the_machine()).cloned().collect();
    assert!(always.contains("/dev/null"), "{always:?}");
    assert!(always.is_subset(&found), "{always:?} are not all in {output}");
    host.assert_nothing_left();
}

#[test]
fn what_is_no_device_is_refused() {
    let host = Host::new();
    for (option, value, codes) in [
        ("--device", "null", &[125][..]),
        ("--device", "/dev/null:/etc/null", &[125]),
        ("--device", "/dev/null:/dev/null:x", &[125]),
        ("--device-cgroup-rule", "c 1:3", &[125]),
        ("--device-cgroup-rule", "x 1:3 r", &[125]),
        ("--device", "/dev/no-such-device", &[125]),
        ("--device", "/etc/passwd:/dev/passwd", &[125]),
    ] {
        let refused = host.run(&["--net", "none", option, value], &["true"]);
        refused.refused(codes, &[value.split(':').next().unwrap()]);
    }
    host.assert_nothing_left();
}
