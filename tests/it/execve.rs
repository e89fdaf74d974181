//! No other program is ever run: what the kernel says was executed, by mydocker and by all that it starts.

use std::path::Path;

use crate::host::Host;
use crate::program::Output;

const MYDOCKER: &str = env!("CARGO_BIN_EXE_mydocker");

/// One call that the kernel saw.
#[derive(Debug)]
struct Execution {
    path: String,
    succeeded: bool,
}

/// Runs a mydocker command with all its descendants under strace, and returns what was executed.
#[track_caller]
fn traced(host: &Host, log: &Path, arguments: &[&str]) -> (Output, Vec<Execution>) {
    let strace = [STRACE, &["-o", log.to_str().unwrap(), "--", MYDOCKER]].concat();
    let output = host.program(&[&strace, arguments].concat()).run_in(&host.space);
    let text = std::fs::read_to_string(log).expect("strace's log");
    let executions = executions(&text);
    assert_eq!(executions.first().map(|call| call.path.as_str()), Some(MYDOCKER), "{text}");
    (output, executions)
}

/// Follows all descendants, and notes what they execute and how they open their own file.
const STRACE: &[&str] =
    &["strace", "-f", "-qq", "-e", "trace=execve,execveat,open_tree", "-e", "signal=none", "-s", "512"];

/// The calls in a log of lines like `1234  execve("/bin/x", ["x", "y"], 0x… /* 9 vars */) = 0`.
fn executions(log: &str) -> Vec<Execution> {
    let quoted = |line: &str| line.split('"').nth(1).unwrap_or_default().to_owned();
    let mut own_file = Vec::new();
    let mut executions = Vec::new();
    // Who has opened the file, and has not been told the descriptor yet: another process's line comes between.
    let mut opening = Vec::new();
    for line in log.lines() {
        let pid = line.split(' ').next().unwrap_or_default();
        let result = line.rsplit(" = ").next().unwrap_or_default();
        if line.contains("open_tree(") && quoted(line) == "/proc/self/exe" && line.contains("<unfinished") {
            opening.push(pid);
        } else if (line.contains("open_tree(") && quoted(line) == "/proc/self/exe")
            || (line.contains("open_tree resumed") && opening.contains(&pid))
        {
            opening.retain(|other| *other != pid);
            own_file.push(format!("/proc/self/fd/{result}"));
        } else if line.contains("execve(") || line.contains("execveat(") {
            let path = quoted(line);
            let path = if own_file.contains(&path) { OWN_FILE.to_owned() } else { path };
            // Where another process's line comes between, the result stands on a line of its own: as a
            // success it is judged more strictly.
            executions.push(Execution { path, succeeded: result == "0" || line.contains("<unfinished") });
        }
    }
    executions
}

/// Whether it is mydocker: by the path it was started by, as the file that the process already runs, or
/// by a descriptor of that file.
fn is_mydocker(path: &str) -> bool {
    path == MYDOCKER || path == "/proc/self/exe" || path == OWN_FILE
}

/// What [`traced`] calls a descriptor that was opened on `/proc/self/exe`.
const OWN_FILE: &str = "(a descriptor of /proc/self/exe)";

/// Fails if anything was executed but mydocker and, inside the container, these.
#[track_caller]
fn only(executions: &[Execution], commands: &[&str]) {
    for call in executions {
        // A search along PATH fails everywhere but at one place, and always under the command's own name.
        let searched =
            !call.succeeded && commands.iter().any(|command| Path::new(&call.path).ends_with(command));
        let expected = is_mydocker(&call.path) || commands.contains(&call.path.as_str()) || searched;
        assert!(expected || call.path.is_empty(), "{} was executed: {executions:?}", call.path);
    }
    for command in commands.iter().filter(|command| command.starts_with('/')) {
        let ran = executions.iter().any(|call| call.succeeded && call.path == **command);
        assert!(ran, "{command} should have been executed: {executions:?}");
    }
}

#[test]
fn networks_are_made_and_removed_without_another_program() {
    let host = Host::new();
    let log = host.scratch("strace").join("log");
    for arguments in [
        &["network", "create", "--subnet", "172.18.0.0/16", "front"][..],
        &["network", "list"],
        &["network", "inspect", "front"],
        &["network", "rules"],
        &["network", "remove", "front"],
    ] {
        let (output, executions) = traced(&host, &log, arguments);
        assert!(output.ok().contains("front"), "{output}");
        only(&executions, &[]);
    }
    host.assert_nothing_left();
}

#[test]
fn containers_are_run_and_removed_without_another_program_but_their_own() {
    let host = Host::new();
    let log = host.scratch("strace").join("log");
    host.network("front", "172.18.0.0/16", &[]);
    let run = [
        "run",
        "--net",
        "front",
        "-p",
        "8080:80",
        "--name",
        "c",
        &host.image,
        "/bin/sh",
        "-c",
        "/bin/true; /bin/id",
    ];
    let (output, executions) = traced(&host, &log, &run);
    output.ok();
    only(&executions, &["/bin/sh", "/bin/true", "/bin/id"]);
    for arguments in [&["ps", "-a"][..], &["logs", "c"], &["inspect", "c"], &["rm", "c"]] {
        let (output, executions) = traced(&host, &log, arguments);
        output.ok();
        only(&executions, &[]);
    }
    // Detached: strace stays until the supervisor and the container have ended too.
    let run = ["run", "-d", "--rm", "--net", "front", &host.image, "/bin/sleep", "0.2"];
    let (output, executions) = traced(&host, &log, &run);
    output.ok();
    only(&executions, &["/bin/sleep"]);
    host.assert_no_container_left();
}

#[test]
fn exec_and_stop_run_nothing_but_the_command() {
    let host = Host::new();
    let log = host.scratch("strace").join("log");
    host.network("front", "172.18.0.0/16", &[]);
    host.container("c", "front", &[]);
    let (output, executions) = traced(&host, &log, &["exec", "c", "/bin/true"]);
    output.ok();
    only(&executions, &["/bin/true"]);
    for arguments in [&["stop", "-t", "0", "c"][..], &["rm", "c"]] {
        let (output, executions) = traced(&host, &log, arguments);
        output.ok();
        only(&executions, &[]);
    }
}

#[test]
fn the_trace_does_see_other_programs() {
    let host = Host::new();
    let log = host.scratch("strace").join("log");
    let script = "/bin/true; nft --version >/dev/null; exit 0";
    host.space.ok(&[STRACE, &["-o", log.to_str().unwrap(), "--", "sh", "-c", script]].concat());
    let text = std::fs::read_to_string(&log).unwrap();
    let executions = executions(&text);
    assert!(executions.iter().any(|call| call.succeeded && call.path == "/bin/true"), "{text}");
    assert!(executions.iter().any(|call| call.succeeded && call.path.ends_with("/nft")), "{text}");
    assert!(std::panic::catch_unwind(|| only(&executions, &[])).is_err());
}

#[test]
fn a_descriptor_counts_as_mydocker_only_when_it_was_opened_on_our_own_file() {
    let log = "7 open_tree(AT_FDCWD, \"/proc/self/exe\", OPEN_TREE_CLONE|O_CLOEXEC) = 6\n\
               9 open_tree(AT_FDCWD, \"/proc/self/exe\", OPEN_TREE_CLONE|O_CLOEXEC <unfinished ...>\n\
               8 <... open_tree resumed>) = 7\n\
               9 <... open_tree resumed>) = 12\n\
               9 execve(\"/proc/self/fd/12\", [\"mydocker\"], 0x7f /* 9 vars */) = 0\n\
               7 execve(\"/proc/self/fd/6\", [\"mydocker\"], 0x7f /* 9 vars */) = 0\n\
               7 execve(\"/proc/self/fd/7\", [\"mydocker\"], 0x7f /* 9 vars */) = 0\n\
               8 execve(\"/bin/x\", [\"x\"], 0x7f /* 9 vars */ <unfinished ...>\n\
               8 execve(\"/usr/bin/y\", [\"y\"], 0x7f /* 9 vars */) = -1 ENOENT (No such file or directory)";
    let calls = executions(log);
    let seen: Vec<(bool, bool)> =
        calls.iter().map(|call| (is_mydocker(&call.path), call.succeeded)).collect();
    assert_eq!(seen, [(true, true), (true, true), (false, true), (false, true), (false, false)]);
}
