//! What is told of what happens, and in which order: Docker's for each command.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::archives::{file, import};
use crate::host::Host;
use crate::program::eventually;

/// All that has been told, a line for each.
fn told(host: &Host, format: &str) -> Vec<String> {
    let output = host.mydocker(&["events", "--since", "1h", "--until", "0s", "--format", format]).ok();
    output.lines().map(str::to_owned).collect()
}

/// Commands, and what each tells. IMAGE stands for the small image.
const ORDER: &[(&str, &[&str])] = &[
    ("network create n", &["network create"]),
    ("create --name c --net n IMAGE sleep 100000", &["container create"]),
    ("start c", &["network connect", "container start"]),
    ("start c", &[]),
    ("pause c", &["container pause"]),
    ("unpause c", &["container unpause"]),
    ("rename c d", &["container rename"]),
    ("update -m 64m d", &["container update"]),
    ("exec d true", &["container exec_create: true", "container exec_start: true", "container exec_die"]),
    ("network disconnect n d", &["network disconnect"]),
    ("network connect n d", &["network connect"]),
    ("kill -s USR1 d", &["container kill"]),
    ("top d", &["container top"]),
    ("cp d:/etc/passwd -", &["container archive-path"]),
    ("cp /proc/version d:/tmp", &["container extract-to-dir"]),
    ("export -o /dev/null d", &["container export"]),
    ("diff d", &[]),
    (
        "restart -t 0 d",
        &[
            "container kill",
            "container kill",
            "container die",
            "network disconnect",
            "container stop",
            "network connect",
            "container start",
            "container restart",
        ],
    ),
    (
        "stop -t 0 d",
        &["container kill", "container kill", "container die", "network disconnect", "container stop"],
    ),
    ("stop d", &[]),
    ("start d", &["network connect", "container start"]),
    ("kill d", &["container kill", "container die", "network disconnect"]),
    ("start d", &["network connect", "container start"]),
    ("rm -f d", &["container kill", "container die", "network disconnect", "container destroy"]),
    (
        "run --rm --net none IMAGE true",
        &["container create", "container attach", "container start", "container die", "container destroy"],
    ),
    (
        "run -d --name v --net none -v data:/data IMAGE sleep 100000",
        &["volume create", "container create", "volume mount", "container start"],
    ),
    ("rm -f v", &["container kill", "container die", "volume unmount", "container destroy"]),
    ("volume rm data", &["volume destroy"]),
    ("network rm n", &["network destroy"]),
    ("container prune -f", &["container prune"]),
    ("network create m", &["network create"]),
    ("network prune -f", &["network destroy", "network prune"]),
    ("volume create more", &["volume create"]),
    ("volume prune -f", &["volume prune"]),
    ("volume prune -af", &["volume destroy", "volume prune"]),
    ("image prune -f", &["image prune"]),
    ("create --name c --net none IMAGE true", &["container create"]),
    (
        "system prune -f --volumes",
        &["container destroy", "container prune", "network prune", "volume prune", "image prune"],
    ),
];

#[test]
fn each_command_tells_what_it_does_in_dockers_order() {
    let host = Host::new();
    let mut before = 0;
    for (line, expected) in ORDER {
        let words: Vec<&str> =
            line.split(' ').map(|word| if word == "IMAGE" { &host.image } else { word }).collect();
        host.mydocker(&words).ok();
        let all = told(&host, "{{.Type}} {{.Action}}");
        assert_eq!(all[before..], **expected, "{line}");
        before = all.len();
    }
    host.assert_nothing_left();
}

#[test]
fn events_have_dockers_members() {
    let host = Host::new();
    let words = ["run", "-d", "--name", "c", "--net", "none", "--label", "team=blue", &host.image];
    let id = host.mydocker(&[&words[..], &["sh", "-c", "exit 3"]].concat()).ok();
    host.mydocker(&["wait", "c"]).ok();
    let lines = told(&host, "json");
    let events: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let died = events.iter().find(|event| event["Action"] == "die").expect("an end");
    assert_eq!((&died["id"], &died["Actor"]["ID"]), (&id.as_str().into(), &id.as_str().into()));
    assert_eq!((&died["status"], &died["from"]), (&"die".into(), &host.image.as_str().into()));
    let attributes = &died["Actor"]["Attributes"];
    assert_eq!((&attributes["exitCode"], &attributes["name"]), (&"3".into(), &"c".into()));
    assert_eq!((&attributes["team"], &died["scope"]), (&"blue".into(), &"local".into()));
    assert_eq!(died["timeNano"].as_i64().unwrap() / 1_000_000_000, died["time"].as_i64().unwrap());
    // Filters, and what has happened before or after a time.
    let count = |options: &[&str]| {
        let words = [&["events", "--since", "1h", "--until", "0s"][..], options].concat();
        host.mydocker(&words).ok().lines().count()
    };
    assert_eq!(count(&[]), 3);
    assert_eq!(count(&["-f", "event=die"]), 1);
    assert_eq!(count(&["-f", "event=die", "-f", "event=start", "-f", "container=c"]), 2);
    assert_eq!(count(&["-f", "type=network"]), 0);
    assert_eq!(count(&["-f", "label=team=blue"]), 3);
    host.mydocker(&["events", "--since", "1h", "--until", "2h"]).refused(&[1], &["--since is a later time"]);
    let past = ["events", "--since", "2h", "--until", "1h"];
    assert_eq!(host.mydocker(&past).ok(), "");
    host.mydocker(&["events", "-f", "colour=red"]).refused(&[1, 125], &["colour"]);
    host.mydocker(&["rm", "c"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_reader_follows_and_what_is_told_is_one_line_whatever_it_is_made_of() {
    let host = Host::new();
    let reader = host.start(&["events"]);
    let another = host.start(&["events", "--filter", "event=destroy"]);
    // One of each to begin with: before that it is not known whether they read already.
    eventually("both readers", || {
        host.mydocker(&["volume", "create", "v"]).ok();
        host.mydocker(&["volume", "rm", "v"]).ok();
        (reader.stdout().contains("volume create") && another.stdout().contains("volume destroy"))
            .then_some(())
    });
    let label = "x=a\u{1b}[31m\nsecond line";
    host.mydocker(&["run", "--rm", "--net", "none", "--label", label, &host.image, "true"]).ok();
    reader.wait_for("container destroy");
    another.wait_for("container destroy");
    let text = reader.stdout();
    assert!(!text.contains('\u{1b}') && !text.contains("\nsecond line"), "{text}");
    let begins =
        |line: &str| line.split(' ').nth(1).is_some_and(|kind| matches!(kind, "container" | "volume"));
    assert!(text.lines().all(begins), "{text}");
    reader.signal(Signal::SIGTERM);
    another.signal(Signal::SIGTERM);
    reader.wait();
    another.wait();
    host.assert_nothing_left();
}

#[test]
fn the_health_of_a_container_and_the_end_of_a_lost_one_are_told() {
    let host = Host::new();
    let check = ["--health-cmd", "test -e /tmp/works", "--health-interval", "50ms", "--health-retries", "1"];
    let words = ["run", "-d", "--name", "c", "--net", "none"];
    host.mydocker(&[&words[..], &check, &[&host.image, "sleep", "100000"]].concat()).ok();
    let is_told = |action: &str| {
        eventually(action, || told(&host, "{{.Action}}").iter().any(|line| line == action).then_some(()));
    };
    is_told("health_status: unhealthy");
    host.mydocker(&["exec", "c", "touch", "/tmp/works"]).ok();
    is_told("health_status: healthy");
    // A change is told, not each check.
    let changes = |lines: Vec<String>| lines.iter().filter(|line| line.starts_with("health_status")).count();
    assert_eq!(changes(told(&host, "{{.Action}}")), 2);
    host.kill_supervisors();
    host.mydocker(&["rm", "-f", "c"]).ok();
    let all = told(&host, "{{.Action}}");
    assert_eq!(all[all.len() - 2..], ["die", "destroy"]);
    host.assert_nothing_left();
}

#[test]
fn what_happens_to_images_is_told_with_their_ids() {
    let host = Host::new();
    let id = import(&host, "one:v1", &[], &[]);
    let since = |count: &mut usize| {
        let all = told(&host, "{{.Type}} {{.Action}} {{.Actor.ID}} {{.Actor.Attributes.name}}");
        let new = all[*count..].to_vec();
        *count = all.len();
        new
    };
    let mut count = told(&host, "{{.Action}}").len();
    let saved = file(&host, "saved.tar", b"");
    for (words, expected) in [
        (vec!["tag", "one:v1", "two:v2"], vec![format!("tag {id} two:v2")]),
        (vec!["save", "-o", &saved, "two:v2"], vec![format!("save {id} two:v2")]),
        (vec!["rmi", "two:v2"], vec![format!("untag {id} two:v2")]),
        (vec!["rmi", "one:v1"], vec![format!("untag {id} one:v1"), format!("delete {id} {id}")]),
        (vec!["load", "-i", &saved], vec![format!("load {id} two:v2")]),
    ] {
        host.mydocker(&words).ok();
        let expected: Vec<String> = expected.iter().map(|line| format!("image {line}")).collect();
        assert_eq!(since(&mut count), expected, "{words:?}");
    }
    // An image is free by a prune, and the event says how much that was.
    host.mydocker(&["image", "prune", "-af"]).ok();
    let lines = told(&host, "{{.Type}} {{.Action}} {{.Actor.Attributes.reclaimed}}");
    let reclaimed = lines.last().and_then(|line| line.strip_prefix("image prune ")).expect("a prune");
    assert!(reclaimed.parse::<u64>().expect("a number") > 0, "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.starts_with("image delete")).count(), 2, "{lines:?}");
    host.assert_nothing_left();
}

#[test]
fn each_size_of_a_terminal_is_told() {
    let host = Host::new();
    let sizes = || {
        let all = told(&host, "{{.Action}} {{.Actor.Attributes.height}}x{{.Actor.Attributes.width}}");
        all.into_iter().filter(|line| line.starts_with("resize ")).collect::<Vec<_>>()
    };
    let words =
        ["run", "-it", "--name", "c", "--net", "none", &host.image, "sh", "-c", "echo up; sleep 100000"];
    let client = host.command(&words).on_a_terminal().start_in(&host.space);
    client.wait_for("up");
    let first = sizes();
    assert_eq!(first.len(), 1, "{first:?}");
    let order: Vec<String> = told(&host, "{{.Action}}");
    assert_eq!(order, ["create", "attach", "start", "resize"]);
    client.resize(33, 77);
    eventually("the new size", || (sizes().last()? == "resize 33x77").then_some(()));
    host.mydocker(&["rm", "-f", "c"]).ok();
    client.wait();
    host.assert_nothing_left();
}

#[test]
fn a_command_that_is_left_is_told_by_its_id() {
    let host = Host::new();
    let words = ["run", "-d", "--name", "c", "--net", "none", &host.image, "sleep", "100000"];
    host.mydocker(&words).ok();
    let words = ["exec", "-it", "--detach-keys", "a", "c", "sh", "-c", "echo up; sleep 100000"];
    let mut client = host.command(&words).on_a_terminal().start_in(&host.space);
    client.wait_for("up");
    client.say("a");
    client.wait();
    let all = told(&host, "{{.Action}} {{.Actor.Attributes.execID}}");
    let (left, id) = all.last().and_then(|line| line.split_once(' ')).expect("an event");
    assert_eq!((left, id.len()), ("exec_detach", 64), "{all:?}");
    assert!(all.iter().filter(|line| line.ends_with(id)).count() == 3, "{all:?}");
    host.mydocker(&["rm", "-f", "c"]).ok();
    host.assert_nothing_left();
}

#[test]
fn the_signals_of_a_supervisor_are_told() {
    let host = Host::new();
    let run = |name: &str, options: &[&str]| {
        let words =
            ["run", "-d", "--name", name, "--net", "none", "--stop-signal", "USR1", "--stop-timeout", "0"];
        host.mydocker(&[&words[..], options, &[&host.image, "sleep", "100000"]].concat()).ok();
    };
    let of = |name: &str| {
        let filter = format!("container={name}");
        let words = ["events", "--since", "1h", "--until", "0s", "-f", &filter, "--format"];
        let format = "{{.Action}} {{.Actor.Attributes.signal}}";
        let lines = host.mydocker(&[&words[..], &[format]].concat()).ok();
        lines.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>()
    };
    let signal = |line: &str| line.replace("USR1", &(Signal::SIGUSR1 as i32).to_string());
    let same = |name: &str, expected: &[&str]| {
        let expected: Vec<String> = expected.iter().map(|line| signal(line)).collect();
        // What has no signal shows that in words of its own.
        let seen: Vec<String> = of(name).iter().map(|line| line.replace(" <no value>", "")).collect();
        (seen == expected).then_some(()).ok_or(seen)
    };
    run("polite", &[]);
    host.mydocker(&["boot", "--stop"]).ok();
    assert_eq!(same("polite", &["create", "start", "kill USR1", "kill 9", "die", "stop"]), Ok(()));
    let failing = ["--health-cmd", "false", "--health-interval", "50ms", "--health-retries", "1"];
    let ends = [
        ("kill", &["kill 9", "die"][..]),
        ("stop", &["kill USR1", "kill 9", "die", "stop"]),
        ("restart", &["kill USR1", "kill 9", "die", "start"]),
    ];
    for (action, ends) in ends {
        run(action, &[&failing[..], &["--health-on-failure", action]].concat());
        let expected = [&["create", "start", "health_status: unhealthy"][..], ends].concat();
        let is_told = || {
            let seen = of(action);
            (seen.len() >= expected.len()).then(|| seen[..expected.len()].to_vec())
        };
        let seen = eventually(action, is_told);
        let seen: Vec<String> = seen.iter().map(|line| line.replace(" <no value>", "")).collect();
        assert_eq!(seen, expected.iter().map(|line| signal(line)).collect::<Vec<_>>(), "{action}");
    }
    host.mydocker(&["rm", "-f", "polite", "kill", "stop", "restart"]).ok();
    host.assert_nothing_left();
}
