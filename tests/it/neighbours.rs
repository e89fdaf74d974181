//! A container tells its neighbours and the host that an address of somebody else's is its own: with `--check-source` nobody
//! believes it. Each attack is made in a plain network too, and works there.

use std::net::{IpAddr, UdpSocket};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use crate::host::{Container, HOST, HOST6, Host, OUTSIDE};
use crate::space::Namespace;
use crate::wire::{Probe, Server, tcp};

const GATEWAYS: [&str; 2] = ["172.18.0.1", "fd00:18::1"];

struct Street {
    host: Host,
    victim: Container,
    attacker: Container,
}

fn street(options: &[&str]) -> Street {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[&["--subnet", "fd00:18::/64"], options].concat());
    let victim = host.container("victim", "front", &["-p", "8080:80"]);
    let attacker = host.container("attacker", "front", &[]);
    Street { host, victim, attacker }
}

/// The Ethernet address that a namespace knows for an address.
fn known(space: &Namespace, address: &str, device: &str) -> String {
    let found = space.ok(&["ip", "neigh", "show", address, "dev", device]);
    let words: Vec<&str> = found.split_whitespace().collect();
    words.iter().position(|word| *word == "lladdr").map_or(String::new(), |place| words[place + 1].to_owned())
}

/// The attacker takes the address and speaks to `to` from it, until a few seconds are over: an entry that was just
/// confirmed is not changed for a second.
fn claim(attacker: &Container, address: IpAddr, to: &str) {
    let (family, length) = if address.is_ipv4() { ("-4", 32) } else { ("-6", 128) };
    let own = format!("{address}/{length}");
    attacker.space.ok(&["ip", family, "address", "add", &own, "dev", "eth0", "nodad"]);
    attacker.space.ok(&["ip", family, "neigh", "flush", "dev", "eth0"]);
    // No answer comes to where it is claimed that it should go; that is not what this is about.
    let address = address.to_string();
    attacker.space.program(&["ping", family, "-c", "4", "-i", "0.6", "-W", "1", "-I", &address, to]);
}

fn visitors(street: &Street, to: &str, servers: &[&Server; 2]) -> [usize; 2] {
    let before = servers.map(|server| server.clients().len());
    let answer = tcp(&street.host.outside, to);
    assert!(!matches!(answer, Probe::NoRoute), "{answer:?}");
    let after = servers.map(|server| server.clients().len());
    [after[0] - before[0], after[1] - before[1]]
}

/// Whether the attacker gets the visitors of the victim's published port.
fn takes_the_port(options: &[&str], published: &str) -> bool {
    let street = street(options);
    let (victim, attacker) = (&street.victim, &street.attacker);
    let servers = [Server::tcp(&victim.space, "[::]:80"), Server::tcp(&attacker.space, "[::]:80")];
    let servers = [&servers[0], &servers[1]];
    assert_eq!(visitors(&street, published, &servers), [1, 0], "before");
    let is_ipv4 = published.starts_with(HOST);
    let address = if is_ipv4 { victim.address } else { victim.address6.expect("an IPv6 address") };
    claim(attacker, address, GATEWAYS[usize::from(!is_ipv4)]);
    visitors(&street, published, &servers) != [1, 0]
}

#[test]
fn s16_a_neighbour_takes_no_published_port() {
    for published in [format!("{HOST}:8080"), format!("[{HOST6}]:8080")] {
        assert!(takes_the_port(&[], &published), "the attack on {published} works in a plain network");
        assert!(!takes_the_port(&["--check-source"], &published), "{published}");
    }
}

/// Whether the victim believes that the attacker is its gateway.
fn is_taken_for_the_gateway(options: &[&str]) -> [bool; 2] {
    let street = street(options);
    let _server = Server::tcp(&street.host.outside, &format!("{OUTSIDE}:80"));
    let to =
        [street.victim.address.to_string(), street.victim.address6.expect("an IPv6 address").to_string()];
    [0, 1].map(|family| {
        let gateway = GATEWAYS[family];
        street.victim.space.program(&["ping", "-c", "1", "-W", "2", gateway]);
        let before = known(&street.victim.space, gateway, "eth0");
        assert_ne!(before, "");
        claim(&street.attacker, gateway.parse().expect("an address"), &to[family]);
        known(&street.victim.space, gateway, "eth0") != before
    })
}

#[test]
fn s16_a_neighbour_is_not_taken_for_the_gateway() {
    assert_eq!(is_taken_for_the_gateway(&[]), [true, true], "the attack works in a plain network");
    assert_eq!(is_taken_for_the_gateway(&["--check-source"]), [false, false]);
}

/// Whether the attacker gets what is sent to the victim's Ethernet address, by sending frames from it all the time.
fn takes_the_frames(options: &[&str]) -> bool {
    let street = street(options);
    let (victim, attacker) = (&street.victim, &street.attacker);
    let published = format!("{HOST}:8080");
    let servers = [Server::tcp(&victim.space, "0.0.0.0:80"), Server::tcp(&attacker.space, "0.0.0.0:80")];
    let servers = [&servers[0], &servers[1]];
    assert_eq!(visitors(&street, &published, &servers), [1, 0], "before");
    // So that it answers what comes to it; it says nothing of the address by ARP.
    attacker.space.set_sysctl("net/ipv4/conf/all/arp_ignore", "1");
    attacker.space.ok(&["ip", "address", "add", &format!("{}/32", victim.address), "dev", "lo"]);
    let mac = victim.space.ethernet_address("eth0");
    attacker.space.ok(&["ip", "link", "set", "eth0", "address", &mac]);
    let from = format!("{}:0", attacker.address);
    let sender = attacker.space.run(|| UdpSocket::bind(from)).expect("a socket of the attacker's");
    sender.connect((GATEWAYS[0], 9)).expect("an address to send to");
    let (stop, stopped) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // A refusal that came for the last one is no reason to end.
            while stopped.recv_timeout(Duration::from_millis(20)) == Err(RecvTimeoutError::Timeout) {
                sender.send(b"frame").ok();
            }
        });
        std::thread::sleep(Duration::from_millis(500));
        let got = visitors(&street, &published, &servers);
        drop(stop);
        got != [1, 0]
    })
}

#[test]
fn s16_a_neighbour_takes_no_frames_by_an_ethernet_address() {
    assert!(takes_the_frames(&[]), "the attack works in a plain network");
    assert!(!takes_the_frames(&["--check-source"]));
}

#[test]
fn s16_what_was_tied_goes_with_its_container_and_comes_back_with_its_bridge() {
    let street = street(&["--check-source"]);
    let Street { host, victim, attacker } = street;
    let permanent = |host: &Host| {
        host.space.ok(&["ip", "neigh", "show", "dev", "front", "nud", "permanent"]).lines().count()
    };
    assert_eq!(permanent(&host), 4, "two addresses of two containers");
    drop(attacker);
    host.mydocker(&["rm", "-f", "attacker"]).ok();
    assert_eq!(permanent(&host), 2);
    // The bridge is deleted by somebody: a reload ties again.
    host.space.ok(&["ip", "link", "delete", "front"]);
    host.mydocker(&["network", "reload"]).ok();
    assert_eq!(permanent(&host), 2);
    // Another Ethernet address takes the address's place.
    drop(victim);
    host.mydocker(&["rm", "-f", "victim"]).ok();
    assert_eq!(permanent(&host), 0);
    let other = host.container("other", "front", &["--mac-address", "02:42:99:99:99:99", "-p", "8081:80"]);
    let server = Server::tcp(&other.space, "0.0.0.0:80");
    tcp(&host.outside, &format!("{HOST}:8081")).seen_as();
    drop((server, other));
    host.mydocker(&["rm", "-f", "other"]).ok();
    host.mydocker(&["network", "rm", "front"]).ok();
    host.assert_nothing_left();
}
