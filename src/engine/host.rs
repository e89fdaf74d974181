//! The host's control groups.

use super::EngineError;
use crate::container::run::cgroup::Hierarchy;
use crate::container::run::runtime::RuntimeError;
use crate::needs::Groups;

/// How the host's control groups are arranged, for those who look for what is missing.
pub(super) fn groups() -> Groups {
    let none = Groups { tree: None, unified: false, beside: false, controllers: Vec::new() };
    Hierarchy::of_host().map_or(none, Hierarchy::described)
}

/// The host's control groups.
pub(super) fn hierarchy() -> Result<&'static Hierarchy, EngineError> {
    Ok(Hierarchy::of_host().map_err(RuntimeError::from)?)
}
