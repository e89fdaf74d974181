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

/// A namespace of `ip netns`, by its number.
fn namespace(number: usize) -> String {
    format!("s{number}")
}

/// A hundred commands of every kind at once, and a hundred that undo them: none disturbs another.
#[test]
fn r6_a_hundred_commands_make_and_a_hundred_remove_on_one_network_and_on_many() {
    const RUNNING: usize = 40;
    const CREATED: usize = 10;
    const NETWORKS: usize = 20;
    const NAMESPACES: usize = 30;
    let host = Host::new();
    host.network("front", "172.18.0.0/24", &[]);
    let first = ["a0", "a1", "a2", "a3"];
    together(first.iter().map(|name| host.start(&["network", "create", name])));
    for number in 0..NAMESPACES {
        host.space.ok(&["ip", "netns", "add", &namespace(number)]);
    }
    // Half of all is on one network, the other half on four.
    let network =
        |number: usize| if number.is_multiple_of(2) { "front" } else { first[number / 2 % first.len()] };
    let fixed = |base: usize, number: usize| format!("{}:80", base + number);
    let run = |number: usize| {
        let (name, port) = (format!("r{number}"), fixed(7000, number));
        let options = ["run", "-d", "--name", &name, "--net", network(number), "-p", &port, "-p", "81"];
        host.start(&[&options[..], &[&host.image, "sleep", "100000"]].concat())
    };
    let create = |number: usize| {
        let (name, port) = (format!("c{number}"), fixed(7500, number));
        host.start(&["create", "--name", &name, "--net", network(number), "-p", &port, &host.image, "true"])
    };
    let connect = |number: usize| {
        let (name, port) = (namespace(number), fixed(8000, number));
        host.start(&["network", "connect", "--netns", &name, "-p", &port, "-p", "81", network(number)])
    };
    let made = |number: usize| host.start(&["network", "create", &format!("n{number}")]);
    let connected: Vec<Running> = (0..NAMESPACES).map(connect).collect();
    let others = (0..NETWORKS).map(made).chain((0..RUNNING).map(run)).chain((0..CREATED).map(create));
    together(others.collect::<Vec<_>>().into_iter());
    let listed: Vec<String> = connected.into_iter().map(|command| command.wait().ok()).collect();

    let running = host.mydocker(&["ps", "--format", "{{.IP}} {{.State}}"]).ok();
    assert_eq!(running.matches(" running").count(), RUNNING, "{running}");
    let of_containers = running.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned);
    let addresses: BTreeSet<String> = listed.iter().cloned().chain(of_containers).collect();
    assert_eq!(addresses.len(), NAMESPACES + RUNNING, "{listed:?} {running}");
    let published = host.published();
    assert_eq!(published.len(), 2 * (NAMESPACES + RUNNING), "{published:?}");
    let targets: BTreeSet<&str> =
        published.iter().filter_map(|element| Some(element.split_once(" : ")?.1)).collect();
    let wanted: BTreeSet<String> =
        addresses.iter().flat_map(|address| [80, 81].map(|port| format!("{address} . {port}"))).collect();
    assert_eq!(targets, wanted.iter().map(String::as_str).collect());
    let names = host.mydocker(&["network", "list", "-q"]).ok();
    let subnets: BTreeSet<String> = names
        .lines()
        .map(|name| host.inspect_network(name)["IPAM"]["Config"][0]["Subnet"].to_string())
        .collect();
    assert_eq!((names.lines().count(), subnets.len()), (25, 25), "{names} {subnets:?}");
    // It may have remarks, about the machine.
    host.mydocker(&["network", "check"]).ok();

    let mut last: Vec<Running> = (0..NAMESPACES)
        .map(|number| host.start(&["network", "disconnect", "--netns", &namespace(number), network(number)]))
        .collect();
    last.extend((0..RUNNING).map(|number| host.start(&["rm", "-f", &format!("r{number}")])));
    last.extend((0..CREATED).map(|number| host.start(&["rm", &format!("c{number}")])));
    last.extend((0..NETWORKS).map(|number| host.start(&["network", "remove", &format!("n{number}")])));
    together(last.into_iter());
    assert_eq!((host.mydocker(&["ps", "-aq"]).ok(), host.published()), (String::new(), vec![]));
    together(first.iter().chain(&["front"]).map(|name| host.start(&["network", "remove", name])));
    for number in 0..NAMESPACES {
        host.space.ok(&["ip", "netns", "delete", &namespace(number)]);
    }
    host.assert_nothing_left();
}
