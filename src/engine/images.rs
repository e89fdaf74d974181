//! Operations on images, and what an image says about its containers.

use std::io::Read;
use std::path::Path;

use super::hold_up::HeldUp;
use super::{CreateContainer, Engine, EngineError, Record, Snapshot, privileges};
use crate::archive::{self, Packer, Purpose};
use crate::container::life::record::State;
use crate::container::life::{index, record, view};
use crate::container::request::config::{ContainerPath, EnvVar};
use crate::container::request::mounts::Mount;
use crate::container::request::signal::Signal;
use crate::image::{
    Change, Defaults, Empty, Image, ImageError, Images, NewImage, Reference, Removal, Step, StoredImage, User,
};
use crate::names::Digest;

/// An image that is to be made of an archive.
#[derive(Debug, Clone)]
pub struct ImportImage {
    /// What its configuration is to be.
    pub changes: Vec<Change>,
    /// What is said of it.
    pub message: String,
    /// What it is to be called.
    pub name: Option<Reference>,
}

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

impl Engine {
    pub(super) fn image_store(&self) -> Images {
        Images::new(self.layout.clone())
    }

    /// Who uses images, asked when one is about to go.
    fn image_users(&self) -> Result<Vec<User>, Box<dyn std::error::Error + Send + Sync>> {
        let mut users = Vec::new();
        for id in index::list(&self.layout)? {
            let record = match Record::load(&self.layout, &id) {
                // Removed since the listing.
                Err(record::RecordError::NotFound(_)) => continue,
                record => record?,
            };
            // One that is being started is as good as running.
            let running = !record.status()?.can_remove();
            users.push(User {
                container: record.name,
                running,
                image: record.config.settings.image_id,
                layers: record.config.layers,
            });
        }
        Ok(users)
    }

    /// Makes an image of the tar stream `stream`, which may be compressed. `what` names it in errors.
    ///
    /// # Errors
    /// The stream cannot be unpacked; nothing is left behind.
    pub fn import_image(
        &mut self,
        stream: impl Read,
        what: &str,
        request: ImportImage,
    ) -> Result<Digest, EngineError> {
        privileges::for_containers()?;
        let mut defaults = Defaults::default();
        request.changes.iter().for_each(|change| change.apply(&mut defaults));
        check_defaults(&defaults)?;
        let comment =
            if request.message.is_empty() { format!("Imported from {what}") } else { request.message };
        let new = NewImage {
            base: None,
            defaults,
            author: String::new(),
            comment,
            created_by: String::new(),
            name: request.name,
        };
        Ok(self.image_store().create(stream, what, new, &|| self.image_users())?)
    }

    /// Makes an image of a container: its image with one more layer, what the container wrote.
    ///
    /// # Errors
    /// The container was made from a directory, or its files cannot be read; nothing is left behind.
    pub fn commit(&mut self, reference: &str, request: CommitImage) -> Result<Digest, EngineError> {
        privileges::for_containers()?;
        let Snapshot { record, state } = self.find(reference)?;
        let config = &record.config;
        let Some(image) = &config.settings.image_id else {
            return Err(EngineError::NoImage { name: record.name, image: config.image.clone() });
        };
        let images = self.image_store();
        let base = match images.inspect(image.as_str()) {
            Err(ImageError::NotFound(_)) => {
                return Err(EngineError::ImageGone { name: record.name, image: config.image.clone() });
            }
            base => base?.config,
        };
        let mut defaults = defaults_of(&record, &base.config);
        request.changes.iter().for_each(|change| change.apply(&mut defaults));
        check_defaults(&defaults)?;
        let new = NewImage {
            base: Some(base),
            defaults,
            author: request.author,
            comment: request.message,
            created_by: config.command.words().join(" "),
            name: request.name,
        };
        let upper = view::upper(&self.layout, &record.id, &config.layers)?;
        let _held_up = if request.pause { self.hold_up(&record, &state)? } else { None };
        archive::piped(
            |pipe| {
                let mut packer = Packer::new(pipe, Purpose::Layer, &view::is_mount_point);
                packer.add(&upper, "".as_ref())?;
                packer.finish().map(drop)
            },
            |stream| {
                let what = format!("what container {} wrote", record.name);
                Ok(images.create(stream, &what, new, &|| self.image_users())?)
            },
        )
    }

    /// Pauses a running container, unless it is paused already.
    fn hold_up(&self, record: &Record, state: &State) -> Result<Option<HeldUp>, EngineError> {
        if !state.is_running() || state.is_paused() {
            return Ok(None);
        }
        HeldUp::new(&self.layout, super::hierarchy()?, &record.id).map(Some)
    }

    /// All images, the newest first.
    ///
    /// # Errors
    /// A file of theirs cannot be read.
    pub fn images(&self) -> Result<Vec<StoredImage>, EngineError> {
        Ok(self.image_store().list()?)
    }

    /// The image that the user means by a name, an id or the beginning of one.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn image(&self, reference: &str) -> Result<StoredImage, EngineError> {
        Ok(self.image_store().inspect(reference)?)
    }

    /// An image, and how it came to be, the newest step first.
    ///
    /// # Errors
    /// There is no such image.
    pub fn image_history(&self, reference: &str) -> Result<(StoredImage, Vec<Step>), EngineError> {
        Ok(self.image_store().history(reference)?)
    }

    /// Gives an image one more name, which another image may lose.
    ///
    /// # Errors
    /// There is no such image.
    pub fn tag_image(&mut self, source: &str, name: &Reference) -> Result<(), EngineError> {
        privileges::for_containers()?;
        Ok(self.image_store().tag(source, name)?)
    }

    /// Removes a name, or the image with its last one.
    ///
    /// # Errors
    /// There is no such image, or it is needed.
    pub fn remove_image(&mut self, reference: &str, force: bool) -> Result<Vec<Removal>, EngineError> {
        privileges::for_containers()?;
        Ok(self.image_store().remove(reference, force, &|| self.image_users())?)
    }

    /// Removes all images that no container was made from: those without a name, or with `all` every one.
    /// Returns what was removed, and how many bytes that frees.
    ///
    /// # Errors
    /// The images cannot be read.
    pub fn prune_images(&mut self, all: bool) -> Result<(Vec<Removal>, u64), EngineError> {
        privileges::for_containers()?;
        Ok(self.image_store().prune(all, &|| self.image_users())?)
    }

    /// The image to make a container from.
    pub(super) fn image_for(&self, reference: &str) -> Result<Image, EngineError> {
        Ok(self.image_store().find(reference)?)
    }
}

/// What the image says of a new container, where the user says nothing.
pub(super) fn apply_defaults(request: &mut CreateContainer, image: &Image) -> Result<(), EngineError> {
    let defaults = &image.defaults;
    let settings = &mut request.settings;
    settings.image_id.clone_from(&image.id);
    let exposed = defaults.exposed_ports.keys().filter(|port| !settings.exposed.contains(port));
    let exposed: Vec<String> = exposed.cloned().collect();
    settings.exposed.extend(exposed);
    match request.entrypoint.take() {
        // With an entry point of the user's own, the image's arguments would be arguments of another program.
        Some(program) => {
            settings.entrypoint = Some(program).filter(|program| !program.is_empty()).into_iter().collect();
        }
        None => {
            settings.entrypoint.clone_from(&defaults.entrypoint);
            if request.command.is_empty() {
                request.command.clone_from(&defaults.cmd);
            }
        }
    }
    let mut env = Vec::new();
    for entry in &defaults.env {
        let variable: EnvVar = entry.parse()?;
        if request.env.iter().all(|own| own.name() != variable.name()) {
            env.push(variable);
        }
    }
    env.append(&mut request.env);
    request.env = env;
    if request.working_dir.is_none() && !defaults.working_dir.is_empty() {
        request.working_dir = Some(working_dir(&defaults.working_dir)?);
    }
    if request.user.is_none() && !defaults.user.is_empty() {
        request.user = Some(defaults.user.parse()?);
    }
    if request.stop_signal.is_none() && !defaults.stop_signal.is_empty() {
        request.stop_signal = Some(stop_signal(&defaults.stop_signal)?);
    }
    let mut labels: Vec<(String, String)> = defaults.labels.clone().into_iter().collect();
    labels.append(&mut request.labels);
    request.labels = labels;
    Ok(())
}

/// The directories of the image for which there is to be a volume.
pub(super) fn volumes(image: &Image) -> Result<Vec<ContainerPath>, EngineError> {
    image.defaults.volumes.keys().map(|path| Ok(ContainerPath::new(Path::new(path))?)).collect()
}

fn working_dir(text: &str) -> Result<ContainerPath, EngineError> {
    Ok(ContainerPath::new(&Path::new("/").join(text))?)
}

fn stop_signal(text: &str) -> Result<Signal, EngineError> {
    let refused =
        |_| ImageError::Change { text: format!("STOPSIGNAL {text}"), why: "there is no such signal" };
    Ok(text.parse().map_err(refused)?)
}

/// Refuses what no container could be made with, before an image has it.
fn check_defaults(defaults: &Defaults) -> Result<(), EngineError> {
    if !defaults.user.is_empty() {
        defaults.user.parse::<crate::container::request::config::UserSpec>()?;
    }
    if !defaults.stop_signal.is_empty() {
        stop_signal(&defaults.stop_signal)?;
    }
    for entry in &defaults.env {
        entry.parse::<EnvVar>()?;
    }
    for path in defaults.volumes.keys() {
        Mount::anonymous_volume(ContainerPath::new(Path::new(path))?)?;
    }
    working_dir(&defaults.working_dir).map(drop)
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
    }
}
