//! What another engine expects of what it has attached is compared with the record, and both with what is there.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::attachment::AttachmentKey;
use super::attachments::{Attachments, not_connected};
use super::driver::PortState;
use super::endpoint::Endpoint;
use super::error::NetworkError;
use super::foreign;
use super::inside::{self, ExpectedDevice, ExpectedRoute};
use super::publisher::Publisher;
use crate::netns::NetNs;

/// What is expected.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    /// Where the container's namespace is.
    pub netns: PathBuf,
    /// Devices of the host.
    pub on_host: Vec<ExpectedDevice>,
    /// Devices of the namespace.
    pub inside: Vec<ExpectedDevice>,
    /// Routes of the namespace.
    pub routes: Vec<ExpectedRoute>,
}

impl Expected {
    /// The same, with what the record says of the endpoint. Whoever comes later may have given the interface another
    /// Ethernet address, which is in the result then.
    fn with(mut self, endpoint: &Endpoint) -> Self {
        let (name, mac) = (&endpoint.container_if, Some(endpoint.mac));
        let at = self.inside.iter().position(|device| device.name == *name).unwrap_or_else(|| {
            let own = ExpectedDevice { name: name.clone(), mac: None, addresses: Vec::new(), is_up: true };
            self.inside.push(own);
            self.inside.len() - 1
        });
        let own = &mut self.inside[at];
        own.is_up = true;
        own.mac = own.mac.or(mac);
        own.addresses.extend(endpoint.addresses.iter().map(|address| address.net));
        self.routes.extend(endpoint.routes.iter().map(|route| (route.to, route.gateway)));
        self
    }
}

impl Attachments<'_> {
    /// What is wrong with what is attached by these names: no line where all is as the record and the engine say.
    ///
    /// # Errors
    /// [`NetworkError::NotAttached`], [`NetworkError::Namespace`], or the kernel or the file system refuses to answer.
    pub fn faults(&mut self, key: &AttachmentKey, expected: Expected) -> Result<Vec<String>, NetworkError> {
        let endpoint = self.find(key)?.ok_or_else(|| not_connected(key))?;
        let not_found = || NetworkError::NotFound(endpoint.network.to_string());
        let network = self.0.records.load(&endpoint.network)?.ok_or_else(not_found)?.network;
        let mut faults = Vec::new();
        if !self.0.is_intact(&network)? {
            let text = format!("network {} is not as it should be: see mydocker network check", network.name);
            faults.push(text);
        }
        let action = || format!("check {}", endpoint.owner);
        let state =
            self.0.devices.call(network.driver, action, |driver| driver.port_state(&network, &endpoint))?;
        if state != PortState::Attached {
            faults
                .push(format!("the device {} is no port of the bridge {}", endpoint.host_if, network.bridge));
        }
        let elements = Publisher::from(&endpoint).elements()?.len();
        if self.0.ports().elements_there(&endpoint)?.len() != elements {
            faults.push("a published port is missing in the table inet mydocker".to_owned());
        }
        for device in &expected.on_host {
            faults.extend(device.faults(self.0.devices.find(&device.name)?.as_ref()));
        }
        match opened(&endpoint, &expected)? {
            Ok(netns) => {
                let Expected { inside, routes, .. } = expected.with(&endpoint);
                let routes: BTreeSet<ExpectedRoute> = routes.into_iter().collect();
                let found = inside::faults(&netns, &inside, &routes);
                faults.extend(found.map_err(|source| NetworkError::Driver { action: action(), source })?);
            }
            Err(fault) => faults.push(fault),
        }
        Ok(faults)
    }
}

/// The container's namespace, if that is the one which was attached.
fn opened(endpoint: &Endpoint, expected: &Expected) -> Result<Result<NetNs, String>, NetworkError> {
    let (netns, found) = foreign::open(&expected.netns)?;
    let attached = endpoint.owner.foreign_namespace();
    if attached.is_some_and(|attached| attached.is_same_as(&found)) {
        return Ok(Ok(netns));
    }
    let path = expected.netns.display();
    Ok(Err(format!("{path} is another namespace than the one that was attached")))
}
