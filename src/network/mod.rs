//! Networks: what they are, who is connected to them, and how that becomes devices and set elements.
//!
//! [`Networks`] is what the engine calls. It owns three parts, and does what involves more than one of
//! them. Pure values decide ([`Subnet`], [`PortRequest`], `place`, `Request`, [`Plan`]).
//!
//! ```text
//! Networks ─┬─ records   what is written down      ROOT/network/network/NAME, RUN_ROOT/network/endpoints/NETWORK/ADDRESS
//!           ├─ table     the firewall table        (its elements follow from the records: plan)
//!           └─ devices   bridges, pairs, routes    by the NetworkDriver of each network
//!
//! manage    networks are created and removed       addresses   who gets which: ROOT/network/ipam/subnet.json
//! connect   endpoints come and go                  ports       published, moved, taken away; publishing decides
//! restore   after a reboot, a flush, a kill        reload      everything as the records say
//! planner   what a command would change: Plan      check       what is wrong
//! name_files, neighbours   which container has which name    name_server, name_server_clients   who answers at a gateway, and its clients
//! foreign   namespaces that are no container's     wanted      what somebody asks for in a network
//! attachment, attachments   what other engines attach     expected   compared with what they expect
//! roots     two sets of records do not share a table
//! ended     whoever has gone leaves addresses and ports to others
//! ```
//!
//! Order rules: a record is written before the kernel is touched and removed after; an address is given back
//! only when its interface has left the bridge; a port is ours only if its exclusive creation succeeded.
//!
#![doc = include_str!("networks.md")]
//!
#![doc = include_str!("names.md")]

mod addresses;
mod allot;
mod attachment;
mod attachments;
mod bridge;
mod check;
mod choose;
mod connect;
mod devices;
mod driver;
mod ended;
mod endpoint;
mod error;
mod expected;
mod faults;
mod findings;
mod flows;
mod foreign;
mod forwarding;
mod hindered;
mod host;
mod inside;
mod ipam;
mod lacking;
mod links;
mod listener;
mod manage;
mod name_faults;
mod name_files;
mod name_server;
mod name_server_clients;
mod namespace;
mod neighbours;
mod owner;
mod plan;
mod planner;
mod port;
mod ports;
mod publisher;
mod publishing;
mod record;
mod records;
mod reload;
mod remembered;
mod restore;
mod roots;
mod stale_flows;
mod subnet;
mod subnet_file;
mod table;
mod tuning;
mod wanted;

use crate::names::{ContainerId, NetworkName};
pub use crate::netlink::{Direction, Flow, FlowEvent, FlowState, MacAddress};
use crate::netns::NetNs;
pub use crate::nft::Diversion;
use crate::store::Layout;
use check::Checkup;
use devices::Devices;
use records::Records;
use table::Table;

pub use attachment::{Attachment, AttachmentKey, Origin, OtherEngine};
pub use attachments::{AttachRequest, Attached, Attachments};
pub use bridge::BridgeDriver;
pub use choose::CreateRequest;
pub use connect::ContainerEndpoints;
pub use driver::{DriverError, Fault, NetworkDriver, PortState};
pub use endpoint::{Endpoint, InterfaceAddress, Route};
pub use error::NetworkError;
pub use expected::Expected;
pub use findings::Finding;
pub use flows::{ContainerFlow, FlowOwner};
pub use foreign::{NamespaceRequest, Namespaces};
pub use host::{Occupant, Pool};
pub use inside::{ExpectedDevice, ExpectedRoute};
pub use ipam::{Bitmap, BitmapError};
pub use lacking::lacking;
pub use listener::HostListener;
pub use manage::{Inspection, Usage};
pub use name_faults::NameFault;
pub use name_files::is_name;
pub use name_server::NameServers;
pub use name_server_clients::NameServerClients;
pub use namespace::{Namespace, Running};
pub use neighbours::{Neighbour, Neighbours};
pub use owner::{Holder, Owner};
pub use plan::Plan;
pub use planner::{Planner, StartRequest};
pub use port::{
    ExposedPort, PortError, PortMapping, PortRange, PortRequest, compact, first_collision, unpublished,
};
pub use record::{AddressBlock, DEFAULT_MTU, DriverKind, Mode, Network, Phase, RecordError};
pub use subnet::{Family, Subnet, SubnetError};
pub use subnet_file::{InUse, SubnetFile, SubnetFileError};
pub use tuning::{mistuned, tune};
pub use wanted::{ConnectRequest, Wanted};

/// All networks of one layout: what is written down of them, the firewall table and the devices.
#[derive(Debug)]
pub struct Networks {
    records: Records,
    table: Table,
    devices: Devices,
}

impl Networks {
    /// The networks recorded in `layout`. Nothing is opened yet.
    #[must_use]
    pub fn new(layout: Layout) -> Self {
        Self { records: Records { layout }, table: Table::default(), devices: Devices::default() }
    }

    /// Plans what would change, without changing anything.
    pub fn plan(&mut self) -> Planner<'_> {
        Planner(self)
    }

    /// Namespaces that are no container's.
    pub fn namespaces(&mut self) -> Namespaces<'_> {
        Namespaces(self)
    }

    /// What other engines attach to networks.
    pub fn attachments(&mut self) -> Attachments<'_> {
        Attachments(self)
    }

    /// Looks for everything that can be wrong. Nothing is changed.
    ///
    /// # Errors
    /// The kernel or the file system refuses to answer a question.
    pub fn check(&mut self, running: &Running) -> Result<Vec<Finding>, NetworkError> {
        let Self { records, table, devices } = self;
        Checkup { records, table, devices }.findings(running)
    }

    /// What is wrong with the names of containers. Nothing is changed.
    ///
    /// # Errors
    /// The records cannot be read.
    pub fn check_names(&self) -> Result<Vec<NameFault>, NetworkError> {
        name_faults::find(&self.records)
    }

    /// Makes the names of containers exactly those that the records say.
    ///
    /// # Errors
    /// The records cannot be read, or the file system refuses.
    pub fn renew_names(&self) -> Result<(), NetworkError> {
        name_faults::renew(&self.records)
    }

    /// What a container sees of its networks.
    #[must_use]
    pub fn neighbours_of(&self, container: &ContainerId) -> Neighbours {
        Neighbours::new(self.records.layout.clone(), container.clone())
    }

    /// What those who ask the name server of a network can know.
    #[must_use]
    pub fn clients_of_name_server(&self, network: Network) -> NameServerClients {
        NameServerClients::new(self.records.layout.clone(), network)
    }

    /// The name servers that networks have, beside those of containers.
    #[must_use]
    pub fn name_servers(&self) -> NameServers<'_> {
        NameServers(&self.records)
    }

    /// Leads questions to a name server in a container's namespace to other ports.
    ///
    /// # Errors
    /// The namespace cannot be entered, or the kernel refuses.
    pub fn divert_name_queries(&self, netns: &NetNs, diversion: Diversion) -> Result<(), NetworkError> {
        neighbours::divert(netns, diversion)
    }

    /// One network's record.
    ///
    /// # Errors
    /// [`NetworkError::NotFound`], or the record cannot be read.
    pub fn get(&self, name: &str) -> Result<Network, NetworkError> {
        self.records.get(name)
    }

    /// The network of this name and no other, if there is one.
    ///
    /// # Errors
    /// The record cannot be read.
    pub fn named(&self, name: &NetworkName) -> Result<Option<Network>, NetworkError> {
        Ok(self.records.load(name)?.map(|loaded| loaded.network))
    }

    /// The connection-tracking entries of containers, or of one of them, in the order of the containers' names.
    ///
    /// # Errors
    /// The records cannot be read, or the kernel refuses to list its entries.
    pub fn flows(&self, only: Option<&ContainerId>) -> Result<Vec<ContainerFlow>, NetworkError> {
        self.records.flows(only)
    }

    /// Hands out the changes to entries of containers, or of one of them, until `each` returns false. `begin` is
    /// called once nothing is missed any more.
    ///
    /// # Errors
    /// As for [`flows`](Self::flows).
    pub fn follow_flows(
        &self,
        only: Option<&ContainerId>,
        begin: impl FnOnce() -> Result<(), NetworkError>,
        each: impl FnMut(FlowEvent, ContainerFlow) -> bool,
    ) -> Result<(), NetworkError> {
        self.records.follow_flows(only, begin, each)
    }

    /// The table as the kernel holds it, in nft's own syntax; `None` when there is none.
    ///
    /// # Errors
    /// The kernel refuses to list it.
    pub fn rules(&mut self) -> Result<Option<String>, NetworkError> {
        self.table.text()
    }
}
