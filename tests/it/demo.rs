//! The demo of the README, run to its end on a host of its own.

use crate::host::Host;

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/demo.sh");

#[test]
fn the_demo_succeeds_and_leaves_nothing() {
    let host = Host::new();
    let output = host.space.program(&["bash", DEMO, env!("CARGO_BIN_EXE_mydocker")]);
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
        "seq", "sleep", "id", "find",
    ] {
        let path = host.space.ok(&["sh", "-c", &format!("command -v {tool}")]);
        std::os::unix::fs::symlink(path, tools.join(tool)).unwrap();
    }
    let command = ["env", &format!("PATH={}", tools.display()), "bash", DEMO, env!("CARGO_BIN_EXE_mydocker")]
        .map(str::to_owned);
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    host.space.ok(&command);
    host.assert_nothing_left();
}
