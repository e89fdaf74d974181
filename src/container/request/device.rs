//! Devices of the host that a container may use beside the few that every container has.
//!
//! A device is a node in the container's `/dev`, and a rule of its control group: the node alone gives no access,
//! as who may make nodes can make any, and a rule alone gives access to whatever node comes to be there.

use std::fmt;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use nix::sys::stat::{major, minor};
use serde::{Deserialize, Serialize};

use crate::container::request::config::ContainerPath;

/// Where devices are, on the host and in containers.
const DEV: &str = "/dev";

/// What is not gone into where a whole directory of devices is asked for: other file systems, and what a
/// container has of its own.
const SKIPPED: [&str; 8] = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev", "console"];

/// Why a device was refused.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// Not `HOST[:CONTAINER][:rwm]`.
    #[error("\"{0}\" is not a device: expected HOST[:CONTAINER][:rwm] with absolute paths")]
    Shape(String),
    /// A place where no devices are made.
    #[error("the device {} must be below /dev in the container", .0.display())]
    Elsewhere(PathBuf),
    /// Not `TYPE MAJOR:MINOR ACCESS`.
    #[error("\"{0}\" is not a rule for devices: expected TYPE MAJOR:MINOR ACCESS, such as \"c 1:3 rwm\"")]
    Rule(String),
    /// There is no such file on the host.
    #[error("cannot use the device {}", .path.display())]
    Missing {
        /// The path on the host.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There is something else.
    #[error("cannot use the device {}: it is neither a device nor a directory of devices", .0.display())]
    NoDevice(PathBuf),
    /// Two devices have one place.
    #[error("two devices have the path {} in the container", .0.display())]
    Duplicate(PathBuf),
    /// A device in what the user has mounted below /dev.
    #[error("cannot make the device {} in what is mounted on {}", .device.display(), .mount.display())]
    Inside {
        /// The device.
        device: PathBuf,
        /// Where the mount is.
        mount: PathBuf,
    },
}

/// What may be done with a device: any of reading, writing and making nodes, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Access {
    /// Reading.
    pub read: bool,
    /// Writing.
    pub write: bool,
    /// Making nodes.
    pub make: bool,
}

impl Access {
    /// Everything.
    pub(in crate::container) const ALL: Self = Self { read: true, write: true, make: true };

    fn parse(text: &str) -> Option<Self> {
        let has = |letter| text.contains(letter);
        let once = text.chars().all(|c| "rwm".contains(c) && text.matches(c).count() == 1);
        (once && !text.is_empty()).then(|| Self { read: has('r'), write: has('w'), make: has('m') })
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (given, letter) in [(self.read, "r"), (self.write, "w"), (self.make, "m")] {
            f.write_str(if given { letter } else { "" })?;
        }
        Ok(())
    }
}

impl From<Access> for String {
    fn from(access: Access) -> Self {
        access.to_string()
    }
}

impl TryFrom<String> for Access {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("\"{text}\" is not an access to a device"))
    }
}

/// A device that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceRequest {
    /// A device of the host, or a directory of them.
    pub host: PathBuf,
    /// What it is called in the container.
    pub container: ContainerPath,
    /// What may be done with it.
    pub access: Access,
}

impl FromStr for DeviceRequest {
    type Err = DeviceError;
    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let shape = || DeviceError::Shape(text.to_owned());
        let parts: Vec<&str> = text.split(':').collect();
        let (host, container, access) = match parts[..] {
            [host] => (host, host, Access::ALL),
            [host, access] if !access.starts_with('/') => {
                (host, host, Access::parse(access).ok_or_else(shape)?)
            }
            [host, container] => (host, container, Access::ALL),
            [host, container, access] => (host, container, Access::parse(access).ok_or_else(shape)?),
            _ => return Err(shape()),
        };
        let host = ContainerPath::new(Path::new(host)).map_err(|_| shape())?;
        let container = ContainerPath::new(Path::new(container)).map_err(|_| shape())?;
        if !container.as_path().starts_with(DEV) {
            return Err(DeviceError::Elsewhere(container.into()));
        }
        Ok(Self { host: host.into(), container, access })
    }
}

impl fmt::Display for DeviceRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.host.display(), self.container.as_path().display(), self.access)
    }
}

/// Kinds of devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Both, in rules.
    All,
    /// A character device.
    Char,
    /// A block device.
    Block,
}

/// A rule of the devices control group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// For which devices.
    pub kind: Kind,
    /// Their driver; all without.
    pub major: Option<u32>,
    /// Which of the driver's; all without.
    pub minor: Option<u32>,
    /// What may be done with them.
    pub access: Access,
}

impl FromStr for Rule {
    type Err = DeviceError;
    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let parse = || {
            let words: Vec<&str> = text.split(' ').collect();
            let [kind, numbers, access] = words[..] else { return None };
            let kind = match kind {
                "a" => Kind::All,
                "b" => Kind::Block,
                "c" => Kind::Char,
                _ => return None,
            };
            let number = |text: &str| match text {
                "*" => Some(None),
                digits if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok().map(Some),
                _ => None,
            };
            let (major, minor) = numbers.split_once(':')?;
            Some(Self { kind, major: number(major)?, minor: number(minor)?, access: Access::parse(access)? })
        };
        parse().ok_or_else(|| DeviceError::Rule(text.to_owned()))
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::All => 'a',
            Kind::Block => 'b',
            Kind::Char => 'c',
        };
        let number = |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
        write!(f, "{kind} {}:{} {}", number(self.major), number(self.minor), self.access)
    }
}

/// The devices that were asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Devices {
    /// Those that the container gets a node of.
    pub nodes: Vec<DeviceRequest>,
    /// What it may do with others that come to be there.
    pub rules: Vec<Rule>,
}

/// A device as the container is to have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its path in the container.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Its driver.
    pub major: u32,
    /// Which of the driver's it is.
    pub minor: u32,
    /// Its permissions.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// What may be done with it.
    pub access: Access,
}

/// The devices of a container, looked up on the host. `everything` stands for all devices of the host.
///
/// # Errors
/// [`DeviceError`], naming the device.
pub fn resolve(devices: &Devices, everything: bool) -> Result<Vec<Node>, DeviceError> {
    let mut nodes = Vec::new();
    for request in &devices.nodes {
        let metadata = std::fs::metadata(&request.host)
            .map_err(|source| DeviceError::Missing { path: request.host.clone(), source })?;
        let container = request.container.as_path();
        if metadata.is_dir() {
            collect(&request.host, container, request.access, &mut nodes)?;
        } else {
            let node = node(container, &metadata, request.access);
            nodes.push(node.ok_or_else(|| DeviceError::NoDevice(request.host.clone()))?);
        }
    }
    let mut seen = std::collections::HashSet::new();
    if let Some(twice) = nodes.iter().find(|node| !seen.insert(node.path.clone())) {
        return Err(DeviceError::Duplicate(twice.path.clone()));
    }
    if everything {
        let mut all = Vec::new();
        collect(Path::new(DEV), Path::new(DEV), Access::ALL, &mut all)?;
        nodes.extend(all.into_iter().filter(|node| !seen.contains(&node.path)));
    }
    Ok(nodes)
}

fn node(path: &Path, metadata: &Metadata, access: Access) -> Option<Node> {
    let kind = match metadata.file_type() {
        kind if kind.is_char_device() => Kind::Char,
        kind if kind.is_block_device() => Kind::Block,
        _ => return None,
    };
    Some(Node {
        path: path.to_owned(),
        kind,
        major: u32::try_from(major(metadata.rdev())).ok()?,
        minor: u32::try_from(minor(metadata.rdev())).ok()?,
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        access,
    })
}

/// The devices below a directory, as those of another one. Links are not followed.
fn collect(host: &Path, container: &Path, access: Access, nodes: &mut Vec<Node>) -> Result<(), DeviceError> {
    let error = |source| DeviceError::Missing { path: host.to_owned(), source };
    let mut entries: Vec<_> = std::fs::read_dir(host).map_err(error)?.flatten().collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        // One that has gone meanwhile is left out.
        let Ok(metadata) = entry.metadata() else { continue };
        if SKIPPED.iter().any(|skipped| name == *skipped) {
            continue;
        }
        if metadata.is_dir() {
            collect(&entry.path(), &container.join(&name), access, nodes)?;
        } else {
            nodes.extend(node(&container.join(&name), &metadata, access));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(text: &str) -> Result<DeviceRequest, DeviceError> {
        text.parse()
    }

    #[test]
    fn what_is_asked_for() {
        for (text, full) in [
            ("/dev/fuse", "/dev/fuse:/dev/fuse:rwm"),
            ("/dev/fuse:r", "/dev/fuse:/dev/fuse:r"),
            ("/dev/fuse:/dev/other", "/dev/fuse:/dev/other:rwm"),
            ("/dev/fuse:/dev/other:mw", "/dev/fuse:/dev/other:wm"),
            ("/dev/x/../fuse", "/dev/fuse:/dev/fuse:rwm"),
        ] {
            assert_eq!(request(text).unwrap().to_string(), full);
        }
        for bad in [
            "",
            "fuse",
            "/dev/fuse:",
            "/dev/fuse:x",
            "/dev/fuse:rr",
            "/dev/a:/dev/b:/dev/c",
            "/dev/a:/dev/b:",
        ] {
            assert!(matches!(request(bad), Err(DeviceError::Shape(_))), "{bad}");
        }
        for bad in ["/dev/fuse:/etc/x", "/dev/fuse:/dev/../etc/x", "/etc/passwd"] {
            assert!(matches!(request(bad), Err(DeviceError::Elsewhere(_))), "{bad}");
        }
        for good in ["c 1:3 rwm", "b *:* m", "a *:* rwm", "c 10:* rw"] {
            assert_eq!(good.parse::<Rule>().unwrap().to_string(), good);
        }
        for bad in
            ["", "c", "c 1:3", "d 1:3 r", "c 1 r", "c -1:3 r", "c 1:3 x", "c 1:3  r", "c 1:+3 r", "c :3 r"]
        {
            assert!(bad.parse::<Rule>().is_err(), "{bad}");
        }
    }

    #[test]
    fn devices_are_those_of_the_host() {
        let devices = |nodes: &[&str]| Devices {
            nodes: nodes.iter().map(|text| request(text).unwrap()).collect(),
            rules: Vec::new(),
        };
        let nodes = resolve(&devices(&["/dev/null:/dev/nothing:r"]), false).unwrap();
        assert_eq!((nodes[0].kind, nodes[0].major, nodes[0].minor), (Kind::Char, 1, 3));
        assert_eq!(nodes[0].path, Path::new("/dev/nothing"));
        assert_eq!(nodes[0].access.to_string(), "r");
        let error = |nodes| resolve(&devices(nodes), false).unwrap_err();
        assert!(matches!(error(&["/dev/no-such-device"]), DeviceError::Missing { .. }));
        assert!(matches!(error(&["/etc/passwd:/dev/x"]), DeviceError::NoDevice(_)));
        assert!(matches!(error(&["/dev/null", "/dev/zero:/dev/null"]), DeviceError::Duplicate(_)));
        let all = resolve(&devices(&["/dev/null:/dev/zero"]), true).unwrap();
        assert_eq!(all.iter().filter(|node| node.path == Path::new("/dev/zero")).count(), 1);
        assert!(all.iter().all(|node| !node.path.starts_with("/dev/pts") && node.path.starts_with("/dev")));
    }

    proptest! {
        #[test]
        fn what_is_read_is_below_dev(text in "[a-z/.:]{0,24}") {
            if let Ok(request) = request(&text) {
                prop_assert!(request.container.as_path().starts_with("/dev"));
                prop_assert_eq!(request.to_string().parse::<DeviceRequest>().unwrap(), request);
            }
        }
    }
}
