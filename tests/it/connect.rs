//! Several networks for one container: `--network` more than once, `network connect` and `network disconnect`, and
//! where default route and published ports go meanwhile. With real packets.

use std::path::Path;

use serde_json::json;

use crate::host::{Container, HOST, HOST6, Host, NEIGHBOUR, OUTSIDE, OUTSIDE6};
use crate::program::eventually;
use crate::wire::{Probe, Server, ping, tcp, udp};

const FAILED: &[i32] = &[1];
const REFUSED: &[i32] = &[125];

/// Where a route of the container's leads: the gateway of `ip route`, and its device.
fn default_route(container: &Container, family: &str) -> Option<(String, String)> {
    let routes = container.space.program(&["ip", "-j", family, "route", "show", "default"]).json();
    let route = routes.as_array()?.first()?.clone();
    Some((route["gateway"].as_str()?.to_owned(), route["dev"].as_str()?.to_owned()))
}

fn via(gateway: &str, device: &str) -> Option<(String, String)> {
    Some((gateway.to_owned(), device.to_owned()))
}

/// The container's interfaces beside `lo`, in the order of their numbers.
fn interfaces(container: &Container) -> Vec<String> {
    let links = container.space.program(&["ip", "-j", "link"]).json();
    let names =
        links.as_array().expect("links").iter().map(|link| link["ifname"].as_str().unwrap().to_owned());
    let mut names: Vec<String> = names.filter(|name| name != "lo").collect();
    names.sort_unstable();
    names
}

fn networks(host: &Host, container: &str) -> Vec<String> {
    let inspected = host.inspect(container);
    inspected["NetworkSettings"]["Networks"].as_object().expect("networks").keys().cloned().collect()
}

fn two_networks(host: &Host) {
    host.network("front", "172.18.0.0/24", &["--subnet", "fd00:18::/64"]);
    host.network("back", "172.19.0.0/24", &["--subnet", "fd00:19::/64"]);
}

#[test]
fn a_container_of_several_networks_reaches_each_and_its_ports_lead_through_the_first_that_forwards() {
    let host = Host::new();
    two_networks(&host);
    host.network("inner", "172.20.0.0/24", &["--internal"]);
    let long = "name=back,ip=172.19.0.77,ip6=fd00:19::77,mac-address=02:00:00:00:00:77,alias=db";
    let options = ["--network", "front", "--net", long, "-p", "8080:80"];
    let web = host.container("web", "inner", &options);
    assert_eq!(interfaces(&web), ["eth0", "eth1", "eth2"]);
    let on_front = host.container("on-front", "front", &[]);
    let on_back = host.container("on-back", "back", &[]);
    let on_inner = host.container("on-inner", "inner", &[]);
    for other in [&on_front, &on_back, &on_inner] {
        assert!(ping(&web.space, &other.address.to_string()), "{}", other.name);
    }
    let inspected = host.inspect("web");
    let networks = &inspected["NetworkSettings"]["Networks"];
    assert_eq!(networks["inner"]["IPAddress"], "172.20.0.2");
    assert_eq!(networks["back"]["IPAddress"], "172.19.0.77");
    assert_eq!(networks["back"]["GlobalIPv6Address"], "fd00:19::77");
    assert_eq!(networks["back"]["MacAddress"], "02:00:00:00:00:77");
    assert_eq!(networks["back"]["Aliases"], json!(["db"]));
    assert_eq!(
        networks["back"]["IPAMConfig"],
        json!({"IPv4Address": "172.19.0.77", "IPv6Address": "fd00:19::77"})
    );
    for (network, address) in [("front", "172.18.0.2/24"), ("back", "172.19.0.77/24")] {
        assert_eq!(host.inspect_network(network)["Containers"][&web.id]["IPv4Address"], address);
        let listed =
            host.mydocker(&["ps", "-q", "--no-trunc", "--filter", &format!("network={network}")]).ok();
        assert!(listed.lines().any(|id| id == web.id), "{listed}");
    }
    // The internal network has no way out; the second one is the first that has.
    assert_eq!(default_route(&web, "-4"), via("172.18.0.1", "eth1"));
    assert_eq!(default_route(&web, "-6"), via("fd00:18::1", "eth1"));
    let servers = (Server::tcp(&web.space, "0.0.0.0:80"), Server::tcp(&web.space, "[fd00:18::2]:80"));
    assert_eq!(tcp(&host.outside, &format!("{HOST}:8080")).seen_as(), OUTSIDE);
    assert_eq!(tcp(&host.outside, &format!("[{HOST6}]:8080")).seen_as(), OUTSIDE6);
    assert!(
        host.published().iter().any(|port| port.ends_with(": 172.18.0.2 . 80")),
        "{:?}",
        host.published()
    );
    // Stopped and started, it is on all of them again, as it asked for.
    drop((web, servers));
    host.mydocker(&["restart", "-t", "0", "web"]).ok();
    let web = host.container_named("web", "back");
    assert_eq!(web.address.to_string(), "172.19.0.77");
    assert_eq!(interfaces(&web), ["eth0", "eth1", "eth2"]);
    assert_eq!(default_route(&web, "-4"), via("172.18.0.1", "eth1"));
    drop((web, on_front, on_back, on_inner));
    host.mydocker(&["rm", "-f", "web", "on-front", "on-back", "on-inner"]).ok();
    host.assert_no_container_left();
    host.mydocker(&["network", "rm", "front", "back", "inner"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_running_container_is_connected_and_disconnected_and_nothing_else_changes() {
    let host = Host::new();
    two_networks(&host);
    let _other = host.container("other", "back", &["-p", "9090:90"]);
    let web = host.container("web", "front", &["-p", "8080:80", "-p", "8080:80/udp"]);
    let table = host.table();
    host.mydocker(&["network", "connect", "--ip", "172.19.0.9", "back", "web"]).ok();
    assert_eq!(host.table(), table, "the default route, and with it the ports, stay where they are");
    assert_eq!(interfaces(&web), ["eth0", "eth1"]);
    assert_eq!(default_route(&web, "-4"), via("172.18.0.1", "eth0"));
    assert!(ping(&host.space, "172.19.0.9"));
    assert_eq!(networks(&host, "web"), ["back", "front"]);
    let hosts = host.mydocker(&["exec", "web", "cat", "/etc/hosts"]).ok();
    assert!(hosts.contains("172.18.0.2\t") && hosts.contains("172.19.0.9\t"), "{hosts}");
    host.mydocker(&["network", "connect", "back", "web"]).refused(FAILED, &["web", "back", "already"]);
    host.mydocker(&["network", "rm", "back"]).refused(FAILED, &["back", "container web", "container other"]);

    // The first network goes: default route and ports move, in both families and for UDP too.
    let _servers = (Server::tcp(&web.space, "0.0.0.0:80"), Server::tcp(&web.space, "[fd00:19::9]:80"));
    let _udp = Server::udp(&web.space, "0.0.0.0:80");
    assert_eq!(udp(&host.outside, &format!("{HOST}:8080")).seen_as(), OUTSIDE);
    host.mydocker(&["network", "disconnect", "front", "web"]).ok();
    assert_eq!(interfaces(&web), ["eth1"]);
    assert_eq!(default_route(&web, "-4"), via("172.19.0.1", "eth1"));
    assert_eq!(default_route(&web, "-6").map(|(_, device)| device), Some("eth1".to_owned()));
    assert_eq!(tcp(&host.outside, &format!("{HOST}:8080")).seen_as(), OUTSIDE);
    assert_eq!(tcp(&host.outside, &format!("[{HOST6}]:8080")).seen_as(), OUTSIDE6);
    assert_eq!(udp(&host.outside, &format!("{HOST}:8080")).seen_as(), OUTSIDE);
    assert!(!host.table().contains("172.18.0.2"), "{}", host.table());
    let moved = |table: &str| {
        let to_back =
            |text: &str| text.replace("172.18.0.2 ", "172.19.0.9 ").replace("fd00:18::2 ", "fd00:19::9 ");
        let mut lines: Vec<String> =
            table.split([',', '\n']).map(|line| to_back(line).trim().to_owned()).collect();
        lines.sort_unstable();
        lines
    };
    assert_eq!(moved(&host.table()), moved(&table), "only where its own ports lead has changed");
    host.mydocker(&["network", "disconnect", "front", "web"])
        .refused(FAILED, &["web", "front", "not connected"]);
    host.mydocker(&["network", "disconnect", "nowhere", "web"])
        .refused(FAILED, &["no such network", "nowhere"]);
    // Its address is free again, and nothing of it is left.
    assert_eq!(host.container("next", "front", &[]).address.to_string(), "172.18.0.2");
    let hosts = host.mydocker(&["exec", "web", "cat", "/etc/hosts"]).ok();
    assert!(!hosts.contains("172.18.0.2\t") && hosts.contains("172.19.0.9\t"), "{hosts}");

    // The last network goes, and with it the ports; the next one brings them back.
    host.mydocker(&["network", "disconnect", "back", "web"]).ok();
    assert_eq!((interfaces(&web), networks(&host, "web")), (vec![], vec![]));
    assert_eq!(host.mydocker(&["port", "web"]).ok(), "");
    host.mydocker(&["network", "connect", "front", "web"]).ok();
    assert_eq!(tcp(&host.outside, &format!("{HOST}:8080")).seen_as(), OUTSIDE);
    assert_eq!(interfaces(&web), ["eth0"]);
}

#[test]
fn an_open_host_port_stays_the_same_when_ports_move() {
    let host = Host::new();
    host.network("inner", "172.20.0.0/24", &["--internal"]);
    two_networks(&host);
    let web = host.container("web", "inner", &["-p", "80"]);
    let port = |address: &str| {
        let listed = host.mydocker(&["port", "web"]).ok();
        let found = listed.lines().find_map(|line| line.split_once(address).map(|(_, port)| port.to_owned()));
        found.unwrap_or_else(|| panic!("no port on {address} in {listed}"))
    };
    let first = port("0.0.0.0:");
    // Whoever starts such a container is told what he has.
    let told = "of container other leads into an internal network";
    let other = |network: &str| host.run(&["--name", "other", "--net", network, "-p", "81"], &["true"]);
    for (network, is_told) in [("inner", true), ("front", false)] {
        let output = other(network);
        assert_eq!((output.code(), output.stderr.contains(told)), (0, is_told), "{output}");
    }
    host.mydocker(&["network", "connect", "front", "web"]).ok();
    assert_eq!((port("0.0.0.0:"), port("[::]:")), (first.clone(), first.clone()));
    let _server = Server::tcp(&web.space, "0.0.0.0:80");
    assert_eq!(tcp(&host.outside, &format!("{HOST}:{first}")).seen_as(), OUTSIDE);
    host.mydocker(&["network", "disconnect", "inner", "web"]).ok();
    host.mydocker(&["network", "connect", "back", "web"]).ok();
    host.mydocker(&["network", "disconnect", "front", "web"]).ok();
    assert_eq!((port("0.0.0.0:"), port("[::]:")), (first.clone(), first.clone()));
    assert_eq!(tcp(&host.outside, &format!("{HOST}:{first}")).seen_as(), OUTSIDE);
}

/// R4: replies leave by the interface that the packets came in, whatever the default route.
#[test]
fn r4_with_strict_reverse_path_filters_a_container_answers_on_both_networks() {
    let host = Host::new();
    two_networks(&host);
    // Whoever comes from there comes under its own address, which is not one of the neighbours'.
    host.network("far", "172.21.0.0/24", &["--subnet", "fd00:21::/64", "--mode", "routed"]);
    for name in ["all", "default"] {
        host.space.set_sysctl(&format!("net/ipv4/conf/{name}/rp_filter"), "1");
    }
    let web = host.container("web", "front", &["--net", "back", "-p", "8080:80"]);
    for name in ["all", "eth0", "eth1"] {
        web.space.set_sysctl(&format!("net/ipv4/conf/{name}/rp_filter"), "1");
    }
    let on = |address: &str| Server::tcp(&web.space, address);
    let _servers = (on("0.0.0.0:80"), on("[fd00:18::2]:80"), on("[fd00:19::2]:80"));
    assert_eq!(tcp(&host.outside, &format!("{HOST}:8080")).seen_as(), OUTSIDE);
    assert_eq!(tcp(&host.neighbour, &format!("{HOST}:8080")).seen_as(), NEIGHBOUR);
    let (far, near) = (host.container("far", "far", &[]), host.container("near", "front", &[]));
    for client in [&far, &near] {
        for at in ["172.18.0.2:80", "172.19.0.2:80", "[fd00:18::2]:80", "[fd00:19::2]:80"] {
            assert!(matches!(tcp(&client.space, at), Probe::Answered(_)), "{} to {at}", client.name);
        }
    }
    // It is the rules that do it.
    web.space.ok(&["ip", "rule", "del", "from", "172.19.0.2"]);
    crate::wire::tcp_dropped(&far.space, "172.19.0.2:80");
}

#[test]
fn a_stopped_container_changes_its_networks_for_the_next_start() {
    let host = Host::new();
    two_networks(&host);
    host.mydocker(&["create", "--name", "web", "--net", "front", &host.image, "sleep", "100000"]).ok();
    host.mydocker(&["network", "connect", "--ip", "172.19.0.50", "back", "web"]).ok();
    host.mydocker(&["network", "connect", "back", "web"]).refused(FAILED, &["already"]);
    host.mydocker(&["network", "disconnect", "front", "web"]).ok();
    host.mydocker(&["network", "disconnect", "front", "web"]).refused(FAILED, &["not connected"]);
    assert_eq!(networks(&host, "web"), ["back"]);
    assert_eq!(host.mydocker(&["ps", "-a", "--format", "{{.Networks}}"]).ok(), "back");
    assert!(host.inspect_network("back")["Containers"].as_object().unwrap().is_empty(), "it does not run");
    host.mydocker(&["start", "web"]).ok();
    let web = host.container_named("web", "back");
    assert_eq!(
        (web.address.to_string().as_str(), interfaces(&web)),
        ("172.19.0.50", vec!["eth0".to_owned()])
    );
    drop(web);
    host.mydocker(&["rm", "-f", "web"]).ok();
    host.assert_no_container_left();
}

#[test]
fn what_cannot_be_connected_is_refused_and_nothing_changes() {
    let host = Host::new();
    two_networks(&host);
    let _web = host.container("web", "front", &["-p", "8080:80"]);
    let taken = host.container("taken", "back", &[]).address.to_string();
    host.mydocker(&["run", "-d", "--name", "alone", "--net", "none", &host.image, "sleep", "100000"]).ok();
    host.mydocker(&["run", "-d", "--name", "hosts", "--net", "host", &host.image, "sleep", "100000"]).ok();
    let before = (host.table(), host.inspect("web")["NetworkSettings"].clone());
    let connect = |arguments: &[&str], needles: &[&str]| {
        host.mydocker(&[&["network", "connect"], arguments].concat()).refused(FAILED, needles);
        assert_eq!((host.table(), host.inspect("web")["NetworkSettings"].clone()), before);
    };
    connect(&["back", "alone"], &["alone", "--net none"]);
    connect(&["back", "hosts"], &["hosts", "--net host"]);
    connect(&["nowhere", "web"], &["no such network", "nowhere"]);
    connect(&["back", "nobody"], &["nobody"]);
    connect(&["--ip", "172.18.0.9", "back", "web"], &["172.18.0.9", "172.19.0.0/24"]);
    connect(&["--ip", &taken, "back", "web"], &[&taken, "container taken"]);
    host.mydocker(&["network", "connect", "back"]).refused(&[1], &["CONTAINER"]);
    host.mydocker(&["network", "connect", "-p", "80", "back", "web"]).refused(&[125], &["--publish"]);
    host.mydocker(&["network", "disconnect", "back", "alone"]).refused(FAILED, &["alone", "--net none"]);
    host.mydocker(&["network", "disconnect", "-f", "back", "nobody"]).refused(FAILED, &["nobody"]);
    // And of several networks at once.
    let run = |options: &[&str], needles: &[&str]| {
        host.run(options, &["true"]).refused(REFUSED, needles);
    };
    run(&["--net", "front", "--net", "host"], &["--net host", "--net front"]);
    run(&["--net", "front", "--net", "front"], &["front", "twice"]);
    run(&["--net", "front", "--net", "nowhere"], &["no such network", "nowhere"]);
    run(&["--net", "name=front,ip=172.18.0.9", "--ip", "172.18.0.8"], &["--ip 172.18.0.8"]);
    assert_eq!((host.table(), host.inspect("web")["NetworkSettings"].clone()), before);
}

/// R5: whoever is killed while connecting or disconnecting leaves nothing that the next command does not put right.
#[test]
fn r5_a_connection_that_was_cut_short_is_put_right() {
    let host = Host::new();
    two_networks(&host);
    let web = host.container("web", "front", &["-p", "8080:80"]);
    let server = Server::tcp(&web.space, "0.0.0.0:80");
    for round in 0..12_u32 {
        let verb = if round % 2 == 0 { "connect" } else { "disconnect" };
        let command = host.start(&["network", verb, "back", "web"]);
        // Anywhere between its first instruction and its last.
        for _ in 0..round * 20_000 {
            std::hint::spin_loop();
        }
        command.signal(nix::sys::signal::Signal::SIGKILL);
        command.wait();
        let address = host.inspect("web")["NetworkSettings"]["Networks"]["back"]["IPAddress"].clone();
        let is_connected = address.as_str().is_some_and(|address| !address.is_empty());
        // Whatever it is now, the next command brings about what it says.
        let (verb, other) = if is_connected { ("disconnect", "connect") } else { ("connect", "disconnect") };
        let output = host.mydocker(&["network", verb, "back", "web"]);
        if output.code() != 0 {
            output.refused(FAILED, &["not connected"]);
        }
        if verb == "connect" {
            assert!(ping(
                &host.space,
                host.inspect("web")["NetworkSettings"]["Networks"]["back"]["IPAddress"].as_str().unwrap()
            ));
        } else {
            assert_eq!(interfaces(&web), ["eth0"], "round {round}");
            host.mydocker(&["network", other, "back", "web"]).ok();
        }
        assert_eq!(interfaces(&web), ["eth0", "eth1"], "round {round}");
        assert_eq!(default_route(&web, "-4"), via("172.18.0.1", "eth0"));
        assert_eq!(tcp(&host.outside, &format!("{HOST}:8080")).seen_as(), OUTSIDE);
    }
    drop((web, server));
    host.mydocker(&["rm", "-f", "web"]).ok();
    eventually("the addresses to be free", || {
        let used = host.inspect_network("back")["Containers"].as_object().unwrap().len();
        (used == 0).then_some(())
    });
    host.mydocker(&["network", "rm", "front", "back"]).ok();
    host.assert_nothing_left_but_temporary_files(crate::leftovers::Scope::All);
}

/// The pinned namespace of a container is not to be changed behind its back.
#[test]
fn the_namespace_of_a_container_is_connected_by_the_containers_name() {
    let host = Host::new();
    two_networks(&host);
    let web = host.container("web", "front", &[]);
    let path = Path::new("/run/netns").join(&web.id);
    let connect = ["network", "connect", "--netns", path.to_str().unwrap(), "back"];
    host.mydocker(&connect).refused(FAILED, &["container web"]);
    assert_eq!(interfaces(&web), ["eth0"]);
}
