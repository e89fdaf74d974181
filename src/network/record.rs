//! A network's record file, `ROOT/network/network/NAME`.
//!
//! ```text
//! {"Name":"testbr0","IPRange":{"IP":"192.168.0.1","Mask":"////AA=="},"Driver":"bridge","Version":1,…}
//! ```
//!
//! `IP` is the gateway and `Mask` the base64 of the mask's four bytes, sixteen in a network with IPv6 alone. The
//! IPv6 half of a network with both is in the member `IPRange6`. Files with only the first three members, as
//! other programs write them, are read as well.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::attachment::Origin;
use super::subnet::{Family, Subnet};
use crate::names::{ContainerId, IfName, NameError, NetworkName};
use crate::store::{self, Durability, Layout};

/// The version of the record's form that is written; `src/changing.md` says when it changes.
const VERSION: u32 = 1;
/// The bridge of the network for containers that name none.
const DEFAULT_BRIDGE: &str = "mydocker0";
/// The largest packet where the user names no other size, in bytes: Ethernet's.
pub const DEFAULT_MTU: u32 = 1500;

/// What makes the devices of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DriverKind {
    /// A Linux bridge with a veth pair for each container.
    Bridge,
}

impl DriverKind {
    /// The name on the command line and in the record.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
        }
    }
}

/// How far the creation or removal of a network has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Recorded, but its devices and set elements may not all be there.
    Creating,
    /// Usable.
    Ready,
    /// Being taken down; nothing may be connected to it any more.
    Removing,
}

/// How the containers of a network are seen by hosts outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Under the host's address; they are reached through published ports only.
    #[default]
    Nat,
    /// Under their own addresses, at every port: for networks that others have routes to.
    Routed,
}

impl Mode {
    /// The name on the command line and in the record.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Routed => "routed",
        }
    }
}

/// What a network has of one address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressBlock {
    /// Its addresses.
    pub subnet: Subnet,
    /// The bridge's address, which containers route through.
    pub gateway: IpAddr,
    /// The part of the subnet that addresses are chosen from where none is asked for; `None` for all of it.
    pub range: Option<IpNet>,
}

impl AddressBlock {
    /// The gateway with the subnet's prefix length: what the bridge device is given.
    #[must_use]
    pub fn gateway_net(&self) -> IpNet {
        self.subnet.interface(self.gateway)
    }

    /// The numbers of the addresses that are chosen from. Empty where the range is not managed.
    pub(super) fn within(&self) -> RangeInclusive<u32> {
        let whole = 0..=self.subnet.size() - 1;
        let Some(range) = self.range else { return whole };
        match (self.subnet.number(range.network()), self.subnet.number(range.broadcast())) {
            (Some(first), Some(last)) => first..=last,
            _ => RangeInclusive::new(1, 0),
        }
    }
}

/// A network as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Its name.
    pub name: NetworkName,
    /// 64 hexadecimal digits, as Docker's.
    pub id: ContainerId,
    /// When it was created, RFC 3339.
    pub created: String,
    /// What makes its devices.
    pub driver: DriverKind,
    /// The bridge device: the name of the network where a device can have it, else `br-` and 12 digits.
    pub bridge: IfName,
    /// Its IPv4 addresses; it has those or IPv6 ones or both.
    pub ipv4: Option<AddressBlock>,
    /// Its IPv6 addresses.
    pub ipv6: Option<AddressBlock>,
    /// Nothing is forwarded in or out.
    pub internal: bool,
    /// Other networks reach it through published ports only.
    pub isolated: bool,
    /// It was isolated after it was made, by a part of another engine's configuration that does not make networks.
    pub isolated_later: bool,
    /// Its containers reach each other, and other networks, through published ports only.
    pub apart: bool,
    /// How its containers are seen outside.
    pub mode: Mode,
    /// Whether packets to the outside get the host's address, in [`Mode::Nat`].
    pub masquerade: bool,
    /// Whether containers may only send from addresses that are routed to them.
    pub check_source: bool,
    /// The largest packet, in bytes.
    pub mtu: u32,
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
    /// Addresses that are never given out: because the user reserved them, or because they were taken when mydocker
    /// adopted the record of another program.
    pub reserved: Vec<IpAddr>,
    /// Which other engine it was made for; `None` for one that a user made.
    pub origin: Option<Origin>,
    /// How far its creation or removal has come.
    pub phase: Phase,
}

impl Network {
    /// What it has of each family, IPv4 first.
    pub fn blocks(&self) -> impl Iterator<Item = &AddressBlock> {
        self.ipv4.iter().chain(&self.ipv6)
    }

    /// What it has of one family.
    #[must_use]
    pub fn block(&self, family: Family) -> Option<&AddressBlock> {
        match family {
            Family::V4 => self.ipv4.as_ref(),
            Family::V6 => self.ipv6.as_ref(),
        }
    }

    /// The addresses of one of its subnets that no container ever gets.
    pub(super) fn never_given_out(&self, block: &AddressBlock) -> Vec<IpAddr> {
        let subnet = block.subnet;
        let reserved = self.reserved.iter().copied().filter(|address| subnet.contains(*address));
        std::iter::once(block.gateway).chain(reserved).collect()
    }
}

/// Why a record could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file system refused.
    #[error("cannot access the record {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is not a record. It is left as it is.
    #[error("the record {path} cannot be read: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file was written by a newer mydocker. It is left as it is.
    #[error("the record {path} has version {version}; this mydocker knows version {VERSION}")]
    Version {
        /// The file.
        path: PathBuf,
        /// The version it states.
        version: u32,
    },
}

/// The name that a record's file has.
fn file_name<S: serde::Serializer>(name: &NetworkName, serializer: S) -> Result<S::Ok, S::Error> {
    let path: &Path = name.as_ref();
    path.serialize(serializer)
}

/// The file's form. Member names and order are the contract's.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    #[serde(rename = "Name", serialize_with = "file_name")]
    name: NetworkName,
    #[serde(rename = "IPRange", alias = "IpRange")]
    range: Range,
    #[serde(rename = "Driver")]
    driver: DriverKind,
    #[serde(rename = "Version", skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    #[serde(rename = "Id", skip_serializing_if = "Option::is_none")]
    id: Option<ContainerId>,
    #[serde(rename = "Created", default)]
    created: String,
    #[serde(rename = "Phase", default = "ready")]
    phase: Phase,
    #[serde(rename = "Bridge", skip_serializing_if = "Option::is_none")]
    bridge: Option<IfName>,
    #[serde(rename = "Internal", default)]
    internal: bool,
    #[serde(rename = "Isolated", default)]
    isolated: bool,
    #[serde(rename = "IsolatedLater", default, skip_serializing_if = "is_default")]
    isolated_later: bool,
    #[serde(rename = "Apart", default, skip_serializing_if = "is_default")]
    apart: bool,
    #[serde(rename = "IPRange6", skip_serializing_if = "Option::is_none")]
    range6: Option<Range>,
    #[serde(rename = "GivenOut", default, skip_serializing_if = "Vec::is_empty")]
    given_out: Vec<IpNet>,
    #[serde(rename = "Mode", default, skip_serializing_if = "is_default")]
    mode: Mode,
    #[serde(rename = "NoMasquerade", default, skip_serializing_if = "is_default")]
    no_masquerade: bool,
    #[serde(rename = "CheckSource", default, skip_serializing_if = "is_default")]
    check_source: bool,
    #[serde(rename = "MTU", default = "default_mtu")]
    mtu: u32,
    #[serde(rename = "Labels", default)]
    labels: BTreeMap<String, String>,
    #[serde(rename = "Reserved", default)]
    reserved: Vec<IpAddr>,
    #[serde(rename = "Origin", default, skip_serializing_if = "Option::is_none")]
    origin: Option<Origin>,
}

/// The bridge of a new network: the device of the same name where it can have that, or `br-` and the first digits of
/// the network's id.
///
/// # Errors
/// None for an id of 64 digits.
pub(super) fn bridge_of(name: &NetworkName, id: &ContainerId) -> Result<IfName, NameError> {
    if *name == NetworkName::of_default() {
        return DEFAULT_BRIDGE.parse();
    }
    match name.as_str().parse() {
        // The kernel has no device of this name: its parameters would be those of all devices.
        Ok(device) if name.as_str() != "all" => Ok(device),
        _ => format!("br-{}", id.short()).parse(),
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn ready() -> Phase {
    Phase::Ready
}

fn default_mtu() -> u32 {
    DEFAULT_MTU
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Range {
    #[serde(rename = "IP")]
    ip: IpAddr,
    #[serde(rename = "Mask")]
    mask: String,
}

impl From<&AddressBlock> for Range {
    fn from(block: &AddressBlock) -> Self {
        let mask = match block.subnet.net().netmask() {
            IpAddr::V4(mask) => BASE64.encode(mask.octets()),
            IpAddr::V6(mask) => BASE64.encode(mask.octets()),
        };
        Self { ip: block.gateway, mask }
    }
}

impl Range {
    fn into_block(self, given_out: &[IpNet]) -> Result<AddressBlock, String> {
        let bytes = BASE64.decode(&self.mask).unwrap_or_default();
        let mask: IpAddr = match (self.ip, bytes.len()) {
            (IpAddr::V4(_), 4) => [bytes[0], bytes[1], bytes[2], bytes[3]].into(),
            (IpAddr::V6(_), 16) => <[u8; 16]>::try_from(bytes).unwrap_or_default().into(),
            (ip, _) => {
                let length = if ip.is_ipv4() { "four" } else { "sixteen" };
                return Err(format!("Mask \"{}\" is not the base64 of {length} bytes", self.mask));
            }
        };
        let net = IpNet::with_netmask(self.ip, mask).map_err(|e| e.to_string())?;
        let subnet = Subnet::new(net).map_err(|e| e.to_string())?;
        let range = given_out.iter().copied().find(|range| subnet.net().contains(range));
        Ok(AddressBlock { subnet, gateway: self.ip, range })
    }
}

impl Form {
    fn new(network: &Network) -> Option<Self> {
        let mut ranges = network.blocks().map(Range::from);
        let (range, range6) = (ranges.next()?, ranges.next());
        Some(Self {
            name: network.name.clone(),
            range,
            driver: network.driver,
            version: Some(VERSION),
            id: Some(network.id.clone()),
            created: network.created.clone(),
            phase: network.phase,
            bridge: Some(network.bridge.clone()),
            internal: network.internal,
            isolated: network.isolated,
            isolated_later: network.isolated_later,
            apart: network.apart,
            range6,
            given_out: network.blocks().filter_map(|block| block.range).collect(),
            mode: network.mode,
            no_masquerade: !network.masquerade,
            check_source: network.check_source,
            mtu: network.mtu,
            labels: network.labels.clone(),
            reserved: network.reserved.clone(),
            origin: network.origin.clone(),
        })
    }

    /// The second value is true for a record that another program wrote.
    fn into_network(self) -> Result<(Network, bool), String> {
        let (mut ipv4, mut ipv6) = (None, None);
        for range in std::iter::once(self.range).chain(self.range6) {
            let block = range.into_block(&self.given_out)?;
            let place = match block.subnet.family() {
                Family::V4 => &mut ipv4,
                Family::V6 => &mut ipv6,
            };
            if place.replace(block).is_some() {
                return Err(format!("{} is a second subnet of its family", block.subnet));
            }
        }
        let foreign = self.id.is_none();
        let id = match self.id {
            Some(id) => id,
            None => ContainerId::generate().map_err(|e| e.to_string())?,
        };
        // Earlier versions wrote it down only where it was another than the network's name.
        let bridge = match self.bridge {
            Some(bridge) => bridge,
            None => self.name.as_str().parse().map_err(|e: NameError| e.to_string())?,
        };
        let network = Network {
            name: self.name,
            id,
            created: self.created,
            driver: self.driver,
            bridge,
            ipv4,
            ipv6,
            internal: self.internal,
            isolated: self.isolated,
            isolated_later: self.isolated_later,
            apart: self.apart,
            mode: self.mode,
            masquerade: !self.no_masquerade,
            check_source: self.check_source,
            mtu: self.mtu,
            labels: self.labels,
            reserved: self.reserved,
            origin: self.origin,
            phase: self.phase,
        };
        Ok((network, foreign))
    }
}

/// A record and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Loaded {
    /// The network.
    pub network: Network,
    /// Whether another program wrote the record: only its first three members were there.
    pub foreign: bool,
}

/// Reads a network's record; `None` if there is none.
///
/// # Errors
/// The file cannot be read, is damaged, or is of a newer version.
pub(super) fn load(layout: &Layout, name: &NetworkName) -> Result<Option<Loaded>, RecordError> {
    let path = layout.network(name);
    let contents =
        store::read_if_exists(&path).map_err(|source| RecordError::Io { path: path.clone(), source })?;
    contents.map(|bytes| parse(path, name, &bytes)).transpose()
}

fn parse(path: PathBuf, name: &NetworkName, bytes: &[u8]) -> Result<Loaded, RecordError> {
    #[derive(Deserialize)]
    struct VersionOnly {
        #[serde(rename = "Version")]
        version: Option<u32>,
    }
    // The version first: a newer form may have members that this one refuses.
    if let Ok(VersionOnly { version: Some(version) }) = serde_json::from_slice(bytes)
        && version != VERSION
    {
        return Err(RecordError::Version { path, version });
    }
    let read = serde_json::from_slice::<Form>(bytes).map_err(|e| e.to_string()).and_then(Form::into_network);
    match read {
        Ok((network, _)) if network.name != *name => {
            Err(RecordError::Damaged { path, reason: format!("it is the record of {}", network.name) })
        }
        Ok((network, foreign)) => Ok(Loaded { network, foreign }),
        Err(reason) => Err(RecordError::Damaged { path, reason }),
    }
}

/// Writes a network's record so that it survives a power failure.
///
/// # Errors
/// The file system refused; an older record is still in place.
pub(super) fn save(layout: &Layout, network: &Network) -> Result<(), RecordError> {
    let path = layout.network(&network.name);
    let error = |source| RecordError::Io { path: path.clone(), source };
    let form = Form::new(network).ok_or_else(|| error(io::ErrorKind::InvalidInput.into()))?;
    let text = serde_json::to_vec(&form).map_err(|e| error(e.into()))?;
    store::make_directories(&layout.networks()).map_err(error)?;
    store::keep_reserve(layout);
    store::write_though_full(layout, &path, &text, Durability::Synced).map_err(error)
}

/// Removes a network's record.
///
/// # Errors
/// The file system refused.
pub(super) fn remove(layout: &Layout, name: &NetworkName) -> Result<(), RecordError> {
    let path = layout.network(name);
    store::remove_if_exists(&path).map_err(|source| RecordError::Io { path, source })
}

/// All networks, by name.
///
/// # Errors
/// The directory or any record in it cannot be read.
pub(super) fn load_all(layout: &Layout) -> Result<Vec<Network>, RecordError> {
    let directory = layout.networks();
    let names =
        store::list(&directory).map_err(|source| RecordError::Io { path: directory.clone(), source })?;
    let mut networks = Vec::with_capacity(names.len());
    for name in names {
        let name: NetworkName = name.parse().map_err(|e: crate::names::NameError| RecordError::Damaged {
            path: directory.join(&name),
            reason: e.to_string(),
        })?;
        // One that was removed since the listing is no error.
        networks.extend(load(layout, &name)?.map(|loaded| loaded.network));
    }
    // The default network's file has another name.
    networks.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(networks)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::super::attachment::OtherEngine;
    use super::*;

    /// A valid record of both families, as bytes.
    fn valid() -> Vec<u8> {
        let mut dual = network("n", "10.0.0.1/24");
        dual.ipv6 = network("n", "fd00:18::/64").ipv6;
        serde_json::to_vec(&Form::new(&dual).unwrap()).unwrap()
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_record_or_refused_by_name(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let name: NetworkName = "n".parse().unwrap();
            if let Err(error) = parse("/records/n".into(), &name, &bytes) {
                prop_assert!(error.to_string().contains("/records/n"));
            }
        }

        /// Damage goes deeper where most of it is well-formed.
        #[test]
        fn a_damaged_record_is_refused_or_means_something(
            at in any::<prop::sample::Index>(),
            byte in prop_oneof![any::<u8>(), Just(b'"'), Just(b'0'), Just(b'9'), Just(b'-'), Just(b'/')],
            cut in any::<prop::sample::Index>(),
        ) {
            let name: NetworkName = "n".parse().unwrap();
            let mut bytes = valid();
            prop_assert!(parse("/records/n".into(), &name, &bytes).is_ok());
            prop_assert!(parse("/records/n".into(), &name, &bytes[..cut.index(bytes.len())]).is_err());
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(loaded) = parse("/records/n".into(), &name, &bytes) {
                for block in loaded.network.blocks() {
                    prop_assert!(block.subnet.contains(block.gateway));
                }
            }
        }
    }

    pub(crate) fn network(name: &str, subnet: &str) -> Network {
        let (subnet, gateway) = Subnet::parse_with_gateway(subnet).unwrap();
        let block = AddressBlock { subnet, gateway: gateway.unwrap_or(subnet.address(1)), range: None };
        let is_v4 = subnet.family() == Family::V4;
        Network {
            name: name.parse().unwrap(),
            id: ContainerId::generate().unwrap(),
            created: "2026-11-20T00:00:00Z".to_owned(),
            driver: DriverKind::Bridge,
            bridge: name.parse().unwrap(),
            ipv4: is_v4.then_some(block),
            ipv6: (!is_v4).then_some(block),
            internal: false,
            isolated: false,
            isolated_later: false,
            apart: false,
            mode: Mode::Nat,
            masquerade: true,
            check_source: false,
            mtu: DEFAULT_MTU,
            labels: BTreeMap::new(),
            reserved: Vec::new(),
            origin: None,
            phase: Phase::Ready,
        }
    }

    fn layout(directory: &std::path::Path) -> Layout {
        Layout::new(directory, directory.join("run"))
    }

    #[test]
    fn a_record_starts_with_the_three_documented_members() {
        let directory = tempfile::tempdir().unwrap();
        let layout = layout(directory.path());
        let saved = network("testbr0", "192.168.0.0/24");
        save(&layout, &saved).unwrap();
        let text = std::fs::read_to_string(layout.network(&saved.name)).unwrap();
        let start = "{\"Name\":\"testbr0\",\"IPRange\":{\"IP\":\"192.168.0.1\",\"Mask\":\"////AA==\"},\"Driver\":\"bridge\"";
        assert!(text.starts_with(start), "{text}");
        assert_eq!(load(&layout, &saved.name).unwrap(), Some(Loaded { network: saved, foreign: false }));
    }

    #[test]
    fn a_bridge_is_named_as_its_network_where_that_can_be() {
        let id: ContainerId = "0123456789abcdef".repeat(4).parse().unwrap();
        let bridge = |name: &str| bridge_of(&name.parse().unwrap(), &id).unwrap().to_string();
        assert_eq!(bridge("testbr0"), "testbr0");
        assert_eq!(bridge("fifteen-bytes-x"), "fifteen-bytes-x");
        for long in ["sixteen-bytes-xx", "project_default_network", &"x".repeat(63), "all"] {
            assert_eq!(bridge(long), "br-0123456789ab", "{long}");
        }
        assert_eq!(bridge(NetworkName::of_default().as_str()), "mydocker0");
    }

    #[test]
    fn a_record_of_three_members_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let layout = layout(directory.path());
        std::fs::create_dir_all(layout.networks()).unwrap();
        let name: NetworkName = "testbr0".parse().unwrap();
        let text = r#"{"Name":"testbr0","IPRange":{"IP":"192.168.0.1","Mask":"////AA=="},"Driver":"bridge"}"#;
        store::write_atomic(&layout.network(&name), text.as_bytes(), Durability::Process).unwrap();
        let loaded = load(&layout, &name).unwrap().unwrap();
        assert!(loaded.foreign);
        assert_eq!(loaded.network.ipv4.unwrap().gateway_net().to_string(), "192.168.0.1/24");
        assert_eq!(load_all(&layout).unwrap().len(), 1);
    }

    #[test]
    fn records_of_both_families_and_all_options_are_read_as_they_were_written() {
        let directory = tempfile::tempdir().unwrap();
        let layout = layout(directory.path());
        let six = network("six", "fd00:18::1/64");
        save(&layout, &six).unwrap();
        let text = std::fs::read_to_string(layout.network(&six.name)).unwrap();
        let range = r#""IPRange":{"IP":"fd00:18::1","Mask":"//////////8AAAAAAAAAAA=="},"#;
        assert!(text.contains(range) && !text.contains("IPRange6"), "{text}");
        let mut dual = network("dual", "10.0.0.0/24");
        dual.ipv6 = six.ipv6;
        dual.ipv4.as_mut().unwrap().range = Some("10.0.0.64/26".parse().unwrap());
        dual.ipv6.as_mut().unwrap().range = Some("fd00:18::100/120".parse().unwrap());
        dual.mode = Mode::Routed;
        dual.masquerade = false;
        dual.check_source = true;
        dual.reserved = vec!["10.0.0.9".parse().unwrap(), "fd00:18::9".parse().unwrap()];
        dual.origin = Some(Origin { engine: OtherEngine::Cni, name: "pods".parse().unwrap() });
        save(&layout, &dual).unwrap();
        for saved in [dual, six] {
            assert_eq!(load(&layout, &saved.name).unwrap().unwrap().network, saved);
        }
    }

    #[test]
    fn foreign_and_damaged_files_are_refused_by_name_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let layout = layout(directory.path());
        std::fs::create_dir_all(layout.networks()).unwrap();
        let name: NetworkName = "n".parse().unwrap();
        for text in [
            "",
            "{}",
            "hello",
            r#"{"Name":"other","IPRange":{"IP":"10.0.0.1","Mask":"////AA=="},"Driver":"bridge"}"#,
            r#"{"Name":"n","IPRange":{"IP":"10.0.0.1","Mask":"/wD/AA=="},"Driver":"bridge"}"#,
            r#"{"Name":"n","IPRange":{"IP":"10.0.0.1","Mask":"!"},"Driver":"bridge"}"#,
            r#"{"Name":"n","IPRange":{"IP":"10.0.0.1","Mask":"////AA=="},"Driver":"vxlan"}"#,
            r#"{"Name":"n","IPRange":{"IP":"fd00::1","Mask":"////AA=="},"Driver":"bridge"}"#,
            r#"{"Name":"n","IPRange":{"IP":"10.0.0.1","Mask":"////AA=="},"Driver":"bridge","IPRange6":{"IP":"10.1.0.1","Mask":"////AA=="}}"#,
            r#"{"Name":"n","Version":2,"Surprise":true}"#,
        ] {
            store::write_atomic(&layout.network(&name), text.as_bytes(), Durability::Process).unwrap();
            let error = load(&layout, &name).unwrap_err().to_string();
            assert!(error.contains(layout.network(&name).to_str().unwrap()), "{error}");
            assert_eq!(std::fs::read_to_string(layout.network(&name)).unwrap(), text);
        }
    }
}
