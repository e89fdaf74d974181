//! `network create | list | inspect | remove | rules`: what is made, what is shown, what is refused, and that
//! removal takes everything away again.

use serde_json::{Value, json};

use crate::host::{HOST, Host, devices};
use crate::nft_text::meant;
use crate::program::{Output, Program};

/// Refused by `network …`: failed, or wrong usage.
const REFUSED: &[i32] = &[1, 125];

/// The first three columns of every line of a table.
fn columns(table: &str) -> Vec<[String; 3]> {
    let words = |line| {
        let mut words = str::split_whitespace(line);
        [(); 3].map(|()| words.next().unwrap_or_default().to_owned())
    };
    table.lines().map(words).collect()
}

/// The one link of this name as `ip -j -d address` shows it.
fn link(host: &Host, name: &str) -> Value {
    host.ip_json(&["address", "show", "dev", name])[0].clone()
}

/// The IPv4 addresses of a link with their prefix.
fn addresses(link: &Value) -> Vec<String> {
    let all = link["addr_info"].as_array().expect("addresses").iter();
    let v4 = all.filter(|address| address["family"] == "inet");
    v4.map(|address| format!("{}/{}", address["local"].as_str().unwrap(), address["prefixlen"])).collect()
}

#[track_caller]
fn refused_and_nothing_made(host: &Host, arguments: &[&str], needles: &[&str]) {
    let before = host.leftovers(crate::leftovers::Scope::All);
    host.mydocker(&[&["network", "create"], arguments].concat()).refused(REFUSED, needles);
    host.assert_nothing_new(&before, "a refusal changes nothing");
}

#[test]
fn create_makes_a_bridge_that_is_up_with_the_gateway_address() {
    let host = Host::new();
    let output =
        host.mydocker(&["network", "create", "--driver", "bridge", "--subnet", "172.18.0.0/16", "front"]);
    assert_eq!(output.ok(), "front");
    let bridge = link(&host, "front");
    assert_eq!(bridge["linkinfo"]["info_kind"], "bridge");
    assert!(bridge["flags"].as_array().unwrap().contains(&json!("UP")), "{bridge}");
    assert_eq!(addresses(&bridge), ["172.18.0.1/16"]);
    assert_eq!(bridge["addr_info"][0]["broadcast"], "172.18.255.255");
    assert_eq!(host.space.sysctl("net/ipv6/conf/front/disable_ipv6"), "1", "the network is IPv4 only");
    assert_eq!(host.space.sysctl("net/ipv4/ip_forward"), "1");
    let table = host.table();
    assert!(
        table.contains("elements = { 172.18.0.0/16 }") && table.contains("\"front\" . \"front\""),
        "{table}"
    );
}

#[test]
fn the_bridge_keeps_its_hardware_address_when_containers_come_and_go() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    let before = link(&host, "front")["address"].clone();
    host.container("one", "front", &[]);
    host.container("two", "front", &[]);
    assert_eq!(link(&host, "front")["address"], before);
    host.mydocker(&["rm", "-f", "one", "two"]).ok();
    host.assert_no_container_left();
    assert_eq!(link(&host, "front")["address"], before);
}

#[test]
fn list_shows_name_gateway_and_driver_first() {
    let host = Host::new();
    assert_eq!(columns(&host.mydocker(&["network", "list"]).ok()), [["NAME", "IPRange", "Driver"]]);
    host.network("front", "172.18.0.0/16", &[]);
    host.network("back", "172.19.5.0/25", &[]);
    let mut rows = columns(&host.mydocker(&["network", "list"]).ok());
    rows[1..].sort_unstable();
    assert_eq!(
        rows,
        [
            ["NAME", "IPRange", "Driver"],
            ["back", "172.19.5.1/25", "bridge"],
            ["front", "172.18.0.1/16", "bridge"]
        ]
    );
    let quiet = host.mydocker(&["network", "list", "-q"]).ok();
    let mut names: Vec<&str> = quiet.lines().collect();
    names.sort_unstable();
    assert_eq!(names, ["back", "front"]);
    let json = host.mydocker(&["network", "list", "--format", "json"]).rows();
    let mut names: Vec<&str> =
        json.as_array().unwrap().iter().map(|network| network["Name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["back", "front"]);
}

#[test]
fn inspect_has_dockers_members() {
    let host = Host::new();
    host.network("front", "172.18.0.0/24", &["--internal", "--label", "tier=web", "--label", "owner=me"]);
    host.network("back", "172.19.0.0/24", &[]);
    let container = host.container("web", "front", &[]);
    let both = host.mydocker(&["network", "inspect", "front", "back"]).json();
    assert_eq!(both.as_array().unwrap().len(), 2);
    assert_eq!(both[1]["Name"], "back");
    assert_eq!(both[1]["Internal"], false);
    assert_eq!(both[1]["Containers"], json!({}));
    let front = &both[0];
    assert_eq!(front["Name"], "front");
    assert_eq!(front["Driver"], "bridge");
    assert_eq!(front["EnableIPv6"], false);
    assert_eq!(front["Internal"], true);
    assert_eq!(front["Labels"], json!({"tier": "web", "owner": "me"}));
    assert_eq!(front["IPAM"]["Config"][0]["Subnet"], "172.18.0.0/24");
    assert_eq!(front["IPAM"]["Config"][0]["Gateway"], "172.18.0.1");
    assert!(front["Id"].as_str().is_some_and(|id| !id.is_empty()), "{front}");
    assert!(front["Created"].as_str().is_some_and(|time| time.contains('T')), "{front}");
    assert!(front["Options"].is_object(), "{front}");
    assert!(front["Status"]["IPAM"].is_object(), "{front}");
    let endpoint = &front["Containers"][&container.id];
    assert_eq!(endpoint["Name"], "web");
    assert_eq!(endpoint["IPv4Address"], "172.18.0.2/24");
    assert_eq!(endpoint["MacAddress"], "02:42:ac:12:00:02");
    assert_ne!(front["Id"], both[1]["Id"]);
}

#[test]
fn without_a_subnet_the_next_free_one_is_taken() {
    let host = Host::new();
    host.space.ip("address add 10.89.0.9/32 dev lo\nroute add 10.89.1.0/25 via 198.51.100.1\n");
    for (name, subnet) in [("one", "10.89.2.0/24"), ("two", "10.89.3.0/24")] {
        host.mydocker(&["network", "create", name]).ok();
        assert_eq!(host.inspect_network(name)["IPAM"]["Config"][0]["Subnet"], subnet);
    }
    host.mydocker(&["network", "remove", "one"]).ok();
    host.mydocker(&["network", "create", "three"]).ok();
    assert_eq!(host.inspect_network("three")["IPAM"]["Config"][0]["Subnet"], "10.89.2.0/24");
}

#[test]
fn host_bits_of_a_subnet_and_the_gateway_option_choose_the_gateway() {
    let host = Host::new();
    host.network("bits", "162.16.0.9/24", &[]);
    assert_eq!(addresses(&link(&host, "bits")), ["162.16.0.9/24"]);
    assert_eq!(host.inspect_network("bits")["IPAM"]["Config"][0]["Subnet"], "162.16.0.0/24");
    host.network("option", "172.20.0.0/24", &["--gateway", "172.20.0.254"]);
    assert_eq!(addresses(&link(&host, "option")), ["172.20.0.254/24"]);
    let file = std::fs::read_to_string(host.root("network/ipam/subnet.json")).unwrap();
    let subnets: Value = serde_json::from_str(&file).unwrap();
    let bits = subnets["172.20.0.0/24"].as_str().unwrap();
    assert_eq!(bits, format!("1{}11", "0".repeat(253)));
    assert_eq!(host.container("c", "option", &[]).address.to_string(), "172.20.0.1");
}

#[test]
fn malformed_subnets_are_refused() {
    let host = Host::new();
    for subnet in
        ["192.168.0.0./24", "192.168.0.0/33", "192.168.0.0", "192.168.0/24", "300.1.1.0/24", "x", "/24"]
    {
        refused_and_nothing_made(&host, &["--subnet", subnet, "bad"], &[subnet]);
    }
    host.mydocker(&["network", "create", "--subnet", "", "bad"]).refused(REFUSED, &["subnet"]);
    let twice = ["--subnet", "10.1.0.0/24", "--subnet", "10.2.0.0/24", "bad"];
    refused_and_nothing_made(&host, &twice, &["10.2.0.0/24"]);
    host.assert_nothing_left();
}

#[test]
fn subnets_that_are_too_small_or_too_large_are_refused() {
    let host = Host::new();
    for subnet in ["10.1.0.0/31", "10.1.0.0/32"] {
        refused_and_nothing_made(&host, &["--subnet", subnet, "bad"], &[subnet, "/30"]);
    }
    for subnet in ["10.0.0.0/7", "0.0.0.0/0"] {
        refused_and_nothing_made(&host, &["--subnet", subnet, "bad"], &[subnet]);
    }
    host.network("small", "10.1.0.0/30", &[]);
    assert_eq!(host.container("c", "small", &[]).address.to_string(), "10.1.0.2");
}

#[test]
fn a_subnet_that_overlaps_a_network_an_address_or_a_route_is_refused_and_the_other_named() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    host.space.ip("address add 10.50.0.1/32 dev lo\nroute add 10.60.0.0/16 via 198.51.100.1\n");
    for subnet in ["172.18.0.0/16", "172.18.7.0/24", "172.16.0.0/12"] {
        refused_and_nothing_made(&host, &["--subnet", subnet, "bad"], &["front"]);
    }
    refused_and_nothing_made(&host, &["--subnet", "10.50.0.0/24", "bad"], &["10.50.0.0/24", "10.50.0.1"]);
    refused_and_nothing_made(&host, &["--subnet", "10.60.7.0/24", "bad"], &["10.60.7.0/24", "10.60.0.0/16"]);
    refused_and_nothing_made(&host, &["--subnet", "198.51.100.128/25", "bad"], &["198.51.100"]);
}

#[test]
fn gateways_outside_the_subnet_or_at_its_ends_are_refused() {
    let host = Host::new();
    for gateway in ["10.2.0.1", "10.1.0.0", "10.1.0.255", "ten"] {
        refused_and_nothing_made(
            &host,
            &["--subnet", "10.1.0.0/24", "--gateway", gateway, "bad"],
            &[gateway],
        );
    }
    host.assert_nothing_left();
}

#[test]
fn an_unknown_driver_is_refused_and_named() {
    let host = Host::new();
    refused_and_nothing_made(&host, &["--driver", "overlay", "bad"], &["overlay"]);
}

#[test]
fn a_name_that_is_too_long_for_a_device_has_a_device_of_its_own() {
    let host = Host::new();
    let name = "project_default-of-somebody-who-likes-names-of-sixty-three.byte";
    assert_eq!(name.len(), 63);
    host.network(name, "172.18.0.0/24", &[]);
    let network = host.inspect_network(name);
    let device = format!("br-{}", &network["Id"].as_str().unwrap()[..12]);
    assert_eq!(network["Options"]["bridge"], device.as_str());
    assert!(devices(&host.space).contains(&device));
    assert!(host.table().contains(&device));
    drop(host.container("web", name, &["-p", "8080:80"]));
    assert_eq!(host.published().len(), 1);
    // It is the network that is known by its name, also by those who bring it back.
    host.space.ok(&["ip", "link", "delete", &device]);
    host.mydocker(&["restart", "-t", "0", "web"]).ok();
    assert!(devices(&host.space).contains(&device));
    host.mydocker(&["rm", "-f", "web"]).ok();
    host.mydocker(&["network", "remove", name]).ok();
    host.assert_nothing_left();
}

#[test]
fn names_that_are_malformed_reserved_or_too_long_are_refused() {
    let host = Host::new();
    for name in ["a b", "a/b", "../../x", ".", "a:b", "ä", "host", "none", &"x".repeat(64)] {
        refused_and_nothing_made(&host, &["--subnet", "10.1.0.0/24", name], &[name]);
    }
    host.mydocker(&["network", "create", ""]).refused(REFUSED, &["name"]);
    host.mydocker(&["network", "create"]).refused(&[1], &[]);
    host.assert_nothing_left();
    host.network("fifteen-bytes-x", "10.1.0.0/24", &[]);
}

#[test]
fn a_name_that_a_network_or_a_foreign_device_has_is_refused() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    refused_and_nothing_made(&host, &["--subnet", "10.1.0.0/24", "front"], &["front"]);
    refused_and_nothing_made(&host, &["--subnet", "10.1.0.0/24", "uplink0"], &["uplink0"]);
    assert_eq!(addresses(&link(&host, "uplink0")), [format!("{HOST}/24")]);
    assert_eq!(addresses(&link(&host, "front")), ["172.18.0.1/16"]);
    host.space.ip("link add other type bridge\n");
    host.mydocker(&["network", "create", "--subnet", "10.1.0.0/24", "other"]).refused(REFUSED, &["other"]);
    assert_eq!(addresses(&link(&host, "other")), [""; 0]);
    host.mydocker(&["network", "remove", "uplink0"]).refused(REFUSED, &["uplink0"]);
    assert_eq!(addresses(&link(&host, "uplink0")), [format!("{HOST}/24")]);
}

#[test]
fn unknown_networks_are_named() {
    let host = Host::new();
    host.mydocker(&["network", "inspect", "nothere"]).refused(REFUSED, &["nothere"]);
    host.mydocker(&["network", "remove", "nothere"]).refused(REFUSED, &["nothere"]);
    host.mydocker(&["network", "remove", "../../etc"]).refused(REFUSED, &["../../etc"]);
}

#[test]
fn the_mtu_option_holds_for_the_bridge_and_for_containers() {
    let host = Host::new();
    host.network("small", "10.1.0.0/24", &["--mtu", "1400"]);
    assert_eq!(link(&host, "small")["mtu"], 1400);
    let container = host.container("c", "small", &[]);
    assert_eq!(container.space.program(&["ip", "-j", "link", "show", "eth0"]).json()[0]["mtu"], 1400);
    for mtu in ["12", "70000", "-1", "large"] {
        host.mydocker(&["network", "create", "--mtu", mtu, "bad"]).refused(REFUSED, &[mtu]);
    }
}

#[test]
fn removal_is_refused_while_containers_use_the_network_and_names_them() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    host.container("web", "front", &[]);
    host.container("db", "front", &[]);
    for remove in ["remove", "rm"] {
        host.mydocker(&["network", remove, "front"]).refused(REFUSED, &["front", "web", "db"]);
    }
    assert_eq!(addresses(&link(&host, "front")), ["172.18.0.1/16"]);
    host.mydocker(&["rm", "-f", "web", "db"]).ok();
    host.mydocker(&["network", "rm", "front"]).ok();
    host.assert_nothing_left();
}

#[test]
fn removal_leaves_nothing_and_switches_forwarding_off_with_the_last_network() {
    let host = Host::new();
    for round in 0..2 {
        host.network("front", "172.18.0.0/16", &[]);
        host.network("back", "172.19.0.0/16", &[]);
        host.container("web", "front", &["-p", "8080:80"]);
        host.mydocker(&["rm", "-f", "web"]).ok();
        assert_eq!(host.mydocker(&["network", "remove", "back"]).ok(), "back");
        assert_eq!(host.space.sysctl("net/ipv4/ip_forward"), "1", "round {round}");
        host.mydocker(&["network", "remove", "front"]).ok();
        assert_eq!(host.space.sysctl("net/ipv4/ip_forward"), "0", "round {round}");
        host.assert_nothing_left();
    }
}

#[test]
fn forwarding_that_was_on_before_stays_on() {
    let host = Host::new();
    host.space.set_sysctl("net/ipv4/ip_forward", "1");
    host.network("front", "172.18.0.0/16", &[]);
    host.mydocker(&["network", "remove", "front"]).ok();
    assert_eq!(host.space.sysctl("net/ipv4/ip_forward"), "1");
    host.assert_nothing_left();
}

#[test]
fn several_networks_are_removed_by_one_command_and_a_bad_name_does_not_stop_the_others() {
    let host = Host::new();
    for (name, subnet) in [("one", "10.1.0.0/24"), ("two", "10.2.0.0/24"), ("three", "10.3.0.0/24")] {
        host.network(name, subnet, &[]);
    }
    let output = host.mydocker(&["network", "remove", "one", "nothere", "two"]);
    assert_eq!(output.code(), 1, "{output}");
    assert!(output.stderr.contains("nothere"), "{output}");
    assert_eq!(host.mydocker(&["network", "list", "-q"]).ok(), "three");
    host.mydocker(&["network", "remove", "three"]).ok();
    host.assert_nothing_left();
}

#[test]
fn removal_succeeds_when_the_bridge_or_the_table_is_already_gone() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    host.space.ip("link delete front\n");
    host.mydocker(&["network", "remove", "front"]).ok();
    host.assert_nothing_left();
    host.network("front", "172.18.0.0/16", &[]);
    host.space.ok(&["nft", "delete", "table", "inet", "mydocker"]);
    host.mydocker(&["network", "remove", "front"]).ok();
    host.assert_nothing_left();
}

#[test]
fn a_table_that_was_deleted_is_rebuilt_whole_by_the_next_network() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    host.container("web", "front", &["-p", "8080:80"]);
    let before = host.table();
    host.space.ok(&["nft", "flush", "ruleset"]);
    host.network("back", "172.19.0.0/16", &[]);
    host.mydocker(&["network", "remove", "back"]).ok();
    assert_eq!(host.table(), before);
}

#[test]
fn rules_are_printed_in_a_syntax_that_nft_reads_back_as_the_same_table() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    host.network("inner", "172.19.0.0/16", &["--internal"]);
    host.network("alone", "172.20.0.0/16", &["--isolate"]);
    host.container("web", "front", &["-p", "8080:80", "-p", "127.0.0.1:5353:53/udp"]);
    let rules = host.mydocker(&["network", "rules"]).ok();
    let other = crate::space::Namespace::new("other");
    crate::program::Program::new(&["nft", "-f", "-"]).input(&rules).run_in(&other).ok();
    assert_eq!(other.ok(&["nft", "list", "table", "inet", "mydocker"]), host.table().trim_end());
    assert_eq!(meant(&rules).trim_end(), meant(&host.table()).trim_end());
    assert!(rules.contains("127.0.0.1 . udp . 5353") && rules.contains(": 172.18.0.2 . 53"), "{rules}");
}

#[test]
fn the_graph_shows_networks_members_and_ports() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    host.network("inner", "172.19.0.0/16", &["--internal"]);
    host.container("web", "front", &["-p", "8080-8089:80-89"]);
    host.mydocker(&["network", "connect", "inner", "web"]).ok();
    let text = host.mydocker(&["network", "graph"]).ok();
    let expected = "\
        front  172.18.0.0/16\n\
        └─ web  172.18.0.2  0.0.0.0:8080-8089->80-89/tcp\n\
        inner  172.19.0.0/16 (internal)\n\
        └─ web  172.19.0.2";
    assert_eq!(text, expected);
    assert_eq!(
        host.mydocker(&["network", "graph", "inner"]).ok(),
        expected[expected.find("inner").unwrap()..]
    );
    for (format, begin) in [("dot", "graph mydocker {"), ("mermaid", "flowchart LR"), ("svg", "<svg ")] {
        let drawn = host.mydocker(&["network", "graph", "--format", format]).ok();
        assert!(drawn.starts_with(begin) && drawn.contains("172.19.0.2"), "{drawn}");
    }
    host.mydocker(&["network", "graph", "none-such"]).refused(&[1, 125], &["none-such"]);
}

#[test]
fn other_tables_are_left_alone() {
    let host = Host::new();
    let theirs = "add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }; \
                  add table inet firewall; add set inet firewall s { type ipv4_addr; elements = { 10.0.0.1 }; }";
    host.space.ok(&["nft", theirs]);
    let list = || {
        let tables =
            ["ip filter", "inet firewall"].map(|table| host.space.ok(&["nft", "list", "table", table]));
        tables.join("\n")
    };
    let before = list();
    host.network("front", "172.18.0.0/16", &[]);
    host.container("web", "front", &["-p", "8080:80"]);
    assert_eq!(list(), before);
    host.mydocker(&["rm", "-f", "web"]).ok();
    host.mydocker(&["network", "remove", "front"]).ok();
    assert_eq!(list(), before);
}

#[test]
fn a_network_created_many_times_at_once_is_created_once() {
    let host = Host::new();
    let create = |name: &str| host.start(&["network", "create", "--subnet", "10.1.0.0/24", name]);
    let outputs: Vec<Output> = {
        let running: Vec<_> = (0..6).map(|_| create("front")).collect();
        running.into_iter().map(crate::program::Running::wait).collect()
    };
    let won: Vec<&Output> = outputs.iter().filter(|output| output.status.success()).collect();
    assert_eq!(won.len(), 1, "{outputs:?}");
    for output in outputs.iter().filter(|output| !output.status.success()) {
        output.refused(REFUSED, &["front"]);
    }
    assert_eq!(addresses(&link(&host, "front")), ["10.1.0.1/24"]);
    host.mydocker(&["network", "remove", "front"]).ok();
    host.assert_nothing_left();
}

#[test]
fn networks_created_at_once_without_a_subnet_get_different_ones() {
    let host = Host::new();
    let names = ["n0", "n1", "n2", "n3", "n4", "n5"];
    let running: Vec<_> = names.iter().map(|name| host.start(&["network", "create", name])).collect();
    for (output, name) in running.into_iter().map(crate::program::Running::wait).zip(names) {
        assert_eq!(output.ok(), name);
    }
    let mut subnets: Vec<Vec<String>> = names.iter().map(|name| addresses(&link(&host, name))).collect();
    subnets.sort();
    let expected: Vec<Vec<String>> = (0..6).map(|n| vec![format!("10.89.{n}.1/24")]).collect();
    assert_eq!(subnets, expected);
}

#[test]
fn a_damaged_record_is_named_and_never_overwritten() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    let record = host.root("network/network/broken");
    for contents in ["", "{", "not json", "[1]", "{\"Name\":\"other\"}"] {
        std::fs::write(&record, contents).unwrap();
        host.mydocker(&["network", "create", "--subnet", "10.1.0.0/24", "broken"])
            .refused(REFUSED, &[record.to_str().unwrap()]);
        host.mydocker(&["network", "inspect", "broken"]).refused(REFUSED, &[record.to_str().unwrap()]);
        let list = host.mydocker(&["network", "list"]);
        assert!(list.stderr.contains(record.to_str().unwrap()), "{list}");
        assert_eq!(std::fs::read_to_string(&record).unwrap(), contents);
    }
}

#[test]
fn without_the_capability_to_change_the_network_it_is_named() {
    let host = Host::new();
    let command = [
        "setpriv",
        "--bounding-set=-net_admin",
        "--",
        env!("CARGO_BIN_EXE_mydocker"),
        "network",
        "create",
        "x",
    ];
    host.program(&command).run_in(&host.space).refused(&[1], &["CAP_NET_ADMIN"]);
    host.assert_nothing_left();
}

#[test]
fn logs_are_lines_of_json_on_stderr_when_asked_for() {
    let host = Host::new();
    let output = host.mydocker(&[
        "--log-level",
        "debug",
        "--log-format",
        "json",
        "network",
        "create",
        "--subnet",
        "10.1.0.0/24",
        "x",
    ]);
    assert_eq!(output.ok(), "x");
    assert!(!output.stderr.is_empty(), "{output}");
    for line in output.stderr.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        for member in ["level", "msg", "time"] {
            assert!(line[member].is_string(), "{member} in {line}");
        }
    }
    // An error is told in the same way.
    let refused = host.mydocker(&["--log-format", "json", "network", "remove", "nothere"]);
    assert_eq!(refused.code(), 1);
    let line: Value = serde_json::from_str(refused.stderr.trim_end()).expect("one object");
    assert_eq!((&line["level"], &line["msg"]), (&"error".into(), &"no such network: nothere".into()));
}

#[test]
fn r12_a_bridge_that_is_full_is_told_of_and_one_that_has_a_port_left_works() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    // The kernel allows 1,023 ports; both ends of a pair make two.
    let pair = |number| {
        format!(
            "link add name a{number} type veth peer name b{number}\n\
             link set dev a{number} master front\nlink set dev b{number} master front\n"
        )
    };
    let batch: String = (0..511).map(pair).collect();
    Program::new(&["ip", "-batch", "-"]).input(&batch).run_in(&host.space).ok();
    let last = host.container("last", "front", &["-p", "8080:80"]);
    let before = host.published();
    let refused = host.run(&["--net", "front", "-p", "8081:80"], &["true"]);
    refused.refused(&[125], &["front", "1,023"]);
    assert_eq!(host.published(), before, "what is refused leaves nothing");
    // Whoever was there is as reachable as before.
    assert_eq!(
        host.space.ok(&["ping", "-c", "1", "-W", "60", &last.address.to_string()]).matches(" 0%").count(),
        1
    );
    drop(last);
    host.mydocker(&["rm", "-f", "last"]).ok();
    host.run(&["--net", "front"], &["true"]).ok();
}
