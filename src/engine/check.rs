//! What is wrong with networks on this host is found: what needs both their records and those of the containers.

use std::fmt;
use std::path::PathBuf;

use caps::Capability;

use super::{EngineError, containers, host, leaks, one_line, privileges, reload};
use crate::names::ContainerName;
use crate::needs::{self, Lack, ThisHost, Weight};
use crate::network::{Finding as NetworkFinding, NameFault, Networks};
use crate::store::Layout;

/// Something that is wrong, or that is worth knowing.
#[derive(Debug)]
pub enum Finding {
    /// Something about networks.
    Network(NetworkFinding),
    /// A capability that mydocker needs.
    Capability(Capability),
    /// Something that the host lacks.
    Lack(Lack),
    /// A container whose supervisor died without taking it down.
    Orphan(ContainerName),
    /// A pinned namespace of a container that does not run, or of none.
    LeakedNamespace {
        /// Where it is pinned.
        path: PathBuf,
        /// Whether it is a container's of this root directory.
        is_ours: bool,
    },
    /// A mount of a container that does not run, or of none.
    LeakedMount(PathBuf),
    /// A container's record that cannot be read.
    Record(EngineError),
    /// The name of a container in a network.
    Name(NameFault),
    /// A container that is found by an earlier name.
    Renamed(ContainerName),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(finding) => f.write_str(&one_line(finding)),
            Self::Capability(capability) => write!(f, "the capability {capability} is missing"),
            Self::Lack(lack) => lack.fmt(f),
            Self::Orphan(name) => {
                write!(f, "container {name}: its supervisor was killed and left things behind")
            }
            Self::LeakedNamespace { path, .. } => {
                write!(f, "the network namespace {} belongs to no running container", path.display())
            }
            Self::LeakedMount(path) => {
                write!(f, "the mount {} belongs to no running container", path.display())
            }
            Self::Record(error) => f.write_str(&one_line(error)),
            Self::Name(fault) => fault.fmt(f),
            Self::Renamed(name) => {
                write!(f, "container {name} is found by its old name only: a rename was killed")
            }
        }
    }
}

impl Finding {
    /// False for what is no fault and only worth knowing.
    #[must_use]
    pub fn is_problem(&self) -> bool {
        match self {
            Self::Network(finding) => finding.is_problem(),
            Self::Lack(lack) => lack.weight == Weight::Required,
            _ => true,
        }
    }

    /// Whether it is only worth knowing, and nothing came of it so far.
    #[must_use]
    pub fn is_remark(&self) -> bool {
        match self {
            Self::Network(finding) => finding.is_remark(),
            Self::Lack(lack) => lack.weight == Weight::Optional,
            _ => false,
        }
    }

    /// One word for what was looked at.
    #[must_use]
    pub fn subject(&self) -> &'static str {
        match self {
            Self::Network(finding) => finding.subject(),
            Self::Capability(_) => "capability",
            Self::Lack(lack) => lack.subject,
            Self::Orphan(_) => "container",
            Self::LeakedNamespace { .. } => "namespace",
            Self::LeakedMount(_) => "mount",
            Self::Record(_) => "file",
            Self::Name(_) | Self::Renamed(_) => "name",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Network(finding) => finding.remedy(),
            Self::Capability(_) => "run mydocker as root with all capabilities; in a unit, without PrivateDevices= and CapabilityBoundingSet=".to_owned(),
            Self::Lack(lack) => lack.remedy.clone(),
            Self::Orphan(_)
            | Self::LeakedNamespace { is_ours: true, .. }
            | Self::LeakedMount(_)
            | Self::Name(_)
            | Self::Renamed(_) => {
                "put it right with: mydocker network reload".to_owned()
            }
            Self::LeakedNamespace { path, .. } => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                format!("unless another program uses it, remove it with: ip netns delete {name}")
            }
            Self::Record(error) => error.hint().unwrap_or_else(|| {
                "repair the file or move it away; mydocker does not overwrite it".to_owned()
            }),
        }
    }
}

pub(super) fn check(layout: &Layout, networks: &mut Networks) -> Result<Vec<Finding>, EngineError> {
    let missing = privileges::missing();
    let blind = missing.contains(&Capability::CAP_NET_ADMIN);
    let mut findings: Vec<Finding> = missing.into_iter().map(Finding::Capability).collect();
    // Of what many hosts do without `mydocker info` tells.
    let lacks = needs::lacking(&ThisHost, &host::groups()).into_iter();
    findings.extend(lacks.filter(|lack| lack.weight != Weight::Optional).map(Finding::Lack));
    let listing = containers::list(layout)?;
    for snapshot in &listing.containers {
        if snapshot.record.is_orphaned()? {
            findings.push(Finding::Orphan(snapshot.record.name.clone()));
        }
    }
    findings.extend(listing.broken.into_iter().map(Finding::Record));
    let (running, known) = leaks::running(layout)?;
    // Without it the kernel does not show its rules.
    if !blind {
        findings.extend(networks.check(&running)?.into_iter().map(Finding::Network));
    }
    // A record that cannot be read is among the findings already.
    findings.extend(networks.check_names().unwrap_or_default().into_iter().map(Finding::Name));
    let renamed = reload::renamed(layout, networks)?.into_iter();
    findings.extend(renamed.map(|record| Finding::Renamed(record.name)));
    findings.extend(leaks::namespaces(layout, &known)?.into_iter().map(|path| {
        let is_ours = leaks::is_of_a_container(layout, &path);
        Finding::LeakedNamespace { path, is_ours }
    }));
    findings.extend(leaks::mounts(layout, &known)?.into_iter().map(Finding::LeakedMount));
    Ok(findings)
}
