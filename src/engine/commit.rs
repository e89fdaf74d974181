//! An image is made of a container.

use super::containers::{self, Record, Snapshot};
use super::hold_up::HeldUp;
use super::host::hierarchy;
use super::{EngineError, defaults, events, images, privileges};
use crate::archive::{self, Packer, Purpose};
use crate::container::life::record::State;
use crate::container::life::view;
use crate::container::request::signal::Signal;
use crate::image::{Change, Defaults, Empty, ImageError, NewImage, Reference};
use crate::names::Digest;
use crate::store::Layout;

/// An image that is to be made of what a container wrote.
#[derive(Debug, Clone)]
pub struct CommitImage {
    /// Who makes it.
    pub author: String,
    /// What is said of it.
    pub message: String,
    /// How its configuration differs from the container's.
    pub changes: Vec<Change>,
    /// What it is to be called.
    pub name: Option<Reference>,
    /// Whether the container is paused meanwhile.
    pub pause: bool,
}

pub(super) fn commit(layout: &Layout, reference: &str, request: CommitImage) -> Result<Digest, EngineError> {
    privileges::for_containers()?;
    let Snapshot { record, state, .. } = containers::find(layout, reference)?;
    let config = &record.config;
    let Some(image) = &config.settings.image_id else {
        return Err(EngineError::NoImage { name: record.name, image: config.image.clone() });
    };
    let images = images::store(layout);
    let base = match images.inspect(image.as_str()) {
        Err(ImageError::NotFound(_)) => {
            return Err(EngineError::ImageGone { name: record.name, image: config.image.clone() });
        }
        base => base?.config,
    };
    let mut defaults = defaults_of(&record, &base.config);
    Change::apply_all(&request.changes, &mut defaults)?;
    defaults::check(&defaults)?;
    let comment = request.message.clone();
    let name = request.name.as_ref().map(ToString::to_string).unwrap_or_default();
    let new = NewImage {
        base: Some(base),
        defaults,
        author: request.author,
        comment: request.message,
        created_by: config.command.words().join(" "),
        name: request.name,
    };
    let upper = view::upper(layout, &record.id, &config.layers)?;
    let _held_up = if request.pause { hold_up(layout, &record, &state)? } else { None };
    let id: Result<Digest, EngineError> = archive::piped(
        |pipe| {
            let mut packer = Packer::new(pipe, Purpose::Layer, &view::is_mount_point);
            packer.add(&upper, "".as_ref())?;
            packer.finish().map(drop)
        },
        |stream| {
            let what = format!("what container {} wrote", record.name);
            Ok(images.create(stream, &what, new, &|| images::users(layout))?)
        },
    );
    let id = id?;
    let told = [("comment", comment.as_str()), ("imageID", id.as_str()), ("imageRef", &name)];
    events::container(layout, &record, "commit", &told);
    Ok(id)
}

/// Pauses a running container, unless it is paused already.
fn hold_up(layout: &Layout, record: &Record, state: &State) -> Result<Option<HeldUp>, EngineError> {
    if !state.is_running() || state.is_paused() {
        return Ok(None);
    }
    HeldUp::new(layout, hierarchy()?, &record.id, record.group()).map(Some)
}

/// What a container is like, as an image of it would say.
fn defaults_of(record: &Record, image: &Defaults) -> Defaults {
    let config = &record.config;
    let entrypoint = &config.settings.entrypoint;
    let stop_signal = if config.stop_signal == Signal::TERM && image.stop_signal.is_empty() {
        String::new()
    } else {
        config.stop_signal.to_string()
    };
    let mut other = image.other.clone();
    let health = config.settings.health.as_ref().and_then(|health| serde_json::to_value(health).ok());
    other.extend(health.map(|health| ("Healthcheck".to_owned(), health)));
    Defaults {
        user: config.user.as_ref().map(ToString::to_string).unwrap_or_default(),
        exposed_ports: config.settings.exposed.iter().map(|port| (port.clone(), Empty {})).collect(),
        env: config.env.iter().map(ToString::to_string).collect(),
        entrypoint: entrypoint.clone(),
        cmd: config.command.words().get(entrypoint.len()..).unwrap_or_default().to_vec(),
        volumes: image.volumes.clone(),
        working_dir: config
            .working_dir
            .as_ref()
            .map(|path| path.as_path().to_string_lossy().into_owned())
            .unwrap_or_default(),
        labels: config.labels.clone(),
        stop_signal,
        other,
    }
}
