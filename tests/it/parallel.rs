//! R6 with many commands: as many as a deployment starts at once, on one network and on many.

use std::collections::BTreeSet;

use crate::host::Host;
use crate::program::Running;

/// How many commands there are at once.
const AT_ONCE: usize = 32;

/// All of them succeed.
#[track_caller]
fn together(commands: impl Iterator<Item = Running>) {
    let commands: Vec<Running> = commands.collect();
    for command in commands {
        command.wait().ok();
    }
}

/// Starts containers in these networks, all at once, each with a port that was asked for and one that is chosen; then
/// removes them, all at once, and after them the networks. Returns the addresses that there were.
#[track_caller]
fn come_and_go(host: &Host, networks: &[&str]) -> BTreeSet<String> {
    let names: Vec<String> = (0..AT_ONCE).map(|number| format!("c{number}")).collect();
    together(names.iter().enumerate().map(|(number, name)| {
        let (network, port) = (networks[number % networks.len()], format!("{}:80", 8000 + number));
        let options = ["run", "-d", "--name", name, "--net", network, "-p", &port, "-p", "81"];
        host.start(&[&options[..], &[&host.image, "sleep", "100000"]].concat())
    }));
    let listed = host.mydocker(&["ps", "--format", "{{.Names}} {{.IP}} {{.State}}"]).ok();
    let addresses: BTreeSet<String> =
        listed.lines().filter_map(|line| Some(line.split(' ').nth(1)?.to_owned())).collect();
    assert_eq!(addresses.len(), AT_ONCE, "{listed}");
    assert_eq!(listed.matches(" running").count(), AT_ONCE, "{listed}");
    // The kernel has each port of the host once: it is enough that none is missing, and where they lead.
    let published = host.published();
    assert_eq!(published.len(), 2 * AT_ONCE, "{published:?}");
    let targets: BTreeSet<&str> =
        published.iter().filter_map(|element| Some(element.split_once(" : ")?.1)).collect();
    let wanted: BTreeSet<String> =
        addresses.iter().flat_map(|address| [80, 81].map(|port| format!("{address} . {port}"))).collect();
    assert_eq!(targets, wanted.iter().map(String::as_str).collect());
    // It may have remarks, about the machine.
    host.mydocker(&["network", "check"]).ok();

    together(names.iter().map(|name| host.start(&["rm", "-f", name])));
    assert_eq!(host.mydocker(&["ps", "-aq"]).ok(), "");
    assert_eq!(host.published(), [""; 0]);
    together(networks.iter().map(|name| host.start(&["network", "remove", name])));
    host.assert_nothing_left();
    addresses
}

#[test]
fn r6_thirty_two_containers_come_and_go_at_once_on_one_network() {
    let host = Host::new();
    host.network("front", "172.18.0.0/24", &[]);
    let addresses = come_and_go(&host, &["front"]);
    // None was skipped.
    assert_eq!(addresses, (2..AT_ONCE + 2).map(|number| format!("172.18.0.{number}")).collect());
}

#[test]
fn r6_thirty_two_containers_come_and_go_at_once_on_eight_networks() {
    let host = Host::new();
    let networks = ["n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7"];
    together(networks.iter().map(|name| host.start(&["network", "create", name])));
    come_and_go(&host, &networks);
}
