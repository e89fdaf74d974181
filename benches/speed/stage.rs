//! Where the benchmarks take place: namespaces, directories, and whatever has to be there first.
//!
//! The calls of the library that more than one benchmark makes are here too, so that a changed signature is
//! followed in one place.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd as _};
use std::path::Path;

use mydocker::names::{ContainerId, NetworkName};
use mydocker::netns::NetNs;
use mydocker::network::{
    ConnectRequest, CreateRequest, Endpoint, Networks, Owner, PortRequest, Subnet, Wanted,
};
use mydocker::nft::{Element, Proto, Published, Skeleton, Transaction};
use mydocker::process::Process;
use mydocker::store::Layout;
use nix::sched::{CloneFlags, setns, unshare};
use tempfile::TempDir;

/// The container that all ports lead to where there is no real one.
pub(crate) const CONTAINER: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 18, 0, 2));

/// A new network namespace that nothing holds but the returned descriptor.
pub(crate) fn namespace() -> NetNs {
    assert!(nix::unistd::geteuid().is_root(), "the benchmarks make network namespaces: run them as root");
    let made = std::thread::scope(|scope| {
        let made = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        made.join().unwrap()
    });
    NetNs::open(Path::new(&format!("/proc/self/fd/{}", made.as_raw_fd()))).unwrap()
}

/// Moves the calling thread, and whatever it starts from now on, into a namespace.
pub(crate) fn enter(namespace: impl AsFd) {
    setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
}

/// State directories as on a real host: what a reboot makes void is in memory.
pub(crate) struct Directories {
    root: TempDir,
    run_root: TempDir,
}

impl Directories {
    pub(crate) fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let run_root = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
        Self { root: TempDir::new().unwrap(), run_root: run_root.unwrap() }
    }

    pub(crate) fn layout(&self) -> Layout {
        Layout::new(self.root.path(), self.run_root.path())
    }
}

/// A network of the calling thread's namespace, and one container for it.
pub(crate) struct Connection {
    pub(crate) networks: Networks,
    network: NetworkName,
    container: ContainerId,
    owner: Process,
    _directories: Directories,
}

impl Connection {
    /// Creates the network `bench0`, 10.77.0.0/16.
    pub(crate) fn new() -> Self {
        let directories = Directories::new();
        let network: NetworkName = "bench0".parse().unwrap();
        let mut networks = Networks::new(directories.layout());
        let mut request = CreateRequest::new(network.clone());
        request.subnets = vec![("10.77.0.0/16".parse::<Subnet>().unwrap(), None)];
        networks.create(&request).unwrap();
        Self {
            networks,
            network,
            container: ContainerId::generate().unwrap(),
            owner: Process::current().unwrap(),
            _directories: directories,
        }
    }

    pub(crate) fn connect(&mut self, netns: &NetNs, ports: &[PortRequest]) -> Endpoint {
        let (id, name) = (self.container.clone(), "web".to_owned());
        let owner = Owner::Container { id, name, processes: vec![self.owner] };
        let wanted = Wanted::default();
        let request = ConnectRequest { network: &self.network, owner: &owner, others: &[], wanted: &wanted };
        let mut endpoint = self.networks.connect(&request, netns).unwrap();
        self.networks.publish(std::slice::from_mut(&mut endpoint), &[], ports).unwrap();
        endpoint
    }
}

/// The address that the endpoint got.
pub(crate) fn address(endpoint: &Endpoint) -> Ipv4Addr {
    match endpoint.addresses[0].address() {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => unreachable!("the network has IPv4 only"),
    }
}

/// One published port.
pub(crate) fn port(host: IpAddr, host_port: u16, to: IpAddr) -> Element {
    Published::new(host, Proto::Tcp, host_port, to, 80, Some("web".to_owned())).unwrap().into()
}

/// A port for the company of those that are measured: of an address that none of these is of.
pub(crate) fn other(number: u16) -> Element {
    port(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), 1024 + number, CONTAINER)
}

/// As many of them as wanted.
pub(crate) fn others(count: u16) -> Transaction {
    creating((0..count).map(other))
}

pub(crate) fn rebuild() -> Transaction {
    let mut transaction = Transaction::new();
    transaction.rebuild(Skeleton::default());
    transaction
}

pub(crate) fn creating(elements: impl IntoIterator<Item = Element>) -> Transaction {
    let mut transaction = Transaction::new();
    transaction.extend(elements);
    transaction
}

pub(crate) fn deleting(elements: impl IntoIterator<Item = Element>) -> Transaction {
    let mut transaction = Transaction::new();
    for element in elements {
        transaction.delete(element);
    }
    transaction
}
