//! What goes through the rules: connections, requests and bulk, next to a bare bridge.
//!
//! ```text
//! outside 198.51.100.1 ── 198.51.100.10 host ── bridge ──┬─ container `web`, port 80
//!                                                        └─ container `client`
//! ```
//!
//! Both ends are threads of this program in the namespaces of the containers: what differs is only what is between.
//! The bare bridge has no rules and follows no connections; the other host has a route to it instead.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mydocker::netns::NetNs;
use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt};

use crate::hideout::{self, Host};
use crate::results::Results;
use crate::tools::{BRIDGE, Engine, Outcome, Tool as _};
use crate::{IDLE, MEASURED, PORT};

const CLIENT: &str = "client";
const INSIDE_PORT: u16 = 80;
/// Each figure is the time of so many.
const CONNECTIONS: usize = 500;
const REQUESTS: usize = 5_000;
const BULK: usize = 1 << 30;
/// One request or answer.
const MESSAGE: usize = 64;

/// A way from a client to a server.
struct Way<'a> {
    name: &'static str,
    client: &'a NetNs,
    server: &'a NetNs,
    /// Where the server listens, and where the client finds it.
    port: u16,
    to: SocketAddr,
}

pub(crate) fn measure(
    results: &mut Results,
    engines: Vec<(&'static str, Box<Engine>)>,
    next_to: &str,
    rounds: u32,
) {
    let bare = Bare::new();
    let mut ready: Vec<(&'static str, Pair<'_>)> = vec![(BRIDGE, bare.pair())];
    let engines: Vec<_> = engines
        .into_iter()
        .map(|(name, mut engine)| {
            engine.host().enter();
            let started = start(&mut engine);
            (name, engine, started)
        })
        .collect();
    for (name, engine, started) in &engines {
        match started {
            Ok([web, client]) => ready.push((name, Pair::of(engine.host(), web, client))),
            Err(reason) => results.missing(&format!("published port, {next_to}"), name, reason),
        }
    }
    // The first round is for whatever is looked up once.
    for round in 0..=rounds.div_ceil(2) {
        for (name, pair) in &ready {
            for way in pair.ways() {
                match through(&way) {
                    Ok(times) if round > 0 => {
                        for (what, took) in times {
                            results.sample(&format!("{}, {what}, {next_to}", way.name), name, took);
                        }
                    }
                    Ok(_) => {}
                    Err(reason) => results.missing(&format!("{}, {next_to}", way.name), name, &reason),
                }
            }
        }
    }
    for (_, mut engine, started) in engines {
        engine.host().enter();
        if started.is_ok() {
            engine.detach(MEASURED).and_then(|_| engine.detach(CLIENT)).ok();
        }
    }
}

/// The namespaces of both containers.
fn start(engine: &mut Engine) -> Outcome<[NetNs; 2]> {
    engine.start(MEASURED, &[PORT], IDLE)?;
    engine.start(CLIENT, &[], IDLE)?;
    Ok([engine.namespace(MEASURED)?, engine.namespace(CLIENT)?])
}

/// Two containers of a host.
struct Pair<'a> {
    host: &'a Host,
    web: &'a NetNs,
    client: &'a NetNs,
    /// What the other host connects to.
    published: SocketAddr,
}

impl<'a> Pair<'a> {
    fn of(host: &'a Host, web: &'a NetNs, client: &'a NetNs) -> Self {
        Self { host, web, client, published: (Host::ADDRESS, PORT).into() }
    }

    fn ways(&self) -> [Way<'_>; 3] {
        let outside = &self.host.outside;
        [
            Way {
                name: "published port",
                client: outside,
                server: self.web,
                port: INSIDE_PORT,
                to: self.published,
            },
            Way {
                name: "between containers",
                client: self.client,
                server: self.web,
                port: INSIDE_PORT,
                to: (address_in(self.web), INSIDE_PORT).into(),
            },
            Way {
                name: "to another host",
                client: self.client,
                server: outside,
                port: PORT,
                to: (Host::OUTSIDE, PORT).into(),
            },
        ]
    }
}

/// The IPv4 address of a container's only device.
fn address_in(namespace: &NetNs) -> Ipv4Addr {
    let found = namespace.run(|| {
        let all = nix::ifaddrs::getifaddrs().unwrap();
        all.filter_map(|one| Some(one.address?.as_sockaddr_in()?.ip())).find(|address| !address.is_loopback())
    });
    found.unwrap().unwrap()
}

/// A bridge and two namespaces on it, routed and nothing else.
struct Bare {
    host: Host,
    containers: [NetNs; 2],
}

impl Bare {
    fn new() -> Self {
        let host = Host::new();
        let containers = [hideout::namespace(), hideout::namespace()];
        host.enter();
        hideout::ip("link add bench0 type bridge\naddress add 10.77.0.1/16 dev bench0\nlink set bench0 up\n");
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        for (number, container) in containers.iter().enumerate() {
            let there = hideout::path_of(container);
            hideout::ip(&format!(
                "link add port{number} type veth peer name eth0 netns {there}\n\
                 link set port{number} master bench0 up\n"
            ));
            let inside = format!(
                "link set lo up\naddress add 10.77.0.{}/16 dev eth0\nlink set eth0 up\nroute add default via 10.77.0.1\n",
                number + 2
            );
            container.run(|| hideout::ip(&inside)).unwrap();
        }
        let back = format!("route add 10.77.0.0/16 via {}\n", Host::ADDRESS);
        host.outside.run(|| hideout::ip(&back)).unwrap();
        Self { host, containers }
    }

    fn pair(&self) -> Pair<'_> {
        let [web, client] = &self.containers;
        let published = (address_in(web), INSIDE_PORT).into();
        Pair { published, ..Pair::of(&self.host, web, client) }
    }
}

/// The times of all that goes one way.
fn through(way: &Way<'_>) -> Outcome<[(String, Duration); 3]> {
    let listening = way.server.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, way.port)));
    let listener = listening.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    let ended = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&ended);
    let server = std::thread::spawn(move || serve(&listener, &seen));
    let measured = way.client.run(|| {
        connect(way.to)?;
        Ok([
            (format!("{CONNECTIONS} connections"), connections(way.to)?),
            (format!("{REQUESTS} requests"), requests(way.to)?),
            ("1 GiB".to_owned(), bulk(way.to)?),
        ])
    });
    ended.store(true, Ordering::Relaxed);
    // Its last connection, on a way that needs no rules.
    let local = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), way.port);
    way.server.run(|| TcpStream::connect(local)).map_err(|error| error.to_string())?.ok();
    server.join().unwrap();
    let error: std::io::Result<_> = measured.map_err(|error| error.to_string())?;
    error.map_err(|error| format!("no way to {}: {error}", way.to))
}

/// The first byte of a connection says what it is for.
const ECHO: u8 = b'e';
const SINK: u8 = b's';

fn serve(listener: &TcpListener, ended: &AtomicBool) {
    for stream in listener.incoming() {
        if ended.load(Ordering::Relaxed) {
            return;
        }
        // One at a time: the client is one.
        stream.and_then(answer).ok();
    }
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut kind = [0];
    if stream.read(&mut kind)? == 0 {
        return Ok(());
    }
    if kind[0] == ECHO {
        let mut message = [0; MESSAGE];
        while stream.read_exact(&mut message).is_ok() {
            stream.write_all(&message)?;
        }
        return Ok(());
    }
    let mut all = vec![0; 256 << 10];
    let mut left = BULK;
    while left > 0 {
        match stream.read(&mut all)? {
            0 => break,
            length => left = left.saturating_sub(length),
        }
    }
    stream.write_all(&kind)
}

/// A connection that is ended by a reset, so that no port waits for stray packets.
fn connect(to: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, Duration::from_secs(5))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    setsockopt(&stream, sockopt::Linger, &linger { l_onoff: 1, l_linger: 0 })?;
    Ok(stream)
}

fn connections(to: SocketAddr) -> std::io::Result<Duration> {
    let start = Instant::now();
    for _ in 0..CONNECTIONS {
        connect(to)?;
    }
    Ok(start.elapsed())
}

fn requests(to: SocketAddr) -> std::io::Result<Duration> {
    let mut stream = connect(to)?;
    stream.write_all(&[ECHO])?;
    let mut message = [0; MESSAGE];
    let start = Instant::now();
    for _ in 0..REQUESTS {
        stream.write_all(&message)?;
        stream.read_exact(&mut message)?;
    }
    Ok(start.elapsed())
}

fn bulk(to: SocketAddr) -> std::io::Result<Duration> {
    let mut stream = connect(to)?;
    stream.write_all(&[SINK])?;
    let bytes = vec![0; 256 << 10];
    let start = Instant::now();
    for _ in 0..BULK / bytes.len() {
        stream.write_all(&bytes)?;
    }
    // It has all arrived.
    stream.read_exact(&mut [0])?;
    Ok(start.elapsed())
}
