//! `/etc/hosts`, `hostname` and `resolv.conf` of containers.

use std::net::IpAddr;

use super::connection::NetworkMode;
use super::containers::Record;
use super::{EngineError, resolver};
use crate::container::run::environment;
use crate::container::tree::files::{self, Files, Surroundings};
use crate::network::{Endpoint, Family, InterfaceAddress, Networks};
use crate::store::Layout;

/// Where the files of a container lie that are mounted in it: those about the network are its owner's.
pub(super) fn of(layout: &Layout, record: &Record) -> Result<Files, EngineError> {
    let mut owner = record.id.clone();
    let mut mode = record.network.mode.clone();
    while let NetworkMode::Container(next) = mode {
        mode = Record::load(layout, &next)?.network.mode;
        owner = next;
    }
    Ok(Files::new(layout, &record.id, &owner))
}

/// Writes `/etc/hosts`, `hostname` and `resolv.conf` of a container that is about to run its command.
pub(super) fn write(
    layout: &Layout,
    networks: &Networks,
    record: &Record,
    endpoints: &[Endpoint],
) -> Result<(), EngineError> {
    let surroundings = match &record.network.mode {
        NetworkMode::Host => Surroundings::Host,
        mode if !resolver::has_one(mode) => Surroundings::Nowhere,
        _ => Surroundings::Networks {
            addresses: endpoints
                .iter()
                .flat_map(|endpoint| &endpoint.addresses)
                .map(InterfaceAddress::address)
                .collect(),
            gateway: {
                let forwards = |endpoint: &&Endpoint| {
                    Family::ALL.into_iter().any(|family| endpoint.gateway(family).is_some())
                };
                let first = endpoints.iter().find(forwards).or(endpoints.first());
                first.and_then(|endpoint| host_seen_from(networks, endpoint))
            },
        },
    };
    let settings = &record.config.settings;
    let hostname = hostname(record);
    let (files, domainname) = (of(layout, record)?, settings.domainname.as_ref());
    Ok(files::write(&files, &hostname, domainname, &settings.resolution, &surroundings)?)
}

/// The host's address in a network: its gateway's, even where no route leads through it.
fn host_seen_from(networks: &Networks, endpoint: &Endpoint) -> Option<IpAddr> {
    let routed = [Family::V4, Family::V6].into_iter().find_map(|family| endpoint.gateway(family));
    routed.or_else(|| {
        let network = networks.get(endpoint.network.as_str()).ok()?;
        network.blocks().next().map(|block| block.gateway)
    })
}

/// The host name that a container has or is to have.
pub(super) fn hostname(record: &Record) -> String {
    if record.config.settings.security.namespaces.uts.is_host() {
        nix::unistd::gethostname().map_or(String::new(), |name| name.to_string_lossy().into_owned())
    } else {
        environment::hostname(&record.config, &record.id).to_owned()
    }
}
