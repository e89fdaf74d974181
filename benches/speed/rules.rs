//! Changes of the table: building the transaction, sending it, the kernel's work, and reading its answers.
//!
//! | group | cases |
//! |---|---|
//! | `rules, one` | publish and unpublish a port, add and remove a network's elements, next to 0, 100, 1,000, 10,000 ports and to 0, 100, 1,000 networks, and to 10,000 and 1,000 together; who holds a port |
//! | `rules, many` | 10,000 ports in one transaction, in and out; a range of 10,000 ports, which is one element; building the transaction without sending it |
//! | `rules, table` | the table empty, and with 2,000 ports and 100 networks: made anew; empty: deleted, listed |
//!
//! The floor of each is its batch, made before, in one `send()`.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion};
use ipnet::Ipv4Net;
use mydocker::nft::{Element, Proto, PublishedRange, Socket, Transaction};
use netlink_sys::protocols::NETLINK_NETFILTER;

use crate::floor::Wire;
use crate::report::FLOOR;
use crate::stage::{self, CONTAINER, creating, deleting, enter, others, port, rebuild};

const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

pub(crate) fn all(criterion: &mut Criterion) {
    let namespace = stage::namespace();
    enter(&namespace);
    let mut table = Table { socket: Socket::open().unwrap(), wire: Wire::open(NETLINK_NETFILTER) };
    one(criterion, &mut table);
    many(criterion, &mut table);
    whole(criterion, &mut table);
}

/// The two ways to the kernel's table.
struct Table {
    socket: Socket,
    wire: Wire,
}

impl Table {
    fn commit(&mut self, transaction: Transaction) {
        self.socket.commit(transaction).unwrap();
    }

    /// Measures `measured`, each followed by `undone`, and then the same as a floor.
    fn alternate(
        &mut self,
        group: &mut BenchmarkGroup<'_, WallTime>,
        name: &str,
        measured: &dyn Fn() -> Transaction,
        undone: &dyn Fn() -> Transaction,
    ) {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                let mut total = Duration::ZERO;
                for _ in 0..times {
                    let start = Instant::now();
                    self.socket.commit(measured()).unwrap();
                    total += start.elapsed();
                    self.socket.commit(undone()).unwrap();
                }
                total
            });
        });
        let (measured, undone) = (measured().finalize(), undone().finalize());
        group.bench_function(format!("{name}{FLOOR}"), |bencher| {
            bencher.iter_custom(|times| {
                let mut total = Duration::ZERO;
                for _ in 0..times {
                    let start = Instant::now();
                    self.wire.send(measured.as_bytes());
                    total += start.elapsed();
                    self.wire.send(undone.as_bytes());
                }
                total
            });
        });
        self.wire.check();
    }
}

/// What a network is in the table.
fn network(number: u16) -> [Element; 3] {
    let name = format!("bridge{number}");
    let [high, low] = number.to_be_bytes();
    let subnet = Ipv4Net::new_assert(Ipv4Addr::new(10, high, low, 0), 24);
    [
        Element::Bridge(name.parse().unwrap()),
        Element::SameBridge(name.parse().unwrap()),
        Element::Subnet4(subnet),
    ]
}

fn company(ports: u16, networks: u16) -> Transaction {
    let mut company = others(ports);
    company.extend((0..networks).flat_map(network));
    company
}

fn one(criterion: &mut Criterion, table: &mut Table) {
    let mut group = criterion.benchmark_group("rules, one");
    let publish = || creating([port(ANY, 8080, CONTAINER)]);
    let unpublish = || deleting([port(ANY, 8080, CONTAINER)]);
    let add = || creating(network(9999));
    let remove = || deleting(network(9999));
    for (ports, networks) in
        [(0, 0), (100, 0), (1_000, 0), (10_000, 0), (0, 100), (0, 1_000), (10_000, 1_000)]
    {
        table.commit(rebuild());
        table.commit(company(ports, networks));
        let next_to = format!("next to {ports} ports, {networks} networks");
        table.alternate(&mut group, &format!("publish a port {next_to}"), &publish, &unpublish);
        table.commit(publish());
        table.alternate(&mut group, &format!("unpublish a port {next_to}"), &unpublish, &publish);
        group.bench_function(format!("holder of a port {next_to}"), |bencher| {
            let port = port(ANY, 8080, CONTAINER);
            bencher.iter(|| table.socket.lookup_comment(&port).unwrap().unwrap());
        });
        table.alternate(&mut group, &format!("add a network {next_to}"), &add, &remove);
        table.commit(add());
        table.alternate(&mut group, &format!("remove a network {next_to}"), &remove, &add);
    }
    group.finish();
}

fn many(criterion: &mut Criterion, table: &mut Table) {
    let mut group = criterion.benchmark_group("rules, many");
    let ports = || (0..10_000).map(|n| port(ANY, 10_000 + n, CONTAINER));
    let (create, delete) = (creating(ports()), deleting(ports()));
    table.commit(rebuild());
    group.bench_function("build a transaction of 10000 ports", |bencher| {
        bencher.iter_batched(|| create.clone(), Transaction::finalize, BatchSize::LargeInput);
    });
    table.alternate(&mut group, "publish 10000 ports at once", &|| create.clone(), &|| delete.clone());
    table.commit(create.clone());
    table.alternate(&mut group, "unpublish 10000 ports at once", &|| delete.clone(), &|| create.clone());
    table.commit(rebuild());
    let range: Element =
        PublishedRange::new(ANY, Proto::Tcp, 20_000, 29_999, CONTAINER, Some("web".to_owned()))
            .unwrap()
            .into();
    let (create, delete) = (|| creating([range.clone()]), || deleting([range.clone()]));
    table.alternate(&mut group, "publish a range of 10000 ports", &create, &delete);
    table.commit(create());
    table.alternate(&mut group, "unpublish a range of 10000 ports", &delete, &create);
    group.finish();
}

fn whole(criterion: &mut Criterion, table: &mut Table) {
    let mut group = criterion.benchmark_group("rules, table");
    let nothing = Transaction::new;
    let delete = || {
        let mut delete = Transaction::new();
        delete.delete_table();
        delete
    };
    table.commit(rebuild());
    table.alternate(&mut group, "make the empty table anew", &rebuild, &nothing);
    table.commit(rebuild());
    table.alternate(&mut group, "delete the empty table", &delete, &rebuild);
    table.commit(rebuild());
    group.bench_function("list the empty table", |bencher| {
        bencher.iter(|| table.socket.dump().unwrap().unwrap());
    });
    let full = || {
        let mut full = rebuild();
        full.extend((0..2_000).map(|n| port(ANY, 1024 + n, CONTAINER)));
        full.extend((0..100).flat_map(network));
        full
    };
    table.commit(full());
    table.alternate(&mut group, "make the table with 2000 ports and 100 networks anew", &full, &nothing);
    group.bench_function("list the table with 2000 ports and 100 networks", |bencher| {
        bencher.iter(|| table.socket.dump().unwrap().unwrap());
    });
    group.finish();
}
