//! Clients on a terminal that is another program's, or not yet raw: job control, signals, keys that are typed early.

use nix::sys::signal::Signal;
use nix::sys::termios::LocalFlags;

use crate::host::Host;
use crate::program::{Running, eventually};

/// Ctrl-p, ctrl-q.
const DETACH: &str = "\x10\x11";

/// Runs a script of bash's with jobs in a session and on a terminal of its own. `$M` is mydocker, `$IMAGE` the image.
fn session(host: &Host, script: &str) -> Running {
    let script = format!("set -m; {script}");
    host.program(&["setsid", "-c", "bash", "-c", &script])
        .environment("M", env!("CARGO_BIN_EXE_mydocker"))
        .environment("IMAGE", &host.image)
        .environment("DIRECTORY", host.root("..").to_str().expect("a plain path"))
        .on_a_terminal()
        .start_in(&host.space)
}

#[test]
fn a_client_in_the_background_ends_with_its_container() {
    let host = Host::new();
    for options in ["-it", "-i", "-t", ""] {
        let session = session(
            &host,
            &format!(
                "$M run {options} --name c --net none $IMAGE sh -c \
                 'echo up; while ! test -e /tmp/go; do sleep 0.02; done; echo went; exit 5' & \
                 wait $!; echo status $?"
            ),
        );
        session.wait_for("up");
        host.let_go("c");
        session.wait_for("went");
        session.wait_for("status 5");
        session.wait().ok();
        host.mydocker(&["rm", "c"]).ok();
    }
    host.assert_nothing_left();
}

#[test]
fn a_client_in_the_background_passes_a_signal_to_end_on_and_ends() {
    let host = Host::new();
    // One that ends as it is asked to has its own status; one that does not is left.
    for (answer, status) in [("exit 9", "status 9"), ("echo still here", "status 143")] {
        let script = format!("trap \"echo asked; {answer}\" TERM; echo up; while :; do sleep 0.02; done");
        let session = session(
            &host,
            &format!(
                "$M run -it --name c --net none $IMAGE sh -c '{script}' & \
                 while ! test -e $DIRECTORY/go; do sleep 0.02; done; kill -TERM $!; wait $!; echo status $?"
            ),
        );
        session.wait_for("up");
        let go = host.root("..").join("go");
        std::fs::write(&go, "").expect("a file");
        session.wait_for(status);
        session.wait().ok();
        assert_eq!(host.inspect("c")["State"]["Running"], status == "status 143");
        assert!(host.mydocker(&["logs", "c"]).ok().contains("asked"));
        host.mydocker(&["rm", "-f", "c"]).ok();
        std::fs::remove_file(&go).expect("remove a file");
    }
    // The usual way to limit a command's time, which makes a group of its own where the shell does not: with a command
    // that knows no TERM.
    let session = session(
        &host,
        "set +m; timeout 0.5 $M run -it --name c --net none $IMAGE sleep 100000; echo status $?",
    );
    session.wait_for("status 124");
    session.wait().ok();
    host.mydocker(&["rm", "-f", "c"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_client_that_comes_to_the_foreground_has_the_terminal() {
    let host = Host::new();
    let echo = "echo up; while read line; do test \"$line\" = end && exit 6; echo \"<$line>\"; done";
    let mut session = session(
        &host,
        &format!(
            "$M run -it --name c --net none $IMAGE sh -c '{echo}' & \
             while ! test -e $DIRECTORY/go; do sleep 0.02; done; stty -a > $DIRECTORY/modes; \
             fg %1 > /dev/null; echo status $?; stty -a | grep -o -- '-*icanon'"
        ),
    );
    session.wait_for("up");
    std::fs::write(host.root("..").join("go"), "").expect("a file");
    session.say("one\n");
    session.wait_for("<one>");
    session.say("end\n");
    session.wait_for("status 6\r\nicanon");
    session.wait().ok();
    // Nothing was done to it while it was the shell's.
    let modes = std::fs::read_to_string(host.root("..").join("modes")).expect("the terminal's modes");
    assert!(modes.contains(" icanon") && !modes.contains("-icanon"), "{modes}");
    host.mydocker(&["rm", "c"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_signal_to_end_a_run_on_a_terminal_is_for_the_container() {
    let host = Host::new();
    let script = "trap 'exit 9' TERM; echo up; while :; do sleep 0.02; done";
    for options in ["-it", "-t"] {
        let words = ["run", options, "--name", "c", "--net", "none", &host.image, "sh", "-c", script];
        let client = host.command(&words).on_a_terminal().start_in(&host.space);
        client.wait_for("up");
        client.signal(Signal::SIGTERM);
        assert_eq!(client.wait().code(), 9, "{options}");
        if options == "-it" {
            // As in Docker, those who come later do not decide about it.
            for command in [&["start", "-ai", "c"][..], &["attach", "c"]] {
                let client = host.command(command).on_a_terminal().start_in(&host.space);
                eventually("its output", || {
                    host.mydocker(&["exec", "c", "true"]).status.success().then_some(())
                });
                eventually("the terminal", || client.is_raw().then_some(()));
                client.signal(Signal::SIGTERM);
                assert_eq!(client.wait().code(), 143, "{command:?}");
                assert_eq!(host.inspect("c")["State"]["Running"], true, "{command:?}");
            }
        }
        host.mydocker(&["rm", "-f", "c"]).ok();
    }
    host.assert_nothing_left();
}

#[test]
fn keys_that_are_typed_before_the_container_is_up_count() {
    let host = Host::new();
    let script = "echo up; while read line; do echo \"<$line>\"; done";
    let words = ["create", "-it", "--name", "c", "--net", "none", &host.image, "sh", "-c", script];
    let id = host.mydocker(&words).ok();
    // Nobody gets on with it as long as its record is locked.
    let mut held = crate::at_once::hold(&host, &id);
    let mut client = host.command(&["start", "-ai", "c"]).on_a_terminal().start_in(&host.space);
    eventually("the terminal to be raw", || client.is_raw().then_some(()));
    client.say(&format!("early\n{DETACH}"));
    held.end_input();
    held.wait();
    let output = client.wait();
    assert!(output.code() == 0 && output.stdout.contains("detached"), "{output}");
    eventually("what was typed", || host.mydocker(&["logs", "c"]).ok().contains("<early>").then_some(()));
    assert_eq!(host.inspect("c")["State"]["Running"], true);
    host.mydocker(&["rm", "-f", "c"]).ok();
    // Who leaves early is told all the same that there is nothing to be left.
    host.mydocker(&["create", "-it", "--name", "c", "--net", "none", &host.image, "nosuchcommand"]).ok();
    let id = host.inspect("c")["Id"].as_str().expect("an id").to_owned();
    let mut held = crate::at_once::hold(&host, &id);
    let mut client = host.command(&["start", "-ai", "c"]).on_a_terminal().start_in(&host.space);
    eventually("the terminal to be raw", || client.is_raw().then_some(()));
    client.say(DETACH);
    held.end_input();
    held.wait();
    let output = client.wait();
    assert!(output.code() == 1 && output.stdout.contains("nosuchcommand"), "{output}");
    host.mydocker(&["rm", "c"]).ok();
    host.assert_nothing_left();
}

impl Running {
    /// Whether its terminal passes every key on.
    fn is_raw(&self) -> bool {
        let modes = nix::sys::termios::tcgetattr(self.screen()).expect("the terminal's modes");
        !modes.local_flags.contains(LocalFlags::ICANON)
    }
}
