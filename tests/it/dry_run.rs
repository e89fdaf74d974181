//! `--dry-run`: the transaction as text that `nft -c -f -` accepts, and nothing changed.

use std::path::Path;

use crate::host::Host;
use crate::program::{Program, eventually};

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

/// Lets nft do what a text says.
#[track_caller]
fn apply(host: &Host, text: &str) {
    Program::new(&["nft", "-f", "-"]).input(&format!("{text}\n")).run_in(&host.space).ok();
}

/// What a command is said to change is what it changes: nft with the text makes the same table of the one that is
/// there as the command itself. Returns the text.
#[track_caller]
fn comes_true(host: &Host, arguments: &[&str]) -> String {
    let before = host.table();
    let text = dry(host, &[arguments, &["--dry-run"]].concat());
    apply(host, &text);
    let foretold = host.table();
    apply(host, &format!("flush ruleset\n{before}"));
    assert_eq!(host.table(), before, "{arguments:?}: the table that was there");
    host.mydocker(arguments).ok();
    assert_eq!(host.table(), foretold, "{arguments:?}: {text}");
    text
}

#[test]
fn what_a_dry_run_foretells_comes_true() {
    let host = Host::new();
    host.network("front", "172.18.0.0/24", &["--subnet", "fd00:18::/64"]);
    host.network("back", "172.19.0.0/24", &[]);
    drop(host.container("first", "front", &[]));
    drop(host.container("web", "front", &["-p", "8080:80", "-p", "9000-9010:90-100/udp"]));
    drop(host.container("db", "front", &["-p", "5432:5432"]));

    // Both families, single ports and ranges.
    let text = comes_true(&host, &["rename", "web", "www"]);
    assert!(text.contains("delete element") && text.contains("\"www\"") && !text.contains("5432"), "{text}");
    host.mydocker(&["rename", "--dry-run", "www", "db"]).refused(&[1], &["db"]);
    host.mydocker(&["rename", "--dry-run", "www", "www"]).refused(&[1], &["www"]);
    comes_true(&host, &["rename", "www", "web"]);

    // Its own address is free by then, and one that is lower is.
    let text = comes_true(&host, &["restart", "-t", "0", "web"]);
    assert!(text.contains("delete element") && text.contains("172.18.0.3 . 80"), "{text}");
    assert!(!text.contains("5432"), "{text}");
    host.mydocker(&["rm", "-f", "first"]).ok();
    let text = comes_true(&host, &["restart", "-t", "0", "web"]);
    assert!(text.contains("172.18.0.2 . 80") && text.contains("fd00:18::2 . 80"), "{text}");

    // Nobody knows what another signal does.
    assert_eq!(dry(&host, &["kill", "--dry-run", "-s", "TERM", "web"]), "");
    let by_number = dry(&host, &["kill", "--dry-run", "-s", "9", "web"]);
    let text = comes_true(&host, &["kill", "web"]);
    assert!(text.contains("delete element") && text.contains("8080") && !text.contains("create"), "{text}");
    assert_eq!(text, by_number);
    host.mydocker(&["kill", "--dry-run", "web"]).refused(&[1], &["web"]);
    assert_eq!(dry(&host, &["rename", "--dry-run", "web", "www"]), "");
    // Of one that does not run, only the start is left.
    let start = dry(&host, &["start", "--dry-run", "web"]);
    assert_eq!(comes_true(&host, &["restart", "web"]), start);

    let text = comes_true(&host, &["network", "prune", "--force"]);
    assert!(text.contains("172.19.0.0/24") && !text.contains("172.18.0.0/24"), "{text}");
    assert_eq!(comes_true(&host, &["network", "prune", "--force"]), "");

    let text = comes_true(&host, &["network", "reload"]);
    assert!(text.contains("chain forward") && text.contains("8080") && text.contains("9000"), "{text}");
    // What is to go with its killed supervisor does not come back.
    // One that has just ended its container may be among them.
    assert!(host.kill_supervisors() >= 2);
    eventually("both supervisors have ended", || {
        let found = host.mydocker(&["network", "check"]).stdout;
        (found.matches("its supervisor was killed").count() == 2).then_some(())
    });
    let text = comes_true(&host, &["network", "reload"]);
    assert!(text.contains("172.18.0.0/24") && !text.contains("8080"), "{text}");
    for container in ["web", "db"] {
        host.mydocker(&["rm", container]).ok();
    }
    let text = comes_true(&host, &["network", "prune", "--force"]);
    assert!(text.starts_with("delete table"), "{text}");
    assert_eq!(comes_true(&host, &["network", "reload"]), "");
    host.assert_nothing_left();
}

/// Where the table was taken away, there is nothing to be deleted from it, and the rest comes back first.
#[test]
fn what_a_dry_run_foretells_of_a_missing_table_comes_true() {
    let host = Host::new();
    host.network("front", "172.18.0.0/24", &["--subnet", "fd00:18::/64"]);
    host.network("back", "172.19.0.0/24", &[]);
    drop(host.container("web", "front", &["-p", "8080:80", "-p", "9000-9010:90-100/udp"]));
    drop(host.container("db", "front", &["-p", "5432:5432"]));
    host.mydocker(&["network", "connect", "back", "web"]).ok();
    let table = host.table();
    let flush = || host.space.ok(&["nft", "flush", "ruleset"]);

    flush();
    comes_true(&host, &["network", "reload"]);
    assert_eq!(host.table(), table);
    flush();
    let text = comes_true(&host, &["restart", "-t", "0", "web"]);
    assert!(text.contains("8080") && text.contains("5432"), "{text}");
    assert_eq!(host.table(), table);
    flush();
    assert_eq!(comes_true(&host, &["rename", "web", "www"]), "");
    let text = comes_true(&host, &["network", "disconnect", "front", "www"]);
    assert!(text.contains("172.19.0.2 . 80") && text.contains("5432"), "{text}");
    flush();
    for command in [&["stop", "--dry-run", "www"][..], &["rm", "-f", "--dry-run", "www"]] {
        assert_eq!(dry(&host, command), "");
    }
    assert_eq!(comes_true(&host, &["kill", "www"]), "");
    let text = comes_true(&host, &["network", "remove", "back"]);
    assert!(text.contains("172.18.0.0/24") && text.contains("5432") && !text.contains("172.19"), "{text}");
}
