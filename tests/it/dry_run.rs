//! `--dry-run`: the transaction as text that `nft -c -f -` accepts, and nothing changed.

use std::path::Path;

use crate::host::Host;
use crate::program::Program;

/// Everything that a command could have changed, in words.
fn state(host: &Host) -> Vec<String> {
    let mut state = vec![host.table()];
    for listing in [&["ip", "-o", "address"][..], &["ip", "route"], &["sysctl", "net.ipv4.ip_forward"]] {
        // What the kernel does by itself, in its own time.
        let text = host.space.ok(listing).replace(" linkdown", "");
        let lines: Vec<&str> =
            text.lines().map(str::trim_end).filter(|line| !line.contains("fe80:")).collect();
        state.push(lines.join("\n"));
    }
    for base in [&host.root, &host.run_root] {
        let files = host.space.ok(&["find", base.to_str().unwrap_or("/"), "-type", "f", "-o", "-type", "l"]);
        for file in files.lines().filter(|file| !file.ends_with("lock") && !file.ends_with(".log")) {
            state.push(format!("{file}: {:?}", std::fs::read(Path::new(file)).ok()));
        }
    }
    state
}

/// Runs a command with `--dry-run`; returns the text, once nft has checked it and nothing has changed.
#[track_caller]
fn dry(host: &Host, arguments: &[&str]) -> String {
    std::fs::create_dir_all(&host.root).unwrap();
    std::fs::create_dir_all(&host.run_root).unwrap();
    let before = state(host);
    let text = host.mydocker(arguments).ok();
    assert_eq!(state(host), before, "{arguments:?} has changed something");
    Program::new(&["nft", "-c", "-f", "-"]).input(&format!("{text}\n")).run_in(&host.space).ok();
    text
}

#[test]
fn a_dry_run_prints_what_would_change_and_changes_nothing() {
    let host = Host::new();
    // The first network brings the whole table.
    let create =
        ["network", "create", "--dry-run", "--subnet", "172.18.0.0/24", "--subnet", "fd00:18::/64", "front"];
    let text = dry(&host, &create);
    assert!(
        text.contains("chain forward") && text.contains("172.18.0.0/24") && text.contains("\"front\""),
        "{text}"
    );
    let run = ["run", "--dry-run", "-p", "8080:80", &host.image, "true"];
    let text = dry(&host, &run);
    assert!(text.contains("\"mydocker0\"") && text.contains("tcp . 8080"), "{text}");

    host.network("front", "172.18.0.0/24", &["--subnet", "fd00:18::/64"]);
    let text = dry(&host, &["network", "create", "--dry-run", "--subnet", "172.19.0.0/24", "back"]);
    assert!(
        text.contains("create element") && text.contains("\"back\"") && !text.contains("\"front\""),
        "{text}"
    );
    host.network("back", "172.19.0.0/24", &[]);
    let text = dry(&host, &["network", "remove", "--dry-run", "back"]);
    assert!(text.contains("delete element") && text.contains("172.19.0.0/24"), "{text}");

    let run = [
        "run",
        "--dry-run",
        "--name",
        "web",
        "--net",
        "front",
        "-p",
        "8080:80",
        "-p",
        "9000-9010:90-100/udp",
    ];
    let text = dry(&host, &[&run[..], &[&host.image, "true"]].concat());
    assert!(text.contains("0.0.0.0 . tcp . 8080") && text.contains("172.18.0.2 . 80"), "{text}");
    assert!(text.contains(":: . tcp . 8080") && text.contains("fd00:18::2 . 80"), "{text}");
    let web = host.container("web", "front", &["-p", "8080:80"]);
    let again = ["run", "--dry-run", "--net", "front", "-p", "8080:80", &host.image, "true"];
    host.mydocker(&again).refused(&[1, 125], &["8080", "container web"]);

    // What is printed is what is done: the same elements are then there, or are not.
    assert_eq!(dry(&host, &["network", "connect", "--dry-run", "back", "web"]), "");
    host.mydocker(&["network", "connect", "back", "web"]).ok();
    let text = dry(&host, &["network", "disconnect", "--dry-run", "front", "web"]);
    assert!(text.contains("172.19.0.2 . 80") && text.contains("delete element"), "{text}");
    host.mydocker(&["network", "disconnect", "front", "web"]).ok();
    assert_eq!(host.published().len(), 1, "{:?}", host.published());

    host.space.ok(&["ip", "netns", "add", "lab"]);
    let text = dry(&host, &["network", "connect", "--dry-run", "--netns", "lab", "-p", "7070:70", "front"]);
    assert!(text.contains("tcp . 7070") && text.contains("/run/netns/lab"), "{text}");
    host.mydocker(&["network", "connect", "--netns", "lab", "-p", "7070:70", "front"]).ok();
    let text = dry(&host, &["network", "disconnect", "--dry-run", "--netns", "lab", "front"]);
    assert!(text.contains("delete element") && text.contains("7070"), "{text}");

    for command in [&["stop", "--dry-run", "web"][..], &["rm", "-f", "--dry-run", "web"]] {
        let text = dry(&host, command);
        assert!(text.contains("delete element") && text.contains("8080"), "{text}");
    }
    drop(web);
    host.mydocker(&["stop", "-t", "0", "web"]).ok();
    let text = dry(&host, &["start", "--dry-run", "web"]);
    assert!(text.contains("create element") && text.contains("8080"), "{text}");
    assert_eq!(dry(&host, &["stop", "--dry-run", "web"]), "");

    // Without the table, everything comes back first.
    host.space.ok(&["nft", "flush", "ruleset"]);
    let text = dry(&host, &["start", "--dry-run", "web"]);
    assert!(text.contains("chain forward") && text.contains("8080") && text.contains("7070"), "{text}");
    host.mydocker(&["network", "create", "--dry-run", "front"]).refused(&[1], &["front"]);
    host.mydocker(&["network", "remove", "--dry-run", "nowhere"]).refused(&[1], &["nowhere"]);
}
