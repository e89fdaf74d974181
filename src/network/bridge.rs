//! The bridge driver: one Linux bridge for each network, one veth pair for each container.
//!
//! ```text
//! host  ── BRIDGE (gateway address, fixed MAC) ── 1a2b3 ═╪═ eth0 (cif-1a2b3), address, default route
//!                                              └─ 9f8e7 ═╪═ eth0
//! ```

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use ipnet::IpNet;
use nix::errno::Errno;

use super::driver::{DriverError, NetworkDriver};
use super::endpoint::Endpoint;
use super::plan;
use super::record::{AddressBlock, Network};
use crate::names::IfName;
use crate::netlink::{Batch, BridgeSpec, Link, MacAddress, RequestError, RouteSocket, VethSpec};
use crate::netns::NetNs;
use crate::sysctl;

/// The device group of the host's ends of the pairs: `ip link show group 28004`.
const DEVICE_GROUP: u32 = 28004;
/// The loopback device is the first of every namespace.
const LOOPBACK: u32 = 1;
/// How often a new port is looked at until the bridge passes its frames on. That takes a few milliseconds.
const PORT_TRIES: u32 = 200;
const PORT_PAUSE: Duration = Duration::from_millis(1);
/// The link-local address of every bridge with IPv6: the same for ever, whatever becomes of it.
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const LINK_LOCAL_PREFIX: u8 = 64;

/// Makes bridges and veth pairs in the namespace that it was opened in.
#[derive(Debug)]
pub struct BridgeDriver {
    socket: RouteSocket,
}

impl BridgeDriver {
    /// Opens the driver in the calling thread's namespace.
    ///
    /// # Errors
    /// [`DriverError::Socket`].
    pub fn open() -> Result<Self, DriverError> {
        Ok(Self { socket: RouteSocket::open().map_err(DriverError::Socket)? })
    }

    /// The socket, for questions about the host.
    pub fn socket(&mut self) -> &mut RouteSocket {
        &mut self.socket
    }

    fn find(&mut self, name: &IfName) -> Result<Option<Link>, RequestError> {
        let mut batch = Batch::new();
        batch.get_link(name);
        match self.socket.query(&batch) {
            Ok(links) => Ok(links.into_iter().next()),
            Err(error) if error.is_already_gone() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn find_bridge(&mut self, name: &IfName) -> Result<Option<Link>, DriverError> {
        match self.find(name)? {
            Some(link) if !link.is_bridge => Err(DriverError::NotABridge(name.clone())),
            found => Ok(found),
        }
    }

    /// Makes the bridge if need be and returns its number.
    fn make_bridge(&mut self, network: &Network) -> Result<u32, DriverError> {
        if let Some(link) = self.find_bridge(&network.bridge)? {
            return Ok(link.index);
        }
        let mut batch = Batch::new();
        // A record without an address is not written.
        let gateway = network.blocks().next().map_or(IpAddr::V6(LINK_LOCAL), |block| block.gateway);
        batch.create_bridge(BridgeSpec {
            name: &network.bridge,
            mac: MacAddress::of(gateway),
            mtu: network.mtu,
        });
        batch.get_link(&network.bridge);
        let made = self.socket.query(&batch).map_err(|error| match error.errno() {
            Errno::EOPNOTSUPP => DriverError::Unsupported { what: "a bridge", option: "CONFIG_BRIDGE" },
            _ => error.into(),
        })?;
        made.first().map(|link| link.index).ok_or_else(|| DriverError::Vanished(network.bridge.clone()))
    }

    fn configure_bridge(&mut self, network: &Network, index: u32) -> Result<(), DriverError> {
        set_parameters(plan::bridge_parameters(network), network.ipv6.is_some())?;
        let mut autoconf = Batch::new();
        autoconf.disable_ipv6_autoconf(index);
        self.socket.run(&autoconf)?;
        let link_local = network.ipv6.and_then(|_| IpNet::new(LINK_LOCAL.into(), LINK_LOCAL_PREFIX).ok());
        for address in network.blocks().map(AddressBlock::gateway_net).chain(link_local) {
            // It may be there from before; then only this request fails.
            let mut batch = Batch::new();
            batch.add_address(index, address);
            match self.socket.run(&batch) {
                Err(error) if error.errno() != Errno::EEXIST => return Err(error.into()),
                _ => {}
            }
        }
        let mut up = Batch::new();
        up.set_up(index);
        Ok(self.socket.run(&up)?)
    }

    /// Makes the pair and returns the number of the container's end in the container's namespace.
    fn make_pair(
        &mut self,
        network: &Network,
        endpoint: &Endpoint,
        netns: &NetNs,
    ) -> Result<u32, DriverError> {
        use std::os::fd::AsFd as _;
        let bridge = self.find_bridge(&network.bridge)?;
        let bridge = bridge.ok_or_else(|| DriverError::Vanished(network.bridge.clone()))?;
        let mut batch = Batch::new();
        batch.create_veth(VethSpec {
            host: &endpoint.host_if,
            bridge: bridge.index,
            netns: netns.as_fd(),
            container: &endpoint.container_if,
            mac: endpoint.mac,
            mtu: network.mtu,
            group: DEVICE_GROUP,
        });
        batch.set_hairpin(&endpoint.host_if);
        batch.get_link(&endpoint.host_if);
        let links = self.socket.query(&batch).map_err(|error| match error.errno() {
            Errno::EEXIST => DriverError::DeviceExists(endpoint.host_if.clone()),
            Errno::EXFULL => DriverError::BridgeFull(network.bridge.clone()),
            Errno::EOPNOTSUPP => DriverError::Unsupported { what: "a veth pair", option: "CONFIG_VETH" },
            _ => error.into(),
        })?;
        let peer = links.first().and_then(|link| link.peer);
        peer.ok_or_else(|| DriverError::Vanished(endpoint.host_if.clone()))
    }
}

/// Sets parameters; those of IPv6 in a kernel without it are an obstacle only where it is needed.
fn set_parameters(parameters: Vec<plan::Parameter>, needs_ipv6: bool) -> Result<(), DriverError> {
    for (name, value) in parameters {
        match sysctl::set(&name, value) {
            Err(error) if error.source.kind() == std::io::ErrorKind::NotFound && name.contains("/ipv6/") => {
                if needs_ipv6 {
                    return Err(DriverError::Unsupported { what: "an IPv6 network", option: "CONFIG_IPV6" });
                }
            }
            other => drop(other?),
        }
    }
    Ok(())
}

/// Runs inside the container's namespace.
fn configure_container(endpoint: &Endpoint, index: u32) -> Result<(), DriverError> {
    set_parameters(plan::interface_parameters(endpoint), endpoint.ipv6().is_some())?;
    let mut batch = Batch::new();
    batch.set_up(LOOPBACK);
    for address in &endpoint.addresses {
        batch.add_address(index, address.net);
    }
    batch.add_alternative_name(index, &format!("cif-{}", endpoint.host_if));
    batch.set_up(index);
    for gateway in endpoint.addresses.iter().filter_map(|address| address.gateway) {
        batch.add_default_route(index, gateway);
    }
    let mut socket = RouteSocket::open().map_err(DriverError::Socket)?;
    Ok(socket.run(&batch)?)
}

/// Runs inside the container's namespace.
fn announce_addresses(endpoint: &Endpoint) -> Result<(), DriverError> {
    set_parameters(plan::announcing_parameters(endpoint), false)?;
    let mut socket = RouteSocket::open().map_err(DriverError::Socket)?;
    let mut batch = Batch::new();
    batch.get_link(&endpoint.container_if);
    for link in socket.query(&batch)? {
        let mut batch = Batch::new();
        batch.set_mac(link.index, endpoint.mac);
        socket.run(&batch)?;
    }
    Ok(())
}

/// Switches the loopback device of a namespace on.
pub(super) fn loopback_up(netns: &NetNs) -> Result<(), DriverError> {
    netns.run(|| {
        let mut batch = Batch::new();
        batch.set_up(LOOPBACK);
        let mut socket = RouteSocket::open().map_err(DriverError::Socket)?;
        Ok(socket.run(&batch)?)
    })?
}

impl NetworkDriver for BridgeDriver {
    fn name(&self) -> &'static str {
        "bridge"
    }

    fn create(&mut self, network: &Network) -> Result<(), DriverError> {
        let existed = self.find_bridge(&network.bridge)?.is_some();
        let index = self.make_bridge(network)?;
        self.configure_bridge(network, index).inspect_err(|_| {
            // The first error is the one to report; a bridge that was there before stays.
            if !existed {
                self.delete(network).ok();
            }
        })
    }

    fn delete(&mut self, network: &Network) -> Result<(), DriverError> {
        let mut batch = Batch::new();
        batch.delete_link(&network.bridge);
        match self.socket.run(&batch) {
            Err(error) if !error.is_already_gone() => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn exists(&mut self, network: &Network) -> Result<bool, DriverError> {
        Ok(self.find_bridge(&network.bridge)?.is_some())
    }

    fn connect(&mut self, network: &Network, endpoint: &Endpoint, netns: &NetNs) -> Result<(), DriverError> {
        let index = self.make_pair(network, endpoint, netns)?;
        // Both ends are still without carrier: nothing was sent yet.
        set_parameters(vec![plan::no_ipv6(endpoint.host_if.as_str())], false)?;
        netns.run(|| configure_container(endpoint, index))?
    }

    fn announce(&mut self, endpoint: &Endpoint, netns: &NetNs) -> Result<(), DriverError> {
        // What is sent while the bridge does not yet pass frames of a new port on is lost.
        for _ in 0..PORT_TRIES {
            if self.find(&endpoint.host_if)?.is_none_or(|port| port.is_forwarding) {
                break;
            }
            std::thread::sleep(PORT_PAUSE);
        }
        netns.run(|| announce_addresses(endpoint))?
    }

    fn disconnect(&mut self, endpoint: &Endpoint) -> Result<(), DriverError> {
        let mut batch = Batch::new();
        batch.detach(&endpoint.host_if);
        match self.socket.run(&batch) {
            Err(error) if !error.is_already_gone() => Err(error.into()),
            _ => Ok(()),
        }
    }
}
