//! The disk space of everything, and the removal of containers that are not used.

use std::collections::HashSet;

use super::containers::{self, Record};
use super::volumes::{self, VolumeFilter};
use super::{EngineError, events, images, privileges, remove, stats};
use crate::container::request::mounts::Mount;
use crate::container::tree::disk;
use crate::events::Kind;
use crate::names::{ContainerId, Digest};
use crate::network::Networks;
use crate::store::Layout;

/// What objects of one kind take on the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Space {
    /// How many there are.
    pub count: usize,
    /// How many of them are used: of containers, how many run.
    pub active: usize,
    /// The bytes of all.
    pub bytes: u64,
    /// The bytes of those that are used.
    pub used: u64,
}

impl Space {
    fn add(&mut self, bytes: u64, active: bool) {
        self.count += 1;
        self.bytes += bytes;
        if active {
            self.active += 1;
            self.used += bytes;
        }
    }
}

/// What everything takes on the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskSpace {
    /// Images. A layer that several of them share counts once.
    pub images: Space,
    /// What containers wrote.
    pub containers: Space,
    /// Volumes.
    pub volumes: Space,
}

pub(super) fn used(layout: &Layout) -> Result<DiskSpace, EngineError> {
    privileges::for_containers()?;
    let mut space = DiskSpace::default();
    let (mut in_use, mut mounted) = (HashSet::new(), HashSet::new());
    for snapshot in containers::list(layout)?.containers {
        let record = &snapshot.record;
        space.containers.add(stats::disk_usage(layout, record, false).own, snapshot.state.is_up());
        in_use.extend(record.config.settings.image_id.clone());
        let of_mounts = record.config.settings.mounts.iter().filter_map(Mount::image);
        in_use.extend(of_mounts.map(|(id, _)| id.clone()));
        mounted.extend(record.config.settings.mounts.iter().filter_map(Mount::volume).cloned());
    }
    space.images = used_by_images(layout, &in_use)?;
    for volume in volumes::list(layout, &VolumeFilter::default())? {
        // One that is being removed has no files to be counted, and one that is a directory of the host's none of
        // its own.
        let is_own = !volume.path.is_symlink();
        let bytes = if is_own { disk::size(&volume.path).unwrap_or(0) } else { 0 };
        space.volumes.add(bytes, mounted.contains(&volume.name));
    }
    Ok(space)
}

fn used_by_images(layout: &Layout, in_use: &HashSet<Digest>) -> Result<Space, EngineError> {
    let store = images::store(layout);
    let (mut space, mut layers, mut used_layers) = (Space::default(), HashSet::new(), HashSet::new());
    for image in store.list()? {
        let is_used = in_use.contains(&image.id);
        space.add(0, is_used);
        if is_used {
            used_layers.extend(image.config.rootfs.diff_ids.clone());
        }
        layers.extend(image.config.rootfs.diff_ids);
    }
    let sizes = store.layer_sizes()?;
    let sum = |layers: &HashSet<Digest>| layers.iter().filter_map(|layer| sizes.get(layer)).sum();
    Ok(Space { bytes: sum(&layers), used: sum(&used_layers), ..space })
}

pub(super) fn prune(
    layout: &Layout,
    networks: &mut Networks,
    wanted: impl Fn(&Record) -> bool,
) -> Result<(Vec<ContainerId>, u64), EngineError> {
    privileges::for_containers()?;
    let (mut removed, mut freed) = (Vec::new(), 0);
    for snapshot in containers::list(layout)?.containers {
        let record = snapshot.record;
        if !snapshot.state.can_remove() || !wanted(&record) {
            continue;
        }
        let bytes = stats::disk_usage(layout, &record, false).own;
        match remove::remove(layout, networks, record.id.as_str(), false, false) {
            Ok(()) => {
                freed += bytes;
                removed.push(record.id);
            }
            // Another command was faster: it is gone, or it runs.
            Err(EngineError::StillUp { .. } | EngineError::Is { .. }) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    events::pruned(layout, Kind::Container, freed);
    Ok((removed, freed))
}
