//! Images lose their names, and go with the last one unless a container needs them.

use std::fmt;

use super::add;
use super::layer::Temporary;
use super::store::{Images, Repositories};
use super::{ImageError, Pinned, Reference, User, Users};
use crate::names::Digest;
use crate::store::{self, FileError};

/// One thing that was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// A name, which this image had.
    Untagged(Reference, Digest),
    /// What a registry called it.
    Unpinned(Pinned),
    /// An image.
    Deleted(Digest),
    /// A layer that no image has any more.
    DeletedLayer(Digest),
}

impl fmt::Display for Removal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untagged(name, _) => write!(f, "Untagged: {name}"),
            Self::Unpinned(pinned) => write!(f, "Untagged: {pinned}"),
            Self::Deleted(digest) | Self::DeletedLayer(digest) => write!(f, "Deleted: {digest}"),
        }
    }
}

impl Images {
    /// Removes a name, or the image itself with its last name; the layers go with the last image that has
    /// them. An image with several names is only removed by its id with `force`, and one that a container
    /// was made from as well. One that a container runs on is not removed at all.
    ///
    /// # Errors
    /// There is no such image, it is needed, or the change cannot be written.
    pub fn remove(&self, reference: &str, force: bool, users: Users<'_>) -> Result<Vec<Removal>, ImageError> {
        // Without images nothing is made for the attempt.
        self.repositories()?.find(reference)?;
        let garbage;
        let mut removals = Vec::new();
        {
            let _lock = self.lock()?;
            let mut repositories = self.repositories()?;
            let (id, name) = repositories.find(reference)?;
            let names = repositories.names(&id);
            if let Some(name) = name.filter(|_| names.len() > 1) {
                repositories.tags.remove(&name);
                self.save_list(&repositories)?;
                return Ok(vec![Removal::Untagged(name, id)]);
            }
            // One that has a name does not go with what a registry calls it.
            if reference.contains('@') && !names.is_empty() {
                let pinned = repositories.digests.keys().find(|pinned| pinned.to_string() == reference);
                let pinned: Vec<Pinned> = pinned.cloned().into_iter().collect();
                repositories.digests.retain(|other, _| !pinned.contains(other));
                self.save_list(&repositories)?;
                return Ok(pinned.into_iter().map(Removal::Unpinned).collect());
            }
            let same_repository = names.windows(2).all(|pair| pair[0].repository() == pair[1].repository());
            if !same_repository && !force {
                return Err(ImageError::ManyNames { image: reference.to_owned(), names });
            }
            check_use(reference, &id, force, &users().map_err(ImageError::Users)?)?;
            garbage = self.delete(&mut repositories, &[id], users, &mut removals)?;
        }
        drop(garbage);
        Ok(removals)
    }

    /// Removes all images that no container was made from: those without a name, or with `all` every one.
    ///
    /// # Errors
    /// The files cannot be read, or the change not be written.
    pub fn prune(&self, all: bool, users: Users<'_>) -> Result<(Vec<Removal>, u64), ImageError> {
        if !self.layout.images().exists() {
            // Nothing is made for the attempt. Without an image, there may still be what was left of one.
            return Ok((Vec::new(), 0));
        }
        let garbage;
        let mut removals = Vec::new();
        let freed = {
            let _lock = self.lock()?;
            let mut repositories = self.repositories()?;
            let used = users().map_err(ImageError::Users)?;
            let in_use = |id: &Digest| used.iter().any(|user| user.image.as_ref() == Some(id));
            let unwanted: Vec<Digest> = (repositories.images.iter())
                .filter(|id| !in_use(id) && (all || repositories.names(id).is_empty()))
                .cloned()
                .collect();
            let sizes = self.layer_sizes()?;
            let mut garbages = self.delete(&mut repositories, &unwanted, users, &mut removals)?;
            // Whoever asks for space does not want to go on with what failed.
            garbages.extend(add::sweep_parked(&self.layout, &add::wanted(&self.layout)?, true)?);
            garbage = garbages;
            let gone = removals.iter().filter_map(|removal| match removal {
                Removal::DeletedLayer(digest) => sizes.get(digest),
                Removal::Deleted(_) | Removal::Untagged(..) | Removal::Unpinned(_) => None,
            });
            gone.sum()
        };
        drop(garbage);
        Ok((removals, freed))
    }

    /// How many bytes the files of each layer have.
    ///
    /// # Errors
    /// A file about them cannot be read.
    pub fn layer_sizes(&self) -> Result<std::collections::HashMap<Digest, u64>, ImageError> {
        let mut sizes = std::collections::HashMap::new();
        for hex in super::layer::list(&self.layout.image_layers())? {
            if let Ok(diff) = format!("sha256:{hex}").parse::<Digest>() {
                let size = super::layer::record(&self.layout, &diff)?.size;
                sizes.insert(diff, size);
            }
        }
        Ok(sizes)
    }

    /// Removes images with their names, and the layers that nobody uses any more. Only under the lock.
    fn delete(
        &self,
        repositories: &mut Repositories,
        ids: &[Digest],
        users: Users<'_>,
        removals: &mut Vec<Removal>,
    ) -> Result<Vec<Temporary>, ImageError> {
        for id in ids {
            for name in repositories.names(id) {
                repositories.tags.remove(&name);
                removals.push(Removal::Untagged(name, id.clone()));
            }
            for pinned in repositories.pinned(id) {
                repositories.digests.remove(&pinned);
                removals.push(Removal::Unpinned(pinned));
            }
            repositories.images.remove(id);
            removals.push(Removal::Deleted(id.clone()));
        }
        // With this the images are gone; whatever else there is of them is garbage.
        self.save_list(repositories)?;
        for id in ids {
            for path in [self.layout.image_config(id), self.layout.image_manifests().join(id.hex())] {
                store::remove_if_exists(&path).map_err(FileError::of("remove", path))?;
            }
        }
        let (garbage, layers) = self.sweep(repositories, users)?;
        removals.extend(layers.into_iter().map(Removal::DeletedLayer));
        Ok(garbage)
    }
}

fn check_use(reference: &str, id: &Digest, force: bool, users: &[User]) -> Result<(), ImageError> {
    let of_image = |user: &&User| user.image.as_ref() == Some(id);
    let running = users.iter().filter(of_image).find(|user| user.running);
    match running.or_else(|| users.iter().find(of_image).filter(|_| !force)) {
        Some(user) => Err(ImageError::InUse {
            image: reference.to_owned(),
            container: user.container.clone(),
            running: user.running,
        }),
        None => Ok(()),
    }
}
