//! What is done inside the namespace of a container: addresses, routes, parameters of its interface.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use nix::errno::Errno;

use super::driver::DriverError;
use super::endpoint::Endpoint;
use super::plan;
use super::subnet::Family;
use crate::names::IfName;
use crate::needs;
use crate::netlink::{ADD_DEFAULT_ROUTE, Batch, Link, MacAddress, RouteSocket};
use crate::netns::NetNs;
use crate::sysctl;

/// The loopback device is the first of every namespace.
const LOOPBACK: u32 = 1;

/// Sets parameters; those of IPv6 in a kernel without it are an obstacle only where it is needed.
pub(super) fn set_parameters(
    view: &sysctl::View,
    parameters: Vec<plan::Parameter>,
    needs_ipv6: bool,
) -> Result<(), DriverError> {
    for (name, value) in parameters {
        match view.set(&name, value) {
            Err(error) if error.source.kind() == std::io::ErrorKind::NotFound && name.contains("/ipv6/") => {
                if needs_ipv6 {
                    return Err(DriverError::Unsupported { what: "an IPv6 network", feature: needs::IPV6 });
                }
            }
            other => drop(other?),
        }
    }
    Ok(())
}

/// Gives an interface everything that it has, and switches it on.
///
/// `gateway` is the Ethernet address of the gateways, where nothing that arrives may change it. Returns the families whose
/// default route leads through the interface.
pub(super) fn configure_container(
    endpoint: &Endpoint,
    index: u32,
    defaults: &[Family],
    gateway: Option<MacAddress>,
) -> Result<Vec<Family>, DriverError> {
    let view = sysctl::View::of_ones_own();
    set_parameters(&view, plan::interface_parameters(endpoint), endpoint.ipv6().is_some())?;
    if gateway.is_some() {
        set_parameters(&view, plan::no_redirects(endpoint), false)?;
    }
    let mut batch = Batch::new();
    batch.set_up(LOOPBACK);
    for address in &endpoint.addresses {
        batch.add_address(index, address.net);
    }
    batch.add_alternative_name(index, &format!("cif-{}", endpoint.host_if));
    batch.set_up(index);
    if let Some(mac) = gateway {
        for address in endpoint.addresses.iter().filter_map(|address| address.gateway) {
            batch.tie_neighbour(index, address, mac);
        }
    }
    for route in &endpoint.routes {
        // Who is not on the link may be on another one that the namespace has.
        let link = endpoint.elsewhere(route).is_none().then_some(index);
        batch.add_route(link, route.to, route.gateway, route.metric);
    }
    let mut socket = RouteSocket::open().map_err(DriverError::Socket)?;
    let mut made = Vec::new();
    // Last: when it is the first request that fails, all others were carried out. Each in a batch of its own: of two that
    // are refused, only the first is known.
    for (family, gateway) in defaults.iter().filter_map(|family| Some((*family, endpoint.gateway(*family)?)))
    {
        batch.add_default_route(index, gateway);
        match socket.run(&batch) {
            Ok(()) => made.push(family),
            // The namespace has one that is not ours: it stays.
            Err(error) if error.action == ADD_DEFAULT_ROUTE && error.errno() == Errno::EEXIST => {}
            Err(error) => return Err(error.into()),
        }
        batch = Batch::new();
    }
    socket.run(&batch)?;
    add_source_routes(&mut socket, endpoint, index, &made)?;
    Ok(made)
}

/// For the families that have their default route elsewhere. A kernel that cannot route by source address does
/// without: replies from such an address then leave by the default route.
fn add_source_routes(
    socket: &mut RouteSocket,
    endpoint: &Endpoint,
    index: u32,
    defaults: &[Family],
) -> Result<(), DriverError> {
    let mut batch = Batch::new();
    for address in endpoint.addresses.iter().filter(|address| !defaults.contains(&address.family())) {
        if let Some(gateway) = address.gateway {
            batch.add_source_routes(index, address.net, gateway);
        }
    }
    match socket.run(&batch) {
        Err(error) if !error.is_without_rules() => Err(error.into()),
        _ => Ok(()),
    }
}

/// Lets default routes that lead through one interface lead through another.
pub(super) fn redirect_routes(
    from: &Endpoint,
    to: &Endpoint,
    families: &[Family],
) -> Result<(), DriverError> {
    let mut socket = RouteSocket::open().map_err(DriverError::Socket)?;
    let mut links = Batch::new();
    links.get_link(&from.container_if);
    links.get_link(&to.container_if);
    let links = match socket.query(&links) {
        Ok(links) => links,
        // Then nothing leads there any more either.
        Err(error) if error.is_already_gone() => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let index = |endpoint: &Endpoint| {
        let found = links.iter().find(|link| link.name == endpoint.container_if.as_str());
        found.map(|link| link.index).ok_or_else(|| DriverError::Vanished(endpoint.container_if.clone()))
    };
    let (old, new) = (index(from)?, index(to)?);
    for family in families {
        let (Some(from), Some(to)) = (from.gateway(*family), to.gateway(*family)) else { continue };
        let mut batch = Batch::new();
        batch.delete_default_route(old, from);
        batch.add_default_route(new, to);
        match socket.run(&batch) {
            // It leads elsewhere, because a process in the namespace has changed it.
            Err(error) if error.is_already_gone() || error.errno() == Errno::EEXIST => {}
            other => other?,
        }
    }
    Ok(())
}

/// Deletes what does not go with the endpoint's interface: the rules that lead what is sent from its addresses there, and
/// routes that lead through others.
pub(super) fn delete_rules_and_routes(endpoint: &Endpoint) -> Result<(), DriverError> {
    let mut socket = RouteSocket::open().map_err(DriverError::Socket)?;
    let rules = endpoint.addresses.iter().map(|address| {
        let mut batch = Batch::new();
        batch.delete_source_rule(address.address());
        batch
    });
    let routes = endpoint.routes.iter().filter_map(|route| {
        let mut batch = Batch::new();
        batch.delete_route(route.to, endpoint.elsewhere(route)?, route.metric);
        Some(batch)
    });
    for batch in rules.chain(routes) {
        match socket.run(&batch) {
            Err(error) if !error.is_already_gone() && error.errno() != Errno::EOPNOTSUPP => {
                return Err(error.into());
            }
            _ => {}
        }
    }
    Ok(())
}

/// Tells the neighbours which Ethernet address the endpoint's addresses have.
pub(super) fn announce_addresses(endpoint: &Endpoint) -> Result<(), DriverError> {
    set_parameters(&sysctl::View::of_ones_own(), plan::announcing_parameters(endpoint), false)?;
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

/// Where to, and through whom, if that was said.
pub type ExpectedRoute = (IpNet, Option<IpAddr>);

/// A device that is expected.
#[derive(Debug, Clone)]
pub struct ExpectedDevice {
    /// Its name.
    pub name: IfName,
    /// Its Ethernet address.
    pub mac: Option<MacAddress>,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
    /// Whether it has to be switched on.
    pub is_up: bool,
}

impl ExpectedDevice {
    /// What differs in the device that was found; its addresses are not looked at.
    pub(super) fn faults(&self, found: Option<&Link>) -> Vec<String> {
        let name = &self.name;
        let Some(link) = found else { return vec![format!("the device {name} is missing")] };
        let mut faults = Vec::new();
        if self.is_up && !link.is_up {
            faults.push(format!("the device {name} is switched off"));
        }
        if let Some(mac) = self.mac.filter(|mac| link.mac != Some(*mac)) {
            faults.push(format!("the device {name} does not have the Ethernet address {mac}"));
        }
        faults
    }
}

/// Which of these devices and routes are not as they are expected: in words, each by itself.
///
/// # Errors
/// The namespace cannot be entered, or the kernel does not answer.
pub(super) fn faults(
    netns: &NetNs,
    devices: &[ExpectedDevice],
    routes: &BTreeSet<ExpectedRoute>,
) -> Result<Vec<String>, DriverError> {
    let open = || RouteSocket::open().map_err(DriverError::Socket);
    netns.run(|| {
        let mut faults = Vec::new();
        for device in devices {
            let mut batch = Batch::new();
            batch.get_link(&device.name);
            let links = match open()?.query(&batch) {
                Err(error) if !error.is_already_gone() => return Err(error.into()),
                links => links.unwrap_or_default(),
            };
            let link = links.first();
            faults.extend(device.faults(link));
            let Some(link) = link else { continue };
            let mut missing: BTreeSet<IpNet> = device.addresses.iter().copied().collect();
            open()?.each_address(link.index, |address| {
                missing.remove(&address);
            })?;
            let missing =
                missing.iter().map(|it| format!("the device {} does not have the address {it}", device.name));
            faults.extend(missing);
        }
        let mut missing = routes.clone();
        if !missing.is_empty() {
            open()?.each_route(|to, gateway| {
                missing.remove(&(to, gateway));
                missing.remove(&(to, None));
            })?;
        }
        faults.extend(missing.iter().map(|(to, gateway)| match gateway {
            Some(gateway) => format!("the route to {to} through {gateway} is missing"),
            None => format!("the route to {to} is missing"),
        }));
        Ok(faults)
    })?
}
