//! Which addresses somebody gets in a network. One function decides ([`place`]), for the connection that is made as for
//! the one that is only printed; it asks which addresses are free, and does not know who answers.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::endpoint::{self, Endpoint, InterfaceAddress};
use super::error::NetworkError;
use super::links::Links;
use super::plan;
use super::record::{AddressBlock, Network};
use super::records::{Records, linking};
use super::subnet::{Family, Subnet};
use super::subnet_file::{Contents, SubnetFile};
use super::wanted::{ConnectRequest, Wanted, container_if, host_if};
use crate::netlink::MacAddress;

/// What is known of the addresses of a network.
pub(super) trait Free {
    /// The lowest free address that may be chosen.
    fn lowest(
        &mut self,
        network: &Network,
        block: &AddressBlock,
        within: &RangeInclusive<u32>,
    ) -> Result<Option<IpAddr>, NetworkError>;

    /// Whether an address can be had.
    fn is_free(
        &mut self,
        network: &Network,
        block: &AddressBlock,
        address: IpAddr,
    ) -> Result<bool, NetworkError>;

    /// The endpoints of the network whose owners may have ended: what they have is free once they are disconnected.
    fn dead(&self, network: &Network) -> Result<Vec<Endpoint>, NetworkError>;

    /// Who has an address on record.
    fn holder(&self, network: &Network, address: IpAddr) -> Result<Option<Endpoint>, NetworkError>;
}

/// What is to be done for somebody who asks for addresses.
#[derive(Debug)]
pub(super) enum Placing {
    /// They get this endpoint.
    At(Box<Endpoint>),
    /// First those of these are to be disconnected whose owners have ended; then it is to be asked again.
    After {
        /// Whose owners may have ended.
        holders: Vec<Endpoint>,
        /// What is to be reported if none of them has.
        refusal: Box<NetworkError>,
    },
}

/// The endpoint that somebody gets in a network, without ports.
///
/// The lowest free address of each family; in the second family that with the same number, if it is free: the Ethernet
/// address follows from the first, and neighbours that remember an address from another container then remember the
/// right Ethernet address all the same.
///
/// # Errors
/// [`NetworkError::NoSuchFamily`], [`NetworkError::AddressOutside`], [`NetworkError::AddressTaken`],
/// [`NetworkError::SubnetExhausted`].
pub(super) fn place(
    network: &Network,
    request: &ConnectRequest<'_>,
    free: &mut dyn Free,
) -> Result<Placing, NetworkError> {
    check_wanted(network, request.owner, request.wanted)?;
    let mut endpoint = Endpoint {
        network: network.name.clone(),
        owner: request.owner.clone(),
        position: request.others.iter().map(|other| other.position + 1).max().unwrap_or(0),
        addresses: Vec::new(),
        mac: MacAddress::of([0; 4].into()),
        // The shortest names are the others'.
        host_if: host_if(request.owner, request.others.len())?,
        container_if: container_if(request.owner, request.others, 0)?,
        is_tied: network.check_source,
        ports: Vec::new(),
        aliases: request.wanted.aliases.clone(),
        routes: request.wanted.routes.clone(),
    };
    for block in network.blocks() {
        let address = match request.wanted.address(block.subnet.family()) {
            Some(address) => {
                let holder = free.holder(network, address)?;
                // With its ports: once its record is replaced, it is not known whose they were.
                if let Some(dead) = holder.clone().filter(Endpoint::may_have_ended) {
                    let holders = vec![dead];
                    let refusal = Box::new(taken(network, block, request, address, holder));
                    return Ok(Placing::After { holders, refusal });
                }
                if !free.is_free(network, block, address)? {
                    return Err(taken(network, block, request, address, holder));
                }
                address
            }
            None => match any(network, block, &within(block, request.wanted), &endpoint, free)? {
                Some(address) => address,
                None => {
                    let (holders, refusal) = (free.dead(network)?, exhausted(network, block, request));
                    if holders.is_empty() {
                        return Err(refusal);
                    }
                    return Ok(Placing::After { holders, refusal: Box::new(refusal) });
                }
            },
        };
        if endpoint.addresses.is_empty() {
            endpoint.mac = request.wanted.mac.unwrap_or_else(|| MacAddress::of(address));
        }
        endpoint.addresses.push(InterfaceAddress {
            net: block.subnet.interface(address),
            gateway: plan::default_gateway(network, block.subnet.family())
                .filter(|_| !request.wanted.no_default_route),
        });
    }
    Ok(Placing::At(Box::new(endpoint)))
}

/// Whether a network could give these addresses out, as far as the network alone tells.
///
/// # Errors
/// [`NetworkError::NoSuchFamily`], [`NetworkError::AddressOutside`].
pub(super) fn check_wanted(
    network: &Network,
    who: &impl fmt::Display,
    wanted: &Wanted,
) -> Result<(), NetworkError> {
    for address in Family::ALL.into_iter().filter_map(|family| wanted.address(family)) {
        let (who, network_name) = (who.to_string(), network.name.clone());
        let Some(block) = network.block(Family::of(address)) else {
            return Err(NetworkError::NoSuchFamily { who, network: network_name, address });
        };
        if !block.subnet.is_host_address(address) {
            let subnet = block.subnet;
            return Err(NetworkError::AddressOutside { who, network: network_name, address, subnet });
        }
    }
    Ok(())
}

fn any(
    network: &Network,
    block: &AddressBlock,
    within: &RangeInclusive<u32>,
    endpoint: &Endpoint,
    free: &mut dyn Free,
) -> Result<Option<IpAddr>, NetworkError> {
    let same_number = endpoint.addresses.first().and_then(|first| {
        let number = network.block(first.family())?.subnet.number(first.address())?;
        within.contains(&number).then(|| block.subnet.address(number))
    });
    match same_number {
        Some(address) if free.is_free(network, block, address)? => Ok(Some(address)),
        _ => free.lowest(network, block, within),
    }
}

/// The numbers of the addresses that may be chosen.
fn within(block: &AddressBlock, wanted: &Wanted) -> RangeInclusive<u32> {
    let number = |address| block.subnet.number(address);
    let mut ranges = wanted.within.iter();
    let asked_for = ranges.find_map(|(first, last)| Some(number(*first)?..=number(*last)?));
    asked_for.unwrap_or_else(|| block.within())
}

fn taken(
    network: &Network,
    block: &AddressBlock,
    request: &ConnectRequest<'_>,
    address: IpAddr,
    holder: Option<Endpoint>,
) -> NetworkError {
    let holder = match holder {
        Some(holder) => Some(holder.owner.to_string()),
        None if address == block.gateway => Some("the gateway".to_owned()),
        None if network.reserved.contains(&address) => Some("a reservation of the network".to_owned()),
        None => None,
    };
    let (who, network) = (request.owner.to_string(), network.name.clone());
    NetworkError::AddressTaken { who, network, address, holder }
}

fn exhausted(network: &Network, block: &AddressBlock, request: &ConnectRequest<'_>) -> NetworkError {
    let AddressBlock { subnet, range, .. } = *block;
    let within = within(block, request.wanted);
    let ends = [0, subnet.size() - 1].into_iter().filter(|n| subnet.is_reserved(*n) && within.contains(n));
    let ends = u32::try_from(ends.count()).unwrap_or_default();
    NetworkError::SubnetExhausted {
        who: request.owner.to_string(),
        network: network.name.clone(),
        net: range.unwrap_or(subnet.net()),
        usable: within.end() - within.start() + 1 - ends,
        is_range: range.is_some(),
    }
}

/// Whether the address is nobody's to give: the gateway's, or reserved.
fn is_kept(network: &Network, block: &AddressBlock, address: IpAddr) -> bool {
    address == block.gateway || network.reserved.contains(&address)
}

/// The addresses as they are, with the lock that keeps them so: who plans with it takes what was planned.
pub(super) struct Book<'a> {
    records: &'a Records,
    file: SubnetFile<'a>,
}

impl<'a> Book<'a> {
    /// Locks the addresses.
    pub(super) fn open(records: &'a Records) -> Result<Self, NetworkError> {
        Ok(Self { records, file: records.addresses()? })
    }

    /// Whether an address is in use whatever the file says: another program may have written it, or the address is not
    /// managed there.
    fn is_in_use(
        &self,
        network: &Network,
        block: &AddressBlock,
        address: IpAddr,
    ) -> Result<bool, NetworkError> {
        let holder = self.records.holder(&network.name, address)?;
        Ok(is_kept(network, block, address) || holder.is_some_and(|holder| holder.is_alive()))
    }

    /// Takes the addresses of an endpoint, each after its record is written (see `endpoint`); and before the first
    /// record, the link that leads to it (see `links`).
    ///
    /// # Errors
    /// The file system refused; what was taken is to be given back.
    pub(super) fn take(&mut self, endpoint: &Endpoint) -> Result<(), NetworkError> {
        for count in 1..=endpoint.addresses.len() {
            let mut partial = endpoint.clone();
            partial.addresses.truncate(count);
            let Some(last) = partial.addresses.last().copied() else { continue };
            let Ok(subnet) = Subnet::new(last.net) else { continue };
            let records = self.records;
            self.file.take(subnet, last.address(), || {
                // What leads to the record, before that is there: a namespace has no process that answers for it, so
                // that a record which nothing leads to would stay for as long as the namespace.
                let links = Links::with(&records.layout, &partial);
                if count == 1 {
                    let begun = links.begin(&partial.network, last.address());
                    begun.map_err(|source| linking(&partial, source))?;
                }
                let saved = endpoint::save(&records.layout, &partial);
                if saved.is_err() && count == 1 {
                    // The record of the first address is the one that the link leads to.
                    links.forget(&partial.network, &[last.address()]).ok();
                }
                saved?;
                Ok::<_, NetworkError>(true)
            })?;
        }
        Ok(())
    }
}

impl Free for Book<'_> {
    fn lowest(
        &mut self,
        network: &Network,
        block: &AddressBlock,
        within: &RangeInclusive<u32>,
    ) -> Result<Option<IpAddr>, NetworkError> {
        while let Some(address) = self.file.lowest_free(block.subnet, within)? {
            if !self.is_in_use(network, block, address)? {
                return Ok(Some(address));
            }
            self.file.take(block.subnet, address, || Ok::<_, NetworkError>(false))?;
        }
        Ok(None)
    }

    fn is_free(
        &mut self,
        network: &Network,
        block: &AddressBlock,
        address: IpAddr,
    ) -> Result<bool, NetworkError> {
        Ok(self.file.is_free(block.subnet, address)? && !self.is_in_use(network, block, address)?)
    }

    fn dead(&self, network: &Network) -> Result<Vec<Endpoint>, NetworkError> {
        Ok(self.records.endpoints(&network.name)?.into_iter().filter(Endpoint::may_have_ended).collect())
    }

    fn holder(&self, network: &Network, address: IpAddr) -> Result<Option<Endpoint>, NetworkError> {
        Ok(self.records.holder(&network.name, address)?)
    }
}

/// The addresses as they will be once some endpoints are gone; nothing is locked or changed.
pub(super) struct Foreseen<'a> {
    records: &'a Records,
    contents: Contents,
    /// Each subnet with what the records say is in use.
    in_use: Vec<(Subnet, Vec<IpAddr>)>,
    /// Addresses that are given back first.
    freed: BTreeSet<IpAddr>,
}

impl<'a> Foreseen<'a> {
    /// Reads what is taken now.
    pub(super) fn read(records: &'a Records) -> Result<Self, NetworkError> {
        let (contents, in_use) = records.look_at_addresses()?;
        Ok(Self { records, contents, in_use, freed: BTreeSet::new() })
    }

    /// From here on, these endpoints are gone.
    pub(super) fn free(&mut self, gone: &[Endpoint]) {
        self.freed.extend(gone.iter().flat_map(|endpoint| &endpoint.addresses).map(|it| it.address()));
    }

    fn is_marked(&self, block: &AddressBlock, address: IpAddr) -> bool {
        let by_records =
            || self.in_use.iter().any(|(subnet, taken)| *subnet == block.subnet && taken.contains(&address));
        match &self.contents {
            Contents::Taken(taken) => match taken.get(&block.subnet) {
                Some(taken) => taken.contains(&address),
                None => by_records(),
            },
            Contents::Missing | Contents::Damaged => by_records(),
        }
    }
}

impl Free for Foreseen<'_> {
    fn lowest(
        &mut self,
        network: &Network,
        block: &AddressBlock,
        within: &RangeInclusive<u32>,
    ) -> Result<Option<IpAddr>, NetworkError> {
        let numbers = within.clone().filter(|number| !block.subnet.is_reserved(*number));
        for address in numbers.take_while(|n| *n < block.subnet.size()).map(|n| block.subnet.address(n)) {
            if self.is_free(network, block, address)? {
                return Ok(Some(address));
            }
        }
        Ok(None)
    }

    fn is_free(
        &mut self,
        network: &Network,
        block: &AddressBlock,
        address: IpAddr,
    ) -> Result<bool, NetworkError> {
        if !block.subnet.is_host_address(address) || is_kept(network, block, address) {
            return Ok(false);
        }
        if self.freed.contains(&address) {
            return Ok(true);
        }
        let alive = || Ok::<_, NetworkError>(self.holder(network, address)?.is_some_and(|it| it.is_alive()));
        Ok(!self.is_marked(block, address) && !alive()?)
    }

    fn dead(&self, network: &Network) -> Result<Vec<Endpoint>, NetworkError> {
        let is_left = |endpoint: &Endpoint| {
            endpoint.may_have_ended()
                && endpoint.addresses.iter().any(|it| !self.freed.contains(&it.address()))
        };
        Ok(self.records.endpoints(&network.name)?.into_iter().filter(is_left).collect())
    }

    fn holder(&self, network: &Network, address: IpAddr) -> Result<Option<Endpoint>, NetworkError> {
        if self.freed.contains(&address) {
            return Ok(None);
        }
        Ok(self.records.holder(&network.name, address)?)
    }
}
