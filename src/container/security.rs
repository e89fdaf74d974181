//! What a container may do beyond or short of the default.

use serde::{Deserialize, Serialize};

/// What a container may do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Security {
    /// Whether nothing is kept from it.
    pub privileged: bool,
}
