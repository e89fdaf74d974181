//! The floor of connecting a namespace: see `links`.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, OwnedFd};

use mydocker::netns::NetNs;
use mydocker::nft::Element;
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};

use crate::floor::{LOOPBACK, Messages, Wire, number_of};
use crate::stage::{creating, deleting, enter};

/// The number of the floor's devices, on either side.
const DEVICE: u32 = 1_000_000;
/// The name of the floor's device on the host's side.
const DEVICE_NAME: &str = "f100f";
/// The floor's address; the library hands out the lowest ones.
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 200, 1);

/// Everything that the kernel is told, made before.
pub(crate) struct FloorLink {
    host: OwnedFd,
    container: OwnedFd,
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

impl FloorLink {
    /// For the network whose bridge is `bench0` on `host`, where the calling thread is.
    pub(crate) fn new(host: &NetNs, container: &NetNs, elements: &[Element]) -> Self {
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
            host: own(host),
            container: own(container),
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

    pub(crate) fn connect(&self) {
        self.routing.send(&self.pair);
        no_ipv6(DEVICE_NAME);
        enter(&self.container);
        no_ipv6("eth0");
        enter(&self.host);
        self.routing_inside.send(&self.inside);
        if !self.publish.is_empty() {
            self.table.send(&self.publish);
        }
    }

    /// Leaves the devices, which go behind a container's end.
    pub(crate) fn disconnect(&self) {
        if !self.unpublish.is_empty() {
            self.table.send(&self.unpublish);
        }
        self.routing.send(&self.detach);
    }

    pub(crate) fn delete(&self) {
        self.routing.send(&self.delete);
    }

    /// Stops if the kernel has refused anything.
    pub(crate) fn check(&self) {
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

fn own(namespace: &NetNs) -> OwnedFd {
    namespace.as_fd().try_clone_to_owned().unwrap()
}
