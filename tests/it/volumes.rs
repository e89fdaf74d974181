//! Volumes: what containers share and leave, what a new volume starts with, and who may remove it.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use crate::host::Host;
use crate::program::Output;

#[track_caller]
fn inside(host: &Host, options: &[&str], command: &str) -> Output {
    host.run(&[&["--net", "none"], options].concat(), &["sh", "-c", command])
}

fn data(host: &Host, name: &str) -> PathBuf {
    host.root(&format!("volumes/{name}/_data"))
}

fn volumes(host: &Host) -> Vec<String> {
    host.mydocker(&["volume", "ls", "-q"]).ok().lines().map(str::to_owned).collect()
}

#[test]
fn a_volume_is_made_listed_shown_and_removed() {
    let host = Host::new();
    assert_eq!(host.mydocker(&["volume", "ls"]).ok(), "DRIVER   VOLUME NAME");
    assert_eq!(host.mydocker(&["volume", "create", "--label", "a=b", "--label", "c", "data"]).ok(), "data");
    // Once more is no error and changes nothing.
    assert_eq!(host.mydocker(&["volume", "create", "--label", "x=y", "data"]).ok(), "data");
    let random = host.mydocker(&["volume", "create"]).ok();
    assert!(random.len() == 64 && random.bytes().all(|byte| byte.is_ascii_hexdigit()), "{random}");
    let shown = host.mydocker(&["volume", "inspect", "data"]).json()[0].clone();
    assert_eq!(
        (&shown["Name"], &shown["Driver"], &shown["Scope"]),
        (&"data".into(), &"local".into(), &"local".into())
    );
    assert_eq!(shown["Labels"], serde_json::json!({ "a": "b", "c": "" }));
    assert_eq!(shown["Mountpoint"], data(&host, "data").to_str().unwrap());
    let list = |filter: &str| host.mydocker(&["volume", "ls", "-q", "-f", filter]).ok();
    assert_eq!(list("name=dat"), "data");
    assert_eq!(list("label=a=b"), "data");
    assert_eq!(list("label=a=c"), "");
    assert_eq!(host.mydocker(&["volume", "ls", "--format", "json"]).rows().as_array().unwrap().len(), 2);

    host.mydocker(&["create", "--name", "user", "--net", "none", "-v", "data:/x", &host.image, "true"]).ok();
    assert_eq!((list("dangling=true"), list("dangling=false")), (random.clone(), "data".to_owned()));
    for options in [&["volume", "rm", "data"][..], &["volume", "rm", "-f", "data"]] {
        host.mydocker(options).refused(&[1], &["data", "user"]);
    }
    host.mydocker(&["volume", "inspect", "nothing"]).refused(&[1], &["nothing"]);
    host.mydocker(&["volume", "rm", "nothing"]).refused(&[1], &["nothing"]);
    host.mydocker(&["volume", "rm", "-f", "nothing"]).ok();
    for bad in ["a/b", "..", "-x", ""] {
        host.mydocker(&["volume", "create", "--", bad]).refused(&[125], &[bad]);
    }
    host.mydocker(&["volume", "create", "--driver", "nfs", "x"]).refused(&[125], &["nfs"]);
    host.mydocker(&["volume", "ls", "-f", "colour=red"]).refused(&[125], &["colour"]);

    host.mydocker(&["volume", "create", "kept"]).ok();
    std::fs::write(data(&host, &random).join("large"), vec![1; 100_000]).unwrap();
    // Nobody answers the question.
    host.mydocker(&["volume", "prune"]).refused(&[1], &["not confirmed"]);
    let pruned = host.mydocker(&["volume", "prune", "-f"]).ok();
    assert!(
        pruned.starts_with(&format!("Deleted Volumes:\n{random}\n\nTotal reclaimed space: 10")),
        "{pruned}"
    );
    assert!(pruned.ends_with("kB"), "{pruned}");
    assert_eq!(volumes(&host), ["data", "kept"]);
    let pruned = host.command(&["volume", "prune", "--all"]).input("y\n").run_in(&host.space).ok();
    assert_eq!(pruned, "Deleted Volumes:\nkept\n\nTotal reclaimed space: 0B");
    host.mydocker(&["rm", "user"]).ok();
    assert_eq!(volumes(&host), ["data"], "rm leaves what has a name");
    assert_eq!(host.mydocker(&["volume", "rm", "data"]).ok(), "data");
    host.assert_nothing_left();
}

#[test]
fn a_volume_can_be_a_directory_of_the_host() {
    let host = Host::new();
    let own = host.scratch("own");
    let device = format!("device={}", own.display());
    let options = ["-o", "type=none", "-o", "o=bind", "--opt", &device];
    host.mydocker(&[&["volume", "create"], &options[..], &["shared"]].concat()).ok();
    let shown = host.mydocker(&["volume", "inspect", "shared"]).json()[0].clone();
    assert_eq!(
        shown["Options"],
        serde_json::json!({ "type": "none", "o": "bind", "device": own.to_str().unwrap() })
    );
    // What the image has is copied into it, on whatever file system it is.
    inside(&host, &["-v", "shared:/etc"], "echo inside > /etc/new").ok();
    assert_eq!(std::fs::read_to_string(own.join("new")).unwrap(), "inside\n");
    let from_image = std::fs::read_to_string(own.join("passwd")).unwrap();
    assert_eq!(from_image.trim_end(), inside(&host, &[], "cat /etc/passwd").ok());
    std::fs::write(own.join("outside"), "x").unwrap();
    assert_eq!(
        inside(&host, &["-v", "shared:/x:ro"], "cat /x/outside; ! echo > /x/no 2>/dev/null").ok(),
        "x"
    );
    host.mydocker(&["create", "--name", "still", "--net", "none", "-v", "shared:/x", &host.image, "true"])
        .ok();
    host.mydocker(&["cp", "still:/x/new", own.join("copied").to_str().unwrap()]).ok();
    assert_eq!(std::fs::read_to_string(own.join("copied")).unwrap(), "inside\n");
    host.mydocker(&["rm", "still"]).ok();
    // The same by --mount, for a new volume. The directory is asked for when a container starts, as with Docker.
    let mount = |device: &str| {
        format!("src=other,dst=/x,volume-opt=type=none,volume-opt=o=bind,volume-opt=device={device}")
    };
    let missing = own.join("missing");
    inside(&host, &["--mount", &mount(missing.to_str().unwrap())], "true")
        .refused(&[125], &[missing.to_str().unwrap()]);
    std::fs::create_dir(&missing).unwrap();
    inside(&host, &["--mount", &mount(missing.to_str().unwrap())], "echo > /x/file").ok();
    assert!(missing.join("file").exists());
    // It goes, and the directory stays.
    host.mydocker(&["volume", "rm", "shared", "other"]).ok();
    assert!(own.join("new").exists() && missing.join("file").exists());

    for (bad, part) in [
        (&["-o", "type=nfs", "-o", "device=:/x"][..], "nfs"),
        (&["-o", "type=none", "-o", "o=bind"], "missing device in volume options"),
        (&["-o", "type=none", "-o", "o=bind,ro", "-o", "device=/x"], ":ro where it is used"),
        (&["-o", "size=1g"], "invalid option"),
    ] {
        host.mydocker(&[&["volume", "create"], bad, &["bad"]].concat()).refused(&[1], &[part]);
    }
    inside(&host, &["--mount", "src=bad,dst=/x,volume-opt=type=nfs"], "true").refused(&[125], &["nfs"]);
    assert_eq!(volumes(&host), Vec::<String>::new());
    host.assert_nothing_left();
}

#[test]
fn a_volume_outlives_its_containers_and_is_shared_by_them() {
    let host = Host::new();
    inside(&host, &["-v", "data:/a"], "echo first > /a/file").ok();
    assert_eq!(inside(&host, &["-v", "data:/b/c:ro"], "cat /b/c/file").ok(), "first");
    assert_ne!(inside(&host, &["-v", "data:/b:ro"], "touch /b/x").code(), 0);
    let mount = "source=data,target=/d,volume-label=a=b";
    let reader = [
        "run",
        "-d",
        "--name",
        "one",
        "--net",
        "none",
        "--mount",
        mount,
        "-v",
        "/own",
        &host.image,
        "sleep",
        "1000",
    ];
    host.mydocker(&reader).ok();
    inside(&host, &["-v", "data:/e"], "echo second > /e/file").ok();
    assert_eq!(host.mydocker(&["exec", "one", "cat", "/d/file"]).ok(), "second");
    host.mydocker(&["exec", "one", "sh", "-c", "echo own > /own/file"]).ok();
    // Another container takes over all that the first has, whether it may write or not.
    assert_eq!(
        inside(&host, &["--volumes-from", "one"], "cat /d/file /own/file; touch /own/new").ok(),
        "second\nown"
    );
    let output = inside(&host, &["--volumes-from", "one:ro"], "cat /own/file; touch /own/x || touch /d/x");
    assert!(output.stdout == "own\n" && output.code() != 0, "{output}");
    // What is asked for in so many words wins.
    assert_eq!(inside(&host, &["--volumes-from", "one", "--tmpfs", "/own"], "ls /own; ls /d").ok(), "file");
    assert_eq!(volumes(&host).len(), 2, "a volume in use by another container stays");
    host.mydocker(&["rm", "-f", "-v", "one"]).ok();
    assert_eq!(volumes(&host), ["data"]);
    host.mydocker(&["volume", "rm", "data"]).ok();
    host.assert_nothing_left();
}

#[test]
fn volumes_without_a_name_go_with_their_container_when_asked_to() {
    let host = Host::new();
    let create = |name: &str, rm: &[&str]| {
        let arguments =
            [&["create", "--name", name, "--net", "none"], rm, &["-v", "/v", &host.image, "true"]].concat();
        host.mydocker(&arguments).ok();
    };
    create("a", &[]);
    host.mydocker(&["rm", "a"]).ok();
    let left = volumes(&host);
    assert_eq!(left.len(), 1, "without -v it stays");
    create("b", &[]);
    host.mydocker(&["rm", "-v", "b"]).ok();
    assert_eq!(volumes(&host), left);
    create("c", &["--rm"]);
    host.mydocker(&["rm", "c"]).ok();
    inside(&host, &["-v", "/v"], "touch /v/x").ok();
    let detached =
        ["run", "-d", "--rm", "--name", "d", "--net", "none", "-v", "/v", &host.image, "sleep", "1000"];
    host.mydocker(&detached).ok();
    assert_eq!(volumes(&host).len(), 2);
    host.mydocker(&["rm", "-f", "d"]).ok();
    assert_eq!(volumes(&host), left);
    host.mydocker(&["volume", "prune", "-f"]).ok();
    host.assert_nothing_left();
}

#[test]
fn an_empty_volume_gets_what_the_image_has_in_its_place() {
    let host = Host::new();
    let image = host.scratch("filled");
    host.space.ok(&["cp", "-a", &format!("{}/.", host.image), image.to_str().unwrap()]);
    let place = image.join("srv/data");
    std::fs::create_dir_all(place.join("sub")).unwrap();
    std::fs::write(place.join("file"), "from the image").unwrap();
    std::fs::hard_link(place.join("file"), place.join("sub/same")).unwrap();
    symlink("/etc/passwd", place.join("link")).unwrap();
    lchown(place.join("link"), Some(3), Some(4)).unwrap();
    for (path, mode) in [("file", 0o4750), ("sub", 0o1777), ("", 0o2751)] {
        chown(place.join(path), Some(1234), Some(2345)).unwrap();
        std::fs::set_permissions(place.join(path), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let image = image.to_str().unwrap();
    let run = |options: &[&str], command: &str| {
        let arguments = [&["run", "--rm", "--net", "none"], options, &[image, "sh", "-c", command]].concat();
        host.mydocker(&arguments)
    };
    let script = "cd /srv/data; stat -c '%n %a %u:%g %h' . file sub sub/same link; cat file; readlink link";
    let script = script.replace("readlink", "busybox readlink");
    let expected = run(&[], &script).ok();
    assert_eq!(run(&["-v", "data:/srv/data"], &script).ok(), expected);
    assert_eq!(run(&["-v", "/srv/data"], &script).ok(), expected);
    // A volume that was made before and is empty gets it, too; one with anything in it does not.
    host.mydocker(&["volume", "create", "early"]).ok();
    assert_eq!(run(&["-v", "early:/srv/data"], &script).ok(), expected);
    run(&["-v", "data:/srv/data"], "rm -r /srv/data/*; echo mine > /srv/data/mine").ok();
    assert_eq!(run(&["-v", "data:/srv/data"], "ls /srv/data").ok(), "mine");
    // Neither does one that does not want it, nor any other kind of mount.
    assert_eq!(run(&["-v", "none:/srv/data:nocopy"], "ls /srv/data").ok(), "");
    assert_eq!(run(&["--mount", "src=other,dst=/srv/data,volume-nocopy"], "ls /srv/data").ok(), "");
    assert_eq!(run(&["--tmpfs", "/srv/data"], "ls /srv/data").ok(), "");
    let empty = host.scratch("empty");
    let bind = format!("{}:/srv/data", empty.to_str().unwrap());
    assert_eq!(run(&["-v", &bind], "ls /srv/data").ok(), "");
    assert_eq!(std::fs::metadata(data(&host, "early")).unwrap().mode() & 0o7777, 0o2751);
    assert_eq!(std::fs::read_to_string(Path::new(image).join("srv/data/file")).unwrap(), "from the image");
    host.mydocker(&["volume", "prune", "-a", "-f"]).ok();
    host.assert_nothing_left();
}

#[test]
fn starts_at_the_same_time_share_one_volume_and_its_contents() {
    let host = Host::new();
    let script = "test \"$(cat /www/index.html)\" = 'a page from a container' && echo $$ > /www/$(hostname)";
    let runs: Vec<_> = (0..6)
        .map(|_| {
            host.start(&[
                "run",
                "--rm",
                "--net",
                "none",
                "-v",
                "shared:/www",
                &host.image,
                "sh",
                "-c",
                script,
            ])
        })
        .collect();
    for run in runs {
        run.wait().ok();
    }
    let names = std::fs::read_dir(data(&host, "shared")).unwrap().count();
    assert_eq!(names, 2 + 6, "what the image has, and one file of each container");
    host.mydocker(&["volume", "rm", "shared"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_volume_is_not_copied_into_itself() {
    let host = Host::new();
    let root = host.root("");
    let root = root.to_str().unwrap().trim_end_matches('/');
    for place in [root.to_owned(), format!("{root}/volumes"), format!("{root}/volumes/v/_data")] {
        let words = ["run", "--rm", "--net", "none", "-v", &format!("v:{place}"), "/", "ls", "-A", &place];
        let output = host.mydocker(&words);
        assert_eq!(output.ok(), "", "{place}");
        assert!(output.stderr.contains("starts empty"), "{output}");
        host.mydocker(&["volume", "rm", "v"]).ok();
    }
    host.assert_nothing_left();
}
