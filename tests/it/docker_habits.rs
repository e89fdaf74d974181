//! What users of Docker type without thinking: options and commands that are no more than names for what there is.

use crate::archives::{file, tar};
use crate::host::Host;

#[test]
fn ports_without_a_network_of_its_own_are_warned_of_and_names_of_anothers_refused() {
    let host = Host::new();
    for (net, options) in [
        ("none", &["-p", "8080:80"][..]),
        ("host", &["-p", "8080:80"]),
        ("none", &["-P"]),
        ("host", &["-P", "--expose", "80"]),
    ] {
        let output = host.run(&[&["--net", net], options].concat(), &["echo", "ran"]);
        assert_eq!(output.ok(), "ran", "{options:?}");
        let named = options[0].replace("-p", "--publish").replace("-P", "--publish-all");
        let is_warned = |line: &str| line.contains(&named) && line.contains(&format!("--net {net}"));
        assert!(output.stderr.lines().any(is_warned), "{output}");
    }
    host.mydocker(&["create", "--name", "other", "--net", "none", &host.image, "true"]).ok();
    for options in [
        &["-p", "8080:80"][..],
        &["-P"],
        &["--dns", "192.0.2.53"],
        &["--dns-search", "example.org"],
        &["--dns-option", "ndots:1"],
        &["--add-host", "a:192.0.2.1"],
        &["--expose", "80"],
        &["--hostname", "name"],
        &["--domainname", "name"],
        &["--ip", "172.18.0.9"],
    ] {
        let output = host.run(&[&["--net", "container:other"], options].concat(), &["true"]);
        output.refused(
            &[125],
            &["conflicting options", options[0].trim_start_matches('-'), "--net container:"],
        );
    }
    // With them, they mean something.
    host.run(&["--net", "none", "--hostname", "name", "--add-host", "a:192.0.2.1"], &["true"]).ok();
    host.mydocker(&["rm", "other"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_variable_that_the_caller_has_not_is_not_in_the_container() {
    let host = Host::new();
    let busybox = std::fs::read(std::path::Path::new(&host.image).join("bin/busybox")).expect("busybox");
    let members = [
        ("bin", tar::EntryType::Directory, "", &b""[..]),
        ("bin/busybox", tar::EntryType::Regular, "", &busybox),
        ("bin/env", tar::EntryType::Symlink, "busybox", b""),
    ];
    let archive = file(&host, "image.tar", &tar(&members));
    host.mydocker(&["import", "-c", "ENV ONE=1 TWO=2 THREE=3", &archive, "image"]).ok();
    let run = ["run", "--rm", "--net", "none", "-e", "ONE", "-e", "TWO", "-e", "FOUR", "image", "env"];
    let output = host.command(&run).environment("TWO", "mine").run_in(&host.space).ok();
    let mut lines: Vec<&str> = output.lines().filter(|line| line.ends_with(|c| "123e".contains(c))).collect();
    lines.sort_unstable();
    assert_eq!(
        lines.iter().filter(|line| !line.starts_with("HOSTNAME")).collect::<Vec<_>>(),
        [&"THREE=3", &"TWO=mine"]
    );
    host.mydocker(&["rmi", "image"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_name_may_have_the_slash_that_inspect_shows() {
    let host = Host::new();
    host.mydocker(&["run", "-d", "--name", "/web", "--net", "none", &host.image, "sleep", "1000"]).ok();
    assert_eq!(host.inspect("web")["Name"], "/web");
    assert_eq!(host.mydocker(&["ps", "--format", "{{.Names}}"]).ok(), "web");
    for command in [
        &["inspect", "/web"][..],
        &["exec", "/web", "true"],
        &["logs", "/web"],
        &["port", "/web"],
        &["top", "/web"],
        &["diff", "/web"],
        &["update", "--pids-limit", "100", "/web"],
        &["pause", "/web"],
        &["unpause", "/web"],
        &["stop", "-t", "0", "/web"],
        &["start", "/web"],
        &["restart", "-t", "0", "/web"],
        &["kill", "/web"],
        &["wait", "/web"],
        &["rename", "/web", "site"],
        &["rm", "/site"],
    ] {
        host.mydocker(command).ok();
    }
    host.mydocker(&["rm", "/web"]).refused(&[1], &["No such container: /web"]);
    host.run(&["--net", "none", "--name", "//web"], &["true"]).refused(&[125], &["name"]);
    host.assert_nothing_left();
}

#[test]
fn values_that_mean_nothing_and_quiet_options_are_taken() {
    let host = Host::new();
    let zeros =
        ["--cpu-period", "0", "--cpu-quota", "0", "--cpu-shares", "0", "--log-opt", "max-size=1.075m"];
    for command in ["run", "create"] {
        let words =
            [&[command, "-q", "--name", command, "--net", "none"][..], &zeros, &[&host.image, "true"]];
        host.mydocker(&words.concat()).ok();
    }
    let created = host.inspect("create");
    assert_eq!(created["HostConfig"]["LogConfig"]["Config"]["max-size"], "1075000");
    assert_eq!(created["HostConfig"]["CpuPeriod"], 0);
    host.mydocker(&["update", "create"]).refused(&[1], &["nothing is to be changed"]);
    host.mydocker(&["update", "--cpu-period", "999", "create"]).refused(&[125], &["--cpu-period", "999"]);
    assert_eq!(host.mydocker(&["volume", "create", "--name", "data"]).ok(), "data");
    for (net, name) in [("none", "n"), ("host", "h")] {
        host.mydocker(&["create", "--name", name, "--net", net, &host.image, "true"]).ok();
        let networks = host.inspect(name)["NetworkSettings"]["Networks"].clone();
        assert_eq!(networks[net]["IPAddress"], "", "{networks}");
    }
    host.mydocker(&["rm", "run", "create", "n", "h"]).ok();
    host.mydocker(&["volume", "rm", "data"]).ok();
    host.assert_nothing_left();
}

#[test]
fn what_is_not_used_is_counted_and_removed() {
    let host = Host::new();
    let archive = file(&host, "image.tar", &tar(&[("x", tar::EntryType::Regular, "", &[7; 2000])]));
    host.mydocker(&["import", &archive, "named"]).ok();
    host.mydocker(&["import", &archive, "-c", "LABEL a=b", "lost"]).ok();
    host.mydocker(&["import", &archive, "-c", "LABEL a=c", "lost"]).ok();
    host.network("unused", "172.18.0.0/16", &[]);
    let run = |name: &str, options: &[&str], script: &str| {
        let words = ["run", "--name", name, "--net", "none"];
        host.mydocker(&[&words, options, &[&host.image, "sh", "-c", script]].concat()).ok()
    };
    run("up", &["-d"], "sleep 1000");
    run(
        "done",
        &["-v", "/data", "-l", "keep=no"],
        "head -c 3000 /dev/zero > /file; head -c 500 /dev/zero > /data/file",
    );
    run("kept", &["-l", "keep=yes"], "true");
    let table = host.mydocker(&["system", "df"]).ok();
    let titles: Vec<&str> = table.lines().next().expect("titles").split_whitespace().collect();
    assert_eq!(titles, ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]);
    let df = || {
        host.mydocker(&[
            "system",
            "df",
            "--format",
            "{{.Type}} {{.TotalCount}} {{.Active}} {{.Size}} {{.Reclaimable}}",
        ])
        .ok()
    };
    // The layer that all three images share counts once.
    assert_eq!(
        df(),
        "Images 3 0 2kB 2kB (100%)\nContainers 3 1 3kB 3kB (100%)\nLocal Volumes 1 1 500B 0B (0%)"
    );
    assert_eq!(host.mydocker(&["system", "df", "--format", "json"]).rows()[2]["Type"], "Local Volumes");
    let each = host.mydocker(&["system", "df", "-v"]).ok();
    let line =
        |end: &str| each.lines().find(|line| line.ends_with(end)).unwrap_or_else(|| panic!("{end}: {each}"));
    assert!(line(" done").contains(" 3kB ") && line(" done").contains("Exited (0)"), "{each}");
    assert!(line("  1       500B").len() > 64 && line(" up").contains(" Up "), "{each}");
    let columns = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let shared = each.lines().filter(|line| columns(line).ends_with(" 2kB 2kB 0B 0")).count();
    assert_eq!(shared, 3, "{each}");
    let json = host.mydocker(&["system", "df", "-v", "--format", "json"]).json();
    let names = |kind: &str, member: &str| {
        let rows = json[kind].as_array().expect("rows").iter();
        rows.map(|row| row[member].as_str().expect("a text").to_owned()).collect::<Vec<_>>()
    };
    assert!(each.contains(&names("Volumes", "Name")[0]), "{json}");
    assert!(names("Containers", "Size").iter().all(|size| each.contains(size)), "{json}");
    assert_eq!((names("Containers", "Names").len(), names("Volumes", "Links").len()), (3, 1), "{json}");
    assert_eq!(json["BuildCache"], serde_json::json!([]));
    let by_template = ["system", "df", "-v", "--format", "{{range .Volumes}}{{.Name}} {{.Size}}{{end}}"];
    let expected = format!("{} {}", names("Volumes", "Name")[0], names("Volumes", "Size")[0]);
    assert_eq!(host.mydocker(&by_template).ok(), expected);
    host.mydocker(&["system", "df", "-v", "--format", "table {{.Images}}"])
        .refused(&[1], &["--format table", "--verbose"]);
    // Nobody has said yes.
    host.mydocker(&["container", "prune"]).refused(&[1], &["not confirmed"]);
    host.mydocker(&["system", "prune"]).refused(&[1], &["not confirmed"]);
    assert!(df().contains("Containers 3 1"));
    let id = host.inspect("done")["Id"].as_str().expect("an id").to_owned();
    for filter in ["label=keep=maybe", "label!=keep", "until=24h"] {
        let none = host.mydocker(&["container", "prune", "-f", "--filter", filter]).ok();
        assert_eq!(none, "Total reclaimed space: 0B", "{filter}");
    }
    let pruned = host.mydocker(&["container", "prune", "-f", "--filter", "label!=keep=yes"]).ok();
    assert_eq!(pruned, format!("Deleted Containers:\n{id}\n\nTotal reclaimed space: 3kB"));
    let pruned = host.command(&["system", "prune", "--volumes"]).input("y\n").run_in(&host.space).ok();
    let kept: Vec<&str> = pruned.lines().filter(|line| line.starts_with("Deleted ")).collect();
    assert_eq!(
        kept,
        ["Deleted Containers:", "Deleted Networks:", "Deleted Volumes:", "Deleted Images:"],
        "{pruned}"
    );
    assert!(pruned.contains("\nunused\n") && pruned.contains("Total reclaimed space: "), "{pruned}");
    assert_eq!(host.mydocker(&["ps", "-a", "--format", "{{.Names}}"]).ok(), "up");
    assert_eq!(host.mydocker(&["images", "--format", "{{.Repository}}"]).ok(), "lost\nnamed");
    host.mydocker(&["system", "prune", "-af"]).ok();
    assert_eq!(host.mydocker(&["images", "-q"]).ok(), "");
    host.mydocker(&["rm", "-f", "up"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_container_that_never_starts_has_its_volumes_filled() {
    let host = Host::new();
    host.mydocker(&["create", "--name", "data", "--net", "none", "-v", "/www", &host.image, "true"]).ok();
    // An image that has nothing there.
    let busybox = std::fs::read(std::path::Path::new(&host.image).join("bin/busybox")).expect("busybox");
    let members = [
        ("bin", tar::EntryType::Directory, "", &b""[..]),
        ("bin/busybox", tar::EntryType::Regular, "", &busybox),
        ("bin/cat", tar::EntryType::Symlink, "busybox", b""),
    ];
    let archive = file(&host, "image.tar", &tar(&members));
    host.mydocker(&["import", &archive, "bare"]).ok();
    let words = ["run", "--rm", "--net", "none", "--volumes-from", "data", "bare", "cat", "/www/index.html"];
    assert_eq!(host.mydocker(&words).ok(), "a page from a container");
    // What cannot be filled leaves nothing.
    let mount = ["--mount", "type=bind,src=/no/such/place,dst=/x", "-v", "named:/www"];
    let words = [&["create", "--name", "bad", "--net", "none"][..], &mount, &[&host.image, "true"]].concat();
    host.mydocker(&words).refused(&[125], &["/no/such/place"]);
    assert_eq!(host.mydocker(&["ps", "-a", "--format", "{{.Names}}"]).ok(), "data");
    host.mydocker(&["rm", "-v", "data"]).ok();
    host.mydocker(&["volume", "rm", "-f", "named"]).ok();
    host.mydocker(&["rmi", "bare"]).ok();
    host.assert_nothing_left();
}
