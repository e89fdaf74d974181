//! The demo of the README, run to its end. It makes its own namespaces, on a host that has none of its own business.

use crate::host::Host;
use crate::program::{Output, Program};

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/demo.sh");

/// Its files, and with them every process of it, are found among what is the host's.
fn demo(host: &Host, command: &[&str]) -> Output {
    let files = host.scratch("demo");
    let words = [command, &["bash", DEMO, env!("CARGO_BIN_EXE_mydocker")]].concat();
    Program::new(&words).environment("TMPDIR", files.to_str().unwrap()).run_in(&host.space)
}

#[test]
fn the_demo_succeeds_and_leaves_nothing() {
    let host = Host::new();
    let output = demo(&host, &[]);
    let shown = output.ok();
    for step in
        ["$ mydocker network create mydemo0", "Hello from a container of mydocker.", "table inet mydocker {"]
    {
        assert!(shown.contains(step), "{step} is missing: {output}");
    }
    host.assert_nothing_left();
}

#[test]
fn the_demo_needs_neither_nft_nor_iptables_nor_docker() {
    let host = Host::new();
    // A PATH with the demo's own tools, and nothing else.
    let tools = host.scratch("tools");
    for tool in [
        "bash", "sh", "curl", "ip", "busybox", "realpath", "mktemp", "ln", "mkdir", "rm", "sed", "head",
        "seq", "sleep", "id", "find", "unshare", "mount",
    ] {
        let path = host.space.ok(&["sh", "-c", &format!("command -v {tool}")]);
        std::os::unix::fs::symlink(path, tools.join(tool)).unwrap();
    }
    demo(&host, &["env", &format!("PATH={}", tools.display())]).ok();
    host.assert_nothing_left();
}

#[test]
fn the_demo_leaves_alone_what_is_there_already() {
    let host = Host::new();
    host.network("mydemo0", "10.89.0.0/24", &[]);
    host.container("web", "mydemo0", &["-p", "8080:80"]);
    host.space.ok(&["ip", "netns", "add", "elsewhere"]);
    let addresses = || host.space.ok(&["ip", "-br", "address"]);
    let state = || (host.table(), host.mydocker(&["inspect", "web"]).ok(), addresses());
    let before = state();
    demo(&host, &[]).ok();
    assert_eq!(state(), before);
    let names = host.space.ok(&["ip", "netns", "list"]);
    assert!(names.lines().any(|line| line.split(' ').next() == Some("elsewhere")), "{names}");
}
