//! What a change of the rule set costs: building the transaction, sending it, and the kernel's work.
//!
//! Everything happens in a network namespace of its own; needs root.

#![expect(missing_docs, reason = "criterion's macros make undocumented functions")]
#![expect(clippy::unwrap_used, reason = "a benchmark that fails shall stop")]

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use mydocker::netns::{self, NetNs};
use mydocker::nft::{Element, Proto, Published, PublishedRange, Skeleton, Socket, Transaction};

const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const CONTAINER: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 18, 0, 2));

fn port(host: IpAddr, host_port: u16) -> Element {
    Published::new(host, Proto::Tcp, host_port, CONTAINER, 80, Some("web".to_owned())).unwrap().into()
}

/// As many different ports of one address as wanted, none of which [`publish`] uses.
fn others(count: u16) -> Transaction {
    let mut transaction = Transaction::new();
    transaction.extend((0..count).map(|n| port(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), 1024 + n)));
    transaction
}

fn rebuild() -> Transaction {
    let mut transaction = Transaction::new();
    transaction.rebuild(Skeleton::default());
    transaction
}

fn deleting(elements: impl IntoIterator<Item = Element>) -> Transaction {
    let mut transaction = Transaction::new();
    for element in elements {
        transaction.delete(element);
    }
    transaction
}

fn creating(elements: impl IntoIterator<Item = Element>) -> Transaction {
    let mut transaction = Transaction::new();
    transaction.extend(elements);
    transaction
}

/// The time of `measured` alone, each followed by `undone`.
fn alternate(
    socket: &mut Socket,
    times: u64,
    measured: impl Fn() -> Transaction,
    undone: impl Fn() -> Transaction,
) -> Duration {
    let mut total = Duration::ZERO;
    for _ in 0..times {
        let start = Instant::now();
        socket.commit(measured()).unwrap();
        total += start.elapsed();
        socket.commit(undone()).unwrap();
    }
    total
}

fn publish(criterion: &mut Criterion, socket: &mut Socket) {
    let mut group = criterion.benchmark_group("one port");
    let create = || creating([port(ANY, 8080)]);
    let delete = || deleting([port(ANY, 8080)]);
    group.bench_function("build the transaction only", |bencher| {
        bencher.iter_batched(create, Transaction::finalize, BatchSize::SmallInput);
    });
    for present in [0, 1_000, 10_000] {
        socket.commit(rebuild()).unwrap();
        socket.commit(others(present)).unwrap();
        group.bench_function(format!("publish, {present} present"), |bencher| {
            bencher.iter_custom(|times| alternate(socket, times, create, delete));
        });
        socket.commit(create()).unwrap();
        group.bench_function(format!("unpublish, {present} present"), |bencher| {
            bencher.iter_custom(|times| alternate(socket, times, delete, create));
        });
        group.bench_function(format!("look the holder up, {present} present"), |bencher| {
            bencher.iter(|| socket.lookup_comment(&port(ANY, 8080)).unwrap().unwrap());
        });
    }
    group.finish();
}

fn whole_table(criterion: &mut Criterion, socket: &mut Socket) {
    let mut group = criterion.benchmark_group("table");
    group.bench_function("rebuild", |bencher| bencher.iter(|| socket.commit(rebuild()).unwrap()));
    group.bench_function("build the transaction only", |bencher| {
        bencher.iter_batched(rebuild, Transaction::finalize, BatchSize::SmallInput);
    });
    let mut delete_table = Transaction::new();
    delete_table.delete_table();
    socket.commit(rebuild()).unwrap();
    group.bench_function("delete", |bencher| {
        bencher.iter_custom(|times| alternate(socket, times, || delete_table.clone(), rebuild));
    });
    socket.commit(rebuild()).unwrap();
    group.bench_function("dump", |bencher| bencher.iter(|| socket.dump().unwrap().unwrap()));
    group.finish();
}

fn many(criterion: &mut Criterion, socket: &mut Socket) {
    let mut group = criterion.benchmark_group("10,000 ports");
    let ports = || (0..10_000).map(|n| port(ANY, 10_000 + n));
    socket.commit(rebuild()).unwrap();
    let create = creating(ports());
    let delete = deleting(ports());
    group.bench_function("build the transaction only", |bencher| {
        bencher.iter_batched(|| create.clone(), Transaction::finalize, BatchSize::LargeInput);
    });
    group.bench_function("publish in one transaction", |bencher| {
        bencher.iter_custom(|times| alternate(socket, times, || create.clone(), || delete.clone()));
    });
    let range: Element =
        PublishedRange::new(ANY, Proto::Tcp, 20_000, 29_999, CONTAINER, None).unwrap().into();
    group.bench_function("publish as a range", |bencher| {
        let create = || creating([range.clone()]);
        bencher.iter_custom(|times| alternate(socket, times, create, || deleting([range.clone()])));
    });
    group.finish();
}

fn in_a_namespace(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let pin = dir.path().join("netns");
    let ns = NetNs::create_pinned(&pin).unwrap();
    let mut socket = ns.run(Socket::open).unwrap().unwrap();
    publish(criterion, &mut socket);
    whole_table(criterion, &mut socket);
    many(criterion, &mut socket);
    netns::unpin(&pin).unwrap();
}

criterion_group! {
    name = rules;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1));
    targets = in_a_namespace
}
criterion_main!(rules);
