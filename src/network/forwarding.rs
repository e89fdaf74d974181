//! Forwarding of the host: switched on for the containers, without making the host a router for others, and
//! switched off again when mydocker was the one to switch it on.
//!
//! Which of the two is written down in `RUN_ROOT/network/forwarding` before anything is changed. While it says that
//! mydocker switched a family's forwarding on, the table has rules that drop what touches none of mydocker's
//! bridges, but for bridges that came later: those are another engine's, which found forwarding switched on and
//! relies on it. As long as there is one, forwarding and these rules stay, even without a network of mydocker's.
//!
//! A host that forwards IPv6 ignores router advertisements where `accept_ra` is 1, and forgets the default routes
//! it has learned from them (Documentation/networking/ip-sysctl.rst). Interfaces that listened go on listening
//! with 2; these are written down as well.

use std::io;

use serde::{Deserialize, Serialize};

use super::record::{self, Network};
use super::subnet::Family;
use crate::names::IfName;
use crate::netlink::RouteSocket;
use crate::nft::{Element, Skeleton};
use crate::store::{self, Durability, Layout};
use crate::sysctl::{self, SysctlError};

/// The parameters of all IPv6 interfaces.
const IPV6_INTERFACES: &str = "net/ipv6/conf";

fn parameter(family: Family) -> &'static str {
    match family {
        Family::V4 => "net/ipv4/ip_forward",
        Family::V6 => "net/ipv6/conf/all/forwarding",
    }
}

/// What mydocker switched on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SwitchedOn {
    /// The host did not forward IPv4.
    pub ipv4: bool,
    /// The host did not forward IPv6.
    #[serde(default)]
    pub ipv6: bool,
    /// The interfaces that listened to router advertisements then.
    #[serde(default)]
    pub listening: Vec<String>,
    /// The bridges, none of them mydocker's, that were there when the first family was switched on.
    #[serde(default)]
    pub bridges: Vec<IfName>,
}

/// Which families have to be forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Needed {
    ipv4: bool,
    ipv6: bool,
}

impl Needed {
    /// What the networks need: nothing for those that are internal.
    pub(super) fn by<'a>(networks: impl IntoIterator<Item = &'a Network>) -> Self {
        networks.into_iter().filter(|network| !network.internal).fold(Self::default(), |needed, network| {
            Self { ipv4: needed.ipv4 || network.ipv4.is_some(), ipv6: needed.ipv6 || network.ipv6.is_some() }
        })
    }

    fn families(self) -> impl Iterator<Item = Family> {
        Family::ALL.into_iter().filter(move |family| match family {
            Family::V4 => self.ipv4,
            Family::V6 => self.ipv6,
        })
    }

    /// Whether the host forwards all of it.
    ///
    /// # Errors
    /// A parameter cannot be read.
    pub(super) fn is_on(self) -> io::Result<bool> {
        Ok(self.missing()?.is_empty())
    }

    /// What of it the host does not forward.
    ///
    /// # Errors
    /// A parameter cannot be read.
    pub(super) fn missing(self) -> io::Result<Vec<Family>> {
        let mut missing = Vec::new();
        for family in self.families() {
            if sysctl::read(parameter(family))?.as_deref() != Some("1") {
                missing.push(family);
            }
        }
        Ok(missing)
    }
}

impl SwitchedOn {
    /// What has been written down. A file that cannot be read counts as nothing: then forwarding stays as
    /// it is, which is what the host had before or what its administrator sees in `sysctl`.
    #[must_use]
    pub(super) fn load(layout: &Layout) -> Self {
        let bytes = store::read_if_exists(&layout.forwarding()).ok().flatten();
        bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Writes down what is to be switched on.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn save(&self, layout: &Layout) -> io::Result<()> {
        let path = layout.forwarding();
        store::make_directories(path.parent().unwrap_or(layout.run_root()))?;
        store::write_atomic(&path, &serde_json::to_vec(self)?, Durability::Process)
    }

    /// What has to be switched on, with what is already. Nothing is written down. The second value is true where that
    /// is news, so that a table that is there lacks its guard.
    ///
    /// # Errors
    /// A parameter cannot be read.
    pub(super) fn foresee(layout: &Layout, needed: Needed) -> io::Result<(Self, bool)> {
        let mut decided = Self::load(layout);
        let is_first = decided == Self::default();
        let mut news = false;
        for family in needed.families() {
            if !decided.has(family) && sysctl::read(parameter(family))?.as_deref() == Some("0") {
                news = true;
                match family {
                    Family::V4 => decided.ipv4 = true,
                    Family::V6 => {
                        decided.ipv6 = true;
                        decided.listening = listening()?;
                    }
                }
            }
        }
        if news && is_first {
            decided.bridges = bridges_of_others(layout)?;
        }
        Ok((decided, news))
    }

    /// What the guards look up.
    pub(super) fn elements(&self) -> impl Iterator<Item = Element> + '_ {
        self.bridges.iter().cloned().map(Element::HostBridge)
    }

    /// The bridges for which forwarding, if mydocker switched it on, has to stay although no network of mydocker's
    /// needs it: they came later.
    ///
    /// # Errors
    /// The devices cannot be listed.
    pub(super) fn relied_on_by(&self, layout: &Layout) -> io::Result<Vec<IfName>> {
        if !(self.ipv4 || self.ipv6) {
            return Ok(Vec::new());
        }
        let mut later = bridges_of_others(layout)?;
        later.retain(|bridge| !self.bridges.contains(bridge));
        Ok(later)
    }

    fn has(&self, family: Family) -> bool {
        match family {
            Family::V4 => self.ipv4,
            Family::V6 => self.ipv6,
        }
    }

    /// The table that fits: with the rules that keep the host from forwarding for others.
    #[must_use]
    pub(super) fn skeleton(&self) -> Skeleton {
        Skeleton { guard_ipv4_forwarding: self.ipv4, guard_ipv6_forwarding: self.ipv6 }
    }

    /// Switches on what is needed.
    ///
    /// # Errors
    /// A parameter cannot be set.
    pub(super) fn switch_on(&self, needed: Needed) -> Result<(), SysctlError> {
        for family in needed.families() {
            if family == Family::V6 && self.ipv6 {
                for interface in &self.listening {
                    accept_advertisements(interface, "1", "2")?;
                }
            }
            sysctl::set(parameter(family), "1")?;
        }
        Ok(())
    }

    /// Switches forwarding off again where mydocker switched it on, and forgets about it. To be called when
    /// the last network goes, before the table with its guard is deleted.
    ///
    /// # Errors
    /// A parameter cannot be set.
    pub(super) fn switch_back(&self, layout: &Layout) -> Result<(), SysctlError> {
        for family in Family::ALL.into_iter().filter(|family| self.has(*family)) {
            sysctl::set(parameter(family), "0")?;
        }
        for interface in &self.listening {
            accept_advertisements(interface, "2", "1")?;
        }
        let name = parameter(Family::V4).to_owned();
        let error = |source| SysctlError { name, value: "0".to_owned(), source };
        store::remove_if_exists(&layout.forwarding()).map_err(error)
    }
}

/// The bridges that are none of mydocker's. Costs as much as there are devices: only for the first network and for the
/// last one.
fn bridges_of_others(layout: &Layout) -> io::Result<Vec<IfName>> {
    let own = record::load_all(layout).map_err(io::Error::other)?;
    let links = RouteSocket::open()?.links().map_err(io::Error::other)?;
    // A name that the kernel gives out is one.
    let bridges = links.into_iter().filter(|link| link.is_bridge).filter_map(|link| link.name.parse().ok());
    Ok(bridges.filter(|name| !own.iter().any(|network| network.bridge == *name)).collect())
}

fn accept_ra(interface: &str) -> String {
    format!("{IPV6_INTERFACES}/{interface}/accept_ra")
}

/// Changes `accept_ra` of an interface from one value to another; one that has gone or has a third value is left.
fn accept_advertisements(interface: &str, from: &str, to: &str) -> Result<(), SysctlError> {
    let name = accept_ra(interface);
    match sysctl::read(&name) {
        Ok(Some(value)) if value == from => sysctl::set(&name, to).map(drop),
        _ => Ok(()),
    }
}

/// The interfaces that listen to router advertisements as long as the host does not forward, and `default`, for
/// those to come. (The kernel never reads that of `all`.)
fn listening() -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/sys/{IPV6_INTERFACES}"))? {
        let Ok(interface) = entry?.file_name().into_string() else { continue };
        let forwards = format!("{IPV6_INTERFACES}/{interface}/forwarding");
        let listens = sysctl::read(&accept_ra(&interface))?.as_deref() == Some("1")
            && sysctl::read(&forwards)?.as_deref() == Some("0");
        if listens && interface != "all" {
            found.push(interface);
        }
    }
    Ok(found)
}
