//! Real packets: who reaches whom, under which address, and who must not. The letters and numbers are those
//! of the list of exposures in the design (S: lets no one in, R: keeps working).
//!
//! Wherever packets must be dropped, the test then empties the chain that is to have dropped them and sees
//! the very same attempt succeed: the attack works, and it was our rule that stopped it.

use crate::host::{Container, HOST, Host, NEIGHBOUR, OUTSIDE, SIDE};
use crate::space::Namespace;
use crate::wire::{Probe, Server, ping, ping_dropped, tcp, tcp_closed, tcp_dropped, udp, udp_dropped};

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

fn published_port_is_reached(bridge_netfilter: bool) {
    let host = front(bridge_netfilter);
    host.network("back", "172.19.0.0/16", &[]);
    let (web, server, _udp) = web(&host);
    let published = format!("{HOST}:8080");
    // R3: the container sees the client itself.
    for (client, address) in [(&host.outside, OUTSIDE), (&host.neighbour, NEIGHBOUR)] {
        assert_eq!(tcp(client, &published).seen_as(), address);
        assert_eq!(udp(client, &published).seen_as(), address);
    }
    assert_eq!(server.clients(), [OUTSIDE, NEIGHBOUR]);
    // The host itself, by every address it has.
    for address in [HOST, "127.0.0.1", "127.9.8.7", "172.18.0.1", "172.19.0.1"] {
        assert!(matches!(tcp(&host.space, &format!("{address}:8080")), Probe::Answered(_)), "tcp {address}");
        assert!(matches!(udp(&host.space, &format!("{address}:8080")), Probe::Answered(_)), "udp {address}");
    }
    // R1: the container itself, and other containers, through the host's addresses.
    let (same, other) = (host.container("same", "front", &[]), host.container("other", "back", &[]));
    for client in [&web, &same, &other] {
        for address in [HOST, "172.18.0.1"] {
            let at = format!("{address}:8080");
            assert!(matches!(tcp(&client.space, &at), Probe::Answered(_)), "{} to {at}", client.name);
            assert!(matches!(udp(&client.space, &at), Probe::Answered(_)), "{} to udp {at}", client.name);
        }
    }
}

#[test]
fn a_published_port_is_reached_from_outside_from_the_host_and_from_containers() {
    published_port_is_reached(false);
}

#[test]
fn a_published_port_is_reached_with_bridge_netfilter() {
    published_port_is_reached(true);
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
            "10",
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
        host.space.ok(&["curl", "-s", "-m", "10", "http://127.0.0.1:8080/"]),
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

/// R2: a UDP client with a fixed source port, across a restart of the service at another address.
#[test]
fn a_udp_client_with_a_fixed_port_finds_the_new_container_behind_a_published_port() {
    let host = front(true);
    let publish = ["-p", "8053:53/udp"];
    let first = host.container("first", "front", &publish);
    let _first = Server::udp(&first.space, "0.0.0.0:53");
    let socket = host.outside.run(|| std::net::UdpSocket::bind("0.0.0.0:5000")).unwrap();
    socket.connect((HOST, 8053)).unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(2))).unwrap();
    let ask = || {
        let mut answer = [0; 64];
        (0..5).find_map(|_| {
            socket.send(b"?").ok()?;
            socket.recv(&mut answer).ok()
        })
    };
    assert!(ask().is_some(), "the first container answers");
    host.mydocker(&["rm", "-f", "first"]).ok();
    let _placeholder = host.container("other", "front", &[]);
    let second = host.container("second", "front", &publish);
    assert_ne!(second.address, first.address);
    let server = Server::udp(&second.space, "0.0.0.0:53");
    assert!(ask().is_some(), "the second container answers");
    assert_eq!(server.clients()[0], OUTSIDE);
}

/// R9: the next owner of an address is reachable at once.
#[test]
fn an_address_that_is_given_out_again_is_reachable_at_once() {
    let host = front(true);
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

fn unpublished_ports_are_dropped(bridge_netfilter: bool) {
    let host = front(bridge_netfilter);
    let (web, server, udp_server) = web(&host);
    let _unpublished = Server::tcp(&web.space, "0.0.0.0:81");
    let at = |port: u16| format!("{}:{port}", web.address);
    for attacker in [&host.neighbour, &host.outside] {
        route_through_the_host(attacker, "172.18.0.0/16");
        // S1: a port that is not published. S2: the container's own port of one that is.
        tcp_dropped(attacker, &at(81));
        tcp_dropped(attacker, &at(80));
        udp_dropped(attacker, &at(80));
        assert_eq!(tcp(attacker, &format!("{HOST}:81")), Probe::Refused);
    }
    assert_eq!((server.clients(), udp_server.clients()), (Vec::new(), Vec::new()));
    assert_eq!(tcp(&host.neighbour, &format!("{HOST}:8080")).seen_as(), NEIGHBOUR);
    host.without_chain("forward");
    assert_eq!(tcp(&host.neighbour, &at(81)).seen_as(), NEIGHBOUR);
    assert_eq!(tcp(&host.neighbour, &at(80)).seen_as(), NEIGHBOUR);
}

#[test]
fn s1_s2_ports_are_not_reached_by_the_containers_own_address() {
    unpublished_ports_are_dropped(false);
}

#[test]
fn s1_s2_ports_are_not_reached_by_the_containers_own_address_with_bridge_netfilter() {
    unpublished_ports_are_dropped(true);
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

#[test]
fn s3_a_port_published_on_loopback_is_not_reached_by_frames_from_the_link() {
    let host = front(true);
    let web = host.container("web", "front", &["-p", "127.0.0.1:6060:80", "-p", "127.0.0.2:6060:80/udp"]);
    let (server, udp_server) = (Server::tcp(&web.space, "0.0.0.0:80"), Server::udp(&web.space, "0.0.0.0:80"));
    assert!(matches!(tcp(&host.space, "127.0.0.1:6060"), Probe::Answered(_)));
    assert!(matches!(udp(&host.space, "127.0.0.2:6060"), Probe::Answered(_)));
    // S12: it is published there only.
    assert_eq!(tcp(&host.neighbour, &format!("{HOST}:6060")), Probe::Refused);
    assert_eq!(tcp(&host.space, &format!("{HOST}:6060")), Probe::Refused);
    let before = (server.clients().len(), udp_server.clients().len());
    send_loopback_out(&host.neighbour, "eth0", HOST);
    tcp_dropped(&host.neighbour, "127.0.0.1:6060");
    udp_dropped(&host.neighbour, "127.0.0.2:6060");
    assert_eq!((server.clients().len(), udp_server.clients().len()), before);
    host.without_chain("guard");
    assert_eq!(tcp(&host.neighbour, "127.0.0.1:6060").seen_as(), NEIGHBOUR);
}

#[test]
fn s4_a_container_does_not_reach_the_hosts_loopback_services_through_its_gateway() {
    let host = front(true);
    let attacker = host.container("attacker", "front", &[]);
    let secret = Server::tcp(&host.space, "127.0.0.1:9000");
    send_loopback_out(&attacker.space, "eth0", "172.18.0.1");
    tcp_dropped(&attacker.space, "127.0.0.1:9000");
    assert_eq!(secret.clients(), [""; 0]);
    host.without_chain("guard");
    assert_eq!(tcp(&attacker.space, "127.0.0.1:9000").seen_as(), attacker.address.to_string());
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
