//! A container's namespace gets the interface of one more network.

use super::EngineError;
use super::connection::Membership;
use super::containers::Record;
use crate::names::NetworkName;
use crate::netns::NetNs;
use crate::network::{ConnectRequest, Endpoint, Networks, Owner};
use crate::process::Process;

/// Gives a namespace the interface of one more network.
pub(super) fn join(
    networks: &mut Networks,
    record: &Record,
    Membership { network, wanted }: &Membership,
    owners: &[Process],
    others: &[Endpoint],
    netns: &NetNs,
) -> Result<Endpoint, EngineError> {
    if *network == NetworkName::of_default() {
        networks.default_network()?;
    }
    let (id, name, processes) = (record.id.clone(), record.name.to_string(), owners.to_vec());
    let owner = Owner::Container { id, name, processes };
    let request = ConnectRequest { network, owner: &owner, others, wanted };
    Ok(networks.connect(&request, netns)?)
}
