//! The border between what a network is and the devices it is made of.

use std::fmt;

use ipnet::IpNet;

use super::endpoint::Endpoint;
use super::record::Network;
use super::subnet::Family;
use crate::names::IfName;
use crate::needs::Feature;
use crate::netlink::RequestError;
use crate::netns::{NetNs, NetNsError};
use crate::sysctl::SysctlError;

/// Makes and removes the devices of one kind of network. Filtering and address translation are not a
/// driver's business: they follow from the records and are the same for all drivers.
pub trait NetworkDriver {
    /// Makes the network's own devices. What is there already and fits is kept.
    ///
    /// # Errors
    /// The kernel refused; what was made is removed again.
    fn make(&mut self, network: &Network) -> Result<(), DriverError>;

    /// Removes the network's own devices. What is gone already is no error.
    ///
    /// # Errors
    /// The kernel refused.
    fn delete(&mut self, network: &Network) -> Result<(), DriverError>;

    /// Whether the network's own devices are there.
    ///
    /// # Errors
    /// The kernel refused to answer, or a device of that name is of another kind.
    fn exists(&mut self, network: &Network) -> Result<bool, DriverError>;

    /// What is wrong with the network's own devices. A few look-ups, however many containers there are.
    ///
    /// # Errors
    /// The kernel refused to answer.
    fn faults(&mut self, network: &Network) -> Result<Vec<Fault>, DriverError>;

    /// How the host's part of an endpoint's interface is.
    ///
    /// # Errors
    /// The kernel refused to answer.
    fn port_state(&mut self, network: &Network, endpoint: &Endpoint) -> Result<PortState, DriverError>;

    /// Connects an interface that is still there with the network again.
    ///
    /// # Errors
    /// The kernel refused.
    fn reattach(&mut self, network: &Network, endpoint: &Endpoint) -> Result<(), DriverError>;

    /// Gives the namespace an interface in the network, with addresses and routes, switched on. The default
    /// routes of the families in `defaults` lead through it, unless the namespace has one that is not ours; what is
    /// sent from its address of another family leaves through it all the same. Returns the families whose default route
    /// leads through it.
    ///
    /// # Errors
    /// The kernel refused. What was made goes with the namespace; [`NetworkDriver::detach`] takes it off
    /// the network at once, and [`NetworkDriver::delete_interface`] out of the namespace.
    fn attach(
        &mut self,
        network: &Network,
        endpoint: &Endpoint,
        netns: &NetNs,
        defaults: &[Family],
    ) -> Result<Vec<Family>, DriverError>;

    /// Lets the default routes of these families, if they lead through the interface of `from`, lead through that
    /// of `to` instead.
    ///
    /// # Errors
    /// The kernel refused.
    fn redirect(
        &mut self,
        from: &Endpoint,
        to: &Endpoint,
        netns: &NetNs,
        families: &[Family],
    ) -> Result<(), DriverError>;

    /// Announces on the network which Ethernet address the endpoint's IP addresses have now. To be called after
    /// [`NetworkDriver::attach`].
    ///
    /// # Errors
    /// The kernel refused.
    fn announce(&mut self, endpoint: &Endpoint, netns: &NetNs) -> Result<(), DriverError>;

    /// Takes an endpoint's interface off the network: from then on no packet goes in or out. What is gone
    /// already is no error.
    ///
    /// # Errors
    /// The kernel refused.
    fn detach(&mut self, endpoint: &Endpoint) -> Result<(), DriverError>;

    /// Takes an endpoint's interface off the network and out of its namespace, which stays as it is otherwise.
    /// What is gone already is no error.
    ///
    /// # Errors
    /// The kernel refused.
    fn delete_interface(&mut self, endpoint: &Endpoint, netns: &NetNs) -> Result<(), DriverError>;
}

/// What is wrong with a network's own device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// There is no such device.
    Missing(IfName),
    /// The device of that name is no bridge.
    NotABridge(IfName),
    /// It is switched off.
    Down(IfName),
    /// It does not have the gateway's address.
    NoAddress(IfName, IpNet),
    /// A kernel parameter has another value.
    Parameter {
        /// Its name as `sysctl` takes it.
        name: String,
        /// What it is.
        value: String,
        /// What it should be.
        wanted: &'static str,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(bridge) => write!(f, "the bridge {bridge} is missing"),
            Self::NotABridge(bridge) => write!(f, "the device {bridge} is somebody else's: it is no bridge"),
            Self::Down(bridge) => write!(f, "the bridge {bridge} is switched off"),
            Self::NoAddress(bridge, address) => write!(f, "the bridge {bridge} lacks the address {address}"),
            Self::Parameter { name, value, wanted } => {
                write!(f, "the kernel parameter {name} is {value} and not {wanted}")
            }
        }
    }
}

/// How the host's end of a container's pair is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortState {
    /// A port of the network's bridge, and on.
    Attached,
    /// On, but a port of no bridge or of another one: its bridge was deleted, or it was taken off by hand. One
    /// that is taken off because its container ends is switched off.
    Loose,
    /// Switched off.
    Off,
    /// There is no such device.
    Missing,
}

/// Why a driver could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// A request to the kernel failed.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A kernel parameter could not be set.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    /// The namespace could not be entered.
    #[error(transparent)]
    NetNs(#[from] NetNsError),
    /// No netlink socket could be opened.
    #[error("cannot talk to the kernel's routing netlink")]
    Socket(#[source] std::io::Error),
    /// The name is in use by a device that is no bridge.
    #[error("a device named {0} exists and is not a bridge")]
    NotABridge(IfName),
    /// The host's end of the pair cannot have this name.
    #[error("a device named {0} exists already")]
    DeviceExists(IfName),
    /// The namespace has an interface of this name.
    #[error("the namespace has a device named {0} already")]
    InterfaceExists(IfName),
    /// The kernel attaches no further port to the bridge.
    #[error("the bridge {0} is full: the kernel allows 1,023 ports on one bridge")]
    BridgeFull(IfName),
    /// The kernel was built without something.
    #[error("this kernel cannot make {what}: it lacks {}", .feature.option)]
    Unsupported {
        /// The kind of device.
        what: &'static str,
        /// What is missing.
        feature: Feature,
    },
    /// A device that was just made cannot be found.
    #[error("the device {0} vanished while it was being set up")]
    Vanished(IfName),
}
