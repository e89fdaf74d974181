//! Volumes, and which containers need them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use super::containers::{self, Record};
use super::{EngineError, events, privileges};
use crate::container::request::mounts::{Mount, Source};
use crate::events::Kind;
use crate::names::{ContainerName, VolumeName};
use crate::store::Layout;
use crate::volume::{Volume, VolumeError, Volumes, Wanted};

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
    /// The options that it was made with.
    pub options: BTreeMap<String, String>,
    /// Whether it is anonymous: made for a container, without a name given by the user.
    pub anonymous: bool,
}

/// A part of a name, at its beginning after `^` and at its end before `$`. Docker takes it for a regular expression, of
/// which these are what names need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePattern(pub String);

impl NamePattern {
    /// Whether the name is meant.
    #[must_use]
    pub fn fits(&self, name: &str) -> bool {
        let wanted = self.0.as_str();
        let (start, wanted) = wanted.strip_prefix('^').map_or((false, wanted), |wanted| (true, wanted));
        let (end, wanted) = wanted.strip_suffix('$').map_or((false, wanted), |wanted| (true, wanted));
        match (start, end) {
            (true, true) => name == wanted,
            (true, false) => name.starts_with(wanted),
            (false, true) => name.ends_with(wanted),
            (false, false) => name.contains(wanted),
        }
    }
}

/// Which volumes are meant. A volume has to satisfy everything that is set.
#[derive(Debug, Clone, Default)]
pub struct VolumeFilter {
    /// Whether no container uses it.
    pub dangling: Option<bool>,
    /// What its name looks like: one of these.
    pub names: Vec<NamePattern>,
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
            && (self.names.is_empty() || self.names.iter().any(|name| name.fits(volume.name.as_str())))
            && any(&self.drivers, &|driver| driver == DRIVER)
            && self.labels.iter().all(|(key, wanted)| {
                let value = volume.labels.get(key);
                value.is_some_and(|value| wanted.as_ref().is_none_or(|wanted| wanted == value))
            })
    }
}

/// The only driver of volumes.
pub(super) const DRIVER: &str = crate::volume::DRIVER;

/// What a removal of unused volumes has removed.
#[derive(Debug, Clone)]
pub struct Pruned {
    /// The volumes.
    pub names: Vec<VolumeName>,
    /// The bytes that their files took.
    pub bytes: u64,
}

pub(super) fn create(
    layout: &Layout,
    name: Option<VolumeName>,
    mut wanted: Wanted,
) -> Result<VolumeName, EngineError> {
    privileges::for_containers()?;
    wanted.anonymous = name.is_none();
    let name = name.map_or_else(new_name, Ok)?;
    ensure(layout, &name, &wanted)?;
    Ok(name)
}

pub(super) fn list(layout: &Layout, filter: &VolumeFilter) -> Result<Vec<VolumeView>, EngineError> {
    let used = if filter.dangling.is_some() { users(layout)? } else { HashMap::new() };
    let mut volumes = Volumes::new(layout).list()?;
    volumes.retain(|volume| filter.matches(volume, &used));
    Ok(volumes.into_iter().map(|volume| view(layout, volume)).collect())
}

pub(super) fn inspect(layout: &Layout, name: &str) -> Result<VolumeView, EngineError> {
    Ok(view(layout, Volumes::new(layout).get(name)?))
}

fn view(layout: &Layout, volume: Volume) -> VolumeView {
    VolumeView {
        path: layout.volume_data(&volume.name),
        driver: DRIVER,
        name: volume.name,
        created: volume.created,
        labels: volume.labels,
        options: volume.options,
        anonymous: volume.anonymous,
    }
}

pub(super) fn remove(layout: &Layout, name: &str, force: bool) -> Result<(), EngineError> {
    privileges::for_containers()?;
    let volumes = Volumes::new(layout);
    volumes.clear_away()?;
    let lock = volumes.lock()?;
    let volume = match volumes.get(name) {
        Err(VolumeError::NotFound(_)) if force => return Ok(()),
        found => found?,
    };
    // A command that makes a container writes its record first and then looks for its volumes. So either its
    // record is seen here, or it finds the volume gone and makes it again.
    if let Some(users) = users(layout)?.get(&volume.name) {
        let users = users.iter().map(ToString::to_string).collect();
        return Err(VolumeError::InUse { name: volume.name, users }.into());
    }
    let removed = lock.remove(&volume.name)?;
    drop(lock);
    removed.erase()?;
    events::volume(layout, &volume.name, "destroy");
    Ok(())
}

pub(super) fn prune(layout: &Layout, all: bool, filter: &VolumeFilter) -> Result<Pruned, EngineError> {
    privileges::for_containers()?;
    let volumes = Volumes::new(layout);
    volumes.clear_away()?;
    let lock = volumes.lock()?;
    let used = users(layout)?;
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
    pruned.names.iter().for_each(|name| events::volume(layout, name, "destroy"));
    events::pruned(layout, Kind::Volume, pruned.bytes);
    Ok(pruned)
}

/// Makes a volume that is not there.
fn ensure(layout: &Layout, name: &VolumeName, wanted: &Wanted) -> Result<(), EngineError> {
    let volumes = Volumes::new(layout);
    let is_new = matches!(volumes.get(name.as_str()), Err(VolumeError::NotFound(_)));
    volumes.ensure(name, wanted)?;
    if is_new {
        events::volume(layout, name, "create");
    }
    Ok(())
}

/// Makes the volumes of a container that are not there. Its record is written.
pub(super) fn make(layout: &Layout, record: &Record) -> Result<(), EngineError> {
    for mount in &record.config.settings.mounts {
        if let Source::Volume { name: Some(name), labels, options, anonymous, .. } = &mount.source {
            let (labels, options) = (labels.clone(), options.clone());
            ensure(layout, name, &Wanted { labels, options, anonymous: *anonymous })?;
        }
    }
    Ok(())
}

/// Removes the volumes that a container had without having named them, unless another one has them, too.
/// The container's own record is gone.
pub(super) fn remove_anonymous(layout: &Layout, record: &Record) -> Result<(), EngineError> {
    let volumes = Volumes::new(layout);
    let names: Vec<&VolumeName> =
        record.config.settings.mounts.iter().filter_map(Mount::anonymous_name).collect();
    if names.is_empty() {
        return Ok(());
    }
    volumes.clear_away()?;
    let lock = volumes.lock()?;
    let used = users(layout)?;
    let mut all_removed = Vec::new();
    for name in names {
        match volumes.get(name.as_str()) {
            Ok(volume) if volume.anonymous && !used.contains_key(name) => {
                all_removed.push((lock.remove(name)?, name));
            }
            Ok(_) | Err(VolumeError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    drop(lock);
    for (removed, name) in all_removed {
        removed.erase()?;
        events::volume(layout, name, "destroy");
    }
    Ok(())
}

/// Which containers have which volumes, whether they run or not.
fn users(layout: &Layout) -> Result<HashMap<VolumeName, Vec<ContainerName>>, EngineError> {
    let mut users: HashMap<VolumeName, Vec<ContainerName>> = HashMap::new();
    for record in containers::records(layout)? {
        let names: BTreeSet<&VolumeName> =
            record.config.settings.mounts.iter().filter_map(Mount::volume).collect();
        for name in names {
            users.entry(name.clone()).or_default().push(record.name.clone());
        }
    }
    Ok(users)
}

pub(super) fn new_name() -> Result<VolumeName, EngineError> {
    Ok(VolumeName::generate().map_err(VolumeError::Random)?)
}
