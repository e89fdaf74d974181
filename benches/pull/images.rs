//! The images that are pulled: made of the machine's own files, so that they are as compressible as images are.

use std::fs::{self, File};
use std::io::{BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::command;
use crate::hideout::Place;
use crate::tools::Registry;

/// What an image is like.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    layers: u32,
    /// How many bytes the files of a layer have together.
    size: u64,
    /// Whether they are small ones.
    is_small: bool,
}

pub(crate) const KINDS: &[Kind] = &[
    Kind { name: "one layer", layers: 1, size: 500_000_000, is_small: false },
    Kind { name: "twelve layers", layers: 12, size: 40_000_000, is_small: false },
    Kind { name: "small files", layers: 1, size: 0, is_small: true },
];

const SMALL_FILES: u32 = 5_000;

/// An image that a registry has.
pub(crate) struct Image {
    name: &'static str,
    pub(crate) reference: String,
    /// Paths of the blobs at the registry, configuration included.
    pub(crate) blobs: Vec<String>,
    /// The file with the largest layer, compressed.
    pub(crate) largest: PathBuf,
    /// How many bytes the layers have, compressed and not.
    compressed: u64,
    unpacked: u64,
    /// The files: their names, and how many bytes each has.
    pub(crate) files: Vec<(String, usize)>,
}

impl Image {
    pub(crate) fn describe(&self) -> String {
        let megabytes = |bytes: u64| bytes / 1_000_000;
        format!(
            "{}: {} files with {} MB, {} MB compressed",
            self.name,
            self.files.len(),
            megabytes(self.unpacked),
            megabytes(self.compressed)
        )
    }
}

/// Writes, counts and hashes.
struct Hashing<W> {
    inner: W,
    hash: Sha256,
    count: u64,
}

impl<W: Write> Hashing<W> {
    fn new(inner: W) -> Self {
        Self { inner, hash: Sha256::new(), count: 0 }
    }

    fn digest(self) -> (String, u64) {
        (hex(&self.hash.finalize()), self.count)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        let count = self.inner.write(buffer)?;
        self.hash.update(&buffer[..count]);
        self.count += u64::try_from(count).unwrap();
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes an image and puts it into the registry.
pub(crate) fn publish(place: &Place, registry: &Registry, kind: &Kind) -> Image {
    let directory = place.directory();
    let blobs = directory.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let mut files = programs();
    let (mut layers, mut diffs, mut made, mut largest) =
        (Vec::new(), Vec::new(), Vec::new(), (0, PathBuf::new()));
    for number in 0..kind.layers {
        let temporary = directory.join("layer");
        let packed = GzEncoder::new(
            Hashing::new(BufWriter::new(File::create(&temporary).unwrap())),
            Compression::new(6),
        );
        let mut archive = tar::Builder::new(Hashing::new(packed));
        let scale = u64::from(command::number("MYDOCKER_BENCH_SCALE", 1));
        if kind.is_small {
            add_small(&mut archive, &mut made);
        } else {
            add_programs(&mut archive, number, kind.size / scale, &mut files, &mut made);
        }
        let stream = archive.into_inner().unwrap();
        let (hash, encoder) = (stream.hash, stream.inner);
        diffs.push(format!("sha256:{}", hex(&hash.finalize())));
        let mut packed = encoder.finish().unwrap();
        packed.flush().unwrap();
        let (digest, size) = packed.digest();
        let path = blobs.join(&digest);
        fs::rename(&temporary, &path).unwrap();
        if size > largest.0 {
            largest = (size, path);
        }
        layers.push(json!({ "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
            "digest": format!("sha256:{digest}"), "size": size }));
    }
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = json!({ "architecture": architecture, "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": diffs } });
    let config = blob(&blobs, "application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
    let manifest = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config, "layers": layers });
    let manifest =
        blob(&blobs, "application/vnd.oci.image.manifest.v1+json", manifest.to_string().as_bytes());
    fs::write(directory.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    fs::write(
        directory.join("index.json"),
        json!({ "schemaVersion": 2, "manifests": [manifest] }).to_string(),
    )
    .unwrap();
    let path = kind.name.replace(' ', "-");
    let reference = format!("{}/bench/{path}:v1", registry.address);
    let mut copy = Command::new("skopeo");
    copy.args(["--insecure-policy", "copy", "-q", "--dest-tls-verify=false"]);
    copy.arg(format!("oci:{}", directory.display())).arg(format!("docker://{reference}"));
    command::run(copy.env("TMPDIR", place.directory()), "").unwrap();
    let digests = layers.iter().chain([&config]).map(|layer| layer["digest"].as_str().unwrap());
    Image {
        name: kind.name,
        reference,
        blobs: digests.map(|digest| format!("/v2/bench/{path}/blobs/{digest}")).collect(),
        largest: largest.1,
        compressed: layers.iter().map(|layer| layer["size"].as_u64().unwrap()).sum(),
        unpacked: made.iter().map(|(_, size)| u64::try_from(*size).unwrap()).sum(),
        files: made,
    }
}

fn blob(directory: &Path, media_type: &str, bytes: &[u8]) -> serde_json::Value {
    let digest = hex(&Sha256::digest(bytes));
    fs::write(directory.join(&digest), bytes).unwrap();
    json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len() })
}

/// The machine's programs and libraries, over and over if there are not enough of them.
fn programs() -> impl Iterator<Item = PathBuf> {
    let mut found = Vec::new();
    for directory in ["/usr/bin", "/usr/lib"] {
        collect(Path::new(directory), &mut found);
    }
    assert!(!found.is_empty(), "there are no programs in /usr/bin");
    found.sort();
    found.into_iter().cycle()
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            collect(&entry.path(), found);
        } else if kind.is_file() && entry.metadata().is_ok_and(|data| (1..64 << 20).contains(&data.len())) {
            found.push(entry.path());
        }
    }
}

/// What is in an image: names, and how many bytes.
type Made = Vec<(String, usize)>;

/// Adds files until they have so many bytes. Those of each layer lie in a directory of their own.
fn add_programs(
    archive: &mut tar::Builder<impl Write>,
    number: u32,
    size: u64,
    files: &mut impl Iterator<Item = PathBuf>,
    made: &mut Made,
) {
    let mut left = size;
    for (count, path) in files.enumerate() {
        let mut bytes = Vec::new();
        File::open(&path).unwrap().take(left).read_to_end(&mut bytes).unwrap();
        let name = path.file_name().unwrap().to_string_lossy();
        let short: String = name.chars().take(40).collect();
        add(archive, format!("layer{number}/{}/{count}-{short}", count / 200), &bytes, made);
        left -= u64::try_from(bytes.len()).unwrap();
        if left == 0 {
            break;
        }
    }
}

/// Adds many small files, with parts of programs in them.
fn add_small(archive: &mut tar::Builder<impl Write>, made: &mut Made) {
    let mut text = Vec::new();
    for path in programs().take(400) {
        File::open(path).unwrap().take(16_384).read_to_end(&mut text).unwrap();
    }
    for number in 0..SMALL_FILES {
        let size = usize::try_from(1_000 + number * 37 % 3_000).unwrap();
        let start = usize::try_from(number).unwrap() * 997 % (text.len() - size);
        add(archive, format!("small/{}/{number}", number / 50), &text[start..start + size], made);
    }
}

fn add(archive: &mut tar::Builder<impl Write>, path: String, bytes: &[u8], made: &mut Made) {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o755);
    header.set_mtime(1_000_000_000);
    header.set_size(u64::try_from(bytes.len()).unwrap());
    archive.append_data(&mut header, &path, bytes).unwrap();
    made.push((path, bytes.len()));
}
