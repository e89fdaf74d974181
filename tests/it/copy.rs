//! `cp` both ways, `diff` and `export`, of containers that run and of those that do not.

use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;

use tar::EntryType;

use crate::archives::{file, tar};
use crate::host::Host;
use crate::program::eventually;

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A running and a stopped container with the same files.
fn containers(host: &Host) -> [&'static str; 2] {
    let make = "mkdir -p /data/sub; echo one > /data/one; echo two > /data/sub/two; ln -s /data/one /data/link; \
                ln -s sub /data/dirlink; echo ready";
    let run = ["run", "--net", "none", "--name"];
    let stopped = host.mydocker(&[&run[..], &["stopped", &host.image, "sh", "-c", make]].concat());
    assert_eq!(stopped.ok(), "ready");
    host.mydocker(&[&run[..1], &["-d"], &run[1..], &["running", &host.image, "sleep", "1000"]].concat()).ok();
    host.mydocker(&["exec", "running", "sh", "-c", make]).ok();
    ["running", "stopped"]
}

#[test]
fn files_come_out_as_dockers_rules_say() {
    let host = Host::new();
    for container in containers(&host) {
        let base = host.scratch(container);
        let to = |name: &str| base.join(name).to_str().unwrap().to_owned();
        let cp = |from: &str, to: &str| host.mydocker(&["cp", &format!("{container}:{from}"), to]);
        let out = |from: &str, to: &str| {
            let output = cp(from, to);
            assert_eq!(output.ok(), "");
            assert!(output.stderr.contains("Successfully copied "), "{output}");
        };
        std::fs::create_dir(base.join("d")).unwrap();
        // A file: to a new name, over a file, into a directory.
        out("/data/one", &to("new"));
        std::fs::write(base.join("old"), "old, and longer").unwrap();
        out("data/one", &to("old"));
        out("/data/one", &to("d"));
        for name in ["new", "old", "d/one"] {
            assert_eq!(text(&base.join(name)), "one\n", "{name}");
        }
        // A directory: to a new name, into a directory, its contents alone.
        out("/data", &to("copy"));
        out("/data", &to("d"));
        std::fs::create_dir(base.join("contents")).unwrap();
        out("/data/.", &to("contents"));
        for name in ["copy", "d/data", "contents"] {
            assert_eq!(text(&base.join(name).join("sub/two")), "two\n", "{name}");
        }
        // A link is a link, unless what it leads to is asked for.
        out("/data/link", &to("link"));
        assert_eq!(std::fs::read_link(base.join("link")).unwrap(), Path::new("/data/one"));
        host.mydocker(&["cp", "-qL", &format!("{container}:/data/link"), &to("followed")]).ok();
        assert_eq!(text(&base.join("followed")), "one\n");
        out("/data/dirlink/", &to("through"));
        assert_eq!(text(&base.join("through/two")), "two\n");
        let refused = |from: &str, to: &str, needles: &[&str]| {
            cp(from, to).refused(&[1], needles);
        };
        refused("/data/missing", &to("x"), &["/data/missing", "No such file"]);
        refused("/data/one/.", &to("x"), &["/data/one", "Not a directory"]);
        refused("/data/one", &to("no/such"), &["no/such", "No such file"]);
        refused("/data/one", &to("x/"), &["x/", "No such file"]);
        refused("/data", &to("new"), &["/data", "new", "not a directory"]);
        assert!(!base.join("x").exists());
        // As an archive.
        let listing = cp("/data", "-").ok();
        assert!(listing.contains("data/sub/two") && listing.contains("two\n"), "{listing}");
    }
    host.mydocker(&["rm", "-f", "running", "stopped"]).ok();
    host.assert_nothing_left();
}

#[test]
fn files_go_in_as_dockers_rules_say() {
    let host = Host::new();
    let base = host.scratch("source");
    std::fs::create_dir_all(base.join("tree/sub")).unwrap();
    for (name, contents) in [("file", "file\n"), ("tree/top", "top\n"), ("tree/sub/deep", "deep\n")] {
        std::fs::write(base.join(name), contents).unwrap();
        std::os::unix::fs::chown(base.join(name), Some(4711), Some(4712)).unwrap();
    }
    let from = |name: &str| format!("{}/{name}", base.to_str().unwrap());
    let archive = file(&host, "in.tar", &tar(&[("piped", EntryType::Regular, "", b"piped\n")]));
    for container in containers(&host) {
        let to = |name: &str| format!("{container}:{name}");
        for arguments in [
            [&from("file"), &to("/data/new")],
            [&from("file"), &to("/data/one")],
            [&from("file"), &to("/data/sub")],
            // Through a link of the container.
            [&from("file"), &to("/data/dirlink/linked")],
            [&from("tree"), &to("/data")],
            [&from("tree/."), &to("/data/sub")],
            [&from("tree"), &to("/data/other")],
        ] {
            host.mydocker(&["cp", arguments[0], arguments[1]]).ok();
        }
        host.mydocker(&["cp", "-a", &from("file"), &to("/data/owned")]).ok();
        let shell = format!("\"$0\" cp - {} < {archive}", to("/data/sub"));
        host.program(&["sh", "-c", &shell, env!("CARGO_BIN_EXE_mydocker")]).run_in(&host.space).ok();
        for (name, needles) in [
            ("file", &["/data/missing/x", "No such file"][..]),
            ("tree", &["/data/one", "not a directory"]),
            ("missing", &["missing", "No such file"]),
        ] {
            let target = if name == "tree" { "/data/one" } else { "/data/missing/x" };
            host.mydocker(&["cp", &from(name), &to(target)]).refused(&[1], needles);
        }
        let seen = host.scratch(&format!("seen-{container}"));
        host.mydocker(&["cp", "-a", &to("/data/."), seen.to_str().unwrap()]).ok();
        for (name, contents) in [
            ("new", "file\n"),
            ("one", "file\n"),
            ("sub/file", "file\n"),
            ("sub/linked", "file\n"),
            ("tree/sub/deep", "deep\n"),
            ("sub/top", "top\n"),
            ("other/top", "top\n"),
            ("sub/piped", "piped\n"),
            ("sub/two", "two\n"),
        ] {
            assert_eq!(text(&seen.join(name)), contents, "{container}: {name}");
        }
        let owner = |name: &str| {
            let metadata = std::fs::metadata(seen.join(name)).unwrap();
            (metadata.uid(), metadata.gid())
        };
        assert_eq!((owner("new"), owner("owned")), ((0, 0), (4711, 4712)));
    }
    // What went into the stopped one is there when it runs, and the running one saw it at once.
    assert_eq!(host.mydocker(&["exec", "running", "cat", "/data/new"]).ok(), "file");
    host.mydocker(&["cp", "running:/data/new", "stopped:/x"])
        .refused(&[1], &["from one container to another"]);
    host.mydocker(&["cp", "/etc/hosts", "/tmp/x"]).refused(&[1], &["neither"]);
    host.mydocker(&["cp", "nobody:/x", "/tmp/x"]).refused(&[1], &["No such container: nobody"]);
    host.mydocker(&["rm", "-f", "running", "stopped"]).ok();
    host.assert_nothing_left();
}

#[test]
fn volumes_are_copied_into_and_out_of_but_not_exported() {
    let host = Host::new();
    let volume = host.scratch("volume");
    std::fs::write(volume.join("there"), "there").unwrap();
    let source = volume.to_str().unwrap();
    let mount = format!("{source}:/vol");
    let run = ["run", "-d", "--net", "none", "--name", "web", "-v", &mount, &host.image, "sleep", "1000"];
    host.mydocker(&run).ok();
    let base = host.scratch("base");
    let path = |name: &str| base.join(name).to_str().unwrap().to_owned();
    host.mydocker(&["cp", "web:/vol/there", &path("out")]).ok();
    assert_eq!(text(&base.join("out")), "there");
    host.mydocker(&["cp", &path("out"), "web:/vol/in"]).ok();
    assert_eq!(text(&volume.join("in")), "there");
    // A file that something is mounted on keeps its name, and takes the contents.
    host.mydocker(&["cp", &path("out"), "web:/etc/hosts"]).ok();
    assert_eq!(host.mydocker(&["exec", "web", "cat", "/etc/hosts"]).ok(), "there");
    // The kernel's own file systems are not copied, and what is mounted is not exported.
    host.mydocker(&["cp", "web:/", &path("all")]).ok();
    assert_eq!(text(&base.join("all/vol/there")), "there");
    assert_eq!(std::fs::read_dir(base.join("all/proc")).unwrap().count(), 0);
    host.mydocker(&["export", "-o", &path("tar"), "web"]).ok();
    let mut archive = tar::Archive::new(std::fs::File::open(base.join("tar")).unwrap());
    let names: Vec<String> = (archive.entries().unwrap())
        .map(|entry| entry.unwrap().path().unwrap().to_string_lossy().into_owned())
        .collect();
    assert!(names.iter().any(|name| name == "vol/" || name == "vol"), "{names:?}");
    assert!(!names.iter().any(|name| name.contains("there") || name.starts_with("proc/s")), "{names:?}");
    host.mydocker(&["rm", "-f", "web"]).ok();
    host.assert_nothing_left();
}

#[test]
fn s14_a_container_that_swaps_links_gets_nothing_of_the_host() {
    let host = Host::new();
    let outside = host.scratch("outside");
    let out = outside.to_str().unwrap();
    std::fs::write(outside.join("file"), "the host's own").unwrap();
    let up = "../".repeat(20);
    // /x is now a directory, now a link out by every way there is; the files in it as well.
    let script = format!(
        "mkdir /real; while :; do for t in {out} {up}{out} /proc/1/root{out} /proc/self/root/{out} /real; do \
         ln -sfn $t /x; rm -rf /y; mkdir /y; ln -s {out}/file /y/file; ln -sfn $t /y/d; done; done"
    );
    host.mydocker(&["run", "-d", "--net", "none", "--name", "evil", &host.image, "sh", "-c", &script]).ok();
    eventually("links that change", || {
        let seen = host.mydocker(&["exec", "evil", "sh", "-c", "test -L /x && test -L /y/file"]);
        seen.status.success().then_some(())
    });
    let source = host.scratch("source");
    std::fs::write(source.join("file"), "from outside").unwrap();
    std::fs::create_dir(source.join("d")).unwrap();
    std::fs::write(source.join("d/file"), "from outside").unwrap();
    let source = source.to_str().unwrap().to_owned();
    let target = host.scratch("target");
    symlink(&outside, target.join("d")).unwrap();
    for _ in 0..15 {
        // Whatever they say: the container's names change under their hands.
        for arguments in [
            [&format!("{source}/file"), "evil:/x/file"],
            [&format!("{source}/."), "evil:/y"],
            [&format!("{source}/."), "evil:/x"],
            ["evil:/x/file", &format!("{}/got", target.to_str().unwrap())],
            ["evil:/y/.", target.to_str().unwrap()],
        ] {
            host.mydocker(&["cp", "-q", arguments[0], arguments[1]]);
        }
        host.mydocker(&["cp", "-qL", "evil:/y/file", &format!("{}/got", target.to_str().unwrap())]);
        assert_eq!(text(&outside.join("file")), "the host's own");
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
        if let Ok(got) = std::fs::read_to_string(target.join("got")) {
            assert_ne!(got, "the host's own");
        }
    }
    host.mydocker(&["rm", "-f", "evil"]).ok();
    host.assert_nothing_left();
}

#[test]
fn s14_an_archive_stays_in_the_directory_that_it_is_copied_to() {
    let host = Host::new();
    host.mydocker(&["create", "--name", "target", "--net", "none", &host.image, "true"]).ok();
    let shell = |archive: &str| {
        let shell = format!("\"$0\" cp - target:/home < {archive}");
        host.program(&["sh", "-c", &shell, env!("CARGO_BIN_EXE_mydocker")]).run_in(&host.space)
    };
    let evil = |path: &'static str| (path, EntryType::Regular, "", &b"evil"[..]);
    for (number, entries) in [
        vec![evil("../evil")],
        vec![evil("/../../evil")],
        vec![("l", EntryType::Symlink, "/", &b""[..]), evil("l/evil")],
        vec![("m", EntryType::Symlink, "..", &b""[..]), evil("m/evil")],
        vec![("h", EntryType::Link, "../etc/passwd", &b""[..]), evil("h")],
    ]
    .into_iter()
    .enumerate()
    {
        shell(&file(&host, "evil.tar", &tar(&entries)));
        let changes = host.mydocker(&["diff", "target"]).ok();
        let outside = changes.lines().find(|line| !line[2..].starts_with("/home"));
        assert_eq!(outside, None, "attempt {number}: {changes}");
    }
    shell(&file(&host, "evil.tar", &tar(&[evil("../evil")]))).refused(&[1], &["target:/home", "leads out"]);
    host.mydocker(&["rm", "target"]).ok();
    host.assert_nothing_left();
}

#[test]
fn diff_tells_what_was_added_changed_and_deleted() {
    let host = Host::new();
    let script = "echo x > /tmp/new; echo more >> /www/index.html; rm -r /home/tester; chmod 700 /root; \
                  mkdir -p /opt/a/b; rm /etc/group; touch /etc/group; echo ready; sleep 1000";
    host.mydocker(&["create", "--net", "none", "--name", "still", &host.image, "true"]).ok();
    assert_eq!(host.mydocker(&["diff", "still"]).ok(), "");
    let output = host.start(&["run", "--net", "none", "--name", "busy", &host.image, "sh", "-c", script]);
    output.wait_for("ready");
    let expected = "C /etc\nC /etc/group\nC /home\nD /home/tester\nA /opt\nA /opt/a\nA /opt/a/b\nC /root\nC /tmp\n\
                    A /tmp/new\nC /www\nC /www/index.html";
    assert_eq!(host.mydocker(&["diff", "busy"]).ok(), expected);
    host.mydocker(&["stop", "-t", "0", "busy"]).ok();
    output.wait();
    assert_eq!(host.mydocker(&["diff", "busy"]).ok(), expected);
    host.mydocker(&["diff", "nobody"]).refused(&[1], &["No such container: nobody"]);
    host.mydocker(&["rm", "busy", "still"]).ok();
    host.assert_nothing_left();
}

#[test]
fn an_export_that_fails_leaves_no_file_and_a_terminal_gets_none() {
    let host = Host::new();
    host.mydocker(&["create", "--net", "none", "--name", "still", &host.image, "true"]).ok();
    let base = host.scratch("exports");
    let path = |name: &str| base.join(name).to_str().unwrap().to_owned();
    host.mydocker(&["export", "-o", &path("no/such/file"), "still"]).refused(&[1], &["no/such/file"]);
    host.mydocker(&["export", "-o", &path("x"), "nobody"]).refused(&[1], &["No such container: nobody"]);
    assert_eq!(std::fs::read_dir(&base).unwrap().count(), 0);
    host.mydocker(&["export", "-o", &path("x"), "still"]).ok();
    assert_eq!(std::fs::read_dir(&base).unwrap().count(), 1);
    host.mydocker(&["export", "-o", "/dev/null", "still"]).ok();
    for arguments in [&["export", "still"][..], &["cp", "still:/etc", "-"]] {
        let output = host.command(arguments).on_a_terminal().run_in(&host.space);
        assert!(output.code() == 1 && output.stdout.contains("terminal"), "{output}");
    }
    host.mydocker(&["rm", "still"]).ok();
    host.assert_nothing_left();
}
