//! The images that there are: found, listed, named and made.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{self, Read};
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Map;

use super::add::{self, id_of};
use super::config::{Defaults, History, ImageConfig, RootFs, architecture};

use super::layer::{self, Temporary};
use super::{Image, ImageError, Pinned, Reference, RemoteName, Users, is_path, of_path};
use crate::names::Digest;
use crate::process::Process;
use crate::store::{self, Durability, FileError, Layout, Lock, LockKind};

/// The version of `repositories.json` that this program writes, and the newest that it reads.
const VERSION: u32 = 2;

/// The images of one root directory.
#[derive(Debug, Clone)]
pub struct Images {
    pub(super) layout: Layout,
}

/// Which images there are and what they are called.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Repositories {
    version: u32,
    /// All images, whether they have a name or not.
    pub(super) images: BTreeSet<Digest>,
    /// What each name stands for.
    pub(super) tags: BTreeMap<Reference, Digest>,
    /// What registries call images by their contents.
    #[serde(default)]
    pub(super) digests: BTreeMap<Pinned, Digest>,
}

/// As long as it is held, no image is removed.
#[derive(Debug)]
pub struct Hold {
    _lock: Option<Lock>,
}

/// An image with all that is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredImage {
    /// Its id.
    pub id: Digest,
    /// Its names, sorted.
    pub names: Vec<Reference>,
    /// What registries call it by its contents.
    pub digests: Vec<Pinned>,
    /// Its configuration.
    pub config: ImageConfig,
    /// How many bytes its files have together.
    pub size: u64,
    /// The directories to mount, topmost first.
    pub layers: Vec<PathBuf>,
}

/// One step in the making of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What was done.
    pub history: History,
    /// How many bytes the files of its layer have; 0 for one without.
    pub size: u64,
}

/// An image that is to be made: one more layer on what there is.
#[derive(Debug, Clone)]
pub struct NewImage {
    /// The configuration of the image below.
    pub base: Option<ImageConfig>,
    /// What its containers are like.
    pub defaults: Defaults,
    /// Who made it.
    pub author: String,
    /// What is said of it.
    pub comment: String,
    /// The command that made the new layer.
    pub created_by: String,
    /// What it is to be called. Another image of that name loses it.
    pub name: Option<Reference>,
}

impl Repositories {
    /// The names of an image.
    pub(super) fn names(&self, id: &Digest) -> Vec<Reference> {
        let names = self.tags.iter().filter(|(_, other)| *other == id);
        names.map(|(name, _)| name.clone()).collect()
    }

    /// What registries call an image by its contents.
    pub(super) fn pinned(&self, id: &Digest) -> Vec<Pinned> {
        let pinned = self.digests.iter().filter(|(_, other)| *other == id);
        pinned.map(|(pinned, _)| pinned.clone()).collect()
    }

    /// Adds an image and its names, which others may lose. Whether it is new.
    pub(super) fn add(&mut self, id: &Digest, names: &[Reference], pinned: Option<&Pinned>) -> bool {
        let is_new = self.images.insert(id.clone());
        let mut changed = is_new;
        for name in names {
            changed |= self.tags.insert(name.clone(), id.clone()).as_ref() != Some(id);
        }
        if let Some(pinned) = pinned {
            changed |= self.digests.insert(pinned.clone(), id.clone()).as_ref() != Some(id);
        }
        changed
    }

    /// The image that the user means by a name, an id or the beginning of one.
    pub(super) fn find(&self, reference: &str) -> Result<(Digest, Option<Reference>), ImageError> {
        if reference.contains('@') {
            let name: RemoteName = reference.parse()?;
            let pinned = name.digest().map(|digest| name.pinned(digest.clone()));
            let found = pinned.and_then(|pinned| self.digests.get(&pinned));
            let id = found.ok_or_else(|| ImageError::NotFound(reference.to_owned()))?;
            return Ok((id.clone(), None));
        }
        let name = reference.parse::<Reference>();
        if let Ok(name) = &name
            && let Some(id) = self.tags.get(name)
        {
            return Ok((id.clone(), Some(name.clone())));
        }
        let digits = reference.strip_prefix("sha256:").unwrap_or(reference);
        let is_hex = !digits.is_empty() && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let mut matches: Vec<Digest> =
            self.images.iter().filter(|id| is_hex && id.hex().starts_with(digits)).cloned().collect();
        match (matches.len(), name) {
            (1, _) => Ok((matches.remove(0), None)),
            // A text that can be neither gets the reason.
            (0, Err(malformed)) if !is_hex => Err(malformed),
            (0, _) => Err(ImageError::NotFound(reference.to_owned())),
            _ => Err(ImageError::Ambiguous { reference: reference.to_owned(), matches }),
        }
    }
}

impl Images {
    /// The images below these directories. Nothing is read or made yet.
    #[must_use]
    pub fn new(layout: Layout) -> Self {
        Self { layout }
    }

    pub(super) fn repositories(&self) -> Result<Repositories, ImageError> {
        let path = self.layout.image_repositories();
        match store::read_if_exists(&path).map_err(FileError::of("read", &path))? {
            Some(text) => layer::read_versioned(&path, &text, VERSION),
            None => Ok(Repositories::default()),
        }
    }

    pub(super) fn save_list(&self, repositories: &Repositories) -> Result<(), ImageError> {
        let path = self.layout.image_repositories();
        let repositories = Repositories { version: VERSION, ..repositories.clone() };
        let text = serde_json::to_vec_pretty(&repositories).map_err(io::Error::other);
        let written =
            text.and_then(|text| store::write_though_full(&self.layout, &path, &text, Durability::Synced));
        Ok(written.map_err(FileError::of("write", path))?)
    }

    pub(super) fn lock(&self) -> Result<Lock, ImageError> {
        let path = self.layout.image_lock();
        let lock = Lock::exclusive(LockKind::Images, &path).map_err(FileError::of("lock", path))?;
        store::keep_reserve(&self.layout);
        Ok(lock)
    }

    /// Keeps images from being removed, until something that uses this one is on record.
    ///
    /// # Errors
    /// The lock cannot be had: another command is stuck with it.
    pub fn hold(&self, reference: &str) -> Result<Hold, ImageError> {
        if is_path(reference) || !self.layout.image_repositories().exists() {
            // There is nothing to hold, and nothing to be made for it.
            return Ok(Hold { _lock: None });
        }
        let path = self.layout.image_lock();
        Ok(Hold { _lock: Some(Lock::shared(LockKind::Images, &path).map_err(FileError::of("lock", path))?) })
    }

    /// Removes the temporary directories that carry the name of this process: after an interruption, which leaves nobody
    /// who uses them.
    pub fn remove_own_temporaries(&self) {
        let directory = self.layout.image_temporary();
        let me = Process::current().ok();
        let names = layer::list(&directory).unwrap_or_default();
        for name in names.into_iter().filter(|name| layer::owner(name) == me) {
            store::remove_tree_if_exists(&directory.join(name)).ok();
        }
    }

    /// An image to make a container from: a path if it starts with `/` or `.`, otherwise a name or an id.
    ///
    /// # Errors
    /// [`ImageError`], each variant naming what was looked for.
    pub fn find(&self, reference: &str) -> Result<Image, ImageError> {
        if is_path(reference) {
            return of_path(reference);
        }
        let (id, _) = self.repositories()?.find(reference)?;
        let config = self.config(&id)?;
        let layers = layer::directories(&self.layout, &config.rootfs.diff_ids)?;
        Ok(Image { reference: reference.to_owned(), id: Some(id), layers, defaults: config.config })
    }

    /// The image that the user means, with all that is known of it.
    ///
    /// # Errors
    /// [`ImageError`], each variant naming what was looked for.
    pub fn inspect(&self, reference: &str) -> Result<StoredImage, ImageError> {
        let repositories = self.repositories()?;
        let (id, _) = repositories.find(reference)?;
        self.stored(&repositories, &id)
    }

    /// All images, the newest first.
    ///
    /// # Errors
    /// A file of theirs cannot be read.
    pub fn list(&self) -> Result<Vec<StoredImage>, ImageError> {
        let repositories = self.repositories()?;
        let mut images = Vec::new();
        for id in &repositories.images {
            match self.stored(&repositories, id) {
                Ok(image) => images.push(image),
                // Removed since the listing.
                Err(_) if !self.repositories()?.images.contains(id) => {}
                Err(error) => return Err(error),
            }
        }
        images.sort_by_key(|image| std::cmp::Reverse(image.config.created));
        Ok(images)
    }

    fn stored(&self, repositories: &Repositories, id: &Digest) -> Result<StoredImage, ImageError> {
        let config = self.config(id)?;
        let mut size = 0;
        for diff in &config.rootfs.diff_ids {
            size += layer::record(&self.layout, diff)?.size;
        }
        let layers = layer::directories(&self.layout, &config.rootfs.diff_ids)?;
        let (names, digests) = (repositories.names(id), repositories.pinned(id));
        Ok(StoredImage { id: id.clone(), names, digests, config, size, layers })
    }

    /// An image's configuration.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn config(&self, id: &Digest) -> Result<ImageConfig, ImageError> {
        let path = self.layout.image_config(id);
        let text = std::fs::read(&path).map_err(FileError::of("read", &path))?;
        serde_json::from_slice(&text).map_err(|source| ImageError::Malformed { path, source })
    }

    /// How an image came to be, the newest step first.
    ///
    /// # Errors
    /// There is no such image, or a file of its cannot be read.
    pub fn history(&self, reference: &str) -> Result<(StoredImage, Vec<Step>), ImageError> {
        let image = self.inspect(reference)?;
        let mut diffs = image.config.rootfs.diff_ids.iter();
        let mut steps = Vec::new();
        for history in &image.config.history {
            let diff = if history.empty_layer { None } else { diffs.next() };
            let size = diff.map(|diff| layer::record(&self.layout, diff)).transpose()?;
            steps.push(Step { history: history.clone(), size: size.map_or(0, |record| record.size) });
        }
        steps.reverse();
        Ok((image, steps))
    }

    /// Gives an image one more name, which another image may lose.
    ///
    /// # Errors
    /// There is no such image, or the change cannot be written.
    pub fn tag(&self, source: &str, name: &Reference) -> Result<(), ImageError> {
        // Without images nothing is made for the attempt.
        self.repositories()?.find(source)?;
        let _lock = self.lock()?;
        let mut repositories = self.repositories()?;
        let (id, _) = repositories.find(source)?;
        repositories.tags.insert(name.clone(), id);
        self.save_list(&repositories)
    }

    /// Makes an image whose topmost layer is the tar stream `stream`, which may be compressed. `what` names
    /// the stream in errors.
    ///
    /// # Errors
    /// The stream cannot be unpacked, or the image not written; nothing is left behind.
    pub fn create(
        &self,
        stream: impl Read,
        what: &str,
        new: NewImage,
        users: Users<'_>,
    ) -> Result<Digest, ImageError> {
        let disk = layer::Disk::open(&self.layout)?;
        let staged = layer::stage(&self.layout, stream, what)?;
        disk.sync()?;
        let garbage;
        let id = {
            let _lock = self.lock()?;
            let mut repositories = self.repositories()?;
            // What is wrong with other images, or with containers, is no reason not to make this one.
            garbage = self.sweep(&repositories, users).inspect_err(|error| {
                tracing::warn!(%error, "cannot clear away what is left of removed images");
            });
            layer::install(&self.layout, &staged)?;
            layer::sync_list(&self.layout)?;
            let diff = staged.diff.clone();
            let config = configuration(
                new.base,
                &new.defaults,
                diff,
                Utc::now(),
                (&new.author, &new.comment, &new.created_by),
            );
            let text = serde_json::to_vec(&config).map_err(io::Error::other);
            let text = text.map_err(FileError::of("write", self.layout.images()))?;
            let id = write_config_bytes(&self.layout, &text)?;
            repositories.add(&id, new.name.as_slice(), None);
            self.save_list(&repositories)?;
            id
        };
        drop(garbage);
        Ok(id)
    }

    /// Takes away what no image and no container uses. What is returned is to be dropped after the lock.
    pub(super) fn sweep(
        &self,
        repositories: &Repositories,
        users: Users<'_>,
    ) -> Result<(Vec<Temporary>, Vec<Digest>), ImageError> {
        let added = add::wanted(&self.layout)?;
        let mut wanted: HashSet<Digest> = added.iter().cloned().collect();
        for id in &repositories.images {
            wanted.extend(self.config(id)?.rootfs.diff_ids);
        }
        // Written, but not yet or no longer in the list: the command that did so was killed.
        for directory in [self.layout.images().join("configs/sha256"), self.layout.image_manifests()] {
            for hex in layer::list(&directory)? {
                let listed =
                    format!("sha256:{hex}").parse().is_ok_and(|id: Digest| repositories.images.contains(&id));
                if !listed {
                    let path = directory.join(hex);
                    store::remove_if_exists(&path).map_err(FileError::of("remove", path))?;
                }
            }
        }
        let users = users().map_err(ImageError::Users)?;
        let mounted = users.into_iter().flat_map(|user| user.layers).collect();
        let (mut garbage, removed) = layer::sweep(&self.layout, &wanted, &mounted)?;
        garbage.extend(add::sweep_parked(&self.layout, &added, false)?);
        Ok((garbage, removed))
    }
}

/// Writes a configuration, whose digest is the image's id.
pub(super) fn write_config_bytes(layout: &Layout, text: &[u8]) -> Result<Digest, ImageError> {
    let id = id_of(text);
    let path = layout.image_config(&id);
    layer::make_directory(path.parent().unwrap_or(&path))?;
    store::write_atomic(&path, text, Durability::Synced).map_err(FileError::of("write", path))?;
    Ok(id)
}

/// The configuration of an image with one more layer.
fn configuration(
    base: Option<ImageConfig>,
    defaults: &Defaults,
    diff: Digest,
    created: DateTime<Utc>,
    (author, comment, created_by): (&str, &str, &str),
) -> ImageConfig {
    let step = History {
        created: Some(created),
        created_by: created_by.to_owned(),
        author: author.to_owned(),
        comment: comment.to_owned(),
        empty_layer: false,
        other: Map::new(),
    };
    let mut config = base.unwrap_or_else(|| ImageConfig {
        architecture: architecture().to_owned(),
        os: "linux".to_owned(),
        created: None,
        author: None,
        config: Defaults::default(),
        rootfs: RootFs { kind: "layers".to_owned(), diff_ids: Vec::new() },
        history: Vec::new(),
        other: Map::new(),
    });
    config.created = Some(created);
    config.author = (!author.is_empty()).then(|| author.to_owned());
    config.config = defaults.clone();
    config.rootfs.diff_ids.push(diff);
    config.history.push(step);
    config
}
