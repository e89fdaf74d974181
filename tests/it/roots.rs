//! Two sets of records on one network namespace: the table is that of one of them.

use serde_json::json;

use crate::cni::{MYDOCKER, failed, mydocker, pod};
use crate::host::{HOST, Host, OUTSIDE};
use crate::program::Output;
use crate::wire::{Server, tcp};

#[test]
fn records_below_other_roots_are_refused_while_the_table_is_there() {
    let host = Host::new();
    host.network("front", "172.18.0.0/24", &[]);
    let web = host.container("web", "front", &["-p", "8080:80"]);
    let _server = Server::tcp(&web.space, "0.0.0.0:80");
    let other = host.scratch("other");
    let root = other.join("root");
    let by_roots = |root: &str, run_root: &str, arguments: &[&str]| -> Output {
        let words = [&[MYDOCKER, "--root", root, "--run-root", run_root], arguments].concat();
        host.program(&words).run_in(&host.space)
    };
    let run_root = other.join("run");
    let theirs = |arguments: &[&str]| by_roots(root.to_str().unwrap(), run_root.to_str().unwrap(), arguments);
    let own_root = host.root.to_str().unwrap();
    let before = host.table();
    assert!(!before.contains(own_root), "what others read is as it was: {before}");
    let create = ["network", "create", "--subnet", "172.19.0.0/24", "back"];
    theirs(&create).refused(&[1], &["inet mydocker", &format!("--root is {own_root}")]);
    theirs(&["run", "--rm", &host.image, "true"]).refused(&[125], &["inet mydocker", own_root]);
    by_roots(own_root, run_root.to_str().unwrap(), &create).refused(&[1], &["another --run-root"]);
    let _pod = pod(&host, "pod");
    let conf = json!({ "cniVersion": "1.0.0", "name": "pods", "type": "mydocker", "root": root, "runRoot": run_root });
    assert_eq!(failed(&mydocker(&host, "ADD", "pod", &conf), &["inet mydocker", own_root]), 7);
    assert_eq!(host.table(), before);
    assert!(!root.join("network/network/back").exists() && !host.devices_now().contains("back"));
    assert_eq!(tcp(&host.outside, &format!("{HOST}:8080")).seen_as(), OUTSIDE);

    // Once nothing of the first is left, the second has the table, and then the first is refused.
    host.mydocker(&["rm", "-f", "web"]).ok();
    host.mydocker(&["network", "rm", "front"]).ok();
    theirs(&create).ok();
    theirs(&[
        "run",
        "-d",
        "--name",
        "theirs",
        "--net",
        "back",
        "-p",
        "8080:80",
        &host.image,
        "sleep",
        "1000",
    ])
    .ok();
    let front = ["network", "create", "--subnet", "172.18.0.0/24", "front"];
    host.mydocker(&front).refused(&[1], &["inet mydocker", root.to_str().unwrap()]);
    // Whoever has lost the table can remove what it has, without the other's.
    host.space.ok(&["nft", "delete", "table", "inet", "mydocker"]);
    host.mydocker(&front).ok();
    let web = host.container("web", "front", &["-p", "8080:80"]);
    let before = host.table();
    theirs(&["network", "reload"]).refused(&[1], &["inet mydocker", own_root]);
    theirs(&["rm", "-f", "theirs"]).ok();
    theirs(&["network", "rm", "back"]).ok();
    assert!(!host.devices_now().contains("back"));
    assert_eq!(host.table(), before);
    let _server = Server::tcp(&web.space, "0.0.0.0:80");
    assert_eq!(tcp(&host.outside, &format!("{HOST}:8080")).seen_as(), OUTSIDE);
    drop((_server, web));
    host.mydocker(&["rm", "-f", "web"]).ok();
    host.mydocker(&["network", "rm", "front"]).ok();
}
