//! A network's record file, `ROOT/network/network/NAME`.
//!
//! ```text
//! {"Name":"testbr0","IPRange":{"IP":"192.168.0.1","Mask":"////AA=="},"Driver":"bridge","Version":1,…}
//! ```
//!
//! `IP` is the gateway and `Mask` the base64 of the mask's four bytes. Files with only the first three members,
//! as other programs write them, are read as well.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::subnet::Subnet;
use crate::names::{ContainerId, IfName, NetworkName};
use crate::store::{self, Durability, Layout};

/// The version of the record's form that is written.
const VERSION: u32 = 1;
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
    /// The bridge device: the network's name but for the default network.
    pub bridge: IfName,
    /// Its addresses.
    pub subnet: Subnet,
    /// The bridge's address, which containers route through.
    pub gateway: Ipv4Addr,
    /// Nothing is forwarded in or out.
    pub internal: bool,
    /// Other networks reach it through published ports only.
    pub isolated: bool,
    /// The largest packet, in bytes.
    pub mtu: u32,
    /// The user's own remarks.
    pub labels: BTreeMap<String, String>,
    /// Addresses that were taken when mydocker adopted the record of another program.
    pub reserved: Vec<Ipv4Addr>,
    /// How far its creation or removal has come.
    pub phase: Phase,
}

impl Network {
    /// The gateway with the subnet's prefix length: what the bridge device is given.
    #[must_use]
    pub fn gateway_net(&self) -> Ipv4Net {
        Ipv4Net::new_assert(self.gateway, self.subnet.net().prefix_len())
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

/// The file's form. Member names and order are the contract's.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    #[serde(rename = "Name")]
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
    #[serde(rename = "MTU", default = "default_mtu")]
    mtu: u32,
    #[serde(rename = "Labels", default)]
    labels: BTreeMap<String, String>,
    #[serde(rename = "Reserved", default)]
    reserved: Vec<Ipv4Addr>,
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
    ip: Ipv4Addr,
    #[serde(rename = "Mask")]
    mask: String,
}

impl From<&Network> for Form {
    fn from(network: &Network) -> Self {
        let bridge = (network.bridge.as_str() != network.name.as_str()).then(|| network.bridge.clone());
        Self {
            name: network.name.clone(),
            range: Range {
                ip: network.gateway,
                mask: BASE64.encode(network.subnet.net().netmask().octets()),
            },
            driver: network.driver,
            version: Some(VERSION),
            id: Some(network.id.clone()),
            created: network.created.clone(),
            phase: network.phase,
            bridge,
            internal: network.internal,
            isolated: network.isolated,
            mtu: network.mtu,
            labels: network.labels.clone(),
            reserved: network.reserved.clone(),
        }
    }
}

impl Form {
    /// The second value is true for a record that another program wrote.
    fn into_network(self) -> Result<(Network, bool), String> {
        let mask: [u8; 4] = BASE64
            .decode(&self.range.mask)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| format!("Mask \"{}\" is not the base64 of four bytes", self.range.mask))?;
        let net = Ipv4Net::with_netmask(self.range.ip, mask.into()).map_err(|e| e.to_string())?;
        let subnet = Subnet::new(net).map_err(|e| e.to_string())?;
        let bridge = match self.bridge {
            Some(bridge) => bridge,
            None => self.name.as_str().parse().map_err(|e: crate::names::NameError| e.to_string())?,
        };
        let foreign = self.id.is_none();
        let id = match self.id {
            Some(id) => id,
            None => ContainerId::generate().map_err(|e| e.to_string())?,
        };
        let network = Network {
            name: self.name,
            id,
            created: self.created,
            driver: self.driver,
            bridge,
            subnet,
            gateway: self.range.ip,
            internal: self.internal,
            isolated: self.isolated,
            mtu: self.mtu,
            labels: self.labels,
            reserved: self.reserved,
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
    let text = serde_json::to_vec(&Form::from(network)).map_err(|e| error(e.into()))?;
    std::fs::create_dir_all(layout.networks()).map_err(error)?;
    store::write_atomic(&path, &text, Durability::Synced).map_err(error)
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
    Ok(networks)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn network(name: &str, subnet: &str) -> Network {
        let (subnet, gateway) = Subnet::parse_with_gateway(subnet).unwrap();
        Network {
            name: name.parse().unwrap(),
            id: ContainerId::generate().unwrap(),
            created: "2026-11-20T00:00:00Z".to_owned(),
            driver: DriverKind::Bridge,
            bridge: name.parse().unwrap(),
            subnet,
            gateway: gateway.unwrap_or(subnet.address(1)),
            internal: false,
            isolated: false,
            mtu: DEFAULT_MTU,
            labels: BTreeMap::new(),
            reserved: Vec::new(),
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
    fn a_record_of_three_members_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let layout = layout(directory.path());
        std::fs::create_dir_all(layout.networks()).unwrap();
        let name: NetworkName = "testbr0".parse().unwrap();
        let text = r#"{"Name":"testbr0","IPRange":{"IP":"192.168.0.1","Mask":"////AA=="},"Driver":"bridge"}"#;
        store::write_atomic(&layout.network(&name), text.as_bytes(), Durability::Process).unwrap();
        let loaded = load(&layout, &name).unwrap().unwrap();
        assert!(loaded.foreign);
        assert_eq!(loaded.network.gateway_net().to_string(), "192.168.0.1/24");
        assert_eq!(load_all(&layout).unwrap().len(), 1);
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
            r#"{"Name":"n","Version":2,"Surprise":true}"#,
        ] {
            store::write_atomic(&layout.network(&name), text.as_bytes(), Durability::Process).unwrap();
            let error = load(&layout, &name).unwrap_err().to_string();
            assert!(error.contains(layout.network(&name).to_str().unwrap()), "{error}");
            assert_eq!(std::fs::read_to_string(layout.network(&name)).unwrap(), text);
        }
    }
}
