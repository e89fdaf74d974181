//! What is written down of networks and endpoints, in one place: every other part asks here and changes it here.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use super::endpoint::{self, Endpoint};
use super::error::NetworkError;
use super::forwarding::SwitchedOn;
use super::links::{Link, Links};
use super::name_files;
use super::plan::Whole;
use super::record::{self, Loaded, Network, Phase, RecordError};
use super::subnet::Subnet;
use super::subnet_file::{Contents, InUse, SubnetFile, SubnetFileError};
use crate::names::{ContainerId, NetworkName};
use crate::store::{Layout, Lock, LockKind};

/// How many digits of an id stand for a network: with fewer, a mistyped name might.
const ID_LEAST: usize = 4;

/// The records below one pair of roots.
#[derive(Debug, Clone)]
pub(super) struct Records {
    pub(super) layout: Layout,
}

impl Records {
    /// Every network, by name.
    pub(super) fn networks(&self) -> Result<Vec<Network>, RecordError> {
        record::load_all(&self.layout)
    }

    /// Every network that is usable.
    pub(super) fn ready(&self) -> Result<Vec<Network>, RecordError> {
        Ok(self.networks()?.into_iter().filter(|network| network.phase == Phase::Ready).collect())
    }

    /// A network and where its record comes from; `None` if there is none.
    pub(super) fn load(&self, name: &NetworkName) -> Result<Option<Loaded>, RecordError> {
        record::load(&self.layout, name)
    }

    /// A network by what the user calls it: its name, or its id, of which the first digits do.
    ///
    /// # Errors
    /// [`NetworkError::NotFound`], or the record cannot be read.
    pub(super) fn get(&self, name: &str) -> Result<Network, NetworkError> {
        // A text that cannot be a name cannot be the name of a network either; an id is longer than a name may be.
        if let Ok(parsed) = name.parse::<NetworkName>()
            && let Some(loaded) = self.load(&parsed)?
        {
            return Ok(loaded.network);
        }
        self.with_id(name)?.ok_or_else(|| NetworkError::NotFound(name.to_owned()))
    }

    /// The one network whose id begins with these digits.
    fn with_id(&self, digits: &str) -> Result<Option<Network>, RecordError> {
        if digits.len() < ID_LEAST || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(None);
        }
        let mut found =
            self.networks()?.into_iter().filter(|network| network.id.as_str().starts_with(digits));
        Ok(found.next().filter(|_| found.next().is_none()))
    }

    /// Writes a network's record in this phase, and returns it.
    pub(super) fn save_as(&self, network: &Network, phase: Phase) -> Result<Network, RecordError> {
        let network = Network { phase, ..network.clone() };
        record::save(&self.layout, &network)?;
        Ok(network)
    }

    /// The endpoints of a network, those of dead owners among them.
    pub(super) fn endpoints(&self, network: &NetworkName) -> Result<Vec<Endpoint>, RecordError> {
        endpoint::load_all(&self.layout, network)
    }

    /// The endpoints of a network whose owners are alive.
    pub(super) fn living(&self, network: &NetworkName) -> Result<Vec<Endpoint>, RecordError> {
        Ok(self.endpoints(network)?.into_iter().filter(Endpoint::is_alive).collect())
    }

    /// The endpoints of all networks, those of dead owners among them.
    pub(super) fn all_endpoints(&self) -> Result<Vec<Endpoint>, RecordError> {
        let mut all = Vec::new();
        for network in self.networks()? {
            all.extend(self.endpoints(&network.name)?);
        }
        Ok(all)
    }

    /// The links of a container to its endpoints, and those that its own record names if an earlier mydocker, which made
    /// no links, started it.
    pub(super) fn links_of(
        &self,
        container: &ContainerId,
        earlier: &[(NetworkName, IpAddr)],
    ) -> Result<Vec<Link>, NetworkError> {
        let links = Links::of_container(&self.layout, container).list();
        let mut links = links.map_err(|source| no_links(container, source))?;
        for (network, address) in earlier {
            if links.iter().all(|link| link.network != *network) {
                links.push(Link { network: network.clone(), address: *address, is_made: true });
            }
        }
        Ok(links)
    }

    /// The container's endpoint that a link leads to.
    pub(super) fn linked(
        &self,
        container: &ContainerId,
        link: &Link,
    ) -> Result<Option<Endpoint>, RecordError> {
        Ok(self.holder(&link.network, link.address)?.filter(|endpoint| endpoint.is_of(container)))
    }

    /// Writes down that a connection was finished.
    pub(super) fn complete(&self, endpoint: &Endpoint) -> Result<(), NetworkError> {
        let Some(first) = endpoint.addresses.first() else { return Ok(()) };
        if endpoint.owner.namespace().is_none() {
            // Who gives the addresses back holds the lock as well: no name stays behind.
            let _lock = self.addresses()?;
            if let Some(current) = self.current(endpoint)? {
                name_files::write(&self.layout, &current)?;
                self.link_by_container(&current).map_err(|source| linking(endpoint, source))?;
            }
        }
        let completed = Links::with(&self.layout, endpoint).complete(&endpoint.network, first.address());
        completed.map_err(|source| linking(endpoint, source))?;
        if endpoint.owner.attachment().is_some() {
            // From here on it is the other engine's.
            self.change(endpoint, |current| current.owner.finish())?;
        }
        Ok(())
    }

    /// What another engine's container is found by names in, it is to find others in as well.
    fn link_by_container(&self, endpoint: &Endpoint) -> std::io::Result<()> {
        let named = endpoint.owner.attachment().filter(|attachment| !attachment.names.is_empty());
        let (Some(attachment), Some(first)) = (named, endpoint.addresses.first()) else { return Ok(()) };
        let links = Links::of_other_engines(&self.layout, &attachment.key);
        links.begin(&endpoint.network, first.address())?;
        links.complete(&endpoint.network, first.address())
    }

    /// Who has an address.
    pub(super) fn holder(
        &self,
        network: &NetworkName,
        address: IpAddr,
    ) -> Result<Option<Endpoint>, RecordError> {
        endpoint::load(&self.layout, network, address)
    }

    /// The endpoint as it is written down now; `None` once it is gone.
    pub(super) fn current(&self, endpoint: &Endpoint) -> Result<Option<Endpoint>, RecordError> {
        let Some(address) = endpoint.addresses.first() else { return Ok(None) };
        let found = self.holder(&endpoint.network, address.address())?;
        Ok(found.filter(|found| endpoint.is_still(found)))
    }

    /// Changes what is written down of an endpoint, and returns it as it is then. Commands that change different
    /// things of one endpoint, its name and its ports, do not undo each other's changes: all hold the lock *addresses*,
    /// and each begins with what the last one has written. `None` if the endpoint is gone: it does not come back.
    ///
    /// # Errors
    /// The lock or the record cannot be had.
    pub(super) fn change(
        &self,
        endpoint: &Endpoint,
        change: impl FnOnce(&mut Endpoint),
    ) -> Result<Option<Endpoint>, NetworkError> {
        let _lock = self.addresses()?;
        let Some(mut current) = self.current(endpoint)? else { return Ok(None) };
        let before = name_files::names_of(&current);
        change(&mut current);
        let after = name_files::names_of(&current);
        // A name that is on the way may be found before and after it is the record's, and never counts without it.
        if after != before {
            name_files::write(&self.layout, &current)?;
        }
        endpoint::save(&self.layout, &current)?;
        name_files::remove(&self.layout, &current, before.difference(&after))?;
        Ok(Some(current))
    }

    /// The file of addresses, with its lock.
    pub(super) fn addresses(&self) -> Result<SubnetFile<'_>, SubnetFileError> {
        SubnetFile::open(&self.layout, || self.in_use())
    }

    /// What is in the file of addresses, and what the records say; nothing changes.
    pub(super) fn look_at_addresses(&self) -> Result<(Contents, InUse), NetworkError> {
        SubnetFile::look(&self.layout, || Ok(self.in_use()?))
    }

    /// Which addresses are in use according to the records: what the file of addresses is rebuilt from.
    pub(super) fn in_use(&self) -> Result<InUse, RecordError> {
        let mut all = InUse::new();
        for network in self.networks()? {
            let living = self.living(&network.name)?;
            for block in network.blocks() {
                let mut taken = network.never_given_out(block);
                taken.extend(living.iter().flat_map(|endpoint| &endpoint.addresses).map(|a| a.address()));
                all.push((block.subnet, taken));
            }
        }
        Ok(all)
    }

    /// Locks what a namespace, or another engine's container, is connected to: one command at a time changes that.
    pub(super) fn lock_connections(&self, file: &Path) -> std::io::Result<Lock> {
        Lock::exclusive(LockKind::Namespace, file)
    }

    /// Locks the networks: records, table and bridges are changed by one command at a time.
    pub(super) fn lock(&self) -> Result<Lock, NetworkError> {
        Lock::exclusive(LockKind::Networks, &self.layout.network_lock())
            .map_err(|source| NetworkError::Io { action: "lock the networks".to_owned(), source })
    }

    /// Keeps the table from being rebuilt meanwhile; held by any number of processes at once.
    pub(super) fn shared_lock(&self) -> Result<Lock, NetworkError> {
        Lock::shared(LockKind::Networks, &self.layout.network_lock())
            .map_err(|source| NetworkError::Io { action: "lock the networks".to_owned(), source })
    }

    /// Whether there is a network afterwards, once what a killed command has begun is ended: one that is half-made or
    /// half-removed goes, unless something is connected to it.
    pub(super) fn survives_cleanup(&self, network: &Network) -> Result<bool, RecordError> {
        Ok(network.phase == Phase::Ready || !self.living(&network.name)?.is_empty())
    }

    /// # Errors
    /// [`NetworkError::InUse`] where something is connected to the network.
    pub(super) fn refuse_in_use(&self, network: &Network) -> Result<(), NetworkError> {
        let containers: Vec<String> =
            self.living(&network.name)?.iter().map(|endpoint| endpoint.owner.to_string()).collect();
        if containers.is_empty() {
            return Ok(());
        }
        Err(NetworkError::InUse { name: network.name.clone(), containers })
    }

    /// The networks that `prune` may remove, whether anything is connected to them or not: none that another engine
    /// counts on.
    pub(super) fn removable(
        &self,
        kept: &BTreeSet<NetworkName>,
        wanted: impl Fn(&Network) -> bool,
    ) -> Result<Vec<Network>, RecordError> {
        let mut networks = self.networks()?;
        networks.retain(|network| {
            let stays = network.name == NetworkName::of_default()
                || network.origin.is_some()
                || kept.contains(&network.name);
            !stays && wanted(network)
        });
        Ok(networks)
    }

    /// Removes the record of a network, with the directory of its endpoints.
    pub(super) fn forget(&self, network: &NetworkName) -> Result<(), RecordError> {
        endpoint::remove_all(&self.layout, network)?;
        record::remove(&self.layout, network)
    }

    /// Gives the addresses of an endpoint back, but for those that have another holder by now, and removes its record.
    pub(super) fn release(&self, endpoint: &Endpoint) -> Result<(), NetworkError> {
        let mut file = self.addresses()?;
        // Whoever gets the address next may have a name of these as well.
        if let Some(current) = self.current(endpoint)? {
            name_files::remove(&self.layout, &current, name_files::names_of(&current).iter())?;
        }
        let (mut is_own, mut is_anothers) = (false, false);
        // The first one last: that is the one which the link leads to.
        for address in endpoint.addresses.iter().rev() {
            // An address was one of a subnet when it was given out.
            let Ok(subnet) = Subnet::new(address.net) else { continue };
            let holder = self.holder(&endpoint.network, address.address())?;
            let Some(holder) = holder else { continue };
            if endpoint.is_still(&holder) {
                is_own = true;
                file.release(subnet, address.address())?;
                endpoint::remove(&self.layout, &endpoint.network, address.address())?;
            } else {
                // Attached by the same names since, and found by the same link.
                is_anothers |= holder.is_of(endpoint.owner.id());
            }
        }
        // Still under the lock of the file: the next namespace of the same number writes its link under it.
        let addresses: Vec<_> = endpoint.addresses.iter().map(|address| address.address()).collect();
        // A container's id is never another's, unlike the number of a namespace.
        let forgotten = if is_own || endpoint.owner.namespace().is_none() && !is_anothers {
            Links::with(&self.layout, endpoint).forget(&endpoint.network, &addresses)
        } else {
            Ok(())
        };
        let unlinked = endpoint.owner.attachment().filter(|_| is_own).map_or(Ok(()), |attachment| {
            Links::of_other_engines(&self.layout, &attachment.key).forget(&endpoint.network, &addresses)
        });
        drop(file);
        forgotten.and(unlinked).map_err(|source| linking(endpoint, source))
    }

    /// Takes over another program's record. The addresses that it has marked stay taken for ever: mydocker cannot
    /// know when they become free.
    pub(super) fn adopt(&self, loaded: Loaded) -> Result<Network, NetworkError> {
        let Loaded { mut network, foreign } = loaded;
        if foreign {
            let mut file = self.addresses()?;
            let mut reserved = Vec::new();
            for block in network.blocks() {
                reserved
                    .extend(file.taken(block.subnet)?.into_iter().filter(|taken| *taken != block.gateway));
            }
            drop(file);
            network.reserved = reserved;
            record::save(&self.layout, &network)?;
        }
        Ok(network)
    }

    /// Marks exactly those addresses as taken that are in use.
    pub(super) fn renew_addresses(&self, networks: &[Network]) -> Result<(), NetworkError> {
        // Every command that takes an address or gives it back holds this lock while it writes or removes the
        // record.
        let mut file = self.addresses()?;
        let used = self.in_use()?;
        for block in networks.iter().flat_map(Network::blocks) {
            let Some((_, mut wanted)) = used.iter().find(|(subnet, _)| *subnet == block.subnet).cloned()
            else {
                continue;
            };
            wanted.retain(|address| block.subnet.number(*address).is_some());
            let taken: BTreeSet<_> = file.taken(block.subnet)?.into_iter().collect();
            if taken != wanted.iter().copied().collect() {
                file.reset(block.subnet, wanted)?;
            }
        }
        Ok(())
    }

    /// The whole table, as these networks and the living endpoints in them want it.
    pub(super) fn whole(&self, networks: &[Network], forwarding: &SwitchedOn) -> Result<Whole, NetworkError> {
        let mut endpoints = Vec::new();
        for network in networks {
            endpoints.extend(self.living(&network.name)?);
        }
        let mut whole = Whole::of(networks, endpoints, forwarding.skeleton())?;
        whole.elements.extend(forwarding.elements());
        Ok(whole)
    }
}

/// Why the link to an endpoint's record could not be written or removed.
pub(super) fn linking(endpoint: &Endpoint, source: std::io::Error) -> NetworkError {
    let action = format!("write down the connection of {} to network {}", endpoint.owner, endpoint.network);
    NetworkError::Io { action, source }
}

/// Why the links of a container could not be read or removed.
pub(super) fn no_links(container: &ContainerId, source: std::io::Error) -> NetworkError {
    NetworkError::Io { action: format!("find the networks of container {}", container.short()), source }
}

#[cfg(test)]
mod tests {
    use super::super::owner::Owner;
    use super::*;

    /// What another engine attaches anew by the same names, with the same address, is not taken away by whoever knows of
    /// the earlier one only.
    #[test]
    fn an_earlier_attachment_of_the_same_names_is_another() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path().join("root"), directory.path().join("run"));
        let records = Records { layout };
        std::fs::create_dir_all(records.layout.subnet_file().parent().unwrap()).unwrap();
        let attached = |inode: u32| -> Endpoint {
            let id = "a".repeat(64);
            let key = r#"{"network":{"engine":"cni","name":"pods"},"container":"web","interface":"eth0"}"#;
            let text = format!(
                r#"{{"network":"pods","owner":{{"attachment":{{"id":"{id}","key":{key},"name":null,"maker":null,
                "namespace":{{"path":"/run/netns/web","inode":{inode},"born":1}}}}}},
                "addresses":[{{"net":"10.0.0.2/24","gateway":null}}],"mac":"02:42:0a:00:00:02",
                "host_if":"vetha","container_if":"eth0","ports":[]}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        let (earlier, now) = (attached(1), attached(2));
        let links = Links::with(&records.layout, &now);
        let address: IpAddr = [10, 0, 0, 2].into();
        links.begin(&now.network, address).unwrap();
        links.complete(&now.network, address).unwrap();
        endpoint::save(&records.layout, &now).unwrap();
        records.release(&earlier).unwrap();
        assert_eq!(records.change(&earlier, |current| current.ports.clear()).unwrap(), None);
        assert_eq!(records.current(&now).unwrap(), Some(now.clone()));
        assert_eq!(links.list().unwrap().len(), 1);
        records.release(&now).unwrap();
        assert_eq!((records.current(&now).unwrap(), links.list().unwrap()), (None, Vec::new()));
    }

    /// Who has read an endpoint before another command changed it takes nothing back of that, and brings nothing back
    /// that is gone.
    #[test]
    fn changes_of_one_endpoint_add_up() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path().join("root"), directory.path().join("run"));
        let records = Records { layout };
        std::fs::create_dir_all(records.layout.subnet_file().parent().unwrap()).unwrap();
        let id: ContainerId = "a".repeat(64).parse().unwrap();
        let first = Endpoint {
            network: "front".parse().unwrap(),
            owner: Owner::Container { id, name: "web".to_owned(), processes: Vec::new() },
            position: 0,
            addresses: vec![super::super::InterfaceAddress {
                net: "10.0.0.2/24".parse().unwrap(),
                gateway: None,
            }],
            mac: crate::netlink::MacAddress::of([10, 0, 0, 2].into()),
            host_if: "aaaaa".parse().unwrap(),
            container_if: "eth0".parse().unwrap(),
            is_tied: false,
            ports: Vec::new(),
            aliases: Vec::new(),
            routes: Vec::new(),
        };
        endpoint::save(&records.layout, &first).unwrap();
        let renamed = records.change(&first, |current| *current = current.renamed("www")).unwrap().unwrap();
        assert_eq!(renamed.owner.name(), "www");
        // `first` is out of date by now.
        let device = |current: &mut Endpoint| current.host_if = "aaaaaa".parse().unwrap();
        let both = records.change(&first, device).unwrap().unwrap();
        assert_eq!((both.owner.name().as_str(), both.host_if.as_str()), ("www", "aaaaaa"));
        assert_eq!(records.current(&first).unwrap(), Some(both));
        endpoint::remove(&records.layout, &first.network, [10, 0, 0, 2].into()).unwrap();
        assert_eq!(records.change(&first, device).unwrap(), None);
        assert_eq!(records.current(&first).unwrap(), None);
    }
}
