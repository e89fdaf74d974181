//! An image of a real distribution, as registries have them: made of this machine's own packages, published by another
//! program, pulled and run.

use std::path::Path;

use serde_json::{Value, json};
use tar::EntryType;

use crate::archives::{append, file};
use crate::host::Host;
use crate::image_archives::docker_archive;
use crate::pull::{clean, digest, place, remote_digest};
use crate::registry::{Registry, mydocker, skopeo};

/// Packages that a small Debian has at the least.
const PACKAGES: &[&str] =
    &["base-files", "base-passwd", "bash", "coreutils", "dash", "grep", "hostname", "libc-bin", "util-linux"];

/// Programs whose libraries are needed as well.
const PROGRAMS: &[&str] = &["/bin/bash", "/usr/bin/id", "/bin/ls", "/bin/grep", "/usr/bin/stat"];

/// The program that containers start with.
const ENTRY: &str = "#!/bin/bash\nset -eu\nid -un\necho \"$0 $*\"\npwd\ncat seed\necho again >> seed\ngrep ^ID= /etc/os-release\n";

/// The root file system: what the packages have, and who the users are.
fn root_file_system(host: &Host) -> Vec<u8> {
    let list = place(host, "files");
    // Where directories are links to those below /usr, files have their names there.
    let script = format!(
        "for package in {packages}; do dpkg-query -L $package; done > {list}.all
         for program in {programs}; do ldd $program; done | grep -o '/[^ ]*' > {list}.libraries
         xargs readlink -f < {list}.libraries >> {list}.all
         cat {list}.libraries >> {list}.all
         printf '%s\\n' /etc/passwd /etc/group /etc/nsswitch.conf >> {list}.all
         grep -v -E '^/\\.$|^/usr/share/(doc|locale|man|info|bash-completion)' {list}.all |
         if [ -L /bin ]; then sed -E 's,^/((bin|sbin|lib|lib32|lib64|libx32)/),/usr/\\1,'; else cat; fi | sort -u |
         while read -r path; do if [ -e \"$path\" ]; then echo \"$path\"; fi; done > {list}
         for link in /bin /sbin /lib /lib64; do if [ -L $link ]; then echo $link >> {list}; fi; done",
        packages = PACKAGES.join(" "),
        programs = PROGRAMS.join(" "),
    );
    host.space.ok(&["bash", "-c", &script]);
    let archive = place(host, "root.tar");
    host.space.ok(&[
        "tar",
        "--no-recursion",
        "--ignore-failed-read",
        "-P",
        "-C",
        "/",
        "--transform",
        "s,^/,,S",
        "-T",
        &list,
        "-cf",
        &archive,
    ]);
    std::fs::read(archive).expect("the archive")
}

/// What the image's maker added: the program, and data of a user's.
fn application() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    append(&mut builder, "entry", EntryType::Regular, "", ENTRY.as_bytes(), |_| {});
    append(&mut builder, "srv/data", EntryType::Directory, "", b"", |header| {
        header.set_uid(1);
        header.set_gid(1);
    });
    append(&mut builder, "srv/data/seed", EntryType::Regular, "", b"seed\n", |header| {
        header.set_uid(1);
        header.set_gid(1);
        header.set_mode(0o640);
    });
    builder.into_inner().expect("an archive in memory")
}

fn config(diffs: &[String]) -> Value {
    json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "author": "somebody",
        "from.another.program": { "kept": true },
        "config": {
            "User": "daemon",
            "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C"],
            "Entrypoint": ["/entry"],
            "Cmd": ["one", "two"],
            "WorkingDir": "/srv/data",
            "Volumes": { "/srv/data": {} },
            "ExposedPorts": { "8080/tcp": {} },
            "Labels": { "made.by": "tests" },
            "StopSignal": "SIGINT",
            "Shell": ["/bin/bash", "-c"],
            "OnBuild": ["RUN true"],
            "Healthcheck": { "Test": ["CMD", "true"], "Interval": 1_000_000_000_u64 },
            "FromAnotherProgram": [1, 2, 3],
        },
        "history": [{ "created_by": "tar" }, { "created_by": "more" }],
        "rootfs": { "type": "layers", "diff_ids": diffs },
    })
}

#[test]
fn an_image_of_a_distribution_runs_with_its_users_entry_point_and_volumes() {
    let host = Host::new();
    assert!(Path::new("/var/lib/dpkg/status").exists(), "this test takes files of Debian's packages");
    let registry = Registry::new(&host, 5000);
    let layers = [root_file_system(&host), application()];
    let diffs: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
    let config = config(&diffs);
    let archive = file(
        &host,
        "distribution.tar",
        &docker_archive(&config, &layers.each_ref().map(Vec::as_slice), None),
    );
    let name = registry.image("distribution:v1");
    let (from, to) = (format!("docker-archive:{archive}"), format!("docker://{name}"));
    skopeo(&host, &["copy", "-q", "--dest-tls-verify=false", &from, &to]);
    mydocker(&host, &["pull", "-q", &name]).ok();
    let id = mydocker(&host, &["images", "-q", "--no-trunc"]).ok();
    assert_eq!(id, digest(config.to_string().as_bytes()));

    // With the user, the program and its words, the directory and the volume that the image says.
    let run = |options: &[&str], words: &[&str]| {
        let start = ["run", "--rm", "--net", "none"];
        mydocker(&host, &[&start[..], options, &[&name], words].concat()).ok()
    };
    let release = std::fs::read_to_string("/etc/os-release").expect("the name of the distribution");
    let id = release.lines().find(|line| line.starts_with("ID=")).expect("a name");
    let expected = |words: &str, seed: &str| format!("daemon\n/entry {words}\n/srv/data\n{seed}{id}");
    assert_eq!(run(&[], &[]), expected("one two", "seed\n"));
    assert_eq!(run(&[], &["other"]), expected("other", "seed\n"), "its volume was a new one");
    // A volume with a name keeps what the first container wrote, and its owner.
    let volume = ["-v", "data:/srv/data"];
    assert_eq!(run(&volume, &[]), expected("one two", "seed\n"));
    assert_eq!(run(&volume, &[]), expected("one two", "seed\nagain\n"));
    let stat = |options: &[&str]| {
        let entry = ["--entrypoint", "stat"];
        run(&[&entry[..], options].concat(), &["-c", "%U:%G %a", "seed"])
    };
    assert_eq!(stat(&volume), "daemon:daemon 640");
    for user in ["games", "root"] {
        assert_eq!(run(&["-u", user, "--entrypoint", "id"], &["-un"]), user);
    }
    assert_eq!(
        mydocker(&host, &["volume", "ls", "-q"]).ok(),
        "data",
        "those without a name went with their containers"
    );

    a_commit_keeps_the_rest(&host, &registry, &config);
    mydocker(&host, &["volume", "rm", "data"]).ok();
    clean(&host);
}

/// A commit of a container of the image changes what it is told to, and keeps all the rest.
fn a_commit_keeps_the_rest(host: &Host, registry: &Registry, config: &Value) {
    let name = registry.image("distribution:v1");
    mydocker(
        host,
        &["run", "--name", "work", "--net", "none", "-u", "root", "--entrypoint", "touch", &name, "/made"],
    )
    .ok();
    let more = registry.image("distribution:v2");
    mydocker(
        host,
        &[
            "commit",
            "-c",
            "ENTRYPOINT [\"/entry\"]",
            "-c",
            "CMD [\"three\"]",
            "-c",
            "USER daemon",
            "work",
            &more,
        ],
    )
    .ok();
    mydocker(host, &["rm", "-v", "work"]).ok();
    mydocker(host, &["push", "-q", &more]).ok();
    let source = format!("docker://{more}");
    let raw = skopeo(host, &["inspect", "--tls-verify=false", "--config", "--raw", &source]);
    let kept: Value = serde_json::from_str(&raw).expect("a configuration");
    for member in [
        "Env",
        "Volumes",
        "ExposedPorts",
        "Labels",
        "StopSignal",
        "Shell",
        "OnBuild",
        "Healthcheck",
        "FromAnotherProgram",
        "Entrypoint",
        "User",
        "WorkingDir",
    ] {
        assert_eq!(kept["config"][member], config["config"][member], "{member}: {raw}");
    }
    assert_eq!(kept["config"]["Cmd"], json!(["three"]));
    assert_eq!(kept["from.another.program"], config["from.another.program"]);
    assert_eq!(kept["history"].as_array().map(Vec::len), Some(3), "{raw}");
    assert_eq!(kept["rootfs"]["diff_ids"].as_array().map(|diffs| diffs.len()), Some(3));
    // It is found again under the digest that skopeo sees.
    let pinned = format!("{}@{}", registry.image("distribution"), remote_digest(host, &more));
    let run = mydocker(host, &["run", "--rm", "--net", "none", &pinned]).ok();
    assert!(run.starts_with("daemon\n/entry three\n/srv/data\nseed\n"), "{run}");
}

#[test]
fn layers_that_images_share_are_counted_once_and_go_with_the_last() {
    let host = Host::new();
    let registry = Registry::new(&host, 5000);
    crate::pull::publish(&host, &registry.image("one"));
    let name = registry.image("one");
    mydocker(&host, &["pull", "-q", &name]).ok();
    let size = || {
        let rows = mydocker(&host, &["system", "df", "--format", "json"]).rows();
        let row = rows
            .as_array()
            .and_then(|rows| rows.iter().find(|row| row["Type"] == "Images"))
            .expect("a row for images");
        (row["TotalCount"].to_string(), row["Active"].to_string(), row["Size"].to_string())
    };
    let (count, _, alone) = size();
    assert_eq!(count.trim_matches('"'), "1");
    // A small layer more: the large one is not counted once more.
    mydocker(&host, &["run", "-d", "--name", "runs", "--net", "none", &name, "sleep", "1000"]).ok();
    mydocker(&host, &["exec", "runs", "sh", "-c", "echo x > /x"]).ok();
    mydocker(&host, &["commit", "runs", "two"]).ok();
    let (count, active, shared) = size();
    assert_eq!((count.trim_matches('"'), active.trim_matches('"')), ("2", "1"));
    assert_eq!(shared, alone, "two more bytes do not show");
    let layers = || crate::pull::entries(host.root("image/layers/sha256")).len();
    assert_eq!(layers(), 4);

    // The running container keeps its image, whatever is asked for; the other image goes with its own layer alone.
    mydocker(&host, &["rmi", "-f", &name]).refused(&[1], &["runs"]);
    mydocker(&host, &["image", "prune", "-a", "-f"]).ok();
    assert_eq!(mydocker(&host, &["images", "-q"]).ok().lines().count(), 1);
    assert_eq!(layers(), 3);
    assert_eq!(mydocker(&host, &["exec", "runs", "cat", "/one", "/data/two"]).ok(), "one\ntwo");
    mydocker(&host, &["rm", "-f", "runs"]).ok();
    let removed = mydocker(&host, &["rmi", &name]).ok();
    assert_eq!(removed.lines().filter(|line| line.starts_with("Deleted: ")).count(), 4, "{removed}");
    assert_eq!(layers(), 0);
    clean(&host);
}
