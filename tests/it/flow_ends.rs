//! A container's own flows end with it: its partner outside does not reach the next holder of the address by what
//! connection tracking remembers, nor does that holder reach the partner where its network would not let it.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use crate::host::{Container, Host, OUTSIDE, OUTSIDE6};
use crate::space::Namespace;

const PORT: u16 = 4000;
const SUBNETS: [&str; 2] = ["172.18.0.0/16", "fd00:18::/64"];

/// A datagram socket that does not wait long.
fn socket(space: &Namespace, address: SocketAddr) -> UdpSocket {
    let socket = space.run(|| UdpSocket::bind(address)).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout");
    socket
}

fn any(address: IpAddr) -> SocketAddr {
    let any: IpAddr = if address.is_ipv4() { "0.0.0.0" } else { "::" }.parse().expect("an address");
    SocketAddr::new(any, PORT)
}

/// A partner outside, and where it sees the container at.
struct Partner {
    socket: UdpSocket,
    address: SocketAddr,
    client: SocketAddr,
}

impl Partner {
    /// The container sends it a first datagram and gets an answer.
    fn of(host: &Host, container: &Container, address: &str) -> Self {
        let address = SocketAddr::new(address.parse().expect("an address"), 80);
        let socket = socket(&host.outside, address);
        let own = self::socket(&container.space, any(address.ip()));
        own.send_to(b"question", address).expect("a way out");
        let (_, client) = socket.recv_from(&mut [0; 64]).expect("the container's question");
        let partner = Self { socket, address, client };
        assert!(partner.reaches(&own), "the answer to a question");
        partner
    }

    /// Whether what it sends to where it saw the container arrives at the socket.
    fn reaches(&self, socket: &UdpSocket) -> bool {
        self.socket.send_to(b"answer", self.client).expect("a datagram");
        socket.recv_from(&mut [0; 64]).is_ok_and(|(_, from)| from == self.address)
    }
}

fn dual() -> Host {
    let host = Host::new();
    host.network("front", SUBNETS[0], &["--subnet", SUBNETS[1]]);
    host
}

/// Both partners of a container `first`, which then has lost its addresses to `heir`.
fn after(end: impl FnOnce(&Host) -> Container) {
    let host = dual();
    let first = host.container("first", "front", &[]);
    let addresses = (first.address, first.address6);
    let partners = [OUTSIDE, OUTSIDE6].map(|address| Partner::of(&host, &first, address));
    drop(first);
    let heir = end(&host);
    assert_eq!((heir.address, heir.address6), addresses, "the next holder of the addresses");
    for partner in partners {
        let own = socket(&heir.space, any(partner.address.ip()));
        assert!(!partner.reaches(&own), "{} reaches the next holder by an old flow", partner.address);
    }
}

#[test]
fn s17_a_flow_ends_with_its_container() {
    after(|host| {
        host.mydocker(&["rm", "-f", "first"]).ok();
        host.container("heir", "front", &[])
    });
}

#[test]
fn s17_a_flow_ends_when_its_container_leaves_the_network() {
    after(|host| {
        host.mydocker(&["network", "disconnect", "front", "first"]).ok();
        host.container("heir", "front", &[])
    });
}

#[test]
fn s17_a_flow_ends_when_its_container_was_killed_with_its_supervisor() {
    after(|host| {
        host.kill_everything();
        host.mydocker(&["rm", "-f", "first"]).ok();
        host.container("heir", "front", &[])
    });
}

/// Out of an internal network, too: a datagram that belongs to a known flow is not looked at by the rules.
#[test]
fn s17_a_flow_does_not_lead_into_or_out_of_an_internal_network_that_follows() {
    let host = dual();
    let first = host.container("first", "front", &[]);
    let addresses = (first.address, first.address6);
    let partners = [OUTSIDE, OUTSIDE6].map(|address| Partner::of(&host, &first, address));
    drop(first);
    host.mydocker(&["rm", "-f", "first"]).ok();
    host.mydocker(&["network", "rm", "front"]).ok();
    host.network("inner", SUBNETS[0], &["--subnet", SUBNETS[1], "--internal"]);
    let heir = host.container("heir", "inner", &[]);
    assert_eq!((heir.address, heir.address6), addresses, "the next holder of the addresses");
    for (family, gateway) in [("-4", "172.18.0.1"), ("-6", "fd00:18::1")] {
        heir.space.ok(&["ip", family, "route", "replace", "default", "via", gateway]);
    }
    for partner in partners {
        let own = socket(&heir.space, any(partner.address.ip()));
        assert!(!partner.reaches(&own), "{} reaches into the internal network", partner.address);
        own.send_to(b"out", partner.address).ok();
        let got = partner.socket.recv_from(&mut [0; 64]);
        assert!(got.is_err(), "a datagram left the internal network: {got:?}");
    }
}

/// A connection between a published port and its client is taken away as before, and a container that stays keeps
/// its flows when another one ends.
#[test]
fn s17_a_container_that_stays_keeps_its_flows() {
    let host = dual();
    let stays = host.container("stays", "front", &[]);
    let other = host.container("other", "front", &["-p", "8080:80"]);
    let address: SocketAddr = SocketAddr::new(OUTSIDE.parse().expect("an address"), 80);
    let partner = socket(&host.outside, address);
    let own = socket(&stays.space, any(address.ip()));
    own.send_to(b"question", address).expect("a way out");
    let (_, client) = partner.recv_from(&mut [0; 64]).expect("the question");
    drop(other);
    host.mydocker(&["rm", "-f", "other"]).ok();
    partner.send_to(b"answer", client).expect("a datagram");
    assert!(own.recv_from(&mut [0; 64]).is_ok(), "the flow of a container that stays");
}
