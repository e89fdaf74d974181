//! The fixture itself, held against plain tools: a fixture that lies would make every other test lie.

use std::path::Path;

use crate::host::{HOST, HOST_SIDE, Host, NEIGHBOUR, OUTSIDE, SIDE};
use crate::leftovers::Scope;
use crate::program::{Program, eventually};
use crate::wire::{Probe, Server, ping, tcp, tcp_dropped, udp, udp_dropped};

#[test]
fn outside_and_neighbour_reach_the_host_and_are_seen_by_their_own_addresses() {
    let host = Host::new();
    let server = Server::tcp(&host.space, &format!("{HOST}:80"));
    assert_eq!(tcp(&host.outside, &format!("{HOST}:80")).seen_as(), OUTSIDE);
    assert_eq!(tcp(&host.neighbour, &format!("{HOST}:80")).seen_as(), NEIGHBOUR);
    assert_eq!(tcp(&host.space, &format!("{HOST}:80")).seen_as(), HOST);
    assert_eq!(server.clients(), [OUTSIDE, NEIGHBOUR, HOST]);
    let _server = Server::udp(&host.space, &format!("{HOST}:80"));
    assert_eq!(udp(&host.outside, &format!("{HOST}:80")).seen_as(), OUTSIDE);
    assert_eq!(udp(&host.neighbour, &format!("{HOST}:80")).seen_as(), NEIGHBOUR);
}

#[test]
fn the_host_reaches_outside_by_its_default_route_and_is_seen_by_its_uplink_address() {
    let host = Host::new();
    let _server = Server::tcp(&host.outside, &format!("{OUTSIDE}:80"));
    assert_eq!(tcp(&host.space, &format!("{OUTSIDE}:80")).seen_as(), HOST);
    assert!(ping(&host.space, OUTSIDE));
}

#[test]
fn outside_has_no_way_to_container_subnets() {
    let host = Host::new();
    assert_eq!(tcp(&host.outside, "172.18.0.2:80"), Probe::NoRoute);
    assert_eq!(tcp(&host.outside, "10.89.0.2:80"), Probe::NoRoute);
}

#[test]
fn a_closed_port_refuses_and_a_filtered_one_is_silent() {
    let host = Host::new();
    let at = format!("{HOST}:81");
    assert_eq!(tcp(&host.outside, &at), Probe::Refused);
    assert_eq!(udp(&host.outside, &at), Probe::Refused);
    let _server = Server::tcp(&host.space, &at);
    host.space.ok(&[
        "nft",
        "add table inet t; add chain inet t c { type filter hook input priority 0; policy drop; }",
    ]);
    tcp_dropped(&host.outside, &at);
    udp_dropped(&host.outside, &at);
}

#[test]
fn the_side_link_is_reached_through_the_host_only_when_it_forwards() {
    let mut host = Host::new();
    let side = host.add_side_link();
    assert!(ping(&host.space, SIDE));
    host.neighbour.ok(&["ip", "route", "add", "192.0.2.0/24", "via", HOST]);
    let _server = Server::tcp(&side, &format!("{SIDE}:80"));
    tcp_dropped(&host.neighbour, &format!("{SIDE}:80"));
    host.space.set_sysctl("net/ipv4/ip_forward", "1");
    assert_eq!(tcp(&host.neighbour, &format!("{SIDE}:80")).seen_as(), NEIGHBOUR);
    assert!(ping(&side, HOST_SIDE));
}

#[test]
fn nothing_is_left_in_a_fresh_host_and_each_kind_of_leftover_is_seen() {
    let host = Host::new();
    host.assert_nothing_left();
    assert_eq!(host.leftovers(Scope::Containers), Vec::<String>::new());
    let seen = |what: &str, scope| {
        let left = host.leftovers(scope);
        assert!(left.iter().any(|line| line.contains(what)), "{what} is not among {left:?}");
    };

    host.space.ip("link add testbr0 type bridge\nlink add abcde type veth peer name cif-abcde\n");
    seen("device testbr0", Scope::All);
    seen("device abcde", Scope::Containers);
    assert!(!host.leftovers(Scope::Containers).iter().any(|line| line.contains("testbr0")));
    host.space.ip("link delete testbr0\nlink delete abcde\n");

    host.space.ok(&["nft", "add", "table", "inet", "mydocker"]);
    seen("table inet mydocker", Scope::All);
    host.space.ok(&["nft", "delete", "table", "inet", "mydocker"]);

    host.space.ok(&["ip", "netns", "add", "pinned"]);
    seen("mount /run/netns/pinned", Scope::Containers);
    seen("pin /run/netns/pinned", Scope::Containers);
    assert!(!Path::new("/run/netns/pinned").exists(), "the host's /run is the machine's");
    host.space.ok(&["ip", "netns", "delete", "pinned"]);
    // `ip netns` makes the directory a mount point of its own.
    host.space.ok(&["umount", "/run/netns"]);

    let merged = host.root("overlay2/x/merged");
    std::fs::create_dir_all(&merged).unwrap();
    host.space.ok(&["mount", "-t", "tmpfs", "tmpfs", merged.to_str().unwrap()]);
    seen("mount /", Scope::Containers);
    host.space.ok(&["umount", merged.to_str().unwrap()]);

    std::fs::create_dir_all(host.root("network/network")).unwrap();
    std::fs::write(host.root("network/network/testbr0"), "{}").unwrap();
    seen("network/network/testbr0", Scope::All);
    std::fs::remove_file(host.root("network/network/testbr0")).unwrap();
    std::fs::create_dir_all(host.run_root("containers/x")).unwrap();
    std::fs::write(host.run_root("containers/x/socket"), "").unwrap();
    seen("containers/x/socket", Scope::Containers);
    std::fs::remove_file(host.run_root("containers/x/socket")).unwrap();

    let sleeper = Program::new(&["sleep", "1000"]).start_in(&host.space);
    seen(&format!("process {}", sleeper.pid()), Scope::Containers);
    drop(sleeper);
    host.assert_nothing_left();
}

/// What is beside the tests on a machine in use is made here on a host of the test's own, and what would be a test
/// there is one level further down.
#[test]
fn what_others_have_on_the_machine_is_not_taken_for_ours() {
    let machine = Host::new();
    machine.space.ok(&["sh", "-c", "ip netns add x && ip netns add 'with space' && ip netns add cover"]);
    machine.space.ok(&["mount", "-t", "tmpfs", "tmpfs", "/run/netns"]);
    machine.space.ok(&["ip", "netns", "add", "x"]);
    machine.space.ip("link add docker0 type bridge\nlink add testbr0 type bridge\n");
    machine.space.ok(&["nft", "add table ip filter; add table inet mydocker"]);
    let start = ["run", "-d", "--name", "beside", "--net", "none", &machine.image, "sleep", "100000"];
    let id = machine.mydocker(&start).ok();
    let pin = format!("mount /run/netns/{id}");
    let others = || {
        let mut lines = machine.leftovers(Scope::All);
        lines.retain(|line| !line.starts_with("process "));
        lines
    };
    let before = others();
    assert!(before.contains(&pin), "{before:?}");

    let host = machine.space.run(Host::new);
    host.assert_nothing_left();
    // The same things of its own are found all the same.
    host.space.ok(&["ip", "netns", "add", "x"]);
    host.mydocker(&start.map(|word| if word == machine.image { host.image.as_str() } else { word })).ok();
    let left = host.leftovers(Scope::Containers);
    for kind in ["mount /run/netns/x", "pin /run/netns/x", "file ", "process ", "cgroup "] {
        assert!(left.iter().any(|line| line.starts_with(kind)), "{kind} is not among {left:?}");
    }
    assert!(!left.iter().any(|line| line.contains(&id)), "{left:?}");
    drop(host);
    assert_eq!(others(), before, "the end of a host is nobody else's");
    assert_eq!(machine.inspect("beside")["State"]["Running"], true);
}

#[test]
fn a_cgroup_of_a_container_of_ours_is_seen_and_removed_with_the_host() {
    let host = Host::new();
    let id = format!("{:064x}", std::process::id());
    std::fs::create_dir_all(host.root("containers").join(&id)).unwrap();
    let controller =
        ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"].into_iter().find(|path| Path::new(path).exists());
    let cgroup = Path::new(controller.unwrap()).join(format!("mydocker-{id}"));
    std::fs::create_dir(&cgroup).unwrap();
    let left = host.leftovers(Scope::Containers);
    assert!(left.iter().any(|line| line.contains(&id)), "{left:?}");
    drop(host);
    assert!(!cgroup.exists());
}

#[test]
fn a_panic_leaves_nothing_of_the_host() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let outcome = std::thread::spawn(move || {
        let host = Host::new();
        // A process that nobody waits for, as a supervisor would be.
        host.space.ok(&["sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 &"]);
        sender.send((host.root(""), host.space.inodes(), host.space.hold())).unwrap();
        panic!("as a failing test would");
    })
    .join();
    assert!(outcome.is_err());
    let (root, inodes, _held) = receiver.recv().unwrap();
    assert!(!root.parent().unwrap().exists());
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let link = std::fs::read_link(entry.path().join("ns/net")).unwrap_or_default();
        let within = inodes.iter().any(|inode| link.to_string_lossy().ends_with(&format!("[{inode}]")));
        assert!(!within, "{} is still in the host's network namespace", entry.path().display());
    }
}

#[test]
fn programs_are_run_with_their_output_status_and_terminal() {
    let host = Host::new();
    let output = host.space.program(&["sh", "-c", "echo out; echo err >&2; exit 3"]);
    assert_eq!((output.code(), output.stdout.as_str(), output.stderr.as_str()), (3, "out\n", "err\n"));
    assert_eq!(Program::new(&["cat"]).input("text").run_in(&host.space).ok(), "text");
    let mut cat = Program::new(&["cat"]).open_input().start_in(&host.space);
    cat.say("hello\n");
    cat.wait_for("hello");
    assert!(cat.is_running());
    cat.end_input();
    assert_eq!(cat.wait().ok(), "hello");
    let terminal = Program::new(&["sh", "-c", "test -t 1 && stty size"]).on_a_terminal().run_in(&host.space);
    assert_eq!(terminal.stdout, "33 111\r\n");
    let mut sleeper = Program::new(&["sleep", "1000"]).start_in(&host.space);
    sleeper.signal(nix::sys::signal::Signal::SIGTERM);
    eventually("the signal to end it", || (!sleeper.is_running()).then_some(()));
}

#[test]
fn small_containers_have_what_tests_use() {
    let host = Host::new();
    let inside = |command: &str| host.space.ok(&["chroot", &host.image, "/bin/sh", "-c", command]);
    assert_eq!(inside("id -u tester; cat /www/index.html"), "1234\na page from a container");
    assert_eq!(inside("REMOTE_ADDR=x /www/cgi-bin/peer"), "Content-Type: text/plain\r\n\r\nx");
}
