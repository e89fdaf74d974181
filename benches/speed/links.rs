//! A namespace is connected to a network, and disconnected from it, as library calls: address, pair of devices,
//! routes, published ports, records, and every look at what is there already.
//!
//! | group | cases |
//! |---|---|
//! | `links` | connect and disconnect: without a port; with one port next to 0, 500, 2,000 ports; with a range of 10,000 ports |
//!
//! The floor of connecting is the pair with its bridge port in one `send()`, IPv6 switched off on both ends, the
//! container's address, route and second device name in another `send()`, and the port's element in a third. That of
//! disconnecting is the element taken out and the device taken off the bridge. The devices are deleted unmeasured,
//! as they are behind a container's end.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode};
use mydocker::netns::NetNs;
use mydocker::network::PortRequest;
use mydocker::nft::{Element, Proto, PublishedRange, Socket};
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};

use crate::floor::{LOOPBACK, Messages, Wire, number_of};
use crate::report::FLOOR;
use crate::stage::{self, Connection, creating, deleting, enter, namespace, others, port};

/// The number of the floor's devices, on either side.
const DEVICE: u32 = 1_000_000;
/// The name of the floor's device on the host's side.
const DEVICE_NAME: &str = "f100f";
/// The floor's address; the library hands out the lowest ones.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 200, 1);
const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

pub(crate) fn all(criterion: &mut Criterion) {
    let host = namespace();
    enter(&host);
    let container = namespace();
    let mut place = Place { connection: Connection::new(), host, container };
    let mut group = criterion.benchmark_group("links");
    // Deleting the devices takes many times as long as what is measured.
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group.warm_up_time(Duration::from_millis(5)).measurement_time(Duration::from_millis(60));
    place.both(&mut group, "no port", &[], &[]);
    for present in [0, 500, 2_000] {
        let mut table = Socket::open().unwrap();
        table.commit(others(present)).unwrap();
        let name = format!("a port next to {present}");
        place.both(&mut group, &name, &["8080:80"], &[port(ANY, 8080, ADDRESS.into())]);
        table.commit(deleting((0..present).map(stage::other))).unwrap();
    }
    let range = PublishedRange::new(ANY, Proto::Tcp, 20_000, 29_999, ADDRESS.into(), Some("web".to_owned()));
    place.both(&mut group, "a range of 10000 ports", &["20000-29999:20000-29999"], &[range.unwrap().into()]);
    group.finish();
}

struct Place {
    connection: Connection,
    host: NetNs,
    container: NetNs,
}

impl Place {
    /// Connecting and disconnecting, and their floors.
    fn both(
        &mut self,
        group: &mut BenchmarkGroup<'_, WallTime>,
        name: &str,
        ports: &[&str],
        elements: &[Element],
    ) {
        let ports: Vec<PortRequest> = ports.iter().map(|port| port.parse().unwrap()).collect();
        for (verb, connects) in [("connect", true), ("disconnect", false)] {
            group.bench_function(format!("{verb}, {name}"), |bencher| {
                bencher.iter_custom(|times| (0..times).map(|_| self.once(&ports, connects)).sum());
            });
            let floor = Floor::new(&self.host, &self.container, elements);
            group.bench_function(format!("{verb}, {name}{FLOOR}"), |bencher| {
                bencher.iter_custom(|times| (0..times).map(|_| floor.once(connects)).sum());
            });
            floor.check();
        }
    }

    fn once(&mut self, ports: &[PortRequest], connects: bool) -> Duration {
        let start = Instant::now();
        let endpoint = self.connection.connect(&self.container, ports);
        let connected = start.elapsed();
        let start = Instant::now();
        self.connection.networks.disconnect(&endpoint).unwrap();
        let disconnected = start.elapsed();
        let wire = Wire::open(NETLINK_ROUTE);
        wire.send(&Messages::default().delete(endpoint.host_if.as_str()).bytes());
        wire.check();
        if connects { connected } else { disconnected }
    }
}

/// Everything that the kernel is told, made before.
struct Floor<'a> {
    host: &'a NetNs,
    container: &'a NetNs,
    routing: Wire,
    routing_inside: Wire,
    table: Wire,
    pair: Vec<u8>,
    inside: Vec<u8>,
    publish: Vec<u8>,
    unpublish: Vec<u8>,
    detach: Vec<u8>,
    delete: Vec<u8>,
}

impl<'a> Floor<'a> {
    fn new(host: &'a NetNs, container: &'a NetNs, elements: &[Element]) -> Self {
        let bridge = number_of("bench0");
        let pair = Messages::default().pair(DEVICE_NAME, DEVICE, Some(bridge), container);
        let inside = Messages::default()
            .up(LOOPBACK)
            .address(DEVICE, ADDRESS, 16)
            .second_name(DEVICE, "cif-f100f")
            .up(DEVICE)
            .route(DEVICE, None, Ipv4Addr::new(10, 77, 0, 1));
        // No transaction: no message.
        let bytes = |batch: mydocker::nft::Batch| match elements {
            [] => Vec::new(),
            _ => batch.as_bytes().to_vec(),
        };
        Self {
            host,
            container,
            routing: Wire::open(NETLINK_ROUTE),
            routing_inside: container.run(|| Wire::open(NETLINK_ROUTE)).unwrap(),
            table: Wire::open(NETLINK_NETFILTER),
            pair: pair.hairpin(DEVICE_NAME).bytes(),
            inside: inside.bytes(),
            publish: bytes(creating(elements.iter().cloned()).finalize()),
            unpublish: bytes(deleting(elements.iter().cloned()).finalize()),
            detach: Messages::default().detach(DEVICE_NAME).bytes(),
            delete: Messages::default().delete(DEVICE_NAME).bytes(),
        }
    }

    fn once(&self, connects: bool) -> Duration {
        let start = Instant::now();
        self.routing.send(&self.pair);
        no_ipv6(DEVICE_NAME);
        enter(self.container);
        no_ipv6("eth0");
        enter(self.host);
        self.routing_inside.send(&self.inside);
        if !self.publish.is_empty() {
            self.table.send(&self.publish);
        }
        let connected = start.elapsed();
        let start = Instant::now();
        if !self.unpublish.is_empty() {
            self.table.send(&self.unpublish);
        }
        self.routing.send(&self.detach);
        let disconnected = start.elapsed();
        self.routing.send(&self.delete);
        if connects { connected } else { disconnected }
    }

    fn check(&self) {
        for wire in [&self.routing, &self.routing_inside, &self.table] {
            wire.check();
        }
    }
}

fn no_ipv6(device: &str) {
    let path = format!("/proc/sys/net/ipv6/conf/{device}/disable_ipv6");
    let mut file: File = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all(b"1").unwrap();
}
