//! The engine as the command line sees it: which operations there are. What each does is in a file of its own, which
//! gets the parts that it needs.

mod containers;
mod networks;
mod storage;

use std::ffi::OsString;

use super::Engine;
use super::launch::Supervisors;
use crate::network::Networks;
use crate::store::Layout;

impl Engine {
    /// Opens the engine. `supervisor` are the arguments with which our own binary supervises a container
    /// below the same directories.
    #[must_use]
    pub fn new(layout: Layout, supervisor: Vec<OsString>) -> Self {
        let networks = Networks::new(layout.clone());
        Self { layout, networks, supervisors: Supervisors::new(supervisor) }
    }
}
