//! What containers use of the host.

use super::{Engine, EngineError, NetworkMode, Record, Snapshot, State};
use crate::container::cgroup::Hierarchy;
use crate::container::usage::{self, Usage};
use crate::container::{disk, runtime};

/// The bytes that a container takes on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskUsage {
    /// What it wrote.
    pub own: u64,
    /// That and its image.
    pub whole: u64,
}

impl Engine {
    /// What a container uses now; `None` for one that does not run.
    ///
    /// # Errors
    /// The host has no control groups.
    pub fn usage(&self, snapshot: &Snapshot) -> Result<Option<Usage>, EngineError> {
        let State::Running { init, .. } = &snapshot.state else { return Ok(None) };
        let hierarchy = Hierarchy::detect().map_err(runtime::RuntimeError::from)?;
        // The host's own traffic is nothing that this container does.
        let own_network = snapshot.record.network.mode != NetworkMode::Host;
        Ok(Some(usage::read(&hierarchy, &snapshot.record.id, own_network.then_some(init.pid))))
    }

    /// How much disk a container takes: all its files are looked at, so it takes time.
    ///
    /// What cannot be read is not counted; a container that never ran has nothing of its own.
    #[must_use]
    pub fn disk_usage(&self, record: &Record) -> DiskUsage {
        let own = disk::size(&self.layout.overlay(&record.id).join("upper")).unwrap_or(0);
        let layers = record.config.layers.iter().map(|layer| disk::size(layer).unwrap_or(0));
        DiskUsage { own, whole: own + layers.sum::<u64>() }
    }
}
