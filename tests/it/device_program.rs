//! Which devices can be opened, whatever nodes a container makes: it may make any, with the right to, and opens
//! only what is allowed. In version 1 of control groups the kernel keeps a list for that, in version 2 a program;
//! nothing here knows which.
//!
//! The kernel asks them before it looks for a driver. So a number that no driver has tells the answer without
//! a device: `Operation not permitted` is theirs, `No such device` is what comes after them.

use crate::host::Host;
use crate::program::Output;

/// A number for local use, which nothing has here.
const LOCAL: (&str, &str) = ("60", "77");
const DENIED: &str = "Operation not permitted";

#[track_caller]
fn inside(host: &Host, options: &[&str], command: &str) -> Output {
    host.run(&[&["--net", "none"], options].concat(), &["sh", "-c", command])
}

/// Shell code that tells how a node can be opened: `r`, `w`, both or nothing.
fn probe(node: &str) -> String {
    format!(
        "for way in '<' '>'; do
            text=$( (eval \"exec 3$way{node}\") 2>&1 )
            case $text in *'{DENIED}'*) ;; ''|*'No such device'*) test $way = '<' && printf r || printf w;; *) echo $text;; esac
        done; echo"
    )
}

/// Shell code that makes a node and tells how it can be opened.
fn made(kind: &str, major: &str, minor: &str) -> String {
    format!("mknod /tmp/node {kind} {major} {minor} && {}", probe("/tmp/node"))
}

#[test]
fn what_is_not_allowed_can_be_made_and_not_opened_whatever_the_capabilities() {
    let host = Host::new();
    let nodes = [
        // Memory, kernel memory, ports, messages, a virtual console, a serial line, fuse, loops, disks.
        ("c", "1", "1"),
        ("c", "1", "2"),
        ("c", "1", "4"),
        ("c", "1", "11"),
        ("c", "4", "0"),
        ("c", "4", "64"),
        ("c", "10", "229"),
        ("c", "10", "237"),
        ("c", LOCAL.0, LOCAL.1),
        ("b", "7", "0"),
        ("b", "8", "0"),
        ("b", "254", "0"),
        // As block devices, the numbers of null and zero are nobody's.
        ("b", "1", "3"),
        ("b", "1", "5"),
    ];
    let script: String = nodes
        .iter()
        .map(|(kind, major, minor)| {
            format!("echo {kind} {major}:{minor} $({}; rm -f /tmp/node)\n", made(kind, major, minor))
        })
        .collect();
    let expected: Vec<String> =
        nodes.iter().map(|(kind, major, minor)| format!("{kind} {major}:{minor}")).collect();
    let every = ["--cap-add", "ALL", "--security-opt", "seccomp=unconfined"];
    for options in
        [&[][..], &["--cap-add", "MKNOD", "--cap-add", "SYS_RAWIO"], &["--cap-add", "SYS_ADMIN"], &every]
    {
        assert_eq!(inside(&host, options, &script).ok(), expected.join("\n"), "{options:?}");
    }
    // Wherever the node is: on a file system of the container's own making, and in a volume.
    let own = format!(
        "mount -t tmpfs none /var && mknod /var/node c {} {} && {}",
        LOCAL.0,
        LOCAL.1,
        probe("/var/node")
    );
    assert_eq!(inside(&host, &every, &own).ok(), "");
    let in_volume = own.replace("mount -t tmpfs none /var &&", "");
    let opened = inside(&host, &["-v", "data:/var"], &in_volume).ok();
    // Where the host mounts the volume's file system with `nodev`, as systemd does /tmp, that is asked first.
    assert!(opened.lines().all(|line| line.ends_with("Permission denied")), "{opened}");
    host.mydocker(&["volume", "rm", "data"]).ok();
    // The same script, where nothing is denied, finds that it all can be opened or that there is no driver.
    let free = inside(&host, &["--privileged"], &made("c", LOCAL.0, LOCAL.1)).ok();
    assert_eq!(free, "rw");
    assert_eq!(inside(&host, &["--privileged"], &made("b", LOCAL.0, LOCAL.1)).ok(), "rw");
    // Without the right to make nodes there is none.
    let make = format!("mknod /tmp/node c {} {}", LOCAL.0, LOCAL.1);
    let output = inside(&host, &["--cap-drop", "MKNOD"], &make);
    assert!(output.code() != 0 && output.stderr.contains(DENIED), "{output}");
    host.assert_nothing_left();
}

#[test]
fn the_usual_devices_can_be_used_by_any_node_and_by_exec() {
    let host = Host::new();
    let usual = [("null", "3"), ("zero", "5"), ("full", "7"), ("random", "8"), ("urandom", "9")];
    let script: String = usual
        .iter()
        .map(|(name, minor)| {
            let probed = probe(&format!("/dev/{name}"));
            format!("echo {name} $({probed}) $({}; rm -f /tmp/node)\n", made("c", "1", minor))
        })
        .collect();
    let expected: Vec<String> = usual.iter().map(|(name, _)| format!("{name} rw rw")).collect();
    let denied = made("c", LOCAL.0, LOCAL.1) + "; rm -f /tmp/node";
    assert_eq!(inside(&host, &[], &script).ok(), expected.join("\n"));
    host.mydocker(&["run", "-d", "--name", "c", "--net", "none", &host.image, "sleep", "100000"]).ok();
    let exec = |script: &str| host.mydocker(&["exec", "c", "sh", "-c", script]);
    assert_eq!(exec(&script).ok(), expected.join("\n"));
    assert_eq!(exec(&denied).ok(), "");
    // As any user: it is the modes that say so.
    let as_user =
        inside(&host, &["-u", "1234"], &format!("echo $({}) $({})", probe("/dev/null"), probe("/dev/zero")));
    assert_eq!(as_user.ok(), "rw rw");
    // A new terminal, and the one that is sat at.
    let terminals = format!("echo $({}) $({})", probe("/dev/ptmx"), probe("/dev/tty"));
    let run = ["run", "--rm", "-it", "--net", "none", &host.image, "sh", "-c", &terminals];
    let output = host.command(&run).on_a_terminal().run_in(&host.space);
    assert_eq!(output.ok().trim_end(), "rw rw");
    let exec = ["exec", "-it", "c", "sh", "-c", &terminals];
    assert_eq!(host.command(&exec).on_a_terminal().run_in(&host.space).ok().trim_end(), "rw rw");
    host.mydocker(&["rm", "-f", "c"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_device_that_is_given_can_be_used_as_far_as_it_was_given_by_exec_as_well() {
    let host = Host::new();
    let node = host.scratch("nodes").join("local");
    let node = node.to_str().expect("a plain path");
    host.space.ok(&["mknod", node, "c", LOCAL.0, LOCAL.1]);
    for (access, expected) in
        [("", "rw"), (":rwm", "rw"), (":r", "r"), (":w", "w"), (":rw", "rw"), (":m", "")]
    {
        let option = format!("{node}:/dev/zzz{access}");
        assert_eq!(inside(&host, &["--device", &option], &probe("/dev/zzz")).ok(), expected, "{option}");
        // A node of one's own to the same device is no way around.
        let own = made("c", LOCAL.0, LOCAL.1);
        assert_eq!(inside(&host, &["--device", &option], &own).ok(), expected, "{option}");
        // Only this device was given.
        assert_eq!(inside(&host, &["--device", &option], &made("c", LOCAL.0, "78")).ok(), "", "{option}");
        assert_eq!(inside(&host, &["--device", &option], &made("b", LOCAL.0, LOCAL.1)).ok(), "", "{option}");
    }
    let option = format!("{node}:/dev/zzz:r");
    let run =
        ["run", "-d", "--name", "c", "--net", "none", "--device", &option, &host.image, "sleep", "100000"];
    host.mydocker(&run).ok();
    assert_eq!(host.mydocker(&["exec", "c", "sh", "-c", &probe("/dev/zzz")]).ok(), "r");
    // So it is after a restart, and where limits are changed meanwhile.
    host.mydocker(&["update", "--pids-limit", "100", "c"]).ok();
    assert_eq!(host.mydocker(&["exec", "c", "sh", "-c", &probe("/dev/zzz")]).ok(), "r");
    host.mydocker(&["restart", "-t", "0", "c"]).ok();
    assert_eq!(host.mydocker(&["exec", "c", "sh", "-c", &probe("/dev/zzz")]).ok(), "r");
    host.mydocker(&["rm", "-f", "c"]).ok();
    host.assert_nothing_left();
}

#[test]
fn rules_allow_what_they_say() {
    let host = Host::new();
    for (rules, node, expected) in [
        (&["c 60:77 r"][..], ("c", "60", "77"), "r"),
        (&["c 60:77 w"], ("c", "60", "77"), "w"),
        (&["c 60:77 rwm"], ("c", "60", "77"), "rw"),
        (&["c 60:77 r", "c 60:77 w"], ("c", "60", "77"), "rw"),
        (&["c 60:77 rw"], ("c", "60", "78"), ""),
        (&["c 60:77 rw"], ("b", "60", "77"), ""),
        (&["c 60:* r"], ("c", "60", "1"), "r"),
        (&["c 60:* r"], ("c", "61", "1"), ""),
        (&["c *:77 w"], ("c", "62", "77"), "w"),
        (&["c *:77 w"], ("c", "62", "78"), ""),
        (&["c *:* rwm"], ("c", "63", "9"), "rw"),
        (&["c *:* rwm"], ("b", "63", "9"), ""),
        (&["b 60:77 r"], ("b", "60", "77"), "r"),
        // With anything less than `rwm`, version 1 would take this for `rwm` all the same.
        (&["a *:* rwm"], ("b", "61", "5"), "rw"),
        (&["b 7:0 m"], ("b", "7", "0"), ""),
    ] {
        let options: Vec<&str> = rules.iter().flat_map(|rule| ["--device-cgroup-rule", rule]).collect();
        let (kind, major, minor) = node;
        assert_eq!(inside(&host, &options, &made(kind, major, minor)).ok(), expected, "{rules:?} {node:?}");
    }
    // Many rules at once: each of them counts.
    let rules: Vec<String> = (0..60).map(|minor| format!("c 61:{minor} r")).collect();
    let options: Vec<&str> = rules.iter().flat_map(|rule| ["--device-cgroup-rule", rule]).collect();
    for (minor, expected) in [("0", "r"), ("59", "r"), ("60", "")] {
        assert_eq!(inside(&host, &options, &made("c", "61", minor)).ok(), expected, "{minor}");
    }
    host.assert_nothing_left();
}
