//! Networks with IPv6, beside IPv4 or alone: what is made and shown, which addresses are given out, and real
//! packets. The letters and numbers are those of the list of exposures, as in `packets`, and here as there a chain
//! is emptied to see the same attempt succeed.

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn6, sendto, setsockopt, socket,
    sockopt,
};
use serde_json::{Value, json};

use crate::host::{Container, HOST_SIDE6, HOST6, Host, NEIGHBOUR6, OUTSIDE, OUTSIDE6, SIDE, SIDE6};
use crate::program::eventually;
use crate::space::Namespace;
use crate::wire::{Probe, Server, ping, ping_dropped, tcp, tcp_closed, tcp_dropped, udp, udp_dropped};

/// Refused by `network …` and `run`: failed, wrong usage, or mydocker's own failure.
const REFUSED: &[i32] = &[1, 2, 125];

/// A host with one network `dual` of both families.
fn dual(bridge_netfilter: bool, options: &[&str]) -> Host {
    let host = Host::new();
    host.set_bridge_netfilter(bridge_netfilter);
    network6(&host, "dual", "fd00:18::/64", &[&["--subnet", "172.18.0.0/16"], options].concat());
    host
}

/// Creates a network with this IPv6 subnet.
#[track_caller]
fn network6(host: &Host, name: &str, subnet: &str, options: &[&str]) {
    host.network(name, subnet, options);
}

/// TCP and UDP servers on a port of the container's IPv6 address.
fn servers6(container: &Container, port: u16) -> (Server, Server) {
    (Server::tcp(&container.space, &container.at6(port)), Server::udp(&container.space, &container.at6(port)))
}

/// `ADDRESS/PREFIX` of all addresses of a family on a device.
fn addresses(space: &Namespace, family: &str, device: &str) -> Vec<String> {
    let links = space.program(&["ip", "-j", family, "address", "show", "dev", device]).json();
    let all =
        links.as_array().into_iter().flatten().filter_map(|link| link["addr_info"].as_array()).flatten();
    all.map(|address| {
        assert!(address["tentative"].is_null(), "not usable at once: {address}");
        format!("{}/{}", address["local"].as_str().expect("an address"), address["prefixlen"])
    })
    .collect()
}

fn default_routes(space: &Namespace, family: &str) -> Vec<(String, String)> {
    let routes = space.program(&["ip", "-j", family, "route", "show", "default"]).json();
    let text = |route: &Value, member: &str| route[member].as_str().unwrap_or_default().to_owned();
    routes.as_array().into_iter().flatten().map(|r| (text(r, "gateway"), text(r, "dev"))).collect()
}

fn through_the_host(space: &Namespace, subnet: &str) {
    space.ok(&["ip", "-6", "route", "add", subnet, "via", HOST6]);
}

#[test]
fn a_network_of_both_families_is_made_shown_and_removed() {
    let host = dual(false, &[]);
    assert_eq!(addresses(&host.space, "-4", "dual"), ["172.18.0.1/16"]);
    assert_eq!(addresses(&host.space, "-6", "dual"), ["fd00:18::1/64", "fe80::1/64"]);
    assert_eq!(host.space.sysctl("net/ipv6/conf/dual/accept_ra"), "0");
    for forwarding in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        assert_eq!(host.space.sysctl(forwarding), "1");
    }
    let network = host.inspect_network("dual");
    assert_eq!((&network["EnableIPv4"], &network["EnableIPv6"]), (&json!(true), &json!(true)));
    let config = json!([
        { "Subnet": "172.18.0.0/16", "Gateway": "172.18.0.1" },
        { "Subnet": "fd00:18::/64", "Gateway": "fd00:18::1" }
    ]);
    assert_eq!(network["IPAM"]["Config"], config);
    let table = host.table();
    assert!(table.contains("elements = { fd00:18::/64 }") && table.contains("{ 172.18.0.0/16 }"), "{table}");

    let one = host.container("one", "dual", &[]);
    assert_eq!(addresses(&one.space, "-4", "eth0"), ["172.18.0.2/16"]);
    let v6 = addresses(&one.space, "-6", "eth0");
    assert_eq!((v6[0].as_str(), v6.len()), ("fd00:18::2/64", 2), "{v6:?}");
    assert!(v6[1].starts_with("fe80::"), "{v6:?}");
    assert_eq!(default_routes(&one.space, "-4"), [("172.18.0.1".to_owned(), "eth0".to_owned())]);
    assert_eq!(default_routes(&one.space, "-6"), [("fd00:18::1".to_owned(), "eth0".to_owned())]);
    let endpoint = &host.inspect("one")["NetworkSettings"]["Networks"]["dual"];
    for (member, value) in [
        ("IPAddress", json!("172.18.0.2")),
        ("IPPrefixLen", json!(16)),
        ("Gateway", json!("172.18.0.1")),
        ("GlobalIPv6Address", json!("fd00:18::2")),
        ("GlobalIPv6PrefixLen", json!(64)),
        ("IPv6Gateway", json!("fd00:18::1")),
        ("MacAddress", json!("02:42:ac:12:00:02")),
    ] {
        assert_eq!(endpoint[member], value, "{member}");
    }
    let member = &host.inspect_network("dual")["Containers"][&one.id];
    assert_eq!(
        (&member["IPv4Address"], &member["IPv6Address"]),
        (&json!("172.18.0.2/16"), &json!("fd00:18::2/64"))
    );
    let ps = host.mydocker(&["ps", "--format", "{{.IPs}}"]).ok();
    assert!(ps.contains("172.18.0.2") && ps.contains("fd00:18::2"), "{ps}");
    let list = host.mydocker(&["network", "list"]).ok();
    assert!(list.contains("172.18.0.1/16") && list.contains("fd00:18::1/64"), "{list}");
    let file: Value = serde_json::from_str(
        &std::fs::read_to_string(host.root("network/ipam/subnet.json")).expect("subnet.json"),
    )
    .expect("JSON");
    assert_eq!(file["fd00:18::/64"], format!("111{}", "0".repeat(65_533)));
    assert_eq!(file["172.18.0.0/16"], format!("111{}1", "0".repeat(65_532)));

    drop(one);
    host.mydocker(&["rm", "-f", "one"]).ok();
    host.mydocker(&["network", "remove", "dual"]).ok();
    for forwarding in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        assert_eq!(host.space.sysctl(forwarding), "0");
    }
    host.assert_nothing_left();
}

fn ipv6_alone(bridge_netfilter: bool) {
    let host = Host::new();
    host.set_bridge_netfilter(bridge_netfilter);
    network6(&host, "six", "fd00:6::9/64", &[]);
    assert_eq!(addresses(&host.space, "-4", "six"), [""; 0]);
    assert_eq!(addresses(&host.space, "-6", "six"), ["fd00:6::9/64", "fe80::1/64"]);
    assert_eq!(host.space.sysctl("net/ipv4/ip_forward"), "0", "nobody needs it");
    let list = host.mydocker(&["network", "list"]).ok();
    assert_eq!(
        list.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>(),
        ["six", "fd00:6::9/64", "bridge"]
    );
    let (one, two) = (host.container("one", "six", &[]), host.container("two", "six", &[]));
    assert_eq!((one.address.to_string(), two.address.to_string()), ("fd00:6::1".into(), "fd00:6::2".into()));
    assert_eq!(addresses(&one.space, "-4", "eth0"), [""; 0]);
    assert_eq!(default_routes(&one.space, "-4"), []);
    let endpoint = &host.inspect("two")["NetworkSettings"]["Networks"]["six"];
    assert_eq!((&endpoint["IPAddress"], &endpoint["Gateway"]), (&json!(""), &json!("")));
    let mac = endpoint["MacAddress"].as_str().unwrap();
    assert!(
        mac.starts_with("02:42:") && endpoint["MacAddress"] != host.inspect("one")["MacAddress"],
        "{mac}"
    );
    let servers = servers6(&one, 80);
    assert_eq!(tcp(&two.space, &one.at6(80)).seen_as(), "fd00:6::2");
    assert_eq!(udp(&two.space, &one.at6(80)).seen_as(), "fd00:6::2");
    let _outside = Server::tcp(&host.outside, &format!("[{OUTSIDE6}]:80"));
    assert_eq!(tcp(&two.space, &format!("[{OUTSIDE6}]:80")).seen_as(), HOST6);
    drop((servers, one, two));
    host.mydocker(&["rm", "-f", "one", "two"]).ok();
    host.mydocker(&["network", "remove", "six"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_network_of_ipv6_alone_works() {
    ipv6_alone(false);
}

#[test]
fn a_network_of_ipv6_alone_works_with_bridge_netfilter() {
    ipv6_alone(true);
}

fn reaches_everything(bridge_netfilter: bool) {
    let host = dual(bridge_netfilter, &[]);
    network6(&host, "back", "fd00:19::/64", &["--subnet", "172.19.0.0/16"]);
    let (one, two) = (host.container("one", "dual", &[]), host.container("two", "dual", &[]));
    let other = host.container("other", "back", &[]);
    for address in ["fd00:18::1", HOST6, OUTSIDE6, NEIGHBOUR6, "::1"] {
        assert!(ping(&one.space, address), "ping {address}");
    }
    let _host =
        (Server::tcp(&host.space, "[fd00:18::1]:7000"), Server::udp(&host.space, &format!("[{HOST6}]:7000")));
    assert_eq!(tcp(&one.space, "[fd00:18::1]:7000").seen_as(), "fd00:18::2");
    assert_eq!(udp(&one.space, &format!("[{HOST6}]:7000")).seen_as(), "fd00:18::2");
    let at = format!("[{OUTSIDE6}]:80");
    let _outside = (Server::tcp(&host.outside, &at), Server::udp(&host.outside, &at));
    // Outside there is no way back to a unique local address.
    assert_eq!(tcp(&one.space, &at).seen_as(), HOST6);
    assert_eq!(udp(&one.space, &at).seen_as(), HOST6);
    let _servers = servers6(&one, 80);
    assert_eq!(tcp(&host.space, &one.at6(80)).seen_as(), "fd00:18::1");
    for (client, seen_as) in [(&two, "fd00:18::3"), (&other, "fd00:18::1")] {
        assert_eq!(tcp(&client.space, &one.at6(80)).seen_as(), seen_as, "{}", client.name);
        assert_eq!(udp(&client.space, &one.at6(80)).seen_as(), seen_as, "{}", client.name);
    }
    // S1: nobody outside gets in by the container's own address.
    let unpublished = servers6(&one, 81);
    for attacker in [&host.neighbour, &host.outside] {
        through_the_host(attacker, "fd00:18::/64");
        tcp_dropped(attacker, &one.at6(81));
        udp_dropped(attacker, &one.at6(81));
    }
    assert_eq!((unpublished.0.clients(), unpublished.1.clients()), (Vec::new(), Vec::new()));
    host.without_chain("forward");
    assert_eq!(tcp(&host.neighbour, &one.at6(81)).seen_as(), NEIGHBOUR6);
    assert_eq!(udp(&host.neighbour, &one.at6(81)).seen_as(), NEIGHBOUR6);
}

#[test]
fn s1_ipv6_reaches_out_and_within_and_is_not_reached_from_outside() {
    reaches_everything(false);
}

#[test]
fn s1_ipv6_reaches_out_and_within_and_is_not_reached_from_outside_with_bridge_netfilter() {
    reaches_everything(true);
}

#[test]
fn without_a_subnet_ipv6_gets_the_next_free_one_of_the_machines_own_prefix() {
    let host = Host::new();
    let create = |name: &str, options: &[&str]| {
        host.mydocker(&[&["network", "create"], options, &[name]].concat()).ok();
        let config = host.inspect_network(name)["IPAM"]["Config"].clone();
        let subnets =
            config.as_array().unwrap().iter().map(|block| block["Subnet"].as_str().unwrap().to_owned());
        subnets.collect::<Vec<_>>()
    };
    let one = create("one", &["--ipv6"]);
    assert_eq!((one[0].as_str(), one.len()), ("10.89.0.0/24", 2));
    let prefix = one[1].strip_suffix("::/64").unwrap_or_else(|| panic!("{one:?}")).to_owned();
    assert!(prefix.starts_with("fd") && prefix.split(':').count() == 3, "{prefix}");
    assert_eq!(
        create("two", &["--ipv6", "--subnet", "10.5.0.0/24"]),
        ["10.5.0.0/24", &format!("{prefix}:1::/64")]
    );
    // A route to the next one, an address in the one after it.
    host.space.ip(&format!(
        "route add {prefix}:2::/64 via 2001:db8:51::1 dev uplink0\naddress add {prefix}:3::9/128 dev lo nodad\n"
    ));
    assert_eq!(create("three", &["--ipv6", "--ipv4=false"]), [format!("{prefix}:4::/64")]);
    host.mydocker(&["network", "remove", "one"]).ok();
    assert_eq!(create("again", &["--ipv6", "--ipv4=false"]), one[1..]);
    assert!(ping(&host.container("c", "again", &[]).space, OUTSIDE6));
}

#[test]
fn addresses_are_chosen_given_back_and_wished_for() {
    let host = dual(false, &[]);
    let both = |name: &str, options: &[&str]| {
        let container = host.container(name, "dual", options);
        (container.address.to_string(), container.address6.unwrap().to_string())
    };
    let pair = |v4: &str, v6: &str| (v4.to_owned(), v6.to_owned());
    assert_eq!(both("a", &[]), pair("172.18.0.2", "fd00:18::2"));
    assert_eq!(both("b", &["--ip", "172.18.0.9", "--ip6", "fd00:18::99"]), pair("172.18.0.9", "fd00:18::99"));
    assert_eq!(both("c", &["--ip", "172.18.0.10"]), pair("172.18.0.10", "fd00:18::a"));
    // The number that would fit is taken: the lowest one.
    assert_eq!(both("d", &["--ip6", "fd00:18::3"]), pair("172.18.0.3", "fd00:18::3"));
    assert_eq!(both("e", &["--ip6", "fd00:18::4", "--ip", "172.18.0.20"]), pair("172.18.0.20", "fd00:18::4"));
    assert_eq!(both("f", &[]), pair("172.18.0.4", "fd00:18::5"));
    // Beyond what is managed an address is had by name.
    assert_eq!(both("far", &["--ip6", "fd00:18::dead:beef"]).1, "fd00:18::dead:beef");
    let run = |options: &[&str]| host.run(&[&["--net", "dual"], options].concat(), &["true"]);
    for (address, holder) in [
        ("fd00:18::99", "container b"),
        ("fd00:18::dead:beef", "container far"),
        ("fd00:18::1", "the gateway"),
    ] {
        run(&["--ip6", address]).refused(REFUSED, &[address, "taken", holder]);
    }
    for outside in ["fd00:19::2", "fd00:18::", "2001:db8::1"] {
        run(&["--ip6", outside]).refused(REFUSED, &[outside, "fd00:18::/64"]);
    }
    for malformed in ["172.18.0.77", "fd00:18::g"] {
        run(&["--ip6", malformed]).refused(&[125], &["ip6"]);
    }
    run(&["--ip", "fd00:18::77"]).refused(&[125], &["fd00:18::77"]);
    host.run(&["--net", "host", "--ip6", "fd00::2"], &["true"]).refused(REFUSED, &["fd00::2", "host"]);
    host.network("four", "10.4.0.0/24", &[]);
    host.run(&["--net", "four", "--ip6", "fd00:18::77"], &["true"])
        .refused(REFUSED, &["four", "fd00:18::77", "IPv6"]);
    network6(&host, "six", "fd00:6::/64", &[]);
    host.run(&["--net", "six", "--ip", "10.4.0.7"], &["true"]).refused(REFUSED, &["six", "10.4.0.7", "IPv4"]);
    // What was refused holds nothing.
    let taken =
        |subnet: &str| host.inspect_network("dual")["Status"]["IPAM"]["Subnets"][subnet]["IPsInUse"].clone();
    assert_eq!((taken("172.18.0.0/16"), taken("fd00:18::/64")), (json!(8), json!(7)));
    host.mydocker(&["rm", "-f", "a", "b", "c", "d", "e", "f", "far"]).ok();
    assert_eq!((taken("172.18.0.0/16"), taken("fd00:18::/64")), (json!(1), json!(1)));
    assert_eq!(both("again", &["--ip6", "fd00:18::dead:beef"]), pair("172.18.0.2", "fd00:18::dead:beef"));
}

#[test]
fn an_exhausted_ipv6_subnet_is_named_and_takes_no_ipv4_address() {
    let host = Host::new();
    network6(&host, "tiny", "fd00:7::/126", &["--subnet", "10.7.0.0/24"]);
    let one = host.container("one", "tiny", &[]);
    let two = host.container("two", "tiny", &[]);
    assert_eq!((one.at6(1), two.at6(1)), ("[fd00:7::2]:1".into(), "[fd00:7::3]:1".into()));
    host.run(&["--net", "tiny"], &["true"]).refused(REFUSED, &["tiny", "fd00:7::/126", "all 3 addresses"]);
    let usage = host.inspect_network("tiny")["Status"]["IPAM"]["Subnets"].clone();
    assert_eq!(usage["10.7.0.0/24"]["IPsInUse"], 3);
    assert_eq!(usage["fd00:7::/126"]["DynamicIPsAvailable"], 0);
}

#[test]
fn a_chosen_mac_address_is_used_and_others_learn_it_at_once() {
    let host = dual(true, &[]);
    let client = host.container("client", "dual", &[]);
    for mac in ["02:aa:bb:cc:dd:01", "06:aa:bb:cc:dd:02"] {
        let web = host.container("web", "dual", &["--mac-address", mac]);
        let endpoint = host.inspect("web")["NetworkSettings"]["Networks"]["dual"].clone();
        assert_eq!(endpoint["MacAddress"], mac);
        assert_eq!(web.space.program(&["ip", "-j", "link", "show", "eth0"]).json()[0]["address"], mac);
        let _servers = (servers6(&web, 80), Server::tcp(&web.space, "0.0.0.0:81"));
        assert_eq!(tcp(&client.space, &web.at6(80)).seen_as(), "fd00:18::2");
        assert_eq!(tcp(&client.space, &web.at(81)).seen_as(), "172.18.0.2");
        assert!(ping(&host.space, &web.address.to_string()), "{mac}");
        host.mydocker(&["rm", "-f", "web"]).ok();
    }
    // The next owner of the address, who has the usual one.
    let web = host.container("web", "dual", &[]);
    let _servers = (servers6(&web, 80), Server::tcp(&web.space, "0.0.0.0:81"));
    assert_eq!(tcp(&client.space, &web.at(81)).seen_as(), "172.18.0.2");
    assert_eq!(tcp(&client.space, &web.at6(80)).seen_as(), "fd00:18::2");
    for bad in ["02:aa:bb:cc:dd", "01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "x"] {
        host.run(&["--net", "dual", "--mac-address", bad], &["true"]).refused(&[125], &[bad]);
    }
    host.run(&["--net", "none", "--mac-address", "02:aa:bb:cc:dd:01"], &["true"]).refused(REFUSED, &["none"]);
}

/// R9 in IPv6: the next owner of an address is reachable at once.
#[test]
fn r9_an_ipv6_address_that_is_given_out_again_is_reachable_at_once() {
    let host = dual(true, &[]);
    let client = host.container("client", "dual", &[]);
    // Each time with another IPv4 address, and so another Ethernet address.
    for v4 in ["172.18.0.40", "172.18.0.41", "172.18.0.42"] {
        let web = host.container("web", "dual", &["--ip", v4, "--ip6", "fd00:18::3"]);
        let _servers = servers6(&web, 80);
        assert_eq!(tcp(&client.space, &web.at6(80)).seen_as(), "fd00:18::2", "{v4}");
        assert_eq!(tcp(&host.space, &web.at6(80)).seen_as(), "fd00:18::1", "{v4}");
        host.mydocker(&["rm", "-f", "web"]).ok();
    }
}

#[test]
fn networks_of_both_families_come_back_after_the_kernel_lost_them() {
    let host = dual(true, &[]);
    let one = host.container("one", "dual", &[]);
    host.space.ok(&["nft", "flush", "ruleset"]);
    host.space.set_sysctl("net/ipv6/conf/all/forwarding", "0");
    let two = host.container("two", "dual", &[]);
    assert_eq!(host.space.sysctl("net/ipv6/conf/all/forwarding"), "1");
    let _outside = Server::tcp(&host.outside, &format!("[{OUTSIDE6}]:80"));
    for container in [&one, &two] {
        assert_eq!(tcp(&container.space, &format!("[{OUTSIDE6}]:80")).seen_as(), HOST6);
    }
    through_the_host(&host.neighbour, "fd00:18::/64");
    let _unpublished = servers6(&one, 81);
    tcp_dropped(&host.neighbour, &one.at6(81));
    drop((one, two));
    host.mydocker(&["rm", "-f", "one", "two"]).ok();
    host.space.ip("link delete dual\n");
    let third = host.container("third", "dual", &[]);
    assert_eq!(addresses(&host.space, "-6", "dual"), ["fd00:18::1/64", "fe80::1/64"]);
    assert!(ping(&third.space, "fd00:18::1"));
}

#[test]
fn subnet_json_is_rebuilt_with_the_addresses_of_both_families() {
    let host = dual(false, &[]);
    let _one = host.container("one", "dual", &["--ip6", "fd00:18::3"]);
    std::fs::write(host.root("network/ipam/subnet.json"), "{").unwrap();
    let two = host.container("two", "dual", &[]);
    assert_eq!((two.at(1), two.at6(1)), ("172.18.0.3:1".into(), "[fd00:18::2]:1".into()));
}

#[test]
fn bad_ipv6_subnets_are_refused() {
    let host = Host::new();
    network6(&host, "front", "fd00:18::/64", &[]);
    host.space.ip(
        "address add fd00:50::1/128 dev lo nodad\nroute add fd00:60::/48 via 2001:db8:51::1 dev uplink0\n",
    );
    let before = host.leftovers(crate::leftovers::Scope::All);
    for (options, needles) in [
        (&["--subnet", "fd00::/129"][..], &["fd00::/129"][..]),
        (&["--subnet", "fd00:::/64"], &["fd00:::/64"]),
        (&["--subnet", "fd00::"], &["fd00::"]),
        (&["--subnet", "fd00:1::/127"], &["fd00:1::/127", "/126"]),
        (&["--subnet", "fd00:1::/128"], &["fd00:1::/128", "/126"]),
        (&["--subnet", "fc00::/7"], &["fc00::/7", "/16"]),
        (&["--subnet", "fe80::/64"], &["fe80::/64", "link-local"]),
        (&["--subnet", "ff05::/64"], &["ff05::/64", "multicast"]),
        (&["--subnet", "::/64"], &["::/64"]),
        (&["--subnet", "fd00:1::/64", "--subnet", "fd00:2::/64"], &["fd00:2::/64", "IPv6"]),
        (&["--subnet", "fd00:18::/80"], &["fd00:18::/80", "network front"]),
        (&["--subnet", "fd00:18::/32"], &["fd00:18::/32", "network front"]),
        (&["--subnet", "fd00:50::/64"], &["fd00:50::/64", "address fd00:50::1"]),
        (&["--subnet", "fd00:60:0:9::/64"], &["fd00:60:0:9::/64", "route to fd00:60::/48"]),
        (&["--subnet", "2001:db8:51:0:1::/80"], &["2001:db8:51"]),
        (&["--subnet", "fd00:1::/64", "--gateway", "fd00:2::1"], &["fd00:2::1", "fd00:1::/64"]),
        (&["--subnet", "fd00:1::/64", "--gateway", "fd00:1::"], &["fd00:1::"]),
        (&["--subnet", "fd00:1::/64", "--gateway", "10.0.0.1"], &["10.0.0.1", "IPv4"]),
        (&["--subnet", "10.1.0.0/24", "--gateway", "fd00:1::1"], &["fd00:1::1", "IPv6"]),
        (&["--subnet", "fd00:1::5/64", "--gateway", "fd00:1::6"], &["fd00:1::5", "fd00:1::6"]),
        (&["--subnet", "fd00:1::/64", "--ip-range", "fd00:2::/80"], &["fd00:2::/80"]),
        (&["--subnet", "fd00:1::/64", "--ip-range", "fd00:1::/80"], &["fd00:1::/80", "fd00:1::ffff"]),
        (&["--subnet", "fd00:1::/64", "--mtu", "1279"], &["1279", "1280"]),
        (&["--ipv6", "--mtu", "1000"], &["1000", "1280"]),
        (&["--ipv4=false"], &["neither"]),
        (&["--ipv6=false", "--subnet", "fd00:1::/64"], &["fd00:1::/64"]),
    ] {
        host.mydocker(&[&["network", "create"], options, &["bad"]].concat()).refused(REFUSED, needles);
        host.assert_nothing_new(&before, &format!("{options:?}"));
    }
}

fn internal_is_closed(bridge_netfilter: bool, internal_first: bool) {
    let host = Host::new();
    host.set_bridge_netfilter(bridge_netfilter);
    let inner = || {
        network6(&host, "inner", "fd00:20::/64", &["--subnet", "172.20.0.0/16", "--internal"]);
        assert!(internal_first == (host.space.sysctl("net/ipv6/conf/all/forwarding") == "0"));
    };
    if internal_first {
        inner();
    }
    network6(&host, "front", "fd00:18::/64", &["--subnet", "172.18.0.0/16"]);
    if !internal_first {
        inner();
    }
    let web = host.container("web", "front", &["-p", "8080:80"]);
    let (one, two) =
        (host.container("one", "inner", &["-p", "8081:80"]), host.container("two", "inner", &[]));
    let (web6, one6, web4) = (servers6(&web, 80), servers6(&one, 80), Server::tcp(&web.space, &web.at(80)));
    let one4 = Server::tcp(&one.space, &one.at(80));
    let outside = (
        Server::tcp(&host.outside, &format!("[{OUTSIDE6}]:80")),
        Server::udp(&host.outside, &format!("{OUTSIDE}:80")),
    );
    assert_eq!(tcp(&two.space, &one.at6(80)).seen_as(), "fd00:20::3");
    assert_eq!(udp(&two.space, &one.at6(80)).seen_as(), "fd00:20::3");
    assert!(ping(&two.space, "fd00:20::1") && ping(&two.space, "172.20.0.1"));
    // Not even for a container that gives itself the routes that it was not given.
    assert_eq!((default_routes(&one.space, "-4"), default_routes(&one.space, "-6")), (vec![], vec![]));
    assert_eq!(tcp(&one.space, &format!("[{OUTSIDE6}]:80")), Probe::NoRoute);
    one.space.ip("route add default via 172.20.0.1\nroute add ::/0 via fd00:20::1\n");
    ping_dropped(&one.space, OUTSIDE6);
    for to in [format!("[{OUTSIDE6}]:80"), web.at6(80), "[fd00:20::1]:8080".into(), format!("[{HOST6}]:8080")]
    {
        tcp_closed(&one.space, &to);
    }
    for to in [web.at(80), "172.20.0.1:8080".into(), "172.18.0.1:8080".into()] {
        tcp_closed(&one.space, &to);
    }
    udp_dropped(&one.space, &format!("{OUTSIDE}:80"));
    udp_dropped(&one.space, &web.at6(80));
    tcp_closed(&web.space, &one.at6(80));
    tcp_closed(&web.space, "172.18.0.1:8081");
    through_the_host(&host.neighbour, "fd00:20::/64");
    tcp_closed(&host.neighbour, &one.at6(80));
    tcp_closed(&host.neighbour, &format!("[{HOST6}]:8081"));
    assert_eq!((web6.0.clients(), web6.1.clients(), web4.clients()), (vec![], vec![], vec![]));
    assert_eq!((outside.0.clients(), outside.1.clients(), one4.clients()), (vec![], vec![], vec![]));
    assert_eq!(one6.0.clients(), ["fd00:20::3"]);
    host.without_chain("forward");
    assert_eq!(tcp(&one.space, &format!("[{OUTSIDE6}]:80")).seen_as(), HOST6);
    assert!(matches!(tcp(&one.space, "172.20.0.1:8080"), Probe::Answered(_)));
    assert_eq!(tcp(&host.neighbour, &one.at6(80)).seen_as(), NEIGHBOUR6);
}

#[test]
fn s6_an_internal_network_created_before_all_others_is_closed_in_both_families() {
    internal_is_closed(false, true);
}

#[test]
fn s6_an_internal_network_created_after_others_is_closed_in_both_families_with_bridge_netfilter() {
    internal_is_closed(true, false);
}

#[test]
fn s7_an_isolated_network_is_not_reached_by_other_networks_over_ipv6() {
    let host = dual(true, &[]);
    network6(&host, "alone", "fd00:21::/64", &["--subnet", "172.21.0.0/16", "--isolate"]);
    let (web, alone) = (host.container("web", "dual", &[]), host.container("alone1", "alone", &[]));
    let peer = host.container("alone2", "alone", &[]);
    let (ours, theirs) = (servers6(&alone, 80), servers6(&web, 80));
    tcp_dropped(&web.space, &alone.at6(80));
    udp_dropped(&web.space, &alone.at6(80));
    tcp_dropped(&alone.space, &web.at6(80));
    assert_eq!((ours.0.clients(), ours.1.clients(), theirs.0.clients()), (vec![], vec![], vec![]));
    assert_eq!(tcp(&peer.space, &alone.at6(80)).seen_as(), "fd00:21::3");
    let _outside = Server::tcp(&host.outside, &format!("[{OUTSIDE6}]:80"));
    assert_eq!(tcp(&alone.space, &format!("[{OUTSIDE6}]:80")).seen_as(), HOST6);
    host.without_chain("forward");
    assert_eq!(tcp(&web.space, &alone.at6(80)).seen_as(), "fd00:21::1");
}

/// Sends a router advertisement with a prefix out of `device` to a link-local address there.
fn advertise(space: &Namespace, device: &str, to: &str) {
    // RFC 4861, 4.2: type, code, checksum (the kernel's), hop limit, flags, lifetime, two timers; 4.6.2: type,
    // length, prefix length, flags L and A, two lifetimes, reserved, prefix.
    let mut message = vec![134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
    message.extend([3, 4, 64, 0xc0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    message.extend("fd00:bad::".parse::<std::net::Ipv6Addr>().unwrap().octets());
    space.run(|| {
        let index = nix::net::if_::if_nametoindex(device).expect("the device");
        let to = std::net::SocketAddrV6::new(to.parse().expect("an address"), 0, 0, index);
        let raw = socket(AddressFamily::Inet6, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::IcmpV6)
            .expect("a raw socket");
        setsockopt(&raw, sockopt::Ipv6Ttl, &255).expect("the hop limit of neighbour discovery");
        use std::os::fd::AsRawFd as _;
        sendto(raw.as_raw_fd(), &message, &SockaddrIn6::from(to), MsgFlags::empty()).expect("send");
    });
}

fn link_local(space: &Namespace, device: &str) -> String {
    let all = addresses(space, "-6", device);
    let local = all.iter().find(|address| address.starts_with("fe80:")).expect("a link-local address");
    local.split('/').next().expect("an address").to_owned()
}

/// Whether the namespace has learned a default route or an address from an advertisement.
fn has_learned(space: &Namespace, device: &str) -> bool {
    let routes = space.ok(&["ip", "-6", "route", "show", "dev", device]);
    let addresses = space.ok(&["ip", "-6", "address", "show", "dev", device]);
    routes.contains("proto ra") || addresses.contains("fd00:bad:")
}

#[test]
fn s8_router_advertisements_of_a_container_are_ignored_by_the_bridge_and_by_containers() {
    let host = dual(false, &[]);
    let (rogue, victim) = (host.container("rogue", "dual", &[]), host.container("victim", "dual", &[]));
    let of_victim = link_local(&victim.space, "eth0");
    let attack = || {
        advertise(&rogue.space, "eth0", "fe80::1");
        advertise(&rogue.space, "eth0", &of_victim);
        // They arrive in order: what is answered now came after them.
        assert!(
            ping(&rogue.space, "fd00:18::1") && ping(&rogue.space, &victim.address6.unwrap().to_string())
        );
    };
    attack();
    assert!(!has_learned(&host.space, "dual") && !has_learned(&victim.space, "eth0"));
    // The same attempt where the kernel listens: the advertisements are good ones.
    host.space.set_sysctl("net/ipv6/conf/dual/accept_ra", "2");
    victim.space.set_sysctl("net/ipv6/conf/eth0/accept_ra", "2");
    eventually("the advertisement to be taken", || {
        attack();
        (has_learned(&host.space, "dual") && has_learned(&victim.space, "eth0")).then_some(())
    });
}

#[test]
fn s8_there_is_no_ipv6_on_a_network_of_ipv4_alone() {
    let host = Host::new();
    host.network("four", "10.4.0.0/24", &[]);
    // Forwarding of IPv6 is on for another one.
    network6(&host, "six", "fd00:6::/64", &[]);
    let one = host.container("one", "four", &[]);
    assert_eq!(addresses(&one.space, "-6", "eth0"), [""; 0]);
    assert_eq!(addresses(&host.space, "-6", "four"), [""; 0]);
    let port = host.inspect("one")["NetworkSettings"]["Networks"]["four"]["HostInterface"].clone();
    assert_eq!(addresses(&host.space, "-6", port.as_str().unwrap()), [""; 0]);
    for device in ["four", port.as_str().unwrap()] {
        assert_eq!(host.space.sysctl(&format!("net/ipv6/conf/{device}/disable_ipv6")), "1");
    }
    assert_eq!(one.space.sysctl("net/ipv6/conf/eth0/disable_ipv6"), "1");
}

fn host_is_no_router(bridge_netfilter: bool) {
    let mut host = Host::new();
    host.set_bridge_netfilter(bridge_netfilter);
    let side = host.add_side_link();
    network6(&host, "dual", "fd00:18::/64", &["--subnet", "172.18.0.0/16"]);
    let one = host.container("one", "dual", &[]);
    host.neighbour.ip(&format!(
        "route add 2001:db8:2::/64 via {HOST6} dev eth0\nroute add 192.0.2.0/24 via {}\n",
        crate::host::HOST
    ));
    let at = [format!("[{SIDE6}]:80"), format!("{SIDE}:80")];
    let servers = at.each_ref().map(|at| (Server::tcp(&side, at), Server::udp(&side, at)));
    for at in &at {
        tcp_dropped(&host.neighbour, at);
        udp_dropped(&host.neighbour, at);
    }
    for (over_tcp, over_udp) in &servers {
        assert_eq!((over_tcp.clients(), over_udp.clients()), (vec![], vec![]));
    }
    // Containers do reach the other link.
    assert_eq!(tcp(&one.space, &at[0]).seen_as(), HOST_SIDE6);
    host.without_chain("forward");
    assert_eq!(tcp(&host.neighbour, &at[0]).seen_as(), NEIGHBOUR6);
    assert_eq!(udp(&host.neighbour, &at[0]).seen_as(), NEIGHBOUR6);
}

#[test]
fn s9_the_host_does_not_route_ipv6_because_of_us() {
    host_is_no_router(false);
}

#[test]
fn s9_the_host_does_not_route_ipv6_because_of_us_with_bridge_netfilter() {
    host_is_no_router(true);
}

#[test]
fn a_host_that_routed_ipv6_before_goes_on_routing() {
    let mut host = Host::new();
    host.space.set_sysctl("net/ipv6/conf/all/forwarding", "1");
    let side = host.add_side_link();
    network6(&host, "dual", "fd00:18::/64", &["--subnet", "172.18.0.0/16"]);
    host.neighbour.ip(&format!("route add 2001:db8:2::/64 via {HOST6} dev eth0\n"));
    let _server = Server::tcp(&side, &format!("[{SIDE6}]:80"));
    assert_eq!(tcp(&host.neighbour, &format!("[{SIDE6}]:80")).seen_as(), NEIGHBOUR6);
    host.mydocker(&["network", "remove", "dual"]).ok();
    assert_eq!(host.space.sysctl("net/ipv6/conf/all/forwarding"), "1");
    assert_eq!(host.space.sysctl("net/ipv4/ip_forward"), "0");
}

/// A host that has its default route from router advertisements goes on listening to them.
#[test]
fn a_default_route_learned_from_advertisements_stays_when_forwarding_is_switched_on_and_off() {
    let host = Host::new();
    let uplink = "net/ipv6/conf/uplink0/accept_ra";
    assert_eq!(host.space.sysctl(uplink), "1");
    host.space.ip("route del ::/0\n");
    let of_uplink = eventually("a link-local address of the uplink", || {
        let shown =
            host.space.ok(&["ip", "-6", "address", "show", "dev", "uplink0", "scope", "link", "-tentative"]);
        let address = shown.split_whitespace().find(|word| word.starts_with("fe80:"))?;
        Some(address.split('/').next()?.to_owned())
    });
    eventually("a link-local address of the neighbour", || {
        let shown = ["ip", "-6", "address", "show", "dev", "eth0", "scope", "link", "-tentative"];
        host.neighbour.ok(&shown).contains("fe80:").then_some(())
    });
    eventually("the default route", || {
        advertise(&host.neighbour, "eth0", &of_uplink);
        has_learned(&host.space, "uplink0").then_some(())
    });
    network6(&host, "dual", "fd00:18::/64", &[]);
    assert_eq!(host.space.sysctl(uplink), "2");
    assert_eq!(host.space.sysctl("net/ipv6/conf/dual/accept_ra"), "0");
    assert!(
        default_routes(&host.space, "-6").iter().any(|(_, device)| device == "uplink0"),
        "it was forgotten"
    );
    host.mydocker(&["network", "remove", "dual"]).ok();
    assert_eq!(host.space.sysctl(uplink), "1");
    assert_eq!(host.space.sysctl("net/ipv6/conf/all/forwarding"), "0");
    assert!(
        default_routes(&host.space, "-6").iter().any(|(_, device)| device == "uplink0"),
        "it was forgotten"
    );
}
