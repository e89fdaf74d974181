//! New connections from another host to a container's published port.
//!
//! ```text
//! outside 198.51.100.1 ── 198.51.100.10 host ── bridge ── container, port 80
//! ```
//!
//! | group | cases |
//! |---|---|
//! | `datapath` | the time of `connect()` to the last of 1, 1,000 and 10,000 published ports, as median, p50 and p99; connections a second from four clients at once |
//!
//! The floor is the same way without the table: the host routes to the container, and neither translates nor
//! follows connections.

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use criterion::Criterion;
use mydocker::netns::NetNs;
use mydocker::nft::{Socket, Transaction};
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt};

use crate::floor::{LOOPBACK, Messages, Wire};
use crate::report::{FLOOR, Figure};
use crate::stage::{Connection, address, creating, enter, namespace, port};

const HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const GROUP: &str = "datapath";
/// The number of the devices between the two hosts, on either side.
const UPLINK: u32 = 1_000_000;
/// The port that is connected to: the last of those that are published.
const LAST: u16 = 20_000;
const CLIENTS: usize = 4;

/// Measures what criterion does not know as well, and returns it.
pub(crate) fn all(criterion: &mut Criterion) -> Vec<Figure> {
    let (host, outside, container) = (namespace(), namespace(), namespace());
    enter(&host);
    wire_up(&outside);
    let mut connection = Connection::new();
    let endpoint = connection.connect(&container, &[format!("{LAST}:80").parse().unwrap()]);
    let server = Server::start(&container);
    let mut table = Socket::open().unwrap();
    let to = address(&endpoint);
    let (mut figures, mut present) = (Vec::new(), 1);
    for ports in [1, 1_000, 10_000] {
        let more = (present..ports).map(|n| port(Ipv4Addr::UNSPECIFIED.into(), LAST - n, to.into()));
        table.commit(creating(more)).unwrap();
        present = ports;
        let name = format!("connect to the last of {ports} ports");
        measure(criterion, &mut figures, &name, &outside, (HOST, LAST).into());
    }
    // Without any rule the kernel stops following connections in this namespace.
    let mut delete = Transaction::new();
    delete.delete_table();
    table.commit(delete).unwrap();
    let mut floors = Vec::new();
    measure(criterion, &mut floors, "connect without the table", &outside, (to, 80).into());
    for floor in &floors {
        for ports in [1, 1_000, 10_000] {
            let case = format!("connect to the last of {ports} ports{FLOOR}");
            figures.push(Figure::new(&floor.group, case, &floor.measure, floor.value));
        }
    }
    server.stop(&outside, (to, 80).into());
    connection.networks.disconnect(&endpoint).unwrap();
    figures
}

fn wire_up(outside: &NetNs) {
    let here =
        Messages::default().up(LOOPBACK).pair("uplink0", UPLINK, None, outside).address(UPLINK, HOST, 24);
    let there = Messages::default().up(LOOPBACK).address(UPLINK, OUTSIDE, 24).up(UPLINK).route(
        UPLINK,
        Some((Ipv4Addr::new(10, 77, 0, 0), 16)),
        HOST,
    );
    let wire = Wire::open(NETLINK_ROUTE);
    wire.send(&here.bytes());
    wire.check();
    outside
        .run(|| {
            let wire = Wire::open(NETLINK_ROUTE);
            wire.send(&there.bytes());
            wire.check();
            std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "1024 65535").unwrap();
        })
        .unwrap();
}

/// Accepts and closes.
struct Server {
    ended: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Server {
    fn start(container: &NetNs) -> Self {
        let listener = container.run(|| TcpListener::bind("0.0.0.0:80")).unwrap().unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ended);
        let thread = std::thread::spawn(move || {
            for connection in listener.incoming() {
                drop(connection);
                if seen.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        Self { ended, thread }
    }

    fn stop(self, outside: &NetNs, to: SocketAddr) {
        self.ended.store(true, Ordering::Relaxed);
        outside.run(|| connect(to)).unwrap();
        self.thread.join().unwrap();
    }
}

/// The time until the connection stands. It is ended by a reset, so that no port waits for stray packets.
fn connect(to: SocketAddr) -> Duration {
    let start = Instant::now();
    let mut stream = TcpStream::connect(to).unwrap();
    let connected = start.elapsed();
    // The other side closes at once; until then it has the connection in its queue.
    stream.read_exact(&mut [0]).unwrap_err();
    setsockopt(&stream, sockopt::Linger, &linger { l_onoff: 1, l_linger: 0 }).unwrap();
    connected
}

fn measure(
    criterion: &mut Criterion,
    figures: &mut Vec<Figure>,
    name: &str,
    outside: &NetNs,
    to: SocketAddr,
) {
    // What is looked up once, and a first packet that is lost on the way because of it, are not the question.
    outside.run(|| connect(to)).unwrap();
    let mut each = Vec::new();
    let mut group = criterion.benchmark_group(GROUP);
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|times| {
            let times: Vec<_> = outside.run(|| (0..times).map(|_| connect(to)).collect()).unwrap();
            each.extend_from_slice(&times);
            times.iter().sum()
        });
    });
    group.finish();
    if each.is_empty() {
        return;
    }
    each.sort_unstable();
    let mut figure = |measure, value| {
        figures.push(Figure::new(GROUP, name, measure, value));
    };
    figure("p50 ns", each[each.len() / 2].as_secs_f64() * 1e9);
    figure("p99 ns", each[each.len() * 99 / 100].as_secs_f64() * 1e9);
    figure("connections/s", connections_a_second(outside, to));
}

fn connections_a_second(outside: &NetNs, to: SocketAddr) -> f64 {
    let (count, ended, start) = (AtomicU64::new(0), AtomicBool::new(false), Barrier::new(CLIENTS + 1));
    let client = || {
        enter(outside);
        start.wait();
        while !ended.load(Ordering::Relaxed) {
            connect(to);
            count.fetch_add(1, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        (0..CLIENTS).for_each(|_| drop(scope.spawn(client)));
        start.wait();
        let started = Instant::now();
        std::thread::sleep(Duration::from_secs(1));
        let connected = count.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64();
        ended.store(true, Ordering::Relaxed);
        connected
    })
}
