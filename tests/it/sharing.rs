//! What containers have in common with one another or with the host: process ids, IPC, mounts that are handed on.

use crate::host::Host;
use crate::program::eventually;

/// Refused by `run`: mydocker itself failed, or wrong usage.
const REFUSED: &[i32] = &[125];

/// A container in the background without a network.
fn start(host: &Host, name: &str, options: &[&str], command: &[&str]) {
    let fixed = ["run", "-d", "--name", name, "--net", "none"];
    host.mydocker(&[&fixed[..], options, &[&host.image], command].concat()).ok();
}

fn link(host: &Host, container: &str, kind: &str) -> String {
    host.mydocker(&["exec", container, "busybox", "readlink", &format!("/proc/self/ns/{kind}")]).ok()
}

#[test]
fn a_container_sees_the_processes_of_the_one_that_it_was_put_to() {
    let host = Host::new();
    start(&host, "owner", &[], &["sleep", "100000"]);
    let share = ["--net", "none", "--pid", "container:owner"];
    let seen = host.run(&share, &["sh", "-c", "echo $$; ps -o pid,args"]).ok();
    let own: i32 = seen.lines().next().and_then(|line| line.parse().ok()).expect("its own pid");
    assert!(own > 1 && seen.contains("sleep 100000"), "{seen}");
    // Those of the host and of other containers it does not see.
    start(&host, "other", &[], &["sleep", "77777"]);
    let all =
        host.run(&share, &["sh", "-c", "cat /proc/1/cmdline; echo; cd /proc; echo [0-9]*; ps -o args"]).ok();
    let all = all.replace('\0', " ");
    assert!(all.starts_with("sleep 100000") && !all.contains("77777") && !all.contains("supervise"), "{all}");
    assert!(all.lines().nth(1).is_some_and(|pids| pids.split(' ').count() < 6), "{all}");
    host.mydocker(&["rm", "-f", "other"]).ok();
    // It may end them, and is what it is itself: its mounts and its name are its own.
    start(&host, "guest", &["--pid", "container:owner", "--hostname", "guest"], &["sleep", "99999"]);
    assert_eq!(link(&host, "guest", "pid"), link(&host, "owner", "pid"));
    for kind in ["mnt", "uts", "ipc", "cgroup"] {
        assert_ne!(link(&host, "guest", kind), link(&host, "owner", kind), "{kind}");
    }
    assert!(host.mydocker(&["exec", "guest", "ps", "-o", "args"]).ok().contains("sleep 100000"));
    assert!(host.mydocker(&["exec", "owner", "ps", "-o", "args"]).ok().contains("sleep 99999"));
    let status = host.mydocker(&["exec", "guest", "cat", "/proc/self/status"]).ok();
    assert!(status.contains("Seccomp:\t2"), "{status}");
    // One more, by way of the guest, and what is hidden is hidden from it as from all.
    let third = ["--net", "none", "--pid", "container:guest"];
    let seen = host
        .run(&third, &["sh", "-c", "ps -o args; cat /proc/kcore | wc -c; echo 1 >/proc/sys/kernel/panic"]);
    assert!(seen.stdout.contains("sleep 100000") && seen.stdout.contains("sleep 99999"), "{seen}");
    assert!(seen.stdout.ends_with("0\n") && seen.stderr.contains("Read-only"), "{seen}");
    // A terminal, a shell that leads a session, an exit status: all as ever.
    assert_eq!(host.run(&share, &["sh", "-c", "exit 7"]).code(), 7);
    host.run(&share, &["nosuch"]).refused(&[127], &["nosuch"]);
    // The first one's end is that of the namespace, and of all in it.
    host.mydocker(&["kill", "owner"]).ok();
    eventually("the guest to end", || (host.inspect("guest")["State"]["Running"] == false).then_some(()));
    assert_eq!(host.inspect("guest")["State"]["ExitCode"], 137);
    host.run(&share, &["true"]).refused(REFUSED, &["owner", "not running"]);
    host.mydocker(&["rm", "-f", "owner", "guest"]).ok();
    host.assert_nothing_left();
}

#[test]
fn who_may_mount_cannot_lend_another_view_of_processes() {
    let host = Host::new();
    for (number, mounts) in [
        "mount -t tmpfs none /proc",
        "mount -t tmpfs none /proc; mkdir -p /proc/1/ns; ln -s /x /proc/1/ns/pid",
        "mount --bind /proc/1 /proc",
        "mount --bind /host /proc",
    ]
    .iter()
    .enumerate()
    {
        let name = format!("owner{number}");
        let script = format!("{mounts}; echo done >/tmp/done; exec sleep 100000");
        start(&host, &name, &["--privileged", "-v", "/proc:/host"], &["busybox", "sh", "-c", &script]);
        eventually("the mount", || {
            let looked = host.mydocker(&["exec", &name, "cat", "/tmp/done"]);
            (looked.stdout == "done\n").then_some(())
        });
        let share = ["--net", "none", "--pid", &format!("container:{name}")];
        host.run(&share, &["true"]).refused(&[125, 126], &["/proc"]);
        host.mydocker(&["rm", "-f", &name]).ok();
    }
    host.assert_nothing_left();
}

#[test]
fn shared_memory_is_shared_by_who_wants_it_with_whom_it_was_put_to() {
    let host = Host::new();
    start(&host, "owner", &["--ipc", "shareable", "--shm-size", "3m"], &["sleep", "100000"]);
    host.mydocker(&["exec", "owner", "sh", "-c", "echo hello > /dev/shm/file"]).ok();
    let share = ["--net", "none", "--ipc", "container:owner"];
    assert_eq!(host.run(&share, &["cat", "/dev/shm/file"]).ok(), "hello");
    let size = "busybox df -k /dev/shm | busybox tail -n 1 | busybox awk '{ print $2 }'";
    assert_eq!(host.run(&share, &["sh", "-c", size]).ok(), "3072");
    start(&host, "guest", &["--ipc", "container:owner"], &["sleep", "100000"]);
    assert_eq!(link(&host, "guest", "ipc"), link(&host, "owner", "ipc"));
    // Who did not ask for it has its own, and keeps it.
    start(&host, "other", &[], &["sleep", "100000"]);
    assert_ne!(link(&host, "other", "ipc"), link(&host, "owner", "ipc"));
    assert_eq!(host.run(&["--net", "none"], &["ls", "/dev/shm"]).ok(), "");
    host.run(&["--net", "none", "--ipc", "container:other"], &["true"])
        .refused(REFUSED, &["other", "non-shareable IPC"]);
    // What was written there is still there for the last one.
    host.mydocker(&["rm", "-f", "owner"]).ok();
    assert_eq!(host.mydocker(&["exec", "guest", "cat", "/dev/shm/file"]).ok(), "hello");
    host.mydocker(&["rm", "-f", "guest", "other"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_container_may_have_no_shared_memory_at_all() {
    let host = Host::new();
    let none = ["--net", "none", "--ipc", "none"];
    let count = "grep -c ' /dev/shm ' /proc/self/mountinfo; ls /dev | grep -c shm";
    assert_eq!(host.run(&none, &["sh", "-c", &format!("{count}; true")]).ok(), "0\n0");
    host.assert_nothing_left();
}

/// A directory of the host that is a mount of its own in the host's namespace of mounts.
fn mount(host: &Host, name: &str, propagation: &str) -> String {
    let directory = host.scratch(name).to_str().expect("a plain path").to_owned();
    host.space.ok(&["mount", "-t", "tmpfs", "tmpfs", &directory]);
    host.space.ok(&["mount", &format!("--make-{propagation}"), &directory]);
    std::thread::scope(|scope| {
        let make = || host.space.ok(&["mkdir", &format!("{directory}/sub")]);
        scope.spawn(make).join().expect("a directory")
    });
    directory
}

#[test]
fn mounts_are_handed_on_in_the_directions_that_were_asked_for() {
    let host = Host::new();
    let shared = mount(&host, "shared", "shared");
    let bind = |propagation: &str| format!("{shared}:/d:{propagation}");
    for (name, propagation) in [("private", "rprivate"), ("slave", "rslave"), ("shared", "rshared")] {
        start(&host, name, &["--privileged", "-v", &bind(propagation)], &["sleep", "100000"]);
    }
    let below = format!("{shared}/sub");
    host.space.ok(&["mount", "-t", "tmpfs", "tmpfs", &below]);
    host.space.ok(&["touch", &format!("{below}/of-the-host")]);
    let seen = |name: &str| host.mydocker(&["exec", name, "ls", "/d/sub"]).ok();
    assert_eq!(
        (seen("private"), seen("slave"), seen("shared")),
        ("".into(), "of-the-host".into(), "of-the-host".into())
    );
    host.space.ok(&["umount", &below]);
    // The other way round only where both directions were asked for.
    for name in ["slave", "shared"] {
        let script = "mount -t tmpfs tmpfs /d/sub && touch /d/sub/of-the-container";
        host.mydocker(&["exec", name, "sh", "-c", script]).ok();
        let on_the_host = host.space.ok(&["ls", &below]);
        assert_eq!(on_the_host, if name == "shared" { "of-the-container" } else { "" }, "{name}");
    }
    host.space.ok(&["umount", &below]);
    host.mydocker(&["rm", "-f", "private", "slave", "shared"]).ok();
    host.space.ok(&["umount", &shared]);
    host.assert_nothing_left();
}

#[test]
fn a_mount_that_hands_nothing_on_cannot_be_asked_to() {
    let host = Host::new();
    let private = mount(&host, "private", "private");
    for (propagation, wanted) in
        [("rshared", "not a shared mount"), ("rslave", "not a shared or slave mount")]
    {
        let option = format!("{private}:/d:{propagation}");
        host.run(&["--net", "none", "-v", &option], &["true"]).refused(REFUSED, &[&private, wanted]);
    }
    host.run(&["--net", "none", "-v", &format!("{private}:/d:rprivate")], &["true"]).ok();
    host.space.ok(&["umount", &private]);
    host.assert_nothing_left();
}
