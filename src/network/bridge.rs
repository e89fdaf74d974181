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

use super::driver::{DriverError, Fault, NetworkDriver, PortState};
use super::endpoint::Endpoint;
use super::inside::{
    announce_addresses, configure_container, delete_rules_and_routes, redirect_routes, set_parameters,
};
use super::plan;
use super::record::{AddressBlock, Network};
use super::subnet::Family;
use crate::names::IfName;
use crate::needs;
use crate::netlink::{Batch, BridgeSpec, Link, MacAddress, RequestError, RouteSocket, VethSpec};
use crate::netns::NetNs;
use crate::sysctl;

/// The device group of the host's ends of the pairs: `ip link show group 28004`.
const DEVICE_GROUP: u32 = 28004;
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

    pub(super) fn find(&mut self, name: &IfName) -> Result<Option<Link>, RequestError> {
        let mut batch = Batch::new();
        batch.get_link(name);
        match self.socket.query(&batch) {
            Ok(links) => Ok(links.into_iter().next()),
            Err(error) if error.is_already_gone() => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn find_bridge(&mut self, name: &IfName) -> Result<Option<Link>, DriverError> {
        match self.find(name)? {
            Some(link) if !link.is_bridge => Err(DriverError::NotABridge(name.clone())),
            found => Ok(found),
        }
    }

    /// Makes a bridge and a pair and removes them again, to see whether this kernel can. Not in the host's namespace.
    pub(super) fn try_out(&mut self) -> Result<(), DriverError> {
        use std::os::fd::AsFd as _;
        let unsupported = |what, feature| {
            move |error: RequestError| match error.errno() {
                Errno::EOPNOTSUPP => DriverError::Unsupported { what, feature },
                _ => error.into(),
            }
        };
        let own = NetNs::open("/proc/thread-self/ns/net".as_ref())?;
        let name = |text: &str| {
            text.parse::<IfName>().map_err(|_| DriverError::Socket(std::io::ErrorKind::Other.into()))
        };
        let (bridge, host, container) = (name("try-bridge")?, name("try-host")?, name("try-container")?);
        let mac = MacAddress::of(IpAddr::V6(LINK_LOCAL));
        let mut batch = Batch::new();
        batch.create_bridge(BridgeSpec { name: &bridge, mac, mtu: 1500 });
        batch.get_link(&bridge);
        let links = self.socket.query(&batch).map_err(unsupported("a bridge", needs::BRIDGE))?;
        let index = links.first().map_or(0, |link| link.index);
        let mut batch = Batch::new();
        batch.create_veth(VethSpec {
            host: &host,
            bridge: index,
            netns: own.as_fd(),
            container: &container,
            mac,
            mtu: 1500,
            group: DEVICE_GROUP,
        });
        self.socket.run(&batch).map_err(unsupported("a veth pair", needs::VETH))
    }

    /// The host's ends of containers' pairs. Costs as much as there are devices.
    pub(super) fn container_ports(&mut self) -> Result<Vec<IfName>, DriverError> {
        let links = self.socket.links()?.into_iter().filter(|link| link.group == DEVICE_GROUP);
        // A name that the kernel gives out is one.
        Ok(links.filter_map(|link| link.name.parse().ok()).collect())
    }

    /// Deletes a device; one that is gone already is no error.
    pub(super) fn delete_device(&mut self, name: &IfName) -> Result<(), DriverError> {
        let mut batch = Batch::new();
        batch.delete_link(name);
        match self.socket.run(&batch) {
            Err(error) if !error.is_already_gone() => Err(error.into()),
            _ => Ok(()),
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
            Errno::EOPNOTSUPP => DriverError::Unsupported { what: "a bridge", feature: needs::BRIDGE },
            _ => error.into(),
        })?;
        made.first().map(|link| link.index).ok_or_else(|| DriverError::Vanished(network.bridge.clone()))
    }

    fn configure_bridge(&mut self, network: &Network, index: u32) -> Result<(), DriverError> {
        set_parameters(&sysctl::View::host(), plan::bridge_parameters(network), network.ipv6.is_some())?;
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

    /// In a network that checks sources: ties the endpoint's addresses to its port, so that no neighbour takes what is
    /// sent to them, whatever it says by ARP, by neighbour discovery or by the senders of its frames.
    pub(super) fn tie_addresses(
        &mut self,
        network: &Network,
        endpoint: &Endpoint,
        bridge: u32,
    ) -> Result<(), DriverError> {
        let Some(port) = self.find(&endpoint.host_if)?.filter(|_| network.check_source) else {
            return Ok(());
        };
        let mut batch = Batch::new();
        batch.stop_learning(&endpoint.host_if);
        batch.tie_to_port(port.index, endpoint.mac);
        for address in &endpoint.addresses {
            batch.tie_neighbour(bridge, address.address(), endpoint.mac);
        }
        Ok(self.socket.run(&batch)?)
    }

    /// Takes the entries of the endpoint's addresses away. One that stays, because the port has gone with its
    /// container, says what is true of the address's next holder too, unless that one has an Ethernet address of its
    /// own: then it is replaced.
    fn untie_addresses(&mut self, endpoint: &Endpoint) -> Result<(), RequestError> {
        let Some(bridge) = self.find(&endpoint.host_if)?.and_then(|port| port.master) else { return Ok(()) };
        for address in &endpoint.addresses {
            let mut batch = Batch::new();
            batch.untie_neighbour(bridge, address.address());
            match self.socket.run(&batch) {
                Err(error) if !error.is_already_gone() => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes the pair and returns the number of the container's end in the container's namespace.
    fn make_pair(
        &mut self,
        network: &Network,
        endpoint: &Endpoint,
        netns: &NetNs,
        bridge: &Link,
    ) -> Result<u32, DriverError> {
        use std::os::fd::AsFd as _;
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
        if network.apart {
            batch.set_apart(&endpoint.host_if);
        }
        batch.get_link(&endpoint.host_if);
        let links = match self.socket.query(&batch) {
            Ok(links) => links,
            Err(error) => {
                return Err(match error.errno() {
                    // The kernel does not say which end's name is taken.
                    Errno::EEXIST if self.find(&endpoint.host_if)?.is_some() => {
                        DriverError::DeviceExists(endpoint.host_if.clone())
                    }
                    Errno::EEXIST => DriverError::InterfaceExists(endpoint.container_if.clone()),
                    Errno::EXFULL => DriverError::BridgeFull(network.bridge.clone()),
                    Errno::EOPNOTSUPP => {
                        DriverError::Unsupported { what: "a veth pair", feature: needs::VETH }
                    }
                    _ => error.into(),
                });
            }
        };
        let peer = links.first().and_then(|link| link.peer);
        peer.ok_or_else(|| DriverError::Vanished(endpoint.host_if.clone()))
    }
}

impl NetworkDriver for BridgeDriver {
    fn make(&mut self, network: &Network) -> Result<(), DriverError> {
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
        self.delete_device(&network.bridge)
    }

    fn exists(&mut self, network: &Network) -> Result<bool, DriverError> {
        Ok(self.find_bridge(&network.bridge)?.is_some())
    }

    fn faults(&mut self, network: &Network) -> Result<Vec<Fault>, DriverError> {
        self.find_faults(network)
    }

    fn port_state(&mut self, network: &Network, endpoint: &Endpoint) -> Result<PortState, DriverError> {
        self.find_port_state(network, endpoint)
    }

    fn reattach(&mut self, network: &Network, endpoint: &Endpoint) -> Result<(), DriverError> {
        self.put_on_bridge(network, endpoint)
    }

    fn attach(
        &mut self,
        network: &Network,
        endpoint: &Endpoint,
        netns: &NetNs,
        defaults: &[Family],
    ) -> Result<Vec<Family>, DriverError> {
        let bridge = self.find_bridge(&network.bridge)?;
        let bridge = bridge.ok_or_else(|| DriverError::Vanished(network.bridge.clone()))?;
        let index = self.make_pair(network, endpoint, netns, &bridge)?;
        self.tie_addresses(network, endpoint, bridge.index)?;
        // Both ends are still without carrier: nothing was sent yet.
        set_parameters(&sysctl::View::host(), vec![plan::no_ipv6(endpoint.host_if.as_str())], false)?;
        let gateway = bridge.mac.filter(|_| network.check_source);
        netns.run(|| configure_container(endpoint, index, defaults, gateway))?
    }

    fn redirect(
        &mut self,
        from: &Endpoint,
        to: &Endpoint,
        netns: &NetNs,
        families: &[Family],
    ) -> Result<(), DriverError> {
        netns.run(|| redirect_routes(from, to, families))?
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

    fn detach(&mut self, endpoint: &Endpoint) -> Result<(), DriverError> {
        if endpoint.is_tied {
            self.untie_addresses(endpoint)?;
        }
        let mut batch = Batch::new();
        batch.detach(&endpoint.host_if);
        match self.socket.run(&batch) {
            Err(error) if !error.is_already_gone() => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn delete_interface(&mut self, endpoint: &Endpoint, netns: &NetNs) -> Result<(), DriverError> {
        if endpoint.is_tied {
            self.untie_addresses(endpoint)?;
        }
        let deleted = netns
            .run(|| delete_rules_and_routes(endpoint))
            .map_err(DriverError::from)
            .and_then(|deleted| deleted);
        if let Err(error) = deleted {
            // They lead nowhere without the interface.
            tracing::debug!(%error, device = %endpoint.container_if, "cannot delete the rules of an interface");
        }
        Ok(RouteSocket::open().map_err(DriverError::Socket)?.delete_behind(&endpoint.host_if)?)
    }
}
