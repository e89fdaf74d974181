//! What stands beside each entry of a log, as the user asked for it.

use std::collections::BTreeMap;

use crate::container::request::config::Config;
use crate::container::request::log::Options;
use crate::names::{ContainerId, ContainerName};

/// The most bytes of all of them: they stand beside each line, and an image may have written them.
const DETAILS_MAX: usize = 4096;

/// The container's labels and variables that were asked for by name. What goes beyond the limit is left out.
#[must_use]
pub fn details(options: &Options, config: &Config) -> BTreeMap<String, String> {
    let labels =
        options.labels.iter().filter_map(|name| Some((name.clone(), config.labels.get(name)?.clone())));
    let value = |name: &str| config.env.iter().rev().find(|entry| entry.name() == name);
    let env = options.env.iter().filter_map(|name| Some((name.clone(), value(name)?.value().to_owned())));
    let mut room = DETAILS_MAX;
    let fits = |(name, value): &(String, String)| {
        let left = room.checked_sub(name.len() + value.len());
        room = left.unwrap_or(room);
        left.is_some()
    };
    labels.chain(env).filter(fits).collect()
}

/// The tag with the container's own in the place of each placeholder; `default` where there is none.
#[must_use]
pub fn tag(
    options: &Options,
    default: &str,
    id: &ContainerId,
    name: &ContainerName,
    config: &Config,
) -> String {
    let image = config.settings.image_id.as_ref();
    let text = options.tag.as_deref().unwrap_or(default);
    text.replace("{{.ID}}", id.short())
        .replace("{{.FullID}}", id.as_str())
        .replace("{{.Name}}", name.as_str())
        .replace("{{.ImageName}}", &config.image)
        .replace("{{.ImageID}}", image.map_or("", |image| image.short()))
        .replace("{{.ImageFullID}}", image.map_or("", |image| image.as_str()))
}
