//! Names in DNS: containers find each other, their host, and everything that the host's servers know.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::host::{Container, Host};
use crate::program::{Output, Program, eventually};
use crate::space::Namespace;

/// Where a container asks.
const SERVER: &str = "@127.0.0.11";

/// What `dig` says, asked from inside a container's network.
#[track_caller]
fn dig(space: &Namespace, words: &[&str]) -> Output {
    space.program(&[&["dig", SERVER, "+tries=1", "+time=10"], words].concat())
}

/// The answers alone, sorted.
#[track_caller]
fn short(space: &Namespace, words: &[&str]) -> Vec<String> {
    let output = dig(space, &[words, &["+short"]].concat()).ok();
    let mut lines: Vec<String> = output.lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

/// The code of the answer.
#[track_caller]
fn code(space: &Namespace, words: &[&str]) -> String {
    let output = dig(space, words).ok();
    let (_, rest) = output.split_once("status: ").unwrap_or_else(|| panic!("no status: {output}"));
    rest.split(',').next().unwrap_or_default().to_owned()
}

/// Gives the host another list of name servers. What it returns is the file, which may be changed.
pub(crate) fn servers(host: &Host, text: &str) -> std::path::PathBuf {
    let file = host.scratch("servers").join("resolv.conf");
    std::fs::write(&file, text).unwrap();
    host.space.run(|| {
        mount(Some(&file), "/etc/resolv.conf", None::<&str>, MsFlags::MS_BIND, None::<&str>).expect("a list");
    });
    file
}

/// What a server does with every question.
#[derive(Clone, Copy)]
pub(crate) enum Answers {
    /// It has this address for every name.
    Address([u8; 4]),
    /// Every name is unknown to it.
    NotThere,
    /// It cannot answer.
    Fails,
    /// It says that the answer is too long for UDP; by TCP, it is some thousand bytes.
    Long,
}

/// A name server somewhere outside of containers, and the questions that it got.
pub(crate) struct Upstream {
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Upstream {
    pub(crate) fn start(space: &Namespace, address: &str, answers: Answers) -> Self {
        let (udp, tcp) = space.run(|| {
            (
                UdpSocket::bind((address, 53)).expect("port 53"),
                TcpListener::bind((address, 53)).expect("port 53"),
            )
        });
        let seen = Arc::new(Mutex::new(Vec::new()));
        let by_udp = Arc::clone(&seen);
        std::thread::spawn(move || {
            let mut buffer = [0; 65_535];
            while let Ok((size, client)) = udp.recv_from(&mut buffer) {
                by_udp.lock().unwrap().push(buffer[..size].to_vec());
                udp.send_to(&reply(&buffer[..size], answers, false), client).ok();
            }
        });
        let by_tcp = Arc::clone(&seen);
        std::thread::spawn(move || {
            for mut stream in tcp.incoming().flatten() {
                let mut length = [0; 2];
                let mut query = Vec::new();
                let read = stream.read_exact(&mut length).and_then(|()| {
                    query.resize(usize::from(u16::from_be_bytes(length)), 0);
                    stream.read_exact(&mut query)
                });
                if read.is_ok() {
                    by_tcp.lock().unwrap().push(query.clone());
                    let reply = reply(&query, answers, true);
                    let length = u16::try_from(reply.len()).unwrap().to_be_bytes();
                    stream.write_all(&[&length[..], &reply].concat()).ok();
                }
            }
        });
        Self { seen }
    }

    /// How many questions came, and the last one.
    pub(crate) fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    fn last(&self) -> Vec<u8> {
        self.seen.lock().unwrap().last().cloned().unwrap_or_default()
    }
}

fn reply(query: &[u8], answers: Answers, is_tcp: bool) -> Vec<u8> {
    let mut end = 12;
    while query[end] != 0 {
        end += 1 + usize::from(query[end]);
    }
    end += 5;
    let mut reply = query[..end].to_vec();
    (reply[2], reply[3]) = (0x81, 0x80);
    reply[6..12].fill(0);
    let mut add = |address: [u8; 4]| {
        let count = u16::from_be_bytes([reply[6], reply[7]]) + 1;
        reply[6..8].copy_from_slice(&count.to_be_bytes());
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        reply.extend(address);
    };
    match answers {
        Answers::Address(address) => add(address),
        Answers::Long if is_tcp => (0..=255).for_each(|n| add([198, 18, 0, n])),
        Answers::Long => reply[2] |= 2,
        Answers::NotThere => reply[3] |= 3,
        Answers::Fails => reply[3] |= 2,
    }
    reply
}

fn tracked(container: &Container) -> String {
    container.space.sysctl("net/netfilter/nf_conntrack_count")
}

#[test]
fn containers_of_a_network_are_found_by_their_names() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &["--subnet", "fd00:18::/64"]);
    host.network("other", "172.19.0.0/16", &[]);
    let web = host.container("Web", "front", &["--network-alias", "www_1", "--network-alias", "www.example"]);
    let db = host.container("db", "front", &[]);
    let far = host.container("far", "other", &[]);
    let (v4, v6) = (web.address.to_string(), web.address6.unwrap().to_string());
    for name in ["web", "WEB", &web.id[..12], "www_1", "www.example", "web.front", "wEb.FRONT", "www_1.front"]
    {
        assert_eq!(short(&db.space, &[name, "A"]), [v4.as_str()], "{name}");
        assert_eq!(short(&db.space, &[name, "AAAA"]), [v6.as_str()], "{name}");
        // A name that is known has no other records, which is not the same as being unknown.
        for kind in ["MX", "TXT", "HTTPS", "SRV", "CAA", "TYPE4711"] {
            assert_eq!(code(&db.space, &[name, kind]), "NOERROR", "{name} {kind}");
        }
    }
    // Itself as well; and by TCP.
    assert_eq!(short(&web.space, &["web", "+tcp"]), [v4.as_str()]);
    let output = dig(&db.space, &["web"]).ok();
    let line = output.lines().find(|line| line.starts_with("web.")).expect("an answer");
    let fields: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(fields, ["web.", "0", "IN", "A", &v4], "no time to live: nobody may keep it");
    assert!(output.contains("flags: qr aa rd ra"), "{output}");
    // Addresses have names; those that nobody has are not asked for elsewhere.
    assert_eq!(short(&db.space, &["-x", &v4]), ["Web.front."]);
    assert_eq!(short(&db.space, &["-x", &v6]), ["Web.front."]);
    assert_eq!(code(&db.space, &["-x", "172.18.77.77"]), "NXDOMAIN");
    // The host is the gateway.
    for name in ["host.docker.internal", "host.containers.internal"] {
        assert_eq!(short(&db.space, &[name, "A"]), ["172.18.0.1"]);
        assert_eq!(short(&db.space, &[name, "AAAA"]), ["fd00:18::1"]);
    }
    assert_eq!(short(&far.space, &["host.docker.internal"]), ["172.19.0.1"]);
    assert_eq!(code(&far.space, &["host.docker.internal", "AAAA"]), "NOERROR");
    // Nobody finds containers of other networks, until they are neighbours.
    assert_eq!(short(&far.space, &["www_1"]), Vec::<String>::new());
    host.mydocker(&["network", "connect", "--alias", "second", "other", "Web"]).ok();
    let there = host.container_named("Web", "other").address.to_string();
    assert_eq!(short(&far.space, &["second"]), [there.as_str()]);
    assert_eq!(short(&far.space, &["web"]), [there.as_str()]);
    assert_eq!(short(&far.space, &["web.front"]), Vec::<String>::new());
    host.mydocker(&["network", "disconnect", "other", "Web"]).ok();
    assert_eq!(short(&far.space, &["second"]), Vec::<String>::new());
    for container in [&web, &db, &far] {
        assert_eq!(tracked(container), "0", "connections are tracked in {}", container.name);
    }
    // Nothing is left of any name.
    drop((web, db, far));
    host.mydocker(&["rm", "-f", "Web", "db", "far"]).ok();
    host.mydocker(&["network", "remove", "front", "other"]).ok();
    host.assert_nothing_left();
}

#[test]
fn the_default_network_has_names_as_any_other() {
    let host = Host::new();
    let web = host.container("Web", "bridge", &[]);
    let db = host.container("db", "bridge", &["--network-alias", "store"]);
    let (there, here) = (web.address.to_string(), db.address.to_string());
    for name in ["web", "web.bridge", &web.id[..12]] {
        assert_eq!(short(&db.space, &[name]), [there.as_str()], "{name}");
    }
    assert_eq!(short(&web.space, &["store"]), [here.as_str()]);
    assert_eq!(short(&web.space, &["-x", &there]), ["Web.bridge."]);
    assert_eq!(short(&db.space, &["host.docker.internal"]).len(), 1);
    drop((web, db));
    host.mydocker(&["rm", "-f", "Web", "db"]).ok();
    host.mydocker(&["network", "remove", "bridge"]).ok();
    host.assert_nothing_left();
}

#[test]
fn names_follow_renaming_and_the_end_of_their_container() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    let asker = host.container("asker", "front", &[]);
    let names: Vec<String> = (0..3).map(|n| format!("one{n}")).collect();
    let mut addresses: Vec<String> = Vec::new();
    for name in &names {
        let container = host.container(name, "front", &["--network-alias", "all"]);
        addresses.push(container.address.to_string());
    }
    addresses.sort_unstable();
    assert_eq!(short(&asker.space, &["all"]), addresses);
    // Each comes first in turn.
    let first = || dig(&asker.space, &["all", "+short"]).ok().lines().next().unwrap().to_owned();
    let firsts: std::collections::BTreeSet<String> = (0..3).map(|_| first()).collect();
    assert_eq!(firsts.len(), 3, "{firsts:?}");

    // Answers that are given again as long as nothing changes are so when something does.
    let ask_again = |name: &str| {
        std::thread::sleep(Duration::from_millis(100));
        for name in [name, "all", name, "all"] {
            assert!(!short(&asker.space, &[name]).is_empty(), "{name}");
        }
    };
    ask_again("one0");
    host.mydocker(&["rename", "one0", "another"]).ok();
    assert_eq!(short(&asker.space, &["one0"]), Vec::<String>::new());
    assert_eq!(short(&asker.space, &["another"]).len(), 1);
    assert_eq!(short(&asker.space, &["all"]).len(), 3);

    // Killed with everything that could take a name away.
    let pid = host.inspect("one1")["State"]["Pid"].as_i64().unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let parent = stat.rsplit_once(") ").and_then(|(_, fields)| fields.split(' ').nth(1)).unwrap_or_default();
    let supervisor: i64 = parent.parse().expect("the supervisor's pid");
    ask_again("one1");
    for pid in [supervisor, pid] {
        kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).ok();
    }
    // A signal needs a moment to arrive; the name itself needs nobody who removes it.
    eventually("the name of a killed container to be gone", || {
        short(&asker.space, &["one1"]).is_empty().then_some(())
    });
    assert_eq!(short(&asker.space, &["all"]).len(), 2);
    ask_again("one2");
    host.mydocker(&["stop", "-t", "0", "one2"]).ok();
    assert_eq!(short(&asker.space, &["one2"]), Vec::<String>::new());
    assert_eq!(short(&asker.space, &["all"]).len(), 1);
    host.mydocker(&["start", "one1", "one2"]).ok();
    assert_eq!(short(&asker.space, &["all"]).len(), 3);
    drop(asker);
    host.mydocker(&["rm", "-f", "asker", "another", "one1", "one2"]).ok();
    host.mydocker(&["network", "remove", "front"]).ok();
    host.assert_nothing_left();
}

/// A static program that asks musl's resolver.
fn musl_program(host: &Host) {
    let source = host.scratch("musl").join("ask.c");
    let text = "#include <stdio.h>\n#include <netdb.h>\n#include <arpa/inet.h>\nint main(int c,char**v){\
        struct addrinfo h={.ai_socktype=SOCK_STREAM},*r;int e=getaddrinfo(v[1],0,&h,&r);\
        if(e){puts(gai_strerror(e));return 1;}char b[64];for(;r;r=r->ai_next){\
        void*a=r->ai_family==AF_INET?(void*)&((struct sockaddr_in*)r->ai_addr)->sin_addr:\
        (void*)&((struct sockaddr_in6*)r->ai_addr)->sin6_addr;puts(inet_ntop(r->ai_family,a,b,64));}return 0;}";
    std::fs::write(&source, text).unwrap();
    let program = Path::new(&host.image).join("bin/ask-musl");
    host.space.ok(&["musl-gcc", "-static", "-o", program.to_str().unwrap(), source.to_str().unwrap()]);
    crate::program::forget_closed_descriptors();
}

/// Lists of search domains, and whether the host's server answers at all.
const SEARCHES: [(&str, bool); 3] =
    [("", true), ("search a.example b.example\n", true), ("search a.example\n", false)];

fn list_with(searches: &str, answers: bool) -> String {
    format!("nameserver {}\n{searches}", if answers { "127.0.0.53" } else { "127.0.0.54" })
}

#[test]
fn every_resolver_finds_single_names() {
    let host = Host::new();
    let list = servers(&host, "nameserver 127.0.0.53\n");
    let upstream = Upstream::start(&host.space, "127.0.0.53", Answers::NotThere);
    musl_program(&host);
    host.network("front", "172.18.0.0/16", &[]);
    let web = host.container("web", "front", &[]);
    let address = web.address.to_string();
    let python = "import socket; print(socket.getaddrinfo('web', None)[0][4][0])";
    let ask = |image: &str, command: &[&str]| {
        host.mydocker(&[&["run", "--rm", "--net", "front", image], command].concat())
    };
    for (searches, answers) in SEARCHES {
        std::fs::write(&list, list_with(searches, answers)).unwrap();
        // Where no server answers, the name is found all the same.
        assert_eq!(ask(&host.image, &["ask-musl", "web"]).ok(), address, "musl, {searches:?}");
        let getent = ask("/", &["getent", "hosts", "web"]).ok();
        assert_eq!(getent.split_whitespace().next(), Some(address.as_str()), "glibc, {searches:?}");
        assert_eq!(ask("/", &["python3", "-c", python]).ok(), address, "python, {searches:?}");
        // This program has a resolver of its own, which tries nothing but the search domains, unless told by a dot.
        let name = if searches.is_empty() { "web" } else { "web." };
        let busybox = ask(&host.image, &["busybox", "nslookup", name]);
        assert!(busybox.stdout.contains(&address), "busybox, {searches:?}: {busybox}");
        assert_ne!(ask(&host.image, &["ask-musl", "nobody.invalid"]).code(), 0);
    }
    assert!(upstream.count() > 0);
    drop(web);
    host.mydocker(&["rm", "-f", "web"]).ok();
    host.mydocker(&["network", "remove", "front"]).ok();
    host.assert_nothing_left();
}

/// A static program that asks Go's own resolver.
fn go_program(host: &Host) {
    let directory = host.scratch("go");
    let source = directory.join("ask.go");
    let text = "package main\nimport (\"fmt\"; \"net\"; \"os\")\nfunc main() {\n\
        addresses, err := net.LookupHost(os.Args[1])\nif err != nil { fmt.Println(err); os.Exit(1) }\n\
        for _, address := range addresses { fmt.Println(address) }\n}\n";
    std::fs::write(&source, text).unwrap();
    let program = Path::new(&host.image).join("bin/ask-go");
    Program::new(&["go", "build", "-o", program.to_str().unwrap(), source.to_str().unwrap()])
        .environment("CGO_ENABLED", "0")
        .environment("GO111MODULE", "off")
        .environment("GOCACHE", directory.join("cache").to_str().unwrap())
        .environment("HOME", directory.to_str().unwrap())
        .run_in(&host.space)
        .ok();
    crate::program::forget_closed_descriptors();
}

#[test]
#[ignore = "needs Go (package golang-go), which takes much room and a minute: it fails where there is none"]
fn gos_own_resolver_finds_single_names() {
    let host = Host::new();
    let list = servers(&host, "nameserver 127.0.0.53\n");
    let upstream = Upstream::start(&host.space, "127.0.0.53", Answers::NotThere);
    go_program(&host);
    host.network("front", "172.18.0.0/16", &["--subnet", "fd00:18::/64"]);
    let web = host.container("web", "front", &["--network-alias", "www_1"]);
    let mut expected = vec![web.address.to_string(), web.address6.unwrap().to_string()];
    expected.sort_unstable();
    for (searches, answers) in SEARCHES {
        std::fs::write(&list, list_with(searches, answers)).unwrap();
        let ask = |name: &str| host.run(&["--net", "front", "-e", "GODEBUG=netdns=go+1"], &["ask-go", name]);
        for name in ["web", "WEB", "www_1", "web.front", "web."] {
            let output = ask(name);
            let mut found: Vec<&str> = output.stdout.lines().collect();
            found.sort_unstable();
            assert_eq!(found, expected, "{name}, {searches:?}: {output}");
            // It is what is to be tested.
            assert!(output.stderr.contains("go package net: "), "{output}");
        }
        assert_ne!(ask("nobody.invalid").code(), 0);
    }
    assert!(upstream.count() > 0);
}

#[test]
fn other_names_are_asked_of_the_hosts_servers_as_they_are() {
    let host = Host::new();
    let list = servers(&host, "nameserver 127.0.0.53\n");
    let upstream = Upstream::start(&host.space, "127.0.0.53", Answers::Address([192, 0, 2, 77]));
    let second = Upstream::start(&host.space, "127.0.0.54", Answers::Address([192, 0, 2, 78]));
    let failing = Upstream::start(&host.space, "127.0.0.55", Answers::Fails);
    let long = Upstream::start(&host.space, "127.0.0.56", Answers::Long);
    host.network("front", "172.18.0.0/16", &[]);
    host.network("inner", "172.19.0.0/16", &["--internal"]);
    let web = host.container("web", "front", &[]);
    let inner = host.container("inner", "inner", &[]);
    assert_eq!(short(&web.space, &["example.org"]), ["192.0.2.77"]);
    assert_eq!(short(&web.space, &["example.org", "+tcp"]), ["192.0.2.77"]);
    // The very bytes of the question, but for its number.
    let mut query = vec![0xab, 0xcd, 1, 0x30, 0, 1, 0, 0, 0, 0, 0, 1, 3];
    query.extend(b"wEb\x07eXample\0\x12\x67\0\x01");
    query.extend([0, 0, 41, 16, 0, 0, 0, 0x80, 0, 0, 8, 0, 10, 0, 4, 1, 2, 3, 4]);
    let answered = web.space.run(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket.send_to(&query, "127.0.0.11:53").unwrap();
        let mut buffer = [0; 1500];
        let size = socket.recv(&mut buffer).expect("an answer");
        buffer[..size].to_vec()
    });
    assert_eq!(answered[..2], [0xab, 0xcd]);
    assert_eq!(upstream.last()[2..], query[2..]);
    // Known names are never asked for, whatever is asked about them.
    let before = upstream.count();
    for kind in ["A", "AAAA", "MX", "NS", "SOA"] {
        assert_eq!(code(&web.space, &["web", kind]), "NOERROR");
    }
    assert_eq!(code(&web.space, &["-x", "172.18.9.9"]), "NXDOMAIN");
    let transfer = dig(&web.space, &["example.org", "AXFR"]);
    assert!(transfer.stdout.contains("Transfer failed"), "{transfer}");
    assert_eq!(upstream.count(), before);
    // From an internal network nothing is asked.
    assert_eq!(code(&inner.space, &["example.org"]), "NXDOMAIN");
    assert_eq!(code(&inner.space, &["example.org", "+tcp"]), "NXDOMAIN");
    assert_eq!(short(&inner.space, &["inner"]), [inner.address.to_string()]);
    assert_eq!(upstream.count(), before);
    // A changed list counts at once; who fails or is not there is passed over.
    std::fs::write(&list, "nameserver 127.0.0.54\n").unwrap();
    assert_eq!(short(&web.space, &["example.org"]), ["192.0.2.78"]);
    std::fs::write(&list, "nameserver 127.0.0.99\nnameserver 127.0.0.55\nnameserver 127.0.0.54\n").unwrap();
    assert_eq!(short(&web.space, &["example.org"]), ["192.0.2.78"]);
    assert_eq!(short(&web.space, &["example.org", "+tcp"]), ["192.0.2.78"]);
    assert_eq!(failing.count(), 2);
    std::fs::write(&list, "nameserver 127.0.0.55\n").unwrap();
    assert_eq!(code(&web.space, &["example.org"]), "SERVFAIL");
    assert_eq!(code(&web.space, &["example.org", "+tcp"]), "SERVFAIL");
    std::fs::write(&list, "nameserver 127.0.0.99\n").unwrap();
    assert_eq!(code(&web.space, &["example.org"]), "SERVFAIL");
    assert_eq!(code(&web.space, &["example.org", "+tcp"]), "SERVFAIL");
    // Answers that are too long for UDP come by TCP, in pieces.
    std::fs::write(&list, "nameserver 127.0.0.56\n").unwrap();
    assert_eq!(short(&web.space, &["example.org"]).len(), 256);
    assert_eq!(long.count(), 2);
    // An unknown name is unknown, and nobody else is asked.
    let before = second.count();
    let unknowing = Upstream::start(&host.space, "127.0.0.57", Answers::NotThere);
    std::fs::write(&list, "nameserver 127.0.0.57\nnameserver 127.0.0.54\n").unwrap();
    assert_eq!(code(&web.space, &["example.org"]), "NXDOMAIN");
    assert_eq!((unknowing.count(), second.count()), (1, before));
    for container in [&web, &inner] {
        assert_eq!(tracked(container), "0");
    }
}

#[test]
fn servers_of_the_users_are_asked_from_the_containers_network() {
    let host = Host::new();
    servers(&host, "nameserver 127.0.0.53\n");
    let hosts = Upstream::start(&host.space, "127.0.0.53", Answers::Address([192, 0, 2, 1]));
    host.network("front", "172.18.0.0/16", &[]);
    host.network("inner", "172.19.0.0/16", &["--internal"]);
    let server = host.container("server", "front", &[]);
    host.mydocker(&["network", "connect", "inner", "server"]).ok();
    let inside = host.container_named("server", "inner").address.to_string();
    let front = Upstream::start(&server.space, &server.address.to_string(), Answers::Address([192, 0, 2, 2]));
    let inner = Upstream::start(&server.space, &inside, Answers::Address([192, 0, 2, 3]));
    let web = host.container("web", "front", &["--dns", &server.address.to_string()]);
    assert_eq!(short(&web.space, &["example.org"]), ["192.0.2.2"]);
    assert_eq!(short(&web.space, &["example.org", "+tcp"]), ["192.0.2.2"]);
    assert_eq!(short(&web.space, &["server"]), [server.address.to_string()]);
    // In an internal network, those that are in it; there is no way to others.
    let alone = host.container("alone", "inner", &["--dns", &inside]);
    assert_eq!(short(&alone.space, &["example.org"]), ["192.0.2.3"]);
    let lost = host.container("lost", "inner", &["--dns", "192.0.2.9", "--dns", "127.0.0.11"]);
    assert_eq!(code(&lost.space, &["example.org"]), "NXDOMAIN");
    assert_eq!((hosts.count(), front.count(), inner.count()), (0, 2, 1));
    let resolv = host.mydocker(&["exec", "web", "cat", "/etc/resolv.conf"]).ok();
    assert_eq!(resolv, "nameserver 127.0.0.11");
}

/// A container's own server has port 53 of every address, published, and the names are answered as ever.
#[test]
fn a_container_may_have_port_53_for_itself() {
    let host = Host::new();
    host.space.ok(&[
        "nft",
        "table inet theirs { chain input { type filter hook input priority 0; policy drop; \
        ct state established,related accept; iifname lo accept; iifname uplink0 accept; }; }",
    ]);
    host.network("front", "172.18.0.0/16", &[]);
    let plain = host.container("plain", "front", &[]);
    assert_eq!(plain.space.program(&["nft", "list", "tables"]).ok(), "", "a table where nobody needs one");
    let ports = ["-p", "5300:53/udp", "-p", "5300:53/tcp"];
    let serve = [
        "dnsmasq",
        "--no-daemon",
        "--no-resolv",
        "--no-hosts",
        "--conf-file=/dev/null",
        "--address=/own.example/192.0.2.53",
        "--user=root",
        "--pid-file=",
    ];
    host.mydocker(&[&["run", "-d", "--name", "dns", "--net", "front"], &ports[..], &["/"], &serve].concat())
        .ok();
    let own = host.container_named("dns", "front");
    let at = |server: &str| format!("@{server}");
    eventually("dnsmasq to serve", || {
        let words = ["dig", "+tries=1", "+time=1", "+short", &at(&own.address.to_string()), "own.example"];
        let output = plain.space.program(&words);
        (output.stdout.trim() == "192.0.2.53").then_some(())
    });
    for protocol in ["+notcp", "+tcp"] {
        let outside = host.outside.program(&[
            "dig",
            "+short",
            "-p",
            "5300",
            protocol,
            &at("198.51.100.10"),
            "own.example",
        ]);
        assert_eq!(outside.ok(), "192.0.2.53", "{protocol}");
        // Its own names, from inside, beside that.
        assert_eq!(short(&own.space, &["plain", protocol]), [plain.address.to_string()], "{protocol}");
        assert_eq!(short(&plain.space, &["dns", protocol]), [own.address.to_string()], "{protocol}");
    }
    // Another loopback address is the container's own server.
    let loopback = own.space.program(&["dig", "+short", "@127.0.0.1", "own.example"]).ok();
    assert_eq!(loopback, "192.0.2.53");
    let rules = own.space.ok(&["nft", "list", "ruleset"]);
    assert!(rules.contains("udp dport 53 udp dport set ") && rules.contains("tcp sport set 53"), "{rules}");
    assert_eq!(tracked(&own), "0");
    drop((plain, own));
    host.mydocker(&["rm", "-f", "dns", "plain"]).ok();
    host.mydocker(&["network", "remove", "front"]).ok();
    host.assert_nothing_left();
}

#[test]
fn whatever_a_client_sends_others_are_answered_and_the_container_goes_on() {
    let host = Host::new();
    servers(&host, "nameserver 127.0.0.99\n");
    host.network("front", "172.18.0.0/16", &[]);
    let web = host.container("web", "front", &[]);
    let address = web.address.to_string();
    let mut talking =
        host.command(&["run", "--rm", "-i", "--name", "talks", "--net", "front", &host.image, "cat"]);
    talking = talking.open_input();
    let mut talks = talking.start_in(&host.space);
    talks.say("begin\n");
    talks.wait_for("begin");
    let space = host.container_named("talks", "front").space;
    // Clients by TCP that say nothing, half of a length, a length and no more, nonsense.
    let silent: Vec<TcpStream> = space.run(|| {
        let starts: [&[u8]; 4] = [b"", b"\0", b"\x04\0abc", b"\xff\xff\xff\xff"];
        let connect = |n: usize| {
            let mut stream = TcpStream::connect("127.0.0.11:53").unwrap();
            stream.write_all(starts[n % 4]).ok();
            stream
        };
        (0..40).map(connect).collect()
    });
    assert_eq!(short(&space, &["web", "+tcp"]), [address.as_str()]);
    // Packets of every kind, cut and changed; answers in the place of questions; and questions that nobody answers.
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flood = space.run(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect("127.0.0.11:53").unwrap();
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || {
            let good = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x05other\0\0\x01\0\x01".to_vec();
            let mut number = 0_usize;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                number = number.wrapping_add(1);
                let mut packet = good.clone();
                let place = number % good.len();
                packet[place] = u8::try_from(number / good.len() % 256).unwrap_or_default();
                packet.truncate(if number.is_multiple_of(3) { place } else { good.len() });
                socket.send(&packet).ok();
                if number.is_multiple_of(10) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            number
        })
    });
    for round in 0..20 {
        let line = format!("line {round}\n");
        talks.say(&line);
        talks.wait_for(&line);
        // By UDP a question may get lost among so many others, before anybody sees it.
        assert_eq!(short(&space, &["web", "+tcp"]), [address.as_str()]);
    }
    // Its memory is bounded, whatever came.
    let supervisors = host.supervisors();
    let private = |pid: &i32| -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with("Private_Dirty:")).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0)
    };
    let sizes: Vec<u64> = supervisors.iter().map(private).collect();
    let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
    println!("KiB of supervisors: {sizes:?}");
    assert!(most - least <= 256, "{sizes:?} KiB");
    talks.end_input();
    talks.wait().ok();
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let sent = flood.join().unwrap();
    assert!(sent > 1000, "{sent}");
    drop((silent, space, web));
    host.mydocker(&["rm", "-f", "web"]).ok();
    host.mydocker(&["network", "remove", "front"]).ok();
    host.assert_nothing_left();
}

#[test]
fn links_shared_networks_and_changed_lists() {
    let host = Host::new();
    servers(&host, "nameserver 127.0.0.53\nsearch host.example\n");
    host.network("front", "172.18.0.0/16", &[]);
    let db = host.container("db", "front", &[]);
    let address = db.address.to_string();
    let web = host.container("web", "front", &["--link", "db:store", "--link", "db"]);
    assert_eq!(short(&web.space, &["store"]), [address.as_str()]);
    assert_eq!(short(&db.space, &["store"]), Vec::<String>::new(), "a link is one container's");
    assert_eq!(host.inspect("web")["HostConfig"]["Links"][0], "/db:/web/store");
    host.mydocker(&["rename", "db", "moved"]).ok();
    assert_eq!(short(&web.space, &["store"]), [address.as_str()]);
    assert_eq!(short(&web.space, &["db"]), [address.as_str()]);
    for (options, needle) in [
        (&["--link", "nobody"][..], "No such container: nobody"),
        (&["--link", "web:a b"], "a b"),
        (&["--net", "host", "--link", "web"], "--link web"),
        (&["--net", "container:web", "--link", "web"], "--link web"),
        (&["--network-alias", "a/b"], "a/b"),
    ] {
        let output = host.mydocker(&[&["run", "--rm"], options, &[&host.image, "true"]].concat());
        assert!(output.code() == 125 && output.stderr.contains(needle), "{output}");
    }
    // Who shares the network, or is executed in it, has the same names.
    let ask = ["busybox", "nslookup", "moved."];
    let shared = host.mydocker(&[&["run", "--rm", "--net", "container:web", &host.image], &ask[..]].concat());
    assert!(shared.stdout.contains(&address), "{shared}");
    assert!(host.mydocker(&[&["exec", "web"], &ask[..]].concat()).stdout.contains(&address));
    let read_only = host.run(&["--net", "front", "--read-only"], &ask);
    assert!(read_only.stdout.contains(&address), "{read_only}");
    // A list that somebody has changed stays, also over a restart; one that nobody has is written anew.
    let list = |name: &str| host.mydocker(&["exec", name, "cat", "/etc/resolv.conf"]).ok();
    let own = "nameserver 127.0.0.11\nsearch host.example\noptions ndots:0";
    assert_eq!(list("web"), own);
    host.mydocker(&["exec", "web", "sh", "-c", "echo nameserver 192.0.2.1 > /etc/resolv.conf"]).ok();
    drop(web);
    host.mydocker(&["restart", "-t", "0", "web", "moved"]).ok();
    assert_eq!(list("web"), "nameserver 192.0.2.1");
    assert_eq!(list("moved"), own);
    host.mydocker(&["network", "disconnect", "front", "web"]).ok();
    host.mydocker(&["network", "connect", "front", "web"]).ok();
    assert_eq!(list("web"), "nameserver 192.0.2.1");
}

#[test]
fn what_is_wrong_with_names_is_found_and_put_right() {
    let host = Host::new();
    host.set_bridge_netfilter(false);
    host.network("front", "172.18.0.0/16", &[]);
    let web = host.container("web", "front", &["--network-alias", "www"]);
    let names = host.run_root("network/names/front");
    let check = || host.mydocker(&["network", "check"]);
    check().ok();
    std::fs::remove_file(names.join("www/172.18.0.2")).unwrap();
    std::fs::create_dir(names.join("ghost")).unwrap();
    std::fs::create_dir(names.join("begun")).unwrap();
    std::fs::write(names.join("ghost/172.18.0.2"), "").unwrap();
    std::fs::write(names.join("web/172.18.0.9"), "").unwrap();
    let output = check();
    assert_eq!(output.code(), 1, "{output}");
    for needle in
        ["container web is not found by its name www", "the name ghost leads to 172.18.0.2", "172.18.0.9"]
    {
        assert!(output.stdout.contains(needle), "{needle}: {output}");
    }
    // Whatever lies there, no wrong answer is given.
    assert_eq!(short(&web.space, &["ghost"]), Vec::<String>::new());
    assert_eq!(short(&web.space, &["web"]), ["172.18.0.2"]);
    host.mydocker(&["network", "reload"]).ok();
    check().ok();
    assert_eq!(short(&web.space, &["www"]), ["172.18.0.2"]);
    assert!(!names.join("ghost").exists() && !names.join("begun").exists());
}

/// As many system calls, whether ten containers have names or a thousand.
#[test]
fn an_answer_costs_the_same_among_a_thousand_names() {
    let host = Host::new();
    host.network("front", "172.18.0.0/16", &[]);
    let web = host.container("web", "front", &[]);
    let supervisor = host.supervisors()[0];
    let file = host.scratch("calls").join("trace");
    let calls = || {
        let pid = supervisor.to_string();
        let words =
            ["strace", "-qq", "-e", "trace=%file,getdents64", "-p", &pid, "-o", file.to_str().unwrap()];
        let trace = Program::new(&words).start_in(&host.space);
        eventually("strace to be there", || {
            let status = std::fs::read_to_string(format!("/proc/{supervisor}/status")).ok()?;
            status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0")).then_some(())
        });
        assert_eq!(short(&web.space, &["web"]), ["172.18.0.2"]);
        trace.signal(Signal::SIGINT);
        trace.wait();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains("names/front/web"), "{text}");
        text.lines().count()
    };
    let (names, endpoints) = (host.run_root("network/names/front"), host.run_root("network/endpoints/front"));
    let record = std::fs::read(endpoints.join("172.18.0.2")).unwrap();
    // Of an answer whose files have changed, and of one whose files are as they were.
    let once = || {
        let (path, new) = (endpoints.join("172.18.0.2"), endpoints.join(".new"));
        std::fs::write(&new, &record).and_then(|()| std::fs::rename(&new, &path)).unwrap();
        let changed = calls();
        std::thread::sleep(Duration::from_millis(100));
        calls();
        (changed, calls())
    };
    // On a machine that is busy a question is asked again, and answered again: the fewest calls are those of one answer.
    let both = || {
        let all: [(usize, usize); 3] = std::array::from_fn(|_| once());
        let fewest = |pick: fn(&(usize, usize)) -> usize| all.iter().map(pick).min().unwrap();
        (fewest(|one| one.0), fewest(|one| one.1))
    };
    once();
    let before = both();
    assert!(before.1 < before.0, "{before:?}");
    for number in 0..1000_u32 {
        let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(172, 18, 16, 0)) + number).to_string();
        std::fs::create_dir(names.join(format!("c{number}"))).unwrap();
        std::fs::write(names.join(format!("c{number}")).join(&address), "").unwrap();
        std::fs::write(endpoints.join(address), &record).unwrap();
    }
    assert_eq!(both(), before);
}
