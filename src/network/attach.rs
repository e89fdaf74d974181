//! A container is connected to a network: address, record, interface. How it is disconnected is in `detach`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::endpoint::{self, Endpoint, InterfaceAddress};
use super::error::NetworkError;
use super::links::Links;
use super::owner::Owner;
use super::publisher::defaults_beside;
use super::record::{self, AddressBlock, Network, Phase};
use super::subnet::Family;
use super::subnet_file::SubnetFile;
use super::{DriverError, Networks, plan};
use crate::names::{ContainerId, IfName, NetworkName};
use crate::netlink::MacAddress;
use crate::netns::NetNs;
use crate::store::{self, Durability};

/// How many digits of the container's id name the host's end of the pair, unless that name is taken.
const HOST_IF_DIGITS: usize = 5;

/// How many names are tried for an interface in a namespace that has some of its own.
const INTERFACES: usize = 64;

/// A container that is to be connected.
#[derive(Debug, Clone)]
pub struct ConnectRequest<'a> {
    /// The network.
    pub network: &'a NetworkName,
    /// Who is to be connected.
    pub owner: &'a Owner,
    /// The endpoints that the namespace has already, in order of connecting.
    pub others: &'a [Endpoint],
    /// What it asks for.
    pub wanted: &'a Wanted,
}

/// What somebody asks for in a network; what is left out is chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Wanted {
    /// The IPv4 address; the lowest free one where it is left out.
    pub ip: Option<Ipv4Addr>,
    /// The IPv6 address.
    pub ip6: Option<Ipv6Addr>,
    /// The Ethernet address; the one that follows from the IP address where it is left out.
    pub mac: Option<MacAddress>,
    /// Further names in the network.
    pub aliases: Vec<String>,
}

impl Wanted {
    /// The wanted address of a family.
    #[must_use]
    pub(super) fn address(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.ip.map(IpAddr::V4),
            Family::V6 => self.ip6.map(IpAddr::V6),
        }
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        Family::ALL.into_iter().filter_map(|family| self.address(family))
    }
}

impl ConnectRequest<'_> {
    /// Who it is, for messages.
    pub(super) fn who(&self) -> String {
        self.owner.to_string()
    }
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
        if self.is_first() {
            endpoint.mac = self.request.wanted.mac.unwrap_or_else(|| MacAddress::of(address));
        }
        endpoint.addresses.push(InterfaceAddress {
            net: self.block.subnet.interface(address),
            gateway: plan::default_gateway(self.network, self.block.subnet.family()),
        });
        endpoint
    }

    /// Whether the endpoint has no address yet.
    fn is_first(&self) -> bool {
        self.endpoint.addresses.is_empty()
    }

    /// The number that the endpoint's first address has in its subnet.
    fn number_of_other_family(&self) -> Option<u32> {
        let first = self.endpoint.addresses.first()?;
        self.network.block(first.family())?.subnet.number(first.address())
    }
}

impl Networks {
    /// Connects a namespace to a network: address, interface, routes. The default route of a family leads through
    /// the network if it forwards and none of the others has it.
    ///
    /// # Errors
    /// Anything that is wrong with the request or that the kernel refuses; nothing is left behind.
    pub fn connect(&mut self, request: &ConnectRequest<'_>, netns: &NetNs) -> Result<Endpoint, NetworkError> {
        let network = self.usable(request.network)?;
        let endpoint = self.reserve(&network, request)?;
        self.attach_or_undo(&network, endpoint, request.others, netns)
    }

    /// Makes the interface of an endpoint that has its addresses; if that fails, they are given back.
    pub(super) fn attach_or_undo(
        &mut self,
        network: &Network,
        endpoint: Endpoint,
        others: &[Endpoint],
        netns: &NetNs,
    ) -> Result<Endpoint, NetworkError> {
        let mut attached = endpoint;
        match self.attach(network, &mut attached, others, netns) {
            Ok(()) => Ok(attached),
            Err(error) => {
                self.undo(&attached, netns);
                Err(error)
            }
        }
    }

    /// Whether a network could give these addresses out, as far as can be known beforehand.
    ///
    /// # Errors
    /// [`NetworkError::NoSuchFamily`], [`NetworkError::AddressOutside`].
    pub fn check_wanted(
        &self,
        network: &NetworkName,
        who: &str,
        wanted: &Wanted,
    ) -> Result<(), NetworkError> {
        let network = self.get(network.as_str())?;
        check_families(&network, who.to_owned(), wanted)?;
        for address in wanted.addresses() {
            let block = network.block(Family::of(address));
            if let Some(block) = block.filter(|block| !block.subnet.is_host_address(address)) {
                let (who, network, subnet) = (who.to_owned(), network.name.clone(), block.subnet);
                return Err(NetworkError::AddressOutside { who, network, address, subnet });
            }
        }
        Ok(())
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

    /// For each address: writes the endpoint's record and takes the address, in this order (see `endpoint`); and
    /// before the first record, where a namespace finds it (see `namespace`).
    pub(super) fn reserve(
        &mut self,
        network: &Network,
        request: &ConnectRequest<'_>,
    ) -> Result<Endpoint, NetworkError> {
        check_families(network, request.who(), request.wanted)?;
        let mut endpoint = Self::empty_endpoint(network, request)?;
        let reserved = network.blocks().try_for_each(|block| {
            endpoint = self.add_address(&Place { network, block, request, endpoint: &endpoint })?;
            Ok(())
        });
        // Who removes the network marks its record before looking for endpoints; we wrote ours before
        // looking at that mark. One of the two sees the other.
        let usable = reserved.and_then(|()| {
            let still_there = record::load(&self.layout, &network.name)?;
            if still_there.is_none_or(|loaded| loaded.network.phase != Phase::Ready) {
                let (who, network) = (request.who(), network.name.clone());
                return Err(NetworkError::BeingRemoved { who, network });
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

    /// The endpoint without addresses.
    pub(super) fn empty_endpoint(
        network: &Network,
        request: &ConnectRequest<'_>,
    ) -> Result<Endpoint, NetworkError> {
        Ok(Endpoint {
            network: network.name.clone(),
            owner: request.owner.clone(),
            position: request.others.iter().map(|other| other.position + 1).max().unwrap_or(0),
            addresses: Vec::new(),
            mac: MacAddress::of(Ipv4Addr::UNSPECIFIED.into()),
            // The shortest names are the others'.
            host_if: host_if(request.owner.id(), host_if_digits(request.others.len()))?,
            container_if: free_interface(request.others, 0)?,
            ports: Vec::new(),
        })
    }

    /// Takes an address of one family, and returns the endpoint with it.
    fn add_address(&mut self, place: &Place<'_>) -> Result<Endpoint, NetworkError> {
        let address = match place.request.wanted.address(place.block.subnet.family()) {
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
            who: place.request.who(),
            network: place.network.name.clone(),
            net: range.unwrap_or(subnet.net()),
            usable: within.end() - within.start() + 1 - reserved,
            is_range: range.is_some(),
        })
    }

    fn take_address(&mut self, place: &Place<'_>, address: IpAddr) -> Result<IpAddr, NetworkError> {
        let Place { network, block, request, .. } = *place;
        let who = || request.who();
        if !block.subnet.is_host_address(address) {
            let (network, subnet) = (network.name.clone(), block.subnet);
            return Err(NetworkError::AddressOutside { who: who(), network, address, subnet });
        }
        let holder = endpoint::load(&self.layout, &network.name, address)?;
        if let Some(dead) = holder.as_ref().filter(|holder| !holder.is_alive()) {
            // With its ports: once its record is replaced, it is not known whose they were.
            self.disconnect(dead)?;
        }
        let in_use = || self.in_use();
        let mut file = SubnetFile::open(&self.layout, &in_use)?;
        if file.take(block.subnet, address, || self.record_address(place, address))? {
            return Ok(address);
        }
        let holder = match holder {
            Some(holder) => Some(holder.owner.to_string()),
            None if address == block.gateway => Some("the gateway".to_owned()),
            None if network.reserved.contains(&address) => Some("a reservation of the network".to_owned()),
            None => None,
        };
        let network = network.name.clone();
        Err(NetworkError::AddressTaken { who: who(), network, address, holder })
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
    /// whatever the file of addresses says: another program may have written it, or the address is not managed
    /// there.
    fn record_address(&self, place: &Place<'_>, address: IpAddr) -> Result<bool, NetworkError> {
        let network = place.network;
        if address == place.block.gateway || network.reserved.contains(&address) {
            return Ok(false);
        }
        let holder = endpoint::load(&self.layout, &network.name, address)?;
        if holder.is_some_and(|holder| holder.is_alive()) {
            return Ok(false);
        }
        let endpoint = place.endpoint_at(address);
        // What leads to the record, before that is there: a namespace has no process that answers for it, so that
        // a record which nothing leads to would stay for as long as the namespace.
        let links = Links::with(&self.layout, &endpoint);
        if place.is_first() {
            links.begin(&network.name, address).map_err(|source| linking(&endpoint, source))?;
        }
        if let Err(error) = endpoint::save(&self.layout, &endpoint) {
            // The record of the first address is the one that the link leads to.
            if place.is_first() {
                links.forget(&network.name, &[address]).ok();
            }
            return Err(error.into());
        }
        Ok(true)
    }

    /// Writes down that a connection was finished.
    ///
    /// # Errors
    /// The file system refused.
    pub fn complete(&self, endpoint: &Endpoint) -> Result<(), NetworkError> {
        let Some(first) = endpoint.addresses.first() else { return Ok(()) };
        let completed = Links::with(&self.layout, endpoint).complete(&endpoint.network, first.address());
        completed.map_err(|source| linking(endpoint, source))
    }

    /// Makes the interface. Where the name of either end is taken, another one is tried and recorded.
    fn attach(
        &mut self,
        network: &Network,
        endpoint: &mut Endpoint,
        others: &[Endpoint],
        netns: &NetNs,
    ) -> Result<(), NetworkError> {
        let defaults = defaults_beside(others);
        let (mut digits, mut number) = (host_if_digits(others.len()), 0);
        loop {
            let source = match self.driver(network.driver)?.connect(network, endpoint, netns, &defaults) {
                Ok(()) => break,
                Err(source) => source,
            };
            match source {
                DriverError::DeviceExists(_) if digits < crate::names::IF_NAME_MAX => {
                    digits += 1;
                    endpoint.host_if = host_if(endpoint.owner.id(), digits)?;
                }
                DriverError::InterfaceExists(_) if number < INTERFACES => {
                    number += 1;
                    endpoint.container_if = free_interface(others, number)?;
                }
                source => {
                    let action = format!("connect {} to network {}", endpoint.owner, network.name);
                    return Err(NetworkError::Driver { action, source });
                }
            }
            endpoint::save(&self.layout, endpoint)?;
        }
        self.announce(network, endpoint, netns)?;
        for address in &endpoint.addresses {
            let (holder, device) = (&endpoint.owner, &endpoint.host_if);
            tracing::debug!(%holder, address = %address.net, %device, "connected");
        }
        Ok(())
    }

    /// Neighbours that remember an address from its last owner would send to an Ethernet address that is gone. As
    /// long as every address has but one, there is nothing to announce; from the first address that has a second
    /// one, every container of the network is announced.
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
            store::make_directories(&self.layout.announcing()).map_err(error)?;
            store::write_atomic(&mark, b"", Durability::Process).map_err(error)?;
        } else if !mark.exists() {
            return Ok(());
        }
        let action = || format!("announce {} in network {}", endpoint.owner, network.name);
        let announced = self.driver(network.driver)?.announce(endpoint, netns);
        announced.map_err(|source| NetworkError::Driver { action: action(), source })
    }
}

/// Why the link to an endpoint's record could not be written or removed.
pub(super) fn linking(endpoint: &Endpoint, source: std::io::Error) -> NetworkError {
    let action = format!("write down the connection of {} to network {}", endpoint.owner, endpoint.network);
    NetworkError::Io { action, source }
}

fn check_families(network: &Network, who: String, wanted: &Wanted) -> Result<(), NetworkError> {
    match wanted.addresses().find(|address| network.block(Family::of(*address)).is_none()) {
        Some(address) => Err(NetworkError::NoSuchFamily { who, network: network.name.clone(), address }),
        None => Ok(()),
    }
}

/// How many digits of the container's id name the host's end of its next pair.
fn host_if_digits(others: usize) -> usize {
    (HOST_IF_DIGITS + others).min(crate::names::IF_NAME_MAX)
}

fn host_if(container: &ContainerId, digits: usize) -> Result<IfName, NetworkError> {
    Ok(container.as_str()[..digits].parse()?)
}

/// `eth0` or the next name that none of the others has; of several, the one with this place among them.
fn free_interface(others: &[Endpoint], place: usize) -> Result<IfName, NetworkError> {
    let is_free = |name: &String| others.iter().all(|other| other.container_if.as_str() != name);
    let mut free = (0_u32..).map(|number| format!("eth{number}")).filter(is_free);
    Ok(free.nth(place).unwrap_or_default().parse()?)
}
