//! A container is connected to a network and disconnected from it: address, interface, record.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::endpoint::{self, Endpoint, InterfaceAddress};
use super::error::NetworkError;
use super::port::PortRequest;
use super::record::{self, AddressBlock, Network, Phase};
use super::subnet::{Family, Subnet};
use super::subnet_file::SubnetFile;
use super::{DriverError, Networks, plan};
use crate::names::{ContainerId, IfName, NetworkName};
use crate::netlink::MacAddress;
use crate::netns::NetNs;
use crate::process::Process;
use crate::store::{self, Durability};

/// How many digits of the container's id name the host's end of the pair, unless that name is taken.
const HOST_IF_DIGITS: usize = 5;

/// A container that is to be connected.
#[derive(Debug, Clone)]
pub struct ConnectRequest<'a> {
    /// The network.
    pub network: &'a NetworkName,
    /// The container.
    pub container: &'a ContainerId,
    /// Its name, for messages and remarks.
    pub container_name: &'a str,
    /// The processes that answer for the connection: when all have ended, it is void.
    pub owners: &'a [Process],
    /// The name of the interface in the container.
    pub container_if: IfName,
    /// The wanted IPv4 address; `None` for the lowest free one.
    pub ip: Option<Ipv4Addr>,
    /// The wanted IPv6 address; `None` for a free one.
    pub ip6: Option<Ipv6Addr>,
    /// The wanted Ethernet address; `None` for the one that follows from the IP address.
    pub mac: Option<MacAddress>,
    /// The ports to publish.
    pub ports: &'a [PortRequest],
}

/// An endpoint that is to get an address of one more family.
#[derive(Clone, Copy)]
struct Place<'a> {
    network: &'a Network,
    block: &'a AddressBlock,
    request: &'a ConnectRequest<'a>,
    /// With the addresses so far.
    endpoint: &'a Endpoint,
}

impl Place<'_> {
    /// The endpoint once it has the address.
    fn endpoint_at(&self, address: IpAddr) -> Endpoint {
        let mut endpoint = self.endpoint.clone();
        if endpoint.addresses.is_empty() {
            endpoint.mac = self.request.mac.unwrap_or_else(|| MacAddress::of(address));
        }
        endpoint.addresses.push(InterfaceAddress {
            net: self.block.subnet.interface(address),
            gateway: plan::default_gateway(self.network, self.block.subnet.family()),
        });
        endpoint
    }

    /// The number that the endpoint's first address has in its subnet.
    fn number_of_other_family(&self) -> Option<u32> {
        let first = self.endpoint.addresses.first()?;
        self.network.block(first.family())?.subnet.number(first.address())
    }
}

impl Networks {
    /// Connects a namespace to a network and publishes its ports: address, interface, routes, elements.
    ///
    /// # Errors
    /// Anything that is wrong with the request or that the kernel refuses; nothing is left behind but the
    /// interface, which goes with the namespace.
    pub fn connect(&mut self, request: &ConnectRequest<'_>, netns: &NetNs) -> Result<Endpoint, NetworkError> {
        let network = self.usable(request.network)?;
        let endpoint = self.reserve(&network, request)?;
        let connected = self.attach(&network, endpoint.clone(), netns).and_then(|attached| {
            if request.ports.is_empty() {
                return Ok(attached);
            }
            self.publish(attached, request.ports)
        });
        connected.inspect_err(|_| {
            // The first error is the one to report.
            if let Err(error) = self.disconnect(&endpoint) {
                tracing::warn!(%error, "cannot undo the connection; its address is free once this process ends");
            }
        })
    }

    /// Switches `lo` on in a namespace that is connected to no network.
    ///
    /// # Errors
    /// The namespace cannot be entered, or the kernel refuses.
    pub fn connect_to_nothing(&mut self, netns: &NetNs) -> Result<(), NetworkError> {
        super::bridge::loopback_up(netns).map_err(|source| NetworkError::Driver {
            action: "switch the container's loopback device on".to_owned(),
            source,
        })
    }

    /// For each address: writes the endpoint's record and takes the address, in this order (see `endpoint`).
    fn reserve(&mut self, network: &Network, request: &ConnectRequest<'_>) -> Result<Endpoint, NetworkError> {
        for address in request.ip.map(IpAddr::V4).into_iter().chain(request.ip6.map(IpAddr::V6)) {
            if network.block(Family::of(address)).is_none() {
                let (container, network) = (request.container_name.to_owned(), network.name.clone());
                return Err(NetworkError::NoSuchFamily { container, network, address });
            }
        }
        let mut endpoint = Endpoint {
            network: network.name.clone(),
            container: request.container.clone(),
            container_name: request.container_name.to_owned(),
            owners: request.owners.to_vec(),
            addresses: Vec::new(),
            mac: MacAddress::of(Ipv4Addr::UNSPECIFIED.into()),
            host_if: host_if(request.container, HOST_IF_DIGITS)?,
            container_if: request.container_if.clone(),
            ports: Vec::new(),
        };
        let reserved = network.blocks().try_for_each(|block| {
            endpoint = self.add_address(&Place { network, block, request, endpoint: &endpoint })?;
            Ok(())
        });
        // Who removes the network marks its record before looking for endpoints; we wrote ours before
        // looking at that mark. One of the two sees the other.
        let usable = reserved.and_then(|()| {
            let still_there = record::load(&self.layout, &network.name)?;
            if still_there.is_none_or(|loaded| loaded.network.phase == Phase::Removing) {
                let (container, network) = (request.container_name.to_owned(), network.name.clone());
                return Err(NetworkError::BeingRemoved { container, network });
            }
            Ok(())
        });
        match usable {
            Ok(()) => Ok(endpoint),
            Err(error) => {
                self.release_addresses(&endpoint)?;
                Err(error)
            }
        }
    }

    /// Takes an address of one family, and returns the endpoint with it.
    fn add_address(&mut self, place: &Place<'_>) -> Result<Endpoint, NetworkError> {
        let wanted = match place.block.subnet.family() {
            Family::V4 => place.request.ip.map(IpAddr::V4),
            Family::V6 => place.request.ip6.map(IpAddr::V6),
        };
        let address = match wanted {
            Some(address) => self.take_address(place, address)?,
            None => self.take_any_address(place)?,
        };
        Ok(place.endpoint_at(address))
    }

    fn take_any_address(&mut self, place: &Place<'_>) -> Result<IpAddr, NetworkError> {
        if let Some(address) = self.allocate(place)? {
            return Ok(address);
        }
        for dead in endpoint::load_all(&self.layout, &place.network.name)? {
            if !dead.is_alive() {
                self.disconnect(&dead)?;
            }
        }
        if let Some(address) = self.allocate(place)? {
            return Ok(address);
        }
        let AddressBlock { subnet, range, .. } = *place.block;
        let within = place.block.within();
        let reserved =
            [0, subnet.size() - 1].into_iter().filter(|n| subnet.is_reserved(*n) && within.contains(n));
        let reserved = u32::try_from(reserved.count()).unwrap_or_default();
        Err(NetworkError::SubnetExhausted {
            container: place.request.container_name.to_owned(),
            network: place.network.name.clone(),
            net: range.unwrap_or(subnet.net()),
            usable: within.end() - within.start() + 1 - reserved,
            is_range: range.is_some(),
        })
    }

    fn take_address(&mut self, place: &Place<'_>, address: IpAddr) -> Result<IpAddr, NetworkError> {
        let Place { network, block, request, .. } = *place;
        let container = || request.container_name.to_owned();
        if !block.subnet.is_host_address(address) {
            let (network, subnet) = (network.name.clone(), block.subnet);
            return Err(NetworkError::AddressOutside { container: container(), network, address, subnet });
        }
        let holder = endpoint::load(&self.layout, &network.name, address)?;
        if let Some(dead) = holder.as_ref().filter(|holder| !holder.is_alive()) {
            // With its ports: once its record is replaced, nobody knows whose they were.
            self.disconnect(dead)?;
        }
        let in_use = || self.in_use();
        let mut file = SubnetFile::open(&self.layout, &in_use)?;
        if file.take(block.subnet, address, || self.record_address(place, address))? {
            return Ok(address);
        }
        let holder = match holder {
            Some(holder) => Some(format!("container {}", holder.container_name)),
            None if address == block.gateway => Some("the gateway".to_owned()),
            None if network.reserved.contains(&address) => Some("a reservation of the network".to_owned()),
            None => None,
        };
        let network = network.name.clone();
        Err(NetworkError::AddressTaken { container: container(), network, address, holder })
    }

    /// The lowest free address; but where the container has an IPv4 address already, that with the same number
    /// if it is free: its Ethernet address follows from the IPv4 one, and neighbours that remember an address
    /// from another container then remember the right Ethernet address all the same.
    fn allocate(&self, place: &Place<'_>) -> Result<Option<IpAddr>, NetworkError> {
        let (subnet, within) = (place.block.subnet, place.block.within());
        let in_use = || self.in_use();
        let mut file = SubnetFile::open(&self.layout, &in_use)?;
        if let Some(number) = place.number_of_other_family().filter(|number| within.contains(number)) {
            let address = subnet.address(number);
            if file.take(subnet, address, || self.record_address(place, address))? {
                return Ok(Some(address));
            }
        }
        file.allocate(subnet, &within, |address| self.record_address(place, address))
    }

    /// Writes the record of an endpoint that is going to have the address; false if it is in use all the same,
    /// whatever the file of addresses says: somebody else may have written it, or it is not managed there.
    fn record_address(&self, place: &Place<'_>, address: IpAddr) -> Result<bool, NetworkError> {
        let network = place.network;
        if address == place.block.gateway || network.reserved.contains(&address) {
            return Ok(false);
        }
        let holder = endpoint::load(&self.layout, &network.name, address)?;
        if holder.is_some_and(|holder| holder.is_alive()) {
            return Ok(false);
        }
        endpoint::save(&self.layout, &place.endpoint_at(address))?;
        Ok(true)
    }

    /// Gives the endpoint's addresses back, but for those that have another holder by now.
    pub(super) fn release_addresses(&self, endpoint: &Endpoint) -> Result<(), NetworkError> {
        let in_use = || self.in_use();
        let mut file = SubnetFile::open(&self.layout, &in_use)?;
        for address in &endpoint.addresses {
            // An address was one of a subnet when it was given out.
            let Ok(subnet) = Subnet::new(address.net) else { continue };
            let holder = endpoint::load(&self.layout, &endpoint.network, address.address())?;
            if holder.is_some_and(|holder| holder.container == endpoint.container) {
                file.release(subnet, address.address())?;
                endpoint::remove(&self.layout, &endpoint.network, address.address())?;
            }
        }
        Ok(())
    }

    /// Makes the interface. Where the device name is taken, a longer one is tried and recorded.
    fn attach(
        &mut self,
        network: &Network,
        mut endpoint: Endpoint,
        netns: &NetNs,
    ) -> Result<Endpoint, NetworkError> {
        for digits in HOST_IF_DIGITS..=crate::names::IF_NAME_MAX {
            if digits > HOST_IF_DIGITS {
                endpoint.host_if = host_if(&endpoint.container, digits)?;
                endpoint::save(&self.layout, &endpoint)?;
            }
            match self.driver(network.driver)?.connect(network, &endpoint, netns) {
                Ok(()) => {
                    self.announce(network, &endpoint, netns)?;
                    let container = &endpoint.container_name;
                    for address in &endpoint.addresses {
                        tracing::debug!(%container, address = %address.net, device = %endpoint.host_if, "connected");
                    }
                    return Ok(endpoint);
                }
                Err(DriverError::DeviceExists(_)) if digits < crate::names::IF_NAME_MAX => {}
                Err(source) => {
                    let action =
                        format!("connect container {} to network {}", endpoint.container_name, network.name);
                    return Err(NetworkError::Driver { action, source });
                }
            }
        }
        Ok(endpoint)
    }

    /// Neighbours that remember an address from its last owner would send to an Ethernet address that is gone.
    /// As long as every address has but one, there is nothing to tell them; from the first that has another one
    /// on, every container of the network is announced.
    fn announce(
        &mut self,
        network: &Network,
        endpoint: &Endpoint,
        netns: &NetNs,
    ) -> Result<(), NetworkError> {
        let mark = self.layout.announcing().join(&network.name);
        let error =
            |source| NetworkError::Io { action: format!("note the use of network {}", network.name), source };
        if !plan::is_usual(network, endpoint) {
            std::fs::create_dir_all(self.layout.announcing()).map_err(error)?;
            store::write_atomic(&mark, b"", Durability::Process).map_err(error)?;
        } else if !mark.exists() {
            return Ok(());
        }
        let action = || format!("announce container {} in network {}", endpoint.container_name, network.name);
        let announced = self.driver(network.driver)?.announce(endpoint, netns);
        announced.map_err(|source| NetworkError::Driver { action: action(), source })
    }

    /// Takes the endpoint's ports away, its interface off the network, and gives its address back, in this
    /// order. Goes on after an error and reports the first; what is gone already is no error.
    ///
    /// # Errors
    /// The kernel or the file system refused something.
    pub fn disconnect(&mut self, endpoint: &Endpoint) -> Result<(), NetworkError> {
        let unpublished = self.unpublish(endpoint);
        let detached = self.detach(endpoint);
        // An interface that may still be on the bridge keeps its address.
        let released = detached.and_then(|()| self.release_addresses(endpoint));
        unpublished.and(released)
    }

    fn detach(&mut self, endpoint: &Endpoint) -> Result<(), NetworkError> {
        use super::NetworkDriver as _;
        // The device of somebody who was killed may be gone, and its name another container's.
        if !endpoint.is_alive() && self.is_anothers_device(endpoint)? {
            return Ok(());
        }
        self.bridge()?.disconnect(endpoint).map_err(|source| NetworkError::Driver {
            action: format!(
                "disconnect container {} from network {}",
                endpoint.container_name, endpoint.network
            ),
            source,
        })
    }

    /// Whether a living container has a device of the endpoint's name.
    fn is_anothers_device(&self, endpoint: &Endpoint) -> Result<bool, NetworkError> {
        for network in record::load_all(&self.layout)? {
            let others = endpoint::load_all(&self.layout, &network.name)?;
            let has_it = |other: &Endpoint| {
                other.host_if == endpoint.host_if && other.container != endpoint.container && other.is_alive()
            };
            if others.iter().any(has_it) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Lets the record of an endpoint, and the remarks at its published ports, tell another name of the
    /// container. An endpoint that is gone meanwhile stays gone.
    ///
    /// # Errors
    /// The file system or the kernel refused.
    pub fn rename(&mut self, endpoint: &Endpoint, container_name: &str) -> Result<(), NetworkError> {
        let renamed = {
            let in_use = || self.in_use();
            // Whoever takes an address or gives it back has this lock.
            let _lock = SubnetFile::open(&self.layout, &in_use)?;
            let Some(address) = endpoint.addresses.first() else { return Ok(()) };
            let current = endpoint::load(&self.layout, &endpoint.network, address.address())?;
            let Some(current) = current.filter(|current| current.container == endpoint.container) else {
                return Ok(());
            };
            let renamed = Endpoint { container_name: container_name.to_owned(), ..current };
            endpoint::save(&self.layout, &renamed)?;
            renamed
        };
        self.rename_ports(endpoint, &renamed)
    }

    /// The endpoints of a container in a network, found by looking through the network's. Only for
    /// containers whose supervisor died: a living one knows its endpoints.
    ///
    /// # Errors
    /// The records cannot be read.
    pub fn endpoints_of(
        &self,
        network: &NetworkName,
        container: &ContainerId,
    ) -> Result<Vec<Endpoint>, NetworkError> {
        let mut endpoints = endpoint::load_all(&self.layout, network)?;
        endpoints.retain(|endpoint| endpoint.container == *container);
        Ok(endpoints)
    }
}

fn host_if(container: &ContainerId, digits: usize) -> Result<IfName, NetworkError> {
    Ok(container.as_str()[..digits].parse()?)
}
