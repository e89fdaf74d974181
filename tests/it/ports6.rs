//! Publishing in IPv6, with real packets: what `ports` and `packets` prove for IPv4. The letters and numbers are
//! those of the list of exposures.

use std::net::{SocketAddr, TcpStream};

use serde_json::json;

use crate::host::{Container, HOST, HOST6, Host, NEIGHBOUR6, OUTSIDE, OUTSIDE6};
use crate::space::Namespace;
use crate::wire::{FixedClient, Probe, Server, tcp, tcp_dropped, udp, udp_dropped};

const REFUSED: &[i32] = &[125, 2];
/// The network's gateways.
const GATEWAY6: &str = "fd00:18::1";

fn dual(bridge_netfilter: bool) -> Host {
    let host = Host::new();
    host.set_bridge_netfilter(bridge_netfilter);
    host.network("dual", "fd00:18::/64", &["--subnet", "172.18.0.0/16"]);
    host
}

/// TCP and UDP servers of both families on a port.
fn servers(container: &Container, port: u16) -> (Server, Server) {
    let every = format!("[::]:{port}");
    (Server::tcp(&container.space, &every), Server::udp(&container.space, &every))
}

/// A container `web` that publishes 8080 (TCP and UDP), with its servers.
fn web(host: &Host) -> (Container, (Server, Server)) {
    let web = host.container("web", "dual", &["-p", "8080:80", "-p", "8080:80/udp"]);
    let servers = servers(&web, 80);
    (web, servers)
}

fn at(address: &str, port: u16) -> String {
    SocketAddr::new(address.parse().unwrap(), port).to_string()
}

#[track_caller]
fn both_answered(space: &Namespace, at: &str) {
    for probe in [tcp(space, at), udp(space, at)] {
        assert!(matches!(probe, Probe::Answered(_)), "{} to {at}: {probe:?}", space.name);
    }
}

#[track_caller]
fn both_refused(space: &Namespace, at: &str) {
    for probe in [tcp(space, at), udp(space, at)] {
        assert_eq!(probe, Probe::Refused, "{} to {at}", space.name);
    }
}

fn published_in_both_families(bridge_netfilter: bool) {
    let host = dual(bridge_netfilter);
    let (_web, (tcp_server, udp_server)) = web(&host);
    assert_eq!(
        host.published(),
        [
            "0.0.0.0 . tcp . 8080 : 172.18.0.2 . 80",
            "0.0.0.0 . udp . 8080 : 172.18.0.2 . 80",
            ":: . tcp . 8080 : fd00:18::2 . 80",
            ":: . udp . 8080 : fd00:18::2 . 80",
        ]
    );
    let ps = host.mydocker(&["ps"]).ok();
    for port in ["0.0.0.0:8080->80/tcp", "[::]:8080->80/tcp", "0.0.0.0:8080->80/udp", "[::]:8080->80/udp"] {
        assert!(ps.contains(port), "{port}: {ps}");
    }
    assert_eq!(host.mydocker(&["port", "web", "80"]).ok(), "0.0.0.0:8080\n[::]:8080");
    assert_eq!(
        host.inspect("web")["NetworkSettings"]["Ports"]["80/udp"],
        json!([{ "HostIp": "0.0.0.0", "HostPort": "8080" }, { "HostIp": "::", "HostPort": "8080" }])
    );
    // R3: the container sees its clients.
    for (client, address) in [(&host.outside, OUTSIDE6), (&host.neighbour, NEIGHBOUR6)] {
        assert_eq!(tcp(client, &at(HOST6, 8080)).seen_as(), address);
        assert_eq!(udp(client, &at(HOST6, 8080)).seen_as(), address);
    }
    assert_eq!(tcp_server.clients(), [OUTSIDE6, NEIGHBOUR6]);
    assert!(udp_server.clients().iter().all(|client| client == OUTSIDE6 || client == NEIGHBOUR6));
    assert!(tcp(&host.outside, &at(HOST, 8080)).seen_as().ends_with(OUTSIDE));
    for address in [HOST6, GATEWAY6, HOST, "127.0.0.1"] {
        both_answered(&host.space, &at(address, 8080));
    }
    // The kernel translates nothing for ::1, and passes nothing on from link-local addresses. There clients have to
    // learn at once that they must try the next address.
    both_refused(&host.space, "[::1]:8080");
    let localhost = ["[::1]:8080", "127.0.0.1:8080"].map(|at| at.parse::<SocketAddr>().unwrap());
    let reached = host.space.run(|| TcpStream::connect(&localhost[..])).unwrap();
    assert_eq!(reached.peer_addr().unwrap(), localhost[1]);
    let index = &host.neighbour.program(&["ip", "-j", "link", "show", "eth0"]).json()[0]["ifindex"];
    let link_local = format!("[fe80::10%{index}]:8080");
    host.space.ip("address add fe80::10/64 dev uplink0 nodad\n");
    host.neighbour.ip("address flush dev eth0 scope link\naddress add fe80::20/64 dev eth0 nodad\n");
    both_refused(&host.neighbour, &link_local);
    let client = host.container("client", "dual", &[]);
    both_refused(&client.space, "[fe80::1%2]:8080");
    // What the host itself serves there stays its own.
    let _own = Server::tcp(&host.space, "[::1]:8081");
    assert_eq!(tcp(&host.space, "[::1]:8081").seen_as(), "::1");
    // Without these rules clients would wait for an answer that cannot come.
    host.without_rule("output", "ip6 daddr ::1 return");
    tcp_dropped(&host.space, "[::1]:8080");
    host.without_rule("publish", "ip6 daddr fe80::/10 return");
    udp_dropped(&host.neighbour, &link_local);

    host.mydocker(&["rm", "-f", "web"]).ok();
    assert_eq!(host.published(), [""; 0]);
    both_refused(&host.outside, &at(HOST6, 8080));
}

#[test]
fn r3_a_port_is_published_in_both_families_and_shows_its_clients() {
    published_in_both_families(false);
}

#[test]
fn r3_a_port_is_published_in_both_families_and_shows_its_clients_with_bridge_netfilter() {
    published_in_both_families(true);
}

fn containers_use_a_published_port(bridge_netfilter: bool) {
    let host = dual(bridge_netfilter);
    host.network("back", "fd00:19::/64", &["--subnet", "172.19.0.0/16"]);
    let (web, _servers) = web(&host);
    let (same, other) = (host.container("same", "dual", &[]), host.container("other", "back", &[]));
    for client in [&web, &same, &other] {
        for address in [HOST6, GATEWAY6] {
            both_answered(&client.space, &at(address, 8080));
        }
    }
    host.without_rule("postrouting", "ct status dnat ip6 saddr @subnets6 oifname @bridges masquerade");
    tcp_dropped(&web.space, &at(HOST6, 8080));
}

#[test]
fn r1_a_container_uses_its_own_published_port_over_ipv6() {
    containers_use_a_published_port(false);
}

#[test]
fn r1_a_container_uses_its_own_published_port_over_ipv6_with_bridge_netfilter() {
    containers_use_a_published_port(true);
}

fn not_reached_directly(bridge_netfilter: bool) {
    let host = dual(bridge_netfilter);
    let (web, (tcp_server, udp_server)) = web(&host);
    for attacker in [&host.neighbour, &host.outside] {
        attacker.ok(&["ip", "-6", "route", "add", "fd00:18::/64", "via", HOST6]);
        tcp_dropped(attacker, &web.at6(80));
        udp_dropped(attacker, &web.at6(80));
    }
    assert_eq!((tcp_server.clients(), udp_server.clients()), (Vec::new(), Vec::new()));
    assert_eq!(tcp(&host.neighbour, &at(HOST6, 8080)).seen_as(), NEIGHBOUR6);
    assert_eq!(udp(&host.neighbour, &at(HOST6, 8080)).seen_as(), NEIGHBOUR6);
    host.without_rule("forward", "drop");
    assert_eq!(tcp(&host.neighbour, &web.at6(80)).seen_as(), NEIGHBOUR6);
    assert_eq!(udp(&host.neighbour, &web.at6(80)).seen_as(), NEIGHBOUR6);
}

#[test]
fn s2_a_port_published_in_ipv6_is_not_reached_by_the_containers_own_address() {
    not_reached_directly(false);
}

#[test]
fn s2_a_port_published_in_ipv6_is_not_reached_by_the_containers_own_address_with_bridge_netfilter() {
    not_reached_directly(true);
}

fn one_address_is_published(bridge_netfilter: bool) {
    let host = dual(bridge_netfilter);
    let second = "2001:db8:51::11";
    host.space.ip(&format!("address add {second}/64 dev uplink0 nodad\n"));
    let ports = [format!("[{second}]:9090:80"), format!("{second}:9090:80/udp"), "[::]:9091:80".to_owned()];
    let options: Vec<&str> = ports.iter().flat_map(|port| ["-p", port.as_str()]).collect();
    let web = host.container("web", "dual", &[&options[..], &["-p", "0.0.0.0:9092:80"]].concat());
    let (tcp_server, udp_server) = servers(&web, 80);
    let peer = host.container("peer", "dual", &[]);
    for client in [&host.outside, &host.neighbour, &host.space, &peer.space, &web.space] {
        both_refused(client, &at(HOST6, 9090));
        both_refused(client, &at(HOST, 9090));
        assert_eq!(tcp(client, &at(HOST, 9091)), Probe::Refused, "{}", client.name);
        assert_eq!(tcp(client, &at(HOST6, 9092)), Probe::Refused, "{}", client.name);
    }
    assert_eq!((tcp_server.clients(), udp_server.clients()), (Vec::new(), Vec::new()));
    assert_eq!(tcp(&host.outside, &at(second, 9090)).seen_as(), OUTSIDE6);
    assert_eq!(udp(&host.outside, &at(second, 9090)).seen_as(), OUTSIDE6);
    assert_eq!(tcp(&host.outside, &at(HOST6, 9091)).seen_as(), OUTSIDE6);
    assert!(tcp(&host.outside, &at(HOST, 9092)).seen_as().ends_with(OUTSIDE));
    for client in [&host.space, &peer.space, &web.space] {
        both_answered(client, &at(second, 9090));
    }
}

#[test]
fn s12_a_port_of_one_ipv6_address_is_not_reached_through_another() {
    one_address_is_published(false);
}

#[test]
fn s12_a_port_of_one_ipv6_address_is_not_reached_through_another_with_bridge_netfilter() {
    one_address_is_published(true);
}

fn udp_flows_follow_the_port(bridge_netfilter: bool) {
    let host = dual(bridge_netfilter);
    let publish = ["-p", "8053:53/udp"];
    let client = FixedClient::new(&host.outside, &at(HOST6, 8053));
    assert_eq!(client.ask(), Probe::Refused, "nothing is published yet");
    let first = host.container("first", "dual", &publish);
    let server = Server::udp(&first.space, "[::]:53");
    assert_eq!(client.ask().seen_as(), OUTSIDE6, "the client that came too early");
    let first_address = first.address6;
    drop((server, first));
    host.mydocker(&["rm", "-f", "first"]).ok();
    let heir = host.container("heir", "dual", &["--expose", "53/udp"]);
    assert_eq!(heir.address6, first_address);
    let unpublished = Server::udp(&heir.space, "[::]:53");
    assert_eq!(client.ask(), Probe::Refused);
    let second = host.container("second", "dual", &publish);
    assert_ne!(second.address6, heir.address6);
    let server = Server::udp(&second.space, "[::]:53");
    assert_eq!(client.ask().seen_as(), OUTSIDE6, "the client of the first container");
    assert_eq!(server.clients()[0], OUTSIDE6);
    assert_eq!(unpublished.clients(), [""; 0]);
}

#[test]
fn r2_a_udp_client_with_a_fixed_port_follows_a_port_published_in_ipv6_at_once() {
    udp_flows_follow_the_port(false);
}

#[test]
fn r2_a_udp_client_with_a_fixed_port_follows_a_port_published_in_ipv6_with_bridge_netfilter() {
    udp_flows_follow_the_port(true);
}

#[test]
fn s11_conflicts_in_ipv6_are_refused_both_ways_and_the_holder_named() {
    let host = dual(true);
    let attempt = |port: &str| host.run(&["--net", "dual", "-p", port], &["true"]);
    let one_address = format!("[{HOST6}]:8005:80");
    let one_address = one_address.as_str();
    for (one, two) in [
        ("8005:80", "[::]:8005:80"),
        ("8005:80", one_address),
        ("[::]:8005:80", one_address),
        ("[::]:8005:80", "8000-8010:8000-8010"),
        ("8000-8010:8000-8010", one_address),
        ("[::]:8000-8010:80-90", "8001-8009:8001-8009"),
    ] {
        for (first, second) in [(one, two), (two, one)] {
            host.container("holder", "dual", &["-p", first]);
            let before = host.table();
            attempt(second).refused(&[125], &["80", "holder"]);
            assert_eq!(host.table(), before, "{second} after {first}");
            host.mydocker(&["rm", "-f", "holder"]).ok();
        }
    }
    // The families share nothing, and no address with another.
    host.container("holder", "dual", &["-p", "0.0.0.0:8005:80", "-p", one_address]);
    attempt("[fd00:18::1]:8005:80").ok();
    attempt("[::]:8005:80").refused(&[125], &["8005", "holder"]);
    host.mydocker(&["rm", "-f", "holder"]).ok();
    // Sockets of the host: of one family, and of both.
    let listener = Server::tcp(&host.space, &at(HOST6, 8005));
    for port in ["8005:80", "[::]:8005:80", one_address, "8000-8010:8000-8010"] {
        attempt(port).refused(&[125], &["8005", HOST6]);
    }
    attempt("0.0.0.0:8005:80").ok();
    attempt("[fd00:18::1]:8005:80").ok();
    drop(listener);
    let listener = Server::tcp(&host.space, "0.0.0.0:8005");
    attempt("[::]:8005:80").ok();
    attempt("8005:80").refused(&[125], &["8005", "0.0.0.0"]);
    drop(listener);
    // Nobody's: free ports are free in both families.
    host.space.set_sysctl("net/ipv4/ip_local_port_range", "40000 40002");
    let _listener = Server::tcp(&host.space, &at(HOST6, 40000));
    host.container("one", "dual", &["-p", "[::]:40001:80"]);
    host.container("two", "dual", &["-p", "80"]);
    assert_eq!(host.mydocker(&["port", "two", "80"]).ok(), "0.0.0.0:40002\n[::]:40002");
    attempt("80").refused(&[125], &["no free port"]);
}

/// R11, in both families; and networks of IPv6 alone.
#[test]
fn r11_a_range_is_one_element_of_each_family() {
    let host = dual(true);
    let game = host.container("game", "dual", &["-p", "20000-29999:20000-29999/udp", "-p", "81-83:91-93"]);
    let published = host.published();
    for element in [
        "0.0.0.0/0 . udp . 20000-29999 : 172.18.0.2",
        "::/0 . udp . 20000-29999 : fd00:18::2",
        ":: . tcp . 83 : fd00:18::2 . 93",
    ] {
        assert!(published.iter().any(|line| line == element), "{element}: {published:#?}");
    }
    assert_eq!(published.len(), 2 + 2 * 3);
    for port in [20000, 29999] {
        let _server = Server::udp(&game.space, &format!("[::]:{port}"));
        assert_eq!(udp(&host.outside, &at(HOST6, port)).seen_as(), OUTSIDE6);
        assert!(udp(&host.outside, &at(HOST, port)).seen_as().ends_with(OUTSIDE));
    }
    let _server = Server::tcp(&game.space, "[::]:92");
    assert_eq!(tcp(&host.outside, &at(HOST6, 82)).seen_as(), OUTSIDE6);

    host.network("six", "fd00:6::/64", &[]);
    let six = host.container("six", "six", &["-p", "8080:80"]);
    assert_eq!(host.mydocker(&["port", "six"]).ok(), "80/tcp -> [::]:8080");
    let _server = Server::tcp(&six.space, "[::]:80");
    assert_eq!(tcp(&host.outside, &at(HOST6, 8080)).seen_as(), OUTSIDE6);
    assert_eq!(tcp(&host.outside, &at(HOST, 8080)), Probe::Refused);
    for port in ["0.0.0.0:1:80", "127.0.0.1:1:80"] {
        host.run(&["--net", "six", "-p", port], &["true"]).refused(REFUSED, &["no IPv4 address", "six"]);
    }
    // After the table was lost, the next command brings all of it back.
    let before = host.published();
    host.space.ok(&["nft", "flush", "ruleset"]);
    host.mydocker(&["network", "create", "next"]).ok();
    assert_eq!(host.published(), before);
    assert_eq!(tcp(&host.outside, &at(HOST6, 8080)).seen_as(), OUTSIDE6);
}
