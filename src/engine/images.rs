//! Images, and which containers need them.

use super::{EngineError, containers, privileges};
use crate::container::request::mounts::Mount;
use crate::image::{Image, Images, Reference, Removal, User};
use crate::store::Layout;

pub(super) fn store(layout: &Layout) -> Images {
    Images::new(layout.clone())
}

/// Who uses images, asked when one is about to go.
pub(super) fn users(layout: &Layout) -> Result<Vec<User>, Box<dyn std::error::Error + Send + Sync>> {
    let mut users = Vec::new();
    for record in containers::records(layout)? {
        // One that is being started is as good as running.
        let running = !record.status()?.can_remove();
        let container = record.name;
        for (id, layers) in record.config.settings.mounts.iter().filter_map(Mount::image) {
            let (image, layers) = (Some(id.clone()), layers.to_vec());
            users.push(User { container: container.clone(), running, image, layers });
        }
        let image = record.config.settings.image_id;
        users.push(User { container, running, image, layers: record.config.layers });
    }
    Ok(users)
}

/// The image to make a container from.
pub(super) fn find(layout: &Layout, reference: &str) -> Result<Image, EngineError> {
    Ok(store(layout).find(reference)?)
}

pub(super) fn tag(layout: &Layout, source: &str, name: &Reference) -> Result<(), EngineError> {
    privileges::for_containers()?;
    Ok(store(layout).tag(source, name)?)
}

pub(super) fn remove(layout: &Layout, reference: &str, force: bool) -> Result<Vec<Removal>, EngineError> {
    privileges::for_containers()?;
    Ok(store(layout).remove(reference, force, &|| users(layout))?)
}

pub(super) fn prune(layout: &Layout, all: bool) -> Result<(Vec<Removal>, u64), EngineError> {
    privileges::for_containers()?;
    Ok(store(layout).prune(all, &|| users(layout))?)
}
