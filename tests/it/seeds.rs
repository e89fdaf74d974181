//! The transcripts of the tutorials that this project grew from, step by step, with mydocker in place of the
//! original programs (`my-docker`, `Docker-ECE`, `main`). Where a tutorial types an `ip` command by hand,
//! so does the test.

use std::path::Path;

use crate::host::{HOST, Host, OUTSIDE};
use crate::program::eventually;
use crate::space::Namespace;
use crate::wire::{Server, ping, tcp};

/// The words of one line of a listing.
fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// The first line that contains all of these.
#[track_caller]
fn line_with<'a>(text: &'a str, needles: &[&str]) -> &'a str {
    let line = text.lines().find(|line| needles.iter().all(|needle| line.contains(needle)));
    line.unwrap_or_else(|| panic!("no line with {needles:?} in:\n{text}"))
}

/// The bitmaps that seed 0 shows after `network create` and after `network remove`.
const AFTER_CREATE: &str = r#"{"192.168.0.0/24":"1100000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000001"}"#;
const AFTER_REMOVE: &str = r#"{"192.168.0.0/24":"1000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000001"}"#;

/// Seed 0, "create a bridge, allocate its address, delete it": chapter 3 (`my-docker`).
#[test]
fn seed_0_create_list_and_remove_a_bridge_network() {
    let host = Host::new();
    let create = ["network", "create", "--subnet", "192.168.0.0/24", "--driver", "bridge", "testbr0"];
    assert_eq!(host.mydocker(&create).ok(), "testbr0");
    let subnets = || std::fs::read_to_string(host.root("network/ipam/subnet.json")).unwrap();
    assert_eq!(subnets(), AFTER_CREATE);
    let record = std::fs::read_to_string(host.root("network/network/testbr0")).unwrap();
    let shown = r#"{"Name":"testbr0","IPRange":{"IP":"192.168.0.1","Mask":"////AA=="},"Driver":"bridge""#;
    assert!(record.starts_with(shown), "{record}");

    let link = host.space.ok(&["ip", "link", "show", "testbr0"]);
    line_with(&link, &["testbr0: <", "BROADCAST,MULTICAST,UP", "mtu 1500", "qdisc noqueue"]);
    let address = host.space.ok(&["ip", "addr", "show", "testbr0"]);
    line_with(&address, &["inet 192.168.0.1/24 brd 192.168.0.255 scope global testbr0"]);

    let list = host.mydocker(&["network", "list"]).ok();
    let mut lines = list.lines();
    assert_eq!(words(lines.next().unwrap())[..3], ["NAME", "IPRange", "Driver"]);
    assert_eq!(words(lines.next().unwrap())[..3], ["testbr0", "192.168.0.1/24", "bridge"]);

    host.mydocker(&["network", "remove", "testbr0"]).ok();
    assert_eq!(subnets(), AFTER_REMOVE);
    assert!(!host.root("network/network/testbr0").exists());
    assert!(!host.space.program(&["ip", "link", "show", "testbr0"]).status.success());
    host.assert_nothing_left();
}

/// Seed 0, "repairing the bridge": chapter 4, with its explanation of masquerading and connection tracking.
#[test]
fn seed_0_containers_reach_the_world_under_the_hosts_address() {
    let host = Host::new();
    host.network("testbridge", "10.0.0.0/24", &[]);
    let address = host.space.ok(&["ip", "addr", "show", "testbridge"]);
    line_with(&address, &["inet 10.0.0.1/24 brd 10.0.0.255 scope global testbridge"]);
    // In place of `-A POSTROUTING -s 10.0.0.0/24 ! -o testbridge -j MASQUERADE`: an element of fixed rules.
    let table = host.table();
    line_with(&table, &["elements = { 10.0.0.0/24 }"]);
    line_with(&table, &["ip saddr @subnets4", "masquerade"]);
    let routes = host.space.ok(&["ip", "route"]);
    line_with(&routes, &["10.0.0.0/24 dev testbridge proto kernel scope link src 10.0.0.1"]);
    // The tutorial has to run `sysctl net.ipv4.conf.all.forwarding=1` by hand.
    assert_eq!(host.space.sysctl("net/ipv4/conf/all/forwarding"), "1");

    // Two containers at once to the same server: connection tracking tells their answers apart.
    let one = host.container("one", "testbridge", &[]);
    let two = host.container("two", "testbridge", &[]);
    let server = Server::tcp(&host.outside, &format!("{OUTSIDE}:443"));
    for container in [&one, &two] {
        assert_eq!(tcp(&container.space, &format!("{OUTSIDE}:443")).seen_as(), HOST);
    }
    assert_eq!(server.clients(), [HOST, HOST]);
    let tracked = host.space.ok(&["conntrack", "-L"]);
    for source in ["src=10.0.0.2", "src=10.0.0.3"] {
        line_with(&tracked, &[source, &format!("dst={OUTSIDE}"), "dport=443", &format!("dst={HOST}")]);
    }

    // 4.2: routes, rules and the device are gone after the removal.
    drop((one, two));
    host.mydocker(&["rm", "-f", "one", "two"]).ok();
    host.mydocker(&["network", "remove", "testbridge"]).ok();
    assert!(!host.space.ok(&["ip", "route"]).contains("10.0.0.0"));
    host.assert_nothing_left();
}

/// Seed 1, "container networks": a bridge, a veth pair, a default route, port mapping by DNAT.
#[test]
fn seed_1_a_container_on_a_bridge_with_a_mapped_port() {
    let host = Host::new();
    host.network("br0", "10.112.0.0/16", &[]);
    let serve = ["run", "-d", "-name", "web", "-net", "br0", "-p", "8080:80", &host.image];
    host.mydocker(&[&serve[..], &["httpd", "-f", "-p", "0.0.0.0:80", "-h", "/www"]].concat()).ok();
    let web = host.container_named("web", "br0");
    // `ln -s /proc/PID/ns/net /var/run/netns/NS` is not needed: the namespace is there already.
    let exec = |command: &str| {
        let command = [&["ip", "netns", "exec", web.id.as_str()], &words(command)[..]].concat();
        host.space.ok(&command)
    };
    line_with(&exec("ip addr show eth0"), &["inet 10.112.0.2/16", "scope global eth0"]);
    line_with(&exec("ip link show eth0"), &["UP"]);
    let routes = exec("ip route");
    line_with(&routes, &["default via 10.112.0.1 dev eth0"]);
    line_with(&routes, &["10.112.0.0/16 dev eth0 proto kernel scope link src 10.112.0.2"]);
    line_with(&host.space.ok(&["ip", "link", "show", "master", "br0"]), &[&web.id[..5], "UP"]);

    // PREROUTING for others, OUTPUT for the host itself.
    let fetch = |space: &Namespace, address: &str| {
        let url = format!("http://{address}:8080/");
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
    assert_eq!(fetch(&host.outside, HOST), "a page from a container");
    assert_eq!(fetch(&host.space, HOST), "a page from a container");
    assert_eq!(host.space.sysctl("net/ipv4/ip_forward"), "1");
    assert!(ping(&web.space, OUTSIDE));
}

/// Seed 2, "container networks" of `Docker-ECE`: the network, its allocator, `run -it -p 80:80 --net …`.
#[test]
fn seed_2_networks_endpoints_and_the_allocator() {
    let host = Host::new();
    // As printed in the tutorial, with the stray dot: an error that names it, where the original panics.
    let typo = ["network", "create", "--subnet", "192.168.0.0./24", "--driver", "bridge", "testbridge"];
    host.mydocker(&typo).refused(&[1, 125], &["192.168.0.0./24"]);
    let create = ["network", "create", "--subnet", "192.168.0.0/24", "--driver", "bridge", "testbridge"];
    assert_eq!(host.mydocker(&create).ok(), "testbridge");
    // The first address of the subnet is the gateway's.
    line_with(&host.space.ok(&["ip", "addr", "show", "testbridge"]), &["inet 192.168.0.1/24"]);

    host.network("testbridgenet", "172.18.0.0/24", &[]);
    let run = ["run", "-it", "-p", "80:80", "--net", "testbridgenet", "-name", "ece", &host.image, "sh"];
    let mut shell = host.command(&run).on_a_terminal().start_in(&host.space);
    shell.wait_for("# ");
    let ece = host.container_named("ece", "testbridgenet");
    let other = host.container("other", "testbridgenet", &[]);
    assert_eq!(
        (ece.address.to_string(), other.address.to_string()),
        ("172.18.0.2".into(), "172.18.0.3".into())
    );
    // `ip netns exec ns1 ping -c 1 172.18.0.3`, the host's own address, and from the host.
    assert!(ping(&ece.space, "172.18.0.3"));
    assert!(ping(&ece.space, HOST));
    assert!(ping(&host.space, "172.18.0.2"));
    // `iptables -t nat -A PREROUTING -p tcp --dport 80 -j DNAT --to-destination 172.18.0.2:80`
    let _server = Server::tcp(&ece.space, "0.0.0.0:80");
    assert_eq!(tcp(&host.outside, &format!("{HOST}:80")).seen_as(), OUTSIDE);
    shell.say("exit\n");
    shell.wait().ok();
    // TestAllocate and TestRelease: what is released is given out again.
    host.mydocker(&["rm", "-f", "ece"]).ok();
    assert_eq!(host.container("next", "testbridgenet", &[]).address.to_string(), "172.18.0.2");
}

/// Seed 3, "the allocator and the bridge driver" (`my-docker`): bitmaps of its first version, devices and their names.
#[test]
fn seed_3_the_first_bitmaps_and_the_names_of_veth_pairs() {
    let host = Host::new();
    // 1.2: what TestRelease left: 255 characters, all free.
    std::fs::create_dir_all(host.root("network/ipam")).unwrap();
    let released = format!("{{\"192.168.0.0/24\":\"{}\"}}", "0".repeat(255));
    std::fs::write(host.root("network/ipam/subnet.json"), released).unwrap();
    // 2.2.1
    host.network("testbridge", "192.168.0.0/24", &[]);
    line_with(&host.space.ok(&["ip", "link", "show"]), &["testbridge: <", "UP", "mtu 1500", "qdisc noqueue"]);
    let first_index = host.ip_json(&["link", "show", "testbridge"])[0]["ifindex"].as_u64().unwrap();
    // 2.2.3: the host's end is named after the first five characters of the id, the container's end cif- that.
    let container = host.container("testcontainer", "testbridge", &[]);
    let name = &container.id[..5];
    let links = host.space.ok(&["ip", "link", "show"]);
    line_with(&links, &[&format!(": {name}@"), "master testbridge", "UP"]);
    let inside = container.space.ok(&["ip", "link", "show", &format!("cif-{name}")]);
    line_with(&inside, &["eth0@", "UP"]);
    line_with(&inside, &[&format!("altname cif-{name}")]);
    // The kernel tells of a carrier when it finds the time.
    eventually("the bridge's carrier", || {
        host.space.ok(&["ip", "link", "show", "testbridge"]).contains("LOWER_UP").then_some(())
    });
    let name = name.to_owned();
    // 2.2.4: both ends go.
    drop(container);
    host.mydocker(&["rm", "-f", "testcontainer"]).ok();
    eventually("the pair to go", || (!host.space.ok(&["ip", "link", "show"]).contains(&name)).then_some(()));
    // 2.2.2, and nothing of the rules stays, which the tutorial still has to delete by hand.
    host.mydocker(&["network", "remove", "testbridge"]).ok();
    assert_eq!(std::fs::read_to_string(host.root("network/ipam/subnet.json")).unwrap(), AFTER_REMOVE);
    assert_eq!(host.table(), "");
    // 2.3.1: the kernel does not use a device's index again.
    host.network("testbridge", "192.168.0.0/24", &[]);
    assert!(host.ip_json(&["link", "show", "testbridge"])[0]["ifindex"].as_u64().unwrap() > first_index);
    host.mydocker(&["network", "remove", "testbridge"]).ok();
    host.assert_nothing_left();
}

/// Seed 4, "configuring a container's network by hand" (`main`): the same result without the hands.
#[test]
fn seed_4_a_connected_container_without_manual_steps() {
    let host = Host::new();
    let create = ["network", "create", "--driver", "bridge", "--subnet", "162.16.0.1/24", "testbridge"];
    assert_eq!(host.mydocker(&create).ok(), "testbridge");
    let list = host.mydocker(&["network", "list"]).ok();
    assert_eq!(words(list.lines().nth(1).unwrap())[..3], ["testbridge", "162.16.0.1/24", "bridge"]);
    line_with(
        &host.space.ok(&["ip", "addr"]),
        &["inet 162.16.0.1/24 brd 162.16.0.255 scope global testbridge"],
    );
    assert!(ping(&host.space, "162.16.0.1"));

    let run = ["run", "-d", "-e", "bird=123", "-name", "bird", "-net", "testbridge", &host.image, "top"];
    host.mydocker(&run).ok();
    eventually("top's first page", || {
        let logs = host.mydocker(&["logs", "bird"]).ok();
        (logs.contains("Mem:") && logs.contains("PID")).then_some(())
    });
    let exec = |command: &str| host.mydocker(&[&["exec", "bird"], &words(command)[..]].concat()).ok();
    line_with(&exec("env"), &["bird=123"]);
    let links = exec("ip addr");
    line_with(&links, &["lo: <LOOPBACK,UP,LOWER_UP>"]);
    line_with(&links, &["inet 127.0.0.1/8 scope host lo"]);
    line_with(&links, &["inet 162.16.0.2/24", "scope global eth0"]);
    let routes = exec("ip route");
    line_with(&routes, &["default via 162.16.0.1"]);
    line_with(&routes, &["162.16.0.0/24 dev eth0 scope link", "src 162.16.0.2"]);
    for address in ["127.0.0.1", "162.16.0.1", HOST, OUTSIDE] {
        line_with(&exec(&format!("ping -c 1 -W 60 {address}")), &["1 packets received, 0% packet loss"]);
    }
    assert!(ping(&host.space, "162.16.0.2"));
    host.mydocker(&["rm", "-f", "bird"]).ok();
    host.mydocker(&["network", "remove", "testbridge"]).ok();
    host.assert_nothing_left();
}

/// Seed 4 again, now by hand: a container without a network, wired with the tutorial's own commands.
#[test]
fn seed_4_a_container_wired_by_hand() {
    let host = Host::new();
    host.network("testbridge", "162.16.0.1/24", &[]);
    host.mydocker(&["run", "-d", "-name", "bird", "-net", "none", &host.image, "top"]).ok();
    let id = host.inspect("bird")["Id"].as_str().unwrap().to_owned();
    let bird = Namespace::pinned(&host.space, &Path::new("/run/netns").join(&id));
    line_with(&host.space.ok(&["ip", "netns", "list"]), &[&id]);
    host.space.ip(&format!(
        "link add birdveth0 type veth peer name birdveth1\nlink set birdveth1 netns {id}\n\
         link set dev birdveth0 master testbridge\nlink set dev birdveth0 up\n"
    ));
    bird.ip("link set dev lo up\nlink set dev birdveth1 up\naddr add 162.16.0.2/24 dev birdveth1\n");
    assert!(ping(&bird, "127.0.0.1"));
    assert!(ping(&bird, "162.16.0.1"));
    assert!(!ping(&bird, HOST), "there is no default route yet");
    bird.ip("route add default via 162.16.0.1\n");
    for address in [HOST, OUTSIDE] {
        let output = host.mydocker(&["exec", "bird", "ping", "-c", "1", "-W", "60", address]);
        assert_eq!(output.code(), 0, "{output}");
    }
    assert!(ping(&host.space, "162.16.0.2"));
    // The pair goes with the namespace, although mydocker never knew of it.
    drop(bird);
    host.mydocker(&["rm", "-f", "bird"]).ok();
    host.mydocker(&["network", "remove", "testbridge"]).ok();
    host.assert_nothing_left();
}
