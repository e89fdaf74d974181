//! All containers at once.

use super::{Engine, EngineError, Snapshot};
use crate::container::life::index;
use crate::container::life::record::RecordError;

/// What a listing found.
#[derive(Debug)]
pub struct Listing {
    /// The containers, the newest first.
    pub containers: Vec<Snapshot>,
    /// Why others cannot be listed: their records are damaged, or written by a newer mydocker.
    pub broken: Vec<EngineError>,
}

impl Engine {
    /// All containers that have a record which can be read, whatever is wrong with those of others.
    ///
    /// # Errors
    /// The directory of containers cannot be read.
    pub fn list_containers(&self) -> Result<Listing, EngineError> {
        let mut listing = Listing { containers: Vec::new(), broken: Vec::new() };
        for id in index::list(&self.layout)? {
            match self.snapshot(&id) {
                Ok(snapshot) => listing.containers.push(snapshot),
                // Removed since.
                Err(EngineError::Record(RecordError::NotFound(_))) => {}
                Err(error) => listing.broken.push(error),
            }
        }
        listing.containers.sort_by_key(|snapshot| std::cmp::Reverse(snapshot.record.created));
        Ok(listing)
    }
}
