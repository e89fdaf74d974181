//! The progress of pulls and pushes, layer by layer.

use crate::names::Digest;

/// How far a layer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerState {
    /// It is known, and its turn has not come.
    Waiting,
    /// So many bytes of so many have come or gone.
    Moving {
        /// How many.
        done: u64,
        /// Of how many.
        size: u64,
    },
    /// It is done.
    Done,
    /// It was there already.
    Exists,
}

/// Whoever wants to know how far things are. Called from several threads.
pub trait Progress: Sync {
    /// A layer has come so far.
    fn layer(&self, layer: &Digest, transfer: LayerState);
}
