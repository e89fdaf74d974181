//! What was taken away or left behind comes back or goes: after a flush, a reboot, a `kill -9`, and with many commands
//! at once. The letters and numbers are those of the list of exposures.

use std::path::Path;

use tar::EntryType;

use crate::archives::{file, tar};
use crate::host::{Container, HOST, Host, OUTSIDE};
use crate::leftovers::Scope;
use crate::program::{Running, eventually};
use crate::tracer::{Kill, Moment, Until, Victims, trace};
use crate::wire::{Server, tcp, tcp_dropped};

/// A host with the network `front` and nothing that passes bridged frames to other tables.
fn front() -> Host {
    let host = Host::new();
    host.set_bridge_netfilter(false);
    host.network("front", "172.18.0.0/16", &[]);
    host
}

/// A container that publishes 8080, with a server at its port 80.
fn web(host: &Host) -> (Container, Server) {
    let web = host.container("web", "front", &["-p", "8080:80"]);
    let server = Server::tcp(&web.space, "0.0.0.0:80");
    (web, server)
}

/// Everything that a published container is good for works, and nothing more does.
#[track_caller]
fn assert_works(host: &Host, web: &Container, what: &str) {
    let _outside = Server::tcp(&host.outside, &format!("{OUTSIDE}:80"));
    let _unpublished = Server::tcp(&web.space, "0.0.0.0:81");
    assert_eq!(tcp(&host.outside, &format!("{HOST}:8080")).seen_as(), OUTSIDE, "{what}");
    assert_eq!(tcp(&host.space, "127.0.0.1:8080").seen_as(), "172.18.0.1", "{what}");
    assert_eq!(tcp(&web.space, &format!("{OUTSIDE}:80")).seen_as(), HOST, "{what}");
    tcp_dropped(&host.neighbour, &web.at(81));
}

/// The lines of `network check`, which must find something wrong.
#[track_caller]
fn problems(host: &Host) -> String {
    let output = host.mydocker(&["network", "check"]);
    assert_eq!(output.code(), 1, "{output}");
    output.stdout
}

#[track_caller]
fn assert_nothing_wrong(host: &Host, what: &str) {
    let output = host.mydocker(&["network", "check"]);
    assert_eq!((output.code(), output.stdout.as_str()), (0, "nothing is wrong\n"), "{what}: {output}");
}

/// S10, and more than that: whatever of a network is gone, the next command that uses it brings it back before
/// it reports success.
#[test]
fn s10_whatever_is_taken_from_a_network_is_back_with_the_next_command() {
    let host = front();
    let (web, _server) = web(&host);
    host.neighbour.ok(&["ip", "route", "add", "172.18.0.0/16", "via", HOST]);
    assert_works(&host, &web, "at first");
    let table = host.table();
    for damage in [
        "nft flush ruleset",
        "nft delete table inet mydocker; nft add table inet mydocker",
        "nft delete element inet mydocker bridges { front }",
        "nft delete element inet mydocker subnets4 { 172.18.0.0/16 }",
        "nft flush chain inet mydocker forward",
        "ip link delete front",
        "ip link set front down",
        "ip address delete 172.18.0.1/16 dev front",
        "echo 0 > /proc/sys/net/ipv4/ip_forward",
        "echo 0 > /proc/sys/net/ipv4/conf/front/route_localnet",
        "nft delete table inet mydocker; ip link delete front; echo 0 > /proc/sys/net/ipv4/ip_forward",
    ] {
        host.space.ok(&["sh", "-c", damage]);
        host.run(&["--net", "front"], &["true"]).ok();
        assert_eq!(host.table(), table, "{damage}");
        assert_works(&host, &web, damage);
    }
    // Also where the next command is about another network.
    host.space.ok(&["sh", "-c", "nft flush ruleset; ip link delete front"]);
    host.network("other", "172.19.0.0/16", &[]);
    assert_works(&host, &web, "another network was made");
    host.space.ok(&["sh", "-c", "nft flush ruleset; ip link delete front"]);
    host.mydocker(&["network", "remove", "other"]).ok();
    assert_works(&host, &web, "another network was removed");
    assert_nothing_wrong(&host, "in the end");
}

/// R14: what only a look at everything finds is told by `check` and put right by `reload`.
#[test]
fn r14_what_was_deleted_by_hand_is_found_and_restored_by_reload() {
    let host = front();
    let (web, server) = web(&host);
    host.neighbour.ok(&["ip", "route", "add", "172.18.0.0/16", "via", HOST]);
    let table = host.table();
    let device = web.id[..5].to_owned();
    let replaced = "handle=$(nft -a list chain inet mydocker forward | sed -n 's/.*ct status dnat accept.*# handle //p'); \
         nft replace rule inet mydocker forward handle $handle counter";
    for (damage, named) in [
        (
            "nft delete element inet mydocker published4 { 0.0.0.0 . tcp . 8080 }",
            "published4 { 0.0.0.0 . tcp . 8080",
        ),
        (replaced, "the chain forward"),
        (&format!("ip link set {device} nomaster"), "is not on the bridge"),
        (&format!("ip link set {device} down"), "is switched off"),
        (&format!("ip link delete {device}"), "is missing"),
        (
            "nft add element inet mydocker published4 { 0.0.0.0 . tcp . 81 : 172.18.0.9 . 81 }",
            "belongs to no network or container",
        ),
    ] {
        host.space.ok(&["sh", "-c", damage]);
        let found = problems(&host);
        assert!(found.contains(named) && found.contains("mydocker network reload"), "{damage}: {found}");
        assert_eq!(host.mydocker(&["network", "reload"]).ok(), "front", "{damage}");
        assert_nothing_wrong(&host, damage);
        assert_eq!(host.table(), table, "{damage}");
        assert_works(&host, &web, damage);
    }
    // Removal minds nothing that is gone already.
    host.space.ok(&[
        "sh",
        "-c",
        &format!("nft flush ruleset; ip link delete {device}; ip link delete front"),
    ]);
    drop((web, server));
    host.mydocker(&["rm", "-f", "web"]).ok();
    host.mydocker(&["network", "remove", "front"]).ok();
    host.assert_nothing_left();
}

/// R5: what any number of killed commands may have left is told by `check`, removed by `reload`, and given out again.
#[test]
fn r5_what_killed_commands_have_left_is_found_and_removed() {
    let host = front();
    drop((host.container("web", "front", &["-p", "8080:80"]), host.container("db", "front", &[])));
    host.kill_everything();
    // A network that was not finished, an address that nobody has, a pair that belongs to nobody.
    let records = host.root("network/network");
    let text = std::fs::read_to_string(records.join("front")).expect("a record");
    let half = text
        .replace("\"front\"", "\"half\"")
        .replace("172.18.0.1", "172.19.0.1")
        .replace("\"ready\"", "\"creating\"");
    assert!(half.contains("creating"), "{half}");
    std::fs::write(records.join("half"), half).expect("write a record");
    let addresses = host.root("network/ipam/subnet.json");
    let text = std::fs::read_to_string(&addresses).expect("the addresses");
    let (before, after) = text.split_at(text.find(":\"").expect("a subnet") + 2 + 9);
    std::fs::write(&addresses, format!("{before}1{}", &after[1..])).expect("write the addresses");
    host.space.ip("link add stray0 group 28004 type veth peer name stray1\n");
    let found = problems(&host);
    for named in [
        "container web: its supervisor was killed",
        "container db: its supervisor was killed",
        "172.18.0.2 is held for container web",
        "published4 { 0.0.0.0 . tcp . 8080",
        "network half is half made",
        "172.18.0.9 of 172.18.0.0/16 is marked as taken",
        "the device stray0",
    ] {
        assert!(found.contains(named), "{named}: {found}");
    }
    assert_eq!(host.mydocker(&["network", "reload"]).ok(), "front");
    assert_nothing_wrong(&host, "after reload");
    assert_eq!(host.mydocker(&["network", "list", "-q"]).ok(), "front");
    let next = host.container("next", "front", &["-p", "8080:80", "--ip", "172.18.0.9"]);
    let server = Server::tcp(&next.space, "0.0.0.0:80");
    assert_eq!(tcp(&host.outside, &format!("{HOST}:8080")).seen_as(), OUTSIDE);
    drop((next, server));
    host.mydocker(&["rm", "-f", "web", "db", "next"]).ok();
    host.mydocker(&["network", "remove", "front"]).ok();
    host.assert_nothing_left_but_temporary_files(Scope::All);
}

/// R7: after a reboot nothing is left but the records below the root directory.
#[test]
fn r7_after_a_reboot_networks_return_on_first_use() {
    let host = front();
    let before = host.container("web", "front", &["-p", "8080:80"]).address;
    host.clean_up();
    host.space.ok(&["sh", "-c", "nft flush ruleset; ip link delete front; rm -rf /run/netns"]);
    host.space.set_sysctl("net/ipv4/ip_forward", "0");
    std::fs::remove_dir_all(&host.run_root).expect("an empty run directory");
    let boot = host.scratch("boot").join("id");
    std::fs::write(&boot, "01234567-89ab-cdef-0123-456789abcdef\n").expect("another boot's id");
    let boot = boot.to_str().expect("a plain path");
    host.space.ok(&["mount", "--bind", boot, "/proc/sys/kernel/random/boot_id"]);

    assert_eq!(host.mydocker(&["ps", "-q"]).ok(), "");
    assert_eq!(host.inspect("web")["State"]["Running"], false);
    let next = host.container("next", "front", &["-p", "8080:80"]);
    assert_eq!(next.address, before, "the address of a container of the last boot is free");
    let server = Server::tcp(&next.space, "0.0.0.0:80");
    host.neighbour.ok(&["ip", "route", "add", "172.18.0.0/16", "via", HOST]);
    assert_works(&host, &next, "after a reboot");
    // The old one can be started again once its port is free.
    host.mydocker(&["start", "web"]).refused(&[1, 125], &["8080", "next"]);
    drop((next, server));
    host.mydocker(&["rm", "-f", "next"]).ok();
    host.mydocker(&["start", "web"]).ok();
    assert_nothing_wrong(&host, "after a reboot");
    host.mydocker(&["rm", "-f", "web"]).ok();
    host.mydocker(&["network", "remove", "front"]).ok();
    host.assert_nothing_left_but_temporary_files(Scope::All);
}

/// R8: the name, the address and the port of a container whose processes were all killed go to whoever wants them.
#[test]
fn r8_the_name_address_and_port_of_a_dead_container_are_reclaimed() {
    let host = front();
    let options = ["-p", "8080:80", "--ip", "172.18.0.5"];
    drop(host.container("web", "front", &options));
    host.kill_everything();
    // Not yet the name: the dead container is still there to be looked at.
    let again = ["run", "-d", "--name", "web", "--net", "front", &host.image, "sleep", "100000"];
    host.mydocker(&again).refused(&[125], &["web"]);
    let next = host.container("next", "front", &options);
    assert_eq!(next.address.to_string(), "172.18.0.5");
    host.mydocker(&["rm", "web"]).ok();
    host.container("web", "front", &[]);
    assert_nothing_wrong(&host, "with the dead one's things in other hands");
}

/// R6: many commands of different kinds at once, on one network and on many.
#[test]
fn r6_networks_and_containers_come_and_go_in_parallel() {
    let host = front();
    let networks: Vec<String> = (0..8).map(|n| format!("net{n}")).collect();
    let containers: Vec<String> = (0..8).map(|n| format!("c{n}")).collect();
    let together = |commands: Vec<Running>| {
        for command in commands {
            command.wait().ok();
        }
    };
    let run = |name: &str, network: &str, port: usize| {
        let port = format!("{port}:80");
        let first = ["run", "-d", "--name", name, "--net", network, "-p", &port];
        host.start(&[&first[..], &[&host.image, "sleep", "100000"]].concat())
    };
    let mut first: Vec<Running> =
        networks.iter().map(|name| host.start(&["network", "create", name])).collect();
    first.extend(containers.iter().enumerate().map(|(n, name)| run(name, "front", 8000 + n)));
    together(first);
    assert_nothing_wrong(&host, "after all were made");
    let subnet = |name: &String| host.inspect_network(name)["IPAM"]["Config"][0]["Subnet"].to_string();
    let mut subnets: Vec<String> = networks.iter().map(subnet).collect();
    subnets.sort_unstable();
    subnets.dedup();
    assert_eq!(subnets.len(), networks.len());
    // Reloading does not disturb those that come and go.
    let mut second: Vec<Running> =
        containers[..4].iter().map(|name| host.start(&["rm", "-f", name])).collect();
    let more = networks.iter().enumerate().take(4);
    second.extend(more.map(|(n, network)| run(&format!("d{n}"), network, 9000 + n)));
    second.extend((0..3).map(|_| host.start(&["network", "reload"])));
    together(second);
    assert_nothing_wrong(&host, "after they came and went");
    assert_eq!(host.published().len(), 8);
    let mut last: Vec<Running> = containers[4..].iter().map(|name| host.start(&["rm", "-f", name])).collect();
    last.extend((0..4).map(|n| host.start(&["rm", "-f", &format!("d{n}")])));
    last.extend(networks[4..].iter().map(|name| host.start(&["network", "remove", name])));
    together(last);
    let mut rest = vec!["network", "remove", "front"];
    rest.extend(networks[..4].iter().map(String::as_str));
    host.mydocker(&rest).ok();
    host.assert_nothing_left();
}

/// Whoever is stuck with a lock is named, and does not keep others waiting for ever.
#[test]
fn a_stuck_lock_holder_is_named() {
    let host = front();
    let path = host.run_root("network/lock");
    let path = path.to_str().expect("a plain path");
    // Another process than this one, which does other things all the time.
    let hold = ["flock", path, "sh", "-c", "echo held; read -r end"];
    let mut holder = host.program(&hold).open_input().start_in(&host.space);
    holder.wait_for("held");
    let named = format!("process {}", holder.pid());
    // Starting a container takes no such lock.
    host.mydocker(&["run", "-d", "--name", "web", "--net", "front", &host.image, "sleep", "100000"]).ok();
    host.mydocker(&["network", "create", "back"]).refused(&[1], &["lock the networks", path, &named]);
    holder.end_input();
    holder.wait();
    host.mydocker(&["network", "create", "back"]).ok();
}

/// A port that a living container has got is its own, whatever its remark says: a container that is just being
/// renamed has the old name there for a moment.
#[test]
fn r8_the_removal_of_a_dead_container_leaves_a_port_alone_that_leads_to_another() {
    let host = front();
    drop(host.container("web", "front", &["-p", "127.0.0.1:8080:80", "-p", "9090:90"]));
    host.kill_everything();
    // Without the dead one's elements nobody asks for whose they were.
    host.space.ok(&["nft", "flush", "ruleset"]);
    let next = ["-p", "127.0.0.1:8080:80", "-p", "9090:90", "--ip", "172.18.0.9"];
    let _next = host.container("next", "front", &next);
    let table = host.table();
    // As `rename` leaves it for a moment: the record has the new name already.
    let rules = host.mydocker(&["network", "rules"]).ok();
    assert!(rules.contains("comment \"next\""), "{rules}");
    let renamed = rules.replace("comment \"next\"", "comment \"before\"");
    let replace = format!("delete table inet mydocker\n{renamed}\n");
    crate::program::Program::new(&["nft", "-f", "-"]).input(&replace).run_in(&host.space).ok();
    host.mydocker(&["rm", "-f", "web"]).ok();
    assert_eq!(host.table().replace("comment \"before\"", "comment \"next\""), table);
}

/// Who is killed while he holds a container up leaves it to the next command to let it go on.
#[test]
fn a_container_goes_on_after_a_commit_that_was_killed() {
    let host = Host::new();
    let archive = system(&host);
    host.mydocker(&["import", &archive, "system"]).ok();
    host.mydocker(&["run", "-d", "--name", "c", "system", "sleep", "100000"]).ok();
    let commit = ["commit", "c", "made"];
    // The second time, because the first one makes directories that stay.
    let mut steps = Vec::new();
    for _ in 0..2 {
        steps = trace(&host, &commit, Until::Rest, None).steps;
        host.mydocker(&["rmi", "made"]).ok();
    }
    let is_freezing = |call: &str| call.starts_with("write ") && call.contains("freez");
    let step = steps.iter().position(|step| is_freezing(&step.call)).expect("it is frozen");
    let killed = || {
        let kill = Kill { step, moment: Moment::After, victims: Victims::Client };
        let traced = trace(&host, &commit, Until::Rest, Some(kill));
        assert!(traced.killed && is_freezing(&traced.steps[step].call), "{}", traced.steps[step]);
    };
    killed();
    assert_eq!(host.mydocker(&["exec", "c", "echo", "on"]).ok(), "on");
    assert_eq!(host.inspect("c")["State"]["Paused"], false);
    killed();
    // Who pauses it now means it.
    host.mydocker(&["pause", "c"]).ok();
    assert_eq!(host.inspect("c")["State"]["Paused"], true);
    host.mydocker(&["unpause", "c"]).ok();
    host.mydocker(&["commit", "c", "made"]).ok();
    assert_eq!(host.inspect("c")["State"]["Paused"], false);
    host.mydocker(&["rm", "-f", "c"]).ok();
    host.mydocker(&["rmi", "made", "system"]).ok();
    host.mydocker(&["network", "rm", "default"]).ok();
    host.assert_nothing_left_but_temporary_files(Scope::All);
}

/// An archive with what a container needs that sleeps.
fn system(host: &Host) -> String {
    let busybox = std::fs::read(Path::new(&host.image).join("bin/busybox")).expect("busybox");
    let members = [
        ("bin", EntryType::Directory, "", &b""[..]),
        ("bin/busybox", EntryType::Regular, "", &busybox),
        ("bin/sleep", EntryType::Symlink, "busybox", b""),
        ("bin/echo", EntryType::Symlink, "busybox", b""),
    ];
    file(host, "system.tar", &tar(&members))
}

/// Unused networks go, and so do those that only containers have which do not run.
#[test]
fn prune_removes_the_networks_that_no_running_container_has() {
    let host = front();
    for (name, label) in [("idle", "keep=no"), ("kept", "keep=yes"), ("stopped", "keep=no")] {
        host.mydocker(&["network", "create", "--label", label, name]).ok();
    }
    host.container("web", "front", &[]);
    host.mydocker(&["create", "--name", "later", "--net", "stopped", &host.image, "true"]).ok();
    host.mydocker(&["run", "--rm", &host.image, "true"]).ok();
    // Nobody has said yes.
    host.mydocker(&["network", "prune"]).refused(&[1], &["not confirmed"]);
    assert_eq!(host.mydocker(&["network", "prune", "-f", "--filter", "label=other"]).ok(), "");
    let pruned = host.mydocker(&["network", "prune", "-f", "--filter", "label=keep=no"]).ok();
    assert_eq!(pruned, "Deleted Networks:\nidle\nstopped");
    host.mydocker(&["start", "later"]).refused(&[1], &["stopped"]);
    host.mydocker(&["rm", "later"]).ok();
    let confirmed = host.command(&["network", "prune"]).input("y\n").run_in(&host.space);
    assert_eq!(confirmed.ok(), "Deleted Networks:\nkept");
    assert_eq!(host.mydocker(&["network", "list", "-q"]).ok(), "bridge\nfront");
}

/// A rebuild with many ports is one transaction; how long it takes is for the benches.
#[test]
fn reload_brings_thousands_of_ports_back() {
    let host = front();
    host.container("web", "front", &["-p", "20000-21999:30000-31999"]);
    let table = host.table();
    assert!(host.published().len() >= 2000);
    host.space.ok(&["nft", "flush", "ruleset"]);
    assert_eq!(host.mydocker(&["network", "reload"]).ok(), "front");
    assert_eq!(host.table(), table);
}

/// What lies in places that other programs use too is told, and only removed where it is certainly ours.
#[test]
fn leaked_namespaces_and_mounts_are_found() {
    let host = front();
    let id = "0123456789abcdef".repeat(4);
    host.space.ok(&["ip", "netns", "add", &id]);
    let merged = host.root("overlay2").join(&id).join("merged");
    std::fs::create_dir_all(&merged).expect("a directory");
    let merged = merged.to_str().expect("a plain path");
    host.space.ok(&["mount", "-t", "tmpfs", "none", merged]);
    let found = problems(&host);
    assert!(found.contains(&format!("/run/netns/{id} belongs to no running container")), "{found}");
    assert!(found.contains(&format!("{merged} belongs to no running container")), "{found}");
    // A pin that is mounted in another mount namespace is an empty file here, and not ours to judge.
    let elsewhere = "fedcba9876543210".repeat(4);
    let pin = Path::new("/run/netns").join(&elsewhere);
    host.space.run(|| std::fs::write(&pin, "")).expect("a file");
    let with_it = problems(&host);
    assert!(with_it.contains(&id) && !with_it.contains(&elsewhere), "{with_it}");
    host.space.run(|| std::fs::remove_file(&pin)).expect("the file");
    host.mydocker(&["network", "reload"]).ok();
    let found = problems(&host);
    assert!(found.contains("ip netns delete") && !found.contains(merged), "{found}");
    host.space.ok(&["ip", "netns", "delete", &id]);
    eventually("the namespace is gone", || {
        host.space.run(|| !Path::new("/run/netns").join(&id).exists()).then_some(())
    });
    assert_nothing_wrong(&host, "after all");
}
