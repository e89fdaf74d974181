//! What containers use of the host.

use std::path::PathBuf;

use super::EngineError;
use super::containers::{Record, Snapshot};
use super::host::hierarchy;
use crate::container::life::record::State;
use crate::container::run::usage::{self, Usage};
use crate::container::tree::disk;
use crate::store::Layout;

/// The bytes that a container takes on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskUsage {
    /// What it wrote.
    pub own: u64,
    /// The files of its image, if they were to be counted.
    pub image: Option<u64>,
}

pub(super) fn usage(snapshot: &Snapshot) -> Result<Option<Usage>, EngineError> {
    let State::Running { init, .. } = &snapshot.state else { return Ok(None) };
    let hierarchy = hierarchy()?;
    // The traffic of the host or of another container is nothing that this one does.
    let own_network = snapshot.record.network.mode.is_own();
    Ok(Some(usage::read(hierarchy, &snapshot.record.group(), own_network.then_some(init.pid))))
}

pub(super) fn disk_usage(layout: &Layout, record: &Record, image: bool) -> DiskUsage {
    let own = disk::size(&layout.overlay(&record.id).join("upper")).unwrap_or(0);
    // Those of stored images are links to where they lie.
    let size = |layer: &PathBuf| std::fs::canonicalize(layer).and_then(|layer| disk::size(&layer));
    let layers = record.config.layers.iter().map(|layer| size(layer).unwrap_or(0));
    DiskUsage { own, image: image.then(|| layers.sum()) }
}
