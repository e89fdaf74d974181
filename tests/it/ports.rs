//! Publishing: what `-p` may say, which port is chosen, who gets a port that two want, and what a change of
//! the table costs. That packets arrive, and that others do not, is in `packets` too.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpStream};

use serde_json::json;

use crate::host::{Container, HOST, Host, OUTSIDE};
use crate::program::{Output, Running};
use crate::wire::{Probe, Server, tcp, udp};

const REFUSED: &[i32] = &[125, 2];

fn front() -> Host {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    host
}

/// Runs a command with these options that ends at once: what is published is there only for a moment.
#[track_caller]
fn attempt(host: &Host, ports: &[&str]) -> Output {
    let options: Vec<&str> = ports.iter().flat_map(|port| ["-p", port]).collect();
    host.run(&[&["--net", "front"], &options[..]].concat(), &["true"])
}

/// `HOST_IP:HOST_PORT` of each published port, by container port, as `inspect` tells.
fn bindings(host: &Host, container: &str) -> Vec<(String, String)> {
    let ports = &host.inspect(container)["NetworkSettings"]["Ports"];
    let ports = ports.as_object().expect("an object of ports").iter();
    let bindings = ports.flat_map(|(port, bindings)| {
        let bindings = bindings.as_array().cloned().unwrap_or_default().into_iter();
        bindings.map(move |binding| {
            let text = |member: &str| binding[member].as_str().unwrap_or_default().to_owned();
            (port.clone(), format!("{}:{}", text("HostIp"), text("HostPort")))
        })
    });
    bindings.collect()
}

fn host_port(host: &Host, container: &str) -> u16 {
    let bindings = bindings(host, container);
    assert_eq!(bindings.len(), 1, "{bindings:?}");
    bindings[0].1.rsplit(':').next().unwrap().parse().unwrap()
}

/// The `PORTS` column of `ps`.
fn ports_column(host: &Host, container: &str) -> String {
    let list = host.mydocker(&["ps", "--format", "json"]).rows();
    let rows = list.as_array().expect("an array");
    let row = rows.iter().find(|row| row["Names"] == container).expect("the container's row");
    row["Ports"].as_str().unwrap_or_default().to_owned()
}

/// How many elements of one map or set are in the table.
fn count(host: &Host, set: &str) -> usize {
    let list = host.space.ok(&["nft", "-j", "list", "set", "inet", "mydocker", set]);
    let list: serde_json::Value = serde_json::from_str(&list).expect("nft's JSON");
    let objects = list["nftables"].as_array().expect("an array").iter();
    let elements = objects.filter_map(|object| object["set"]["elem"].as_array().map(Vec::len));
    elements.sum()
}

#[test]
fn what_cannot_be_published_is_refused_with_the_reason() {
    let host = front();
    let before = host.table();
    for (port, reason) in [
        ("8000-8010:80-81", "equally long"),
        ("8000:80-81", "equally long"),
        ("8010-8000:80-90", "ends before it starts"),
        ("0:80", "1 to 65535"),
        ("80:65536", "1 to 65535"),
        ("80:80/icmp", "tcp, udp or sctp"),
        ("[::1]:8080:80", "loopback"),
        ("[fe80::1]:8080:80", "link-local"),
        ("224.0.0.1:8080:80", "one host"),
        ("[2001:db8::1]:8080:80", "no IPv6 address"),
        ("[::]:8080:80", "no IPv6 address"),
        ("192.0.2.77:8080:80", "not an address of this host"),
        ("1.2.3:80:80", "not an IP address"),
    ] {
        let line = attempt(&host, &[port]).refused(REFUSED, &[reason]);
        assert!(!line.contains("cannot talk"), "{line}");
    }
    // Within one command line: by name, before anything is made.
    for (one, two) in [
        ("8080:80", "8080:81"),
        ("8080:80", "127.0.0.1:8080:81"),
        ("8000-8010:8000-8010", "8005:80"),
        ("8005:80", "8000-8010:80-90"),
    ] {
        let create = ["create", "--net", "front", "-p", one, "-p", two, &host.image, "true"];
        host.mydocker(&create).refused(REFUSED, &[two, "twice"]);
    }
    host.run(&["--expose", "80:80"], &["true"]).refused(REFUSED, &["80:80"]);
    assert_eq!(host.table(), before);
    host.assert_no_container_left();
}

#[test]
fn free_ports_come_from_the_hosts_range_and_are_nobodys() {
    let host = front();
    host.space.set_sysctl("net/ipv4/ip_local_port_range", "40000 40004");
    host.space.set_sysctl("net/ipv4/ip_local_reserved_ports", "40001,40004");
    let listener = Server::tcp(&host.space, "127.0.0.1:40002");
    // Of five ports one is published, one listened on and two are reserved.
    host.container("one", "front", &["-p", "127.0.0.1:40000:80"]);
    let two = host.container("two", "front", &["-p", "80"]);
    assert_eq!(host_port(&host, "two"), 40003);
    let server = Server::tcp(&two.space, "0.0.0.0:80");
    assert_eq!(tcp(&host.outside, &format!("{HOST}:40003")).seen_as(), OUTSIDE);
    attempt(&host, &["80"]).refused(REFUSED, &["no free port"]);
    attempt(&host, &["127.0.0.1::80"]).refused(REFUSED, &["no free port", "127.0.0.1"]);
    // Another protocol's are all free; consecutive ones are found together.
    host.space.set_sysctl("net/ipv4/ip_local_reserved_ports", "40000");
    host.container("three", "front", &["-p", "80-83/udp"]);
    assert_eq!(ports_column(&host, "three"), "0.0.0.0:40001-40004->80-83/udp");
    // A range for one port: the first free one of it.
    drop((server, two));
    let range = ["-p", "40000-40003:80"];
    host.mydocker(&["rm", "-f", "one", "two"]).ok();
    host.container("four", "front", &range);
    host.container("five", "front", &range);
    host.container("six", "front", &range);
    let chosen = ["four", "five", "six"].map(|name| host_port(&host, name));
    assert_eq!(chosen, [40000, 40001, 40003], "40002 is listened on");
    attempt(&host, &["40000-40003:80"]).refused(REFUSED, &["no free port", "40000-40003"]);
    drop(listener);
    host.container("seven", "front", &range);
    assert_eq!(host_port(&host, "seven"), 40002);
}

#[test]
fn every_exposed_port_is_published_on_a_free_one() {
    let host = front();
    let expose = ["--expose", "80", "--expose", "90-91/UDP", "--expose", "443/tcp"];
    host.container("quiet", "front", &expose);
    assert_eq!(bindings(&host, "quiet"), []);
    assert_eq!(ports_column(&host, "quiet"), "80/tcp, 443/tcp, 90-91/udp");
    let ports = &host.inspect("quiet")["NetworkSettings"]["Ports"];
    assert_eq!(*ports, json!({ "80/tcp": null, "443/tcp": null, "90/udp": null, "91/udp": null }));
    let web = host.container("web", "front", &[&expose[..], &["-P", "-p", "8443:443"]].concat());
    let bindings = bindings(&host, "web");
    let ports: Vec<&str> = bindings.iter().map(|(port, _)| port.as_str()).collect();
    assert_eq!(ports, ["443/tcp", "80/tcp", "90/udp", "91/udp"]);
    assert_eq!(bindings[0].1, "0.0.0.0:8443");
    let at = bindings[1].1.replace("0.0.0.0", HOST);
    let _server = Server::tcp(&web.space, "0.0.0.0:80");
    assert_eq!(tcp(&host.outside, &at).seen_as(), OUTSIDE);
    // They are chosen anew by every start, and given back by every end.
    drop(web);
    host.mydocker(&["rm", "-f", "web", "quiet"]).ok();
    assert_eq!(host.published(), [""; 0]);
}

/// R11.
#[test]
fn r11_a_range_of_ten_thousand_ports_is_one_element_and_one_transaction() {
    let host = front();
    let range = ["-p", "20000-29999:20000-29999", "-p", "20000-29999:20000-29999/udp"];
    let game = host.container("game", "front", &range);
    assert_eq!(
        host.published(),
        ["0.0.0.0/0 . tcp . 20000-29999 : 172.18.0.2", "0.0.0.0/0 . udp . 20000-29999 : 172.18.0.2",]
    );
    assert_eq!(
        ports_column(&host, "game"),
        "0.0.0.0:20000-29999->20000-29999/tcp, 0.0.0.0:20000-29999->20000-29999/udp"
    );
    // Each port leads to the same one.
    for port in [20000, 25555, 29999] {
        let _server = (
            Server::tcp(&game.space, &format!("0.0.0.0:{port}")),
            Server::udp(&game.space, &format!("0.0.0.0:{port}")),
        );
        assert_eq!(tcp(&host.outside, &format!("{HOST}:{port}")).seen_as(), OUTSIDE);
        assert_eq!(udp(&host.outside, &format!("{HOST}:{port}")).seen_as(), OUTSIDE);
        assert!(matches!(tcp(&host.space, &format!("127.0.0.1:{port}")), Probe::Answered(_)));
    }
    for port in [19999, 30000] {
        let _server = Server::tcp(&game.space, &format!("0.0.0.0:{port}"));
        assert_eq!(tcp(&host.outside, &format!("{HOST}:{port}")), Probe::Refused);
    }
    drop(game);
    host.mydocker(&["rm", "-f", "game"]).ok();
    assert_eq!(host.published(), [""; 0]);
    assert_eq!(count(&host, "claims"), 0);
}

#[test]
fn a_shifted_range_leads_each_port_to_its_own() {
    let host = front();
    let web = host.container("web", "front", &["-p", "8000-8010:80-90", "-p", "127.0.0.1:9000-9002:80-82"]);
    let column = "0.0.0.0:8000-8010->80-90/tcp, 127.0.0.1:9000-9002->80-82/tcp";
    assert_eq!(ports_column(&host, "web"), column);
    assert_eq!(host.published().len(), 11 + 3);
    let bindings = bindings(&host, "web");
    assert_eq!(bindings.len(), 11 + 3);
    assert!(bindings.contains(&("87/tcp".to_owned(), "0.0.0.0:8007".to_owned())), "{bindings:?}");
    for (at, to) in [(8000, 80), (8007, 87), (8010, 90)] {
        let server = Server::tcp(&web.space, &format!("0.0.0.0:{to}"));
        assert_eq!(tcp(&host.outside, &format!("{HOST}:{at}")).seen_as(), OUTSIDE);
        assert_eq!(server.clients(), [OUTSIDE]);
    }
    let server = Server::tcp(&web.space, "0.0.0.0:82");
    assert!(matches!(tcp(&host.space, "127.0.0.1:9002"), Probe::Answered(_)));
    assert_eq!(server.clients().len(), 1);
    // This kernel has no SCTP sockets: of SCTP there is only the element to be seen.
    host.container("phone", "front", &["-p", "3868:3868/SCTP"]);
    assert!(host.published().contains(&"0.0.0.0 . sctp . 3868 : 172.18.0.3 . 3868".to_owned()));
    attempt(&host, &["127.0.0.1:3868:1/sctp"]).refused(REFUSED, &["3868", "phone"]);
}

/// S11: as with sockets, whichever is first. Nothing of a refused container is published.
#[test]
fn s11_overlaps_of_ports_ranges_and_addresses_are_refused_both_ways_and_the_holder_named() {
    let host = front();
    let one_address = "127.0.0.1:8005:80";
    let range = "8000-8010:8000-8010";
    for (one, two) in [
        ("8005:80", one_address),
        ("8005:80", range),
        (one_address, range),
        ("8001-8009:8001-8009", range),
        ("8000-8010:80-90", one_address),
        ("127.0.0.1:8000-8010:8000-8010", "8005:80"),
    ] {
        for (first, second) in [(one, two), (two, one)] {
            host.container("holder", "front", &["-p", first]);
            let before = host.table();
            // With a free port before it and another behind: they are not published either.
            let output = attempt(&host, &["7000:70", second, "[::ffff:127.0.0.1]:7001:70"]);
            output.refused(&[125], &["80", "holder"]);
            assert_eq!(host.table(), before, "{second} after {first}");
            host.mydocker(&["rm", "-f", "holder"]).ok();
        }
    }
    host.container("holder", "front", &["-p", range]);
    // Which ports of a range they are is told.
    attempt(&host, &["8009-8020:8009-8020"])
        .refused(&[125], &["8009-8020", "container holder publishes ports 8009-8010"]);
    attempt(&host, &["8010-8020:80-90"]).refused(&[125], &["container holder publishes port 8010"]);
    attempt(&host, &["8011:80", "127.0.0.1:7999:80", "8005:80/udp", "8012-8020:8012-8020"]).ok();
    host.mydocker(&["rm", "-f", "holder"]).ok();
    assert_eq!((host.published(), count(&host, "claims")), (Vec::new(), 0));
    // Different addresses share a port.
    host.container("one", "front", &["-p", "127.0.0.1:8005:80", "-p", &format!("{HOST}:8005:80")]);
    host.container("two", "front", &["-p", "127.0.0.2:8000-8010:8000-8010"]);
    attempt(&host, &["8005:80"]).refused(&[125], &["8005"]);
}

#[test]
fn s11_sockets_of_the_host_are_in_the_way_of_ranges_and_addresses() {
    let host = front();
    let refused = |port: &str| {
        let line = attempt(&host, &[port]).refused(&[125], &["8005"]);
        let pid = std::process::id().to_string();
        let name = std::fs::read_to_string("/proc/self/comm").unwrap();
        assert!(line.contains(&pid) || line.contains(name.trim_end()), "the process should be named: {line}");
    };
    let listener = Server::tcp(&host.space, "127.0.0.1:8005");
    for port in ["8005:80", "8000-8010:8000-8010", "8000-8010:80-90", "127.0.0.1:8005:80"] {
        refused(port);
    }
    attempt(&host, &["8005:80/udp", "127.0.0.2:8005:80", "8006-8010:8006-8010"]).ok();
    drop(listener);
    // A socket of IPv6 that takes IPv4 too; and one that does not.
    let listener = Server::udp(&host.space, "[::]:8005");
    refused("8005:80/udp");
    refused("127.0.0.2:8005:80/udp");
    drop(listener);
    let _listener = Server::tcp(&host.space, "[::1]:8005");
    attempt(&host, &["8005:80", "8005:80/udp"]).ok();
}

#[test]
fn of_two_starts_that_want_one_port_one_wins_and_the_other_names_it() {
    let host = front();
    let (any, one) = ("8005:80", "127.0.0.1:8005:80");
    let (equal, shifted) = ("8000-8010:8000-8010", "8001-8011:1-11");
    for (round, ports) in
        [[any, any], [any, one], [any, equal], [one, equal], [equal, shifted], [equal, equal], [shifted, one]]
            .iter()
            .enumerate()
    {
        let names = ["left", "right"];
        let start = |n: usize| -> Running {
            let start = ["run", "-d", "--name", names[n], "--net", "front", "-p", ports[n]];
            host.start(&[&start[..], &[&host.image, "sleep", "1000"]].concat())
        };
        // Each is the first in some rounds.
        let (first, second) = (round % 2, 1 - round % 2);
        let (one, other) = (start(first), start(second));
        let (one, other) = (one.wait(), other.wait());
        let outputs = if first == 0 { [one, other] } else { [other, one] };
        let winners: Vec<usize> = (0..2).filter(|n| outputs[*n].status.success()).collect();
        assert_eq!(winners.len(), 1, "{ports:?}: {} {}", outputs[0], outputs[1]);
        let loser = 1 - winners[0];
        outputs[loser].refused(&[125], &["80", names[winners[0]]]);
        host.mydocker(&["rm", "-f", names[winners[0]]]).ok();
    }
    assert_eq!((host.published(), count(&host, "claims")), (Vec::new(), 0));
}

#[test]
fn ports_are_renamed_with_their_container_and_taken_from_one_that_was_killed() {
    let host = front();
    let ports = [
        "-p",
        "8000-8010:8000-8010",
        "-p",
        "127.0.0.1:9000:80",
        "-p",
        "9100-9101:80-81",
        "-p",
        "9200:80/udp",
    ];
    host.container("first", "front", &ports);
    let named = |name: &str| host.table().matches(&format!("comment \"{name}\"")).count();
    // Five elements of maps, and the claims of the range and of the address.
    assert_eq!(named("first"), 5 + 2);
    host.mydocker(&["rename", "first", "second"]).ok();
    assert_eq!((named("first"), named("second")), (0, 5 + 2));
    for port in ["8005:80", "0.0.0.0:9000:80", "127.0.0.1:9101:80", "127.0.0.1:9200:80/udp"] {
        attempt(&host, &[port]).refused(&[125], &["second"]);
    }
    host.kill_everything();
    host.container("third", "front", &ports);
    assert_eq!((named("second"), named("third")), (0, 5 + 2));
    attempt(&host, &["8005:80"]).refused(&[125], &["third"]);
    host.mydocker(&["rm", "-f", "third"]).ok();
    assert_eq!((host.published(), count(&host, "claims")), (Vec::new(), 0));
}

/// The numbers of netlink messages that a command and all its descendants send, by protocol.
fn netlink_sends(host: &Host, log: &std::path::Path, arguments: &[&str]) -> (usize, String) {
    let strace =
        ["strace", "-f", "-qq", "-yy", "-e", "trace=sendto,sendmsg,write", "-e", "signal=none", "-o"];
    let program = [&strace[..], &[log.to_str().unwrap(), "--", env!("CARGO_BIN_EXE_mydocker")], arguments];
    host.program(&program.concat()).run_in(&host.space).ok();
    let text = std::fs::read_to_string(log).expect("strace's log");
    let sends: Vec<&str> = text.lines().filter(|line| line.contains("<NETLINK:")).collect();
    (sends.len(), sends.join("\n"))
}

#[test]
fn a_start_and_a_stop_change_only_their_own_elements_and_cost_the_same_among_many() {
    let host = front();
    host.network("back", "172.19.0.0/16", &[]);
    let log = host.scratch("strace").join("log");
    let other = host.container("other", "front", &["-p", "9000:80", "-p", "9100-9110:9100-9110"]);
    let handles = || host.space.ok(&["nft", "-a", "list", "ruleset"]);
    let before = handles();
    let ports =
        ["-p", "8080:80", "-p", "8080:80/udp", "-p", "127.0.0.1:8081:80", "-p", "7000-7009:7000-7009"];
    // While it runs, only what it publishes is new.
    host.container("web", "front", &ports);
    let lines = |text: &str| -> BTreeSet<String> {
        let line = |line: &str| {
            line.trim().trim_start_matches("elements = { ").trim_end_matches([',', '}', ' ']).to_owned()
        };
        text.lines().map(line).collect()
    };
    let during = handles();
    let changed: Vec<String> = lines(&before).symmetric_difference(&lines(&during)).cloned().collect();
    // Four elements of maps, and the claims of the address and of the range.
    assert_eq!(changed.len(), 4 + 2, "{changed:#?}");
    assert!(changed.iter().all(|line| line.contains("comment \"web\"")), "{changed:#?}");
    host.mydocker(&["rm", "-f", "web"]).ok();
    assert_eq!(handles(), before);

    // There are connections to look through, now and later.
    let server = Server::udp(&other.space, "0.0.0.0:80");
    assert_eq!(tcp(&host.outside, &format!("{HOST}:9000")), Probe::Refused);
    let run = [&["run", "--rm", "--net", "front"], &ports[..], &[&host.image, "true"]].concat();
    let few = netlink_sends(&host, &log, &run);
    drop(server);
    let many =
        ["-p", "30000-30049:1-50", "-p", "31000-31049:31000-31049", "-p", "127.0.0.1:32000-32049:1-50"];
    let _many: Vec<Container> = ["a", "b", "c", "d", "e"]
        .iter()
        .enumerate()
        .map(|(n, name)| {
            let network = ["front", "back"][n % 2];
            host.container(name, network, if n == 0 { &many[..] } else { &["-p", "80"] })
        })
        .collect();
    let before = handles();
    let among_many = netlink_sends(&host, &log, &run);
    assert_eq!(few.0, among_many.0, "few:\n{}\namong many:\n{}", few.1, among_many.1);
    assert_eq!(handles(), before);
    // Nor does it cost more messages to publish fifty ports of one's own, none of which is chosen for others.
    let own = ["-p", "23000-23049:1-50", "-p", "24000-24049:24000-24049", "-p", "127.0.0.1:25000-25049:1-50"];
    let own = [&["run", "--rm", "--net", "front"], &own[..], &[&host.image, "true"]].concat();
    let fifty = netlink_sends(&host, &log, &own);
    assert!(fifty.0 <= few.0, "few:\n{}\nfifty:\n{}", few.1, fifty.1);
}

/// The kernel translates nothing for ::1: clients have to learn at once that they must try 127.0.0.1.
#[test]
fn a_published_port_refuses_the_hosts_ipv6_loopback_at_once() {
    for bridge_netfilter in [false, true] {
        let host = Host::new();
        host.set_bridge_netfilter(bridge_netfilter);
        host.network("front", "172.18.0.0/16", &[]);
        let web = host.container("web", "front", &["-p", "8080:80", "-p", "8080:80/udp"]);
        let _servers = (Server::tcp(&web.space, "0.0.0.0:80"), Server::udp(&web.space, "0.0.0.0:80"));
        assert_eq!(tcp(&host.space, "[::1]:8080"), Probe::Refused);
        assert_eq!(udp(&host.space, "[::1]:8080"), Probe::Refused);
        assert!(matches!(tcp(&host.space, "127.0.0.1:8080"), Probe::Answered(_)));
        assert!(matches!(udp(&host.space, "127.0.0.1:8080"), Probe::Answered(_)));
        // A client that tries ::1 first falls back.
        let localhost = ["[::1]:8080", "127.0.0.1:8080"].map(|at| at.parse::<SocketAddr>().unwrap());
        let reached = host.space.run(|| TcpStream::connect(&localhost[..])).unwrap();
        assert_eq!(reached.peer_addr().unwrap(), localhost[1]);
        // What the host itself serves there stays its own.
        let _own = Server::tcp(&host.space, "[::1]:8081");
        assert_eq!(tcp(&host.space, "[::1]:8081").seen_as(), "::1");
    }
}
