//! Real packets: who reaches whom, under which address, and who must not. The letters and numbers are those
//! of the list of exposures in the design (S: lets no one in, R: keeps working).
//!
//! Wherever packets must be dropped, the test then empties the chain that is to have dropped them and sees
//! the very same attempt succeed: the attack works, and it was our rule that stopped it.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use crate::host::{Container, HOST, HOST6, Host, NEIGHBOUR, OUTSIDE, SIDE};
use crate::program::{PATIENCE, eventually, forget_closed_descriptors};
use crate::space::Namespace;
use crate::wire::{
    FixedClient, Probe, Server, ping, ping_dropped, tcp, tcp_closed, tcp_dropped, udp, udp_dropped,
};

/// A host with one network `front`, with bridged frames passing netfilter or not.
fn front(bridge_netfilter: bool) -> Host {
    let host = Host::new();
    host.set_bridge_netfilter(bridge_netfilter);
    host.network("front", "172.18.0.0/16", &[]);
    host
}

/// A container `web` on `front` that publishes 8080 (TCP and UDP) with servers at its ports 80.
fn web(host: &Host) -> (Container, Server, Server) {
    let web = host.container("web", "front", &["-p", "8080:80", "-p", "8080:80/udp"]);
    let servers = (Server::tcp(&web.space, "0.0.0.0:80"), Server::udp(&web.space, "0.0.0.0:80"));
    (web, servers.0, servers.1)
}

fn route_through_the_host(space: &Namespace, subnet: &str) {
    space.ok(&["ip", "route", "add", subnet, "via", HOST]);
}

fn connected_to_gateway_host_and_outside(bridge_netfilter: bool) {
    let host = front(bridge_netfilter);
    let client = host.container("client", "front", &[]);
    let own = client.address.to_string();
    for address in ["172.18.0.1", HOST, OUTSIDE, NEIGHBOUR, "127.0.0.1"] {
        assert!(ping(&client.space, address), "ping {address}");
    }
    let _host = (Server::tcp(&host.space, "0.0.0.0:7000"), Server::udp(&host.space, &format!("{HOST}:7000")));
    assert_eq!(tcp(&client.space, "172.18.0.1:7000").seen_as(), own);
    assert_eq!(tcp(&client.space, &format!("{HOST}:7000")).seen_as(), own);
    assert_eq!(udp(&client.space, &format!("{HOST}:7000")).seen_as(), own);
    let outside = (
        Server::tcp(&host.outside, &format!("{OUTSIDE}:80")),
        Server::udp(&host.outside, &format!("{OUTSIDE}:80")),
    );
    assert_eq!(tcp(&client.space, &format!("{OUTSIDE}:80")).seen_as(), HOST, "outside knows no container");
    assert_eq!(udp(&client.space, &format!("{OUTSIDE}:80")).seen_as(), HOST);
    drop(outside);
    assert!(ping(&host.space, &own), "the host reaches the container");
    let _server = Server::tcp(&client.space, "0.0.0.0:80");
    assert_eq!(tcp(&host.space, &format!("{own}:80")).seen_as(), "172.18.0.1");
}

#[test]
fn a_container_reaches_its_gateway_the_host_and_outside_under_the_hosts_address() {
    connected_to_gateway_host_and_outside(false);
}

#[test]
fn a_container_reaches_its_gateway_the_host_and_outside_with_bridge_netfilter() {
    connected_to_gateway_host_and_outside(true);
}

fn containers_see_each_other(bridge_netfilter: bool) {
    let host = front(bridge_netfilter);
    host.network("back", "172.19.0.0/16", &[]);
    let (one, two) = (host.container("one", "front", &[]), host.container("two", "front", &[]));
    let other = host.container("other", "back", &[]);
    let _servers = (Server::tcp(&one.space, "0.0.0.0:80"), Server::udp(&one.space, "0.0.0.0:80"));
    let at = format!("{}:80", one.address);
    // Nothing is rewritten within a network; all that leaves one is masqueraded, as with the seeds' rule
    // `-s SUBNET ! -o BRIDGE -j MASQUERADE`.
    for (client, seen_as) in [(&two, two.address.to_string()), (&other, "172.18.0.1".to_owned())] {
        assert_eq!(tcp(&client.space, &at).seen_as(), seen_as, "{}", client.name);
        assert_eq!(udp(&client.space, &at).seen_as(), seen_as, "{}", client.name);
        assert!(ping(&client.space, &one.address.to_string()), "{}", client.name);
    }
}

#[test]
fn containers_reach_each_other_on_one_network_and_on_two() {
    containers_see_each_other(false);
}

#[test]
fn containers_reach_each_other_with_bridge_netfilter() {
    containers_see_each_other(true);
}

/// R3: the container sees the client itself; and the host reaches the port by every address it has.
fn clients_keep_their_addresses(bridge_netfilter: bool) {
    let host = front(bridge_netfilter);
    host.network("back", "172.19.0.0/16", &[]);
    let (_web, server, udp_server) = web(&host);
    let published = format!("{HOST}:8080");
    for (client, address) in [(&host.outside, OUTSIDE), (&host.neighbour, NEIGHBOUR)] {
        assert_eq!(tcp(client, &published).seen_as(), address);
        assert_eq!(udp(client, &published).seen_as(), address);
    }
    assert_eq!(server.clients(), [OUTSIDE, NEIGHBOUR]);
    assert!(udp_server.clients().iter().all(|client| client == OUTSIDE || client == NEIGHBOUR));
    for address in [HOST, "127.0.0.1", "127.9.8.7", "172.18.0.1", "172.19.0.1"] {
        assert!(matches!(tcp(&host.space, &format!("{address}:8080")), Probe::Answered(_)), "tcp {address}");
        assert!(matches!(udp(&host.space, &format!("{address}:8080")), Probe::Answered(_)), "udp {address}");
    }
}

#[test]
fn r3_a_published_port_shows_the_container_its_clients_own_addresses() {
    clients_keep_their_addresses(false);
}

#[test]
fn r3_a_published_port_shows_the_container_its_clients_own_addresses_with_bridge_netfilter() {
    clients_keep_their_addresses(true);
}

/// R1: the container itself, and other containers, through the host's addresses.
fn containers_use_a_published_port(bridge_netfilter: bool) {
    let host = front(bridge_netfilter);
    host.network("back", "172.19.0.0/16", &[]);
    let (web, _server, _udp) = web(&host);
    let (same, other) = (host.container("same", "front", &[]), host.container("other", "back", &[]));
    for client in [&web, &same, &other] {
        for address in [HOST, "172.18.0.1"] {
            let at = format!("{address}:8080");
            assert!(matches!(tcp(&client.space, &at), Probe::Answered(_)), "{} to {at}", client.name);
            assert!(matches!(udp(&client.space, &at), Probe::Answered(_)), "{} to udp {at}", client.name);
        }
    }
    // It is the masquerade that brings the answers back through the host.
    host.without_rule("postrouting", "ct status dnat ip saddr @subnets4 oifname @bridges masquerade");
    tcp_dropped(&web.space, &format!("{HOST}:8080"));
}

#[test]
fn r1_a_container_uses_its_own_published_port_through_the_hosts_address() {
    containers_use_a_published_port(false);
}

#[test]
fn r1_a_container_uses_its_own_published_port_with_bridge_netfilter() {
    containers_use_a_published_port(true);
}

/// R4, with the containers on one network.
#[test]
fn r4_published_ports_work_under_strict_reverse_path_filtering() {
    for bridge_netfilter in [false, true] {
        let host = Host::new();
        host.set_bridge_netfilter(bridge_netfilter);
        for name in ["all", "default", "uplink0"] {
            host.space.set_sysctl(&format!("net/ipv4/conf/{name}/rp_filter"), "1");
        }
        host.network("front", "172.18.0.0/16", &[]);
        let (web, _tcp, _udp) = web(&host);
        let same = host.container("same", "front", &[]);
        let published = format!("{HOST}:8080");
        assert_eq!(tcp(&host.outside, &published).seen_as(), OUTSIDE);
        assert_eq!(udp(&host.outside, &published).seen_as(), OUTSIDE);
        for space in [&host.space, &same.space, &web.space] {
            assert!(matches!(tcp(space, &published), Probe::Answered(_)), "{}", space.name);
            assert!(matches!(udp(space, &published), Probe::Answered(_)), "{}", space.name);
        }
        assert!(matches!(tcp(&host.space, "127.0.0.1:8080"), Probe::Answered(_)));
    }
}

#[test]
fn a_web_server_in_a_container_sees_its_visitors_address() {
    let host = front(true);
    let serve = ["run", "-d", "--name", "web", "--net", "front", "-p", "8080:80"];
    let server = [host.image.as_str(), "httpd", "-f", "-p", "0.0.0.0:80", "-h", "/www"];
    host.mydocker(&[&serve[..], &server[..]].concat()).ok();
    let fetch = |space: &Namespace, page: &str| {
        let url = format!("http://{HOST}:8080/{page}");
        space.ok(&[
            "curl",
            "-s",
            "-m",
            "60",
            "--retry",
            "20",
            "--retry-connrefused",
            "--retry-delay",
            "0",
            &url,
        ])
    };
    assert_eq!(fetch(&host.outside, ""), "a page from a container");
    assert_eq!(fetch(&host.outside, "cgi-bin/peer"), OUTSIDE);
    assert_eq!(fetch(&host.neighbour, "cgi-bin/peer"), NEIGHBOUR);
    assert_eq!(
        host.space.ok(&["curl", "-s", "-m", "60", "http://127.0.0.1:8080/"]),
        "a page from a container"
    );
}

#[test]
fn a_port_is_no_longer_published_when_its_container_has_gone() {
    let host = front(true);
    let (web, _tcp, _udp) = web(&host);
    assert_eq!(udp(&host.outside, &format!("{HOST}:8080")).seen_as(), OUTSIDE);
    host.mydocker(&["rm", "-f", &web.name]).ok();
    assert_eq!(tcp(&host.outside, &format!("{HOST}:8080")), Probe::Refused);
    assert_eq!(udp(&host.outside, &format!("{HOST}:8080")), Probe::Refused);
    assert_eq!(tcp(&host.space, "127.0.0.1:8080"), Probe::Refused);
    let table = host.table();
    assert!(!table.contains("8080"), "{table}");
}

/// R2: no connection-tracking entry from before a change decides what comes after it.
fn udp_flows_follow_the_port(bridge_netfilter: bool) {
    let host = front(bridge_netfilter);
    let publish = ["-p", "8053:53/udp"];
    let client = FixedClient::new(&host.outside, &format!("{HOST}:8053"));
    assert_eq!(client.ask(), Probe::Refused, "nothing is published yet");
    let first = host.container("first", "front", &publish);
    let server = Server::udp(&first.space, "0.0.0.0:53");
    assert_eq!(client.ask().seen_as(), OUTSIDE, "the client that came too early");
    let first_address = first.address;
    drop((server, first));
    host.mydocker(&["rm", "-f", "first"]).ok();
    // Who gets the address next gets none of the flows, whatever it serves.
    let heir = host.container("heir", "front", &["--expose", "53/udp"]);
    assert_eq!(heir.address, first_address);
    let unpublished = Server::udp(&heir.space, "0.0.0.0:53");
    assert_eq!(client.ask(), Probe::Refused);
    assert_eq!(unpublished.clients(), [""; 0]);
    let second = host.container("second", "front", &publish);
    assert_ne!(second.address, heir.address);
    let server = Server::udp(&second.space, "0.0.0.0:53");
    assert_eq!(client.ask().seen_as(), OUTSIDE, "the client of the first container");
    assert_eq!(server.clients()[0], OUTSIDE);
    assert_eq!(unpublished.clients(), [""; 0]);
}

#[test]
fn r2_a_udp_client_with_a_fixed_port_follows_a_published_port_at_once() {
    udp_flows_follow_the_port(false);
}

#[test]
fn r2_a_udp_client_with_a_fixed_port_follows_a_published_port_with_bridge_netfilter() {
    udp_flows_follow_the_port(true);
}

/// R2: a supervisor that was killed removes nothing; whoever takes its port does.
#[test]
fn r2_a_udp_client_is_not_kept_by_a_container_that_was_killed() {
    let host = front(true);
    let publish = ["-p", "8053:53/udp"];
    let client = FixedClient::new(&host.outside, &format!("{HOST}:8053"));
    let first = host.container("first", "front", &publish);
    let server = Server::udp(&first.space, "0.0.0.0:53");
    assert_eq!(client.ask().seen_as(), OUTSIDE);
    drop((server, first));
    host.kill_everything();
    let second = host.container("second", "front", &[&publish[..], &["--ip", "172.18.0.99"]].concat());
    let _server = Server::udp(&second.space, "0.0.0.0:53");
    assert_eq!(client.ask().seen_as(), OUTSIDE);
}

/// A TCP connection from a port of one's choice.
fn connect_from(port: u16, to: &str) -> std::io::Result<TcpStream> {
    use std::os::fd::AsRawFd as _;

    use nix::sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
    };
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    let address = |text: &str| SockaddrStorage::from(text.parse::<std::net::SocketAddr>().unwrap());
    bind(socket.as_raw_fd(), &address(&format!("0.0.0.0:{port}")))?;
    connect(socket.as_raw_fd(), &address(to))?;
    Ok(socket.into())
}

/// Connects from a fixed port, and leaves without a word: what the client sends at its end is lost.
fn connect_and_vanish(space: &Namespace, to: &str) -> String {
    let mut stream = space.run(|| connect_from(5001, to)).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut seen = [0; 64];
    let length = stream.read(&mut seen).expect("an answer");
    space.ok(&[
        "nft",
        "add table inet lost; add chain inet lost c { type filter hook output priority 0; policy drop; }",
    ]);
    // With a timeout of zero the socket is gone with its descriptor.
    let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    nix::sys::socket::setsockopt(&stream, nix::sys::socket::sockopt::Linger, &linger).unwrap();
    drop(stream);
    space.ok(&["nft", "delete table inet lost"]);
    String::from_utf8_lossy(&seen[..length]).into_owned()
}

/// R2 for TCP: a client that comes again from the same port, while the host believes in its old connection.
#[test]
fn r2_a_tcp_client_that_comes_again_from_its_port_reaches_the_new_container() {
    let host = front(true);
    let to = format!("{HOST}:8080");
    // A server that never closes: the connection stays as it is.
    let first = host.container("first", "front", &["-p", "8080:80"]);
    let listener = first.space.run(|| TcpListener::bind("0.0.0.0:80")).unwrap();
    let held = std::thread::scope(|scope| {
        let accepted = scope.spawn(|| {
            let (mut stream, peer) = listener.accept().unwrap();
            stream.write_all(peer.to_string().as_bytes()).unwrap();
            stream
        });
        assert_eq!(connect_and_vanish(&host.neighbour, &to), format!("{NEIGHBOUR}:5001"));
        accepted.join().unwrap()
    });
    let entries =
        || host.space.run(|| std::fs::read_to_string("/proc/thread-self/net/nf_conntrack")).unwrap();
    assert!(entries().contains("sport=5001"), "{}", entries());
    host.mydocker(&["rm", "-f", "first"]).ok();
    assert!(!entries().contains("sport=5001"), "{}", entries());
    drop((held, listener, first));
    let _heir = host.container("heir", "front", &[]);
    let second = host.container("second", "front", &["-p", "8080:80"]);
    let server = Server::tcp(&second.space, "0.0.0.0:80");
    assert_eq!(connect_and_vanish(&host.neighbour, &to), format!("{NEIGHBOUR}:5001"));
    assert_eq!(server.clients(), [NEIGHBOUR]);
}

/// R2 for TCP: a connection that is being tried while the port is published arrives; one that a process of the
/// host has accepted goes on.
#[test]
fn r2_a_tcp_client_that_is_still_trying_reaches_the_new_container() {
    let host = front(true);
    host.space.ok(&[
        "nft",
        "add table inet other; add chain inet other c { type filter hook input priority 0; policy accept; }; \
         add rule inet other c tcp dport 8080 tcp sport 5001 counter drop; \
         add chain inet other f { type filter hook forward priority -10; policy accept; }; \
         add rule inet other f tcp sport 5001 drop",
    ]);
    // Accepted by the host, and then its listener goes.
    let listener = host.space.run(|| TcpListener::bind("0.0.0.0:8080")).unwrap();
    let mut old = host.neighbour.run(|| TcpStream::connect((HOST, 8080))).unwrap();
    let mut accepted = listener.accept().unwrap().0;
    drop(listener);
    // Nobody is to find it open in a program that another test is starting.
    forget_closed_descriptors();
    std::thread::scope(|scope| {
        let trying = scope.spawn(|| host.outside.run(|| connect_from(5001, &format!("{HOST}:8080"))));
        // Its first packet was dropped, but not before its entry: the rule stands behind the hook that makes it.
        eventually("the first packet", || {
            let dropped = host.space.ok(&["nft", "list", "chain", "inet", "other", "c"]);
            (!dropped.contains("packets 0")).then_some(())
        });
        let web = host.container("web", "front", &["-p", "8080:80"]);
        let server = Server::tcp(&web.space, "0.0.0.0:80");
        // The container would have refused what came before its server.
        host.space.ok(&["nft", "flush", "chain", "inet", "other", "f"]);
        trying.join().unwrap().expect("the kernel sends the first packet again");
        // The kernel connects before the server accepts.
        eventually("the client to be accepted", || (server.clients() == [OUTSIDE]).then_some(()));
    });
    let patience = Some(PATIENCE);
    old.set_read_timeout(patience).unwrap();
    accepted.set_read_timeout(patience).unwrap();
    let mut heard = [0; 4];
    old.write_all(b"ping").unwrap();
    accepted.read_exact(&mut heard).unwrap();
    accepted.write_all(b"pong").unwrap();
    old.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"pong");
}

/// R9: the next owner of an address is reachable at once.
#[test]
fn r9_an_address_that_is_given_out_again_is_reachable_at_once() {
    for bridge_netfilter in [false, true] {
        address_is_given_out_again(bridge_netfilter);
    }
}

fn address_is_given_out_again(bridge_netfilter: bool) {
    let host = front(bridge_netfilter);
    let client = host.container("client", "front", &[]);
    for round in 0..3 {
        let web = host.container("web", "front", &["-p", "8080:80"]);
        assert_eq!(web.address.to_string(), "172.18.0.3", "round {round}");
        let server = Server::tcp(&web.space, "0.0.0.0:80");
        assert_eq!(tcp(&client.space, "172.18.0.3:80").seen_as(), "172.18.0.2", "round {round}");
        assert_eq!(tcp(&host.outside, &format!("{HOST}:8080")).seen_as(), OUTSIDE, "round {round}");
        drop(server);
        host.mydocker(&["rm", "-f", "web"]).ok();
    }
}

/// The rule behind S1 and S2: the last one of the chain `forward`.
const DROP: &str = "drop";

fn unpublished_ports_are_dropped(bridge_netfilter: bool) {
    let host = front(bridge_netfilter);
    let web = host.container("web", "front", &["-p", "8080:80"]);
    let (server, udp_server) = (Server::tcp(&web.space, "0.0.0.0:81"), Server::udp(&web.space, "0.0.0.0:81"));
    let at = format!("{}:81", web.address);
    for attacker in [&host.neighbour, &host.outside] {
        route_through_the_host(attacker, "172.18.0.0/16");
        tcp_dropped(attacker, &at);
        udp_dropped(attacker, &at);
        assert_eq!(tcp(attacker, &format!("{HOST}:81")), Probe::Refused);
    }
    assert_eq!((server.clients(), udp_server.clients()), (Vec::new(), Vec::new()));
    // Which rule it was can be seen.
    let rules = host.mydocker(&["network", "rules"]).ok();
    let dropped = rules.lines().find(|rule| rule.contains("not published")).expect("the last rule");
    let count =
        dropped.split_once("packets ").and_then(|(_, rest)| rest.split(' ').next()?.parse::<u64>().ok());
    assert!(count.is_some_and(|count| count >= 4), "{rules}");
    host.without_rule("forward", DROP);
    assert_eq!(tcp(&host.neighbour, &at).seen_as(), NEIGHBOUR);
    assert_eq!(udp(&host.neighbour, &at).seen_as(), NEIGHBOUR);
}

#[test]
fn s1_an_unpublished_port_is_not_reached_by_the_containers_own_address() {
    unpublished_ports_are_dropped(false);
}

#[test]
fn s1_an_unpublished_port_is_not_reached_by_the_containers_own_address_with_bridge_netfilter() {
    unpublished_ports_are_dropped(true);
}

fn published_ports_are_not_reached_directly(bridge_netfilter: bool) {
    let host = front(bridge_netfilter);
    let (web, server, udp_server) = web(&host);
    let at = format!("{}:80", web.address);
    for attacker in [&host.neighbour, &host.outside] {
        route_through_the_host(attacker, "172.18.0.0/16");
        tcp_dropped(attacker, &at);
        udp_dropped(attacker, &at);
    }
    assert_eq!((server.clients(), udp_server.clients()), (Vec::new(), Vec::new()));
    assert_eq!(tcp(&host.neighbour, &format!("{HOST}:8080")).seen_as(), NEIGHBOUR);
    assert_eq!(udp(&host.neighbour, &format!("{HOST}:8080")).seen_as(), NEIGHBOUR);
    host.without_rule("forward", DROP);
    assert_eq!(tcp(&host.neighbour, &at).seen_as(), NEIGHBOUR);
    assert_eq!(udp(&host.neighbour, &at).seen_as(), NEIGHBOUR);
}

#[test]
fn s2_a_published_port_is_not_reached_by_the_containers_own_address() {
    published_ports_are_not_reached_directly(false);
}

#[test]
fn s2_a_published_port_is_not_reached_by_the_containers_own_address_with_bridge_netfilter() {
    published_ports_are_not_reached_directly(true);
}

/// Makes a host send packets for 127.0.0.1 out of `device` to `gateway`, as only an attacker would.
fn send_loopback_out(space: &Namespace, device: &str, gateway: &str) {
    space.ip(&format!(
        "address delete 127.0.0.1/8 dev lo\nroute add 127.0.0.0/8 via {gateway} dev {device}\n"
    ));
    for name in ["all", device] {
        space.set_sysctl(&format!("net/ipv4/conf/{name}/route_localnet"), "1");
    }
}

/// The rules behind S3 and S4.
const TO_LOOPBACK: &str = "ip daddr 127.0.0.0/8 iifname != \"lo\" drop";
const FROM_LOOPBACK: &str = "ip saddr 127.0.0.0/8 iifname != \"lo\" drop";

fn loopback_ports_are_not_reached_from_the_link(bridge_netfilter: bool) {
    let host = front(bridge_netfilter);
    let addresses = ["127.0.0.1:6060", "127.0.0.2:6060"];
    let ports: Vec<String> = addresses
        .iter()
        .flat_map(|at| [format!("--publish={at}:80"), format!("--publish={at}:80/udp")])
        .collect();
    let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
    let web = host.container("web", "front", &ports);
    let (server, udp_server) = (Server::tcp(&web.space, "0.0.0.0:80"), Server::udp(&web.space, "0.0.0.0:80"));
    for address in addresses {
        assert!(matches!(tcp(&host.space, address), Probe::Answered(_)));
        assert!(matches!(udp(&host.space, address), Probe::Answered(_)));
    }
    assert_eq!(tcp(&host.space, "127.0.0.3:6060"), Probe::Refused);
    assert_eq!(tcp(&host.neighbour, &format!("{HOST}:6060")), Probe::Refused);
    let before = (server.clients().len(), udp_server.clients().len());
    send_loopback_out(&host.neighbour, "eth0", HOST);
    for address in addresses {
        tcp_dropped(&host.neighbour, address);
        udp_dropped(&host.neighbour, address);
    }
    assert_eq!((server.clients().len(), udp_server.clients().len()), before);
    host.without_rule("guard", TO_LOOPBACK);
    assert_eq!(tcp(&host.neighbour, addresses[0]).seen_as(), NEIGHBOUR);
    assert_eq!(udp(&host.neighbour, addresses[1]).seen_as(), NEIGHBOUR);
}

#[test]
fn s3_a_port_published_on_loopback_is_not_reached_by_frames_from_the_link() {
    loopback_ports_are_not_reached_from_the_link(false);
}

#[test]
fn s3_a_port_published_on_loopback_is_not_reached_by_frames_from_the_link_with_bridge_netfilter() {
    loopback_ports_are_not_reached_from_the_link(true);
}

fn loopback_services_are_not_reached_from_containers(bridge_netfilter: bool) {
    let host = front(bridge_netfilter);
    let attacker = host.container("attacker", "front", &[]);
    let secret = (Server::tcp(&host.space, "127.0.0.1:9000"), Server::udp(&host.space, "127.0.0.1:9000"));
    send_loopback_out(&attacker.space, "eth0", "172.18.0.1");
    tcp_dropped(&attacker.space, "127.0.0.1:9000");
    udp_dropped(&attacker.space, "127.0.0.1:9000");
    assert_eq!((secret.0.clients(), secret.1.clients()), (Vec::new(), Vec::new()));
    host.without_rule("guard", TO_LOOPBACK);
    let own = attacker.address.to_string();
    assert_eq!(tcp(&attacker.space, "127.0.0.1:9000").seen_as(), own);
    assert_eq!(udp(&attacker.space, "127.0.0.1:9000").seen_as(), own);
}

#[test]
fn s4_a_container_does_not_reach_the_hosts_loopback_services_through_its_gateway() {
    loopback_services_are_not_reached_from_containers(false);
}

#[test]
fn s4_a_container_does_not_reach_the_hosts_loopback_services_with_bridge_netfilter() {
    loopback_services_are_not_reached_from_containers(true);
}

/// S4 the other way round: a service that trusts whoever comes from 127.0.0.0/8.
#[test]
fn s4_a_container_does_not_speak_to_the_host_from_a_loopback_address() {
    for bridge_netfilter in [false, true] {
        let host = front(bridge_netfilter);
        let attacker = host.container("attacker", "front", &[]);
        let service = Server::udp(&host.space, "0.0.0.0:9000");
        attacker.space.ip("address add 127.0.0.5/32 dev eth0\n");
        for name in ["all", "eth0"] {
            attacker.space.set_sysctl(&format!("net/ipv4/conf/{name}/route_localnet"), "1");
        }
        let liar = attacker.space.run(|| std::net::UdpSocket::bind("127.0.0.5:7000")).unwrap();
        for _ in 0..3 {
            liar.send_to(b"trust me", "172.18.0.1:9000").unwrap();
        }
        // One link, one order: what was sent before this would have been seen before it.
        assert_eq!(udp(&attacker.space, "172.18.0.1:9000").seen_as(), attacker.address.to_string());
        assert!(!service.clients().contains(&"127.0.0.5".to_owned()), "{:?}", service.clients());
        host.without_rule("guard", FROM_LOOPBACK);
        eventually("the lie to arrive", || {
            liar.send_to(b"trust me", "172.18.0.1:9000").unwrap();
            service.clients().contains(&"127.0.0.5".to_owned()).then_some(())
        });
    }
}

fn one_address_is_published(bridge_netfilter: bool) {
    let host = front(bridge_netfilter);
    let second = "198.51.100.11";
    host.space.ip(&format!("address add {second}/24 dev uplink0\n"));
    let ports = [format!("{second}:9090:80"), format!("{second}:9090:80/udp")];
    let web = host.container("web", "front", &["-p", &ports[0], "-p", &ports[1]]);
    let servers = (Server::tcp(&web.space, "0.0.0.0:80"), Server::udp(&web.space, "0.0.0.0:80"));
    let peer = host.container("peer", "front", &[]);
    for (client, other) in [
        (&host.outside, HOST),
        (&host.neighbour, HOST),
        (&host.space, HOST),
        (&host.space, "127.0.0.1"),
        (&host.space, "172.18.0.1"),
        (&peer.space, HOST),
        (&peer.space, "172.18.0.1"),
        (&web.space, HOST),
    ] {
        let at = format!("{other}:9090");
        assert_eq!(tcp(client, &at), Probe::Refused, "{} to {at}", client.name);
        assert_eq!(udp(client, &at), Probe::Refused, "{} to udp {at}", client.name);
    }
    assert_eq!((servers.0.clients(), servers.1.clients()), (Vec::new(), Vec::new()));
    let at = format!("{second}:9090");
    assert_eq!(tcp(&host.outside, &at).seen_as(), OUTSIDE);
    assert_eq!(udp(&host.outside, &at).seen_as(), OUTSIDE);
    for client in [&host.space, &peer.space, &web.space] {
        assert!(matches!(tcp(client, &at), Probe::Answered(_)), "{}", client.name);
    }
}

#[test]
fn s12_a_port_of_one_address_is_not_reached_through_another() {
    one_address_is_published(false);
}

#[test]
fn s12_a_port_of_one_address_is_not_reached_through_another_with_bridge_netfilter() {
    one_address_is_published(true);
}

#[test]
fn s9_the_host_does_not_route_between_its_other_links_because_of_us() {
    let mut host = Host::new();
    let side = host.add_side_link();
    host.network("front", "172.18.0.0/16", &[]);
    let (web, _tcp, _udp) = web(&host);
    assert_eq!(host.space.sysctl("net/ipv4/ip_forward"), "1");
    route_through_the_host(&host.neighbour, "192.0.2.0/24");
    let server = Server::tcp(&side, &format!("{SIDE}:80"));
    let target = format!("{SIDE}:80");
    tcp_dropped(&host.neighbour, &target);
    assert_eq!(server.clients(), [""; 0]);
    // Containers do reach the other link, and it them.
    assert_eq!(tcp(&web.space, &target).seen_as(), crate::host::HOST_SIDE);
    assert_eq!(tcp(&side, &format!("{}:8080", crate::host::HOST_SIDE)).seen_as(), SIDE);
    host.without_chain("forward");
    assert_eq!(tcp(&host.neighbour, &target).seen_as(), NEIGHBOUR);
}

#[test]
fn a_host_that_routed_before_goes_on_routing() {
    let mut host = Host::new();
    host.space.set_sysctl("net/ipv4/ip_forward", "1");
    let side = host.add_side_link();
    host.network("front", "172.18.0.0/16", &[]);
    route_through_the_host(&host.neighbour, "192.0.2.0/24");
    let _server = Server::tcp(&side, &format!("{SIDE}:80"));
    assert_eq!(tcp(&host.neighbour, &format!("{SIDE}:80")).seen_as(), NEIGHBOUR);
}

fn internal_network_is_closed(bridge_netfilter: bool) {
    let host = front(bridge_netfilter);
    host.network("inner", "172.20.0.0/16", &["--internal"]);
    let (web, front_server, _udp) = web(&host);
    let inner = host.container("inner1", "inner", &["-p", "8081:80"]);
    let peer = host.container("inner2", "inner", &[]);
    let server = Server::tcp(&inner.space, "0.0.0.0:80");
    let outside = Server::tcp(&host.outside, &format!("{OUTSIDE}:80"));
    // Within the network everything works.
    assert_eq!(tcp(&peer.space, &format!("{}:80", inner.address)).seen_as(), peer.address.to_string());
    // S6: nothing leaves, and nothing comes in, not even for a container that gives itself a default route.
    assert!(!ping(&inner.space, OUTSIDE));
    inner.space.ok(&["ip", "route", "replace", "default", "via", "172.20.0.1"]);
    ping_dropped(&inner.space, OUTSIDE);
    tcp_closed(&inner.space, &format!("{OUTSIDE}:80"));
    tcp_closed(&inner.space, &format!("{}:80", web.address));
    tcp_closed(&inner.space, "172.20.0.1:8080");
    tcp_closed(&inner.space, &format!("{HOST}:8080"));
    tcp_closed(&web.space, &format!("{}:80", inner.address));
    tcp_closed(&web.space, "172.18.0.1:8081");
    tcp_closed(&host.outside, &format!("{HOST}:8081"));
    route_through_the_host(&host.neighbour, "172.20.0.0/16");
    tcp_closed(&host.neighbour, &format!("{}:80", inner.address));
    assert_eq!((outside.clients(), front_server.clients()), (Vec::new(), Vec::new()));
    assert_eq!(server.clients(), [peer.address.to_string()]);
}

#[test]
fn a_published_port_of_an_internal_network_is_refused_at_once() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &["--subnet", "fd00:18::/64"]);
    host.network("inner", "172.20.0.0/16", &["--subnet", "fd00:20::/64", "--internal"]);
    let inner = host.container("inner", "inner", &["-p", "8081:80", "-p", "8081:80/udp"]);
    let client = host.container("client", "front", &[]);
    let servers = [Server::tcp(&inner.space, "[::]:80"), Server::udp(&inner.space, "[::]:80")];
    for space in [&host.outside, &host.neighbour, &client.space] {
        for to in [format!("{HOST}:8081"), format!("[{HOST6}]:8081")] {
            assert_eq!(tcp(space, &to), Probe::Refused, "{} to {to}", space.name);
            assert_eq!(udp(space, &to), Probe::Refused, "{} to udp {to}", space.name);
        }
    }
    assert_eq!(servers.map(|server| server.clients().len()), [0, 0]);
}

#[test]
fn s6_an_internal_network_is_closed_both_ways() {
    internal_network_is_closed(false);
}

#[test]
fn s6_an_internal_network_is_closed_both_ways_with_bridge_netfilter() {
    internal_network_is_closed(true);
}

#[test]
fn s7_an_isolated_network_is_reached_by_other_networks_only_through_published_ports() {
    let host = front(true);
    host.network("alone", "172.21.0.0/16", &["--isolate"]);
    let (web, front_server, _udp) = web(&host);
    let alone = host.container("alone1", "alone", &["-p", "8100:80"]);
    let peer = host.container("alone2", "alone", &[]);
    let server = Server::tcp(&alone.space, "0.0.0.0:80");
    tcp_dropped(&web.space, &format!("{}:80", alone.address));
    tcp_dropped(&alone.space, &format!("{}:80", web.address));
    assert_eq!((server.clients(), front_server.clients()), (Vec::new(), Vec::new()));
    assert!(matches!(tcp(&web.space, &format!("{HOST}:8100")), Probe::Answered(_)));
    assert!(matches!(tcp(&alone.space, &format!("{HOST}:8080")), Probe::Answered(_)));
    assert_eq!(tcp(&peer.space, &format!("{}:80", alone.address)).seen_as(), peer.address.to_string());
    let _outside = Server::tcp(&host.outside, &format!("{OUTSIDE}:80"));
    assert_eq!(tcp(&alone.space, &format!("{OUTSIDE}:80")).seen_as(), HOST);
    assert_eq!(tcp(&host.outside, &format!("{HOST}:8100")).seen_as(), OUTSIDE);
    host.without_chain("forward");
    assert_eq!(tcp(&web.space, &format!("{}:80", alone.address)).seen_as(), "172.21.0.1");
}

/// S10: after the table was deleted, the next command that touches networks brings everything back.
#[test]
fn s10_a_deleted_table_is_back_with_the_next_container() {
    let host = front(true);
    let (web, _tcp, _udp) = web(&host);
    let _unpublished = Server::tcp(&web.space, "0.0.0.0:81");
    host.space.ok(&["nft", "flush", "ruleset"]);
    host.container("next", "front", &[]);
    assert_eq!(tcp(&host.outside, &format!("{HOST}:8080")).seen_as(), OUTSIDE);
    route_through_the_host(&host.neighbour, "172.18.0.0/16");
    tcp_dropped(&host.neighbour, &format!("{}:81", web.address));
}
