//! `cp` is the same whether the container runs or not: what is mounted in it, what it may not write to.

use std::path::Path;

use crate::host::Host;

/// A container in one of its states, with everything that can be mounted in it.
struct Case {
    runs: bool,
    /// Directories of the host that are mounted in it.
    bind: std::path::PathBuf,
    read_only: std::path::PathBuf,
}

fn case(host: &Host, name: &str, state: &str, options: &[&str]) -> Case {
    let base = host.scratch(name);
    let [bind, read_only, conf] = ["bind", "ro", "conf"].map(|part| base.join(part));
    for directory in [&bind, &read_only] {
        std::fs::create_dir(directory).unwrap();
        std::fs::write(directory.join("there"), "there\n").unwrap();
    }
    std::fs::write(&conf, "conf\n").unwrap();
    let volumes = [
        format!("{}:/bind", bind.display()),
        format!("{}:/ro:ro", read_only.display()),
        format!("{}:/etc/conf:ro", conf.display()),
        format!("{}:/dev/shm", bind.display()),
        format!("{name}-named:/named"),
        "/anonymous".to_owned(),
        // A volume in a volume.
        format!("{name}-inner:/named/inner"),
        // The image's files are copied into it.
        format!("{name}-www:/www"),
    ];
    let mut words = vec!["create", "--name", name, "--net", "none", "--tmpfs", "/tmpfs"];
    words.extend(volumes.iter().flat_map(|volume| ["-v", volume.as_str()]));
    words.extend(options);
    words.extend([host.image.as_str(), "sleep", "100000"]);
    host.mydocker(&words).ok();
    if state != "created" {
        host.mydocker(&["start", name]).ok();
    }
    if state == "stopped" {
        host.mydocker(&["stop", "-t", "0", name]).ok();
    }
    Case { runs: state == "running", bind, read_only }
}

fn text(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}

#[test]
fn files_go_where_the_container_sees_them() {
    let host = Host::new();
    let mounts = || host.space.ok(&["cat", "/proc/self/mountinfo"]);
    let base = host.scratch("files");
    let (file, got) = (base.join("file"), base.join("got"));
    std::fs::write(&file, "copied\n").unwrap();
    let (file, got) = (file.to_str().unwrap(), got.to_str().unwrap());
    for (name, state) in [("up", "running"), ("down", "stopped"), ("fresh", "created")] {
        let case = case(&host, name, state, &[]);
        let before = mounts();
        let into = |path: &str| host.mydocker(&["cp", "-q", file, &format!("{name}:{path}")]);
        for path in [
            "/layer",
            "/bind/x",
            "/named/x",
            "/named/inner/x",
            "/anonymous",
            "/anonymous/y",
            "/www/x",
            "/etc/hosts",
        ] {
            assert_eq!(into(path).code(), 0, "{state}: {path}");
        }
        assert_eq!(text(case.bind.join("x")), "copied\n", "{state}");
        for path in ["/ro/x", "/ro/there", "/etc/conf"] {
            into(path).refused(&[1], &[path, "Read-only file system"]);
        }
        assert_eq!(text(case.read_only.join("there")), "there\n", "{state}");
        // What is there only while it runs would be lost.
        for path in ["/tmpfs/x", "/dev/x", "/dev/shm/y"] {
            let output = into(path);
            assert_eq!(output.code() == 0, case.runs, "{state}: {output}");
            if !case.runs {
                let why = if path == "/dev/shm/y" { "No such file" } else { "Read-only file system" };
                output.refused(&[1], &[path, why]);
                assert!(path == "/dev/shm/y" || output.stderr.contains("hint: "), "{output}");
            }
        }
        for path in ["/layer", "/bind/x", "/named/x", "/named/inner/x", "/anonymous/file", "/anonymous/y"] {
            host.mydocker(&["cp", "-q", &format!("{name}:{path}"), got]).ok();
            assert_eq!(text(got), "copied\n", "{state}: {path}");
        }
        host.mydocker(&["cp", "-q", &format!("{name}:/www/index.html"), got]).ok();
        assert_eq!(text(got), "a page from a container\n", "{state}");
        for (path, expected) in
            [("/ro/there", "there\n"), ("/etc/conf", "conf\n"), ("/etc/hosts", "copied\n")]
        {
            host.mydocker(&["cp", "-q", &format!("{name}:{path}"), got]).ok();
            assert_eq!(text(got), expected, "{state}: {path}");
        }
        let tree = base.join(format!("{name}-tree"));
        host.mydocker(&["cp", "-q", &format!("{name}:/named"), tree.to_str().unwrap()]).ok();
        assert_eq!(text(tree.join("inner/x")), "copied\n", "{state}");
        assert_eq!(mounts(), before, "{state}: a mount was left");
        // It starts again, and has it all.
        if !case.runs {
            host.mydocker(&["start", name]).ok();
        }
        for path in
            ["/layer", "/bind/x", "/named/x", "/named/inner/x", "/anonymous/file", "/anonymous/y", "/www/x"]
        {
            assert_eq!(host.mydocker(&["exec", name, "cat", path]).ok(), "copied", "{state}: {path}");
        }
    }
    host.mydocker(&["rm", "-fv", "up", "down", "fresh"]).ok();
    host.mydocker(&["volume", "prune", "-af"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_container_whose_root_is_read_only_takes_files_in_its_volumes_alone() {
    let host = Host::new();
    let base = host.scratch("files");
    std::fs::write(base.join("file"), "copied\n").unwrap();
    let file = base.join("file");
    let file = file.to_str().unwrap();
    for (name, state) in [("up", "running"), ("down", "stopped"), ("fresh", "created")] {
        case(&host, name, state, &["--read-only"]);
        let into = |path: &str| host.mydocker(&["cp", "-q", file, &format!("{name}:{path}")]);
        for path in ["/layer", "/etc/passwd", "/etc/hosts", "/ro/x"] {
            into(path).refused(&[1], &[path, "Read-only file system"]);
        }
        for path in ["/bind/x", "/named/x"] {
            assert_eq!(into(path).code(), 0, "{state}: {path}");
        }
    }
    host.mydocker(&["rm", "-fv", "up", "down", "fresh"]).ok();
    host.mydocker(&["volume", "prune", "-af"]).ok();
    host.assert_nothing_left();
}

#[test]
fn directories_of_the_host_that_are_made_for_a_copy_go_unless_they_are_used() {
    let host = Host::new();
    let base = host.scratch("files");
    std::fs::write(base.join("file"), "copied\n").unwrap();
    let volume = format!("{}/new/directory:/made", base.display());
    host.mydocker(&["create", "--name", "c", "--net", "none", "-v", &volume, &host.image, "true"]).ok();
    let path = |name: &str| base.join(name).to_str().unwrap().to_owned();
    host.mydocker(&["cp", "-q", "c:/etc/passwd", &path("got")]).ok();
    assert!(!base.join("new").exists());
    host.mydocker(&["cp", "-q", &path("file"), "c:/made/x"]).ok();
    assert_eq!(text(base.join("new/directory/x")), "copied\n");
    // A file of the host that is missing keeps a container from starting, and its files from being seen.
    host.mydocker(&["rm", "c"]).ok();
    host.assert_nothing_left();
}
