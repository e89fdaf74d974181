//! Commands that are interrupted: what they had made is gone when they are, and not only with the next command.

use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;

use crate::archives::{image_tar, import};
use crate::host::Host;
use crate::program::{Running, eventually};
use crate::pull::{clean, entries, publish};
use crate::registry::{Proxy, Registry, command};

fn temporaries(host: &Host) -> Vec<String> {
    entries(host.root.join("image/tmp"))
}

/// Interrupts a command that has made something, and sees that nothing is left of it.
#[track_caller]
fn interrupt(host: &Host, running: Running, signal: Signal) {
    eventually("something that is made", || (!temporaries(host).is_empty()).then_some(()));
    running.signal(signal);
    let output = running.wait();
    assert_eq!(output.status.signal(), Some(signal as i32), "{output}");
    assert_eq!(temporaries(host), Vec::<String>::new(), "{output}");
}

#[test]
fn an_archive_that_is_not_read_to_its_end_leaves_nothing() {
    let host = Host::new();
    let archive = image_tar(&host, &[]);
    import(&host, "kept", &[], &[]);
    for (number, signal) in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().enumerate() {
        for words in [&["import"][..], &["load", "-i"]] {
            let fifo: PathBuf = host.scratch(&format!("{}{number}", words[0])).join("fifo");
            nix::unistd::mkfifo(&fifo, Mode::from_bits_truncate(0o600)).unwrap();
            let running = host.start(&[words, &[fifo.to_str().unwrap()]].concat());
            // Half of it, and then nothing for as long as anybody waits.
            let mut half = std::fs::OpenOptions::new().write(true).open(&fifo).unwrap();
            half.write_all(&archive[..archive.len() / 2]).unwrap();
            match words[0] {
                "import" => interrupt(&host, running, signal),
                // It begins with what is no image of Docker's, and is not unpacked before it is known to be one.
                _ => {
                    running.signal(signal);
                    assert_eq!(running.wait().status.signal(), Some(signal as i32));
                    assert_eq!(temporaries(&host), Vec::<String>::new());
                }
            }
        }
    }
    // Who is not to be interrupted (nohup) is not.
    let file = crate::archives::file(&host, "whole.tar", &archive);
    let script = "trap '' INT; (sleep 0.2; kill -INT $$) & exec \"$@\"";
    let words = ["sh", "-c", script, "sh", env!("CARGO_BIN_EXE_mydocker")];
    let roots = ["--root", host.root.to_str().unwrap(), "--run-root", host.run_root.to_str().unwrap()];
    host.program(&[&words[..], &roots, &["import", &file, "whole"]].concat()).run_in(&host.space).ok();
    host.mydocker(&["image", "prune", "-a", "-f"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_container_goes_on_when_its_commit_is_interrupted() {
    let host = Host::new();
    import(&host, "base", &[], &[]);
    host.mydocker(&["run", "-d", "--name", "c", "--net", "none", "base", "sleep", "100000"]).ok();
    let id = host.inspect("c")["Id"].as_str().unwrap().to_owned();
    host.mydocker(&["exec", "c", "dd", "if=/dev/urandom", "of=/large", "bs=1000000", "count=60"]).ok();
    interrupt(&host, host.start(&["commit", "c", "never"]), Signal::SIGINT);
    // Nobody has looked at the container since then who would have let it go on.
    let frozen = crate::limits::everywhere(&format!("/mydocker/{id}")).into_iter().any(|group| {
        let read = |file: &str| std::fs::read_to_string(group.join(file)).unwrap_or_default();
        read("freezer.state").contains("FR") || read("cgroup.freeze").starts_with('1')
    });
    assert!(!frozen);
    assert!(!host.mydocker(&["images"]).ok().contains("never"));
    host.mydocker(&["commit", "c", "now"]).ok();
    host.mydocker(&["rm", "-f", "c"]).ok();
    host.mydocker(&["image", "prune", "-a", "-f"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_pull_that_is_interrupted_keeps_nothing_half_done() {
    let host = Host::new();
    let registry = Registry::new(&host, 5000);
    publish(&host, &registry.image("one"));
    let slow = Proxy::new(&host, 5001, &registry, |asked, _, mut answer| {
        if asked.is_blob() && answer.body.len() > 1_000_000 {
            answer.slow = Duration::from_millis(500);
        }
        answer
    });
    for words in [&["pull"][..], &["run", "--rm", "--net", "none"]] {
        let image = slow.image("one");
        let words = [words, &[&image]].concat();
        let running = command(&host, &words).start_in(&host.space);
        interrupt(&host, running, Signal::SIGINT);
    }
    drop(slow);
    clean(&host);
}
