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
