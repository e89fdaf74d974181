//! The table `inet mydocker` in the kernel: it is what the design's nft text says, changes are atomic, and
//! conflicts are named. The `nft` program is the oracle; mydocker itself never runs it.

use std::io::Write as _;
use std::net::IpAddr;
use std::process::{Output, Stdio};

use mydocker::netns::{self, NetNs};
use mydocker::nft::{Claim, CommitError, Element, Missing, Presence, Proto, Published, PublishedRange};
use mydocker::nft::{Skeleton, Socket, Transaction};

use crate::nft_text::meant;

const RULESET: &str = include_str!("testdata/ruleset.nft");
const ELEMENTS: &str = include_str!("testdata/elements.nft");

/// A network namespace with nothing in it, and no way to the machine's own.
struct Host {
    ns: NetNs,
    dir: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "this test makes network namespaces and must be run as root"
        );
        let dir = tempfile::tempdir().unwrap();
        let ns = NetNs::create_pinned(&dir.path().join("netns")).unwrap();
        Self { ns, dir }
    }

    fn socket(&self) -> Socket {
        self.ns.run(Socket::open).unwrap().unwrap()
    }

    /// A host with the skeleton loaded through our own code.
    fn with_table() -> (Self, Socket) {
        let host = Self::new();
        let mut socket = host.socket();
        let mut transaction = Transaction::new();
        transaction.add_skeleton(Skeleton::default());
        socket.commit(transaction).unwrap();
        (host, socket)
    }

    #[expect(clippy::disallowed_methods, reason = "the oracle; only tests run it")]
    fn run_nft(&self, arguments: &[&str], script: &str) -> Output {
        let run = || {
            let mut command = std::process::Command::new("nft");
            command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let child = crate::program::spawn(&mut command);
            let mut child = child.expect("the nft program is needed as the oracle of this test");
            child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
            child.wait_with_output().unwrap()
        };
        self.ns.run(run).unwrap()
    }

    /// Runs nft and returns what it prints; it must succeed.
    fn nft(&self, arguments: &[&str], script: &str) -> String {
        let output = self.run_nft(arguments, script);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "nft {arguments:?} failed: {errors}\n{script}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn load(&self, script: &str) {
        self.nft(&["-f", "-"], script);
    }

    /// The table as nft lists it, see [`meant`].
    fn list(&self) -> String {
        meant(&self.nft(&["list", "table", "inet", "mydocker"], ""))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        netns::unpin(&self.dir.path().join("netns")).unwrap();
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn port(host: &str, proto: Proto, host_port: u16, to: &str, to_port: u16) -> Element {
    Published::new(ip(host), proto, host_port, ip(to), to_port, None).unwrap().into()
}

fn commented(host: &str, host_port: u16, to: &str, comment: &str) -> Element {
    Published::new(ip(host), Proto::Tcp, host_port, ip(to), 80, Some(comment.to_owned())).unwrap().into()
}

fn range(host: &str, first: u16, last: u16, to: &str) -> Element {
    PublishedRange::new(ip(host), Proto::Tcp, first, last, ip(to), None).unwrap().into()
}

fn claims(host: &str, first: u16, last: u16) -> Vec<Element> {
    let claims = Claim::ports(ip(host), Proto::Tcp, first, last, None).unwrap();
    claims.into_iter().map(Element::from).collect()
}

/// The elements of `testdata/elements.nft`.
fn sample() -> Vec<Element> {
    let name = |name: &str| name.parse().unwrap();
    let mut elements = Vec::new();
    for bridge in ["br-front", "br-back", "br-inner", "br-alone", "br-plain"] {
        elements.push(Element::Bridge(name(bridge)));
        elements.push(Element::SameBridge(name(bridge)));
    }
    elements.push(Element::Internal(name("br-inner")));
    elements.push(Element::Isolated(name("br-alone")));
    elements.push(Element::Routed(name("br-plain")));
    elements.push(Element::NoMasquerade(name("br-back")));
    elements.push(Element::NoSpoofing(name("br-alone")));
    elements.extend((18..23).map(|n| Element::Subnet4(format!("172.{n}.0.0/16").parse().unwrap())));
    elements.extend((18..22).step_by(3).map(|n| Element::Subnet6(format!("fd00:{n}::/64").parse().unwrap())));
    for proto in [Proto::Tcp, Proto::Udp, Proto::Sctp] {
        elements.push(port("0.0.0.0", proto, 8080, "172.18.0.2", 80));
    }
    elements.push(port("0.0.0.0", Proto::Tcp, 8100, "172.21.0.2", 80));
    elements.push(port("198.51.100.10", Proto::Tcp, 9090, "172.18.0.3", 80));
    elements.push(port("127.0.0.1", Proto::Tcp, 6060, "172.18.0.3", 80));
    elements.extend((0..11).map(|n| port("0.0.0.0", Proto::Tcp, 8000 + n, "172.18.0.2", 80 + n)));
    elements.push(port("::", Proto::Tcp, 8080, "fd00:18::2", 80));
    elements.push(port("fd00:51::1", Proto::Tcp, 9090, "fd00:18::3", 80));
    elements.push(range("0.0.0.0", 20000, 29999, "172.18.0.2"));
    elements.push(range("::", 20000, 29999, "fd00:18::2"));
    elements.extend(claims("198.51.100.10", 9090, 9090));
    elements.extend(claims("127.0.0.1", 6060, 6060));
    elements.extend(claims("0.0.0.0", 20000, 29999));
    elements.extend(claims("::", 20000, 29999));
    elements
}

/// The table as our own code lists it, see [`meant`].
fn dumped(socket: &mut Socket) -> String {
    meant(&socket.dump().unwrap().expect("a table"))
}

fn creating(elements: impl IntoIterator<Item = Element>) -> Transaction {
    let mut transaction = Transaction::new();
    transaction.extend(elements);
    transaction
}

#[test]
fn our_table_lists_like_the_design() {
    let designed = Host::new();
    designed.load(RULESET);
    let (ours, mut socket) = Host::with_table();
    assert_eq!(ours.list(), designed.list());
    assert_eq!(meant(&Skeleton::default().to_string()), designed.list(), "the text of the empty table");
    designed.load(ELEMENTS);
    socket.commit(creating(sample())).unwrap();
    assert_eq!(ours.list(), designed.list());
}

#[test]
fn guards_come_first_in_forward_and_go_again() {
    let bridges = "meta iifkind \"bridge\" meta oifkind \"bridge\"";
    let foreign = "iifname != @bridges oifname != @bridges";
    let later = "comment \"a bridge that came later: another engine's\"";
    let why = "comment \"the host did not forward before mydocker\"";
    let rules = |family: &str| {
        // What the host makes for one interface is no routed packet.
        let spared = match family {
            "ipv4" => "ip daddr != 224.0.0.0/4",
            _ => "ip6 daddr != ff00::/8 ip6 hoplimit != 255",
        };
        format!(
            "insert rule inet mydocker forward meta nfproto {family} {foreign} counter drop {why}\n\
             insert rule inet mydocker forward meta nfproto {family} {foreign} \
             meta oifkind \"bridge\" oifname != @host_bridges accept {later}\n\
             insert rule inet mydocker forward meta nfproto {family} {foreign} \
             meta iifkind \"bridge\" iifname != @host_bridges accept {later}\n\
             insert rule inet mydocker forward meta nfproto {family} {bridges} {foreign} accept \
             comment \"see between_bridges\"\n\
             insert rule inet mydocker between_bridges {spared} iifname @host_bridges oifname @host_bridges counter drop {why}\n"
        )
    };
    let (host, mut socket) = Host::with_table();
    for (ipv4, ipv6) in [(true, false), (false, true), (true, true), (false, false)] {
        let designed = Host::new();
        designed.load(RULESET);
        // The last one inserted comes first.
        for family in [ipv6.then_some("ipv6"), ipv4.then_some("ipv4")].into_iter().flatten() {
            designed.load(&rules(family));
        }
        let skeleton = Skeleton { guard_ipv4_forwarding: ipv4, guard_ipv6_forwarding: ipv6 };
        assert_eq!(meant(&skeleton.to_string()), designed.list());
        let mut renew = Transaction::new();
        renew.renew_forwarding_guards(skeleton);
        socket.commit(renew.clone()).unwrap();
        assert_eq!(host.list(), designed.list());
        socket.commit(renew).unwrap();
        assert_eq!(host.list(), designed.list(), "renewed twice");
        let fresh = Host::new();
        let mut transaction = Transaction::new();
        transaction.rebuild(skeleton);
        fresh.socket().commit(transaction).unwrap();
        assert_eq!(fresh.list(), designed.list());
    }
}

#[test]
fn every_kind_of_element_comes_and_goes() {
    let (host, mut socket) = Host::with_table();
    let empty = host.list();
    for element in sample() {
        let create = creating([element.clone()]);
        let mut delete = Transaction::new();
        delete.delete(element.clone());

        assert_eq!(socket.contains(&element).unwrap(), Presence::ElementMissing, "{element}");
        socket.commit(create.clone()).unwrap();
        assert_eq!(socket.contains(&element).unwrap(), Presence::Present, "{element}");
        match socket.commit(create) {
            Err(CommitError::Exists { element: named }) => assert_eq!(named, element),
            other => panic!("{element} twice: {other:?}"),
        }
        socket.commit(delete.clone()).unwrap();
        match socket.commit(delete) {
            Err(CommitError::Missing { what: Missing::Element(named) }) => assert_eq!(named, element),
            other => panic!("{element} deleted twice: {other:?}"),
        }
        assert_eq!(host.list(), empty, "{element}");
    }
}

#[test]
fn a_refused_transaction_changes_nothing_and_names_the_culprit() {
    let (host, mut socket) = Host::with_table();
    socket.commit(creating([commented("0.0.0.0", 8500, "172.18.0.9", "holder")])).unwrap();
    let before = host.list();
    // The conflict is the 1,501st of 2,000: in the second message, and not its first element.
    let many = (0..2000).map(|n| port("0.0.0.0", Proto::Tcp, 7000 + n, "172.18.0.2", 80));
    let mut transaction = creating([Element::Bridge("br-new".parse().unwrap())]);
    transaction.extend(many);
    match socket.commit(transaction) {
        Err(CommitError::Exists { element: Element::Published(taken) }) => {
            assert_eq!((taken.host_port(), taken.host()), (8500, ip("0.0.0.0")));
        }
        other => panic!("{other:?}"),
    }
    let mut transaction = creating([Element::Bridge("br-new".parse().unwrap())]);
    transaction.delete(Element::Subnet4("10.0.0.0/8".parse().unwrap()));
    assert!(matches!(
        socket.commit(transaction),
        Err(CommitError::Missing { what: Missing::Element(Element::Subnet4(_)) })
    ));
    assert_eq!(host.list(), before);
    // The socket is as good as before.
    socket.commit(creating([port("0.0.0.0", Proto::Tcp, 8501, "172.18.0.2", 80)])).unwrap();
}

#[test]
fn overlaps_are_conflicts() {
    let (_host, mut socket) = Host::with_table();
    socket
        .commit(creating([
            Element::Subnet4("10.0.0.0/16".parse().unwrap()),
            Element::Subnet6("fd00::/48".parse().unwrap()),
            range("0.0.0.0", 20000, 20999, "172.18.0.2"),
        ]))
        .unwrap();
    for overlapping in [
        Element::Subnet4("10.0.1.0/24".parse().unwrap()),
        Element::Subnet4("10.0.0.0/8".parse().unwrap()),
        Element::Subnet6("fd00:0:0:1::/64".parse().unwrap()),
        range("198.51.100.10", 20100, 20110, "172.18.0.3"),
    ] {
        match socket.commit(creating([overlapping.clone()])) {
            Err(CommitError::Exists { element }) => assert_eq!(element, overlapping),
            other => panic!("{overlapping}: {other:?}"),
        }
        assert_eq!(socket.contains(&overlapping).unwrap(), Presence::ElementMissing, "{overlapping}");
    }
    // Neighbours are none, however close; nor are subnets that reach the end of the address space.
    socket
        .commit(creating([
            Element::Subnet4("10.1.0.0/16".parse().unwrap()),
            Element::Subnet4("240.0.0.0/4".parse().unwrap()),
            range("0.0.0.0", 21000, 65535, "172.18.0.2"),
        ]))
        .unwrap();
    assert_eq!(
        socket.contains(&Element::Subnet4("240.0.0.0/4".parse().unwrap())).unwrap(),
        Presence::Present
    );
}

/// Ports, ranges, one address and every address: in `claims` the kernel sees every overlap, whichever is first.
#[test]
fn claims_overlap_as_sockets_do() {
    let hosts = [("198.51.100.10", 80, 80), ("0.0.0.0", 80, 80), ("0.0.0.0", 70, 90), ("0.0.0.0", 60, 100)];
    for (one, other) in hosts.iter().flat_map(|one| hosts.map(|other| (*one, other))) {
        let (_host, mut socket) = Host::with_table();
        socket.commit(creating(claims(one.0, one.1, one.2))).unwrap();
        let wanted = claims(other.0, other.1, other.2);
        match socket.commit(creating(wanted.clone())) {
            Err(CommitError::Exists { element }) => assert_eq!([element], wanted[..]),
            result => panic!("{other:?} after {one:?}: {result:?}"),
        }
        // To ask for room is to create and to delete: it leaves nothing, whether there is room or not.
        let before = socket.dump().unwrap();
        for (first, free) in [(75, false), (200, true)] {
            let mut transaction = Transaction::new();
            let probe = claims("0.0.0.0", first, first + 10);
            transaction.extend(probe.clone());
            transaction.delete(probe[0].clone());
            assert_eq!(socket.commit(transaction).is_ok(), free, "{first} after {one:?}");
            assert_eq!(socket.dump().unwrap(), before);
        }
    }
    let (_host, mut socket) = Host::with_table();
    let udp = Claim::ports(ip("0.0.0.0"), Proto::Udp, 80, 80, None).unwrap();
    socket.commit(creating(udp.into_iter().map(Element::from))).unwrap();
    for free in [("198.51.100.10", 80), ("198.51.100.11", 80), ("::", 80), ("0.0.0.0", 79), ("0.0.0.0", 81)] {
        socket.commit(creating(claims(free.0, free.1, free.1))).unwrap_or_else(|e| panic!("{free:?}: {e}"));
    }
}

#[test]
fn taken_ports_are_listed_with_their_holders_and_a_later_change_refuses_the_transaction() {
    let (host, mut socket) = Host::with_table();
    socket
        .commit(creating([
            commented("198.51.100.10", 443, "172.18.0.2", "web"),
            port("::", Proto::Udp, 53, "fd00::2", 53),
            range("0.0.0.0", 20000, 29999, "172.18.0.2"),
        ]))
        .unwrap();
    let taken = socket.taken_ports().unwrap();
    let seen: Vec<_> =
        taken.ports.iter().map(|p| (p.host, p.proto, p.first, p.last, p.holder.as_deref())).collect();
    assert_eq!(
        seen,
        [
            (ip("198.51.100.10"), Proto::Tcp, 443, 443, Some("web")),
            (ip("::"), Proto::Udp, 53, 53, None),
            (ip("0.0.0.0"), Proto::Tcp, 20000, 29999, None),
        ]
    );
    let at_this_moment = |n| {
        let mut transaction = creating([port("0.0.0.0", Proto::Tcp, n, "172.18.0.2", 80)]);
        transaction.only_at(taken.generation);
        transaction
    };
    socket.commit(at_this_moment(1)).unwrap();
    assert!(matches!(socket.commit(at_this_moment(2)), Err(CommitError::Stale)), "the first changed it");
    assert_eq!(socket.taken_ports().unwrap().ports.len(), 4);
    let empty = Host::new();
    assert!(matches!(empty.socket().taken_ports(), Err(CommitError::Missing { what: Missing::Table })));
    drop(host);
}

#[test]
fn the_holder_of_a_taken_port_is_found_by_its_comment() {
    let (host, mut socket) = Host::with_table();
    let held = range("0.0.0.0", 20000, 29999, "172.18.0.2");
    let with_comment = PublishedRange::new(
        ip("::"),
        Proto::Udp,
        100,
        200,
        ip("fd00::2"),
        Some("container db, \u{e4}".to_owned()),
    );
    let with_comment = Element::from(with_comment.unwrap());
    socket
        .commit(creating([
            commented("0.0.0.0", 443, "172.18.0.2", "web"),
            held.clone(),
            with_comment.clone(),
        ]))
        .unwrap();
    assert!(host.list().contains("0.0.0.0 . tcp . 443 comment \"web\" : 172.18.0.2 . 80"));
    let wanted = port("0.0.0.0", Proto::Tcp, 443, "172.18.0.77", 8080);
    assert_eq!(socket.lookup_comment(&wanted).unwrap().as_deref(), Some("web"));
    assert_eq!(socket.lookup_comment(&held).unwrap(), None);
    assert_eq!(socket.lookup_comment(&with_comment).unwrap().as_deref(), Some("container db, \u{e4}"));
    assert_eq!(socket.lookup_comment(&port("::", Proto::Tcp, 443, "fd00::2", 80)).unwrap(), None);
}

#[test]
fn without_the_table_everything_says_so() {
    let host = Host::new();
    let mut socket = host.socket();
    let element = port("0.0.0.0", Proto::Tcp, 80, "172.18.0.2", 80);
    assert_eq!(socket.contains(&element).unwrap(), Presence::TableMissing);
    assert_eq!(socket.lookup_comment(&element).unwrap(), None);
    let missing = |result| {
        assert!(matches!(result, Err(CommitError::Missing { what: Missing::Table })), "{result:?}");
    };
    let mut deleting = Transaction::new();
    deleting.delete(element.clone());
    missing(socket.commit(deleting));
    missing(socket.commit(creating([element.clone()])));
    let mut renew = Transaction::new();
    renew.renew_forwarding_guards(Skeleton::default());
    missing(socket.commit(renew));
    let mut delete_table = Transaction::new();
    delete_table.delete_table();
    missing(socket.commit(delete_table.clone()));

    // A table of the same name that is not ours lacks the set.
    host.load("table inet mydocker {\n}\n");
    assert_eq!(socket.contains(&element).unwrap(), Presence::TableMissing);
    let result = socket.commit(creating([element]));
    assert!(matches!(result, Err(CommitError::Missing { what: Missing::Set("published4") })), "{result:?}");
    host.load("table inet mydocker {\n chain forward {\n }\n}\n");
    let mut renew = Transaction::new();
    renew.renew_forwarding_guards(Skeleton::default());
    let result = socket.commit(renew);
    assert!(matches!(result, Err(CommitError::Missing { what: Missing::Chain("forward") })), "{result:?}");
    socket.commit(delete_table).unwrap();
    assert_eq!(host.nft(&["list", "ruleset"], ""), "");
    socket.commit(Transaction::new()).unwrap();
}

#[test]
fn a_rebuild_keeps_nothing_old() {
    let (host, mut socket) = Host::with_table();
    let empty = host.list();
    socket.commit(creating(sample())).unwrap();
    host.load("add set inet mydocker foreign { type ipv4_addr; }\n");
    let mut transaction = Transaction::new();
    transaction.rebuild(Skeleton::default());
    socket.commit(transaction.clone()).unwrap();
    assert_eq!(host.list(), empty);
    let bridge = Element::Bridge("br-new".parse().unwrap());
    transaction.create(bridge.clone());
    socket.commit(transaction).unwrap();
    assert_eq!(socket.contains(&bridge).unwrap(), Presence::Present);
}

#[test]
fn ten_thousand_ports_in_one_transaction() {
    let (host, mut socket) = Host::with_table();
    let empty = host.list();
    let ports: Vec<_> = (0..5000)
        .flat_map(|n| {
            [
                commented("0.0.0.0", 10_000 + n, "172.18.0.2", "one of very many published ports"),
                commented("::", 10_000 + n, "fd00:18::2", "one of very many published ports"),
            ]
        })
        .collect();
    socket.commit(creating(ports.clone())).unwrap();
    for port in ports.iter().step_by(999) {
        assert_eq!(socket.contains(port).unwrap(), Presence::Present, "{port}");
    }
    assert_eq!(host.list().matches("one of very many").count(), 10_000);
    let mut transaction = Transaction::new();
    ports.into_iter().for_each(|port| {
        transaction.delete(port);
    });
    socket.commit(transaction).unwrap();
    assert_eq!(host.list(), empty);
    // Unshifted, they are one element.
    socket.commit(creating([range("0.0.0.0", 20000, 29999, "172.18.0.2")])).unwrap();
    assert!(host.list().contains("elements = { 0.0.0.0/0 . tcp . 20000-29999 : 172.18.0.2 }"));
}

#[test]
fn the_text_of_a_transaction_is_the_transaction() {
    let mut rebuild = Transaction::new();
    rebuild.rebuild(Skeleton { guard_ipv4_forwarding: true, guard_ipv6_forwarding: true });
    rebuild.extend(sample());
    rebuild.create(commented("10.1.2.3", 443, "172.18.0.2", "web, the first"));
    let mut add = Transaction::new();
    add.add_skeleton(Skeleton::default());
    add.extend(sample());
    let mut change = Transaction::new();
    for element in sample() {
        change.delete(element);
    }
    change.renew_forwarding_guards(Skeleton { guard_ipv4_forwarding: false, guard_ipv6_forwarding: true });
    change.create(range("198.51.100.10", 1, 1023, "172.18.0.2"));
    let mut gone = Transaction::new();
    gone.delete_table();

    let (by_text, by_netlink) = (Host::new(), Host::new());
    let mut socket = by_netlink.socket();
    for transaction in [rebuild, gone.clone(), add, change] {
        let text = transaction.to_string();
        by_text.nft(&["-c", "-f", "-"], &text);
        by_text.load(&text);
        socket.commit(transaction).unwrap();
        let ruleset = |host: &Host| host.nft(&["list", "ruleset"], "");
        assert_eq!(ruleset(&by_text), ruleset(&by_netlink), "{text}");
    }
    let twice = by_text.run_nft(&["-f", "-"], "create table inet mydocker\n");
    assert!(!twice.status.success());
}

#[test]
fn of_two_that_make_the_table_one_succeeds_and_both_elements_stay() {
    for round in 0..10 {
        let host = Host::new();
        let run = |name: &str| {
            let mut socket = host.socket();
            let bridge = Element::Bridge(name.parse().unwrap());
            let mut transaction = Transaction::new();
            transaction.add_skeleton(Skeleton::default()).create(bridge.clone());
            match socket.commit(transaction) {
                Ok(()) => true,
                Err(CommitError::TableExists) => {
                    socket.commit(creating([bridge])).unwrap();
                    false
                }
                Err(error) => panic!("{error:?}"),
            }
        };
        let (one, other) = std::thread::scope(|scope| {
            let other = scope.spawn(|| run("br-b"));
            (run("br-a"), other.join().unwrap())
        });
        assert!(one != other, "round {round}: both made the table, or neither");
        let list = host.list();
        assert!(list.contains("\"br-a\"") && list.contains("\"br-b\""), "round {round}: {list}");
    }
}

#[test]
fn the_dump_is_what_nft_lists() {
    let (host, mut socket) = Host::with_table();
    assert_eq!(dumped(&mut socket), host.list());
    socket.commit(creating(sample())).unwrap();
    assert_eq!(dumped(&mut socket), host.list());
    // Every form of an element, and more than one message's worth of answers.
    let mut transaction = Transaction::new();
    transaction
        .renew_forwarding_guards(Skeleton { guard_ipv4_forwarding: true, guard_ipv6_forwarding: true });
    transaction.extend((0..3000).map(|n| commented("198.51.100.1", 30_000 + n, "172.18.0.9", "web")));
    transaction.extend((0..300).map(|n| Element::Bridge(format!("br{n}").parse().unwrap())));
    transaction.extend((0..300).map(|n| Element::SameBridge(format!("br{n}").parse().unwrap())));
    transaction.extend((0..200).map(|n| Element::Subnet4(format!("10.{n}.0.0/30").parse().unwrap())));
    transaction.extend((0..200).map(|n| Element::Subnet6(format!("fd01:{n}::/56").parse().unwrap())));
    for subnet in ["203.0.113.7/32", "224.0.0.0/3", "203.0.113.8/32"] {
        transaction.create(Element::Subnet4(subnet.parse().unwrap()));
    }
    transaction.create(Element::Subnet6("ff00::/8".parse().unwrap()));
    transaction.create(range("198.51.100.10", 1024, 2047, "172.18.0.4"));
    transaction.create(range("198.51.100.10", 5, 5, "172.18.0.4"));
    transaction.create(range("fd00:51::1", 1, 65535, "fd00:18::4"));
    transaction.create(port("::ffff:1.2.3.4", Proto::Sctp, 1, "fd00::1:0:0:2", 65535));
    socket.commit(transaction).unwrap();
    assert_eq!(dumped(&mut socket), host.list());
}

#[test]
fn the_dump_shows_what_is_foreign() {
    let host = Host::new();
    let mut socket = host.socket();
    assert_eq!(socket.dump().unwrap(), None);
    host.load("table inet other {\n chain forward {\n accept\n }\n}\n");
    assert_eq!(socket.dump().unwrap(), None);
    host.load("table inet mydocker {\n chain c {\n tcp dport 80 limit rate 5/second accept\n }\n}\n");
    let dump = socket.dump().unwrap().unwrap();
    assert!(dump.contains("# unknown: limit"), "{dump}");
    assert!(!dump.contains("other"), "{dump}");
}

#[test]
fn a_dump_while_the_table_changes_is_whole() {
    let (host, mut socket) = Host::with_table();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut socket = host.socket();
            let element = Element::Bridge("br-x".parse().unwrap());
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                socket.commit(creating([element.clone()])).unwrap();
                let mut delete = Transaction::new();
                delete.delete(element.clone());
                socket.commit(delete).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
        });
        let end = Skeleton::default().to_string();
        for _ in 0..20 {
            match socket.dump() {
                Ok(dump) => assert!(dump.unwrap().ends_with(&end[end.len() - 2000..])),
                Err(CommitError::Stale) => {}
                Err(error) => panic!("{error}"),
            }
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn without_the_capability_it_is_named() {
    let (host, _socket) = Host::with_table();
    let result = host.ns.run(|| {
        // Capabilities belong to the thread, and this one ends with the closure.
        caps::drop(None, caps::CapSet::Effective, caps::Capability::CAP_NET_ADMIN).unwrap();
        Socket::open().unwrap().commit(creating(sample()))
    });
    let error = result.unwrap().unwrap_err();
    assert!(matches!(error, CommitError::PermissionDenied), "{error:?}");
    assert!(error.to_string().contains("CAP_NET_ADMIN"));
}
