//! The connection-tracking entries of containers.

use std::collections::HashMap;
use std::net::IpAddr;

use super::error::NetworkError;
use super::record::Network;
use super::records::Records;
use crate::names::{ContainerId, NetworkName};
use crate::netlink::{Flow, FlowEvent, FlowSocket};

/// Who has an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowOwner {
    /// The container.
    pub container: ContainerId,
    /// Its name.
    pub name: String,
    /// The network that the address is of.
    pub network: NetworkName,
}

/// An entry of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerFlow {
    /// The container: where two of them talk, the one that is answering.
    pub owner: FlowOwner,
    /// The entry.
    pub flow: Flow,
}

impl Records {
    /// The entries of containers, or of one of them, in the order of the containers' names.
    ///
    /// # Errors
    /// The records cannot be read, or the kernel refuses to list its entries.
    pub(super) fn flows(&self, only: Option<&ContainerId>) -> Result<Vec<ContainerFlow>, NetworkError> {
        let listed = FlowSocket::open().and_then(|mut socket| socket.list()).map_err(tracking)?;
        let owners = self.owners()?;
        let mut flows: Vec<ContainerFlow> =
            listed.into_iter().filter_map(|flow| owned(flow, &owners, only)).collect();
        flows.sort_by(|a, b| {
            let key = |flow: &ContainerFlow| (flow.owner.name.clone(), flow.flow.original.protocol);
            key(a).cmp(&key(b)).then_with(|| order(&a.flow).cmp(&order(&b.flow)))
        });
        Ok(flows)
    }

    /// Hands out the changes to entries of containers, or of one of them, until `each` returns false. `begin` is
    /// called once nothing is missed any more.
    ///
    /// # Errors
    /// As for [`flows`](Self::flows).
    pub(super) fn follow_flows(
        &self,
        only: Option<&ContainerId>,
        begin: impl FnOnce() -> Result<(), NetworkError>,
        mut each: impl FnMut(FlowEvent, ContainerFlow) -> bool,
    ) -> Result<(), NetworkError> {
        let mut socket = FlowSocket::watch().map_err(tracking)?;
        begin()?;
        let mut networks = self.networks().map_err(NetworkError::from)?;
        let mut owners = self.owners()?;
        let mut failed = None;
        let followed = socket.follow(|event, flow| {
            // The entries of a container outlive it for a moment: who had an address is not forgotten, but
            // replaced by who has it now.
            if event == FlowEvent::New && is_of_networks(&flow, &networks) {
                match (self.networks().map_err(NetworkError::from), self.owners()) {
                    (Ok(known), Ok(more)) => {
                        networks = known;
                        owners.extend(more);
                    }
                    (Err(error), _) | (_, Err(error)) => {
                        failed = Some(error);
                        return false;
                    }
                }
            }
            owned(flow, &owners, only).is_none_or(|flow| each(event, flow))
        });
        failed.map_or_else(|| followed.map_err(tracking), Err)
    }

    fn owners(&self) -> Result<HashMap<IpAddr, FlowOwner>, NetworkError> {
        let mut owners = HashMap::new();
        for network in self.networks()? {
            for endpoint in self.living(&network.name)? {
                for address in &endpoint.addresses {
                    let owner = FlowOwner {
                        container: endpoint.owner.id().clone(),
                        name: endpoint.owner.name(),
                        network: network.name.clone(),
                    };
                    owners.insert(address.address(), owner);
                }
            }
        }
        Ok(owners)
    }
}

fn tracking(source: std::io::Error) -> NetworkError {
    NetworkError::Io { action: "list the connection-tracking entries".to_owned(), source }
}

/// The addresses that can be a container's, that of the one that answers first: published ports lead there.
fn addresses(flow: &Flow) -> [IpAddr; 3] {
    [flow.reply.source, flow.original.destination, flow.original.source]
}

fn is_of_networks(flow: &Flow, networks: &[Network]) -> bool {
    let mut blocks = networks.iter().flat_map(Network::blocks);
    blocks.any(|block| addresses(flow).into_iter().any(|address| block.subnet.contains(address)))
}

/// The flow with the container that it is of; `None` where it is of none, or not of the one that is wanted.
fn owned(
    flow: Flow,
    owners: &HashMap<IpAddr, FlowOwner>,
    only: Option<&ContainerId>,
) -> Option<ContainerFlow> {
    let mut found = addresses(&flow).into_iter().filter_map(|address| owners.get(&address));
    let owner = found.find(|owner| only.is_none_or(|only| owner.container == *only))?;
    Some(ContainerFlow { owner: owner.clone(), flow })
}

fn order(flow: &Flow) -> (IpAddr, u16, IpAddr, u16) {
    let original = flow.original;
    (original.source, original.source_port, original.destination, original.destination_port)
}
