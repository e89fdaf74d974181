//! What can go wrong with networks, in the words a user needs.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use super::driver::DriverError;
use super::host::{Occupant, Pool};
use super::listener::HostListener;
use super::owner::Holder;
use super::port::{PortMapping, PortRange, PortRequest};
use super::record::RecordError;
use super::subnet::{Family, Subnet};
use super::subnet_file::SubnetFileError;
use crate::names::{IfName, NameError, NetworkName};
use crate::needs::{self, Feature};
use crate::nft::{CommitError, ElementError};
use crate::sysctl::SysctlError;

/// Why an operation on networks failed. Nothing is left changed.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The name cannot name a network.
    #[error("cannot create the network")]
    Name(#[from] NameError),
    /// A network of that name exists.
    #[error("cannot create network {0}: a network of that name exists")]
    NameTaken(NetworkName),
    /// There is no such network.
    #[error("no such network: {0}")]
    NotFound(String),
    /// The subnet is in use.
    #[error("cannot create network {name} with subnet {subnet}: it overlaps {occupant}")]
    Overlap {
        /// The network.
        name: NetworkName,
        /// Its subnet.
        subnet: Subnet,
        /// Who has these addresses.
        occupant: Occupant,
    },
    /// The pool for networks without a subnet of their own is used up.
    #[error("cannot create network {name}: {pool} overlaps a network, an address, a route or a name server")]
    PoolExhausted {
        /// The network.
        name: NetworkName,
        /// The pool.
        pool: Pool,
    },
    /// Both families are declined.
    #[error("cannot create network {0}: it would have neither IPv4 nor IPv6 addresses")]
    NoFamily(NetworkName),
    /// An address of a family that the network does not have.
    #[error("cannot create network {name} with {option}: it has no {family} addresses")]
    OtherFamily {
        /// The network.
        name: NetworkName,
        /// The option with its value.
        option: String,
        /// The family.
        family: Family,
    },
    /// Too small a packet size for IPv6.
    #[error("cannot create network {name} with --mtu {mtu}: IPv6 needs {minimum} bytes at least")]
    MtuTooSmall {
        /// The network.
        name: NetworkName,
        /// The packet size.
        mtu: u32,
        /// The smallest there is.
        minimum: u32,
    },
    /// More than one range of a family.
    #[error("cannot create network {name}: --ip-range {second} is a second {family} range")]
    TwoRanges {
        /// The network.
        name: NetworkName,
        /// The family.
        family: Family,
        /// The second range.
        second: IpNet,
    },
    /// The range is no part of the subnet.
    #[error("cannot create network {name}: the range {range} is not within {subnet}")]
    RangeOutside {
        /// The network.
        name: NetworkName,
        /// The range.
        range: IpNet,
        /// The subnet.
        subnet: Subnet,
    },
    /// The range is a part of the subnet that no addresses are chosen from.
    #[error(
        "cannot create network {name}: the range {range} goes beyond {last}: of {subnet} only the addresses up to there are managed"
    )]
    RangeUnmanaged {
        /// The network.
        name: NetworkName,
        /// The range.
        range: IpNet,
        /// The subnet.
        subnet: Subnet,
        /// The last address that is managed.
        last: IpAddr,
    },
    /// A reserved address is no address of the network.
    #[error("cannot create network {name}: the reserved address {address} is not within {subnet}")]
    ReservedOutside {
        /// The network.
        name: NetworkName,
        /// The address.
        address: IpAddr,
        /// The subnet.
        subnet: Subnet,
    },
    /// The gateway is no address that the network could have.
    #[error("cannot create network {name}: the gateway {gateway} is not a host address of {subnet}")]
    GatewayOutside {
        /// The network.
        name: NetworkName,
        /// The gateway.
        gateway: IpAddr,
        /// The subnet.
        subnet: Subnet,
    },
    /// More than one subnet of a family.
    #[error(
        "cannot create network {name}: --subnet {second} is a second {family} subnet, and a network has at most one"
    )]
    TwoSubnets {
        /// The network.
        name: NetworkName,
        /// The family.
        family: Family,
        /// The second subnet.
        second: Subnet,
    },
    /// Two different gateways were given.
    #[error("cannot create network {name}: {first} and {second} cannot both be its gateway")]
    TwoGateways {
        /// The network.
        name: NetworkName,
        /// What `--subnet` or the first `--gateway` says.
        first: IpAddr,
        /// What another `--gateway` says.
        second: IpAddr,
    },
    /// A device that is not ours has the network's name.
    #[error("cannot create network {name}: the host has a device named {device} already")]
    DeviceTaken {
        /// The network.
        name: NetworkName,
        /// The device.
        device: IfName,
    },
    /// The bridge that was asked for is another network's.
    #[error("cannot create network {name}: the bridge {device} is that of network {other}")]
    BridgeTaken {
        /// The network.
        name: NetworkName,
        /// The device.
        device: IfName,
        /// Whose it is.
        other: NetworkName,
    },
    /// Containers are connected to it.
    #[error("cannot remove network {name}: it is in use by {}", .containers.join(", "))]
    InUse {
        /// The network.
        name: NetworkName,
        /// The names of the containers.
        containers: Vec<String>,
    },
    /// The wanted address is not one of the network's.
    #[error("cannot connect {who} to network {network}: {address} is not a host address of {subnet}")]
    AddressOutside {
        /// The container, or the namespace.
        who: String,
        /// The network.
        network: NetworkName,
        /// The address.
        address: IpAddr,
        /// The network's subnet.
        subnet: Subnet,
    },
    /// The wanted address is of a family that the network does not have.
    #[error("cannot connect {who} to network {network} as {address}: it has no {} addresses", Family::of(*.address))]
    NoSuchFamily {
        /// The container, or the namespace.
        who: String,
        /// The network.
        network: NetworkName,
        /// The address.
        address: IpAddr,
    },
    /// The wanted address is taken.
    #[error("cannot connect {who} to network {network}: {address} is taken{}", .holder.as_ref().map_or(String::new(), |h| format!(" by {h}")))]
    AddressTaken {
        /// The container, or the namespace.
        who: String,
        /// The network.
        network: NetworkName,
        /// The address.
        address: IpAddr,
        /// Who has it.
        holder: Option<String>,
    },
    /// All addresses are in use.
    #[error("cannot connect {who} to network {network}: all {usable} addresses of {net} are taken")]
    SubnetExhausted {
        /// The container, or the namespace.
        who: String,
        /// The network.
        network: NetworkName,
        /// The subnet, or the range of it that addresses are chosen from.
        net: IpNet,
        /// How many there are.
        usable: u32,
        /// Whether it is a range.
        is_range: bool,
    },
    /// Another container publishes the port.
    #[error("cannot publish {} for {who}: port is already allocated, {} publishes {}", .mapping.host_side(), .holder.as_ref().map_or_else(|| "another container".to_owned(), ToString::to_string), part_of(.mapping.host, *.taken))]
    PortPublished {
        /// The mapping.
        mapping: PortMapping,
        /// The container, or the namespace.
        who: String,
        /// Which of its ports.
        taken: PortRange,
        /// Who publishes them.
        holder: Option<Holder>,
    },
    /// The same command asks for a port twice.
    #[error("cannot publish {0}: the same host port is given twice in one command")]
    PortTwice(PortRequest),
    /// The container has no address of that family.
    #[error("cannot publish {request} for {who}: it has no {family} address in network {network}")]
    PortFamily {
        /// What was asked for.
        request: PortRequest,
        /// The container, or the namespace.
        who: String,
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// The network.
        network: NetworkName,
    },
    /// The address is not the host's.
    #[error(
        "cannot publish {} for {who}: {} is not an address of this host",
        .mapping.host_side(), .mapping.host_ip
    )]
    PortForeign {
        /// The mapping.
        mapping: PortMapping,
        /// The container, or the namespace.
        who: String,
    },
    /// A process of the host listens on the port.
    #[error(
        "cannot publish {} for {who}: {} listens on {}",
        .mapping.host_side(),
        .listener.process.as_deref().unwrap_or("a process of the host"),
        std::net::SocketAddr::new(.listener.address, .listener.port)
    )]
    PortListened {
        /// The mapping.
        mapping: PortMapping,
        /// The container, or the namespace.
        who: String,
        /// Who listens.
        listener: HostListener,
    },
    /// The name server of a network cannot have its port.
    #[error("cannot answer questions for names in network {network} at port 53 of {gateway}")]
    NameServerPort {
        /// The network.
        network: NetworkName,
        /// The network's gateway.
        gateway: std::net::IpAddr,
        /// The kernel's error.
        source: std::io::Error,
    },
    /// No free port was found for a mapping that leaves the choice to us.
    #[error(
        "cannot publish {request} for {who}: no {}free port was found{}",
        if .request.container.count() > 1 { "range of so many " } else { "" },
        .request.host.map_or(String::new(), |host| format!(" in {host}"))
    )]
    NoFreePort {
        /// What was asked for.
        request: PortRequest,
        /// The container, or the namespace.
        who: String,
    },
    /// The network is being removed by another command.
    #[error("cannot connect {who}: network {network} is being removed")]
    BeingRemoved {
        /// The container, or the namespace.
        who: String,
        /// The network.
        network: NetworkName,
    },
    /// It is connected to the network already.
    #[error("cannot connect {who} to network {network}: it is connected already")]
    AlreadyConnected {
        /// The container, or the namespace.
        who: String,
        /// The network.
        network: NetworkName,
    },
    /// The table is made by a mydocker with other records.
    #[error(
        "cannot use networks: the table inet mydocker of this network namespace is that of another mydocker, whose {roots}"
    )]
    OtherRoots {
        /// Its `--root`, or `--run-root`, in words.
        roots: String,
    },
    /// Another engine wants a network to be other than it is, while something is connected to it.
    #[error("cannot change network {name}, which is in use: {difference}")]
    OtherSettings {
        /// The network.
        name: NetworkName,
        /// What differs.
        difference: String,
    },
    /// It is not connected to the network.
    #[error("cannot disconnect {who} from network {network}: it is not connected")]
    NotConnected {
        /// The container, or the namespace.
        who: String,
        /// The network.
        network: NetworkName,
    },
    /// Nothing is attached by the names that another engine has.
    #[error("{who} is not connected to network {network}")]
    NotAttached {
        /// The container.
        who: String,
        /// The network, as that engine calls it.
        network: String,
    },
    /// A namespace cannot be used.
    #[error("cannot use the network namespace {path}")]
    Namespace {
        /// Its path.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file is of another kind.
    #[error("cannot use {0} as a network namespace: it is not one")]
    NoNamespace(PathBuf),
    /// The namespace is where the networks themselves are.
    #[error("cannot connect namespace {0} to a network: it is the host's own")]
    OwnNamespace(PathBuf),
    /// Devices, addresses or routes could not be made or removed.
    #[error("cannot {action}")]
    Driver {
        /// What was tried, with the names of the network and the container.
        action: String,
        /// Why it failed.
        #[source]
        source: DriverError,
    },
    /// The table could not be changed.
    #[error("cannot {action}")]
    Table {
        /// What was tried.
        action: String,
        /// Why it failed.
        #[source]
        source: CommitError,
    },
    /// No netlink socket to the firewall could be opened.
    #[error("cannot talk to the kernel's nftables")]
    NftSocket(#[source] CommitError),
    /// A record could not be read or written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The file of addresses could not be used.
    #[error(transparent)]
    Subnets(#[from] SubnetFileError),
    /// Forwarding could not be switched on or off.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    /// A file of the run directory could not be used.
    #[error("cannot {action}")]
    Io {
        /// What was tried.
        action: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A published port that cannot be an element.
    #[error("cannot publish a port")]
    Element(#[from] ElementError),
}

/// Which of the ports that were asked for are meant: `it`, or those of a range.
fn part_of(wanted: PortRange, taken: PortRange) -> String {
    match (taken == wanted, taken.first == taken.last) {
        (true, _) => "it".to_owned(),
        (false, true) => format!("port {taken}"),
        (false, false) => format!("ports {taken}"),
    }
}

impl NetworkError {
    /// What the user can do about it, where there is something.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotFound(_) => "list the networks with: mydocker network list".to_owned(),
            Self::NameTaken(name) => format!("look at it with: mydocker network inspect {name}"),
            Self::Overlap { .. } => "choose another --subnet, or leave it out to get a free one".to_owned(),
            Self::PoolExhausted { .. } => "choose a subnet with --subnet".to_owned(),
            Self::OtherFamily { family: Family::V4, .. } => "add --ipv4".to_owned(),
            Self::OtherFamily { family: Family::V6, .. } => "add --ipv6, or an IPv6 --subnet".to_owned(),
            Self::NoSuchFamily { .. } => "create a network of both families with: --ipv6".to_owned(),
            Self::DeviceTaken { device, .. } => {
                format!(
                    "choose another name: the device {device} is not mydocker's; ip -d link show {device} tells what it is"
                )
            }
            Self::OtherRoots { .. } => {
                "use the same --root and --run-root, or another network namespace; if nothing is left of the other one: nft delete table inet mydocker"
                    .to_owned()
            }
            Self::BridgeTaken { .. } => {
                "give each network a bridge of its own, or choose another name".to_owned()
            }
            Self::OtherSettings { .. } => {
                "end what is connected to it first, or give the network another name".to_owned()
            }
            Self::InUse { .. } => "stop these containers first, or disconnect them".to_owned(),
            Self::NoNamespace(_) | Self::Namespace { .. } => "make one with: ip netns add NAME".to_owned(),
            Self::AddressTaken { .. } => {
                "choose another address, or leave it out to get a free one".to_owned()
            }
            Self::SubnetExhausted { is_range: true, .. } => {
                "name an address outside the range with --ip or --ip6".to_owned()
            }
            Self::SubnetExhausted { .. } => "create a network with a larger --subnet".to_owned(),
            Self::PortPublished { holder: Some(Holder::Container(name)), .. } => {
                format!("choose another host port, or stop it with: mydocker stop {name}")
            }
            Self::PortPublished { .. } | Self::PortListened { .. } | Self::PortTwice(_) => {
                "choose another host port".to_owned()
            }
            Self::NameServerPort { .. } => {
                "let a name server of the host's own listen on its addresses only, or make the network without names"
                    .to_owned()
            }
            Self::PortForeign { .. } => {
                "list the host's addresses with: ip address; or leave the address out".to_owned()
            }
            Self::PortFamily { family: "IPv6", .. } => {
                "leave the address out, or create the network with --ipv6".to_owned()
            }
            Self::NoFreePort { request, .. } if request.host.is_some() => {
                "choose a wider range of host ports".to_owned()
            }
            Self::Driver { source: DriverError::BridgeFull(_), .. } => {
                "spread the containers over several networks".to_owned()
            }
            Self::Driver { source: DriverError::NotABridge(_), .. } => {
                "rename or remove that device".to_owned()
            }
            Self::Driver { source: DriverError::Unsupported { feature, .. }, .. } => feature.remedy(),
            Self::Table { source: CommitError::Unsupported { what, .. }, .. }
            | Self::NftSocket(CommitError::Unsupported { what, .. }) => {
                let remedies: Vec<String> = needs::of_rules(what).iter().map(Feature::remedy).collect();
                remedies.join("; ")
            }
            Self::Record(RecordError::Damaged { path, .. }) => {
                format!("repair {} or move it away; mydocker does not overwrite it", path.display())
            }
            _ => return None,
        };
        Some(hint)
    }
}
