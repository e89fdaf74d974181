//! Many containers, one after the other and side by side.

use std::collections::BTreeSet;

use crate::host::Host;
use crate::program::eventually;

/// How many containers there are at a time.
const AT_A_TIME: usize = 10;

#[test]
fn two_hundred_containers_one_after_the_other_leave_nothing() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    let names: Vec<String> = (0..AT_A_TIME).map(|number| format!("c{number}")).collect();
    let (stopped, killed) = names.split_at(AT_A_TIME / 2);
    let with = |words: &[&'static str], names: &[String]| {
        let arguments: Vec<&str> = words.iter().copied().chain(names.iter().map(String::as_str)).collect();
        host.mydocker(&arguments).ok()
    };
    for round in 0..200 / AT_A_TIME {
        let start = |(number, name): (usize, &String)| {
            let port = format!("{}:80", 8000 + number);
            let options = ["run", "-d", "--name", name, "--net", "front", "-p", &port];
            host.start(&[&options[..], &[&host.image, "sleep", "100000"]].concat())
        };
        let clients: Vec<_> = names.iter().enumerate().map(start).collect();
        for client in clients {
            client.wait().ok();
        }
        let listed = host.mydocker(&["ps", "--format", "{{.Names}} {{.IP}} {{.State}}"]).ok();
        let addresses: BTreeSet<&str> = listed.lines().filter_map(|line| line.split(' ').nth(1)).collect();
        assert_eq!(addresses.len(), AT_A_TIME, "round {round}: {listed}");
        assert_eq!(listed.matches("running").count(), AT_A_TIME, "round {round}: {listed}");
        with(&["stop", "-t", "0"], stopped);
        with(&["rm"], stopped);
        with(&["rm", "-f"], killed);
        assert_eq!(host.mydocker(&["ps", "-aq"]).ok(), "", "round {round}");
    }
    assert_eq!(host.published(), [""; 0]);
    host.mydocker(&["network", "remove", "front"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_supervisor_is_small() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    host.mydocker(&[
        "run",
        "-d",
        "--name",
        "c",
        "--net",
        "front",
        "-p",
        "80:80",
        &host.image,
        "sleep",
        "1000",
    ])
    .ok();
    let init = host.inspect("c")["State"]["Pid"].as_i64().unwrap();
    let supervisor = status_of(&init.to_string(), "PPid:");
    // It has told that the container runs before it has let go of what it needed for that.
    eventually("a supervisor of at most 3 MiB", || {
        let memory = std::fs::read_to_string(format!("/proc/{supervisor}/smaps_rollup")).unwrap();
        // What it has for itself alone: its share of the binary depends on who else runs it, and the binary that
        // is tested here is not the small one that users have.
        let own = memory.lines().find_map(|line| line.strip_prefix("Pss_Anon:")).unwrap().trim();
        let kib: u64 = own.trim_end_matches(" kB").parse().unwrap();
        (kib <= 3 * 1024).then_some(())
    });
    assert_eq!(status_of(&supervisor, "Threads:"), "1");
    host.mydocker(&["rm", "-f", "c"]).ok();
}

fn status_of(pid: &str, name: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned()
}
