//! The names of what there is, for completing command lines: read from directories of names alone, whatever bears them.

use super::images;
use crate::names::{ContainerName, NetworkName, VolumeName};
use crate::store::{self, Layout};

/// What is called by a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// Containers.
    Container,
    /// Networks, among them those that are there by themselves.
    Network,
    /// Volumes.
    Volume,
    /// Images.
    Image,
}

/// The names of all that there is of a kind; none where they cannot be read.
#[must_use]
pub fn names(layout: &Layout, kind: Named) -> Vec<String> {
    let listed = |directory: std::path::PathBuf| store::list(&directory).unwrap_or_default();
    let mut names = match kind {
        // What is no name belongs to a command that is under way.
        Named::Container => listed(layout.container_names()),
        Named::Network => {
            [listed(layout.networks()), ["bridge", "host", "none"].map(str::to_owned).to_vec()].concat()
        }
        Named::Volume => listed(layout.volumes()),
        Named::Image => {
            let images = images::store(layout).list().unwrap_or_default();
            images.iter().flat_map(|image| image.names.iter().map(ToString::to_string)).collect()
        }
    };
    match kind {
        Named::Container => names.retain(|name| name.parse::<ContainerName>().is_ok()),
        Named::Network => {
            names.retain(|name| name.parse::<NetworkName>().is_ok() || name == "host" || name == "none")
        }
        Named::Volume => names.retain(|name| name.parse::<VolumeName>().is_ok()),
        Named::Image => {}
    }
    names.sort_unstable();
    names.dedup();
    names
}
