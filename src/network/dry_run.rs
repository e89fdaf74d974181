//! What commands would change in the table, without changing anything: no record, no address, no device. It uses
//! the same plan as the command itself, but what is free now may be taken when the command runs.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use super::allot::{InUse, LocalPorts, choose, overlaps};
use super::attach::ConnectRequest;
use super::choose::CreateRequest;
use super::endpoint::{self, Endpoint, InterfaceAddress};
use super::error::NetworkError;
use super::forwarding::{Needed, SwitchedOn};
use super::listener::Listeners;
use super::moving::{Changes, keeping};
use super::port::{PortMapping, PortRequest};
use super::publish::{check, published};
use super::publisher::Publisher;
use super::record::{self, Network, Phase};
use super::{Networks, plan};
use crate::names::NetworkName;
use crate::nft::{CommitError, Element, Presence, Transaction};

impl Networks {
    /// What the creation of a network would change.
    ///
    /// # Errors
    /// Whatever the creation would fail with, as far as can be known.
    pub fn dry_create(&mut self, request: &CreateRequest) -> Result<Transaction, NetworkError> {
        let network = self.designed(request)?;
        let mut transaction = self.groundwork(&[], std::slice::from_ref(&network), &[])?;
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
        self.without(&[network])
    }

    /// What the removal of the networks that are not in `kept` would change.
    ///
    /// # Errors
    /// A record cannot be read, or the kernel does not answer.
    pub fn dry_prune(
        &mut self,
        kept: &BTreeSet<NetworkName>,
        wanted: impl Fn(&Network) -> bool,
    ) -> Result<Transaction, NetworkError> {
        let mut removed = Vec::new();
        for network in self.removable(kept, wanted)? {
            if self.living_endpoints(&network)?.is_empty() {
                removed.push(network);
            }
        }
        self.without(&removed)
    }

    /// What making everything anew would change. Of containers that are about to be taken down, the endpoints are
    /// `gone`.
    ///
    /// # Errors
    /// A record cannot be read, or the kernel does not answer.
    pub fn dry_reload(&mut self, gone: &[Endpoint]) -> Result<Transaction, NetworkError> {
        let all = record::load_all(&self.layout)?;
        let mut networks = Vec::new();
        for network in &all {
            // What is half-made or half-removed goes, unless something is connected to it.
            if network.phase == Phase::Ready || !self.living_endpoints(network)?.is_empty() {
                networks.push(network.clone());
            }
        }
        if networks.is_empty() {
            return self.without(&all);
        }
        let (forwarding, _) = self.foresee_forwarding(&networks)?;
        self.rebuilding_without(gone, &networks, &forwarding)
    }

    /// What another name of the container would change: a transaction for each of its endpoints that has ports.
    ///
    /// # Errors
    /// A record cannot be read, or the kernel does not answer.
    pub fn dry_rename(
        &mut self,
        endpoints: &[Endpoint],
        container_name: &str,
    ) -> Result<Vec<Transaction>, NetworkError> {
        let mut transactions = Vec::new();
        for before in endpoints {
            let after = before.renamed(container_name);
            transactions.push(self.renaming(before, &after)?);
        }
        Ok(transactions)
    }

    /// What connecting a container or namespace that has the endpoints `before` to more networks, and publishing
    /// ports, would change. All of `gone`, which are its own as well, are disconnected before that.
    ///
    /// # Errors
    /// Whatever the real thing would fail with, as far as can be known.
    pub fn dry_connect(
        &mut self,
        requests: &[ConnectRequest<'_>],
        before: &[Endpoint],
        gone: &[Endpoint],
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
        let mut transaction = self.groundwork(&known, &new, gone)?;
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
        self.dry_publish(&endpoints, before, before, ports, &mut transaction)?;
        Ok(transaction)
    }

    /// What is to change in the table where the ports that led to `before` lead to `after`.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub fn dry_disconnect(
        &mut self,
        before: &[Endpoint],
        after: &[Endpoint],
        ports: &[PortRequest],
    ) -> Result<Transaction, NetworkError> {
        let there = self.elements_there(before)?;
        let mut transaction = Transaction::new();
        if Publisher::of(after).is_none() {
            for element in there {
                transaction.delete(element);
            }
            return Ok(transaction);
        }
        let mut recorded = 0;
        for endpoint in before {
            recorded += Publisher::from(endpoint).elements()?.len();
        }
        if there.len() == recorded {
            self.dry_publish(after, before, before, ports, &mut transaction)?;
            return Ok(transaction);
        }
        // Another program took elements away: then the whole table is rebuilt.
        let networks = self.ready()?;
        let (forwarding, _) = self.foresee_forwarding(&networks)?;
        transaction = self.rebuilding_without(before, &networks, &forwarding)?;
        self.dry_publish(after, before, &[], ports, &mut transaction)?;
        Ok(transaction)
    }

    /// Publishes ports in the place of those of `before`, which are in the table as far as they are `stale`.
    fn dry_publish(
        &mut self,
        after: &[Endpoint],
        before: &[Endpoint],
        stale: &[Endpoint],
        ports: &[PortRequest],
        transaction: &mut Transaction,
    ) -> Result<(), NetworkError> {
        let Some(mut publisher) = Publisher::of(after) else { return Ok(()) };
        let old: Vec<PortMapping> = before.iter().flat_map(|endpoint| &endpoint.ports).cloned().collect();
        let ports = keeping(ports, &old, before.is_empty(), &publisher);
        let listeners = Listeners::find(&ports);
        let mut taken = match self.taken_ports() {
            _ if ports.is_empty() => Vec::new(),
            Ok(taken) => taken,
            Err(NetworkError::Table { source: CommitError::Missing { .. }, .. }) => Vec::new(),
            Err(error) => return Err(error),
        };
        taken.retain(|taken| taken.holder.as_deref() != Some(&publisher.owner.comment()));
        let in_use = InUse { listeners: &listeners, taken: &taken };
        publisher.ports = choose(&ports, &publisher, &&LocalPorts::read(), &in_use)?;
        check(&publisher, &ports, &listeners, &old)?;
        let conflict = |mapping: &&PortMapping| taken.iter().any(|taken| overlaps(mapping, taken));
        if let Some(mapping) = publisher.ports.iter().find(conflict) {
            let holder = taken.iter().find(|taken| overlaps(mapping, taken)).and_then(|it| it.holder.clone());
            return Err(published(mapping, &publisher, holder.as_deref()));
        }
        let changes = Changes::plan(&publisher, stale)?;
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
        self.design(request)
    }

    fn presence(&mut self, network: &Network) -> Result<Presence, NetworkError> {
        self.presence_of(&Element::Bridge(network.bridge.clone()), network)
    }

    fn presence_of(&mut self, element: &Element, network: &Network) -> Result<Presence, NetworkError> {
        self.nft()?.contains(element).map_err(|source| NetworkError::Table {
            action: format!("look for network {} in the table", network.name),
            source,
        })
    }

    /// What takes these networks away.
    fn without(&mut self, removed: &[Network]) -> Result<Transaction, NetworkError> {
        let mut transaction = Transaction::new();
        let is_removed = |network: &Network| removed.iter().any(|removed| removed.name == network.name);
        let all = record::load_all(&self.layout)?;
        let others: Vec<Network> = all.iter().filter(|network| !is_removed(network)).cloned().collect();
        if others.is_empty() {
            let found = self.nft()?.contains(&any_element()?).map_err(|source| NetworkError::Table {
                action: "look for the table inet mydocker".to_owned(),
                source,
            })?;
            if found != Presence::TableMissing {
                transaction.delete_table();
            }
            return Ok(transaction);
        }
        for network in removed {
            for element in plan::network_elements(network) {
                if self.presence_of(&element, network)? != Presence::Present {
                    // What must remain follows from the records.
                    let (forwarding, _) = self.foresee_forwarding(&others)?;
                    return self.rebuilding(&others, &forwarding);
                }
                transaction.delete(element);
            }
        }
        Ok(transaction)
    }

    /// Which elements of the ports of these endpoints are in the table.
    fn elements_there(&mut self, endpoints: &[Endpoint]) -> Result<Vec<Element>, NetworkError> {
        let mut there = Vec::new();
        for endpoint in endpoints {
            let elements = Publisher::from(endpoint).elements()?;
            if !endpoint.is_alive() {
                there.extend(self.left_by(endpoint, elements)?);
                continue;
            }
            for element in elements {
                let found = self.nft()?.contains(&element).map_err(|source| NetworkError::Table {
                    action: format!("look for the ports of {}", endpoint.owner),
                    source,
                })?;
                if found == Presence::Present {
                    there.push(element);
                }
            }
        }
        Ok(there)
    }

    /// The transaction that makes the table anew without the ports of these endpoints.
    fn rebuilding_without(
        &self,
        gone: &[Endpoint],
        networks: &[Network],
        forwarding: &SwitchedOn,
    ) -> Result<Transaction, NetworkError> {
        let mut stale = HashSet::new();
        for endpoint in gone {
            stale.extend(Publisher::from(endpoint).elements()?);
        }
        let elements = self.elements(networks)?.into_iter().filter(|element| !stale.contains(element));
        let mut transaction = Transaction::new();
        transaction.rebuild(forwarding.skeleton());
        transaction.extend(elements);
        Ok(transaction)
    }

    fn ready(&self) -> Result<Vec<Network>, NetworkError> {
        Ok(record::load_all(&self.layout)?.into_iter().filter(|it| it.phase == Phase::Ready).collect())
    }

    fn foresee_forwarding(&self, networks: &[Network]) -> Result<(SwitchedOn, bool), NetworkError> {
        SwitchedOn::foresee(&self.layout, Needed::by(networks))
            .map_err(|source| NetworkError::Io { action: "read the state of forwarding".to_owned(), source })
    }

    /// What comes first: the table where it is missing, or lacks one of the networks that are `known`; what guards
    /// the host when forwarding is switched on for the `new` ones; and the end of the ports of those that are `gone`.
    fn groundwork(
        &mut self,
        known: &[Network],
        new: &[Network],
        gone: &[Endpoint],
    ) -> Result<Transaction, NetworkError> {
        let mut is_whole = true;
        for network in known {
            is_whole &= self.presence(network)? == Presence::Present;
        }
        for network in new {
            is_whole &= self.presence(network)? != Presence::TableMissing;
        }
        let recorded = self.ready()?;
        let affected = if is_whole { [known, new].concat() } else { [&recorded[..], new].concat() };
        let (forwarding, news) = self.foresee_forwarding(&affected)?;
        if !is_whole {
            return self.rebuilding_without(gone, &recorded, &forwarding);
        }
        let mut transaction = Transaction::new();
        for element in self.elements_there(gone)? {
            transaction.delete(element);
        }
        if news {
            transaction.renew_forwarding_guards(forwarding.skeleton());
        }
        Ok(transaction)
    }

    /// The endpoint that would be made. Only the records are asked which addresses are free.
    fn foresee(&self, network: &Network, request: &ConnectRequest<'_>) -> Result<Endpoint, NetworkError> {
        let mut endpoint = Self::empty_endpoint(network, request)?;
        let in_use = self.in_use()?;
        // Those of a container that is started again are free by then.
        let own = self.endpoints_of(&network.name, request.owner.id())?;
        let own: Vec<IpAddr> =
            own.iter().flat_map(|endpoint| &endpoint.addresses).map(InterfaceAddress::address).collect();
        for block in network.blocks() {
            let wanted = request.wanted.address(block.subnet.family());
            let taken = in_use.iter().filter(|(subnet, _)| *subnet == block.subnet);
            let taken: Vec<IpAddr> = taken.flat_map(|(_, taken)| taken).copied().collect();
            let is_free = |address: &IpAddr| !taken.contains(address) || own.contains(address);
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
        let containers = endpoints.iter().map(|endpoint| endpoint.owner.to_string()).collect();
        Err(NetworkError::InUse { name: network.name.clone(), containers })
    }
}

/// An element by which it is seen whether there is a table.
fn any_element() -> Result<Element, NetworkError> {
    Ok(Element::Bridge("lo".parse()?))
}
