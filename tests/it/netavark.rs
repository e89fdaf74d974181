//! mydocker in the place of Podman's `netavark`, by arguments and standard input, with real packets.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cni::{links, pod};
use crate::host::{HOST, Host, OUTSIDE};
use crate::leftovers::Scope;
use crate::program::Output;
use crate::wire::{Server, ping, ping_dropped, tcp};

/// The program by the name that Podman looks for.
pub(crate) fn netavark(host: &Host) -> PathBuf {
    links(host, "helpers", &["netavark"]).join("netavark")
}

pub(crate) fn call(host: &Host, program: &Path, arguments: &[&str], input: &Value) -> Output {
    let options = ["--config", "/run/containers/networks", "--rootless=false", "--aardvark-binary=/nowhere"];
    let words = [&[program.to_str().unwrap()], &options[..], arguments].concat();
    host.program(&words).input(&input.to_string()).run_in(&host.space)
}

#[track_caller]
pub(crate) fn failed(output: &Output, needles: &[&str]) {
    assert_ne!(output.code(), 0, "{output}");
    let failure: Value =
        serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("no object: {output}"));
    assert_eq!(failure.as_object().unwrap().keys().collect::<Vec<_>>(), ["error"], "{output}");
    for needle in needles {
        assert!(failure.to_string().contains(needle), "{needle} is missing: {output}");
    }
}

pub(crate) fn info(name: &str, bridge: &str, subnets: &Value) -> Value {
    json!({
        "name": name, "id": "b".repeat(64), "driver": "bridge", "network_interface": bridge, "subnets": subnets,
        "ipv6_enabled": false, "internal": false, "dns_enabled": false, "ipam_options": { "driver": "host-local" },
    })
}

fn one(container: &str, address: &str, port: u16) -> Value {
    json!({
        "container_id": container, "container_name": format!("{container}-name"),
        "port_mappings": [{ "container_port": 80, "host_ip": "", "host_port": port, "protocol": "tcp", "range": 2 }],
        "networks": { "podman": { "interface_name": "eth0", "static_ips": [address], "aliases": [] } },
        "network_info": { "podman": info("podman", "podman0", &json!([{ "subnet": "10.88.0.0/16", "gateway": "10.88.0.1" }])) },
    })
}

#[test]
fn containers_of_podman_come_and_go_with_their_network() {
    let host = Host::new();
    let program = netavark(&host);
    let (first, second) = (pod(&host, "first"), pod(&host, "second"));
    let both = [one("first", "10.88.0.2", 8080), one("second", "10.88.0.9", 9090)];
    let setup = |at: usize, netns: &str| call(&host, &program, &["setup", netns], &both[at]);
    let teardown = |at: usize, netns: &str| {
        let output = call(&host, &program, &["teardown", netns], &both[at]);
        assert_eq!((output.ok().as_str(), output.stderr.as_str()), ("", ""), "{output}");
    };
    teardown(0, "/run/netns/first");
    // Podman keeps a socket on each port that it publishes.
    let _conmon = Server::tcp(&host.space, "0.0.0.0:8080");
    let status = setup(0, "/run/netns/first").json();
    let mac = first.ethernet_address("eth0");
    let expected = json!({ "podman": {
        "interfaces": { "eth0": { "mac_address": "02:42:0a:58:00:02", "subnets": [{ "ipnet": "10.88.0.2/16", "gateway": "10.88.0.1" }] } },
        "dns_server_ips": [], "dns_search_domains": [],
    } });
    assert_eq!(status, expected, "{mac}");
    setup(1, "/run/netns/second").ok();
    let servers = (Server::tcp(&first, "0.0.0.0:80"), Server::tcp(&first, "0.0.0.0:81"));
    for port in [8080, 8081] {
        assert_eq!(tcp(&host.outside, &format!("{HOST}:{port}")).seen_as(), OUTSIDE);
    }
    assert!(ping(&first, OUTSIDE) && ping(&second, "10.88.0.2"));
    let check = host.mydocker(&["network", "check"]);
    assert_eq!(check.code(), 0, "{check}");
    let containers = host.inspect_network("podman")["Containers"].clone();
    assert!(containers.to_string().contains("first-name"), "{containers}");
    // A second time, and a port of another's: the other stays as it is.
    failed(&setup(0, "/run/netns/first"), &["Podman container first-name", "already"]);
    let mut taken = both[1].clone();
    taken["container_id"] = "third".into();
    taken["networks"]["podman"]["static_ips"] = json!(["10.88.0.7"]);
    let _third = pod(&host, "third");
    failed(&call(&host, &program, &["setup", "/run/netns/third"], &taken), &["9090", "second-name"]);
    assert_eq!(tcp(&host.outside, &format!("{HOST}:8081")).seen_as(), OUTSIDE);

    drop(servers);
    teardown(0, "/run/netns/first");
    assert!(host.devices_now().contains("podman0"));
    host.space.ok(&["ip", "netns", "delete", "second"]);
    drop(second);
    for _ in 0..2 {
        teardown(1, "/run/netns/second");
    }
    assert!(!host.devices_now().contains("podman0"));
    drop((first, _third));
    host.space.ok(&["ip", "netns", "delete", "first"]);
    host.space.ok(&["ip", "netns", "delete", "third"]);
    host.space.ok(&["umount", "/run/netns"]);
    host.assert_nothing_left();
}

#[test]
fn two_networks_are_joined_in_order_and_all_of_it_is_undone_together() {
    let host = Host::new();
    let program = netavark(&host);
    let mut front = info(
        "front",
        "front0",
        &json!([{ "subnet": "10.90.0.0/24", "gateway": "10.90.0.1" }, { "subnet": "fd00:90::/64", "gateway": "fd00:90::1" }]),
    );
    front["options"] = json!({ "isolate": "false" });
    let mut back = info("back", "back0", &json!([{ "subnet": "10.91.0.0/24", "gateway": "10.91.0.1" }]));
    back["options"] = json!({ "isolate": "strict", "mtu": "1400" });
    let own = |name: &str, interface: &str, addresses: &[&str]| json!({ "name": name, "interface_name": interface, "static_ips": addresses });
    let listed =
        json!([own("back", "eth1", &["10.91.0.2"]), own("front", "eth0", &["10.90.0.2", "fd00:90::2"])]);
    let input = |networks: &Value, ports: &Value| {
        json!({ "container_id": "web", "container_name": "web", "port_mappings": ports, "networks": networks,
            "network_info": { "front": front, "back": back } })
    };
    let web = pod(&host, "web");
    let ports =
        json!([{ "container_port": 80, "host_ip": "", "host_port": 8080, "protocol": "tcp", "range": 1 }]);
    let status = call(&host, &program, &["setup", "/run/netns/web"], &input(&listed, &ports)).json();
    assert_eq!(status.as_object().unwrap().len(), 2, "{status}");
    // The order of a list counts: the first one's is the default route, and the ports lead there.
    let route = web.ok(&["ip", "route", "show", "default"]);
    assert!(route.contains("via 10.91.0.1 dev eth1"), "{route}");
    assert!(web.ok(&["ip", "link", "show", "eth1"]).contains("mtu 1400"));
    let _server = Server::tcp(&web, "0.0.0.0:80");
    assert_eq!(tcp(&host.outside, &format!("{HOST}:8080")).seen_as(), OUTSIDE);
    host.network("other", "172.18.0.0/24", &[]);
    let other = host.container("db", "other", &[]);
    ping_dropped(&other.space, "10.91.0.2");
    assert!(ping(&other.space, "10.90.0.2"));
    call(&host, &program, &["teardown", "/run/netns/web"], &input(&listed, &ports)).ok();
    assert_eq!(web.ok(&["ip", "-br", "link"]).lines().count(), 1);

    // The second network has no room: nothing of the first stays.
    let before = (host.leftovers(Scope::All), host.table());
    let outside = json!({ "front": own("front", "eth0", &["10.90.0.2", "fd00:90::2"]), "back": own("back", "eth1", &["10.99.0.2"]) });
    failed(&call(&host, &program, &["setup", "/run/netns/web"], &input(&outside, &ports)), &["10.99.0.2"]);
    assert_eq!((host.leftovers(Scope::All), host.table()), before);
    for (change, needle) in [
        (json!({ "driver": "macvlan" }), "macvlan"),
        (json!({ "options": { "vlan": "7" } }), "vlan"),
        (json!({ "ipam_options": { "driver": "dhcp" } }), "dhcp"),
    ] {
        let mut changed = input(&json!({ "front": own("front", "eth0", &["10.90.0.2"]) }), &ports);
        for (name, value) in change.as_object().unwrap() {
            changed["network_info"]["front"][name] = value.clone();
        }
        failed(&call(&host, &program, &["setup", "/run/netns/web"], &changed), &[needle, "front"]);
    }
    assert_eq!((host.leftovers(Scope::All), host.table()), before);
}

/// Which gateways a network's routes have is the user's affair: one may be in another network of the container.
#[test]
fn routes_may_lead_through_another_interface_and_go_with_the_network() {
    let host = Host::new();
    let program = netavark(&host);
    let web = pod(&host, "web");
    web.ip("link add other0 type veth peer name other1\naddr add 10.91.0.10/24 dev other0\naddr add fd00:91::10/64 dev other0 nodad\nlink set other0 up\nlink set other1 up");
    let mut input = one("web", "10.88.0.2", 8080);
    input["network_info"]["podman"]["routes"] = json!([
        { "destination": "10.92.0.0/24", "gateway": "10.91.0.1" }, { "destination": "10.93.0.0/24", "gateway": "10.88.0.7" },
        { "destination": "fd00:92::/64", "gateway": "fd00:91::1", "metric": 7 },
    ]);
    call(&host, &program, &["setup", "/run/netns/web"], &input).json();
    let routes = || format!("{}{}", web.ok(&["ip", "route"]), web.ok(&["ip", "-6", "route"]));
    for expected in [
        "10.92.0.0/24 via 10.91.0.1 dev other0",
        "10.93.0.0/24 via 10.88.0.7 dev eth0",
        "fd00:92::/64 via fd00:91::1 dev other0",
    ] {
        assert!(routes().contains(expected), "{expected} is missing: {}", routes());
    }
    host.mydocker(&["network", "check"]).ok();
    call(&host, &program, &["teardown", "/run/netns/web"], &input).ok();
    let rest = routes();
    let gone = ["10.92.0.0", "10.93.0.0", "fd00:92::"];
    assert!(rest.contains("10.91.0.0/24") && !gone.iter().any(|it| rest.contains(it)), "{rest}");
}

#[test]
fn networks_of_podman_6_are_isolated_unless_they_say_otherwise() {
    let host = Host::new();
    let program = netavark(&host);
    host.network("other", "172.18.0.0/24", &[]);
    let other = host.container("db", "other", &[]);
    let web = pod(&host, "web");
    let earlier = one("web", "10.88.0.2", 8080);
    let mut later = earlier.clone();
    later["networks"] =
        json!([{ "name": "podman", "interface_name": "eth0", "static_ips": ["10.88.0.2"], "aliases": [] }]);
    let mut open = later.clone();
    open["network_info"]["podman"]["options"] = json!({ "isolate": "false" });
    for (input, is_isolated) in [(&earlier, false), (&later, true), (&open, false)] {
        call(&host, &program, &["setup", "/run/netns/web"], input).json();
        if is_isolated {
            ping_dropped(&other.space, "10.88.0.2");
        } else {
            assert!(ping(&other.space, "10.88.0.2"), "{input}");
        }
        let _server = Server::tcp(&web, "0.0.0.0:80");
        assert_eq!(tcp(&host.outside, &format!("{HOST}:8080")).seen_as(), OUTSIDE);
        call(&host, &program, &["teardown", "/run/netns/web"], input).ok();
    }
}

#[test]
fn rules_that_were_flushed_are_back_with_firewall_reload() {
    let host = Host::new();
    let program = netavark(&host);
    let web = pod(&host, "web");
    let input = one("web", "10.88.0.2", 8080);
    call(&host, &program, &["setup", "/run/netns/web"], &input).json();
    let table = host.table();
    host.space.ok(&["nft", "flush", "ruleset"]);
    let words = [program.to_str().unwrap(), "--rootless=false", "firewall-reload"];
    assert_eq!(host.program(&words).run_in(&host.space).ok(), "");
    assert_eq!(host.table(), table);
    let _server = Server::tcp(&web, "0.0.0.0:80");
    assert_eq!(tcp(&host.outside, &format!("{HOST}:8080")).seen_as(), OUTSIDE);
    call(&host, &program, &["teardown", "/run/netns/web"], &input).ok();
    // Podman shows this of its back end.
    let version = host.program(&[program.to_str().unwrap(), "--version"]).run_in(&host.space).ok();
    assert!(version.starts_with("netavark ") && !version.contains('{'), "{version}");
}

#[test]
fn what_is_completed_for_podman_can_be_set_up() {
    let host = Host::new();
    let program = netavark(&host);
    host.network("mine", "10.89.0.0/24", &[]);
    let mut input = json!({
        "network": { "name": "front", "id": "c".repeat(64), "driver": "bridge", "internal": false,
            "dns_enabled": true, "ipv6_enabled": true },
        "used": { "interfaces": ["podman0"], "names": { "back": "d".repeat(64) }, "subnets": ["10.89.1.0/24"] },
        "options": { "subnet_pools": [{ "base": "10.89.0.0/16", "size": 24 }],
            "default_interface_name": "podman", "check_used_subnets": true },
    });
    let before = (host.leftovers(Scope::All), host.table());
    let created = call(&host, &program, &["create"], &input).json();
    // Neither what Podman knows of nor what is mydocker's.
    assert_eq!(created["subnets"][0], json!({ "subnet": "10.89.2.0/24", "gateway": "10.89.2.1" }));
    assert_eq!(created["network_interface"], "podman1");
    input["network"]["subnets"] = json!([{ "subnet": "10.89.0.128/25" }]);
    failed(&call(&host, &program, &["create"], &input), &["10.89.0.128/25 is already used", "10.89.0.0/24"]);
    input["network"]["name"] = "back".into();
    failed(&call(&host, &program, &["create"], &input), &["network already exists"]);
    assert_eq!((host.leftovers(Scope::All), host.table()), before, "nothing is made");

    let v6 = created["subnets"][1]["gateway"].as_str().unwrap().replace("::1", "::7");
    let web = pod(&host, "web");
    let setup = json!({
        "container_id": "web", "container_name": "web", "network_info": { "front": created },
        "networks": [{ "name": "front", "interface_name": "eth0", "static_ips": ["10.89.2.7", v6] }],
    });
    let status = call(&host, &program, &["setup", "/run/netns/web"], &setup).json();
    assert_eq!(status["front"]["dns_server_ips"][0], "10.89.2.1");
    assert!(host.devices_now().contains("podman1") && ping(&web, "10.89.2.1") && ping(&web, OUTSIDE));
    call(&host, &program, &["teardown", "/run/netns/web"], &setup).ok();
    assert!(!host.devices_now().contains("podman1"));
}

#[test]
fn a_driver_of_podmans_own_back_end_does_the_same_for_one_network() {
    let host = Host::new();
    let program = host.scratch("netavark-plugins").join("mydocker");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_mydocker"), &program).unwrap();
    let call = |arguments: &[&str], input: &Value| {
        let words = [&[program.to_str().unwrap()], arguments].concat();
        host.program(&words).input(&input.to_string()).run_in(&host.space)
    };
    let mut network = info("front", "front0", &json!([{ "subnet": "10.94.0.0/24", "gateway": "10.94.0.1" }]));
    network["driver"] = "mydocker".into();
    assert_eq!(call(&["create"], &network).json(), network);
    let mut other = network.clone();
    other["options"] = json!({ "vlan": "7" });
    failed(&call(&["create"], &other), &["vlan"]);
    let input = json!({
        "container_id": "web", "container_name": "web", "network": network,
        "network_options": { "interface_name": "eth0", "static_ips": ["10.94.0.7"] },
        "port_mappings": [{ "container_port": 80, "host_ip": "", "host_port": 8080, "protocol": "tcp", "range": 1 }],
    });
    let web = pod(&host, "web");
    let status = call(&["setup", "/run/netns/web"], &input).json();
    assert_eq!(status["interfaces"]["eth0"]["subnets"][0]["ipnet"], "10.94.0.7/24");
    let _server = Server::tcp(&web, "0.0.0.0:80");
    assert_eq!(tcp(&host.outside, &format!("{HOST}:8080")).seen_as(), OUTSIDE);
    failed(&call(&["setup", "/run/netns/web"], &input), &["already"]);
    assert_eq!(tcp(&host.outside, &format!("{HOST}:8080")).seen_as(), OUTSIDE);
    for _ in 0..2 {
        assert_eq!(call(&["teardown", "/run/netns/web"], &input).ok(), "");
    }
    assert_eq!(web.ok(&["ip", "-br", "link"]).lines().count(), 1);
    assert!(!host.devices_now().contains("front0"));
}

#[test]
fn a_network_goes_with_its_last_container_whatever_a_killed_setup_has_left() {
    let host = Host::new();
    let program = netavark(&host);
    let (first, _second) = (pod(&host, "first"), pod(&host, "second"));
    let both = [one("first", "10.88.0.2", 8080), one("second", "10.88.0.9", 9090)];
    call(&host, &program, &["setup", "/run/netns/first"], &both[0]).ok();
    // As if it had been killed just before its end.
    let record = host.run_root.join("network/endpoints/podman/10.88.0.2");
    let text = std::fs::read_to_string(&record).unwrap();
    let killed = text.replace("\"maker\":null", "\"maker\":{\"pid\":999999999,\"start_time\":1}");
    assert_ne!(killed, text);
    std::fs::write(&record, killed).unwrap();
    call(&host, &program, &["setup", "/run/netns/second"], &both[1]).ok();
    call(&host, &program, &["teardown", "/run/netns/second"], &both[1]).ok();
    assert!(!host.devices_now().contains("podman0"));
    assert_eq!(first.ok(&["ip", "-br", "link"]).lines().count(), 1, "its interface as well");
    assert_eq!(call(&host, &program, &["teardown", "/run/netns/first"], &both[0]).ok(), "");
}
