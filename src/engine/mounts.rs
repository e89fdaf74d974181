//! What is mounted in a container.

use std::os::fd::AsFd as _;
use std::path::PathBuf;

use super::containers::{self, Record};
use super::volumes::{DRIVER, new_name};
use super::{EngineError, Settings, etc_files, images, volumes};
use crate::container::request::config::ContainerPath;
use crate::container::request::mounts::{self, Kind, Mount, Propagation, Source};
use crate::container::tree::mount_points::{self, MountPoints};
use crate::container::tree::rootfs::Rootfs;
use crate::names::VolumeName;
use crate::store::Layout;
use crate::volume::Wanted;

/// Something mounted in a container, as `inspect` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountView {
    /// bind, volume, tmpfs or image.
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

/// Decides what a new container has mounted: what it asks for, then what the containers have whose
/// volumes it takes over, then volumes for the paths that its image wants to have kept. Each volume gets
/// a name.
pub(super) fn settle(
    layout: &Layout,
    settings: &mut Settings,
    image_volumes: &[ContainerPath],
) -> Result<(), EngineError> {
    mounts::check_distinct(&settings.mounts)?;
    let mut inherited: Vec<Mount> = Vec::new();
    for from in &settings.volumes_from {
        let other = containers::find(layout, &from.container)?.record;
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
        if let Source::Volume { name: Some(name), options, .. } = &mount.source {
            Wanted { options: options.clone(), ..Wanted::default() }.directory(name)?;
        }
        // One that another container has is known.
        if let Source::Image { name, id: id @ None, layers, .. } = &mut mount.source {
            let image = images::find(layout, name)?;
            (*id, *layers) = (image.id, image.layers);
        }
    }
    Ok(())
}

/// Gets everything ready that is to be mounted in a container whose root file system is mounted.
pub(super) fn prepare(layout: &Layout, record: &Record, rootfs: &Rootfs) -> Result<MountPoints, EngineError> {
    // They may have been removed by hand since the container was made.
    volumes::make(layout, record)?;
    let files = etc_files::of(layout, record)?;
    files.make()?;
    Ok(mount_points::prepare(layout, &record.id, &record.config, &files, rootfs.as_fd())?)
}

pub(super) fn view(layout: &Layout, record: &Record) -> Vec<MountView> {
    let view = |mount: &Mount| {
        let (source, driver, propagation) = match &mount.source {
            Source::Bind { path, propagation, .. } => (path.clone(), None, propagation.as_str()),
            Source::Volume { name, part, .. } => {
                let data = name.as_ref().map_or(PathBuf::new(), |name| layout.volume_data(name));
                (part.as_ref().map_or(data.clone(), |part| data.join(part)), Some(DRIVER), "")
            }
            Source::Tmpfs { .. } => (PathBuf::new(), None, ""),
            Source::Image { layers, .. } => (layers.first().cloned().unwrap_or_default(), None, ""),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Layout;

    #[test]
    fn an_image_gets_its_volumes_where_the_user_wants_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path().join("root"), directory.path().join("run"));
        let own = Mount::from_tmpfs_option("/cache").unwrap();
        let mut settings = Settings { mounts: vec![own.clone()], ..Settings::default() };
        let path = |text: &str| ContainerPath::new(text.as_ref()).unwrap();
        settle(&layout, &mut settings, &[path("/data"), path("/cache"), path("/data")]).unwrap();
        assert_eq!(settings.mounts.len(), 2);
        assert_eq!(settings.mounts[0], own);
        assert_eq!(settings.mounts[1].destination, path("/data"));
        assert!(settings.mounts[1].anonymous_name().is_some());
        // What was settled once stays as it is.
        let before = settings.clone();
        settle(&layout, &mut settings, &[path("/data")]).unwrap();
        assert_eq!(settings, before);
        assert!(settle(&layout, &mut settings, &[path("/")]).is_err());
        settings.mounts.push(own);
        assert!(settle(&layout, &mut settings, &[]).is_err());
    }
}
