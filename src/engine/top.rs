//! The processes of a container.

use super::{Engine, EngineError};
use crate::container::run::processes::{self, Task};

impl Engine {
    /// The processes of a running container.
    ///
    /// # Errors
    /// There is no such container, or it does not run.
    pub fn processes(&self, reference: &str) -> Result<Vec<Task>, EngineError> {
        let snapshot = self.find(reference)?;
        if snapshot.state.can_start() {
            return Err(EngineError::NotRunning {
                action: "list the processes of",
                name: snapshot.record.name,
            });
        }
        let hierarchy = super::hierarchy()?;
        Ok(processes::list(hierarchy, &snapshot.record.id))
    }
}
