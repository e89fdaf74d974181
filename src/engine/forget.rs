//! What is left of a container that does not run is removed.

use super::containers::Record;
use super::{EngineError, events, volumes};
use crate::container::life::index;
use crate::container::life::record::{RecordError, State};
use crate::container::tree::rootfs;
use crate::names::ContainerId;
use crate::network::Networks;
use crate::store::Layout;

/// Removes what is left of a container that does not run: its layer, its log, its record, its name, and
/// with `volumes`, or if it was to go by itself, the volumes that it did not name. One that is gone already
/// is no error.
pub(super) fn forget(
    layout: &Layout,
    networks: &mut Networks,
    id: &ContainerId,
    volumes: bool,
) -> Result<(), EngineError> {
    // From here on it cannot be started, and if this is killed, the record shows that it was being removed.
    let marked = Record::update(layout, id, |record| {
        let state = record.status()?;
        if !state.can_remove() {
            let name = record.name.clone();
            let state = match state {
                // Another command has begun since this one looked.
                State::Removing { .. } => "being removed",
                state => state.as_str(),
            };
            return Err(EngineError::Is { action: "remove", name, state });
        }
        record.state = State::removing()?;
        Ok(record.clone())
    });
    let record = match marked {
        Err(EngineError::Record(RecordError::NotFound(_))) => return Ok(()),
        marked => marked?,
    };
    // Only what a killed command has left: it has been taken down.
    networks.disconnect_container(id, &[])?;
    rootfs::remove(layout, id)?;
    index::remove(layout, id, &record.name)?;
    events::container(layout, &record, "destroy", &[]);
    if volumes || record.config.auto_remove { volumes::remove_anonymous(layout, &record) } else { Ok(()) }
}
