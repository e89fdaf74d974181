//! How the bridge driver finds what is wrong with the devices of a network, and puts it right.

use super::bridge::BridgeDriver;
use super::driver::{DriverError, Fault, PortState};
use super::endpoint::Endpoint;
use super::listener::has_address;
use super::plan;
use super::record::{AddressBlock, Network};
use crate::netlink::Batch;
use crate::sysctl;

impl BridgeDriver {
    /// What is wrong with the bridge: a few look-ups, however many containers there are.
    pub(super) fn find_faults(&mut self, network: &Network) -> Result<Vec<Fault>, DriverError> {
        let bridge = || network.bridge.clone();
        let link = match self.find_bridge(&network.bridge) {
            Ok(Some(link)) => link,
            Ok(None) => return Ok(vec![Fault::Missing(bridge())]),
            Err(DriverError::NotABridge(name)) => return Ok(vec![Fault::NotABridge(name)]),
            Err(error) => return Err(error),
        };
        let mut faults = Vec::new();
        if !link.is_up {
            faults.push(Fault::Down(bridge()));
        }
        for address in network.blocks().map(AddressBlock::gateway_net) {
            // To bind a socket to it is one look-up; to list addresses costs as much as there are.
            if !has_address(address.addr()) {
                faults.push(Fault::NoAddress(bridge(), address));
            }
        }
        for (name, wanted) in plan::bridge_parameters(network) {
            // One that cannot be read cannot be set either: that is an error when it is to be set.
            if let Ok(Some(value)) = sysctl::read(&name)
                && value != wanted
            {
                faults.push(Fault::Parameter { name: sysctl_name(&name), value, wanted });
            }
        }
        Ok(faults)
    }

    pub(super) fn find_port_state(
        &mut self,
        network: &Network,
        endpoint: &Endpoint,
    ) -> Result<PortState, DriverError> {
        let bridge = self.find_bridge(&network.bridge)?.map(|link| link.index);
        Ok(match self.find(&endpoint.host_if)? {
            None => PortState::Missing,
            Some(link) if !link.is_up => PortState::Off,
            Some(link) if link.master.is_some() && link.master == bridge => PortState::Attached,
            Some(_) => PortState::Loose,
        })
    }

    /// Makes an existing device a port of the bridge and switches it on.
    pub(super) fn put_on_bridge(
        &mut self,
        network: &Network,
        endpoint: &Endpoint,
    ) -> Result<(), DriverError> {
        let bridge = self.find_bridge(&network.bridge)?;
        let bridge = bridge.ok_or_else(|| DriverError::Vanished(network.bridge.clone()))?;
        let mut batch = Batch::new();
        batch.attach(&endpoint.host_if, bridge.index);
        batch.set_hairpin(&endpoint.host_if);
        if network.apart {
            batch.set_apart(&endpoint.host_if);
        }
        match self.socket().run(&batch) {
            // Its container has ended meanwhile.
            Err(error) if error.is_already_gone() => Ok(()),
            Err(error) => Err(error.into()),
            Ok(()) => self.tie_addresses(network, endpoint, bridge.index),
        }
    }
}

/// A parameter's path below `/proc/sys` as `sysctl` takes it, which is with slashes where a device's name has dots.
fn sysctl_name(path: &str) -> String {
    if path.contains('.') { path.to_owned() } else { path.replace('/', ".") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_named_as_sysctl_takes_them() {
        assert_eq!(sysctl_name("net/ipv4/conf/br0/route_localnet"), "net.ipv4.conf.br0.route_localnet");
        assert_eq!(sysctl_name("net/ipv4/conf/br.0/route_localnet"), "net/ipv4/conf/br.0/route_localnet");
    }
}
