//! What containers use of the host.

use super::{Engine, EngineError, Record, Snapshot, State};
use crate::container::run::usage::{self, Usage};
use crate::container::tree::disk;

/// The bytes that a container takes on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskUsage {
    /// What it wrote.
    pub own: u64,
    /// The files of its image, if they were to be counted.
    pub image: Option<u64>,
}

impl Engine {
    /// What a container uses now; `None` for one that does not run.
    ///
    /// # Errors
    /// The host has no control groups.
    pub fn usage(&self, snapshot: &Snapshot) -> Result<Option<Usage>, EngineError> {
        let State::Running { init, .. } = &snapshot.state else { return Ok(None) };
        let hierarchy = super::hierarchy()?;
        // The traffic of the host or of another container is nothing that this one does.
        let own_network = snapshot.record.network.mode.is_own();
        Ok(Some(usage::read(hierarchy, &snapshot.record.id, own_network.then_some(init.pid))))
    }

    /// How much disk a container takes. All its files are looked at, and with `image` all those of its image,
    /// so it takes time.
    ///
    /// What cannot be read is not counted; a container that never ran has nothing of its own.
    #[must_use]
    pub fn disk_usage(&self, record: &Record, image: bool) -> DiskUsage {
        let own = disk::size(&self.layout.overlay(&record.id).join("upper")).unwrap_or(0);
        let layers = record.config.layers.iter().map(|layer| disk::size(layer).unwrap_or(0));
        DiskUsage { own, image: image.then(|| layers.sum()) }
    }
}
