//! Volumes, and what else is mounted in containers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use super::containers::Record;
use super::{Engine, EngineError, NetworkMode, Settings, privileges};
use crate::container::life::index;
use crate::container::life::record::RecordError;
use crate::container::request::config::ContainerPath;
use crate::container::request::mounts::{self, Kind, Mount, Propagation, Source};
use crate::container::run::environment;
use crate::container::tree::files::{self, Files, Surroundings};
use crate::container::tree::mount_points::{self, MountPoints};
use crate::container::tree::rootfs::Rootfs;
use crate::names::{ContainerName, VolumeName};
use crate::network::{Endpoint, Family, InterfaceAddress};
use crate::volume::{Volume, VolumeError, Volumes};

/// A volume, as users see it.
#[derive(Debug, Clone)]
pub struct VolumeView {
    /// Its name.
    pub name: VolumeName,
    /// Its driver; there is only one.
    pub driver: &'static str,
    /// When it was made.
    pub created: chrono::DateTime<chrono::Utc>,
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
    /// Where its files are on the host.
    pub path: PathBuf,
    /// Whether it is anonymous: made for a container, without a name given by the user.
    pub anonymous: bool,
}

/// Which volumes are meant. A volume has to satisfy everything that is set.
#[derive(Debug, Clone, Default)]
pub struct VolumeFilter {
    /// Whether no container uses it.
    pub dangling: Option<bool>,
    /// A part of its name: one of these.
    pub names: Vec<String>,
    /// Labels that it has, with that value if there is one.
    pub labels: Vec<(String, Option<String>)>,
    /// Its driver: one of these.
    pub drivers: Vec<String>,
}

impl VolumeFilter {
    fn matches(&self, volume: &Volume, used: &HashMap<VolumeName, Vec<ContainerName>>) -> bool {
        let any =
            |wanted: &[String], is: &dyn Fn(&String) -> bool| wanted.is_empty() || wanted.iter().any(is);
        self.dangling.is_none_or(|dangling| dangling != used.contains_key(&volume.name))
            && any(&self.names, &|part| volume.name.as_str().contains(part.as_str()))
            && any(&self.drivers, &|driver| driver == DRIVER)
            && self.labels.iter().all(|(key, wanted)| {
                let value = volume.labels.get(key);
                value.is_some_and(|value| wanted.as_ref().is_none_or(|wanted| wanted == value))
            })
    }
}

/// The only driver of volumes.
const DRIVER: &str = "local";

/// What a removal of unused volumes has removed.
#[derive(Debug, Clone)]
pub struct Pruned {
    /// The volumes.
    pub names: Vec<VolumeName>,
    /// The bytes that their files took.
    pub bytes: u64,
}

/// Something mounted in a container, as `inspect` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountView {
    /// bind, volume or tmpfs.
    pub kind: &'static str,
    /// The volume's name.
    pub name: Option<VolumeName>,
    /// Where it is on the host; nothing for a file system in memory.
    pub source: PathBuf,
    /// Where it is in the container.
    pub destination: PathBuf,
    /// The volume's driver.
    pub driver: Option<&'static str>,
    /// The options that say whether it can be written to, and how mounts below it spread.
    pub mode: String,
    /// Whether it can be written to.
    pub writable: bool,
    /// How mounts below it spread.
    pub propagation: &'static str,
}

impl Engine {
    /// Makes a volume; one that is there already stays as it is. Without a name one is made up.
    ///
    /// # Errors
    /// A missing privilege, or the file system refuses.
    pub fn create_volume(
        &self,
        name: Option<VolumeName>,
        labels: &BTreeMap<String, String>,
    ) -> Result<VolumeName, EngineError> {
        privileges::for_containers()?;
        let anonymous = name.is_none();
        let name = name.map_or_else(new_name, Ok)?;
        Ok(Volumes::new(&self.layout).ensure(&name, labels, anonymous)?.name)
    }

    /// The volumes that `filter` means, by name.
    ///
    /// # Errors
    /// A record cannot be read.
    pub fn volumes(&self, filter: &VolumeFilter) -> Result<Vec<VolumeView>, EngineError> {
        let used = if filter.dangling.is_some() { self.volume_users()? } else { HashMap::new() };
        let mut volumes = Volumes::new(&self.layout).list()?;
        volumes.retain(|volume| filter.matches(volume, &used));
        Ok(volumes.into_iter().map(|volume| self.view(volume)).collect())
    }

    /// One volume.
    ///
    /// # Errors
    /// There is none of that name, or its record cannot be read.
    pub fn volume(&self, name: &str) -> Result<VolumeView, EngineError> {
        Ok(self.view(Volumes::new(&self.layout).get(name)?))
    }

    fn view(&self, volume: Volume) -> VolumeView {
        VolumeView {
            path: self.layout.volume_data(&volume.name),
            driver: DRIVER,
            name: volume.name,
            created: volume.created,
            labels: volume.labels,
            anonymous: volume.anonymous,
        }
    }

    /// Removes a volume that no container has. With `force`, one that is not there is no error.
    ///
    /// # Errors
    /// There is none of that name, or a container has it, running or not.
    pub fn remove_volume(&self, name: &str, force: bool) -> Result<(), EngineError> {
        privileges::for_containers()?;
        let volumes = Volumes::new(&self.layout);
        volumes.clear_away()?;
        let lock = volumes.lock()?;
        let volume = match volumes.get(name) {
            Err(VolumeError::NotFound(_)) if force => return Ok(()),
            found => found?,
        };
        // A command that makes a container writes its record first and then looks for its volumes. So either its
        // record is seen here, or it finds the volume gone and makes it again.
        if let Some(users) = self.volume_users()?.get(&volume.name) {
            let users = users.iter().map(ToString::to_string).collect();
            return Err(VolumeError::InUse { name: volume.name, users }.into());
        }
        let removed = lock.remove(&volume.name)?;
        drop(lock);
        Ok(removed.erase()?)
    }

    /// Removes the volumes that `filter` means, no container uses, and, unless `all` is set, that are anonymous.
    ///
    /// # Errors
    /// A record cannot be read, or the file system refuses.
    pub fn prune_volumes(&self, all: bool, filter: &VolumeFilter) -> Result<Pruned, EngineError> {
        privileges::for_containers()?;
        let volumes = Volumes::new(&self.layout);
        volumes.clear_away()?;
        let lock = volumes.lock()?;
        let used = self.volume_users()?;
        let mut pruned = Pruned { names: Vec::new(), bytes: 0 };
        let mut all_removed = Vec::new();
        for volume in volumes.list()? {
            let wanted = (all || volume.anonymous) && filter.matches(&volume, &used);
            if !wanted || used.contains_key(&volume.name) {
                continue;
            }
            all_removed.push(lock.remove(&volume.name)?);
            pruned.names.push(volume.name);
        }
        drop(lock);
        for removed in all_removed {
            pruned.bytes += removed.size()?;
            removed.erase()?;
        }
        Ok(pruned)
    }

    /// Which containers have which volumes, whether they run or not.
    fn volume_users(&self) -> Result<HashMap<VolumeName, Vec<ContainerName>>, EngineError> {
        let mut users: HashMap<VolumeName, Vec<ContainerName>> = HashMap::new();
        for id in index::list(&self.layout)? {
            let record = match Record::load(&self.layout, &id) {
                Err(RecordError::NotFound(_)) => continue,
                found => found?,
            };
            let names: BTreeSet<&VolumeName> =
                record.config.settings.mounts.iter().filter_map(Mount::volume).collect();
            for name in names {
                users.entry(name.clone()).or_default().push(record.name.clone());
            }
        }
        Ok(users)
    }

    /// Decides what a new container has mounted: what it asks for, then what the containers have whose
    /// volumes it takes over, then volumes for the paths that its image wants to have kept. Each volume gets
    /// a name.
    pub(super) fn settle_mounts(
        &self,
        settings: &mut Settings,
        image_volumes: &[ContainerPath],
    ) -> Result<(), EngineError> {
        mounts::check_distinct(&settings.mounts)?;
        let mut inherited: Vec<Mount> = Vec::new();
        for from in &settings.volumes_from {
            let other = self.find(&from.container)?.record;
            for mut mount in other.config.settings.mounts {
                if mount.kind() == Kind::Tmpfs {
                    continue;
                }
                mount.read_only |= from.read_only;
                // The last of several containers counts.
                inherited.retain(|earlier| earlier.destination != mount.destination);
                inherited.push(mount);
            }
        }
        for path in image_volumes {
            inherited.push(Mount::anonymous_volume(path.clone())?);
        }
        for mount in inherited {
            if settings.mounts.iter().all(|own| own.destination != mount.destination) {
                settings.mounts.push(mount);
            }
        }
        for mount in &mut settings.mounts {
            if let Source::Volume { name: name @ None, .. } = &mut mount.source {
                *name = Some(new_name()?);
            }
        }
        Ok(())
    }

    /// Makes the volumes of a container that are not there. Its record is written.
    pub(super) fn make_volumes(&self, record: &Record) -> Result<(), EngineError> {
        let volumes = Volumes::new(&self.layout);
        for mount in &record.config.settings.mounts {
            if let Source::Volume { name: Some(name), labels, anonymous, .. } = &mount.source {
                volumes.ensure(name, labels, *anonymous)?;
            }
        }
        Ok(())
    }

    /// Removes the volumes that a container had without having named them, unless another one has them, too.
    /// The container's own record is gone.
    pub(super) fn remove_anonymous_volumes(&self, record: &Record) -> Result<(), EngineError> {
        let volumes = Volumes::new(&self.layout);
        let names: Vec<&VolumeName> =
            record.config.settings.mounts.iter().filter_map(Mount::anonymous_name).collect();
        if names.is_empty() {
            return Ok(());
        }
        volumes.clear_away()?;
        let lock = volumes.lock()?;
        let used = self.volume_users()?;
        let mut all_removed = Vec::new();
        for name in names {
            match volumes.get(name.as_str()) {
                Ok(volume) if volume.anonymous && !used.contains_key(name) => {
                    all_removed.push(lock.remove(name)?);
                }
                Ok(_) | Err(VolumeError::NotFound(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        drop(lock);
        for removed in all_removed {
            removed.erase()?;
        }
        Ok(())
    }

    /// Gets everything ready that is to be mounted in a container whose root file system is mounted.
    pub(super) fn prepare_mounts(
        &self,
        record: &Record,
        rootfs: &Rootfs,
    ) -> Result<MountPoints, EngineError> {
        // They may have been removed by hand since the container was made.
        self.make_volumes(record)?;
        let files = self.files(record)?;
        files.make()?;
        Ok(mount_points::prepare(&self.layout, &record.id, &record.config, &files, rootfs.as_fd())?)
    }

    /// Where the files of a container lie that are mounted in it: those about the network are its owner's.
    pub(super) fn files(&self, record: &Record) -> Result<Files, EngineError> {
        let mut owner = record.id.clone();
        let mut mode = record.network.mode.clone();
        while let NetworkMode::Container(next) = mode {
            mode = Record::load(&self.layout, &next)?.network.mode;
            owner = next;
        }
        Ok(Files::new(&self.layout, &record.id, &owner))
    }

    /// Writes `/etc/hosts`, `hostname` and `resolv.conf` of a container that is about to run its command.
    pub(super) fn write_files(&self, record: &Record, endpoints: &[Endpoint]) -> Result<(), EngineError> {
        let surroundings = match &record.network.mode {
            NetworkMode::Host => Surroundings::Host,
            _ if endpoints.is_empty() => Surroundings::Nowhere,
            _ => Surroundings::Networks {
                addresses: endpoints
                    .iter()
                    .flat_map(|endpoint| &endpoint.addresses)
                    .map(InterfaceAddress::address)
                    .collect(),
                gateway: {
                    let forwards = |endpoint: &&Endpoint| {
                        Family::ALL.into_iter().any(|family| endpoint.gateway(family).is_some())
                    };
                    let first = endpoints.iter().find(forwards).or(endpoints.first());
                    first.and_then(|endpoint| self.host_seen_from(endpoint))
                },
            },
        };
        let settings = &record.config.settings;
        let hostname = hostname(record);
        let (files, domainname) = (self.files(record)?, settings.domainname.as_ref());
        Ok(files::write(&files, &hostname, domainname, &settings.resolution, &surroundings)?)
    }

    /// The host's address in a network: its gateway's, even where no route leads through it.
    fn host_seen_from(&self, endpoint: &Endpoint) -> Option<IpAddr> {
        let routed = [Family::V4, Family::V6].into_iter().find_map(|family| endpoint.gateway(family));
        routed.or_else(|| {
            let network = self.networks.get(endpoint.network.as_str()).ok()?;
            network.blocks().next().map(|block| block.gateway)
        })
    }

    /// What is mounted in a container when it runs.
    #[must_use]
    pub fn mounts(&self, record: &Record) -> Vec<MountView> {
        let view = |mount: &Mount| {
            let (source, driver, propagation) = match &mount.source {
                Source::Bind { path, propagation, .. } => (path.clone(), None, propagation.as_str()),
                Source::Volume { name, .. } => (
                    name.as_ref().map_or(PathBuf::new(), |name| self.layout.volume_data(name)),
                    Some(DRIVER),
                    "",
                ),
                Source::Tmpfs { .. } => (PathBuf::new(), None, ""),
            };
            let access = if mount.read_only { "ro" } else { "" };
            // A default is not a request.
            let spread = if propagation == Propagation::default().as_str() { "" } else { propagation };
            let mode: Vec<&str> = [access, spread].into_iter().filter(|word| !word.is_empty()).collect();
            MountView {
                kind: mount.kind().as_str(),
                name: mount.volume().cloned(),
                source,
                destination: mount.destination.as_path().to_owned(),
                driver,
                mode: mode.join(","),
                writable: !mount.read_only,
                propagation,
            }
        };
        record.config.settings.mounts.iter().map(view).collect()
    }
}

fn new_name() -> Result<VolumeName, EngineError> {
    Ok(VolumeName::generate().map_err(VolumeError::Random)?)
}

/// The host name that a container has or is to have.
pub(super) fn hostname(record: &Record) -> String {
    if record.config.settings.security.namespaces.uts.is_host() {
        nix::unistd::gethostname().map_or(String::new(), |name| name.to_string_lossy().into_owned())
    } else {
        environment::hostname(&record.config, &record.id).to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Layout;

    #[test]
    fn an_image_gets_its_volumes_where_the_user_wants_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path().join("root"), directory.path().join("run"));
        let engine = Engine::new(layout, Vec::new());
        let own = Mount::from_tmpfs_option("/cache").unwrap();
        let mut settings = Settings { mounts: vec![own.clone()], ..Settings::default() };
        let path = |text: &str| ContainerPath::new(text.as_ref()).unwrap();
        engine.settle_mounts(&mut settings, &[path("/data"), path("/cache"), path("/data")]).unwrap();
        assert_eq!(settings.mounts.len(), 2);
        assert_eq!(settings.mounts[0], own);
        assert_eq!(settings.mounts[1].destination, path("/data"));
        assert!(settings.mounts[1].anonymous_name().is_some());
        // What was settled once stays as it is.
        let before = settings.clone();
        engine.settle_mounts(&mut settings, &[path("/data")]).unwrap();
        assert_eq!(settings, before);
        assert!(engine.settle_mounts(&mut settings, &[path("/")]).is_err());
        settings.mounts.push(own);
        assert!(engine.settle_mounts(&mut settings, &[]).is_err());
    }
}
