//! The processes of a container.

use super::containers;
use super::host::hierarchy;
use super::{EngineError, events};
use crate::container::run::processes::{self, Task};
use crate::store::Layout;

pub(super) fn processes(layout: &Layout, reference: &str) -> Result<Vec<Task>, EngineError> {
    let snapshot = containers::find(layout, reference)?;
    if snapshot.state.can_start() {
        return Err(EngineError::NotRunning { action: "list the processes of", name: snapshot.record.name });
    }
    let found = processes::list(hierarchy()?, &snapshot.record.group());
    events::container(layout, &snapshot.record, "top", &[]);
    Ok(found)
}
