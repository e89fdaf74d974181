//! The commands of the README: typed in its order, on a fresh host, as a reader would.

use std::path::Path;

use crate::host::Host;

/// What names the registry of a block that cannot be run here: nobody has that host.
const ELSEWHERE: &str = "registry.example";

/// The shell blocks below the heading, in order.
fn blocks(page: &str, heading: &str) -> Vec<String> {
    let section = page.split(heading).nth(1).expect("the section").split("\n## ").next().unwrap_or_default();
    section.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()).map(str::to_owned).collect()
}

#[test]
fn every_block_runs_in_the_readmes_order() {
    let host = Host::new();
    let here = host.scratch("readme");
    std::fs::create_dir(here.join("bin")).expect("a directory");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_mydocker"), here.join("bin/mydocker")).expect("a link");
    let blocks = blocks(include_str!("../../README.md"), "\n## Usage by task");
    assert!(blocks.len() > 5, "{} blocks only", blocks.len());
    for block in blocks.iter().filter(|block| !block.contains(ELSEWHERE)) {
        run(&host, &here, block);
    }
    host.assert_nothing_left();
}

#[track_caller]
fn run(host: &Host, here: &Path, block: &str) {
    let script =
        format!("cd {}; export PATH=$PWD/bin:$PATH; set -e\n{block}", here.to_str().expect("a plain path"));
    let output = host.program(&["bash", "-c", &script]).run_in(&host.space);
    assert_eq!(output.code(), 0, "{block}\n{output}");
}
