//! A container is connected to a network and disconnected from it: address, interface, record.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::endpoint::{self, Endpoint};
use super::error::NetworkError;
use super::port::PortRequest;
use super::record::{self, Network, Phase};
use super::subnet::Subnet;
use super::subnet_file::SubnetFile;
use super::{DriverError, Networks};
use crate::names::{ContainerId, IfName, NetworkName};
use crate::netlink::MacAddress;
use crate::netns::NetNs;
use crate::process::Process;

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
    /// The wanted address; `None` for the lowest free one.
    pub address: Option<Ipv4Addr>,
    /// The ports to publish.
    pub ports: &'a [PortRequest],
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

    /// Writes the endpoint's record and takes the address, in this order (see `endpoint`).
    fn reserve(&mut self, network: &Network, request: &ConnectRequest<'_>) -> Result<Endpoint, NetworkError> {
        let subnet = network.subnet;
        let container = request.container_name.to_owned();
        let endpoint_at = |address: Ipv4Addr| {
            Ok::<_, NetworkError>(Endpoint {
                network: network.name.clone(),
                container: request.container.clone(),
                container_name: container.clone(),
                owners: request.owners.to_vec(),
                address: Ipv4Net::new_assert(address, subnet.net().prefix_len()),
                gateway: network.gateway,
                mac: MacAddress::from_ipv4(address),
                host_if: host_if(request.container, HOST_IF_DIGITS)?,
                container_if: request.container_if.clone(),
                ports: Vec::new(),
            })
        };
        let address = match request.address {
            Some(address) => self.take_address(network, request, address, &endpoint_at)?,
            None => self.take_any_address(network, request, &endpoint_at)?,
        };
        let endpoint = endpoint_at(address)?;
        // Who removes the network marks its record before looking for endpoints; we wrote ours before
        // looking at that mark. One of the two sees the other.
        let still_there = record::load(&self.layout, &network.name)?;
        if still_there.is_none_or(|loaded| loaded.network.phase == Phase::Removing) {
            self.release_address(&endpoint, subnet)?;
            return Err(NetworkError::BeingRemoved { container, network: network.name.clone() });
        }
        Ok(endpoint)
    }

    fn take_any_address(
        &mut self,
        network: &Network,
        request: &ConnectRequest<'_>,
        endpoint_at: &dyn Fn(Ipv4Addr) -> Result<Endpoint, NetworkError>,
    ) -> Result<Ipv4Addr, NetworkError> {
        if let Some(address) = self.allocate(network, endpoint_at)? {
            return Ok(address);
        }
        for dead in endpoint::load_all(&self.layout, &network.name)? {
            if !dead.is_alive() {
                self.disconnect(&dead)?;
            }
        }
        if let Some(address) = self.allocate(network, endpoint_at)? {
            return Ok(address);
        }
        Err(NetworkError::SubnetExhausted {
            container: request.container_name.to_owned(),
            network: network.name.clone(),
            subnet: network.subnet,
            usable: network.subnet.size() - 2,
        })
    }

    fn take_address(
        &mut self,
        network: &Network,
        request: &ConnectRequest<'_>,
        address: Ipv4Addr,
        endpoint_at: &dyn Fn(Ipv4Addr) -> Result<Endpoint, NetworkError>,
    ) -> Result<Ipv4Addr, NetworkError> {
        let container = || request.container_name.to_owned();
        let usable = network.subnet.number(address).is_some_and(|n| !network.subnet.is_reserved(n));
        if !usable {
            let (network, subnet) = (network.name.clone(), network.subnet);
            return Err(NetworkError::AddressOutside { container: container(), network, address, subnet });
        }
        let holder = endpoint::load(&self.layout, &network.name, address)?;
        if let Some(dead) = holder.as_ref().filter(|holder| !holder.is_alive()) {
            // With its ports: once its record is replaced, nobody knows whose they were.
            self.disconnect(dead)?;
        }
        let in_use = || self.in_use();
        let mut file = SubnetFile::open(&self.layout, &in_use)?;
        let record = || Ok::<(), NetworkError>(endpoint::save(&self.layout, &endpoint_at(address)?)?);
        if file.take(network.subnet, address, record)? {
            return Ok(address);
        }
        let holder = match holder {
            Some(holder) => Some(format!("container {}", holder.container_name)),
            None if address == network.gateway => Some("the gateway".to_owned()),
            None => None,
        };
        let network = network.name.clone();
        Err(NetworkError::AddressTaken { container: container(), network, address, holder })
    }

    fn allocate(
        &self,
        network: &Network,
        endpoint_at: &dyn Fn(Ipv4Addr) -> Result<Endpoint, NetworkError>,
    ) -> Result<Option<Ipv4Addr>, NetworkError> {
        let in_use = || self.in_use();
        SubnetFile::open(&self.layout, &in_use)?.allocate(network.subnet, |address| {
            // What the file calls free may be in use all the same, if somebody else has written it.
            if address == network.gateway || self.living_holder(network, address)?.is_some() {
                return Ok(false);
            }
            endpoint::save(&self.layout, &endpoint_at(address)?)?;
            Ok(true)
        })
    }

    fn living_holder(&self, network: &Network, address: Ipv4Addr) -> Result<Option<Endpoint>, NetworkError> {
        let holder = endpoint::load(&self.layout, &network.name, address)?;
        Ok(holder.filter(Endpoint::is_alive))
    }

    /// Gives the endpoint's address back, unless it has another holder by now.
    pub(super) fn release_address(&self, endpoint: &Endpoint, subnet: Subnet) -> Result<(), NetworkError> {
        let in_use = || self.in_use();
        let mut file = SubnetFile::open(&self.layout, &in_use)?;
        let holder = endpoint::load(&self.layout, &endpoint.network, endpoint.address.addr())?;
        if holder.is_some_and(|holder| holder.container == endpoint.container) {
            file.release(subnet, endpoint.address.addr())?;
            endpoint::remove(&self.layout, endpoint)?;
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
                    let (container, address) = (&endpoint.container_name, endpoint.address);
                    tracing::debug!(%container, %address, device = %endpoint.host_if, "connected");
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

    /// Takes the endpoint's ports away, its interface off the network, and gives its address back, in this
    /// order. Goes on after an error and reports the first; what is gone already is no error.
    ///
    /// # Errors
    /// The kernel or the file system refused something.
    pub fn disconnect(&mut self, endpoint: &Endpoint) -> Result<(), NetworkError> {
        let unpublished = self.unpublish(endpoint);
        let detached = self.detach(endpoint);
        // An interface that may still be on the bridge keeps its address.
        let released = detached.and_then(|()| {
            let subnet = Subnet::new(endpoint.address);
            subnet.map_or(Ok(()), |subnet| self.release_address(endpoint, subnet))
        });
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
            let current = endpoint::load(&self.layout, &endpoint.network, endpoint.address.addr())?;
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
