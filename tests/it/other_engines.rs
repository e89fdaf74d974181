//! Another engine makes a bridge on a host where mydocker switched forwarding on: its containers have their way out, the
//! host still routes between none of its own links, and nobody loses what he relies on.

use crate::host::{HOST, HOST_SIDE, Host, NEIGHBOUR, OUTSIDE, SIDE};
use crate::space::Namespace;
use crate::wire::{Server, tcp, tcp_dropped};

const FORWARDING: &str = "net/ipv4/ip_forward";

/// What another engine makes: a bridge, a container on it, and a rule that masquerades what leaves.
fn engine(host: &Host, bridge: &str, third: u8) -> Namespace {
    let container = Namespace::new("engine");
    let port = format!("{bridge}p");
    host.space.ip(&format!(
        "link add {bridge} type bridge\naddress add 192.168.{third}.1/24 dev {bridge}\nlink set {bridge} up\n\
         link add {port} type veth peer name eth0 netns {}\nlink set {port} master {bridge} up\n",
        container.path()
    ));
    container.ip(&format!(
        "link set lo up\naddress add 192.168.{third}.2/24 dev eth0\nlink set eth0 up\n\
         route add default via 192.168.{third}.1\n"
    ));
    host.space.ok(&[
        "nft",
        &format!(
            "table ip {bridge} {{ chain out {{ type nat hook postrouting priority srcnat; \
             ip saddr 192.168.{third}.0/24 oifname != {bridge} masquerade; }}; }}"
        ),
    ]);
    container
}

fn lan(host: &Host, to: &str) {
    host.neighbour.ok(&["ip", "route", "add", to, "via", HOST]);
}

#[test]
fn r15_a_bridge_that_comes_later_has_its_way_out_and_the_hosts_links_stay_apart() {
    let mut host = Host::new();
    let side = host.add_side_link();
    let early = engine(&host, "early0", 50);
    host.network("front", "172.18.0.0/16", &[]);
    assert_eq!(host.space.sysctl(FORWARDING), "1");
    let later = engine(&host, "later0", 51);
    let outside = Server::tcp(&host.outside, &format!("{OUTSIDE}:80"));
    let web = Server::tcp(&side, &format!("{SIDE}:80"));
    assert_eq!(tcp(&later, &format!("{OUTSIDE}:80")).seen_as(), HOST, "to the outside");
    assert_eq!(tcp(&later, &format!("{SIDE}:80")).seen_as(), HOST_SIDE, "to the other link");
    // Between two networks of that engine, too: it has rules of its own for that.
    let other = engine(&host, "later1", 52);
    let inner = Server::tcp(&other, "192.168.52.2:80");
    tcp(&later, "192.168.52.2:80").seen_as();
    // S9: not from link to link, and not for a bridge that was there before.
    lan(&host, "192.0.2.0/24");
    lan(&host, "192.168.50.0/24");
    tcp_dropped(&host.neighbour, &format!("{SIDE}:80"));
    tcp_dropped(&early, &format!("{OUTSIDE}:80"));
    let before = Server::tcp(&early, "192.168.50.2:80");
    tcp_dropped(&host.neighbour, "192.168.50.2:80");
    assert_eq!(before.clients(), [""; 0]);
    assert_eq!(
        (outside.clients(), web.clients(), inner.clients().len()),
        (vec![HOST.to_owned()], vec![HOST_SIDE.to_owned()], 1)
    );
    // The check names what was dropped, and how to have both; and that is so after a rebuild of the table, too.
    let check = host.mydocker(&["network", "check"]);
    assert!(check.stdout.contains("links that are not mydocker's were dropped"), "{check}");
    host.space.ok(&["nft", "delete", "table", "inet", "mydocker"]);
    host.mydocker(&["network", "reload"]).ok();
    tcp_dropped(&early, &format!("{OUTSIDE}:80"));
    assert_eq!(tcp(&later, &format!("{OUTSIDE}:80")).seen_as(), HOST);
    let check = host.mydocker(&["network", "check"]);
    let file = host.run_root.join("network/forwarding");
    assert!(check.stdout.contains(&format!("rm {} && mydocker network reload", file.display())), "{check}");
    std::fs::remove_file(file).expect("the file that the check names");
    host.mydocker(&["network", "reload"]).ok();
    assert_eq!(tcp(&host.neighbour, &format!("{SIDE}:80")).seen_as(), NEIGHBOUR, "the remedy");
    for bridge in ["early0", "later0", "later1"] {
        host.space.ok(&["nft", "delete", "table", "ip", bridge]);
        host.space.ok(&["ip", "link", "delete", bridge]);
    }
}

#[test]
fn r15_forwarding_stays_for_whoever_came_to_rely_on_it() {
    let mut host = Host::new();
    let side = host.add_side_link();
    host.network("front", "172.18.0.0/16", &[]);
    let later = engine(&host, "later0", 51);
    let outside = Server::tcp(&host.outside, &format!("{OUTSIDE}:80"));
    let web = Server::tcp(&side, &format!("{SIDE}:80"));
    host.mydocker(&["network", "rm", "front"]).ok();
    assert_eq!(host.space.sysctl(FORWARDING), "1");
    assert_eq!(tcp(&later, &format!("{OUTSIDE}:80")).seen_as(), HOST);
    lan(&host, "192.0.2.0/24");
    tcp_dropped(&host.neighbour, &format!("{SIDE}:80"));
    assert_eq!((outside.clients().len(), web.clients().len()), (1, 0));
    // A network more comes and goes as ever.
    host.network("back", "172.19.0.0/16", &[]);
    // All that there is to say are notes.
    assert_eq!(host.mydocker(&["network", "check"]).code(), 0);
    host.mydocker(&["network", "rm", "back"]).ok();
    assert_eq!(host.space.sysctl(FORWARDING), "1");
    // Once that engine has gone, everything is as it was.
    host.space.ok(&["nft", "delete", "table", "ip", "later0"]);
    host.space.ok(&["ip", "link", "delete", "later0"]);
    drop(later);
    host.mydocker(&["network", "reload"]).ok();
    assert_eq!(host.space.sysctl(FORWARDING), "0");
    host.assert_nothing_left();
}
