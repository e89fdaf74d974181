//! `network check`: each thing that it can find is made wrong once, and named. What `network reload` puts right is in
//! `heal`; here is what it cannot put right.

use crate::host::Host;
use crate::program::Output;
use crate::wire::Server;

fn front() -> Host {
    let host = Host::new();
    host.set_bridge_netfilter(false);
    host.network("front", "172.18.0.0/16", &[]);
    host
}

#[track_caller]
fn check(host: &Host) -> Output {
    host.mydocker(&["network", "check"])
}

/// What `check` finds, as `subject: message`; each finding has a remedy.
#[track_caller]
fn findings(host: &Host) -> Vec<String> {
    let output = host.mydocker(&["network", "check", "--format", "json"]);
    let findings: serde_json::Value =
        serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("no JSON ({error}): {output}"));
    let findings = findings.as_array().expect("an array");
    let problems = findings.iter().filter(|finding| finding["Level"] == "problem").count();
    assert_eq!(output.code(), i32::from(problems > 0), "{output}");
    let text = |finding: &serde_json::Value| {
        assert!(finding["Remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "{finding}");
        let member = |name: &str| finding[name].as_str().expect("a text").to_owned();
        format!("{}: {}", member("Subject"), member("Message"))
    };
    findings.iter().map(text).collect()
}

#[test]
fn nothing_is_wrong_with_a_fresh_host_nor_with_a_network() {
    let host = Host::new();
    host.set_bridge_netfilter(false);
    assert_eq!(check(&host).ok(), "nothing is wrong");
    host.mydocker(&["network", "create", "--ipv6", "front"]).ok();
    host.mydocker(&["network", "create", "--internal", "back"]).ok();
    let ports = ["-p", "8000-8010:80-90", "-p", "9000-9100:9000-9100", "-p", "127.0.0.1:53:53/udp"];
    let run = [&["run", "-d", "--net", "front"], &ports[..], &[&host.image, "sleep", "100000"]].concat();
    host.mydocker(&run).ok();
    assert_eq!(check(&host).ok(), "nothing is wrong");
    assert_eq!(findings(&host), Vec::<String>::new());
}

/// R10: another table that drops is named with chain, rule and remedy; the remedy helps; nothing of theirs is changed.
#[test]
fn r10_other_tables_that_drop_are_named() {
    let host = front();
    // Docker's and ufw's kind: a policy, with rules that let others pass.
    let script = "table ip filter { chain USER { return; }; chain FORWARD { type filter hook forward priority 0; \
        policy drop; ct state established,related accept; iifname docker0 accept; jump USER; }; }";
    host.space.ok(&["nft", script]);
    let others = || host.space.ok(&["nft", "list", "table", "ip", "filter"]);
    let before = others();
    let found = findings(&host);
    let [line] = &found[..] else { panic!("one policy is one thing to be changed: {found:?}") };
    assert!(line.starts_with("firewall: table ip filter, chain FORWARD: its policy is drop"), "{line}");
    assert!(
        line.contains("containers of network front send, and what comes for published ports of"),
        "{line}"
    );
    assert_eq!(others(), before);
    let remedies = check(&host).stdout;
    for direction in ["iifname", "oifname"] {
        let rule = format!("insert rule ip filter FORWARD {direction} front accept");
        assert!(remedies.contains(&format!("nft {rule}")), "{remedies}");
        host.space.ok(&["nft", &rule]);
    }
    assert_eq!(check(&host).ok(), "nothing is wrong");
    host.space.ok(&["nft", "delete table ip filter"]);

    // firewalld's kind: a last rule, in a chain that another goes to.
    let script = "table inet firewalld { chain LAST { counter reject with icmpx type admin-prohibited; }; \
        chain filter_FORWARD { type filter hook forward priority 10; policy accept; \
        ct state { established, related } accept; ct status dnat accept; iifname lo accept; \
        ct state invalid drop; goto LAST; }; }";
    host.space.ok(&["nft", script]);
    let found = findings(&host);
    let [line] = &found[..] else { panic!("{found:?}") };
    assert!(line.starts_with("firewall: table inet firewalld, chain LAST: its rule with handle"), "{line}");
    assert!(line.contains("says reject") && line.contains("what containers of network front send"), "{line}");
    assert!(check(&host).stdout.contains("firewall-cmd"));
    host.space.ok(&["nft", "insert rule inet firewalld filter_FORWARD iifname \"fr*\" accept"]);
    assert_eq!(check(&host).ok(), "nothing is wrong");
    // Tables that hinder nobody are not mentioned.
    let forward = "{ chain FORWARD { type filter hook forward priority 0; policy drop; }; }";
    host.space.ok(&["nft", &format!("table ip6 filter {forward}")]);
    let input = "{ chain input { type filter hook input priority 0; policy drop; }; }";
    host.space.ok(&["nft", &format!("table inet other {input}")]);
    assert_eq!(check(&host).ok(), "nothing is wrong");
}

/// Rules that drop: all packets of a way, which is a problem; some of them, which is worth knowing; none of ours.
#[test]
fn r10_rules_that_drop_are_told_by_what_they_ask_for() {
    let host = front();
    let found_with = |hook: &str, rule: &str| {
        let chain = format!("{{ type filter hook {hook} priority 10; {rule}; }}");
        host.space.ok(&["nft", &format!("table inet corp {{ chain other {{ drop; }}; chain fw {chain}; }}")]);
        let found = findings(&host);
        host.space.ok(&["nft", "delete table inet corp"]);
        found
    };
    let all = [
        ("forward", "iif front drop"),
        ("forward", "iifname front oifname uplink0 drop"),
        ("forward", "oif uplink0 reject"),
        ("forward", "ip saddr 172.18.0.0/16 counter drop"),
        ("forward", "ip saddr 172.16.0.0/12 drop"),
        ("forward", "ip saddr 172.18.0.0/16 jump other"),
        ("prerouting", "iifname front drop"),
        ("postrouting", "oifname front drop"),
        ("postrouting", "drop"),
    ];
    for (hook, rule) in all {
        let found = found_with(hook, rule);
        assert!(!found.is_empty(), "{hook}: {rule}");
        for line in found {
            assert!(line.contains("which drops what"), "{hook}: {rule}: {line}");
        }
    }
    let some = [
        ("forward", "ip saddr 172.18.0.2 drop"),
        ("forward", "ip daddr 203.0.113.0/24 drop"),
        ("forward", "meta l4proto icmp drop"),
        ("forward", "iifname { front, back } tcp dport 25 reject"),
        ("forward", "iifname uplink0 oifname front tcp dport 80 drop"),
        ("forward", "limit rate 1/second drop"),
        ("forward", "ip daddr 203.0.113.0/24 jump other"),
        ("postrouting", "ip saddr 172.18.0.0/16 drop"),
    ];
    for (hook, rule) in some {
        let found = found_with(hook, rule);
        let [line] = &found[..] else { panic!("{hook}: {rule}: {found:?}") };
        assert!(line.starts_with("firewall: table inet corp, chain fw: rules with handle"), "{rule}: {line}");
        assert!(line.contains("network front"), "{hook}: {rule}: {line}");
    }
    let none = [
        ("forward", "iifname docker0 drop"),
        ("forward", "ip saddr 172.19.0.0/16 ip daddr 172.20.0.0/16 drop"),
        ("forward", "ct state invalid drop"),
        ("forward", "oif lo drop"),
        ("forward", "iifname front accept; drop"),
        ("prerouting", "iifname docker0 jump other"),
    ];
    for (hook, rule) in none {
        let found = found_with(hook, rule);
        assert!(found.iter().all(|line| !line.contains("chain fw: rules")), "{hook}: {rule}: {found:?}");
        let is_out = |line: &String| line.contains("what containers of network front send");
        assert!(!found.iter().any(is_out), "{hook}: {rule}: {found:?}");
    }
}

#[test]
fn forwarding_the_bridge_and_its_netfilter_are_looked_at() {
    let host = front();
    host.space.set_sysctl("net/ipv4/ip_forward", "0");
    assert_eq!(
        findings(&host),
        ["forwarding: the host does not forward IPv4 packets: containers cannot reach the outside"]
    );
    host.space.set_sysctl("net/ipv4/ip_forward", "1");
    host.space.set_sysctl("net/ipv4/conf/front/route_localnet", "0");
    assert_eq!(
        findings(&host),
        ["parameter: network front: the kernel parameter net.ipv4.conf.front.route_localnet is 0 and not 1"]
    );
    host.mydocker(&["network", "reload"]).ok();
    host.space.ip("link delete front\nlink add front type veth peer name front1\n");
    assert_eq!(
        findings(&host),
        ["bridge: network front: the device front is somebody else's: it is no bridge"]
    );
    host.space.ip("link delete front\n");
    assert_eq!(findings(&host), ["bridge: network front: the bridge front is missing"]);
    host.mydocker(&["network", "reload"]).ok();
    host.space.ip("link set front down\n");
    assert!(findings(&host).contains(&"bridge: network front: the bridge front is switched off".to_owned()));
    host.mydocker(&["network", "reload"]).ok();
    host.space.ip("address delete 172.18.0.1/16 dev front\n");
    assert_eq!(findings(&host), ["bridge: network front: the bridge front lacks the address 172.18.0.1/16"]);
    host.mydocker(&["network", "reload"]).ok();
    host.space.ok(&["nft", "delete table inet mydocker"]);
    assert!(findings(&host)[0].starts_with("table: the table inet mydocker is missing"));
    host.mydocker(&["network", "reload"]).ok();
    // Worth knowing, and no fault.
    host.set_bridge_netfilter(true);
    let output = check(&host);
    assert_eq!(output.ok(), "nothing is wrong");
    let output = host.mydocker(&["network", "check", "-v"]);
    assert!(output.ok().contains("note: bridge-netfilter: "), "{output}");
}

/// `info` and `check` name the same, with the same remedy.
#[test]
fn what_the_host_lacks_is_named_by_info_as_well() {
    let host = front();
    let warnings = || {
        let info = host.mydocker(&["info", "--format", "json"]).json();
        let warnings = info["Warnings"].as_array().expect("an array").iter();
        warnings.map(|text| text.as_str().expect("a text").to_owned()).collect::<Vec<_>>()
    };
    let before = warnings();
    let scratch = host.scratch("namespaces");
    let file = scratch.join("max_net_namespaces");
    std::fs::write(&file, "0").expect("a file");
    let target = "/proc/sys/user/max_net_namespaces";
    host.space.ok(&["mount", "--bind", file.to_str().expect("a plain path"), target]);
    let lack = "user.max_net_namespaces is 0: no container can have a net namespace of its own";
    let remedy = "allow them with: sysctl -w user.max_net_namespaces=10000";
    assert_eq!(findings(&host), [format!("kernel: {lack}")]);
    assert!(check(&host).stdout.contains(&format!("problem: kernel: {lack}\n  {remedy}\n")));
    let expected = [&[format!("{lack}; {remedy}")], &before[..]].concat();
    assert_eq!(warnings(), expected);
    let plain = host.mydocker(&["info"]);
    assert!(plain.stderr.contains(&format!("warning: {lack}\nhint: {remedy}\n")), "{plain}");
    host.space.ok(&["umount", target]);

    // A host without control groups still tells of itself.
    host.space.ok(&["mount", "-t", "tmpfs", "none", "/sys/fs/cgroup"]);
    let info = host.mydocker(&["info"]);
    assert!(info.ok().contains("Cgroup Version: none"), "{info}");
    assert!(info.stderr.contains("warning: no control groups are mounted at /sys/fs/cgroup"), "{info}");
    assert!(findings(&host)[0].starts_with("cgroup: no control groups are mounted"));
    let run = host.mydocker(&["run", "--net", "none", &host.image, "true"]);
    run.refused(&[125], &["control group"]);
    assert!(run.stderr.contains("hint: see what this host lacks with: mydocker info"), "{run}");
}

#[test]
fn a_connection_tracking_that_is_nearly_full_is_told() {
    let host = front();
    // Its size is the whole machine's: what is read is put in its place instead.
    let scratch = host.scratch("conntrack");
    for (name, value) in [("nf_conntrack_count", "81"), ("nf_conntrack_max", "100")] {
        let file = scratch.join(name);
        std::fs::write(&file, value).expect("a file");
        let target = format!("/proc/sys/net/netfilter/{name}");
        host.space.ok(&["mount", "--bind", file.to_str().expect("a plain path"), &target]);
    }
    let found = findings(&host);
    let [line] = &found[..] else { panic!("{found:?}") };
    assert!(
        line.starts_with("conntrack: the connection tracking is nearly full: 81 of 100 entries"),
        "{line}"
    );
    assert!(check(&host).stdout.contains("sysctl -w net.netfilter.nf_conntrack_max=200"));
    std::fs::write(scratch.join("nf_conntrack_count"), "79").expect("a file");
    assert_eq!(check(&host).ok(), "nothing is wrong");
}

#[test]
fn missing_capabilities_and_damaged_records_are_named() {
    let host = front();
    let without = "--bounding-set=-net_admin,-mknod";
    let command = ["setpriv", without, "--", env!("CARGO_BIN_EXE_mydocker"), "network", "check"];
    let output = host.program(&command).run_in(&host.space);
    assert_eq!(output.code(), 1, "{output}");
    for capability in ["CAP_NET_ADMIN", "CAP_MKNOD"] {
        assert!(output.stdout.contains(&format!("the capability {capability} is missing")), "{output}");
    }
    let record = host.root("network/network/broken");
    std::fs::write(&record, "{").expect("a record");
    let found = findings(&host);
    assert!(found.iter().any(|line| line.contains(record.to_str().expect("a plain path"))), "{found:?}");
    std::fs::remove_file(&record).expect("the record");
    let id = host.mydocker(&["create", &host.image, "true"]).ok();
    let record = host.root("containers").join(&id).join("config.json");
    std::fs::write(&record, "{").expect("a record");
    let found = findings(&host);
    assert!(found.iter().any(|line| line.contains(record.to_str().expect("a plain path"))), "{found:?}");
    assert_eq!(std::fs::read_to_string(&record).expect("the record"), "{");
}

#[test]
fn a_process_that_listens_on_a_published_port_later_is_named() {
    let host = front();
    let web = host.container("web", "front", &["-p", "8080:80", "-p", "8053:53/udp"]);
    assert_eq!(findings(&host), [""; 0]);
    let servers = [Server::tcp(&host.space, "127.0.0.1:8080"), Server::udp(&host.space, "0.0.0.0:8053")];
    let found = findings(&host);
    for address in ["127.0.0.1:8080", "0.0.0.0:8053"] {
        let wanted = format!("listens on {address}, which is published for container web");
        assert!(
            found.iter().any(|finding| finding.starts_with("port: ") && finding.contains(&wanted)),
            "{found:?}"
        );
    }
    drop(servers);
    assert_eq!(findings(&host), [""; 0]);
    drop(web);
    // The kernel may still be deleting what the container had: that is nothing to be told.
    for _ in 0..3 {
        host.mydocker(&["rm", "-f", "web"]).ok();
        assert_eq!(findings(&host), [""; 0]);
        drop(host.container("web", "front", &["-p", "8080:80"]));
    }
    host.mydocker(&["rm", "-f", "web"]).ok();
    host.mydocker(&["network", "rm", "front"]).ok();
    host.assert_nothing_left();
}
