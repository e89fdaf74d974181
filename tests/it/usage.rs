//! Exit statuses of wrong usage, and of removing what is not there, as Docker's scripts know them.

use crate::host::Host;

#[test]
fn wrong_usage_has_one_status_and_a_wrong_number_of_arguments_another() {
    let host = Host::new();
    for wrong in [
        &["ps", "--no-such-option"][..],
        &["nosuchcommand"],
        &["run", "--memory", "much", "image"],
        &["run", "--rm=perhaps", "image"],
        &["network", "create", "--subnet", "10.0.0.0", "n"],
        &["stop", "-t", "soon", "c"],
        &["logs", "--tail", "some", "c"],
        &["volume", "ls", "-x"],
    ] {
        host.mydocker(wrong).refused(&[125], &[]);
    }
    for number in [
        &["stop"][..],
        &["run"],
        &["exec", "c"],
        &["rename", "c"],
        &["rename", "a", "b", "c"],
        &["network", "create"],
        &["network", "create", "a", "b"],
        &["wait"],
        &["version", "now"],
    ] {
        host.mydocker(number).refused(&[1], &[]);
    }
    host.assert_nothing_left();
}

#[test]
fn unknown_words_are_answered_by_name() {
    let host = Host::new();
    for (words, lines) in [
        (
            &["run", "--gpus", "all", "/", "true"][..],
            ["error: --gpus: mydocker does not have this option of Docker", "hint: "],
        ),
        (
            &["swarm", "init"],
            ["error: swarm: mydocker does not have this command of Docker", "hint: there is no cluster"],
        ),
        (
            &["run", "--nmae", "x", "/"],
            ["error: mydocker run has no option --nmae", "hint: did you mean --name?"],
        ),
        (&["frobnicate"], ["error: mydocker has no command frobnicate", "hint: see mydocker --help"]),
    ] {
        let output = host.mydocker(words);
        assert_eq!((output.code(), output.stderr.lines().count()), (125, 2), "{output}");
        assert!(
            lines.iter().zip(output.stderr.lines()).all(|(wanted, line)| line.starts_with(wanted)),
            "{output}"
        );
        assert!(!output.stderr.contains("-- --"), "{output}");
    }
    // As the lines of the log where those are wanted.
    let output = host.mydocker(&["--log-format", "json", "frobnicate"]);
    let line: serde_json::Value = serde_json::from_str(&output.stderr).expect("one object");
    assert_eq!((output.code(), &line["level"]), (125, &serde_json::json!("error")));
    assert_eq!(line["msg"], "mydocker has no command frobnicate");
    // A bare call prints the help.
    let bare = host.mydocker(&[]).ok();
    assert!(bare.contains("Usage: mydocker") && bare.contains("\nCommon commands:\n  run "), "{bare}");
    assert_eq!(bare, host.mydocker(&["--help"]).ok());
}

#[test]
fn hints_lead_on_and_none_is_dangerous() {
    let host = Host::new();
    host.space.ip("link add other0 type bridge\n");
    host.mydocker(&["create", "--name", "c", "--net", "none", &host.image, "true"]).ok();
    let image = host.image.as_str();
    let archive = host.scratch("archive").join("image.tar").to_str().unwrap().to_owned();
    std::fs::write(&archive, "").unwrap();
    for (words, hint) in [
        (&["run", "--rm", "--net", "none", image, "-p", "80:80"][..], "options stand before the image"),
        (&["exec", "c", "true"], "start it with: mydocker start c"),
        (&["network", "create", "other0"], "choose another name"),
        (
            &["run", "--rm", &archive, "true"],
            &format!("make an image of an archive first with: mydocker import {archive} NAME"),
        ),
        (
            &["import", image, "x"],
            &format!("a container can use the directory itself as its root: mydocker run {image} COMMAND"),
        ),
        (&["load", "-i", image], "a container can use the directory itself"),
    ] {
        let output = host.mydocker(words);
        assert_ne!(output.code(), 0, "{output}");
        assert!(output.stderr.contains(&format!("hint: {hint}")), "{output}");
        assert!(!output.stderr.contains("delete"), "{output}");
    }
    host.space.ok(&["ip", "link", "delete", "other0"]);
    host.mydocker(&["rm", "c"]).ok();
    host.assert_nothing_left();
}

#[test]
fn the_version_and_the_log_are_asked_for_as_dockers() {
    let host = Host::new();
    let version = format!("mydocker {}", env!("CARGO_PKG_VERSION"));
    for option in ["-v", "--version"] {
        assert_eq!(host.mydocker(&[option]).ok(), version);
    }
    assert!(host.mydocker(&["version"]).ok().contains("Commit:"), "the commit");
    // A warning is a word and a sentence; who asks for more gets the time as well.
    let public = ["network", "create", "--subnet", "9.9.9.0/24", "public"];
    let output = host.mydocker(&public);
    assert!(
        output.ok() == "public" && output.stderr.starts_with("warning: 9.9.9.0/24 is a range"),
        "{output}"
    );
    host.mydocker(&["network", "rm", "public"]).ok();
    let output = host.mydocker(&[&["--log-level", "debug"], &public[..]].concat());
    assert!(output.stderr.contains(" WARN 9.9.9.0/24 is a range"), "{output}");
    host.mydocker(&["network", "rm", "public"]).ok();
    for words in
        [&["-D", "network", "ls"][..], &["--debug", "network", "ls"], &["--log-level=debug", "network", "ls"]]
    {
        host.mydocker(words).ok();
    }
    let logged =
        host.program(&["sh", "-c", "MYDOCKER_LOG=nonsense \"$0\" version", env!("CARGO_BIN_EXE_mydocker")]);
    let output = logged.run_in(&host.space);
    output.refused(&[125], &["nonsense"]);
}

#[test]
fn what_is_not_there_is_removed_by_force() {
    let host = Host::new();
    for (command, words) in [
        (&["rm"][..], "No such container: nosuch"),
        (&["rmi"], "No such image: nosuch"),
        (&["network", "rm"], "no such network: nosuch"),
    ] {
        host.mydocker(&[command, &["nosuch"]].concat()).refused(&[1], &[words]);
        let forced = host.mydocker(&[command, &["-f", "nosuch"]].concat());
        assert_eq!((forced.code(), forced.stdout.as_str()), (0, ""), "{forced}");
        assert!(forced.stderr.contains(words), "{forced}");
    }
    // What is there is removed as well, and what cannot be is a failure still.
    host.mydocker(&["run", "-d", "--name", "c", "--net", "none", &host.image, "sleep", "1000"]).ok();
    assert_eq!(host.mydocker(&["rm", "-f", "nosuch", "c"]).ok(), "c");
    host.network("front", "172.18.0.0/16", &[]);
    let container = host.container("c", "front", &[]);
    let used = host.mydocker(&["network", "rm", "-f", "nosuch", "front"]);
    assert!(used.code() == 1 && used.stderr.contains("cannot remove network front"), "{used}");
    drop(container);
    host.mydocker(&["rm", "-f", "c"]).ok();
    assert_eq!(host.mydocker(&["network", "rm", "-f", "front"]).ok(), "front");
    host.assert_nothing_left();
}

#[test]
fn options_are_read_as_dockers() {
    let host = Host::new();
    let run = ["run", "--name", "c", "--rm=false", "--net", "none", "-w", "", "-u", "", "--hostname="];
    let words =
        [&run[..], &["-e", "A=1", "-e", "-B=2", "--hostname", "x", "--hostname", "y", &host.image]].concat();
    let output = host.mydocker(&[&words[..], &["sh", "-c", "id -u; pwd; hostname"]].concat());
    let text = output.ok();
    assert_eq!(text, "0\n/\ny");
    let env = host.inspect("c")["Config"]["Env"].to_string();
    assert!(env.contains("\"A=1\"") && env.contains("\"-B=2\""), "{env}");
    assert_eq!(host.mydocker(&["logs", "--tail", "-1", "c"]).ok(), text);
    assert_eq!(host.mydocker(&["logs", "--tail", "5", "--tail", "1", "c"]).ok().lines().count(), 1);
    assert_eq!(host.mydocker(&["ps", "-a=true", "-q=1", "--no-trunc=f"]).ok().len(), 12);
    assert_eq!(host.mydocker(&["ps", "-q", "-a", "-a=false"]).ok(), "");
    host.mydocker(&["rm", "c"]).ok();
    host.assert_nothing_left();
}
