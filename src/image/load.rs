//! Images out of an archive: what `save` of Docker, podman, skopeo and mydocker itself writes.
//!
//! The archive is a tar stream with either or both of
//!
//! ```text
//! oci-layout, index.json, blobs/sha256/DIGEST     an OCI image layout
//! manifest.json, and what it names                Docker's: a configuration and layers for each image
//! ```
//!
//! What is needed first may come last. So a stream is written to a file of ours without its compression; an archive
//! that is a file without one is read where it is.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::add::{CONFIG_MAX, WholeImage, parse_config};

use super::layer::{self, Temporary};
use super::manifest::{self, Descriptor, Document, MANIFEST_MAX, ManifestError, Platform};
use super::store::Images;
use super::{ImageError, Reference, Users};
use crate::archive::{self, ArchiveError, Entry, Kind, Reader};
use crate::names::Digest;
use crate::store::{FileError, Layout};

/// The most members of an archive, and the longest name of one.
const MEMBERS_MAX: usize = 50_000;
const NAME_MAX: usize = 512;

/// How deep lists of manifests may be nested.
const NESTED_MAX: usize = 4;

/// How many links lead to a member at most.
const LINKS_MAX: usize = 8;

/// An image that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedImage {
    /// Its id.
    pub id: Digest,
    /// What the archive calls it.
    pub names: Vec<Reference>,
}

/// A member of the archive.
enum Member {
    File { at: u64, size: u64 },
    Link(String),
}

/// An archive that can be read from anywhere.
struct Archive<'a> {
    what: &'a str,
    file: File,
    members: HashMap<String, Member>,
}

/// A part of a file.
struct Section<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read_at(&mut buffer[..most], self.at)?;
        let counted = u64::try_from(count).unwrap_or(0);
        (self.at, self.left) = (self.at + counted, self.left - counted);
        Ok(count)
    }
}

/// Hashes what is read.
struct Hashed<'a, R>(R, &'a RefCell<Sha256>);

impl<R: Read> Read for Hashed<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buffer)?;
        self.1.borrow_mut().update(&buffer[..count]);
        Ok(count)
    }
}

/// One image of the archive: where its parts are.
struct Found {
    config: Vec<u8>,
    names: Vec<Reference>,
    /// The members with its layers, and their digests where the archive says them.
    layers: Vec<(String, Option<Descriptor>)>,
}

/// An element of Docker's `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

impl Images {
    /// Loads all images of an archive, which may be compressed. `what` names it in errors. Of images for several
    /// platforms, the one for `platform` is loaded.
    ///
    /// # Errors
    /// The archive is none of images or damaged. Images that were loaded before stay.
    pub fn load(
        &self,
        file: File,
        what: &str,
        platform: &Platform,
        users: Users<'_>,
    ) -> Result<Vec<LoadedImage>, ImageError> {
        let archive = Archive::open(&self.layout, file, what)?;
        let found = if archive.members.contains_key("oci-layout") {
            archive.oci_images(platform)?
        } else if archive.members.contains_key("manifest.json") {
            archive.docker_images()?
        } else {
            return Err(ImageError::NoImages { archive: what.to_owned() });
        };
        found.into_iter().map(|image| self.load_image(&archive, image, users)).collect()
    }

    fn load_image(
        &self,
        archive: &Archive<'_>,
        found: Found,
        users: Users<'_>,
    ) -> Result<LoadedImage, ImageError> {
        let config = parse_config(&found.config)?;
        let diffs = &config.rootfs.diff_ids;
        if diffs.len() != found.layers.len() {
            let (manifest, config) = (found.layers.len(), diffs.len());
            return Err(ManifestError::LayerCount { manifest, config }.into());
        }
        let adding = self.adding(diffs)?;
        for (diff, (member, descriptor)) in diffs.iter().zip(&found.layers) {
            if let Some(claim) = adding.claim(diff, &|| false)? {
                let section = archive.section(member)?;
                let (size, hash) = (section.left, RefCell::new(Sha256::new()));
                let what = format!("{member} in {}", archive.what);
                // To its end, whatever the decompressor leaves.
                let mut stream = Hashed(section, &hash);
                adding.make(&claim, diff, &mut stream, &what)?;
                io::copy(&mut stream, &mut io::sink()).map_err(FileError::of("read", archive.what))?;
                if let Some(descriptor) = descriptor {
                    archive.check(member, descriptor, size, hash.into_inner())?;
                }
            }
        }
        let names = found.names.clone();
        let whole = WholeImage { config: found.config, names: found.names, ..WholeImage::default() };
        let (id, _) = adding.finish(&whole, users)?;
        Ok(LoadedImage { id, names })
    }
}

impl<'a> Archive<'a> {
    /// Finds out what is in it.
    fn open(layout: &Layout, file: File, what: &'a str) -> Result<Self, ImageError> {
        let is_file = file.metadata().map_err(FileError::of("read", what))?.is_file();
        let file = if is_file && !is_compressed(&file) { file } else { spool(layout, file, what)? };
        let failed = |source| ImageError::Unpack { archive: what.to_owned(), place: layout.images(), source };
        let section = Section { file: &file, at: 0, left: u64::MAX };
        let mut reader = Reader::new(BufReader::with_capacity(256 * 1024, section));
        let mut members = HashMap::new();
        while let Some(entry) = reader.next_entry().map_err(failed)? {
            let Some(name) = name_of(&entry.path) else { continue };
            let member = match &entry.kind {
                // Its bytes do not lie in the archive as they are.
                Kind::File if entry.sparse.is_some() => {
                    let (what, path) = ("a file with holes", entry.shown());
                    return Err(failed(ArchiveError::Unsupported { what, path }));
                }
                Kind::File => Member::File { at: reader.position(), size: entry.size },
                Kind::HardLink(target) => match name_of(target) {
                    Some(target) => Member::Link(target),
                    None => continue,
                },
                Kind::Symlink(target) => {
                    let directory = name.rsplit_once('/').map_or("", |(directory, _)| directory);
                    match name_of(format!("{directory}/{}", target.display()).as_ref()) {
                        Some(target) => Member::Link(target),
                        None => continue,
                    }
                }
                _ => continue,
            };
            members.insert(name, member);
            if members.len() > MEMBERS_MAX {
                return Err(ImageError::NoImages { archive: what.to_owned() });
            }
        }
        Ok(Self { what, file, members })
    }

    fn section(&self, name: &str) -> Result<Section<'_>, ImageError> {
        let missing = || ImageError::MissingMember { archive: self.what.to_owned(), name: name.to_owned() };
        let mut name = name_of(name.as_ref()).ok_or_else(missing)?;
        for _ in 0..LINKS_MAX {
            match self.members.get(&name).ok_or_else(missing)? {
                Member::File { at, size } => {
                    return Ok(Section { file: &self.file, at: *at, left: *size });
                }
                Member::Link(target) => name.clone_from(target),
            }
        }
        Err(missing())
    }

    /// The bytes of a small member.
    fn bytes(&self, name: &str, limit: usize) -> Result<Vec<u8>, ImageError> {
        let mut section = self.section(name)?;
        if section.left > u64::try_from(limit).unwrap_or(u64::MAX) {
            let (archive, name) = (self.what.to_owned(), name.to_owned());
            return Err(ImageError::LargeMember { archive, name, limit });
        }
        let mut bytes = Vec::new();
        section.read_to_end(&mut bytes).map_err(FileError::of("read", self.what))?;
        Ok(bytes)
    }

    /// The bytes of a small blob, which have to have the digest that they are called by.
    fn blob(&self, descriptor: &Descriptor, limit: usize) -> Result<Vec<u8>, ImageError> {
        let name = blob_name(&descriptor.digest);
        let bytes = self.bytes(&name, limit)?;
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.check(&name, descriptor, size, Sha256::new_with_prefix(&bytes))?;
        Ok(bytes)
    }

    fn check(&self, name: &str, expected: &Descriptor, size: u64, hash: Sha256) -> Result<(), ImageError> {
        let found = Digest::sha256(hash.finalize().into());
        if found == expected.digest && size == expected.size {
            return Ok(());
        }
        let what = format!("{name} in {}", self.what);
        Err(ImageError::WrongDigest {
            what,
            expected: expected.digest.clone(),
            found,
            size,
            said: expected.size,
        })
    }

    fn docker_images(&self) -> Result<Vec<Found>, ImageError> {
        let bytes = self.bytes("manifest.json", MANIFEST_MAX)?;
        let images: Vec<DockerImage> = serde_json::from_slice(&bytes).map_err(ManifestError::Malformed)?;
        let found = images.into_iter().map(|image| {
            let names = image.repo_tags.unwrap_or_default();
            Ok(Found {
                config: self.bytes(&image.config, CONFIG_MAX)?,
                names: names.iter().map(|name| name.parse()).collect::<Result<_, _>>()?,
                layers: image.layers.unwrap_or_default().into_iter().map(|layer| (layer, None)).collect(),
            })
        });
        found.collect()
    }

    fn oci_images(&self, platform: &Platform) -> Result<Vec<Found>, ImageError> {
        let Document::Index(index) = manifest::parse(&self.bytes("index.json", MANIFEST_MAX)?)? else {
            return Err(ManifestError::Unknown.into());
        };
        // One image may be there under several names, and one name for several platforms.
        let mut groups: BTreeMap<Option<String>, Vec<Descriptor>> = BTreeMap::new();
        for entry in index.manifests {
            groups.entry(annotated_name(&entry)).or_default().push(entry);
        }
        let docker_names = self.docker_names();
        let mut found: Vec<(Digest, Found)> = Vec::new();
        for (name, entries) in groups {
            let chosen = match entries.as_slice() {
                [one] => one,
                several => manifest::choose(several, platform)?,
            };
            let image = self.oci_image(chosen, platform, NESTED_MAX)?;
            let mut names: Vec<Reference> = name.iter().filter_map(|name| name.parse().ok()).collect();
            if names.is_empty() {
                names = docker_names.get(&image.config.digest).cloned().unwrap_or_default();
            }
            let digest = image.config.digest.clone();
            match found.iter_mut().find(|(other, _)| *other == digest) {
                Some((_, other)) => other.names.extend(names),
                None => {
                    let config = self.blob(&image.config, CONFIG_MAX)?;
                    let layers = image.layers.into_iter();
                    let layers = layers.map(|layer| (blob_name(&layer.digest), Some(layer))).collect();
                    found.push((digest, Found { config, names, layers }));
                }
            }
        }
        Ok(found.into_iter().map(|(_, found)| found).collect())
    }

    fn oci_image(
        &self,
        entry: &Descriptor,
        platform: &Platform,
        deeper: usize,
    ) -> Result<manifest::ImageManifest, ImageError> {
        match manifest::parse(&self.blob(entry, MANIFEST_MAX)?)? {
            Document::Image(image) => Ok(image),
            Document::Index(_) if deeper == 0 => Err(ManifestError::Nested.into()),
            Document::Index(index) => {
                self.oci_image(manifest::choose(&index.manifests, platform)?, platform, deeper - 1)
            }
        }
    }

    /// What Docker's list beside it calls the images, by the digests of their configurations.
    fn docker_names(&self) -> HashMap<Digest, Vec<Reference>> {
        let bytes = self.bytes("manifest.json", MANIFEST_MAX).unwrap_or_default();
        let images: Vec<DockerImage> = serde_json::from_slice(&bytes).unwrap_or_default();
        let named = images.into_iter().filter_map(|image| {
            let hex = image.config.rsplit('/').next()?.trim_end_matches(".json");
            let names = image.repo_tags.unwrap_or_default();
            let names = names.iter().filter_map(|name| name.parse().ok()).collect();
            Some((format!("sha256:{hex}").parse().ok()?, names))
        });
        named.collect()
    }
}

/// What programs write an image's name as in an OCI layout: the whole name, or its tag alone.
fn annotated_name(entry: &Descriptor) -> Option<String> {
    let whole = entry.annotations.get("io.containerd.image.name");
    let part = || {
        let name = entry.annotations.get("org.opencontainers.image.ref.name")?;
        // A bare word is a tag of we know not what.
        name.contains([':', '/']).then_some(name)
    };
    whole.or_else(part).cloned()
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// A name in the archive as it is looked up. What leads out of it, or is too long, names nothing.
fn name_of(path: &std::ffi::OsStr) -> Option<String> {
    let parts = Entry::components(path)?;
    let parts: Option<Vec<&str>> = parts.into_iter().map(|part| part.to_str()).collect();
    Some(parts?.join("/")).filter(|name| !name.is_empty() && name.len() <= NAME_MAX)
}

/// Whether decompressing changes the file.
fn is_compressed(file: &File) -> bool {
    let mut head = [0; 4];
    let count = file.read_at(&mut head, 0).unwrap_or(0);
    // Those that are not read as well: they are named then.
    let other = [0x42, 0x5a, 0x68].as_slice();
    count < 4
        || head.starts_with(other)
        || matches!(head, [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18])
        || head == [0xfd, 0x37, 0x7a, 0x58]
}

/// Writes a stream to a file without a name, decompressed.
fn spool(layout: &Layout, stream: impl Read, what: &str) -> Result<File, ImageError> {
    let failed = |source| ImageError::Unpack { archive: what.to_owned(), place: layout.images(), source };
    let mut stream = archive::decompress(stream).map_err(failed)?;
    let mut file = nameless(layout)?;
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(file),
            Ok(count) => io::Write::write_all(&mut file, &buffer[..count])
                .map_err(FileError::of("write what was read to", layout.images()))?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(archive::read_error(error))),
        }
    }
}

/// A new file that goes when it is closed.
pub(super) fn nameless(layout: &Layout) -> Result<File, ImageError> {
    let directory = Temporary(layer::temporary_path(layout)?);
    layer::make_directory(&directory.0)?;
    let path = directory.0.join("spool");
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
    // The directory is removed with the file's name in it.
    Ok(file.map_err(FileError::of("create", path))?)
}
