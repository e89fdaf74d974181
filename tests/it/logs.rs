//! `logs`: which part of a log is shown, how large it becomes, and that nothing is lost while it rotates.

use std::path::{Path, PathBuf};

use crate::host::Host;
use crate::program::eventually;

/// Starts a detached container without a network that runs a shell command.
#[track_caller]
fn start(host: &Host, name: &str, options: &[&str], script: &str) {
    let first = ["run", "-d", "--name", name, "--net", "none"];
    host.mydocker(&[&first, options, &[&host.image, "sh", "-c", script]].concat()).ok();
}

#[track_caller]
fn ended(host: &Host, name: &str) {
    eventually("the container to end", || (host.inspect(name)["State"]["Running"] == false).then_some(()));
}

/// The sizes of the files of a container's log.
fn sizes(host: &Host, name: &str) -> Vec<u64> {
    let path = host.inspect(name)["LogPath"].as_str().expect("a path").to_owned();
    let directory = std::path::Path::new(&path).parent().expect("a directory");
    let files = std::fs::read_dir(directory).expect("the container's directory").flatten();
    files
        .filter(|file| file.path().to_string_lossy().starts_with(&path))
        .map(|file| file.metadata().expect("a file of the log").len())
        .collect()
}

#[test]
fn a_log_is_followed_across_its_rotations() {
    let host = Host::new();
    let count = "while ! test -e /tmp/go; do sleep 0.02; done; i=0; \
                 while [ $i -lt 2000 ]; do echo $i; i=$((i+1)); done";
    // There is room for all of it, in about a hundred files.
    start(&host, "c", &["--log-opt", "max-size=2k", "--log-opt", "max-file=400"], count);
    let followers = [host.start(&["logs", "-f", "c"]), host.start(&["logs", "-f", "--tail", "5", "c"])];
    host.let_go("c");
    let expected: String = (0..2000).map(|n| format!("{n}\n")).collect();
    for follower in followers {
        let output = follower.wait();
        assert_eq!(output.code(), 0);
        // One that starts in the middle of it all has no more than it asked for in front.
        let is_whole =
            output.stdout == expected || expected.ends_with(&output.stdout) && !output.stdout.is_empty();
        let ends = (output.stdout.len(), output.stdout.lines().next(), output.stdout.lines().last());
        assert!(is_whole, "{ends:?}");
    }
    ended(&host, "c");
    assert!(sizes(&host, "c").len() > 20);
    assert!(host.mydocker(&["logs", "c"]).stdout == expected, "the log is not whole");
    let tail: String = (1900..2000).map(|n| format!("{n}\n")).collect();
    assert_eq!(host.mydocker(&["logs", "-n", "100", "c"]).stdout, tail);
}

#[test]
fn a_log_takes_no_more_room_than_it_may() {
    let host = Host::new();
    start(&host, "c", &["--log-opt", "max-size=2k", "--log-opt", "max-file=3"], "seq 1 2000");
    ended(&host, "c");
    let sizes = sizes(&host, "c");
    assert!(sizes.len() == 3 && sizes.iter().all(|&size| size <= 2000), "{sizes:?}");
    let shown = host.mydocker(&["logs", "c"]).ok();
    let lines: Vec<u32> = shown.lines().map(|line| line.parse().expect("a number")).collect();
    assert_eq!(lines.last(), Some(&2000));
    assert!(lines.windows(2).all(|pair| pair[1] == pair[0] + 1), "{lines:?}");
    let config = &host.inspect("c")["HostConfig"]["LogConfig"];
    assert_eq!((&config["Type"], &config["Config"]["max-size"]), (&"json-file".into(), &"2000".into()));
    for (option, value) in [
        ("--log-opt", "max-size=0"),
        ("--log-opt", "max-size=big"),
        ("--log-opt", "max-file=none"),
        ("--log-opt", "compress=true"),
        ("--log-driver", "syslog"),
    ] {
        let value_alone = value.split('=').next_back().expect("a value");
        let needle = if value.starts_with("compress") { "compress" } else { value_alone };
        host.run(&["--net", "none", option, value], &["true"]).refused(&[125, 2], &[option, needle]);
    }
    host.mydocker(&["rm", "c"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_container_without_a_log_says_so() {
    let host = Host::new();
    let run = ["run", "--name", "c", "--net", "none", "--log-driver", "none", &host.image, "echo", "hello"];
    assert_eq!(host.mydocker(&run).ok(), "hello");
    host.mydocker(&["logs", "c"]).refused(&[1], &["c", "none"]);
    assert!(sizes(&host, "c").is_empty());
}

#[test]
fn logs_begin_and_end_at_points_in_time() {
    let host = Host::new();
    // One line after the other has been read: those that are read together are of one moment.
    let pause = |file: &str| format!("while ! test -e {file}; do sleep 0.02; done");
    let script = format!("echo one; {}; echo two; {}; echo three", pause("/tmp/two"), pause("/tmp/three"));
    start(&host, "c", &[], &script);
    for (read, file) in [("one", "/tmp/two"), ("one\ntwo", "/tmp/three")] {
        eventually("the line before", || (host.mydocker(&["logs", "c"]).ok() == read).then_some(()));
        // With the last line the container ends, and may take the command with it.
        let output = host.mydocker(&["exec", "c", "touch", file]);
        assert!([0, 128 + 9].contains(&output.code()), "{output}");
    }
    ended(&host, "c");
    let stamped = host.mydocker(&["logs", "-t", "c"]).ok();
    let times: Vec<&str> = stamped.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(times.len(), 3, "{stamped}");
    let logs = |options: &[&str]| host.mydocker(&[&["logs"], options, &["c"]].concat()).ok();
    assert_eq!(logs(&["--since", times[1]]), "two\nthree");
    assert_eq!(logs(&["--until", times[1]]), "one\ntwo");
    assert_eq!(logs(&["--since", times[1], "--until", times[1]]), "two");
    assert_eq!(logs(&["--since", times[1], "--tail", "1"]), "three");
    assert_eq!(logs(&["--since", "24h"]), "one\ntwo\nthree");
    assert_eq!(logs(&["--until", "24h"]), "");
    assert_eq!(logs(&["--since", "0", "--until", "2000000000.5", "-f"]), "one\ntwo\nthree");
    host.mydocker(&["logs", "--since", "yesterday", "c"]).refused(&[1, 125], &["--since", "yesterday"]);
}

#[test]
fn following_ends_when_the_container_is_removed() {
    let host = Host::new();
    start(&host, "c", &[], "echo begun; sleep 1000");
    let follower = host.start(&["logs", "-f", "c"]);
    follower.wait_for("begun\n");
    host.mydocker(&["rm", "-f", "c"]).ok();
    let output = follower.wait();
    assert_eq!((output.code(), output.stdout.as_str()), (0, "begun\n"));
    // A time that has come ends it as well.
    start(&host, "d", &[], "echo begun; sleep 1000");
    eventually("the log", || (host.mydocker(&["logs", "d"]).stdout == "begun\n").then_some(()));
    assert_eq!(host.mydocker(&["logs", "-f", "--until", "-1s", "d"]).ok(), "begun");
    host.mydocker(&["rm", "-f", "d"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_line_is_one_line_however_long_it_is() {
    let host = Host::new();
    // 40 KiB, and more than 1 MiB.
    let script = "head -c 40000 /dev/zero; echo; head -c 1500000 /dev/zero; echo; echo last";
    start(&host, "c", &[], script);
    ended(&host, "c");
    let lines = |options: &[&str]| {
        let output = host.mydocker(&[&["logs"], options, &["c"]].concat());
        output.stdout.lines().map(|line| line.replace('\0', "").len()).collect::<Vec<_>>()
    };
    assert_eq!(lines(&[]), [0, 0, 4]);
    let stamped = lines(&["-t"]);
    assert_eq!((stamped.len(), stamped[0], stamped[1], stamped[2]), (3, 31, 31, 35), "a time for each line");
    for (tail, expected) in [("1", &[4][..]), ("2", &[0, 4]), ("3", &[0, 0, 4]), ("4", &[0, 0, 4])] {
        assert_eq!(lines(&["--tail", tail]), expected, "--tail {tail}");
    }
    let whole = host.mydocker(&["logs", "--tail", "2", "c"]).stdout;
    assert_eq!(whole.len(), 1_500_001 + 5);
    let file = host.inspect("c")["LogPath"].as_str().expect("a path").to_owned();
    let first = std::fs::read_to_string(file).expect("the log");
    assert!(first.lines().next().expect("an entry").contains("\\n\",\"stream\""), "40 KiB are one entry");
}

#[test]
fn following_goes_on_after_a_restart() {
    let host = Host::new();
    start(
        &host,
        "c",
        &[],
        "echo run $(date +%s); while ! test -e /tmp/go; do sleep 0.02; done; rm /tmp/go; echo end",
    );
    let follower = host.start(&["logs", "-f", "c"]);
    follower.wait_for("run ");
    for count in 2..5 {
        host.mydocker(&["restart", "-t", "0", "c"]).ok();
        eventually("the next run", || (follower.stdout().matches("run ").count() == count).then_some(()));
    }
    host.let_go("c");
    let output = follower.wait();
    assert!(output.stdout.ends_with("end\n") && output.stdout.matches("run ").count() == 4, "{output}");
    // A stop is an end.
    host.mydocker(&["start", "c"]).ok();
    let follower = host.start(&["logs", "-f", "--tail", "0", "c"]);
    host.mydocker(&["stop", "-t", "0", "c"]).ok();
    assert_eq!(follower.wait().code(), 0);
}

/// Where a container's log of the driver `local` is.
fn local_log(host: &Host, name: &str) -> PathBuf {
    let beside = host.inspect(name)["HostnamePath"].as_str().expect("a path").to_owned();
    Path::new(&beside).with_file_name("local-logs")
}

/// The names of its files, sorted.
fn local_files(directory: &Path) -> Vec<String> {
    let files = std::fs::read_dir(directory).expect("the log").flatten();
    let mut names: Vec<String> = files.map(|file| file.file_name().into_string().expect("a name")).collect();
    names.sort_unstable();
    names
}

#[test]
fn the_driver_local_compresses_what_is_full_and_loses_nothing() {
    let host = Host::new();
    let options = ["--log-driver", "local", "--log-opt", "max-size=2k", "--log-opt", "max-file=400"];
    // Nothing that is busy beside the compression: it stands back behind everything.
    let count = "while ! test -e /tmp/go; do sleep 0.2; done; rm /tmp/go; seq $N 2 6000; echo end >&2; \
                 while ! test -e /tmp/go; do sleep 0.2; done; rm /tmp/go";
    start(&host, "c", &[&options[..], &["-e", "N=1"]].concat(), count);
    let follower = host.start(&["logs", "-f", "c"]);
    host.let_go("c");
    follower.wait_for("5999\n");
    let expected: String = (1..6000).step_by(2).map(|n| format!("{n}\n")).collect();
    let directory = local_log(&host, "c");
    // All but the one that is written.
    eventually("the compression", || {
        let names = local_files(&directory);
        let plain = names.iter().filter(|name| !name.ends_with(".zst")).count();
        (names.len() > 20 && plain == 1).then_some(())
    });
    let whole = host.mydocker(&["logs", "c"]);
    assert!(whole.stdout == expected && whole.stderr == "end\n", "the log is not whole");
    for tail in [1, 2, 100, 1500, 5000] {
        let shown = host.mydocker(&["logs", "--tail", &tail.to_string(), "c"]).stdout;
        // The last line is the one on standard error.
        let lines: Vec<&str> = expected.lines().collect();
        let from = lines.len().saturating_sub(tail - 1);
        assert!(shown.lines().eq(lines[from..].iter().copied()), "--tail {tail}");
    }
    // Times, and between times.
    let stamped = host.mydocker(&["logs", "-t", "c"]).stdout;
    let last = stamped.lines().last().expect("a line").split(' ').next().expect("a time").to_owned();
    let later = host.mydocker(&["logs", "--since", &last, "c"]).stdout;
    assert!(later.ends_with("5999\n") && expected.ends_with(&later));
    let earlier = host.mydocker(&["logs", "--until", &last, "c"]).stdout;
    assert!(earlier == expected);
    // The next run goes on in the same log, and the follower with it.
    host.mydocker(&["restart", "-t", "0", "c"]).ok();
    host.let_go("c");
    eventually("the second run", || (follower.stdout().matches("\n5999\n").count() == 2).then_some(()));
    host.let_go("c");
    let output = follower.wait();
    assert!(output.stdout == expected.repeat(2), "{} lines", output.stdout.lines().count());
    ended(&host, "c");
    assert!(host.mydocker(&["logs", "c"]).stdout == expected.repeat(2));
    host.mydocker(&["rm", "c"]).ok();
    host.assert_nothing_left();
}

#[test]
fn the_driver_local_has_dockers_options() {
    let host = Host::new();
    let local = ["--log-driver", "local"];
    start(&host, "c", &local, "echo hello");
    ended(&host, "c");
    let inspect = host.inspect("c");
    let config = &inspect["HostConfig"]["LogConfig"];
    assert_eq!(config["Type"], "local");
    assert_eq!(
        config["Config"],
        serde_json::json!({ "max-size": "20000000", "max-file": "5", "compress": "true" })
    );
    assert_eq!(inspect["LogPath"], "");
    assert_eq!(host.mydocker(&["logs", "c"]).ok(), "hello");
    assert_eq!(local_files(&local_log(&host, "c")), ["1"]);
    let few = ["--log-opt", "max-size=1k", "--log-opt", "max-file=3", "--log-opt", "compress=false"];
    start(&host, "d", &[&local[..], &few].concat(), "seq 1 500");
    ended(&host, "d");
    let names = local_files(&local_log(&host, "d"));
    assert!(names.len() == 3 && names.iter().all(|name| name.parse::<u64>().is_ok()), "{names:?}");
    let shown = host.mydocker(&["logs", "d"]).ok();
    assert!(shown.ends_with("\n499\n500") && !shown.contains("\n100\n"), "{shown}");
    for (option, needle) in [
        ("tag=x", "tag"),
        ("labels=x", "labels"),
        ("compress=yes", "yes"),
        ("max-file=0", "0"),
        ("surprise=1", "surprise"),
    ] {
        let options = [&["--net", "none"], &local[..], &["--log-opt", option]].concat();
        host.run(&options, &["true"]).refused(&[125, 2], &["--log-opt", needle]);
    }
    let never = ["--net", "none", "--log-driver", "local", "--log-opt", "max-file=1", "--log-opt"];
    host.run(&[&never[..], &["compress=true"]].concat(), &["true"]).refused(&[125, 2], &["max-file"]);
    host.mydocker(&["rm", "c", "d"]).ok();
    host.assert_nothing_left();
}

#[test]
fn details_stand_in_front_of_each_line() {
    let host = Host::new();
    let said = ["--label", "team=a b", "-e", "COLOUR=\u{1b}[31m", "--log-opt", "labels=team,other"];
    start(&host, "c", &[&said[..], &["--log-opt", "env=COLOUR"]].concat(), "echo one; echo two");
    start(&host, "d", &[], "echo one");
    ended(&host, "c");
    ended(&host, "d");
    let details = "COLOUR=%1B%5B31m,team=a+b";
    let expected = format!("{details} one\n{details} two");
    assert_eq!(host.mydocker(&["logs", "--details", "c"]).ok(), expected);
    let stamped = host.mydocker(&["logs", "--details", "-t", "-n", "1", "c"]).ok();
    let (time, rest) = stamped.split_once(' ').expect("a time");
    assert!(time.ends_with('Z') && rest == format!("{details} two"), "{stamped}");
    assert_eq!(host.mydocker(&["logs", "--details", "d"]).ok(), " one");
    assert_eq!(host.mydocker(&["logs", "c"]).ok(), "one\ntwo");
    host.mydocker(&["rm", "c", "d"]).ok();
    host.assert_nothing_left();
}
