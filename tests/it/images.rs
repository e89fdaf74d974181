//! Images without a registry: made of archives, named, listed, run, removed.

use std::io::Write as _;

use crate::archives::{file, image_tar, import};
use crate::host::Host;

#[test]
fn an_archive_plain_or_compressed_becomes_an_image_that_runs() {
    let host = Host::new();
    let plain = image_tar(&host, &[]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    for (name, bytes) in [
        ("plain", plain.clone()),
        ("gzip", gzip.finish().unwrap()),
        ("zstd", zstd::encode_all(&plain[..], 1).unwrap()),
    ] {
        let archive = file(&host, name, &bytes);
        let id = host.mydocker(&["import", &archive, &format!("small:{name}")]).ok();
        assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
        let seen = host.mydocker(&[
            "run",
            "--rm",
            "--net",
            "none",
            &format!("small:{name}"),
            "cat",
            "/www/index.html",
        ]);
        assert_eq!(seen.ok(), "a page from a container");
    }
    // In a pipe, and run by its id and by the beginning of it.
    let archive = file(&host, "piped", &plain);
    let shell = format!("\"$0\" import - < {archive}");
    let id = host.program(&["sh", "-c", &shell, env!("CARGO_BIN_EXE_mydocker")]).run_in(&host.space).ok();
    for reference in [id.as_str(), &id[7..], &id[7..19]] {
        let seen = host.mydocker(&["run", "--rm", "--net", "none", reference, "echo", "ran"]);
        assert_eq!(seen.ok(), "ran", "{reference}");
    }
    // The same files are one layer, however they came.
    let layers = std::fs::read_dir(host.root("image/layers/sha256")).unwrap().count();
    assert_eq!(layers, 1);
    let left = host.mydocker(&["image", "prune", "-a", "-f"]).ok();
    assert_eq!(left.lines().filter(|line| line.starts_with("Deleted: ")).count(), 5, "{left}");
    assert!(left.contains("Total reclaimed space: ") && !left.ends_with(" 0B"), "{left}");
    host.assert_nothing_left();
}

#[test]
fn what_the_image_says_holds_unless_the_user_says_otherwise() {
    let host = Host::new();
    let changes = [
        "ENTRYPOINT [\"/bin/sh\", \"-c\", \"echo $A $B $(id -u) $(pwd) $0\"]",
        "CMD [\"default\"]",
        "ENV A=image B=image",
        "USER tester",
        "WORKDIR /srv/app",
        "LABEL one=1 two=2",
        "STOPSIGNAL SIGINT",
        "EXPOSE 80 53/udp",
    ];
    let options: Vec<&str> = changes.iter().flat_map(|change| ["-c", change]).collect();
    let id = import(&host, "said:v1", &options, &[]);
    let run = |options: &[&str], command: &[&str]| {
        host.mydocker(&[&["run", "--rm", "--net", "none"], options, &["said:v1"], command].concat()).ok()
    };
    assert_eq!(run(&[], &[]), "image image 1234 /srv/app default");
    assert_eq!(run(&["-e", "B=user"], &["word"]), "image user 1234 /srv/app word");
    assert_eq!(run(&["-u", "0", "-w", "/tmp"], &[]), "image image 0 /tmp default");
    // An entry point of the user's own does not get the image's arguments; an empty one is none.
    assert_eq!(run(&["--entrypoint", "echo"], &[]), "");
    assert_eq!(run(&["--entrypoint", "echo"], &["a", "b"]), "a b");
    assert_eq!(run(&["--entrypoint", ""], &["pwd"]), "/srv/app");
    let name = "said-it";
    host.mydocker(&["create", "--name", name, "--net", "none", "-l", "two=own", "said:v1"]).ok();
    let record = host.inspect(name);
    assert_eq!(record["Image"], id.as_str());
    let config = &record["Config"];
    assert_eq!((config["Image"].as_str(), config["StopSignal"].as_str()), (Some("said:v1"), Some("SIGINT")));
    assert_eq!(
        (config["Labels"]["one"].as_str(), config["Labels"]["two"].as_str()),
        (Some("1"), Some("own"))
    );
    assert!(config["ExposedPorts"]["80/tcp"].is_object() && config["ExposedPorts"]["53/udp"].is_object());
    assert_eq!(config["Cmd"], serde_json::json!(["default"]));
    assert_eq!(config["Entrypoint"][0], "/bin/sh");
    let document = host.mydocker(&["image", "inspect", "said:v1"]).json()[0].clone();
    assert_eq!(
        (document["Id"].as_str(), &document["RepoTags"]),
        (Some(&*id), &serde_json::json!(["said:v1"]))
    );
    assert_eq!(document["Config"]["WorkingDir"], "/srv/app");
    assert_eq!(document["RootFS"]["Layers"].as_array().unwrap().len(), 1);
    host.mydocker(&["rm", name]).ok();
    // An image without a command needs one.
    let archive = file(&host, "bare", &image_tar(&host, &[]));
    host.mydocker(&["import", &archive, "bare"]).ok();
    host.mydocker(&["run", "--rm", "bare"]).refused(&[125], &["no command"]);
    for (change, why) in [
        ("RUN x", "none of"),
        ("STOPSIGNAL NOSUCH", "no such signal"),
        ("USER a:b:c", "not a user"),
        ("EXPOSE 0", "a port is"),
    ] {
        let output = host.mydocker(&["import", "-c", change, &archive, "bad"]);
        assert!(!output.status.success() && output.stderr.contains(why), "{output}");
    }
    host.mydocker(&["rmi", "said:v1", "bare"]).ok();
    host.assert_nothing_left();
}

#[test]
fn images_have_names_and_go_with_the_last_one() {
    let host = Host::new();
    let one = import(&host, "one", &["-m", "a message", "-c", "LABEL kind=first"], &[]);
    let two = import(&host, "two:v2", &["-c", "CMD sh"], &[]);
    host.mydocker(&["tag", "one", "localhost:5000/a/b:x"]).ok();
    host.mydocker(&["tag", &one[..20], "one:again"]).ok();
    let table = host.mydocker(&["images"]).ok();
    let header: Vec<&str> =
        table.lines().next().unwrap().split("   ").map(str::trim).filter(|c| !c.is_empty()).collect();
    assert_eq!(header, ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"]);
    assert_eq!(table.lines().count(), 5, "{table}");
    assert!(
        table.contains("localhost:5000/a/b") && table.contains(&one[7..19]) && table.contains("MB"),
        "{table}"
    );
    let ids = |options: &[&str]| {
        let output = host.mydocker(&[&["images", "-q", "--no-trunc"], options].concat()).ok();
        let mut ids: Vec<String> = output.lines().map(str::to_owned).collect();
        ids.dedup();
        ids
    };
    assert_eq!(ids(&[]), [two.clone(), one.clone()]);
    for (options, expected) in [
        (&["one"][..], vec![&one]),
        (&["one:again"], vec![&one]),
        (&["two:other"], vec![]),
        (&["-f", "reference=o*"], vec![&one]),
        (&["-f", "reference=*/*/b:x"], vec![&one]),
        (&["-f", "label=kind"], vec![&one]),
        (&["-f", "label=kind=second"], vec![]),
        (&["-f", "dangling=true"], vec![]),
        (&["-f", "before=two:v2"], vec![&one]),
        (&["-f", "since=one"], vec![&two]),
    ] {
        assert_eq!(ids(options).iter().collect::<Vec<_>>(), expected, "{options:?}");
    }
    let json = host.mydocker(&["image", "ls", "--format", "json"]).rows();
    assert_eq!(json.as_array().unwrap().len(), 4, "{json}");
    let history = host.mydocker(&["history", "one"]).ok();
    assert!(history.contains("a message") && history.contains(&one[7..19]), "{history}");

    host.mydocker(&["rmi", &one]).refused(&[1], &["3 names", "localhost:5000/a/b:x"]);
    assert_eq!(host.mydocker(&["rmi", "one:again"]).ok(), "Untagged: one:again");
    let removed = host.mydocker(&["rmi", "-f", &one]).ok();
    assert!(
        removed.contains("Untagged: one:latest") && removed.contains(&format!("Deleted: {one}")),
        "{removed}"
    );
    // A name that another image takes leaves one without a name.
    let three = import(&host, "two:v2", &["-c", "CMD pwd"], &[]);
    assert_eq!(ids(&["-f", "dangling=true"]), std::slice::from_ref(&two));
    assert!(host.mydocker(&["images"]).ok().contains("<none>"));
    let pruned = host.mydocker(&["image", "prune", "-f"]).ok();
    assert!(pruned.contains(&two) && !pruned.contains(&three), "{pruned}");
    host.mydocker(&["image", "prune"]).refused(&[1], &["not confirmed"]);
    assert!(host.mydocker(&["rmi", "two:v2"]).ok().lines().count() > 2);

    for bad in ["Upper", "a b", "x:", "a//b", "x@sha256:1"] {
        let output = host.mydocker(&["tag", "two:v2", bad]);
        assert!(!output.status.success() && output.stderr.contains("is not an image name"), "{output}");
    }
    for command in [
        &["rmi", "nosuch"][..],
        &["tag", "nosuch", "x"],
        &["history", "nosuch"],
        &["image", "inspect", "nosuch"],
    ] {
        host.mydocker(command).refused(&[1], &["No such image: nosuch"]);
    }
    host.mydocker(&["run", "--pull", "never", "nosuch"]).refused(&[125], &["No such image: nosuch"]);
    host.assert_nothing_left();
}

#[test]
fn an_image_that_a_container_needs_stays() {
    let host = Host::new();
    let id = import(&host, "needed", &[], &[]);
    let (run, none) = (["run", "-d", "--net", "none", "--name"], ["needed", "sleep", "1000"]);
    host.mydocker(&[&run[..], &["runs"], &none].concat()).ok();
    host.mydocker(&["create", "--net", "none", "--name", "made", "needed", "true"]).ok();
    for options in [&["rmi", "needed"][..], &["rmi", "-f", "needed"], &["rmi", "-f", &id]] {
        host.mydocker(options).refused(&[1], &["container runs", "runs on it"]);
    }
    let pruned = host.mydocker(&["image", "prune", "-a", "-f"]).ok();
    assert_eq!(pruned, "Total reclaimed space: 0B");
    host.mydocker(&["rm", "-f", "runs"]).ok();
    host.mydocker(&["rmi", "needed"]).refused(&[1], &["container made"]);
    // With force the image goes, but not what the container needs to run.
    let removed = host.mydocker(&["rmi", "-f", "needed"]).ok();
    assert_eq!(removed, format!("Untagged: needed:latest\nDeleted: {id}"));
    assert_eq!(std::fs::read_dir(host.root("image/layers/sha256")).unwrap().count(), 1);
    host.mydocker(&["commit", "made"]).refused(&[1], &["container made", "needed", "not there any more"]);
    assert!(host.mydocker(&["cp", "made:/www/index.html", "-"]).ok().contains("a page"));
    host.mydocker(&["rm", "made"]).ok();
    // The next change takes what nobody needs any more.
    import(&host, "other", &["-c", "CMD sh"], &[("more", tar::EntryType::Regular, "", b"x")]);
    assert_eq!(std::fs::read_dir(host.root("image/layers/sha256")).unwrap().count(), 1);
    host.mydocker(&["rmi", "other"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_container_becomes_an_image_with_what_it_wrote() {
    let host = Host::new();
    import(&host, "base", &["-c", "ENV A=1", "-c", "WORKDIR /srv"], &[]);
    let script =
        "echo new > /new; rm /www/index.html; rm -r /home; mkdir /home; echo $A > /home/a; chmod 700 /";
    host.mydocker(&["run", "--net", "none", "--name", "work", "-e", "B=2", "base", "sh", "-c", script]).ok();
    let options = ["-a", "me", "-m", "worked", "-c", "CMD [\"cat\",\"/new\"]", "-c", "ENV C=3"];
    let id = host.mydocker(&[&["commit"], &options[..], &["work", "base:work"]].concat()).ok();
    let run = |command: &[&str]| {
        host.mydocker(&[&["run", "--rm", "--net", "none", "base:work"], command].concat()).ok()
    };
    assert_eq!(run(&[]), "new");
    assert_eq!(
        run(&["sh", "-c", "echo $A $B $C; pwd; ls /www /home; stat -c %a /"]),
        "1 2 3\n/srv\n/home:\na\n\n/www:\ncgi-bin\n700"
    );
    let history = host.mydocker(&["history", "--no-trunc", "base:work"]).ok();
    assert_eq!(history.lines().count(), 3, "{history}");
    assert!(history.contains(&id) && history.contains("worked") && history.contains("echo new"), "{history}");
    let document = host.mydocker(&["image", "inspect", "base:work"]).json()[0].clone();
    assert_eq!((document["Author"].as_str(), document["Comment"].as_str()), (Some("me"), Some("worked")));
    assert_eq!(document["RootFS"]["Layers"].as_array().unwrap().len(), 2);
    // Layer by layer, and while it runs.
    host.mydocker(&[
        "run",
        "-d",
        "--net",
        "none",
        "--name",
        "again",
        "base:work",
        "sh",
        "-c",
        "echo 2 > /new; sleep 1000",
    ])
    .ok();
    crate::program::eventually("the second file", || {
        let seen = host.mydocker(&["exec", "again", "cat", "/new"]).ok();
        (seen == "2").then_some(())
    });
    host.mydocker(&["commit", "again", "base:again"]).ok();
    assert_eq!(
        host.mydocker(&["run", "--rm", "--net", "none", "base:again", "cat", "/new", "/home/a"]).ok(),
        "2\n1"
    );
    assert_eq!(host.mydocker(&["exec", "again", "echo", "goes on"]).ok(), "goes on");
    // Who was paused before is so afterwards.
    host.mydocker(&["pause", "again"]).ok();
    for pause in ["--pause=true", "--pause=false", "-p"] {
        host.mydocker(&["commit", pause, "again", "base:again"]).ok();
        assert_eq!(host.inspect("again")["State"]["Paused"], true, "{pause}");
    }
    host.mydocker(&["unpause", "again"]).ok();
    // The base may go first: each image has its own claim on the layers.
    host.mydocker(&["rm", "-f", "work", "again"]).ok();
    host.mydocker(&["image", "prune", "-f"]).ok();
    host.mydocker(&["rmi", "base", "base:again"]).ok();
    assert_eq!(run(&[]), "new");
    host.mydocker(&["rmi", "base:work"]).ok();
    // A directory is no image that could have one more layer.
    host.mydocker(&["create", "--name", "bare", "--net", "none", &host.image, "true"]).ok();
    let refused = host.mydocker(&["commit", "bare", "x"]);
    refused.refused(&[1], &["container bare", &host.image]);
    assert!(refused.stderr.contains("hint: ") && refused.stderr.contains("export bare"), "{refused}");
    host.mydocker(&["rm", "bare"]).ok();
    host.assert_nothing_left();
}
