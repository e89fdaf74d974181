//! Images as an archive that every program reads: an OCI image layout and Docker's own list in one tar stream.
//!
//! Layers go into it as the plain tar streams that they are named by, so that nothing has to be compressed or hashed
//! before its length is known.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek as _, Write};

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::add::{Adding, blobs_of, id_of, parse_config, read_manifest};

use super::load::nameless;
use super::manifest::{Descriptor, ImageManifest, Index, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Platform};
use super::store::Images;
use super::{Blob, ImageConfig, ImageError, Manifest, Pinned, Reference, RemoteName, layer};
use crate::archive::{self, ArchiveError, Entry, Kind, Time, Writer};
use crate::names::Digest;
use crate::store::FileError;

/// An image with what is needed to send it somewhere. As long as this lives, its layers are not removed.
#[derive(Debug)]
pub struct Outgoing<'a> {
    images: &'a Images,
    _adding: Adding<'a>,
    /// Its id; another one than in the store if a layer had to be packed anew.
    pub id: Digest,
    /// The bytes of its configuration.
    pub config: Vec<u8>,
    /// What the configuration says.
    pub parsed: ImageConfig,
    /// Its layers, the lowest first.
    pub layers: Vec<OutgoingLayer>,
    /// What a registry said of it, if it came from one and is still the same.
    pub manifest: Option<Manifest>,
}

/// A layer with what is needed to send it.
#[derive(Debug)]
pub struct OutgoingLayer {
    /// The digest of its tar stream.
    pub diff: Digest,
    /// How long its tar stream is.
    pub size: u64,
    /// What registries have it as, the last one first.
    pub blobs: Vec<Blob>,
    /// Its stream, if it had to be packed anew.
    packed: Option<File>,
}

/// An element of Docker's `manifest.json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Vec<Reference>,
    layers: Vec<String>,
}

/// The digest and the length of a file.
///
/// # Errors
/// It cannot be read.
pub fn digest_of(file: &mut File) -> io::Result<(Digest, u64)> {
    file.rewind()?;
    let mut hash = Hashing { stream: io::sink(), hash: Sha256::new(), size: 0 };
    io::copy(file, &mut hash)?;
    Ok((Digest::sha256(hash.hash.finalize().into()), hash.size))
}

/// Counts and hashes what is written.
struct Hashing<W> {
    stream: W,
    hash: Sha256,
    size: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.stream.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.size += u64::try_from(count).unwrap_or(0);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl Images {
    /// An image, ready to be sent somewhere. `told` hears of layers that are packed anew.
    ///
    /// # Errors
    /// There is no such image, or its files cannot be read.
    pub fn outgoing(&self, reference: &str) -> Result<Outgoing<'_>, ImageError> {
        let (id, _) = self.repositories()?.find(reference)?;
        let path = self.layout.image_config(&id);
        let config = std::fs::read(&path).map_err(FileError::of("read", &path))?;
        let parsed = parse_config(&config)?;
        let diffs = parsed.rootfs.diff_ids.clone();
        let adding = self.adding(&diffs)?;
        let layers = diffs.iter().map(|diff| self.outgoing_layer(diff)).collect::<Result<Vec<_>, _>>()?;
        let manifest = read_manifest(&self.layout, &id);
        let mut outgoing = Outgoing { images: self, _adding: adding, id, config, parsed, layers, manifest };
        if outgoing.layers.iter().zip(&diffs).any(|(layer, diff)| layer.diff != *diff) {
            outgoing.rename()?;
        }
        Ok(outgoing)
    }

    fn outgoing_layer(&self, diff: &Digest) -> Result<OutgoingLayer, ImageError> {
        let record = layer::record(&self.layout, diff)?;
        if let Some(size) = record.tar {
            let blobs = blobs_of(&self.layout, diff);
            return Ok(OutgoingLayer { diff: diff.clone(), size, blobs, packed: None });
        }
        tracing::warn!(
            layer = diff.short(),
            "the layer's own archive was not kept by the version of mydocker that made it: its files are packed anew"
        );
        let packed = nameless(&self.layout)?;
        let mut stream = Hashing { stream: packed, hash: Sha256::new(), size: 0 };
        let failed = |source| ImageError::Pack { layer: diff.clone(), source };
        layer::write_tar(&self.layout, diff, false, &mut stream).map_err(failed)?;
        let found = Digest::sha256(stream.hash.finalize().into());
        Ok(OutgoingLayer { diff: found, size: stream.size, blobs: Vec::new(), packed: Some(stream.stream) })
    }

    /// The names under which an image is to be saved, by what the user calls it: a name without a tag stands for all
    /// tags, an id for none.
    fn names_to_save(&self, reference: &str) -> Result<Vec<Reference>, ImageError> {
        let repositories = self.repositories()?;
        let (id, name) = repositories.find(reference)?;
        let Some(name) = name else { return Ok(Vec::new()) };
        let has_tag = reference.parse::<RemoteName>().is_ok_and(|name| name.tag().is_some());
        if has_tag {
            return Ok(vec![name]);
        }
        let names = repositories.names(&id).into_iter();
        Ok(names.filter(|other| other.repository() == name.repository()).collect())
    }

    /// Writes images to a tar stream. With `platform`, those for another one are refused.
    ///
    /// # Errors
    /// There is no such image, its files cannot be read or are not what they were, or the stream cannot be written.
    pub fn save(
        &self,
        references: &[String],
        platform: Option<&Platform>,
        stream: impl Write,
    ) -> Result<(), ImageError> {
        // All are looked up before the first byte is written.
        let mut images: Vec<(Outgoing<'_>, Vec<Reference>)> = Vec::new();
        for reference in references {
            let names = self.names_to_save(reference)?;
            let image = self.outgoing(reference)?;
            if let Some(wanted) = platform {
                image.check_platform(wanted)?;
            }
            match images.iter_mut().find(|(other, _)| other.id == image.id) {
                Some((_, others)) => {
                    others.extend(names.into_iter().filter(|name| !others.contains(name)).collect::<Vec<_>>())
                }
                None => images.push((image, names)),
            }
        }
        let mut archive = Saving { writer: Writer::new(stream), written: Vec::new() };
        let (mut entries, mut docker) = (Vec::new(), Vec::new());
        for (image, names) in &images {
            entries.extend(archive.image(image, names)?);
            docker.push(DockerImage {
                config: blob(&image.id),
                repo_tags: names.clone(),
                layers: image.layers.iter().map(|layer| blob(&layer.diff)).collect(),
            });
        }
        archive.json("index.json", &Index::new(entries))?;
        archive.json("manifest.json", &docker)?;
        archive.bytes("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        archive.writer.finish().map(drop).map_err(ImageError::Save)
    }
}

impl Outgoing<'_> {
    /// Refuses an image that is for another platform.
    ///
    /// # Errors
    /// [`ImageError::Manifest`], which names the image's own.
    pub fn check_platform(&self, wanted: &Platform) -> Result<(), ImageError> {
        Ok(self.parsed.check_platform(wanted)?)
    }

    /// Writes a layer's tar stream.
    ///
    /// # Errors
    /// Its files cannot be read, are not what they were, or the stream cannot be written.
    pub fn write_layer(&self, layer: &OutgoingLayer, stream: impl Write) -> Result<(), ArchiveError> {
        if let Some(packed) = &layer.packed {
            let mut packed = packed;
            packed.rewind().map_err(ArchiveError::Read)?;
            let mut stream = stream;
            return io::copy(&mut packed, &mut stream).map(drop).map_err(ArchiveError::Write);
        }
        let mut stream = Hashing { stream, hash: Sha256::new(), size: 0 };
        layer::write_tar(&self.images.layout, &layer.diff, true, &mut stream)?;
        let found = Digest::sha256(stream.hash.finalize().into());
        if found == layer.diff {
            Ok(())
        } else {
            Err(ArchiveError::Changed { expected: layer.diff.clone(), found })
        }
    }

    /// A new file that goes when it is closed, beside the images.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn spool(&self) -> Result<File, ImageError> {
        nameless(&self.images.layout)
    }

    /// Remembers what a registry has the image and its layers as. Of what was packed anew there is nothing to be
    /// remembered.
    ///
    /// # Errors
    /// That cannot be written.
    pub fn note_pushed(
        &self,
        pinned: &Pinned,
        blobs: &[Blob],
        manifest: &Manifest,
    ) -> Result<(), ImageError> {
        if self.layers.iter().any(|layer| layer.packed.is_some()) {
            return Ok(());
        }
        let diffs: Vec<Digest> = self.layers.iter().map(|layer| layer.diff.clone()).collect();
        self.images.note_pushed(&self.id, pinned, &diffs, blobs, manifest)
    }

    /// Gives the configuration the digests that its layers have now.
    fn rename(&mut self) -> Result<(), ImageError> {
        let mut value: serde_json::Value =
            serde_json::from_slice(&self.config).map_err(ImageError::Config)?;
        value["rootfs"]["diff_ids"] = self.layers.iter().map(|layer| layer.diff.as_str()).collect();
        self.config = serde_json::to_vec(&value).map_err(ImageError::Config)?;
        self.parsed = parse_config(&self.config)?;
        self.id = id_of(&self.config);
        self.manifest = None;
        tracing::warn!(id = self.id.short(), "what was packed anew differs: the image has another id there");
        Ok(())
    }
}

/// The archive as it is written.
struct Saving<W> {
    writer: Writer<W>,
    /// The blobs that are in it.
    written: Vec<Digest>,
}

impl<W: Write> Saving<W> {
    /// Writes an image, and returns its entries in the list: one for each name.
    fn image(&mut self, image: &Outgoing<'_>, names: &[Reference]) -> Result<Vec<Descriptor>, ImageError> {
        for layer in &image.layers {
            if self.is_new(&layer.diff) {
                self.layer(image, layer)?;
            }
        }
        let config = self.blob(OCI_CONFIG, &image.config)?;
        let layers =
            image.layers.iter().map(|layer| Descriptor::of(OCI_LAYER, layer.diff.clone(), layer.size));
        let manifest = serde_json::to_vec(&ImageManifest::new(config, layers.collect()));
        let manifest = manifest.map_err(ImageError::Config)?;
        let mut entry = self.blob(OCI_MANIFEST, &manifest)?;
        entry.platform = Some(image.parsed.platform());
        if names.is_empty() {
            return Ok(vec![entry]);
        }
        let named = names.iter().map(|name| {
            let annotations = BTreeMap::from([
                ("io.containerd.image.name".to_owned(), RemoteName::from(name).full()),
                ("org.opencontainers.image.ref.name".to_owned(), name.tag().to_owned()),
            ]);
            Descriptor { annotations, ..entry.clone() }
        });
        Ok(named.collect())
    }

    fn layer(&mut self, image: &Outgoing<'_>, layer: &OutgoingLayer) -> Result<(), ImageError> {
        let entry = entry(&blob(&layer.diff), layer.size);
        let written = archive::piped(
            |pipe| image.write_layer(layer, io::BufWriter::with_capacity(128 * 1024, pipe)),
            |mut stream| {
                self.writer.append(&entry, &mut stream)?;
                // What comes behind the last byte is the verdict on all of them.
                stream.read_to_end(&mut Vec::new()).map(drop).map_err(ArchiveError::Read)
            },
        );
        written.map_err(|source| ImageError::Pack { layer: layer.diff.clone(), source })
    }

    fn blob(&mut self, media_type: &str, bytes: &[u8]) -> Result<Descriptor, ImageError> {
        let digest = id_of(bytes);
        if self.is_new(&digest) {
            self.bytes(&blob(&digest), bytes)?;
        }
        Ok(Descriptor::of(media_type, digest, u64::try_from(bytes.len()).unwrap_or(u64::MAX)))
    }

    fn is_new(&mut self, digest: &Digest) -> bool {
        let is_new = !self.written.contains(digest);
        if is_new {
            self.written.push(digest.clone());
        }
        is_new
    }

    fn json(&mut self, name: &str, value: &impl Serialize) -> Result<(), ImageError> {
        let bytes = serde_json::to_vec(value).map_err(ImageError::Config)?;
        self.bytes(name, &bytes)
    }

    fn bytes(&mut self, name: &str, bytes: &[u8]) -> Result<(), ImageError> {
        let entry = entry(name, u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.writer.append(&entry, bytes).map_err(ImageError::Save)
    }
}

fn blob(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// A file of the archive. The same images always make the same archive.
fn entry(name: &str, size: u64) -> Entry {
    Entry {
        path: name.into(),
        kind: Kind::File,
        mode: 0o644,
        uid: 0,
        gid: 0,
        modified: Time::default(),
        size,
        sparse: None,
        xattrs: Vec::new(),
    }
}
