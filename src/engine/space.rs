//! The disk space of everything, and the removal of containers that are not used.

use std::collections::HashSet;

use super::containers::{self, Record};
use super::volumes::{self, VolumeFilter};
use super::{EngineError, images, privileges, remove, stats};
use crate::container::request::mounts::Mount;
use crate::container::tree::disk;
use crate::names::ContainerId;
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
    /// Images, each with all of its layers.
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
        mounted.extend(record.config.settings.mounts.iter().filter_map(Mount::volume).cloned());
    }
    for image in images::store(layout).list()? {
        space.images.add(image.size, in_use.contains(&image.id));
    }
    for volume in volumes::list(layout, &VolumeFilter::default())? {
        // One that is being removed has no files to be counted.
        let bytes = disk::size(&volume.path).unwrap_or(0);
        space.volumes.add(bytes, mounted.contains(&volume.name));
    }
    Ok(space)
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
    Ok((removed, freed))
}
