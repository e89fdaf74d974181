//! What comes out of containers and images is data: it gives nobody rights, removes nothing, and draws on no terminal.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use tar::{Builder, EntryType};

use crate::archives::{CAPABILITY, append, file, image_tar, import, tar, xattr};
use crate::host::Host;

/// An image with programs that would run as somebody else.
fn privileged_image(host: &Host) {
    let mut builder = Builder::new(Vec::new());
    append(&mut builder, "keep/", EntryType::Directory, "", b"", |header| header.set_mode(0o6755));
    for (name, uid, mode) in [("root", 0, 0o6755), ("other", 1000, 0o4755), ("group", 0, 0o2755)] {
        append(
            &mut builder,
            "pax",
            EntryType::XHeader,
            "",
            &xattr("security.capability", &CAPABILITY),
            |_| {},
        );
        append(&mut builder, &format!("keep/{name}"), EntryType::Regular, "", b"#!/bin/sh\n", |header| {
            header.set_mode(mode);
            header.set_uid(uid);
        });
    }
    append(&mut builder, "keep/second", EntryType::Link, "keep/root", b"", |_| {});
    let mut bytes = image_tar(host, &[]);
    bytes.truncate(bytes.len() - 1024);
    bytes.extend(builder.into_inner().unwrap());
    let archive = file(host, "privileged.tar", &bytes);
    host.mydocker(&["import", &archive, "privileged"]).ok();
}

/// The mode of a file, and whether it has capabilities.
fn rights(path: &Path) -> (u32, bool) {
    let file = std::fs::File::open(path).unwrap();
    let capability = mydocker::sys::get_xattr(&file, "security.capability".as_ref()).unwrap();
    (file.metadata().unwrap().permissions().mode() & 0o7777, capability.is_some())
}

#[test]
fn programs_lose_their_rights_on_the_way_out_and_with_their_owner() {
    let host = Host::new();
    privileged_image(&host);
    let run = ["run", "-d", "--net", "none", "--name", "running", "privileged", "sleep", "100000"];
    host.mydocker(&run).ok();
    host.mydocker(&["create", "--net", "none", "--name", "stopped", "privileged", "true"]).ok();
    let base = host.scratch("base");
    for container in ["running", "stopped"] {
        for options in [&["-q"][..], &["-q", "-a"], &["-q", "-L"]] {
            let target = base.join(format!("{container}{}", options.concat()));
            std::fs::create_dir(&target).unwrap();
            let to = target.to_str().unwrap();
            for source in ["keep", "keep/root", "keep/other", "keep/group"] {
                let from = format!("{container}:/{source}");
                host.mydocker(&[&["cp"], options, &[&from, to]].concat()).ok();
            }
            for name in
                ["root", "other", "group", "keep", "keep/root", "keep/other", "keep/group", "keep/second"]
            {
                assert_eq!(rights(&target.join(name)), (0o755, false), "{container} {options:?} {name}");
            }
        }
    }
    // On the way in, they stay where the owner does.
    let own = base.join("own");
    std::fs::write(&own, "").unwrap();
    for (uid, options, expected) in [(0, &[][..], 0o6755), (1000, &[], 0o755), (1000, &["-a"], 0o6755)] {
        std::os::unix::fs::chown(&own, Some(uid), Some(uid)).unwrap();
        std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o6755)).unwrap();
        host.mydocker(&[&["cp", "-q"], options, &[own.to_str().unwrap(), "running:/own"]].concat()).ok();
        let mode = host.mydocker(&["exec", "running", "stat", "-c", "%a", "/own"]).ok();
        assert_eq!(u32::from_str_radix(&mode, 8).unwrap(), expected, "{uid} {options:?}");
    }
    // Between containers as well.
    let shell = "\"$0\" cp stopped:/keep/other - | \"$0\" cp - running:/";
    host.program(&["sh", "-c", shell, env!("CARGO_BIN_EXE_mydocker")]).run_in(&host.space).ok();
    assert_eq!(host.mydocker(&["exec", "running", "stat", "-c", "%a %u", "/other"]).ok(), "755 0");
    host.mydocker(&["rm", "-f", "running", "stopped"]).ok();
    host.mydocker(&["rmi", "privileged"]).ok();
    host.assert_nothing_left();
}

#[test]
fn what_cannot_be_copied_is_an_error_and_not_a_success() {
    let host = Host::new();
    let run = ["run", "--net", "none", "--name", "stopped", &host.image, "mknod", "/tmp/node", "b", "7", "0"];
    host.mydocker(&run).ok();
    host.mydocker(&["run", "-d", "--net", "none", "--name", "running", &host.image, "sleep", "100000"]).ok();
    let base = host.scratch("base");
    let to = base.to_str().unwrap();
    for source in ["stopped:/tmp/node", "running:/dev/null", "running:/dev/pts/ptmx"] {
        for options in [&[][..], &["-a"]] {
            let output = host.mydocker(&[&["cp"], options, &[source, to]].concat());
            output.refused(&[1], &[source, "device"]);
        }
    }
    assert_eq!(std::fs::read_dir(&base).unwrap().count(), 0);
    let socket = base.join("socket");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for container in ["running", "stopped"] {
        let output = host.mydocker(&["cp", socket.to_str().unwrap(), &format!("{container}:/tmp/")]);
        output.refused(&[1], &["socket"]);
    }
    drop(listener);
    host.mydocker(&["rm", "-f", "running", "stopped"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_copy_leaves_what_is_mounted_in_its_place() {
    let host = Host::new();
    let volume = host.scratch("volume");
    let path = |name: &str| volume.join(name).to_str().unwrap().to_owned();
    for name in ["read-only", "writable", "new"] {
        std::fs::write(volume.join(name), name).unwrap();
    }
    symlink("/etc/passwd", volume.join("link")).unwrap();
    let mounts = [
        format!("{}:/run/s:ro", path("read-only")),
        format!("{}:/run/w", path("writable")),
        "/dev/full:/run/full".to_owned(),
    ];
    let options: Vec<&str> = mounts.iter().flat_map(|mount| ["-v", mount.as_str()]).collect();
    let run =
        [&["run", "-d", "--net", "none", "--name", "c"], &options[..], &[&host.image, "sleep", "100000"]];
    host.mydocker(&run.concat()).ok();
    let table = || host.mydocker(&["exec", "c", "cat", "/proc/self/mounts"]).ok();
    let before = table();
    let cp = |from: &str, to: &str| host.mydocker(&["cp", "-q", from, &format!("c:{to}")]);
    for to in ["/run/w", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"] {
        cp(&path("new"), to).ok();
        assert_eq!(host.mydocker(&["exec", "c", "cat", to]).ok(), "new");
        // What is no file cannot be written to one.
        cp(&path("link"), to).refused(&[1], &["busy"]);
        assert_eq!(table(), before, "{to}");
    }
    assert_eq!(std::fs::read_to_string(path("writable")).unwrap(), "new");
    cp(&path("new"), "/run/s").refused(&[1], &["/run/s", "Read-only"]);
    cp(&path("new"), "/run/full").refused(&[1], &["busy"]);
    // The same in an archive, also as other names of something.
    let entry = |name, kind, link| (name, kind, link, &b""[..]);
    for entries in [
        [entry("x", EntryType::Regular, ""), entry("s", EntryType::Link, "x")],
        [entry("x", EntryType::Regular, ""), entry("s", EntryType::Regular, "")],
        [entry("x", EntryType::Regular, ""), entry("s", EntryType::Fifo, "")],
        [entry("x", EntryType::Regular, ""), entry("s", EntryType::Directory, "")],
    ] {
        let archive = file(&host, "over.tar", &tar(&entries));
        let shell = format!("\"$0\" cp - c:/run < {archive}");
        host.program(&["sh", "-c", &shell, env!("CARGO_BIN_EXE_mydocker")])
            .run_in(&host.space)
            .refused(&[1], &["s"]);
    }
    assert_eq!(table(), before);
    assert_eq!(std::fs::read_to_string(path("read-only")).unwrap(), "read-only");
    host.mydocker(&["rm", "-f", "c"]).ok();
    host.assert_nothing_left();
}

#[test]
fn names_of_a_containers_files_remove_nothing_from_a_committed_image() {
    let host = Host::new();
    let sticky = [
        ("open/", EntryType::Directory, "", &b""[..]),
        ("open/d/", EntryType::Directory, "", b""),
        ("open/d/inner", EntryType::Regular, "", b"inner"),
        ("open/f", EntryType::Regular, "", b"root's"),
    ];
    import(&host, "base", &[], &sticky);
    let prepare = ["run", "--net", "none", "--name", "prepared", "base", "chmod", "1777", "/open"];
    host.mydocker(&prepare).ok();
    host.mydocker(&["commit", "prepared", "sticky"]).ok();
    let attack = "cd /open; rm -f f && exit 1; : > .wh.f; mkdir .wh.d; : > .wh.d/x; mkdir own; : > own/.wh..wh..opq; \
                  : > .wh..wh..opq; : > .wh.; : > own/kept";
    let run = ["run", "--net", "none", "-u", "1234", "--name", "attack", "sticky", "sh", "-c", attack];
    host.mydocker(&run).ok();
    let output = host.mydocker(&["commit", "attack", "result"]);
    assert!(output.status.success() && output.stderr.contains("open/.wh.f"), "{output}");
    let look = [
        "run",
        "--rm",
        "--net",
        "none",
        "result",
        "sh",
        "-c",
        "cat /open/f /open/d/inner; ls -A /open /open/own",
    ];
    let seen = host.mydocker(&look).ok();
    assert_eq!(seen, "root'sinner/open:\nd\nf\nown\n\n/open/own:\nkept");
    host.mydocker(&["rm", "prepared", "attack"]).ok();
    host.mydocker(&["image", "prune", "-a", "-f"]).ok();
    host.assert_nothing_left();
}

#[test]
fn an_entry_deep_down_costs_no_look_for_each_directory_above() {
    let host = Host::new();
    let (depth, entries) = (500, 60);
    let mut builder = Builder::new(Vec::new());
    let deep = "d/".repeat(depth);
    for number in 0..entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        let path = format!("{deep}{}/{number}", if number % 2 == 0 { "a" } else { "b" });
        builder.append_data(&mut header, path, &b""[..]).unwrap();
    }
    let archive = file(&host, "deep.tar", &builder.into_inner().unwrap());
    let trace = host.scratch("trace").join("calls");
    let trace = trace.to_str().unwrap();
    let words = ["strace", "-f", "-qq", "-e", "trace=openat2", "-o", trace, env!("CARGO_BIN_EXE_mydocker")];
    host.program(&[&words[..], &["import", &archive, "deep"]].concat()).run_in(&host.space).ok();
    let calls = std::fs::read_to_string(trace).unwrap().lines().count();
    assert!((entries..entries * 10).contains(&calls), "{calls} looks");
    host.mydocker(&["rmi", "deep"]).ok();
    host.assert_nothing_left();
}

/// What draws on a terminal, and would be lines of its own.
const HOSTILE: &str = "a\x1b[31m\nFORGED line\r\u{9b}2J";

#[track_caller]
fn assert_plain(shown: &str, lines: usize) {
    let text = shown.replace("\r\n", "\n");
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
    assert!(!text.lines().any(|line| line.starts_with("FORGED")), "{text:?}");
    assert!(text.contains("FORGED") && text.lines().count() == lines, "{lines} lines: {text:?}");
}

#[test]
fn nothing_from_outside_draws_on_a_terminal() {
    let host = Host::new();
    let label = format!("evil={HOSTILE}");
    let make = format!("mkdir /made; : > \"/made/{HOSTILE}\"; sleep 100000");
    let run = ["run", "-d", "--net", "none", "--name", "c", "-l", &label, &host.image, "sh", "-c", &make];
    host.mydocker(&run).ok();
    host.mydocker(&["volume", "create", "--label", &label, "v"]).ok();
    host.mydocker(&["network", "create", "--label", &label, "--subnet", "10.60.1.0/24", "n"]).ok();
    crate::program::eventually("the file", || {
        host.mydocker(&["diff", "c"]).ok().contains("/made/a").then_some(())
    });
    // Whoever reads them by a program gets texts as they are.
    let read = host.mydocker(&["inspect", "--format", "{{index .Config.Labels \"evil\"}}", "c"]);
    assert_eq!(read.stdout, format!("{HOSTILE}\n"));
    let shown = |words: &[&str]| host.command(words).on_a_terminal().run_in(&host.space).stdout;
    for words in [
        &["inspect", "--format", "{{index .Config.Labels \"evil\"}}", "c"][..],
        &["inspect", "--format", "{{.Config.Labels.evil}}", "c"],
        &["inspect", "--format", "{{json .Config.Labels}}", "c"],
        &["volume", "inspect", "--format", "{{.Labels.evil}}", "v"],
        &["network", "inspect", "--format", "{{.Labels.evil}}", "n"],
        &["ps", "--format", "{{.Labels}}"],
        &["ps", "--format", "{{.Label \"evil\"}}"],
        &["volume", "ls", "--format", "{{.Labels}}"],
        &["inspect", &format!("no{HOSTILE}")],
        &["rm", &format!("no{HOSTILE}")],
        &["--log-format", "json", "rm", &format!("no{HOSTILE}")],
        &["cp", &format!("c:/{HOSTILE}"), "."],
        &["network", "connect", "n", &format!("no{HOSTILE}")],
    ] {
        let text = shown(words);
        // Some errors have an empty array before them, and a hint after them.
        let lines = text.lines().filter(|line| line.contains("FORGED")).count();
        assert_eq!(lines, 1, "{words:?}: {text:?}");
        let line = text.lines().find(|line| line.contains("FORGED")).unwrap().trim_end_matches('\r');
        // The colour is our own.
        assert_plain(&line.replace("\u{1b}[31merror:\u{1b}[0m", "error:"), 1);
    }
    for words in [&["inspect", "c"][..], &["ps", "--format", "json"], &["volume", "inspect", "v"]] {
        let text = shown(words).replace("\r\n", "\n");
        assert!(!text.contains(|c: char| c.is_control() && c != '\n') && text.contains("FORGED"), "{text:?}");
    }
    // A path is one line to programs, too.
    let diff = host.mydocker(&["diff", "c"]).ok();
    assert_eq!(diff.lines().filter(|line| line.contains("FORGED")).count(), 1, "{diff:?}");
    assert_plain(diff.lines().find(|line| line.contains("FORGED")).unwrap(), 1);
    let evil = format!("../{HOSTILE}");
    let archive = file(&host, "evil.tar", &tar(&[(&evil, EntryType::Regular, "", b"")]));
    let output = host.mydocker(&["import", &archive, "evil"]);
    assert!(!output.status.success());
    assert_plain(output.stderr.trim_end(), output.stderr.lines().count());
    host.mydocker(&["rm", "-f", "c"]).ok();
    host.mydocker(&["volume", "rm", "v"]).ok();
    host.mydocker(&["network", "rm", "n"]).ok();
    host.assert_nothing_left();
}
