//! `network connect --netns`: namespaces that are no container's, as `ip netns` and other runtimes make them.

use crate::host::{HOST, HOST6, Host, OUTSIDE, OUTSIDE6};
use crate::leftovers::Scope;
use crate::program::eventually;
use crate::space::Namespace;
use crate::tracer::{Kill, Moment, Until, Victims, trace};
use crate::wire::{Server, ping, tcp};

const FAILED: &[i32] = &[1];

fn dual(host: &Host) {
    host.network("front", "172.18.0.0/24", &["--subnet", "fd00:18::/64"]);
    host.network("back", "172.19.0.0/24", &[]);
}

/// A namespace with a name, as `ip netns add` makes it.
fn named(host: &Host, name: &str) -> Namespace {
    host.space.ok(&["ip", "netns", "add", name]);
    Namespace::pinned(&host.space, &std::path::Path::new("/run/netns").join(name))
}

fn remove(host: &Host, name: &str) {
    host.space.ok(&["ip", "netns", "delete", name]);
}

#[test]
fn any_namespace_is_connected_with_ports_and_disconnected_again() {
    let host = Host::new();
    dual(&host);
    let table = host.table();
    let lab = named(&host, "lab");
    let connected =
        host.mydocker(&["network", "connect", "--netns", "/run/netns/lab", "-p", "8080:80", "front"]);
    assert_eq!(connected.ok(), "172.18.0.2\nfd00:18::2");
    let servers = (Server::tcp(&lab, "0.0.0.0:80"), Server::tcp(&lab, "[fd00:18::2]:80"));
    assert_eq!(tcp(&host.outside, &format!("{HOST}:8080")).seen_as(), OUTSIDE);
    assert_eq!(tcp(&host.outside, &format!("[{HOST6}]:8080")).seen_as(), OUTSIDE6);
    assert!(ping(&lab, OUTSIDE));
    // By its name below /run/netns, and on a second network, with an address of its choice.
    let second = ["network", "connect", "--netns", "lab", "--ip", "172.19.0.9", "-p", "9090:80", "back"];
    assert_eq!(host.mydocker(&second).ok(), "172.19.0.9");
    assert_eq!(tcp(&host.outside, &format!("{HOST}:9090")).seen_as(), OUTSIDE);
    assert_eq!(tcp(&host.outside, &format!("{HOST}:8080")).seen_as(), OUTSIDE);
    let containers = host.inspect_network("back")["Containers"].clone();
    let found = containers.as_object().unwrap().values().next().unwrap().clone();
    assert_eq!(
        (found["Name"].as_str(), found["IPv4Address"].as_str()),
        (Some("/run/netns/lab"), Some("172.19.0.9/24"))
    );

    host.mydocker(&second).refused(FAILED, &["/run/netns/lab", "back", "already"]);
    host.mydocker(&["network", "rm", "front"]).refused(FAILED, &["front", "namespace /run/netns/lab"]);
    let port = ["run", "--rm", "--net", "front", "-p", "8080:80", &host.image, "true"];
    host.mydocker(&port).refused(&[125], &["8080", "namespace /run/netns/lab"]);

    host.mydocker(&["network", "disconnect", "--netns", "lab", "front"]).ok();
    let links = lab.ok(&["ip", "-br", "link"]);
    assert!(!links.contains("eth0") && links.contains("eth1"), "{links}");
    let route = lab.ok(&["ip", "route", "show", "default"]);
    assert!(route.contains("via 172.19.0.1 dev eth1"), "{route}");
    assert_eq!(tcp(&host.outside, &format!("{HOST}:9090")).seen_as(), OUTSIDE);
    host.mydocker(&["network", "disconnect", "--netns", "lab", "back"]).ok();
    assert_eq!(host.table(), table, "nothing of it is left in the table");
    let again = ["network", "disconnect", "--netns", "lab", "back"];
    host.mydocker(&again).refused(FAILED, &["/run/netns/lab", "not connected"]);
    host.mydocker(&["network", "disconnect", "-f", "--netns", "lab", "back"]).ok();
    drop((servers, lab));
    remove(&host, "lab");
    host.space.ok(&["umount", "/run/netns"]);
    host.mydocker(&["network", "rm", "front", "back"]).ok();
    host.assert_nothing_left();
}

#[test]
fn what_a_namespace_has_of_its_own_stays() {
    let host = Host::new();
    dual(&host);
    let lab = named(&host, "lab");
    lab.ip("link add eth0 type veth peer name peer0\nlink set peer0 up\naddress add 192.0.2.9/24 dev eth0\nlink set eth0 up\nroute add default via 192.0.2.1\n");
    assert_eq!(host.mydocker(&["network", "connect", "--netns", "lab", "back"]).ok(), "172.19.0.2");
    let route = lab.ok(&["ip", "route", "show", "default"]);
    assert!(route.contains("via 192.0.2.1 dev eth0"), "{route}");
    let _server = Server::tcp(&lab, "0.0.0.0:80");
    // Replies find their way all the same.
    let client = host.container("client", "front", &[]);
    assert_eq!(tcp(&client.space, "172.19.0.2:80").seen_as(), "172.19.0.1");
    host.mydocker(&["network", "disconnect", "--netns", "lab", "back"]).ok();
    let (route, rules) = (lab.ok(&["ip", "route", "show", "default"]), lab.ok(&["ip", "rule"]));
    assert!(route.contains("via 192.0.2.1 dev eth0"), "{route}");
    assert!(!rules.contains("172.19.0.2"), "{rules}");
}

#[test]
fn a_namespace_that_has_vanished_gives_back_what_it_had() {
    let host = Host::new();
    host.network("small", "172.18.0.0/30", &[]);
    let connect = ["network", "connect", "--netns", "lab", "-p", "8080:80", "small"];
    // Three ways for it to go: found by who needs its address, by who disconnects its path, by who connects another
    // namespace of the same name.
    drop(named(&host, "lab"));
    assert_eq!(host.mydocker(&connect).ok(), "172.18.0.2");
    remove(&host, "lab");
    let web = host.container("web", "small", &["-p", "8080:80"]);
    assert_eq!(web.address.to_string(), "172.18.0.2");
    drop(web);
    host.mydocker(&["rm", "-f", "web"]).ok();

    drop(named(&host, "lab"));
    assert_eq!(host.mydocker(&connect).ok(), "172.18.0.2");
    remove(&host, "lab");
    host.mydocker(&["network", "disconnect", "--netns", "lab", "small"]).ok();
    assert_eq!(host.published(), Vec::<String>::new());
    host.mydocker(&["network", "disconnect", "--netns", "lab", "small"]).refused(FAILED, &["/run/netns/lab"]);

    drop(named(&host, "lab"));
    assert_eq!(host.mydocker(&connect).ok(), "172.18.0.2");
    remove(&host, "lab");
    let lab = named(&host, "lab");
    assert_eq!(host.mydocker(&connect).ok(), "172.18.0.2");
    let _server = Server::tcp(&lab, "0.0.0.0:80");
    assert_eq!(tcp(&host.outside, &format!("{HOST}:8080")).seen_as(), OUTSIDE);
}

/// As long as nobody holds it open, the kernel makes the inode of such a path anew for whoever looks at it.
#[test]
fn the_namespace_of_a_process_is_known_by_the_process() {
    let host = Host::new();
    dual(&host);
    let program = host.program(&["unshare", "-n", "sleep", "1000"]).start_in(&host.space);
    eventually("the namespace", || {
        let name = std::fs::read_to_string(format!("/proc/{}/comm", program.pid())).ok()?;
        (name == "sleep\n").then_some(())
    });
    let path = format!("/proc/{}/ns/net", program.pid());
    for network in ["front", "back"] {
        host.mydocker(&["network", "connect", "--netns", &path, network]).ok();
    }
    host.mydocker(&["network", "connect", "--netns", &path, "front"]).refused(FAILED, &[&path, "front"]);
    for network in ["front", "back"] {
        host.mydocker(&["network", "disconnect", "--netns", &path, network]).ok();
        assert_eq!(host.inspect_network(network)["Containers"], serde_json::json!({}));
    }
    program.signal(nix::sys::signal::Signal::SIGTERM);
    program.wait();
}

#[test]
fn what_is_no_namespace_is_refused_and_nothing_changes() {
    let host = Host::new();
    dual(&host);
    let before = (host.leftovers(Scope::All), host.table());
    let file = host.scratch("scratch").join("file");
    std::fs::write(&file, "").unwrap();
    let connect = |netns: &str, needles: &[&str]| {
        host.mydocker(&["network", "connect", "--netns", netns, "front"]).refused(FAILED, needles);
    };
    connect(file.to_str().unwrap(), &["file", "not one"]);
    connect("nowhere", &["/run/netns/nowhere"]);
    connect("/proc/self/ns/net", &["the host's own"]);
    let mounts = "/proc/self/ns/mnt";
    connect(mounts, &[mounts]);
    host.mydocker(&["network", "connect", "--netns", "lab", "front", "web"]).refused(&[125], &["--netns"]);
    assert_eq!((host.leftovers(Scope::All), host.table()), before);
    // A port that cannot be had takes all of it back.
    let lab = named(&host, "lab");
    let _server = Server::tcp(&host.space, "0.0.0.0:8080");
    let port = ["network", "connect", "--netns", "lab", "-p", "8080:80", "front"];
    host.mydocker(&port).refused(FAILED, &["8080", "/run/netns/lab"]);
    assert_eq!(lab.ok(&["ip", "-br", "link"]).lines().count(), 1);
    assert_eq!(host.table(), before.1);
    assert_eq!(
        host.mydocker(&["network", "connect", "--netns", "lab", "front"]).ok(),
        "172.18.0.2\nfd00:18::2"
    );
}

/// R5: whoever is killed while connecting or disconnecting leaves nothing that the next command does not put right.
/// One address that nobody gives back, and the network has none left.
#[test]
fn r5_a_connection_of_a_namespace_that_was_cut_short_is_put_right() {
    let host = Host::new();
    host.network("small", "172.18.0.0/30", &["--subnet", "fd00:18::/126"]);
    let lab = named(&host, "lab");
    let connect = ["network", "connect", "--netns", "lab", "-p", "8080:80", "small"];
    let disconnect = ["network", "disconnect", "--netns", "lab", "small"];
    let server = Server::tcp(&lab, "0.0.0.0:80");
    let count = |command: &[&str]| {
        let traced = trace(&host, command, Until::End, None);
        traced.output.ok();
        traced.steps.len()
    };
    // The second time, because the first one makes directories that stay.
    for _ in 0..2 {
        count(&connect);
        count(&disconnect);
    }
    let steps = [(&connect[..], count(&connect)), (&disconnect[..], count(&disconnect))];
    let mut killed = 0;
    for (command, step) in
        steps.into_iter().flat_map(|(command, steps)| (0..steps).map(move |step| (command, step)))
    {
        if *command == disconnect {
            host.mydocker(&connect).ok();
        }
        let kill = Kill { step, moment: Moment::Before, victims: Victims::All };
        let traced = trace(&host, command, Until::End, Some(kill));
        killed += usize::from(traced.killed);
        let what = format!("{} was killed before {}", command[1], traced.steps[step]);
        if *command == disconnect {
            let again = host.mydocker(&disconnect);
            assert!(again.status.success() || again.stderr.contains("not connected"), "{what}: {again}");
        }
        let again = host.mydocker(&connect);
        if again.status.success() {
            assert_eq!(again.ok(), "172.18.0.2\nfd00:18::2", "{what}");
        } else {
            assert!(*command == connect && again.stderr.contains("already"), "{what}: {again}");
        }
        assert_eq!(tcp(&host.outside, &format!("{HOST}:8080")).seen_as(), OUTSIDE, "{what}");
        host.mydocker(&disconnect).ok();
        assert_eq!(lab.ok(&["ip", "-br", "link"]).lines().count(), 1, "{what}");
        assert_eq!(host.published(), Vec::<String>::new(), "{what}");
        assert_eq!(host.inspect_network("small")["Containers"], serde_json::json!({}), "{what}");
    }
    assert!(killed > 20, "{killed} kills");
    drop((server, lab));
    remove(&host, "lab");
    host.space.ok(&["umount", "/run/netns"]);
    host.mydocker(&["network", "rm", "small"]).ok();
    host.assert_nothing_left_but_temporary_files(Scope::All);
}

/// R5: a disconnection goes on when it loses its helper, and is finished by the next when the helper loses it.
#[test]
fn r5_a_disconnection_of_which_one_process_was_killed_leaves_nothing() {
    let host = Host::new();
    host.network("small", "172.18.0.0/30", &[]);
    let lab = named(&host, "lab");
    let connect = ["network", "connect", "--netns", "lab", "-p", "8080:80", "small"];
    let disconnect = ["network", "disconnect", "--netns", "lab", "small"];
    let is_clear = || lab.ok(&["ip", "-br", "link"]).lines().count() == 1 && host.published().is_empty();
    host.mydocker(&connect).ok();
    let steps = trace(&host, &disconnect, Until::End, None).steps.len();
    let mut went_on = 0;
    for step in 0..steps {
        assert_eq!(host.mydocker(&connect).ok(), "172.18.0.2", "the only address");
        let kill = Kill { step, moment: Moment::Before, victims: Victims::Doer };
        let traced = trace(&host, &disconnect, Until::End, Some(kill));
        let what = format!("killed before {}", traced.steps[step]);
        if traced.killed && traced.output.status.success() {
            went_on += 1;
            assert!(is_clear(), "{what}");
        }
        // Refused where nothing was left to do.
        host.mydocker(&disconnect);
        assert!(is_clear(), "{what}");
    }
    assert!(went_on > 0, "the helper was never killed");
}
