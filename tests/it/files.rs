//! The files that are made for each container: hosts, hostname, resolv.conf.

use nix::mount::{MsFlags, mount};

use crate::host::Host;
use crate::program::Output;

#[track_caller]
fn inside(host: &Host, options: &[&str], command: &str) -> Output {
    host.run(options, &["sh", "-c", command])
}

/// Gives the host another file in the place of one that it has.
fn replace(host: &Host, name: &str, place: &str, text: &str) {
    let file = host.scratch(name).join("file");
    std::fs::write(&file, text).unwrap();
    host.space.run(|| {
        mount(Some(&file), place, None::<&str>, MsFlags::MS_BIND, None::<&str>).expect("another file");
    });
}

#[test]
fn a_container_knows_its_own_name_and_address_and_the_hosts_it_was_told_of() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    let options = [
        "--net",
        "front",
        "--hostname",
        "web",
        "--add-host",
        "db:192.0.2.9",
        "--add-host",
        "six=[::7]",
        "--add-host",
        "host.docker.internal:host-gateway",
    ];
    let output = inside(&host, &options, "cat /etc/hostname /etc/hosts; hostname").ok();
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!((lines[0], lines[lines.len() - 1]), ("web", "web"), "{output}");
    for line in [
        "127.0.0.1\tlocalhost",
        "192.0.2.9\tdb",
        "::7\tsix",
        "172.18.0.1\thost.docker.internal",
        "172.18.0.2\tweb",
    ] {
        assert!(lines.contains(&line), "{line} is not in {output}");
    }
    let full = ["--net", "front", "--hostname", "web", "--domainname", "example.org"];
    let output = inside(&host, &full, "cat /etc/hosts");
    assert!(output.stdout.ends_with("\tweb.example.org web\n"), "{output}");
    // A name for the addresses of both families, and for the host where nothing is forwarded.
    host.network("inner", "172.19.0.0/16", &["--internal", "--subnet", "fd00:19::/64"]);
    let options = ["--net", "inner", "--hostname", "web", "--add-host", "up:host-gateway"];
    let output = inside(&host, &options, "cat /etc/hosts").ok();
    for line in ["172.19.0.2\tweb", "fd00:19::2\tweb", "172.19.0.1\tup"] {
        assert!(output.lines().any(|found| found == line), "{line} is not in {output}");
    }
    host.mydocker(&["network", "remove", "inner"]).ok();
    // Without a name, the first digits of the id; alone, without an address.
    let output =
        inside(&host, &["--net", "none"], "hostname; cat /etc/hostname; grep -c $(hostname) /etc/hosts");
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert!(lines[0].len() == 12 && lines[0] == lines[1] && lines[2] == "0", "{output}");
    // Everybody may read them, and root may write to them, for this run and this container alone.
    let script = "echo 192.0.2.1 more >> /etc/hosts && grep -c more /etc/hosts";
    assert_eq!(inside(&host, &["--net", "none"], script).ok(), "1");
    let readable =
        inside(&host, &["--net", "none", "-u", "tester"], "cat /etc/hosts /etc/hostname /etc/resolv.conf");
    readable.ok();
    assert_ne!(inside(&host, &["--net", "none", "-u", "tester"], script).code(), 0);
    // The network of another container comes with its names.
    let other = host.container("other", "front", &[]);
    let shared = inside(&host, &["--net", "container:other"], "cat /etc/hosts").ok();
    assert!(shared.contains(&other.address.to_string()), "{shared}");
    drop(other);
    host.mydocker(&["rm", "-f", "other"]).ok();
    host.mydocker(&["network", "remove", "front"]).ok();
    host.assert_nothing_left();
}

#[test]
fn the_hosts_network_comes_with_the_hosts_own_files() {
    let host = Host::new();
    replace(&host, "hosts", "/etc/hosts", "127.0.0.1 localhost\n192.0.2.77 only-here");
    replace(&host, "resolv", "/etc/resolv.conf", "nameserver 127.0.0.53\nsearch here.example\n");
    let options = ["--net", "host", "--add-host", "db:192.0.2.9"];
    let output = inside(&host, &options, "cat /etc/hosts /etc/resolv.conf").ok();
    let expected = "127.0.0.1 localhost\n192.0.2.77 only-here\n192.0.2.9\tdb\nnameserver 127.0.0.53\nsearch here.example";
    assert_eq!(output, expected);
    host.assert_nothing_left();
}

#[test]
fn without_a_network_name_servers_are_the_hosts_but_for_those_on_its_loopback() {
    let host = Host::new();
    let resolv = |options: &[&str]| {
        inside(&host, &[options, &["--net", "none"]].concat(), "cat /etc/resolv.conf").ok()
    };
    replace(
        &host,
        "resolv",
        "/etc/resolv.conf",
        "# a remark\nnameserver 127.0.0.53\nnameserver 192.0.2.7\noptions edns0\nsearch a.example b.example\n",
    );
    assert_eq!(resolv(&[]), "nameserver 192.0.2.7\nsearch a.example b.example\noptions edns0");
    let wanted = [
        "--dns",
        "127.0.0.1",
        "--dns",
        "2001:db8::1",
        "--dns-search",
        "c.example",
        "--dns-option",
        "ndots:2",
    ];
    assert_eq!(
        resolv(&wanted),
        "nameserver 127.0.0.1\nnameserver 2001:db8::1\nsearch c.example\noptions ndots:2"
    );
    assert_eq!(resolv(&["--dns-search", "."]), "nameserver 192.0.2.7\noptions edns0");
    assert_eq!(resolv(&["--dns-option", "timeout:1"]).lines().count(), 3);
    host.assert_nothing_left();
}

#[test]
fn in_a_network_a_container_asks_its_own_server() {
    let host = Host::new();
    replace(&host, "resolv", "/etc/resolv.conf", "nameserver 127.0.0.53\nsearch a.example\noptions edns0\n");
    host.network("front", "172.18.0.0/16", &[]);
    for (options, rest) in [
        (&["--net", "front"][..], "\nsearch a.example\noptions edns0 ndots:0"),
        (&["--net", "front", "--dns", "192.0.2.1", "--dns-search", "."], "\noptions edns0"),
        (&["--net", "front", "--dns-option", "ndots:1"], "\nsearch a.example\noptions ndots:1"),
    ] {
        let output = inside(&host, options, "cat /etc/resolv.conf");
        assert_eq!(output.ok(), format!("nameserver 127.0.0.11{rest}"));
        assert_eq!(output.stderr, "");
    }
    host.mydocker(&["network", "remove", "front"]).ok();
    host.assert_nothing_left();
}

#[test]
fn nonsense_is_refused_by_name() {
    let host = Host::new();
    for (option, value) in [
        ("--add-host", "db"),
        ("--add-host", "db:not-an-address"),
        ("--add-host", "d b:192.0.2.1"),
        ("--dns", "192.0.2"),
        ("--dns-search", "a b"),
        ("--dns-option", ""),
    ] {
        host.run(&["--net", "none", option, value], &["true"]).refused(&[125], &[option, value]);
    }
    let alone = ["--net", "none", "--add-host", "up:host-gateway"];
    host.run(&alone, &["true"]).refused(&[125], &["up", "gateway"]);
    host.assert_nothing_left();
}
