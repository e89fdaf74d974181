//! Changing a container that is there.

use super::containers::{self, Record};
use super::host::hierarchy;
use super::{EngineError, events, privileges};
use crate::container::life::record::State;
use crate::container::request::limits::{Limits, Machine};
use crate::container::request::restart::RestartPolicy;
use crate::container::run::cgroup::{self, GroupPath, Hierarchy};
use crate::container::run::runtime::RuntimeError;
use crate::store::Layout;

pub(super) fn update(
    layout: &Layout,
    reference: &str,
    restart: Option<RestartPolicy>,
    change: impl Fn(&mut Limits),
) -> Result<(), EngineError> {
    privileges::for_containers()?;
    let record = containers::find(layout, reference)?.record;
    let id = record.id.clone();
    let hierarchy = hierarchy()?;
    let machine = Machine::read(hierarchy.version());
    // The kernel is asked within the change of the record, so that of two updates at once the record has
    // what the kernel has.
    Record::update(layout, &id, |record| {
        if let Some(policy) = restart {
            if record.config.auto_remove && policy != RestartPolicy::No {
                let other = format!("the --rm of container {}", record.name);
                return Err(EngineError::Conflict { option: format!("--restart {policy}"), other });
            }
            record.config.settings.restart = policy;
        }
        let mut limits = record.config.settings.limits.clone();
        change(&mut limits);
        if limits == record.config.settings.limits {
            return Ok(());
        }
        limits.check()?;
        limits.check_on(&machine)?;
        // One whose first process has ended is being taken down, its groups with it.
        if matches!(record.status()?, State::Running { init, .. } if init.is_alive()) {
            enforce(hierarchy, &record.group(), &limits)?;
        }
        record.config.settings.limits = limits;
        Ok::<(), EngineError>(())
    })?;
    events::container(layout, &record, "update", &[]);
    Ok(())
}

/// Gives the groups of a container that runs already these limits.
pub(super) fn enforce(hierarchy: &Hierarchy, group: &GroupPath, limits: &Limits) -> Result<(), EngineError> {
    Ok(cgroup::set_limits(hierarchy, group, limits).map_err(RuntimeError::from)?)
}
