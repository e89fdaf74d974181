//! The disk space of each image, container and volume by itself.

use std::collections::{HashMap, HashSet};

use super::containers::{self, Snapshot};
use super::volumes::{self, VolumeFilter, VolumeView};
use super::{EngineError, images, privileges, stats};
use crate::container::request::mounts::Mount;
use crate::container::tree::disk;
use crate::image::StoredImage;
use crate::names::Digest;
use crate::store::Layout;

/// What an image takes.
#[derive(Debug, Clone)]
pub struct ImageSpace {
    /// The image.
    pub image: StoredImage,
    /// The bytes of layers that other images have, too.
    pub shared: u64,
    /// The bytes of layers that it alone has.
    pub unique: u64,
    /// How many containers were made from it.
    pub containers: usize,
}

/// What each object takes on the disk.
#[derive(Debug, Clone, Default)]
pub struct SpaceOfEach {
    /// The images, the newest first.
    pub images: Vec<ImageSpace>,
    /// The containers, the newest first, and the bytes that each wrote.
    pub containers: Vec<(Snapshot, u64)>,
    /// The volumes by name: how many containers have each, and its bytes.
    pub volumes: Vec<(VolumeView, usize, u64)>,
}

pub(super) fn of_each(layout: &Layout) -> Result<SpaceOfEach, EngineError> {
    privileges::for_containers()?;
    let mut space = SpaceOfEach::default();
    let (mut made, mut links) = (HashMap::new(), HashMap::new());
    for snapshot in containers::list(layout)?.containers {
        let settings = &snapshot.record.config.settings;
        *made.entry(settings.image_id.clone()).or_insert(0) += 1;
        for volume in settings.mounts.iter().filter_map(Mount::volume) {
            *links.entry(volume.clone()).or_insert(0) += 1;
        }
        let bytes = stats::disk_usage(layout, &snapshot.record, false).own;
        space.containers.push((snapshot, bytes));
    }
    let store = images::store(layout);
    let (stored, sizes) = (store.list()?, store.layer_sizes()?);
    let mut holders: HashMap<Digest, usize> = HashMap::new();
    // An image may have one layer twice.
    let layers_of =
        |image: &StoredImage| -> HashSet<Digest> { image.config.rootfs.diff_ids.iter().cloned().collect() };
    for layer in stored.iter().flat_map(layers_of) {
        *holders.entry(layer).or_insert(0) += 1;
    }
    for image in stored {
        let layers = layers_of(&image);
        let sum = |shared: bool| {
            let meant = layers.iter().filter(|layer| (holders.get(*layer) > Some(&1)) == shared);
            meant.filter_map(|layer| sizes.get(layer)).sum()
        };
        let (shared, unique) = (sum(true), sum(false));
        let containers = made.get(&Some(image.id.clone())).copied().unwrap_or(0);
        space.images.push(ImageSpace { image, shared, unique, containers });
    }
    for volume in volumes::list(layout, &VolumeFilter::default())? {
        // A directory of the host's is none of its own.
        let bytes = if volume.path.is_symlink() { 0 } else { disk::size(&volume.path).unwrap_or(0) };
        let count = links.get(&volume.name).copied().unwrap_or(0);
        space.volumes.push((volume, count, bytes));
    }
    Ok(space)
}
