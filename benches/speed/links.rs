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

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode};
use mydocker::netns::NetNs;
use mydocker::network::PortRequest;
use mydocker::nft::{Element, Proto, PublishedRange, Socket};
use netlink_sys::protocols::NETLINK_ROUTE;

use crate::floor::{Messages, Wire};
use crate::floor_link::{ADDRESS, FloorLink};
use crate::report::FLOOR;
use crate::stage::{self, Connection, deleting, enter, namespace, others, port};

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
            let floor = FloorLink::new(&self.host, &self.container, elements);
            group.bench_function(format!("{verb}, {name}{FLOOR}"), |bencher| {
                bencher.iter_custom(|times| (0..times).map(|_| floor_once(&floor, connects)).sum());
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

fn floor_once(floor: &FloorLink, connects: bool) -> Duration {
    let start = Instant::now();
    floor.connect();
    let connected = start.elapsed();
    let start = Instant::now();
    floor.disconnect();
    let disconnected = start.elapsed();
    floor.delete();
    if connects { connected } else { disconnected }
}
