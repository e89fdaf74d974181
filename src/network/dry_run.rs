//! What commands would change in the table, without changing anything: no record, no address, no device. The same
//! plan as for the real thing, but what is chosen may be somebody else's by then.

use std::net::IpAddr;

use super::allot::{InUse, LocalPorts, choose, overlaps};
use super::attach::ConnectRequest;
use super::choose::CreateRequest;
use super::endpoint::{self, Endpoint, InterfaceAddress};
use super::error::NetworkError;
use super::forwarding::{Needed, SwitchedOn};
use super::listener::Listeners;
use super::manage::bridge_of;
use super::port::{PortMapping, PortRequest};
use super::publish::{Changes, check, keeping};
use super::record::{self, Network, Phase};
use super::{Networks, plan};
use crate::names::NetworkName;
use crate::nft::{CommitError, Element, Presence, Transaction};

impl Networks {
    /// What the creation of a network would change.
    ///
    /// # Errors
    /// Whatever the creation would fail with, as far as it can be told.
    pub fn dry_create(&mut self, request: &CreateRequest) -> Result<Transaction, NetworkError> {
        let network = self.designed(request)?;
        let mut transaction = self.groundwork(&[], std::slice::from_ref(&network))?;
        transaction.extend(plan::network_elements(&network));
        Ok(transaction)
    }

    /// What the removal of a network would change.
    ///
    /// # Errors
    /// [`NetworkError::NotFound`], [`NetworkError::InUse`].
    pub fn dry_remove(&mut self, name: &str) -> Result<Transaction, NetworkError> {
        let network = self.get(name)?;
        self.refuse_in_use(&network)?;
        let mut transaction = Transaction::new();
        let is_there = self.presence(&network)?;
        let others = record::load_all(&self.layout)?.iter().any(|other| other.name != network.name);
        match is_there {
            Presence::TableMissing => {}
            _ if !others => {
                transaction.delete_table();
            }
            Presence::ElementMissing => {}
            Presence::Present => {
                for element in plan::network_elements(&network) {
                    transaction.delete(element);
                }
            }
        }
        Ok(transaction)
    }

    /// What connecting somebody who has the endpoints `before` to further networks, and publishing ports, would
    /// change.
    ///
    /// # Errors
    /// Whatever the real thing would fail with, as far as it can be told.
    pub fn dry_connect(
        &mut self,
        requests: &[ConnectRequest<'_>],
        before: &[Endpoint],
        ports: &[PortRequest],
    ) -> Result<Transaction, NetworkError> {
        let (mut known, mut new) = (Vec::new(), Vec::new());
        for request in requests {
            match self.get(request.network.as_str()) {
                Ok(network) => known.push(network),
                // It is there by being asked for.
                Err(NetworkError::NotFound(_)) if *request.network == NetworkName::of_default() => {
                    new.push(self.designed(&CreateRequest::new(request.network.clone()))?);
                }
                Err(error) => return Err(error),
            }
        }
        let mut transaction = self.groundwork(&known, &new)?;
        for network in &new {
            transaction.extend(plan::network_elements(network));
        }
        let mut endpoints = before.to_vec();
        for request in requests {
            let network = known.iter().chain(&new).find(|network| network.name == *request.network);
            if let Some(network) = network {
                let endpoint =
                    self.foresee(network, &ConnectRequest { others: &endpoints, ..request.clone() })?;
                endpoints.push(endpoint);
            }
        }
        self.dry_publish(&endpoints, before, ports, &mut transaction)?;
        Ok(transaction)
    }

    /// What is to change in the table where the ports that led to `before` lead to `after`.
    ///
    /// # Errors
    /// The kernel does not tell what is there.
    pub fn dry_disconnect(
        &mut self,
        before: &[Endpoint],
        after: &[Endpoint],
        ports: &[PortRequest],
    ) -> Result<Transaction, NetworkError> {
        let mut transaction = Transaction::new();
        self.dry_publish(after, before, ports, &mut transaction)?;
        Ok(transaction)
    }

    fn dry_publish(
        &mut self,
        after: &[Endpoint],
        before: &[Endpoint],
        ports: &[PortRequest],
        transaction: &mut Transaction,
    ) -> Result<(), NetworkError> {
        let Some(mut publisher) = plan::publisher(after) else {
            for endpoint in before {
                for element in plan::endpoint_elements(endpoint)? {
                    transaction.delete(element);
                }
            }
            return Ok(());
        };
        let old: Vec<PortMapping> = before.iter().flat_map(|endpoint| &endpoint.ports).cloned().collect();
        let ports = keeping(ports, &old, before.is_empty(), &publisher);
        let listeners = Listeners::find(&ports);
        let mut taken = match self.taken_ports() {
            _ if ports.is_empty() => Vec::new(),
            Ok(taken) => taken,
            Err(NetworkError::Table { source: CommitError::Missing { .. }, .. }) => Vec::new(),
            Err(error) => return Err(error),
        };
        taken.retain(|taken| taken.holder.as_deref() != Some(publisher.comment()));
        let in_use = InUse { listeners: &listeners, taken: &taken };
        publisher.ports = choose(&ports, &publisher, &LocalPorts::read(), &in_use)?;
        check(&publisher, &ports, &listeners, &old)?;
        let conflict = |mapping: &&PortMapping| taken.iter().any(|taken| overlaps(mapping, taken));
        if let Some(mapping) = publisher.ports.iter().find(conflict) {
            let holder = taken.iter().find(|taken| overlaps(mapping, taken)).and_then(|it| it.holder.clone());
            return Err(NetworkError::PortPublished {
                mapping: mapping.clone(),
                who: publisher.holder(),
                holder,
            });
        }
        let changes = Changes::plan(&publisher, before)?;
        if !changes.is_empty() {
            changes.add_to(transaction);
        }
        Ok(())
    }

    /// The network as it would be created.
    fn designed(&mut self, request: &CreateRequest) -> Result<Network, NetworkError> {
        if record::load(&self.layout, &request.name)?.is_some_and(|it| it.network.phase == Phase::Ready) {
            return Err(NetworkError::NameTaken(request.name.clone()));
        }
        self.design(request, bridge_of(&request.name)?)
    }

    fn presence(&mut self, network: &Network) -> Result<Presence, NetworkError> {
        let element = Element::Bridge(network.bridge.clone());
        self.nft()?.contains(&element).map_err(|source| NetworkError::Table {
            action: format!("look for network {} in the table", network.name),
            source,
        })
    }

    /// What comes first: the table where it is missing, or lacks one of the networks that are `known`; and what
    /// guards the host when forwarding is switched on for the `new` ones.
    fn groundwork(&mut self, known: &[Network], new: &[Network]) -> Result<Transaction, NetworkError> {
        let mut is_whole = true;
        for network in known {
            is_whole &= self.presence(network)? == Presence::Present;
        }
        for network in new {
            is_whole &= self.presence(network)? != Presence::TableMissing;
        }
        let recorded: Vec<Network> =
            record::load_all(&self.layout)?.into_iter().filter(|it| it.phase == Phase::Ready).collect();
        let affected = if is_whole { [known, new].concat() } else { [&recorded[..], new].concat() };
        let (forwarding, news) =
            SwitchedOn::foresee(&self.layout, Needed::by(&affected)).map_err(|source| NetworkError::Io {
                action: "read the state of forwarding".to_owned(),
                source,
            })?;
        let mut transaction = Transaction::new();
        if !is_whole {
            return self.rebuilding(&recorded, &forwarding);
        }
        if news {
            transaction.renew_forwarding_guards(forwarding.skeleton());
        }
        Ok(transaction)
    }

    /// The endpoint that somebody would get. Only the records are asked which addresses are free.
    fn foresee(&self, network: &Network, request: &ConnectRequest<'_>) -> Result<Endpoint, NetworkError> {
        let mut endpoint = Self::empty_endpoint(network, request)?;
        let in_use = self.in_use()?;
        for block in network.blocks() {
            let wanted = [request.ip.map(IpAddr::V4), request.ip6.map(IpAddr::V6)];
            let wanted = wanted.into_iter().flatten().find(|address| block.subnet.contains(*address));
            let taken = in_use.iter().filter(|(subnet, _)| *subnet == block.subnet);
            let taken: Vec<IpAddr> = taken.flat_map(|(_, taken)| taken).copied().collect();
            let is_free = |address: &IpAddr| !taken.contains(address);
            let found = match wanted {
                Some(address) => Some(address).filter(is_free),
                None => block
                    .within()
                    .filter(|number| !block.subnet.is_reserved(*number))
                    .map(|number| block.subnet.address(number))
                    .find(is_free),
            };
            let Some(address) = found else {
                let (who, network) = (request.who(), network.name.clone());
                return Err(match wanted {
                    Some(address) => NetworkError::AddressTaken { who, network, address, holder: None },
                    None => NetworkError::SubnetExhausted {
                        who,
                        network,
                        net: block.subnet.net(),
                        usable: block.subnet.usable(),
                        is_range: false,
                    },
                });
            };
            endpoint.addresses.push(InterfaceAddress {
                net: block.subnet.interface(address),
                gateway: plan::default_gateway(network, block.subnet.family()),
            });
        }
        Ok(endpoint)
    }

    fn refuse_in_use(&self, network: &Network) -> Result<(), NetworkError> {
        let mut endpoints = endpoint::load_all(&self.layout, &network.name)?;
        endpoints.retain(Endpoint::is_alive);
        if endpoints.is_empty() {
            return Ok(());
        }
        let containers = endpoints.iter().map(Endpoint::holder).collect();
        Err(NetworkError::InUse { name: network.name.clone(), containers })
    }
}
