//! Networks: what they are, who is connected to them, and how that becomes devices and set elements.
//!
//! [`Networks`] is what the engine calls: it holds the sockets and carries out the operations. Pure values decide
//! ([`Subnet`], [`PortRequest`], the allocator, the plan), records remember, and a [`NetworkDriver`] makes the
//! devices.
//!
//! ```text
//! Networks ─┬─ manage    create, remove, list          records: ROOT/network/network/NAME
//!           │  choose    the addresses of a new one
//!           ├─ attach    containers connect            endpoints: RUN_ROOT/network/endpoints/NETWORK/ADDRESS
//!           ├─ detach    … and disconnect              links: RUN_ROOT/network/containers/ID/NETWORK
//!           ├─ foreign   other namespaces do both      RUN_ROOT/network/namespaces/INODE/NETWORK
//!           ├─ publish   ports of an endpoint          (in the endpoint's record)
//!           │  ├ allot   free ports of the host
//!           │  └ moving  from one endpoint of a container to another
//!           └─ restore   after a reboot, a flush       addresses: ROOT/network/ipam/subnet.json
//! ```
//!
//! Order rules: a record is written before the kernel is touched and removed after; an address is given back
//! only when its interface has left the bridge; a port is ours only if its exclusive creation succeeded.
//!
#![doc = include_str!("networks.md")]

mod allot;
mod attach;
mod bridge;
mod check;
mod choose;
mod detach;
mod driver;
mod dry_run;
mod endpoint;
mod error;
mod faults;
mod flows;
mod foreign;
mod forwarding;
mod host;
mod ipam;
mod lacking;
mod links;
mod listener;
mod manage;
mod moving;
mod namespace;
mod owner;
mod plan;
mod port;
mod prune;
mod publish;
mod publisher;
mod record;
mod reload;
mod restore;
mod stale_flows;
mod subnet;
mod subnet_file;

use crate::netlink::Conntrack;
pub use crate::netlink::{Direction, Flow, FlowEvent, FlowState, MacAddress};
use crate::nft;
use crate::store::Layout;

pub use attach::{ConnectRequest, Wanted};
pub use bridge::BridgeDriver;
pub use check::Finding;
pub use choose::CreateRequest;
pub use detach::ContainerEndpoints;
pub use driver::{DriverError, Fault, NetworkDriver, PortState};
pub use endpoint::{Endpoint, InterfaceAddress};
pub use error::NetworkError;
pub use flows::{ContainerFlow, FlowOwner};
pub use foreign::NamespaceRequest;
pub use host::{Occupant, Pool};
pub use ipam::{Bitmap, BitmapError};
pub use lacking::lacking;
pub use listener::HostListener;
pub use manage::{Inspection, Usage};
pub use namespace::Namespace;
pub use owner::{Holder, Owner};
pub use port::{
    ExposedPort, PortError, PortMapping, PortRange, PortRequest, compact, first_collision, unpublished,
};
pub use record::{AddressBlock, DEFAULT_MTU, DriverKind, Mode, Network, Phase, RecordError};
pub use reload::Running;
pub use subnet::{Family, Subnet, SubnetError};
pub use subnet_file::{InUse, SubnetFile, SubnetFileError};

/// All networks of one layout, with the sockets to the kernel.
///
/// A netfilter socket is only closed when this is dropped: that costs the kernel a wait behind, see
/// [`nft::Socket`].
#[derive(Debug)]
pub struct Networks {
    layout: Layout,
    bridge: Option<BridgeDriver>,
    nft: Option<nft::Socket>,
    conntrack: Option<Conntrack>,
}

impl Networks {
    /// The networks recorded in `layout`. Nothing is opened yet.
    #[must_use]
    pub fn new(layout: Layout) -> Self {
        Self { layout, bridge: None, nft: None, conntrack: None }
    }

    fn bridge(&mut self) -> Result<&mut BridgeDriver, NetworkError> {
        let driver = match self.bridge.take() {
            Some(driver) => driver,
            None => BridgeDriver::open()
                .map_err(|source| NetworkError::Driver { action: "use networks".to_owned(), source })?,
        };
        Ok(self.bridge.insert(driver))
    }

    fn driver(&mut self, kind: DriverKind) -> Result<&mut dyn NetworkDriver, NetworkError> {
        match kind {
            DriverKind::Bridge => Ok(self.bridge()?),
        }
    }

    fn nft(&mut self) -> Result<&mut nft::Socket, NetworkError> {
        let socket = match self.nft.take() {
            Some(socket) => socket,
            None => nft::Socket::open().map_err(NetworkError::NftSocket)?,
        };
        Ok(self.nft.insert(socket))
    }
}
