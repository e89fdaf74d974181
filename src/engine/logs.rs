//! What a container wrote.

use super::{Engine, EngineError, Record};
use crate::container::log::{Entry, Reader};

/// Which part of a log is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRequest {
    /// Whether to go on until the container ends.
    pub follow: bool,
    /// How many entries before the end to start at; `None` for the beginning.
    pub tail: Option<u64>,
}

impl Engine {
    /// Hands the entries of a container's log to `show` until it returns false.
    ///
    /// # Errors
    /// There is no such container, or its log cannot be read.
    pub fn logs(
        &self,
        reference: &str,
        request: LogRequest,
        show: impl FnMut(Entry) -> bool,
    ) -> Result<(), EngineError> {
        let record = self.find(reference)?.record;
        let mut reader = Reader::open(&self.layout.container_log(&record.id), request.tail)?;
        let id = record.id;
        // A container that was removed meanwhile writes nothing any more; one that cannot be read, who knows.
        let writes = || {
            request.follow
                && Record::load(&self.layout, &id)
                    .and_then(|record| record.status())
                    .is_ok_and(|state| !state.can_start())
        };
        Ok(reader.follow(writes, show)?)
    }
}
