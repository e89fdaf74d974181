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
