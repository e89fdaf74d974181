//! R13: full and read-only file systems, files that are damaged or not ours. Each is one clear line, and what was there
//! before stays. (A missing or damaged file of addresses is in `ipam`.)

use std::path::Path;

use crate::host::Host;

/// Refused by networks, containers, or the command line.
const REFUSED: &[i32] = &[1, 125];

/// A host whose root directory is a small file system of its own, seen only by itself.
fn with_small_root() -> Host {
    let host = Host::new();
    std::fs::create_dir_all(&host.root).expect("the root directory");
    let root = host.root.to_str().expect("a plain path");
    host.space.ok(&["mount", "-t", "tmpfs", "-o", "size=256k", "none", root]);
    host
}

#[test]
fn r13_a_full_disk_is_told_in_one_line_and_leaves_the_old_state() {
    let host = with_small_root();
    host.network("front", "172.18.0.0/24", &[]);
    let table = host.table();
    let filler = host.root("filler");
    let filler = filler.to_str().expect("a plain path");
    host.space.program(&["dd", "if=/dev/zero", &format!("of={filler}"), "bs=1k", "count=1000"]);
    for arguments in [
        &["network", "create", "back"][..],
        &["network", "remove", "front"],
        &["create", "--name", "web", "--net", "front", &host.image, "true"],
        &["run", "--name", "web", "--net", "front", &host.image, "true"],
    ] {
        let line = host.mydocker(arguments).refused(REFUSED, &["no space left on device"]);
        assert!(line.contains("cannot"), "{line}");
    }
    assert_eq!(host.table(), table);
    assert_eq!(host.mydocker(&["network", "list", "-q"]).ok(), "front");
    assert_eq!(host.mydocker(&["ps", "-aq"]).ok(), "");
    host.inspect_network("front");
    host.space.ok(&["rm", filler]);
    assert_eq!(host.run(&["--net", "front"], &["echo", "again"]).ok(), "again");
    host.mydocker(&["network", "remove", "front"]).ok();
    host.space.ok(&["umount", host.root.to_str().expect("a plain path")]);
    host.assert_nothing_left();
}

#[test]
fn r13_read_only_file_systems_are_told_in_one_line_and_leave_the_old_state() {
    let host = with_small_root();
    host.network("front", "172.18.0.0/24", &[]);
    let root = host.root.to_str().expect("a plain path").to_owned();
    host.space.ok(&["mount", "-o", "remount,ro", &root]);
    for arguments in [
        &["network", "create", "back"][..],
        &["network", "remove", "front"],
        &["run", "--net", "front", &host.image, "true"],
    ] {
        host.mydocker(arguments).refused(REFUSED, &["cannot", "read-only file system"]);
    }
    assert_eq!(host.mydocker(&["network", "list", "-q"]).ok(), "front");
    assert_eq!(host.mydocker(&["ps", "-aq"]).ok(), "");
    host.space.ok(&["mount", "-o", "remount,rw", &root]);
    assert_eq!(host.run(&["--net", "front"], &["echo", "again"]).ok(), "again");
    host.mydocker(&["network", "remove", "front"]).ok();

    // Parameters that cannot be set: forwarding was switched off again with the last network.
    host.space.ok(&["mount", "--bind", "/proc/sys", "/proc/sys"]);
    host.space.ok(&["mount", "-o", "remount,bind,ro", "/proc/sys"]);
    host.mydocker(&["network", "create", "--subnet", "172.18.0.0/24", "front"])
        .refused(REFUSED, &["net/ipv4/ip_forward", "read-only file system"]);
    assert_eq!(host.mydocker(&["network", "list", "-q"]).ok(), "");
    host.space.ok(&["umount", "/proc/sys"]);
    host.space.ok(&["umount", &root]);
    host.assert_nothing_left();
}

#[test]
fn r13_files_that_are_damaged_or_not_ours_are_named_and_never_overwritten() {
    let host = Host::new();
    host.network("front", "172.18.0.0/24", &[]);
    let id = host.mydocker(&["create", "--name", "web", "--net", "front", &host.image, "true"]).ok();
    let archive = host.scratch("archive").join("layer.tar");
    let archive = archive.to_str().expect("a plain path");
    host.space.ok(&["tar", "-C", &host.image, "-cf", archive, "etc"]);
    host.mydocker(&["import", archive, "small"]).ok();
    let record = host.root("containers").join(&id).join("config.json");
    let refused = |path: &Path, contents: &[u8], commands: &[&[&str]]| {
        let whole = std::fs::read(path).expect("the file");
        std::fs::write(path, contents).expect("damage");
        for command in commands {
            host.mydocker(command).refused(REFUSED, &[path.to_str().expect("a plain path")]);
            assert_eq!(std::fs::read(path).expect("the file"), contents, "{command:?}");
        }
        std::fs::write(path, whole).expect("repair");
    };
    for contents in [&b""[..], b"{", b"[]", b"null", b"\xff\xfe", b"{\"version\":99}", b"{\"Version\":99}"] {
        let of_container: &[&[&str]] = &[&["port", "web"], &["start", "web"], &["rm", "web"]];
        refused(&record, contents, of_container);
        let of_network: &[&[&str]] =
            &[&["network", "inspect", "front"], &["network", "remove", "front"], &["network", "reload"]];
        refused(&host.root("network/network/front"), contents, of_network);
        let of_images: &[&[&str]] = &[&["images"], &["tag", "small", "other"], &["rmi", "small"]];
        refused(&host.root("image/repositories.json"), contents, of_images);
    }
    assert_eq!(host.mydocker(&["images", "-q"]).ok().lines().count(), 1);
    host.mydocker(&["rm", "web"]).ok();
    host.mydocker(&["rmi", "small"]).ok();
    host.mydocker(&["network", "remove", "front"]).ok();
    host.assert_nothing_left();
}

/// A host whose root directory is a file system with room for a few containers.
fn with_limited_root(size: &str) -> Host {
    let host = Host::new();
    std::fs::create_dir_all(&host.root).expect("the root directory");
    let root = host.root.to_str().expect("a plain path");
    host.space.ok(&["mount", "-t", "tmpfs", "-o", &format!("size={size}"), "none", root]);
    host
}

/// Takes all room of the root directory, from inside a container, and goes on whenever some becomes free.
const FILL: &str = "while :; do busybox dd if=/dev/zero bs=64k >>/full 2>/dev/null; \
                    busybox dd if=/dev/zero bs=1 >>/full 2>/dev/null; sleep 0.02; done";

#[test]
fn a_container_that_has_filled_the_disk_can_be_stopped_and_removed() {
    let host = with_limited_root("8m");
    host.network("front", "172.18.0.0/24", &[]);
    host.mydocker(&["volume", "create", "spare"]).ok();
    let import = crate::archives::import(&host, "spare:image", &[], &[]);
    assert!(import.starts_with("sha256:"), "{import}");
    let start = |name: &str, command: &[&str]| {
        let words = ["run", "-d", "--name", name, "--net", "none"];
        host.mydocker(&[&words[..], &["--stop-timeout", "0", &host.image], command].concat()).ok();
    };
    for name in ["idle-stopped", "idle-killed", "idle-removed", "idle-ends"] {
        start(name, &["sleep", "100000"]);
    }
    host.mydocker(&["create", "--name", "created", "--net", "none", &host.image, "true"]).ok();
    start("filler", &["sh", "-c", FILL]);
    let is_full = || {
        let path = host.root("probe");
        let written = host.space.program(&[
            "dd",
            "if=/dev/zero",
            &format!("of={}", path.display()),
            "bs=4k",
            "count=1",
        ]);
        host.space.program(&["rm", "-f", path.to_str().expect("a plain path")]);
        (!written.status.success()).then_some(())
    };
    crate::program::eventually("a full disk", is_full);
    host.mydocker(&["stop", "idle-stopped"]).ok();
    host.mydocker(&["kill", "idle-killed"]).ok();
    host.mydocker(&["rm", "-f", "idle-removed"]).ok();
    host.mydocker(&["rm", "created"]).ok();
    // The end of one is written down by its supervisor.
    let pid = host.inspect("idle-ends")["State"]["Pid"].to_string();
    host.space.ok(&["kill", "-KILL", &pid]);
    crate::program::eventually("its end", || {
        (host.inspect("idle-ends")["State"]["Running"] == false).then_some(())
    });
    for name in ["idle-stopped", "idle-killed", "idle-ends"] {
        let state = &host.inspect(name)["State"];
        assert_eq!((&state["Status"], &state["ExitCode"]), (&"exited".into(), &137.into()), "{name}");
    }
    crate::program::eventually("a full disk", is_full);
    host.mydocker(&["rmi", "spare:image"]).ok();
    host.mydocker(&["network", "rm", "front"]).ok();
    host.mydocker(&["volume", "rm", "spare"]).ok();
    host.mydocker(&["image", "prune", "-af"]).ok();
    crate::program::eventually("a full disk", is_full);
    host.mydocker(&["system", "prune", "-f", "--volumes"]).ok();
    assert_eq!(host.mydocker(&["ps", "-a", "--format", "{{.Names}}"]).ok(), "filler");
    crate::program::eventually("a full disk", is_full);
    host.mydocker(&["rm", "-f", "filler"]).ok();
    // There is room again.
    assert_eq!(host.run(&["--net", "none"], &["echo", "again"]).ok(), "again");
    host.space.ok(&["umount", "-l", host.root.to_str().expect("a plain path")]);
    host.assert_nothing_left();
}

#[test]
fn health_checks_count_on_a_full_disk() {
    let host = with_limited_root("4m");
    let check = [
        "--health-cmd",
        "echo said; test -e /dev/shm/well",
        "--health-interval",
        "50ms",
        "--health-retries",
        "3",
    ];
    let words = ["run", "-d", "--name", "c", "--net", "none", "--stop-timeout", "0"];
    let fill = "touch /dev/shm/well; busybox dd if=/dev/zero bs=64k >/full; busybox dd if=/dev/zero bs=1 >>/full; \
                sleep 100000";
    host.mydocker(&[&words[..], &check, &[&host.image, "sh", "-c", fill]].concat()).ok();
    let health = |status: &str| {
        crate::program::eventually(status, || {
            let health = host.inspect("c")["State"]["Health"].clone();
            let is_full = health["Log"].as_array().is_some_and(|log| log.len() == 5);
            (health["Status"] == status && (status == "healthy" || is_full)).then_some(health)
        })
    };
    health("healthy");
    crate::program::eventually("a full disk", || {
        let written = host.mydocker(&["exec", "c", "sh", "-c", "echo x >/more"]);
        (written.code() != 0).then_some(())
    });
    host.mydocker(&["exec", "c", "rm", "/dev/shm/well"]).ok();
    let bad = health("unhealthy");
    assert!(bad["FailingStreak"].as_u64() >= Some(3), "{bad}");
    host.mydocker(&["exec", "c", "touch", "/dev/shm/well"]).ok();
    health("healthy");
    // With room, it is kept where it outlives the run.
    host.mydocker(&["exec", "c", "rm", "/full"]).ok();
    let kept = || {
        let path = host.root("containers").join(host.inspect("c")["Id"].as_str()?).join("health.json");
        let text = host.space.program(&["cat", path.to_str()?]).stdout;
        (!text.contains("\"exit_code\":1") && text.contains("\"exit_code\":0")).then_some(())
    };
    crate::program::eventually("the file", kept);
    host.mydocker(&["stop", "c"]).ok();
    assert_eq!(host.inspect("c")["State"]["Health"]["Log"].as_array().map(Vec::len), Some(5));
    host.mydocker(&["rm", "c"]).ok();
    host.space.ok(&["umount", "-l", host.root.to_str().expect("a plain path")]);
    host.assert_nothing_left();
}
