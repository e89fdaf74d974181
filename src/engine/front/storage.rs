//! What users do with images and volumes, and what they ask about the host.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use crate::engine::interruption::Watch;
use crate::engine::{
    CommitImage, Credentials, DiskSpace, Engine, EngineError, EventKind, HostInfo, ImportImage, LoadedImage,
    Platform, Progress, Pruned, PullImage, Pulled, Pushed, Record, Reference, RegistryOptions as Options,
    RemoteName, Removal, SpaceOfEach, Step, StoredImage, VolumeFilter, VolumeView, WantedVolume,
};
use crate::engine::{
    commit, events, image_archives, images, import, info, login, pull, push, space, space_of_each, volumes,
};
use crate::names::{ContainerId, Digest, VolumeName};
use crate::needs::Lack;

impl Engine {
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
        let _watch = Watch::begin(self.supervisors.words(), None);
        let id = import::import(&self.layout, stream, what, request)?;
        events::image(&self.layout, "import", id.as_str(), what);
        Ok(id)
    }

    /// Makes an image of a container: its image with one more layer, what the container wrote.
    ///
    /// # Errors
    /// The container was made from a directory, or its files cannot be read; nothing is left behind.
    pub fn commit(&mut self, reference: &str, request: CommitImage) -> Result<Digest, EngineError> {
        let id = self.find(reference)?.record.id;
        let _watch = Watch::begin(self.supervisors.words(), Some(&id));
        commit::commit(&self.layout, reference, request)
    }

    /// All images, the newest first.
    ///
    /// # Errors
    /// A file of theirs cannot be read.
    pub fn images(&self) -> Result<Vec<StoredImage>, EngineError> {
        Ok(images::store(&self.layout).list()?)
    }

    /// The image that the user means by a name, an id or the beginning of one.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn image(&self, reference: &str) -> Result<StoredImage, EngineError> {
        Ok(images::store(&self.layout).inspect(reference)?)
    }

    /// An image, and how it came to be, the newest step first.
    ///
    /// # Errors
    /// There is no such image.
    pub fn image_history(&self, reference: &str) -> Result<(StoredImage, Vec<Step>), EngineError> {
        Ok(images::store(&self.layout).history(reference)?)
    }

    /// Gives an image one more name, which another image may lose.
    ///
    /// # Errors
    /// There is no such image.
    pub fn tag_image(&mut self, source: &str, name: &Reference) -> Result<(), EngineError> {
        images::tag(&self.layout, source, name)?;
        let name = name.to_string();
        let id = self.image(&name).map_or_else(|_| source.to_owned(), |image| image.id.to_string());
        events::image(&self.layout, "tag", &id, &name);
        Ok(())
    }

    /// Removes a name, or the image with its last one.
    ///
    /// # Errors
    /// There is no such image, or it is needed.
    pub fn remove_image(&mut self, reference: &str, force: bool) -> Result<Vec<Removal>, EngineError> {
        let removals = images::remove(&self.layout, reference, force)?;
        events::removals(&self.layout, &removals);
        Ok(removals)
    }

    /// Removes all images that no container was made from: those without a name, or with `all` every one.
    /// Returns what was removed, and how many bytes that frees.
    ///
    /// # Errors
    /// The images cannot be read.
    pub fn prune_images(&mut self, all: bool) -> Result<(Vec<Removal>, u64), EngineError> {
        let (removals, bytes) = images::prune(&self.layout, all)?;
        events::removals(&self.layout, &removals);
        events::pruned(&self.layout, EventKind::Image, bytes);
        Ok((removals, bytes))
    }

    /// Makes a volume; one that is there already stays as it is. Without a name one is made up.
    ///
    /// # Errors
    /// A missing privilege, or the file system refuses.
    pub fn create_volume(
        &self,
        name: Option<VolumeName>,
        wanted: WantedVolume,
    ) -> Result<VolumeName, EngineError> {
        volumes::create(&self.layout, name, wanted)
    }

    /// The volumes that `filter` means, by name.
    ///
    /// # Errors
    /// A record cannot be read.
    pub fn volumes(&self, filter: &VolumeFilter) -> Result<Vec<VolumeView>, EngineError> {
        volumes::list(&self.layout, filter)
    }

    /// One volume.
    ///
    /// # Errors
    /// There is none of that name, or its record cannot be read.
    pub fn volume(&self, name: &str) -> Result<VolumeView, EngineError> {
        volumes::inspect(&self.layout, name)
    }

    /// Removes a volume that no container has. With `force`, one that is not there is no error.
    ///
    /// # Errors
    /// There is none of that name, or a container has it, running or not.
    pub fn remove_volume(&self, name: &str, force: bool) -> Result<(), EngineError> {
        volumes::remove(&self.layout, name, force)
    }

    /// Removes the volumes that `filter` means, no container uses, and, unless `all` is set, that are anonymous.
    ///
    /// # Errors
    /// A record cannot be read, or the file system refuses.
    pub fn prune_volumes(&self, all: bool, filter: &VolumeFilter) -> Result<Pruned, EngineError> {
        volumes::prune(&self.layout, all, filter)
    }

    /// What everything takes on the disk. All files of containers and volumes are looked at, so it takes time.
    ///
    /// # Errors
    /// The records cannot be read.
    pub fn disk_space(&self) -> Result<DiskSpace, EngineError> {
        space::used(&self.layout)
    }

    /// What each image, container and volume takes on the disk. All their files are looked at, so it takes time.
    ///
    /// # Errors
    /// The records cannot be read.
    pub fn space_of_each(&self) -> Result<SpaceOfEach, EngineError> {
        space_of_each::of_each(&self.layout)
    }

    /// Removes the containers that do not run and are meant. Returns which, and how many bytes that frees.
    ///
    /// # Errors
    /// The records cannot be read, or a container cannot be removed; those before it are gone.
    pub fn prune_containers(
        &mut self,
        wanted: impl Fn(&Record) -> bool,
    ) -> Result<(Vec<ContainerId>, u64), EngineError> {
        space::prune(&self.layout, &mut self.networks, wanted)
    }

    /// What there is to know of this host.
    ///
    /// # Errors
    /// The host does not tell its name.
    pub fn host_info(&self) -> Result<HostInfo, EngineError> {
        info::host(&self.layout)
    }

    /// All that this host lacks, what is missed most first.
    #[must_use]
    pub fn lacking(&self) -> Vec<Lack> {
        info::lacking()
    }

    /// Loads all images of an archive that `save` of this or of another program wrote. `what` names it in errors.
    /// Of images for several platforms, the one for `platform` or for this machine is loaded.
    ///
    /// # Errors
    /// The archive is none of images, or damaged.
    pub fn load_images(
        &mut self,
        file: File,
        what: &str,
        platform: Option<&Platform>,
    ) -> Result<Vec<LoadedImage>, EngineError> {
        let _watch = Watch::begin(self.supervisors.words(), None);
        let loaded = image_archives::load(&self.layout, file, what, platform)?;
        for image in &loaded {
            let name = image.names.first().map(ToString::to_string).unwrap_or_default();
            events::image(&self.layout, "load", image.id.as_str(), &name);
        }
        Ok(loaded)
    }

    /// Writes images to an archive. With `platform`, images for another one are refused.
    ///
    /// # Errors
    /// There is no such image, or the archive cannot be written.
    pub fn save_images(
        &self,
        references: &[String],
        platform: Option<&Platform>,
        stream: impl Write,
    ) -> Result<(), EngineError> {
        image_archives::save(&self.layout, references, platform, stream)?;
        self.tell_saved(references);
        Ok(())
    }

    /// As [`Engine::save_images`], to a file, which is there when it is whole.
    ///
    /// # Errors
    /// As [`Engine::save_images`].
    pub fn save_images_to(
        &self,
        references: &[String],
        platform: Option<&Platform>,
        path: &Path,
    ) -> Result<(), EngineError> {
        image_archives::save_to(&self.layout, references, platform, path)?;
        self.tell_saved(references);
        Ok(())
    }

    fn tell_saved(&self, references: &[String]) {
        for reference in references {
            let id = self.image(reference).map(|image| image.id.to_string());
            events::image(&self.layout, "save", id.as_deref().unwrap_or(reference), reference);
        }
    }

    /// Pulls an image.
    ///
    /// # Errors
    /// There is no such image, the registry cannot be used or sends something else, or the disk is full. Layers that
    /// are whole are kept for the next attempt.
    pub fn pull_image(
        &mut self,
        request: &PullImage,
        progress: &dyn Progress,
    ) -> Result<Pulled, EngineError> {
        let _watch = Watch::begin(self.supervisors.words(), None);
        let pulled = pull::pull(&self.layout, request, progress)?;
        events::image(&self.layout, "pull", &request.name.to_string(), request.name.repository());
        Ok(pulled)
    }

    /// The names of all tags of a repository.
    ///
    /// # Errors
    /// The registry cannot be used.
    pub fn remote_tags(&self, name: &RemoteName, options: &Options) -> Result<Vec<RemoteName>, EngineError> {
        pull::remote_tags(name, options)
    }

    /// Pushes the image that is called `name` to the registry in the name.
    ///
    /// # Errors
    /// There is no such image, or the registry does not take it.
    pub fn push_image(
        &mut self,
        name: &RemoteName,
        platform: Option<&Platform>,
        options: &Options,
        progress: &dyn Progress,
    ) -> Result<Pushed, EngineError> {
        let pushed = push::push(&self.layout, name, platform, options, progress)?;
        events::image(&self.layout, "push", &name.to_string(), name.repository());
        Ok(pushed)
    }

    /// The names of all tags of a repository that are here.
    ///
    /// # Errors
    /// There is none.
    pub fn tags_of(&self, name: &RemoteName) -> Result<Vec<RemoteName>, EngineError> {
        push::tags_of(&self.layout, name)
    }

    /// Finds out whether a registry takes credentials.
    ///
    /// # Errors
    /// It does not, or cannot be used.
    pub fn log_in(host: &str, options: &Options) -> Result<(), EngineError> {
        login::log_in(host, options)
    }

    /// Writes down who one is at a registry, where Docker and podman look as well. Returns the file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn remember(host: &str, credentials: &Credentials) -> Result<PathBuf, EngineError> {
        login::remember(host, credentials)
    }

    /// Forgets who one is at a registry. Whether anything was known.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn log_out(host: &str) -> Result<bool, EngineError> {
        login::log_out(host)
    }

    /// The user that is known for a registry.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn known_user(host: &str) -> Result<Option<String>, EngineError> {
        login::known_user(host)
    }
}
