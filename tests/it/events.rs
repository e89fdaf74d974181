//! What is told of what happens, and in which order: Docker's for each command.

use nix::sys::signal::Signal;
use serde_json::Value;

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
