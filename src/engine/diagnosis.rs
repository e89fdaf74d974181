//! Networks are diagnosed, repaired and watched: what needs both their records and those of the containers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use caps::Capability;

use super::{Engine, EngineError, Network, Record, privileges};
use crate::container::life::record::State;
use crate::container::tree::rootfs;
use crate::names::{ContainerId, ContainerName, NetworkName};
use crate::needs::{self, Lack, ThisHost, Weight};
use crate::netns;
use crate::network::{ContainerFlow, Finding as NetworkFinding, FlowEvent, Running};
use crate::store::{self, Layout};

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
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(finding) => f.write_str(&super::one_line(finding)),
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
            Self::Record(error) => f.write_str(&super::one_line(error)),
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
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Network(finding) => finding.remedy(),
            Self::Capability(_) => "run mydocker as root with all capabilities; in a unit, without PrivateDevices= and CapabilityBoundingSet=".to_owned(),
            Self::Lack(lack) => lack.remedy.clone(),
            Self::Orphan(_) | Self::LeakedNamespace { is_ours: true, .. } | Self::LeakedMount(_) => {
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

impl Engine {
    /// Brings the kernel to what the records of networks and containers say, in one go, and takes down what
    /// containers have left whose supervisors were killed. Returns the networks.
    ///
    /// # Errors
    /// A missing privilege, a record that cannot be read, or the kernel refuses.
    pub fn reload_networks(&mut self) -> Result<Vec<Network>, EngineError> {
        privileges::for_containers()?;
        let listing = self.list_containers()?;
        for snapshot in &listing.containers {
            if snapshot.record.is_orphaned()? {
                self.clean_up_orphan(&snapshot.record.id)?;
            }
        }
        let (running, known) = self.running()?;
        let networks = self.networks.reload(&running)?;
        // What is below this root directory, or belongs to one of its containers, cannot be another program's.
        for path in self.leaked_mounts(&known)? {
            if let Some(id) = self.container_of_mount(&path) {
                rootfs::unmount(&self.layout, &id)?;
            }
        }
        for path in self.leaked_namespaces(&known)? {
            if self.is_of_a_container(&path) {
                netns::unpin(&path)?;
            }
        }
        Ok(networks)
    }

    /// Removes the networks that no container has, running or not, and that `wanted` lets pass. Returns their names.
    ///
    /// # Errors
    /// As [`Engine::remove_network`]; a container's record that cannot be read keeps all networks.
    pub fn prune_networks(
        &mut self,
        wanted: impl Fn(&Network) -> bool,
    ) -> Result<Vec<NetworkName>, EngineError> {
        privileges::for_networks()?;
        let kept = self.networks_of_containers()?;
        Ok(self.networks.prune(&kept, wanted)?)
    }

    /// The networks that a container has, running or not.
    pub(super) fn networks_of_containers(&self) -> Result<BTreeSet<NetworkName>, EngineError> {
        let containers = self.containers(true)?;
        let memberships = containers.iter().flat_map(|snapshot| &snapshot.record.network.networks);
        Ok(memberships.map(|membership| membership.network.clone()).collect())
    }

    /// Looks for everything that can be wrong with networks on this host. Nothing is changed.
    ///
    /// # Errors
    /// The kernel or the file system refuses to answer.
    pub fn check_networks(&mut self) -> Result<Vec<Finding>, EngineError> {
        let missing = privileges::missing();
        let blind = missing.contains(&Capability::CAP_NET_ADMIN);
        let mut findings: Vec<Finding> = missing.into_iter().map(Finding::Capability).collect();
        // Of what many hosts do without `mydocker info` tells.
        let lacks = needs::lacking(&ThisHost, &super::groups()).into_iter();
        findings.extend(lacks.filter(|lack| lack.weight != Weight::Optional).map(Finding::Lack));
        let listing = self.list_containers()?;
        for snapshot in &listing.containers {
            if snapshot.record.is_orphaned()? {
                findings.push(Finding::Orphan(snapshot.record.name.clone()));
            }
        }
        findings.extend(listing.broken.into_iter().map(Finding::Record));
        let (running, known) = self.running()?;
        // Without it the kernel does not show its rules.
        if !blind {
            findings.extend(self.networks.check(&running)?.into_iter().map(Finding::Network));
        }
        findings.extend(self.leaked_namespaces(&known)?.into_iter().map(|path| {
            let is_ours = self.is_of_a_container(&path);
            Finding::LeakedNamespace { path, is_ours }
        }));
        findings.extend(self.leaked_mounts(&known)?.into_iter().map(Finding::LeakedMount));
        Ok(findings)
    }

    /// The connection-tracking entries of containers, or of one.
    ///
    /// # Errors
    /// A missing privilege, there is no such container, or the kernel refuses.
    pub fn flows(&mut self, container: Option<&str>) -> Result<Vec<ContainerFlow>, EngineError> {
        privileges::for_networks()?;
        let only = container.map(|name| self.find(name)).transpose()?.map(|found| found.record.id);
        Ok(self.networks.flows(only.as_ref())?)
    }

    /// Hands out the changes to those entries until `each` returns false. `begin` gets those that are there, once
    /// no change is missed any more.
    ///
    /// # Errors
    /// As [`Engine::flows`].
    pub fn follow_flows(
        &mut self,
        container: Option<&str>,
        begin: impl FnOnce(Vec<ContainerFlow>),
        each: impl FnMut(FlowEvent, ContainerFlow) -> bool,
    ) -> Result<(), EngineError> {
        privileges::for_networks()?;
        let only = container.map(|name| self.find(name)).transpose()?.map(|found| found.record.id);
        let begin = || {
            begin(self.networks.flows(only.as_ref())?);
            Ok(())
        };
        Ok(self.networks.follow_flows(only.as_ref(), begin, each)?)
    }

    /// The running containers with their namespaces, and all that may have one, because they run or are being
    /// started.
    fn running(&self) -> Result<(Running, BTreeSet<ContainerId>), EngineError> {
        let (mut running, mut known) = (BTreeMap::new(), BTreeSet::new());
        for snapshot in self.list_containers()?.containers {
            let id = snapshot.record.id;
            match snapshot.state {
                State::Running { .. } => {
                    running.insert(id.clone(), Layout::netns(&id));
                    known.insert(id);
                }
                State::Starting { .. } | State::Restarting { .. } => {
                    known.insert(id);
                }
                State::Created | State::Exited(_) | State::Removing { .. } | State::Dead => {}
            }
        }
        Ok((running, known))
    }

    /// Pinned namespaces of this root directory's containers that do not run; and those that are named like a
    /// container that is not in this root directory and have no process in them: those of another root directory's
    /// running containers have processes.
    fn leaked_namespaces(&self, known: &BTreeSet<ContainerId>) -> Result<Vec<PathBuf>, EngineError> {
        let error = |source| EngineError::Io { action: "list the pinned namespaces", source };
        let pins = Path::new("/run/netns");
        let mut candidates = Vec::new();
        for name in store::list(pins).map_err(error)? {
            let Ok(id) = name.parse::<ContainerId>() else { continue };
            if known.contains(&id) {
                continue;
            }
            let path = pins.join(&id);
            let Ok(inode) = std::fs::metadata(&path).map(|metadata| metadata.ino()) else { continue };
            // Its container may have been started since we looked, or may just be ending.
            if self.find(id.as_str()).is_ok_and(|found| found.state.is_up() || !found.state.can_start()) {
                continue;
            }
            candidates.push((path, inode));
        }
        if candidates.is_empty() {
            return Ok(Vec::new());
        }
        let used = namespaces_of_processes();
        Ok(candidates.into_iter().filter(|(_, inode)| !used.contains(inode)).map(|(path, _)| path).collect())
    }

    /// Whether a pinned namespace belongs to a container of this root directory.
    fn is_of_a_container(&self, pin: &Path) -> bool {
        let id = pin.file_name().and_then(|name| name.to_str()?.parse::<ContainerId>().ok());
        id.is_some_and(|id| Record::load(&self.layout, &id).is_ok())
    }

    /// Mounts below our directory of overlays of containers that do not run.
    fn leaked_mounts(&self, known: &BTreeSet<ContainerId>) -> Result<Vec<PathBuf>, EngineError> {
        let error = |source| EngineError::Io { action: "list the mounts", source };
        let table = std::fs::read_to_string("/proc/thread-self/mountinfo").map_err(error)?;
        let mut leaked = Vec::new();
        for target in table.lines().filter_map(|line| line.split(' ').nth(4)) {
            let target = Path::new(target);
            let id = self.container_of_mount(target);
            let Some(id) = id.filter(|id| !known.contains(id)) else { continue };
            // A copy from a container that does not run mounts it for a moment, and holds nothing afterwards.
            if !self.find(id.as_str()).is_ok_and(|found| found.state.is_up() || !found.state.can_start()) {
                leaked.push(target.to_owned());
            }
        }
        Ok(leaked)
    }

    /// The container whose overlay a mount is on.
    fn container_of_mount(&self, target: &Path) -> Option<ContainerId> {
        // What the kernel prints has the symbolic links resolved.
        let overlays = self.layout.root().join("overlay2");
        let overlays = overlays.canonicalize().unwrap_or(overlays);
        target.strip_prefix(&overlays).ok()?.iter().next()?.to_str()?.parse().ok()
    }
}

/// The network namespaces that processes are in, by their numbers.
fn namespaces_of_processes() -> BTreeSet<u64> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbered = processes.filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok());
    let inodes = numbered.filter_map(|entry| std::fs::metadata(entry.path().join("ns/net")).ok());
    inodes.map(|metadata| metadata.ino()).collect()
}
