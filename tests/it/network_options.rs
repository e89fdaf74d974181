//! The options of networks, with real packets where they are about packets: modes, masquerade, source checks,
//! ranges, reserved addresses, the pool of free subnets, and forwarding that is nobody else's. The letters and
//! numbers are those of the list of exposures.

use serde_json::json;

use crate::host::{
    Container, HOST, HOST_SIDE, HOST_SIDE6, HOST6, Host, NEIGHBOUR, NEIGHBOUR6, OUTSIDE, OUTSIDE6, SIDE,
    SIDE6,
};
use crate::program::eventually;
use crate::space::Namespace;
use crate::wire::{Probe, Server, ping, tcp, tcp_closed, tcp_dropped, udp, udp_dropped};

/// The addresses that the host outside has on the host's link, and uses where it is told a route through it.
const ROUTER: &str = "198.51.100.1";
const ROUTER6: &str = "2001:db8:51::1";
/// Refused by `network …` and `run`: failed, wrong usage, or mydocker's own failure.
const REFUSED: &[i32] = &[1, 2, 125];

/// TCP and UDP servers on a port of both addresses of the container.
fn servers(container: &Container, port: u16) -> [(Server, Server); 2] {
    [container.at(port), container.at6(port)]
        .map(|at| (Server::tcp(&container.space, &at), Server::udp(&container.space, &at)))
}

fn clients(servers: &[(Server, Server); 2]) -> Vec<String> {
    servers.iter().flat_map(|(tcp, udp)| [tcp.clients(), udp.clients()]).flatten().collect()
}

/// Servers of the host outside, and where they are.
fn outside(host: &Host, port: u16) -> ([(Server, Server); 2], [String; 2]) {
    let at = [format!("{OUTSIDE}:{port}"), format!("[{OUTSIDE6}]:{port}")];
    (at.each_ref().map(|at| (Server::tcp(&host.outside, at), Server::udp(&host.outside, at))), at)
}

fn through_the_host(space: &Namespace, subnets: [&str; 2]) {
    space.ip(&format!("route add {} via {HOST}\nroute add {} via {HOST6}\n", subnets[0], subnets[1]));
}

/// A container is seen under its own addresses and reached at every port: `routed`, with global IPv6 addresses.
fn routed_mode(bridge_netfilter: bool) {
    let host = Host::new();
    host.set_bridge_netfilter(bridge_netfilter);
    host.network("plain", "172.22.0.0/16", &["--subnet", "2001:db8:22::/64", "--mode", "routed"]);
    host.network("front", "172.18.0.0/16", &["--subnet", "fd00:18::/64"]);
    assert_eq!(host.inspect_network("plain")["Options"]["mode"], "routed");
    let plain = host.container("plain1", "plain", &[]);
    let front = host.container("front1", "front", &[]);
    let (_plain, front_servers) = (servers(&plain, 80), servers(&front, 80));
    let (_outside, at) = outside(&host, 80);
    for space in [&host.outside, &host.neighbour] {
        through_the_host(space, ["172.22.0.0/16", "2001:db8:22::/64"]);
        through_the_host(space, ["172.18.0.0/16", "fd00:18::/64"]);
    }
    for (to, seen_as) in at.iter().zip(["172.22.0.2", "2001:db8:22::2"]) {
        assert_eq!(tcp(&plain.space, to).seen_as(), seen_as);
        assert_eq!(udp(&plain.space, to).seen_as(), seen_as);
    }
    let clients_of = [(&host.outside, [ROUTER, ROUTER6]), (&host.neighbour, [NEIGHBOUR, NEIGHBOUR6])];
    for (client, seen_as) in clients_of {
        for (to, seen_as) in [plain.at(80), plain.at6(80)].iter().zip(seen_as) {
            assert_eq!(tcp(client, to).seen_as(), seen_as);
            assert_eq!(udp(client, to).seen_as(), seen_as);
        }
    }
    // Another network is as closed as before, and reached by this one.
    tcp_dropped(&host.outside, &front.at(80));
    udp_dropped(&host.outside, &front.at6(80));
    assert_eq!(clients(&front_servers), [""; 0]);
    assert_eq!(tcp(&plain.space, &front.at6(80)).seen_as(), "2001:db8:22::2");
}

#[test]
fn a_routed_network_is_seen_and_reached_under_its_own_addresses() {
    routed_mode(false);
}

#[test]
fn a_routed_network_is_seen_and_reached_under_its_own_addresses_with_bridge_netfilter() {
    routed_mode(true);
}

/// Global addresses need no translation; in mode `nat` they are still closed.
#[test]
fn s1_global_ipv6_addresses_are_not_translated_and_not_reached() {
    let host = Host::new();
    host.network("global", "172.18.0.0/16", &["--subnet", "2001:db8:18::/64"]);
    let one = host.container("one", "global", &[]);
    let ours = servers(&one, 80);
    let (_outside, at) = outside(&host, 80);
    through_the_host(&host.outside, ["172.18.0.0/16", "2001:db8:18::/64"]);
    assert_eq!(tcp(&one.space, &at[1]).seen_as(), "2001:db8:18::2");
    assert_eq!(udp(&one.space, &at[1]).seen_as(), "2001:db8:18::2");
    assert_eq!(tcp(&one.space, &at[0]).seen_as(), HOST);
    tcp_dropped(&host.outside, &one.at6(80));
    udp_dropped(&host.outside, &one.at6(80));
    assert_eq!(clients(&ours), [""; 0]);
    host.without_chain("forward");
    assert_eq!(tcp(&host.outside, &one.at6(80)).seen_as(), ROUTER6);
}

#[test]
fn without_masquerade_packets_leave_as_they_are_and_nobody_new_gets_in() {
    let host = Host::new();
    host.set_bridge_netfilter(true);
    host.network("own", "172.23.0.0/16", &["--subnet", "fd00:23::/64", "--no-masquerade"]);
    assert_eq!(host.inspect_network("own")["Options"]["masquerade"], "false");
    let one = host.container("one", "own", &["-p", "8080:80"]);
    let ours = servers(&one, 80);
    let (theirs, at) = outside(&host, 80);
    // Nobody knows the way back yet.
    udp_dropped(&one.space, &at[0]);
    eventually("a datagram at the server", || (!theirs[0].1.clients().is_empty()).then_some(()));
    assert!(
        theirs[0].1.clients().iter().all(|client| *client == "172.23.0.2"),
        "{:?}",
        theirs[0].1.clients()
    );
    through_the_host(&host.outside, ["172.23.0.0/16", "fd00:23::/64"]);
    for (to, seen_as) in at.iter().zip(["172.23.0.2", "fd00:23::2"]) {
        assert_eq!(tcp(&one.space, to).seen_as(), seen_as);
        assert_eq!(udp(&one.space, to).seen_as(), seen_as);
    }
    tcp_dropped(&host.outside, &one.at(80));
    tcp_dropped(&host.outside, &one.at6(80));
    assert_eq!(clients(&ours), [""; 0]);
    // R1: a published port is used through the host all the same, by the container itself, too.
    assert!(matches!(tcp(&one.space, &format!("{HOST}:8080")), Probe::Answered(_)));
    assert!(matches!(tcp(&host.space, "127.0.0.1:8080"), Probe::Answered(_)));
    assert_eq!(tcp(&host.outside, &format!("{HOST}:8080")).seen_as(), OUTSIDE);
}

/// Gives the container addresses that are not its network's and makes it send from them.
fn forge(container: &Container) {
    container.space.ip("address add 10.77.0.9/32 dev eth0\naddress add fd00:77::9/128 dev eth0 nodad\n\
         route replace default via 172.24.0.1 dev eth0 src 10.77.0.9\n\
         route delete ::/0\nroute add ::/0 via fd00:24::1 dev eth0 src fd00:77::9\n");
}

fn forged_sources_are_dropped(bridge_netfilter: bool) {
    let host = Host::new();
    host.set_bridge_netfilter(bridge_netfilter);
    // Else the kernel drops the IPv4 ones by itself.
    host.space.set_sysctl("net/ipv4/conf/all/rp_filter", "0");
    host.space.set_sysctl("net/ipv4/conf/default/rp_filter", "0");
    host.network("strict", "172.24.0.0/16", &["--subnet", "fd00:24::/64", "--check-source"]);
    assert_eq!(host.inspect_network("strict")["Options"]["check-source"], "true");
    let (one, peer) = (host.container("one", "strict", &[]), host.container("peer", "strict", &[]));
    let (theirs, at) = outside(&host, 80);
    let _peers = servers(&peer, 80);
    // Honest packets pass, within the network and out of it.
    for to in [&at[0], &at[1], &peer.at(80), &peer.at6(80), &format!("{OUTSIDE}:80")] {
        assert!(matches!(tcp(&one.space, to), Probe::Answered(_)), "{to}");
    }
    let honest = clients(&theirs).len();
    forge(&one);
    for to in &at {
        udp_dropped(&one.space, to);
        tcp_dropped(&one.space, to);
    }
    assert_eq!(clients(&theirs).len(), honest);
    host.without_chain("guard");
    for to in &at {
        udp_dropped(&one.space, to);
    }
    let seen = clients(&theirs);
    assert!(seen.contains(&"10.77.0.9".to_owned()) && seen.contains(&"fd00:77::9".to_owned()), "{seen:?}");
}

#[test]
fn s5_forged_source_addresses_are_dropped_where_the_network_asks_for_it() {
    forged_sources_are_dropped(false);
}

#[test]
fn s5_forged_source_addresses_are_dropped_where_the_network_asks_for_it_with_bridge_netfilter() {
    forged_sources_are_dropped(true);
}

#[test]
fn addresses_come_from_the_range_and_reserved_ones_are_never_given_out() {
    let host = Host::new();
    let options = [
        "--subnet",
        "fd00:25::/64",
        "--ip-range",
        "172.25.7.0/30",
        "--ip-range",
        "fd00:25::700/126",
        "--reserve",
        "172.25.7.2",
        "--reserve",
        "fd00:25::702",
        "--gateway",
        "172.25.0.254",
        "--gateway",
        "fd00:25::fe",
        "--label",
        "tier=web",
    ];
    host.network("part", "172.25.0.0/16", &options);
    let config = host.inspect_network("part")["IPAM"]["Config"].clone();
    assert_eq!(
        (&config[0]["IPRange"], &config[0]["Gateway"]),
        (&json!("172.25.7.0/30"), &json!("172.25.0.254"))
    );
    assert_eq!(
        (&config[1]["IPRange"], &config[1]["Gateway"]),
        (&json!("fd00:25::700/126"), &json!("fd00:25::fe"))
    );
    assert_eq!(config[0]["AuxiliaryAddresses"], json!({ "172.25.7.2": "172.25.7.2" }));
    assert_eq!(host.inspect_network("part")["Labels"], json!({ "tier": "web" }));
    let both = |name: &str, options: &[&str]| {
        let container = host.container(name, "part", options);
        assert!(ping(&container.space, "172.25.0.254") && ping(&container.space, "fd00:25::fe"), "{name}");
        format!("{} {}", container.address, container.address6.unwrap())
    };
    assert_eq!(both("a", &[]), "172.25.7.0 fd00:25::700");
    assert_eq!(both("b", &[]), "172.25.7.1 fd00:25::701");
    assert_eq!(both("c", &[]), "172.25.7.3 fd00:25::703");
    host.run(&["--net", "part"], &["true"]).refused(REFUSED, &["part", "172.25.7.0/30", "all 4 addresses"]);
    let taken = host.run(&["--net", "part", "--ip", "172.25.7.2", "--ip6", "fd00:25::9"], &["true"]);
    taken.refused(REFUSED, &["172.25.7.2", "reservation"]);
    // By name an address is had from anywhere in the subnet.
    assert_eq!(both("d", &["--ip", "172.25.9.9", "--ip6", "fd00:25::9"]), "172.25.9.9 fd00:25::9");
    host.run(&["--net", "part", "--ip", "172.25.9.10"], &["true"]).refused(REFUSED, &["fd00:25::700/126"]);
    host.mydocker(&["rm", "-f", "a", "b", "c", "d"]).ok();
    host.mydocker(&["network", "remove", "part"]).ok();
    host.assert_nothing_left();
    // The lowest address is the gateway unless it is reserved.
    host.network("next", "10.3.0.0/24", &["--reserve", "10.3.0.1", "--reserve", "10.3.0.3"]);
    assert_eq!(host.inspect_network("next")["IPAM"]["Config"][0]["Gateway"], "10.3.0.2");
    assert_eq!(host.container("e", "next", &[]).address.to_string(), "10.3.0.4");
    // Still so when the file of addresses had to be made anew.
    std::fs::remove_file(host.root("network/ipam/subnet.json")).unwrap();
    assert_eq!(host.container("f", "next", &[]).address.to_string(), "10.3.0.5");
}

#[test]
fn options_that_do_not_fit_are_refused_and_nothing_is_made() {
    let host = Host::new();
    let before = host.leftovers(crate::leftovers::Scope::All);
    let subnet = ["--subnet", "10.1.0.0/24"];
    for (options, needles) in [
        (&["--mode", "bridge"][..], &["bridge", "nat or routed"][..]),
        (&["--ip-range", "10.2.0.0/25"], &["10.2.0.0/25", "10.1.0.0/24"]),
        (&["--ip-range", "10.1.0.0/16"], &["10.1.0.0/16", "10.1.0.0/24"]),
        (&["--ip-range", "10.1.0.0/25", "--ip-range", "10.1.0.128/25"], &["10.1.0.128/25"]),
        (&["--ip-range", "fd00::/96"], &["fd00::/96", "IPv6"]),
        (&["--ip-range", "10.1.0.0"], &["10.1.0.0", "PREFIX"]),
        (&["--ip-range", "10.1.0.0/33"], &["10.1.0.0/33"]),
        (&["--reserve", "10.2.0.9"], &["10.2.0.9", "10.1.0.0/24"]),
        (&["--reserve", "fd00::9"], &["fd00::9", "IPv6"]),
        (&["--reserve", "x"], &["x"]),
        (&["--gateway", "10.1.0.1", "--gateway", "10.1.0.2"], &["10.1.0.1", "10.1.0.2"]),
        (&["--gateway", "10.2.0.1"], &["10.2.0.1", "10.1.0.0/24"]),
        (&["--gateway", "10.1.0.255"], &["10.1.0.255"]),
        (&["--ipv6=perhaps"], &["perhaps"]),
        (&["--mtu", "67"], &["67"]),
        (&["--label", "=x"], &["=x"]),
        (&["-o", "com.docker.network.bridge.name=much-too-long-a-name"], &["bridge.name", "15 characters"]),
        (&["-o", "com.docker.network.bridge.name=lo"], &["lo"]),
        (&["-o", "com.docker.network.driver.mtu=67"], &["driver.mtu=67"]),
        (&["--opt", "com.docker.network.bridge.enable_icc=maybe"], &["enable_icc=maybe", "true or false"]),
        (&["-o", "com.docker.network.bridge.host_binding_ipv4=10.0.0.1"], &["host_binding_ipv4"]),
        (&["-o", "parent=eth0"], &["parent"]),
        (
            &[
                "-o",
                "com.docker.network.bridge.gateway_mode_ipv4=nat",
                "-o",
                "com.docker.network.bridge.gateway_mode_ipv6=routed",
            ],
            &["one mode for both"],
        ),
        (&["--aux-address", "router=10.2.0.9"], &["10.2.0.9"]),
        (&["--aux-address", "router=x"], &["NAME=IP"]),
    ] {
        let arguments = [&["network", "create"], &subnet[..], options, &["bad"]].concat();
        host.mydocker(&arguments).refused(REFUSED, needles);
        host.assert_nothing_new(&before, &format!("{options:?}"));
    }
}

#[test]
fn dockers_options_of_networks_do_what_they_say() {
    let host = Host::new();
    let options = [
        "-o",
        "com.docker.network.bridge.name=br-app",
        "-o",
        "com.docker.network.driver.mtu=1400",
        "-o",
        "com.docker.network.bridge.enable_ip_masquerade=false",
        "-o",
        "com.docker.network.bridge.gateway_mode_ipv4=routed",
        "--aux-address",
        "router=172.24.0.2",
    ];
    host.network("app", "172.24.0.0/16", &options);
    let link = host.space.ok(&["ip", "-br", "link", "show", "br-app"]);
    assert!(link.contains("br-app"), "{link}");
    let shown = host.inspect_network("app");
    for (name, value) in [
        ("com.docker.network.bridge.name", "br-app"),
        ("com.docker.network.driver.mtu", "1400"),
        ("com.docker.network.bridge.enable_ip_masquerade", "false"),
        ("com.docker.network.bridge.enable_icc", "true"),
        ("mode", "routed"),
    ] {
        assert_eq!(shown["Options"][name], value, "{shown}");
    }
    let one = host.container("one", "app", &[]);
    assert_eq!(one.address.to_string(), "172.24.0.3");
    assert!(one.space.ok(&["ip", "link", "show", "eth0"]).contains("mtu 1400"));
    let taken = ["network", "create", "-o", "com.docker.network.bridge.name=br-app", "other"];
    host.mydocker(&taken).refused(REFUSED, &["br-app", "app"]);
}

/// Neither over the bridge nor by way of the host.
fn containers_are_kept_apart(bridge_netfilter: bool) {
    let host = Host::new();
    host.set_bridge_netfilter(bridge_netfilter);
    host.network("apart", "172.24.0.0/16", &["--subnet", "fd00:24::/64", "--no-icc"]);
    host.network("other", "172.25.0.0/16", &["--subnet", "fd00:25::/64"]);
    assert_eq!(host.inspect_network("apart")["Options"]["com.docker.network.bridge.enable_icc"], "false");
    let one = host.container("one", "apart", &["-p", "8080:80"]);
    let (two, other) = (host.container("two", "apart", &[]), host.container("three", "other", &[]));
    let [served, served_other] = [servers(&one, 80), servers(&other, 80)];
    let closed = |by_way_of: &str| {
        for to in [one.at(80), one.at6(80)] {
            tcp_closed(&two.space, &to);
            udp_dropped(&two.space, &to);
            tcp_closed(&other.space, &to);
        }
        for to in [other.at(80), other.at6(80)] {
            tcp_closed(&two.space, &to);
        }
        assert_eq!((clients(&served), clients(&served_other)), (Vec::new(), Vec::new()), "{by_way_of}");
    };
    closed("the bridge");
    // Whoever sends to the host what is for a neighbour is not helped.
    for (from, to) in [(&two, &one), (&one, &two)] {
        let to6 = to.address6.unwrap();
        from.space.ip(&format!("route add {} via 172.24.0.1\nroute add {to6} via fd00:24::1\n", to.address));
    }
    closed("the host");
    // The host, the outside, and published ports are reached; and by whoever is outside as well.
    let (_outside, at) = outside(&host, 80);
    for to in &at {
        assert!(matches!(tcp(&two.space, to), Probe::Answered(_)), "{to}");
    }
    for to in [format!("{HOST}:8080"), format!("[{HOST6}]:8080")] {
        // What br_netfilter translates stays on the bridge, whose ports are apart.
        match bridge_netfilter {
            true => tcp_closed(&two.space, &to),
            false => assert!(matches!(tcp(&two.space, &to), Probe::Answered(_)), "{to}"),
        }
    }
    assert!(matches!(tcp(&host.space, &one.at(80)), Probe::Answered(_)));
    assert!(matches!(tcp(&host.outside, &format!("{HOST}:8080")), Probe::Answered(_)));
    assert!(matches!(tcp(&other.space, &format!("{HOST}:8080")), Probe::Answered(_)));
    assert!(ping(&two.space, "172.24.0.1"));
    // What was taken off the bridge comes back the same.
    host.space.ip(&format!("link set {} nomaster\n", &one.id[..5]));
    host.mydocker(&["network", "reload"]).ok();
    tcp_closed(&two.space, &one.at(80));
    // It is the table and the ports that do it.
    for container in [&one, &two] {
        host.space.ok(&["bridge", "link", "set", "dev", &container.id[..5], "isolated", "off"]);
    }
    host.without_chain("forward");
    assert!(matches!(tcp(&two.space, &one.at(80)), Probe::Answered(_)));
}

#[test]
fn s18_containers_of_a_network_are_kept_apart_where_the_user_wants_it() {
    containers_are_kept_apart(false);
}

#[test]
fn s18_containers_of_a_network_are_kept_apart_with_bridge_netfilter() {
    containers_are_kept_apart(true);
}

#[test]
fn the_pool_avoids_routes_of_every_table_and_the_hosts_name_servers() {
    let host = Host::new();
    let file = host.scratch("resolver").join("resolv.conf");
    std::fs::write(&file, "search example\nnameserver 10.89.0.53\nnameserver 2001:db8::53\n").unwrap();
    host.space.ok(&["mount", "--bind", file.to_str().unwrap(), "/etc/resolv.conf"]);
    host.space.ip("route add 10.89.1.0/24 via 198.51.100.1 table 77\naddress add 10.89.2.200/25 dev lo\n\
         route add 10.89.4.0/22 via 198.51.100.1\n");
    for (name, subnet) in [("one", "10.89.3.0/24"), ("two", "10.89.8.0/24")] {
        host.mydocker(&["network", "create", name]).ok();
        assert_eq!(host.inspect_network(name)["IPAM"]["Config"][0]["Subnet"], subnet);
    }
    // Who wants the name server's network by name may have it.
    host.network("three", "10.89.0.0/24", &[]);
    host.space.ip("route add 10.89.0.0/16 via 198.51.100.1\n");
    host.mydocker(&["network", "create", "four"]).refused(REFUSED, &["four", "every /24 of 10.89.0.0/16"]);
    assert_eq!(host.mydocker(&["network", "list", "-q"]).ok().lines().count(), 3);
}

#[test]
fn two_hundred_and_fifty_networks_without_a_subnet_get_one_each() {
    let host = Host::new();
    host.space.ip("route add 10.89.250.0/23 via 198.51.100.1\nroute add 10.89.252.0/22 via 198.51.100.1\n");
    for number in 0..250 {
        host.mydocker(&["network", "create", &format!("n{number}")]).ok();
    }
    let list = host.mydocker(&["network", "list"]).ok();
    let mut ranges: Vec<&str> =
        list.lines().skip(1).filter_map(|row| row.split_whitespace().nth(1)).collect();
    ranges.sort_unstable();
    ranges.dedup();
    assert_eq!(ranges.len(), 250);
    assert!(ranges.contains(&"10.89.0.1/24") && ranges.contains(&"10.89.249.1/24"), "{ranges:?}");
    let refused = host.mydocker(&["network", "create", "more"]);
    assert!(refused.stderr.contains("--subnet"), "the way out: {refused}");
    refused.refused(REFUSED, &["more", "every /24 of 10.89.0.0/16"]);
    assert!(ping(&host.container("last", "n249", &[]).space, OUTSIDE));
}

/// A bridge of somebody else's on the host, with two hosts on it.
fn foreign_bridge(host: &mut Host, name: &str, prefixes: [&str; 2]) -> [Namespace; 2] {
    let [v4, v6] = prefixes;
    host.space.ip(&format!(
        "link add {name} type bridge\naddress add {v4}.1/24 dev {name}\n\
         address add {v6}::1/64 dev {name} nodad\nlink set {name} up\n"
    ));
    host.devices.insert(name.to_owned());
    [2, 3].map(|number| {
        let guest = Namespace::new(&format!("{name}-{number}"));
        let port = format!("{name}-{number}");
        guest.ip(&format!("link add eth0 type veth peer name {port} netns {}\n", host.space.path()));
        host.space.ip(&format!("link set {port} master {name} up\n"));
        guest.ip(&format!(
            "address add {v4}.{number}/24 dev eth0\naddress add {v6}::{number}/64 dev eth0 nodad\n\
             link set eth0 up\nroute add default via {v4}.1\nroute add ::/0 via {v6}::1 dev eth0\n"
        ));
        host.devices.insert(port);
        guest
    })
}

/// What the host itself sends on a bridge of somebody else's arrives: answers, refusals, neighbour discovery, and
/// reports of multicast groups.
fn host_still_speaks_on(host: &Host, bridge: &str, guest: &Namespace, addresses: [&str; 2]) {
    for address in addresses {
        assert!(ping(guest, address), "{address}");
        let at = |port| {
            if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
        };
        let _servers = (Server::tcp(&host.space, &at(80)), Server::udp(&host.space, &at(80)));
        assert!(matches!(tcp(guest, &at(80)), Probe::Answered(_)), "{address}");
        assert!(matches!(udp(guest, &at(80)), Probe::Answered(_)), "{address}");
        assert_eq!((tcp(guest, &at(81)), udp(guest, &at(81))), (Probe::Refused, Probe::Refused), "{address}");
    }
    guest.ok(&["nft", "add table inet seen { set groups { type inet_proto; flags dynamic; }; chain in { \
          type filter hook prerouting priority 0; \
          meta l4proto igmp add @groups { meta l4proto }; icmpv6 type mld2-listener-report add @groups { meta l4proto }; }; }"]);
    host.space.ip(&format!(
        "address add 239.1.2.3/32 dev {bridge} autojoin\naddress add ff05::77/128 dev {bridge} autojoin\n"
    ));
    eventually("reports of multicast groups", || {
        let seen = guest.ok(&["nft", "list", "set", "inet", "seen", "groups"]);
        (seen.contains("igmp") && seen.contains("ipv6-icmp")).then_some(())
    });
}

fn foreign_bridges_are_spared(bridge_netfilter: bool) {
    let mut host = Host::new();
    host.set_bridge_netfilter(bridge_netfilter);
    let side = host.add_side_link();
    let guests = foreign_bridge(&mut host, "virbr0", ["10.70.0", "fd00:70"]);
    let others = foreign_bridge(&mut host, "virbr1", ["10.71.0", "fd00:71"]);
    // Nobody has translated or forwarded for them; now forwarding is switched on.
    host.network("dual", "172.18.0.0/16", &["--subnet", "fd00:18::/64"]);
    let one = host.container("one", "dual", &[]);
    let serve = |space: &Namespace, at: [&str; 2]| {
        at.map(|address| {
            let at = if address.contains(':') { format!("[{address}]:80") } else { format!("{address}:80") };
            (Server::tcp(space, &at), Server::udp(space, &at))
        })
    };
    let near = serve(&guests[1], ["10.70.0.3", "fd00:70::3"]);
    let far = [
        serve(&others[0], ["10.71.0.2", "fd00:71::2"]),
        serve(&side, [SIDE, SIDE6]),
        serve(&host.neighbour, [NEIGHBOUR, NEIGHBOUR6]),
    ];
    // Within their bridge nothing has changed, neither for frames nor for neighbour discovery.
    for (to, seen_as) in [("10.70.0.3:80", "10.70.0.2"), ("[fd00:70::3]:80", "fd00:70::2")] {
        assert_eq!(tcp(&guests[0], to).seen_as(), seen_as);
        assert_eq!(udp(&guests[0], to).seen_as(), seen_as);
    }
    host_still_speaks_on(&host, "virbr0", &guests[0], ["10.70.0.1", "fd00:70::1"]);
    // From bridge to bridge and to other links the host routes no more than before.
    host.neighbour.ip(&format!("route add 10.70.0.0/24 via {HOST}\nroute add fd00:70::/64 via {HOST6}\n"));
    let to_others = ["10.71.0.2:80".to_owned(), "[fd00:71::2]:80".to_owned()];
    let to_side = [format!("{SIDE}:80"), format!("[{SIDE6}]:80")];
    let to_neighbour = [format!("{NEIGHBOUR}:80"), format!("[{NEIGHBOUR6}]:80")];
    for to in [&to_others, &to_side, &to_neighbour].into_iter().flatten() {
        tcp_dropped(&guests[0], to);
        udp_dropped(&guests[0], to);
    }
    for to in ["10.70.0.3:80", "[fd00:70::3]:80"] {
        tcp_dropped(&host.neighbour, to);
        udp_dropped(&side, to);
    }
    assert!(far.iter().all(|servers| clients(servers).is_empty()));
    // Containers go where they like, also there.
    assert_eq!(tcp(&one.space, &to_others[0]).seen_as(), "10.71.0.1");
    assert_eq!(tcp(&one.space, &to_others[1]).seen_as(), "fd00:71::1");
    assert_eq!(tcp(&one.space, &to_side[0]).seen_as(), HOST_SIDE);
    assert_eq!(tcp(&one.space, &to_side[1]).seen_as(), HOST_SIDE6);
    // Each of the two chains stops what it is there for.
    host.without_chain("between_bridges");
    for (to, seen_as) in to_others.iter().zip(["10.70.0.2", "fd00:70::2"]) {
        assert_eq!(tcp(&guests[0], to).seen_as(), seen_as);
        assert_eq!(udp(&guests[0], to).seen_as(), seen_as);
    }
    tcp_dropped(&guests[0], &to_side[0]);
    host.without_chain("forward");
    for (to, seen_as) in to_side.iter().zip(["10.70.0.2", "fd00:70::2"]) {
        assert_eq!(tcp(&guests[0], to).seen_as(), seen_as);
    }
    drop(near);
}

#[test]
fn s9_bridges_of_others_work_as_before_and_are_not_routed_for() {
    foreign_bridges_are_spared(false);
}

#[test]
fn s9_bridges_of_others_work_as_before_and_are_not_routed_for_with_bridge_netfilter() {
    foreign_bridges_are_spared(true);
}

/// S6, S7: what belongs together of several options.
#[test]
fn s6_an_internal_network_stays_closed_whatever_else_it_is() {
    let host = Host::new();
    host.network(
        "inner",
        "172.20.0.0/16",
        &["--subnet", "2001:db8:20::/64", "--internal", "--mode", "routed", "--no-masquerade"],
    );
    assert_eq!(host.inspect_network("inner")["Options"]["check-source"], "true");
    host.network("front", "172.18.0.0/16", &["--subnet", "fd00:18::/64"]);
    let one = host.container("one", "inner", &[]);
    let other = host.container("other", "front", &[]);
    let ours = servers(&one, 80);
    let (theirs, at) = outside(&host, 80);
    one.space.ip("route add default via 172.20.0.1\nroute add ::/0 via 2001:db8:20::1 dev eth0\n");
    through_the_host(&host.outside, ["172.20.0.0/16", "2001:db8:20::/64"]);
    for to in &at {
        tcp_closed(&one.space, to);
        udp_dropped(&one.space, to);
    }
    for to in [one.at(80), one.at6(80)] {
        tcp_closed(&host.outside, &to);
        tcp_closed(&other.space, &to);
    }
    assert_eq!((clients(&ours), clients(&theirs)), (vec![], vec![]));
    host.without_chain("forward");
    assert_eq!(tcp(&host.outside, &one.at6(80)).seen_as(), ROUTER6);
}
