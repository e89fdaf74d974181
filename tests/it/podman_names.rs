//! Names of Podman's containers, answered at the gateways of their networks, with real packets.

use std::os::unix::fs::symlink;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::cni::{end, pod};
use crate::host::Host;
use crate::leftovers::Scope;
use crate::names::{Answers, Upstream, servers};
use crate::netavark::{call, failed, info, netavark};
use crate::program::{Output, eventually};
use crate::space::Namespace;
use crate::tracer::{Kill, Moment, Victims, trace_by_name};

/// What `dig` says when a gateway is asked from inside a container's network.
fn dig(space: &Namespace, server: &str, words: &[&str]) -> Output {
    let server = format!("@{server}");
    space.program(&[&["dig", &server, "+tries=1", "+time=10"], words].concat())
}

/// The answers alone, sorted.
#[track_caller]
fn short(space: &Namespace, server: &str, words: &[&str]) -> Vec<String> {
    let output = dig(space, server, &[words, &["+short"]].concat()).ok();
    let mut lines: Vec<String> = output.lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

/// The code of the answer.
#[track_caller]
fn code(space: &Namespace, server: &str, words: &[&str]) -> String {
    let output = dig(space, server, words).ok();
    let (_, rest) = output.split_once("status: ").unwrap_or_else(|| panic!("no status: {output}"));
    rest.split(',').next().unwrap_or_default().to_owned()
}

/// The description of a network with names.
fn named(name: &str, number: u8) -> Value {
    let subnets = json!([
        { "subnet": format!("10.{number}.0.0/24"), "gateway": format!("10.{number}.0.1") },
        { "subnet": format!("fd00:{number}::/64"), "gateway": format!("fd00:{number}::1") },
    ]);
    let mut info = info(name, &format!("{name}0"), &subnets);
    (info["dns_enabled"], info["ipv6_enabled"]) = (true.into(), true.into());
    info
}

/// What Podman says of a container with this last byte of its addresses, in networks of these numbers.
fn container(id: &str, last: u8, networks: &[(&str, u8)]) -> Value {
    let mut input = json!({
        "container_id": id.repeat(64), "container_name": format!("{id}-name"),
        "networks": {}, "network_info": {},
    });
    for (at, (name, number)) in networks.iter().enumerate() {
        input["networks"][name] = json!({
            "interface_name": format!("eth{at}"), "aliases": [id.repeat(12), format!("{id}-Alias"), "all"],
            "static_ips": [format!("10.{number}.0.{last}"), format!("fd00:{number}::{last}")],
        });
        input["network_info"][name] = named(name, *number);
    }
    input
}

/// The name server's process, as it is written down.
fn server(host: &Host, network: &str) -> Option<i32> {
    let text = std::fs::read_to_string(host.run_root(&format!("network/name-servers/{network}"))).ok()?;
    let record: Value = serde_json::from_str(&text).unwrap();
    i32::try_from(record["process"]["pid"].as_i64()?).ok()
}

fn runs(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, fields)| !fields.starts_with('Z'))
}

fn kill_hard(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    eventually("the end of the name server", || (!runs(pid)).then_some(()));
}

/// Sets up or tears down each of these, in the namespace of its name.
#[track_caller]
fn each(host: &Host, program: &Path, verb: &str, containers: &[(&str, &Value)]) {
    for (name, input) in containers {
        call(host, program, &[verb, &format!("/run/netns/{name}")], input).ok();
    }
}

#[test]
fn containers_of_podman_find_each_other_by_name_at_the_gateway() {
    let host = Host::new();
    let program = netavark(&host);
    let _list = servers(&host, "nameserver 127.0.0.53\n");
    let upstream = Upstream::start(&host.space, "127.0.0.53", Answers::Address([203, 0, 113, 99]));
    let before = (host.space.ok(&["nft", "list", "ruleset"]), host.space.ok(&["ip", "-br", "link"]));
    let (web, db) = (pod(&host, "web"), pod(&host, "db"));
    let inputs = [container("a", 2, &[("front", 92)]), container("b", 3, &[("front", 92)])];
    let setup = |netns: &str, at: usize| call(&host, &program, &["setup", netns], &inputs[at]);
    let teardown = |netns: &str, at: usize| call(&host, &program, &["teardown", netns], &inputs[at]).ok();
    let status = setup("/run/netns/web", 0).json()["front"].clone();
    assert_eq!(status["dns_server_ips"], json!(["10.92.0.1", "fd00:92::1"]));
    assert_eq!(status["dns_search_domains"], json!(["dns.podman"]));
    let first = server(&host, "front").expect("a name server");
    setup("/run/netns/db", 1).ok();
    assert_eq!(server(&host, "front"), Some(first), "one for both");
    let check = host.mydocker(&["network", "check"]);
    assert_eq!(check.code(), 0, "{check}");

    let id = "a".repeat(12);
    for gateway in ["10.92.0.1", "fd00:92::1"] {
        for name in ["a-name", "A-NAME", &id, "a-alias", "a-name.dns.podman", "a-name.front"] {
            assert_eq!(short(&db, gateway, &[name, "A"]), ["10.92.0.2"], "{name} at {gateway}");
            assert_eq!(short(&db, gateway, &[name, "AAAA"]), ["fd00:92::2"], "{name} at {gateway}");
            assert_eq!(code(&db, gateway, &[name, "MX"]), "NOERROR", "{name} at {gateway}");
        }
        assert_eq!(short(&db, gateway, &["a-name", "+tcp"]), ["10.92.0.2"]);
        assert_eq!(short(&db, gateway, &["all"]), ["10.92.0.2", "10.92.0.3"]);
        assert_eq!(short(&db, gateway, &["-x", "10.92.0.2"]), ["a-name.dns.podman."]);
        assert_eq!(short(&web, gateway, &["-x", "fd00:92::3"]), ["b-name.dns.podman."]);
        assert_eq!(code(&web, gateway, &["-x", "10.92.0.77"]), "NXDOMAIN");
        assert_eq!(code(&web, gateway, &["nobody.dns.podman"]), "NXDOMAIN");
    }
    assert_eq!(upstream.count(), 0, "nothing of that is asked for elsewhere");
    for words in [&["example.org"][..], &["example.org", "+tcp"]] {
        assert_eq!(short(&web, "10.92.0.1", words), ["203.0.113.99"]);
    }
    assert_eq!(upstream.count(), 2);
    // Nobody outside of the network is answered, not even from another bridge.
    host.network("other", "172.18.0.0/24", &[]);
    let other = host.container("other", "other", &[]);
    for stranger in [&other.space, &host.outside] {
        host.outside.ip("route replace 10.92.0.0/24 via 198.51.100.10");
        assert_eq!(dig(stranger, "10.92.0.1", &["a-name", "+time=1"]).code(), 9, "answered a stranger");
    }
    drop(other);
    host.mydocker(&["rm", "-f", "other"]).ok();
    host.mydocker(&["network", "rm", "other"]).ok();

    // Names go with their container, and with its namespace before anybody says so.
    teardown("/run/netns/db", 1);
    assert_eq!(short(&web, "10.92.0.1", &["all"]), ["10.92.0.2"]);
    assert_eq!(server(&host, "front"), Some(first));
    setup("/run/netns/db", 1).ok();
    assert_eq!(short(&web, "10.92.0.1", &["b-name"]), ["10.92.0.3"]);
    drop(db);
    end(&host, "db");
    assert_eq!(code(&web, "10.92.0.1", &["b-name.dns.podman"]), "NXDOMAIN");
    teardown("/run/netns/db", 1);
    // The server goes with the last container.
    teardown("/run/netns/web", 0);
    assert!(!runs(first) && server(&host, "front").is_none());
    drop(web);
    end(&host, "web");
    host.space.ok(&["umount", "/run/netns"]);
    let after = (host.space.ok(&["nft", "list", "ruleset"]), host.space.ok(&["ip", "-br", "link"]));
    assert_eq!(after, before);
    host.assert_nothing_left();
}

#[test]
fn a_killed_name_server_is_back_with_the_next_command() {
    let host = Host::new();
    let program = netavark(&host);
    let pods = ["one", "two"].map(|name| pod(&host, name));
    let inputs = [container("a", 2, &[("front", 92)]), container("b", 3, &[("front", 92)])];
    let run = |verb: &str, at: usize| each(&host, &program, verb, &[(["one", "two"][at], &inputs[at])]);
    run("setup", 0);
    let mut last = server(&host, "front").expect("a name server");
    let mut again = |what: &str, heal: &dyn Fn()| {
        kill_hard(last);
        assert_ne!(dig(&pods[0], "10.92.0.1", &["a-name", "+time=1"]).code(), 0, "{what}");
        let check = host.mydocker(&["network", "check"]);
        assert!(check.code() != 0 && check.stdout.contains("name server"), "{what}: {check}");
        heal();
        last = server(&host, "front").expect("a name server");
        assert_eq!(short(&pods[0], "10.92.0.1", &["a-name"]), ["10.92.0.2"], "{what}");
    };
    again("setup", &|| run("setup", 1));
    again("teardown", &|| run("teardown", 1));
    again("network reload", &|| {
        host.mydocker(&["network", "reload"]).ok();
    });
    // The bridge goes and comes back; the same server answers.
    host.space.ok(&["ip", "link", "delete", "front0"]);
    host.mydocker(&["network", "reload"]).ok();
    assert_eq!(short(&pods[0], "10.92.0.1", &["a-name"]), ["10.92.0.2"]);
    // Killed just before the last teardown, it is not started again.
    kill_hard(last);
    run("teardown", 0);
    assert!(server(&host, "front").is_none());
    // Where somebody else has the port, nothing of the network stays.
    let _taken = Upstream::start(&host.space, "0.0.0.0", Answers::NotThere);
    let refused = call(&host, &program, &["setup", "/run/netns/one"], &inputs[0]);
    failed(&refused, &["port 53 of 10.92.0.1", "in use", "name server of the host's own"]);
    assert!(!host.devices_now().contains("front0") && server(&host, "front").is_none());
    drop(pods);
    end(&host, "one");
    end(&host, "two");
    host.space.ok(&["umount", "/run/netns"]);
    host.assert_nothing_left();
}

#[test]
fn a_container_knows_the_names_in_all_its_networks_and_no_others() {
    let host = Host::new();
    let program = netavark(&host);
    let (both, front, back) = (pod(&host, "both"), pod(&host, "front"), pod(&host, "back"));
    let networks = [("front", 92), ("back", 93)];
    let inputs =
        [container("a", 2, &networks), container("b", 3, &networks[..1]), container("c", 4, &networks[1..])];
    let all = [("both", &inputs[0]), ("front", &inputs[1]), ("back", &inputs[2])];
    each(&host, &program, "setup", &all);
    // Whichever server is asked: the first one of a list is asked alone.
    for gateway in ["10.92.0.1", "10.93.0.1"] {
        assert_eq!(short(&both, gateway, &["b-name"]), ["10.92.0.3"], "{gateway}");
        assert_eq!(short(&both, gateway, &["c-name"]), ["10.93.0.4"], "{gateway}");
        assert_eq!(short(&both, gateway, &["-x", "10.93.0.4"]), ["c-name.dns.podman."], "{gateway}");
    }
    assert_eq!(short(&front, "10.92.0.1", &["a-name"]), ["10.92.0.2"]);
    assert_eq!(code(&front, "10.92.0.1", &["c-name.dns.podman"]), "NXDOMAIN");
    assert_eq!(short(&back, "10.93.0.1", &["a-name"]), ["10.93.0.2"]);
    // Podman disconnects it from one of them.
    call(&host, &program, &["teardown", "/run/netns/both"], &container("a", 2, &networks[..1])).ok();
    assert_eq!(short(&both, "10.93.0.1", &["c-name"]), ["10.93.0.4"]);
    assert_eq!(code(&both, "10.93.0.1", &["b-name.dns.podman"]), "NXDOMAIN");
    each(&host, &program, "teardown", &all);
    assert!(server(&host, "front").is_none() && server(&host, "back").is_none());
    drop((both, front, back));
    ["both", "front", "back"].iter().for_each(|name| end(&host, name));
    host.space.ok(&["umount", "/run/netns"]);
    host.assert_nothing_left();
}

#[test]
fn other_names_are_asked_for_where_podman_says() {
    let host = Host::new();
    let program = netavark(&host);
    host.space.ip("addr add 192.0.2.51 dev lo\naddr add 192.0.2.52 dev lo\naddr add 192.0.2.53 dev lo");
    let answers = |last: u8| Answers::Address([203, 0, 113, last]);
    let _upstreams =
        [51, 52, 53].map(|last: u8| Upstream::start(&host.space, &format!("192.0.2.{last}"), answers(last)));
    let _list = servers(&host, "nameserver 192.0.2.51\n");
    let (plain, own) = (pod(&host, "plain"), pod(&host, "own"));
    let mut inputs = [container("a", 2, &[("front", 92)]), container("b", 3, &[("front", 92)])];
    inputs[1]["dns_servers"] = json!(["192.0.2.53"]);
    each(&host, &program, "setup", &[("plain", &inputs[0]), ("own", &inputs[1])]);
    let asked = |space: &Namespace| short(space, "10.92.0.1", &["example.org"]).join(" ");
    assert_eq!((asked(&plain).as_str(), asked(&own).as_str()), ("203.0.113.51", "203.0.113.53"));
    let update = |servers: &str| {
        let words = [program.to_str().unwrap(), "update", "front", "--network-dns-servers", servers];
        host.program(&words).run_in(&host.space)
    };
    let before = server(&host, "front");
    assert_eq!(update("192.0.2.52").ok(), "");
    assert_eq!((asked(&plain).as_str(), asked(&own).as_str()), ("203.0.113.52", "203.0.113.53"));
    update("").ok();
    assert_eq!(asked(&plain), "203.0.113.51");
    assert_eq!(server(&host, "front"), before, "the same process");
    failed(&update("192.0.2.52,x"), &["x is not an IP address"]);
    // The network's own servers, as the next container brings them.
    let mut next = container("c", 4, &[("front", 92)]);
    next["network_info"]["front"]["network_dns_servers"] = json!(["192.0.2.52"]);
    let _next = pod(&host, "next");
    call(&host, &program, &["setup", "/run/netns/next"], &next).ok();
    assert_eq!(asked(&plain), "203.0.113.52");

    // It would ask itself; and nothing of the network is left by that.
    let mut circle = container("d", 5, &[("back", 93)]);
    circle["network_info"]["back"]["network_dns_servers"] = json!(["10.93.0.1"]);
    failed(&call(&host, &program, &["setup", "/run/netns/next"], &circle), &["10.93.0.1", "gateway"]);
    assert!(!host.devices_now().contains("back0") && server(&host, "back").is_none());
    each(&host, &program, "teardown", &[("plain", &inputs[0]), ("own", &inputs[1]), ("next", &next)]);
    assert!(server(&host, "front").is_none());
}

#[test]
fn from_a_network_that_leads_nowhere_only_its_names_are_known() {
    let host = Host::new();
    let program = netavark(&host);
    let _list = servers(&host, "nameserver 127.0.0.53\n");
    let upstream = Upstream::start(&host.space, "127.0.0.53", Answers::Address([203, 0, 113, 99]));
    let inside = pod(&host, "inside");
    let mut input = container("a", 2, &[("inner", 94)]);
    input["network_info"]["inner"]["internal"] = true.into();
    input["dns_servers"] = json!(["127.0.0.53"]);
    let status = call(&host, &program, &["setup", "/run/netns/inside"], &input).json();
    assert_eq!(status["inner"]["dns_server_ips"][0], "10.94.0.1");
    assert_eq!(short(&inside, "10.94.0.1", &["a-name"]), ["10.94.0.2"]);
    assert_eq!(code(&inside, "10.94.0.1", &["example.org"]), "NXDOMAIN");
    assert_eq!(code(&inside, "10.94.0.1", &["example.org", "+tcp"]), "NXDOMAIN");
    assert_eq!(upstream.count(), 0);
    call(&host, &program, &["teardown", "/run/netns/inside"], &input).ok();
    // It answers at port 53 and at no other.
    let program_at = |port: &str| {
        let words = [program.to_str().unwrap(), "setup", "/run/netns/inside"];
        host.program(&words)
            .environment("NETAVARK_DNS_PORT", port)
            .input(&input.to_string())
            .run_in(&host.space)
    };
    failed(&program_at("1053"), &["1053", "dns_bind_port"]);
    program_at("53").ok();
    call(&host, &program, &["teardown", "/run/netns/inside"], &input).ok();
}

/// How many packets a host has sent by UDP.
fn sent(host: &Host) -> u64 {
    let text = host.space.ok(&["cat", "/proc/net/snmp"]);
    let udp: Vec<Vec<&str>> =
        text.lines().filter(|line| line.starts_with("Udp:")).map(|line| line.split(' ').collect()).collect();
    let place = udp[0].iter().position(|name| *name == "OutDatagrams").expect("a count");
    udp[1][place].parse().expect("a number")
}

#[test]
fn two_name_servers_that_ask_each_other_do_so_once() {
    let host = Host::new();
    let program = netavark(&host);
    let (one, two) = (pod(&host, "one"), pod(&host, "two"));
    // Addresses that are not translated on their way from the host to itself.
    let public = |id: &str, last: u8, name: &str, number: u8, server: &str| {
        let mut input = container(id, last, &[(name, number)]);
        let info = &mut input["network_info"][name];
        info["subnets"][1] = json!({
            "subnet": format!("2001:db8:{number}::/64"), "gateway": format!("2001:db8:{number}::1"),
        });
        info["network_dns_servers"] = json!([server]);
        input["networks"][name]["static_ips"][1] = format!("2001:db8:{number}::{last}").into();
        input
    };
    let inputs =
        [public("a", 2, "front", 92, "2001:db8:93::1"), public("b", 3, "back", 93, "2001:db8:92::1")];
    each(&host, &program, "setup", &[("one", &inputs[0]), ("two", &inputs[1])]);
    // What one knows, it tells the other.
    assert_eq!(short(&one, "10.92.0.1", &["b-name"]), ["10.93.0.3"]);
    assert_eq!(short(&two, "10.93.0.1", &["a-name", "AAAA"]), ["2001:db8:92::2"]);
    for (space, gateway) in [(&one, "10.92.0.1"), (&two, "10.93.0.1"), (&one, "2001:db8:92::1")] {
        for words in [&["example.org"][..], &["example.org", "+tcp"]] {
            let before = sent(&host);
            assert_eq!(code(space, gateway, words), "SERVFAIL", "{gateway} {words:?}");
            let packets = sent(&host) - before;
            assert!(packets < 20, "{packets} packets for one question to {gateway}");
        }
    }
    // Nor is its own gateway a container's server, however it is written.
    let mut own = public("c", 4, "front", 92, "2001:db8:93::1");
    own["dns_servers"] = json!(["::ffff:10.92.0.1"]);
    let three = pod(&host, "three");
    call(&host, &program, &["setup", "/run/netns/three"], &own).ok();
    let before = sent(&host);
    assert_eq!(code(&three, "10.92.0.1", &["example.org"]), "SERVFAIL");
    assert!(sent(&host) - before < 20);
    let mut circle = container("d", 5, &[("other", 94)]);
    circle["network_info"]["other"]["network_dns_servers"] = json!(["::ffff:10.94.0.1"]);
    failed(&call(&host, &program, &["setup", "/run/netns/three"], &circle), &["10.94.0.1", "gateway"]);
    each(&host, &program, "teardown", &[("one", &inputs[0]), ("two", &inputs[1]), ("three", &own)]);
    assert!(server(&host, "front").is_none() && server(&host, "back").is_none());
}

#[test]
fn an_internal_networks_server_asks_nobody_for_whoever_it_is() {
    let host = Host::new();
    let program = netavark(&host);
    let _list = servers(&host, "nameserver 127.0.0.53\n");
    let upstream = Upstream::start(&host.space, "127.0.0.53", Answers::Address([203, 0, 113, 99]));
    let both = pod(&host, "both");
    let mut input = container("a", 2, &[("front", 92), ("inner", 94)]);
    input["network_info"]["inner"]["internal"] = true.into();
    input["network_info"]["front"]["options"] = json!({ "no_default_route": "true" });
    call(&host, &program, &["setup", "/run/netns/both"], &input).ok();
    // The server of its other network is to be asked, which "unknown" would keep it from.
    for words in [&["example.org"][..], &["example.org", "+tcp"]] {
        assert_eq!(code(&both, "10.94.0.1", words), "SERVFAIL", "{words:?}");
    }
    assert_eq!(upstream.count(), 0);
    assert_eq!(short(&both, "10.92.0.1", &["example.org"]), ["203.0.113.99"]);
    assert_eq!(upstream.count(), 1);
    // Names that only Podman has are asked for nowhere else, whatever stands in them.
    for name in ["*.dns.podman", "w?b.dns.podman", "dns.podman", "a\\032b.dns.podman"] {
        assert_eq!(code(&both, "10.92.0.1", &[name]), "NXDOMAIN", "{name}");
    }
    assert_eq!(code(&both, "10.92.0.1", &["nobody.dns.podman", "-c", "CH"]), "NXDOMAIN");
    assert_eq!(upstream.count(), 1);
    call(&host, &program, &["teardown", "/run/netns/both"], &input).ok();
}

#[test]
fn a_network_from_before_a_reboot_has_its_names_again() {
    let host = Host::new();
    let program = netavark(&host);
    let before = pod(&host, "one");
    let input = container("a", 2, &[("front", 92)]);
    call(&host, &program, &["setup", "/run/netns/one"], &input).ok();
    kill_hard(server(&host, "front").expect("a name server"));
    drop(before);
    end(&host, "one");
    host.space.ok(&["umount", "/run/netns"]);
    crate::boot::reboot(&host);
    let after = pod(&host, "one");
    call(&host, &program, &["setup", "/run/netns/one"], &input).ok();
    assert_eq!(short(&after, "10.92.0.1", &["a-name"]), ["10.92.0.2"]);
    call(&host, &program, &["teardown", "/run/netns/one"], &input).ok();
    assert!(server(&host, "front").is_none());
}

#[test]
fn a_container_that_opens_many_connections_closes_its_own() {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;
    let host = Host::new();
    let program = netavark(&host);
    let (calm, loud) = (pod(&host, "calm"), pod(&host, "loud"));
    let inputs = [container("a", 2, &[("front", 92)]), container("b", 3, &[("front", 92)])];
    each(&host, &program, "setup", &[("calm", &inputs[0]), ("loud", &inputs[1])]);
    let connect =
        |space: &Namespace| space.run(|| TcpStream::connect(("10.92.0.1", 53)).expect("a connection"));
    let mut first = connect(&calm);
    let _many: Vec<TcpStream> = (0..12).map(|_| connect(&loud)).collect();
    // The newest of them has been dealt with once it is answered, and so have all before it.
    assert_eq!(short(&loud, "10.92.0.1", &["a-name", "+tcp"]), ["10.92.0.2"]);
    let question =
        [&[0, 24, 0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 6][..], b"a-name", &[0, 0, 1, 0, 1]].concat();
    first.write_all(&question).unwrap();
    let mut answer = [0; 14];
    first.read_exact(&mut answer).expect("an answer on the first connection");
    assert_eq!(answer[2..4], [0x12, 0x34]);
    each(&host, &program, "teardown", &[("calm", &inputs[0]), ("loud", &inputs[1])]);
}

#[test]
fn a_container_that_comes_while_the_last_one_goes_has_names() {
    let host = Host::new();
    let program = netavark(&host);
    let pods = ["one", "two"].map(|name| pod(&host, name));
    let inputs = [container("a", 2, &[("front", 92)]), container("b", 3, &[("front", 92)])];
    let run = |verb: &str, at: usize| each(&host, &program, verb, &[(["one", "two"][at], &inputs[at])]);
    run("setup", 0);
    for round in 0..10 {
        let (goes, comes) = (round % 2, (round + 1) % 2);
        std::thread::scope(|scope| {
            scope.spawn(|| run("teardown", goes));
            scope.spawn(|| run("setup", comes));
        });
        let name = ["a-name", "b-name"][comes];
        assert_eq!(short(&pods[comes], "10.92.0.1", &[name]), [format!("10.92.0.{}", comes + 2)], "{round}");
    }
    run("teardown", 0);
    assert!(server(&host, "front").is_none() && !host.devices_now().contains("front0"));
}

#[test]
fn a_name_server_that_cannot_start_keeps_no_other_from_it() {
    let host = Host::new();
    let program = netavark(&host);
    let (one, _two) = (pod(&host, "one"), pod(&host, "two"));
    let inputs = [container("a", 2, &[("front", 92)]), container("b", 3, &[("back", 93)])];
    each(&host, &program, "setup", &[("one", &inputs[0]), ("two", &inputs[1])]);
    ["front", "back"].iter().for_each(|network| kill_hard(server(&host, network).expect("a name server")));
    let _taken = Upstream::start(&host.space, "10.93.0.1", Answers::NotThere);
    let reload = host.mydocker(&["network", "reload"]);
    assert!(reload.code() == 1 && reload.stderr.contains("port 53 of 10.93.0.1"), "{reload}");
    assert_eq!(short(&one, "10.92.0.1", &["a-name"]), ["10.92.0.2"]);
    each(&host, &program, "teardown", &[("one", &inputs[0]), ("two", &inputs[1])]);
}

/// R5: a setup or teardown that was killed anywhere, with its name server or without it, leaves nothing that the next
/// teardown does not take away.
#[test]
fn r5_a_network_with_names_that_was_cut_short_is_taken_away_with_its_container() {
    let host = Host::new();
    let program = netavark(&host);
    let inside = pod(&host, "inside");
    let input = container("a", 2, &[("front", 92)]);
    let file = host.scratch("input").join("options");
    std::fs::write(&file, input.to_string()).unwrap();
    let ask = |verb: &str| call(&host, &program, &[verb, "/run/netns/inside"], &input);
    // Itself, and not the script that tells it where its files are.
    let itself = host.scratch("names").join("netavark");
    symlink(env!("CARGO_BIN_EXE_mydocker"), &itself).unwrap();
    let traced = |verb: &str, kill: Option<Kill>| {
        trace_by_name(&host, &itself, &[verb, "/run/netns/inside"], &file, kill)
    };
    let count = |verb: &str| {
        let traced = traced(verb, None);
        traced.output.ok();
        traced.steps.len()
    };
    // The second time, because the first one makes directories that stay.
    for _ in 0..2 {
        count("setup");
        count("teardown");
    }
    let steps = [("setup", count("setup")), ("teardown", count("teardown"))];
    // All of them where the long sweeps are asked for (see `sweep`).
    let every = if std::env::var_os("MYDOCKER_SWEEP").is_some() { 1 } else { 10 };
    let (mut killed, mut all) = (0, 0);
    let step_of = |(verb, steps)| (0..steps).step_by(every).map(move |step| (verb, step));
    for (verb, step) in steps.into_iter().flat_map(step_of) {
        if verb == "teardown" {
            ask("setup").ok();
        }
        all += 1;
        let victims = [Victims::All, Victims::Client, Victims::Doer][step % 3];
        let traced = traced(verb, Some(Kill { step, moment: Moment::Before, victims }));
        killed += usize::from(traced.killed);
        let step = traced.steps.get(step).map(ToString::to_string).unwrap_or_default();
        let what = format!("{verb}, {victims:?} killed before {step}");
        for _ in 0..2 {
            let output = ask("teardown");
            assert_eq!((output.code(), output.stdout.as_str()), (0, ""), "{what}: {output}");
        }
        assert_eq!(inside.ok(&["ip", "-br", "link"]).lines().count(), 1, "{what}");
        assert!(!host.devices_now().contains("front0") && server(&host, "front").is_none(), "{what}");
        let output = ask("setup");
        assert!(output.status.success(), "{what}: {output}");
        assert_eq!(short(&inside, "10.92.0.1", &["a-name"]), ["10.92.0.2"], "{what}");
        ask("teardown").ok();
    }
    assert!(all > 200 / every && killed > all / 2, "{killed} kills at {all} steps");
    drop(inside);
    end(&host, "inside");
    host.space.ok(&["umount", "/run/netns"]);
    host.assert_nothing_left_but_temporary_files(Scope::All);
}
