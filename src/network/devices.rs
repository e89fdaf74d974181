//! The devices of networks, by the driver of each.

use std::collections::BTreeSet;

use super::bridge::BridgeDriver;
use super::driver::{DriverError, NetworkDriver};
use super::endpoint::Endpoint;
use super::error::NetworkError;
use super::host::Occupied;
use super::record::{DriverKind, Network};
use super::records::Records;
use crate::names::IfName;
use crate::netlink::{Link, MacAddress, RouteSocket};
use crate::netns::NetNs;

/// The drivers, opened when they are first needed.
#[derive(Debug, Default)]
pub(super) struct Devices {
    bridge: Option<BridgeDriver>,
}

impl Devices {
    fn bridge(&mut self) -> Result<&mut BridgeDriver, NetworkError> {
        let driver = match self.bridge.take() {
            Some(driver) => driver,
            None => BridgeDriver::open()
                .map_err(|source| NetworkError::Driver { action: "use networks".to_owned(), source })?,
        };
        Ok(self.bridge.insert(driver))
    }

    fn driver(&mut self, kind: DriverKind) -> Result<&mut dyn NetworkDriver, NetworkError> {
        match kind {
            DriverKind::Bridge => Ok(self.bridge()?),
        }
    }

    /// Has a driver do something; `action` is what is tried by it.
    pub(super) fn call<T>(
        &mut self,
        kind: DriverKind,
        action: impl FnOnce() -> String,
        call: impl FnOnce(&mut dyn NetworkDriver) -> Result<T, DriverError>,
    ) -> Result<T, NetworkError> {
        call(self.driver(kind)?).map_err(|source| NetworkError::Driver { action: action(), source })
    }

    /// Has the driver of an endpoint's network do something, which may have been removed since.
    pub(super) fn call_of(
        &mut self,
        endpoint: &Endpoint,
        call: impl FnOnce(&mut dyn NetworkDriver) -> Result<(), DriverError>,
    ) -> Result<(), NetworkError> {
        let action = || format!("disconnect {} from network {}", endpoint.owner, endpoint.network);
        self.call(DriverKind::Bridge, action, call)
    }

    /// The Ethernet addresses of two devices of the host.
    pub(super) fn macs(&mut self, devices: [&IfName; 2]) -> Result<[Option<MacAddress>; 2], NetworkError> {
        let mut macs = [None; 2];
        for (device, mac) in devices.into_iter().zip(&mut macs) {
            *mac = self.find(device)?.and_then(|link| link.mac);
        }
        Ok(macs)
    }

    /// The host's device of this name.
    pub(super) fn find(&mut self, device: &IfName) -> Result<Option<Link>, NetworkError> {
        self.bridge()?.find(device).map_err(|source| NetworkError::Driver {
            action: format!("look at the device {device}"),
            source: source.into(),
        })
    }

    /// What the host and these networks use, for a network that is to be created.
    pub(super) fn occupied(&mut self, name: &str, networks: &[Network]) -> Result<Occupied, NetworkError> {
        Occupied::find(networks, self.bridge()?.socket()).map_err(|source| NetworkError::Driver {
            action: format!("create network {name}"),
            source: source.into(),
        })
    }

    /// Whether the host has a device of the network's name.
    pub(super) fn is_device_taken(&mut self, network: &Network) -> Result<bool, NetworkError> {
        let action = || format!("create network {}", network.name);
        self.call(network.driver, action, |driver| match driver.exists(network) {
            Err(DriverError::NotABridge(_)) => Ok(true),
            other => other,
        })
    }

    /// The host's ends of containers' pairs that no record knows: their namespaces were leaked.
    pub(super) fn abandoned(&mut self, records: &Records) -> Result<Vec<IfName>, NetworkError> {
        // The devices first: a record is written before the device is made.
        let ports = self.bridge()?.container_ports().map_err(|source| NetworkError::Driver {
            action: "list the devices of containers".to_owned(),
            source,
        })?;
        let known: BTreeSet<IfName> = records.all_endpoints()?.into_iter().map(|it| it.host_if).collect();
        Ok(ports.into_iter().filter(|port| !known.contains(port)).collect())
    }

    /// Deletes a device that belongs to nobody.
    pub(super) fn delete_abandoned(&mut self, device: &IfName) -> Result<(), NetworkError> {
        let error =
            |source| NetworkError::Driver { action: format!("delete the abandoned device {device}"), source };
        let socket = RouteSocket::open().map_err(DriverError::Socket).map_err(error)?;
        socket.delete_behind(device).map_err(|source| error(source.into()))
    }

    /// Switches `lo` on in a namespace that is connected to no network.
    pub(super) fn switch_loopback_on(netns: &NetNs) -> Result<(), NetworkError> {
        super::inside::loopback_up(netns).map_err(|source| NetworkError::Driver {
            action: "switch the container's loopback device on".to_owned(),
            source,
        })
    }
}
