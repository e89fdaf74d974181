//! The very bytes of a layer's tar stream, kept beside the files that were made of it.
//!
//! A layer is named by the digest of its stream, and no archiver writes the same stream as another: orders, padding
//! and headers differ. So whatever of a stream is not the contents of a file is kept as it came, and in the place of
//! contents stands where they lie. It is one or two percent of the layer, compressed.
//!
//! ```text
//! layer.split     zstd: MAGIC, then records
//!     0 LENGTH BYTES          these bytes
//!     1 SIZE LENGTH PATH      the contents of this file below `diff`
//!     2 NUMBER LENGTH PATH    what was called so until now lies in `replaced/NUMBER`: a later entry took its place
//!     3                       the end
//!     4 COUNT (OFFSET SIZE)… LENGTH PATH   the contents of these parts of this file: the rest of it are holes
//! ```

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, readlink, renameat};
use nix::sys::stat::{Mode, mkdirat};

use super::below::reopen;
use super::sparse::{PARTS_MAX, Parts};
use super::{ArchiveError, Below, Entry, Part, Sparse};
use crate::store::FileError;
use crate::sys;

/// What the file starts with: which program's it is, and the version.
const MAGIC: &[u8; 16] = b"mydocker split1\n";

const RAW: u8 = 0;
const FILE: u8 = 1;
const REPLACED: u8 = 2;
const END: u8 = 3;
const SPARSE: u8 = 4;

/// The most bytes of one record.
const RAW_MAX: usize = 64 * 1024;

/// The longest path that a record may have: that of the kernel.
const PATH_MAX: usize = 4096;

/// How many files of one stream may be replaced by later ones of it. With more of them it is not kept.
const REPLACED_MAX: u32 = 10_000;

/// The name of the directory beside `diff` with what was replaced.
const REPLACED_NAME: &str = "replaced";

type Encoder = zstd::stream::write::Encoder<'static, BufWriter<File>>;

/// What is kept of a stream while a layer is made of it.
pub struct Split {
    state: RefCell<State>,
    /// The layer's own directory: `diff` is in it.
    layer: Below,
    /// Where `diff` really is.
    root: PathBuf,
}

struct State {
    /// `None` once it was given up.
    encoder: Option<Encoder>,
    /// What has been read and not been written.
    raw: Vec<u8>,
    /// Whether what is read becomes the contents of a file.
    in_file: bool,
    length: u64,
    replaced: u32,
    failure: Option<io::Error>,
}

impl std::fmt::Debug for Split {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Split").field("root", &self.root).finish_non_exhaustive()
    }
}

/// A stream of which a [`Split`] keeps what is not in files.
#[derive(Debug)]
pub struct Kept<'a, R> {
    stream: R,
    split: &'a Split,
}

impl<R: Read> Read for Kept<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        self.split.passed(&buffer[..count])?;
        Ok(count)
    }
}

impl<R> Kept<'_, R> {
    /// The stream, wherever it is.
    pub fn into_inner(self) -> R {
        self.stream
    }
}

impl Split {
    /// Keeps what is needed in the new file `file`; the layer's files go to `diff` in the directory `layer`.
    ///
    /// # Errors
    /// The directories cannot be opened, or the file not written.
    pub fn new(file: File, layer: &Path) -> io::Result<Self> {
        let mut encoder = Encoder::new(BufWriter::new(file), 3)?;
        encoder.write_all(MAGIC)?;
        let (layer, files) = (Below::open(layer)?, Below::open(&layer.join("diff"))?);
        let root = real_path(files.directory("")?)?;
        let state = State {
            encoder: Some(encoder),
            raw: Vec::with_capacity(RAW_MAX),
            in_file: false,
            length: 0,
            replaced: 0,
            failure: None,
        };
        Ok(Self { state: RefCell::new(state), layer, root })
    }

    /// The stream, of which everything is kept that is read.
    pub fn keep<R: Read>(&self, stream: R) -> Kept<'_, R> {
        Kept { stream, split: self }
    }

    /// Ends it. How long the stream was, or `None` if it could not be kept.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(self) -> io::Result<Option<u64>> {
        let mut state = self.state.into_inner();
        state.flush()?;
        let Some(mut encoder) = state.encoder else { return Ok(None) };
        encoder.write_all(&[END])?;
        encoder.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(Some(state.length))
    }

    /// Why it could not be written, if that is why the stream could not be read on.
    pub fn failure(&self) -> Option<io::Error> {
        self.state.borrow_mut().failure.take()
    }

    fn passed(&self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        state.length += length(bytes.len());
        if state.in_file || state.encoder.is_none() {
            return Ok(());
        }
        let written = state.raw(bytes);
        written.map_err(|error| {
            state.failure = Some(error);
            io::Error::other("what is kept of it cannot be written")
        })
    }

    /// What follows are the contents of `entry`, which becomes the file `name` in `directory`.
    pub(super) fn file(&self, directory: impl AsFd, name: &OsStr, entry: &Entry) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        // Without contents there is nothing to refer to.
        if entry.size == 0 || state.encoder.is_none() {
            return Ok(());
        }
        match self.path_below(directory, name) {
            Some(path) => {
                match &entry.sparse {
                    None => state.record(FILE, &entry.size.to_le_bytes(), &path)?,
                    Some(sparse) => state.record(SPARSE, &numbers(sparse)?, &path)?,
                }
                state.in_file = true;
            }
            None => state.give_up(),
        }
        Ok(())
    }

    /// The contents of a file have ended.
    pub(super) fn file_ended(&self) {
        self.state.borrow_mut().in_file = false;
    }

    /// Moves away what has to make way for a later entry: its contents are still referred to. Whether that was done.
    pub(super) fn replaced(&self, directory: impl AsFd, name: &OsStr) -> io::Result<bool> {
        let mut state = self.state.borrow_mut();
        if state.encoder.is_none() {
            return Ok(false);
        }
        let path = self.path_below(&directory, name).filter(|_| state.replaced < REPLACED_MAX);
        let Some(path) = path else {
            state.give_up();
            return Ok(false);
        };
        let beside = self.layer.directory("")?;
        if state.replaced == 0 {
            mkdirat(&beside, REPLACED_NAME, Mode::S_IRWXU)?;
        }
        let number = state.replaced;
        let place = format!("{REPLACED_NAME}/{number}");
        renameat(&directory, name, &beside, place.as_str())?;
        state.replaced += 1;
        state.record(REPLACED, &number.to_le_bytes(), &path)?;
        Ok(true)
    }

    /// Where a file is below `diff`, by names of directories only; `None` if that is longer than the kernel takes.
    fn path_below(&self, directory: impl AsFd, name: &OsStr) -> Option<PathBuf> {
        let path = real_path(directory).ok()?.strip_prefix(&self.root).ok()?.join(name);
        (path.as_os_str().len() <= PATH_MAX).then_some(path)
    }
}

/// How many parts a file has, and the place and length of each.
fn numbers(sparse: &Sparse) -> io::Result<Vec<u8>> {
    let count = u32::try_from(sparse.parts.len()).map_err(io::Error::other)?;
    let parts = sparse.parts.iter().flat_map(|part| [part.offset.to_le_bytes(), part.length.to_le_bytes()]);
    Ok(count.to_le_bytes().into_iter().chain(parts.flatten()).collect())
}

/// Where an open directory is, links resolved.
fn real_path(directory: impl AsFd) -> io::Result<PathBuf> {
    Ok(readlink(sys::descriptor_path(directory.as_fd()).as_str())?.into())
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

impl State {
    fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        for part in bytes.chunks(RAW_MAX) {
            if self.raw.len() + part.len() > RAW_MAX {
                self.flush()?;
            }
            self.raw.extend_from_slice(part);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some(encoder) = &mut self.encoder else { return Ok(()) };
        if !self.raw.is_empty() {
            encoder.write_all(&[RAW])?;
            encoder.write_all(&u32::try_from(self.raw.len()).map_err(io::Error::other)?.to_le_bytes())?;
            encoder.write_all(&self.raw)?;
            self.raw.clear();
        }
        Ok(())
    }

    fn record(&mut self, tag: u8, number: &[u8], path: &Path) -> io::Result<()> {
        self.flush()?;
        let Some(encoder) = &mut self.encoder else { return Ok(()) };
        let path = path.as_os_str().as_bytes();
        encoder.write_all(&[tag])?;
        encoder.write_all(number)?;
        encoder.write_all(&u16::try_from(path.len()).map_err(io::Error::other)?.to_le_bytes())?;
        encoder.write_all(path)
    }

    /// The stream cannot be kept. The layer's files are as good as ever.
    fn give_up(&mut self) {
        tracing::debug!("the stream of a layer is not kept");
        self.encoder = None;
        self.raw = Vec::new();
    }
}

/// One record as it is read back.
enum Record {
    Raw(Vec<u8>),
    File { size: u64, path: PathBuf },
    Sparse { parts: Vec<Part>, path: PathBuf },
    Replaced { number: u32, path: PathBuf },
    End,
}

struct Records<R>(R);

impl<R: Read> Records<R> {
    fn open(file: R) -> io::Result<Records<impl Read>> {
        let mut decoder = zstd::stream::read::Decoder::new(file)?;
        let mut magic = [0; MAGIC.len()];
        decoder.read_exact(&mut magic)?;
        if magic != *MAGIC { Err(damaged()) } else { Ok(Records(BufReader::new(decoder))) }
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn path(&mut self) -> io::Result<PathBuf> {
        let length = usize::from(u16::from_le_bytes(self.bytes()?));
        let mut path = vec![0; length.min(PATH_MAX)];
        self.0.read_exact(&mut path)?;
        Ok(OsString::from_vec(path).into())
    }

    fn parts(&mut self) -> io::Result<Vec<Part>> {
        let count = usize::try_from(u32::from_le_bytes(self.bytes()?)).map_err(io::Error::other)?;
        if count > PARTS_MAX {
            return Err(damaged());
        }
        let mut number = || self.bytes().map(u64::from_le_bytes);
        (0..count).map(|_| Ok(Part { offset: number()?, length: number()? })).collect()
    }

    fn next(&mut self) -> io::Result<Record> {
        Ok(match self.bytes::<1>()? {
            [RAW] => {
                let length = usize::try_from(u32::from_le_bytes(self.bytes()?)).map_err(io::Error::other)?;
                if length > RAW_MAX {
                    return Err(damaged());
                }
                let mut bytes = vec![0; length];
                self.0.read_exact(&mut bytes)?;
                Record::Raw(bytes)
            }
            [FILE] => Record::File { size: u64::from_le_bytes(self.bytes()?), path: self.path()? },
            [REPLACED] => Record::Replaced { number: u32::from_le_bytes(self.bytes()?), path: self.path()? },
            [END] => Record::End,
            [SPARSE] => Record::Sparse { parts: self.parts()?, path: self.path()? },
            _ => return Err(damaged()),
        })
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it is damaged")
}

/// Writes again the very stream that a layer was made of: from what [`Split`] kept in `file`, and from the files in
/// the layer's directory `layer`.
///
/// # Errors
/// Something cannot be read, or the stream not be written. Whether the files are still what they were is not looked
/// at: the stream's digest tells.
pub fn restore(file: &Path, layer: &Path, stream: &mut impl Write) -> Result<(), ArchiveError> {
    let open = || File::open(file).and_then(Records::open).map_err(FileError::of("read", file));
    let files = Below::open(layer).map_err(FileError::of("open", layer))?;
    let names = Names::read(&mut open()?).map_err(FileError::of("read", file))?;
    let (mut records, mut position) = (open()?, 0_u64);
    loop {
        let (path, parts) = match records.next().map_err(FileError::of("read", file))? {
            Record::Raw(bytes) => {
                stream.write_all(&bytes).map_err(ArchiveError::Write)?;
                continue;
            }
            Record::Replaced { .. } => continue,
            Record::End => return Ok(()),
            Record::File { size, path } => (path, vec![Part { offset: 0, length: size }]),
            Record::Sparse { parts, path } => (path, parts),
        };
        position += 1;
        contents(&files, &names.place(position, &path), parts, stream)?;
    }
}

/// Which names were given to something else later: after how many files, and which number what was there got.
struct Names(Vec<(u64, PathBuf, u32)>);

impl Names {
    fn read(records: &mut Records<impl Read>) -> io::Result<Self> {
        let (mut replaced, mut position) = (Vec::new(), 0_u64);
        loop {
            match records.next()? {
                Record::Replaced { number, path } => replaced.push((position, path, number)),
                Record::End => return Ok(Self(replaced)),
                Record::File { .. } | Record::Sparse { .. } => position += 1,
                Record::Raw(_) => {}
            }
        }
    }

    /// Where the file lies now that was the stream's `position`th and was called so.
    fn place(&self, position: u64, path: &Path) -> PathBuf {
        let later = self.0.iter().find_map(|(at, name, number)| {
            let rest = (*at >= position).then(|| path.strip_prefix(name).ok())??;
            // Joining nothing would end the path with a slash, as if it were a directory.
            let place = Path::new(REPLACED_NAME).join(number.to_string());
            Some(if rest.as_os_str().is_empty() { place } else { place.join(rest) })
        });
        later.unwrap_or_else(|| Path::new("diff").join(path))
    }
}

/// Writes parts of a file, one after the other.
fn contents(
    below: &Below,
    path: &Path,
    parts: Vec<Part>,
    stream: &mut impl Write,
) -> Result<(), ArchiveError> {
    let read = |source: io::Error| ArchiveError::from(FileError::of("read", path)(source));
    let file = below.spot(path, false).map_err(read)?.file;
    let file = file.ok_or_else(|| read(io::ErrorKind::NotFound.into()))?;
    let file = reopen(file, OFlag::O_RDONLY).map_err(read)?;
    let size = file.metadata().map_err(read)?.len();
    let last = parts.last().map_or(Some(0), |part| part.offset.checked_add(part.length));
    if last.is_none_or(|end| end > size) {
        return Err(read(io::ErrorKind::UnexpectedEof.into()));
    }
    let sparse = Sparse { size, parts };
    let mut data = Parts::new(&file, &sparse);
    let stored = usize::try_from(sparse.stored()).unwrap_or(usize::MAX);
    let mut buffer = vec![0; stored.clamp(1, 128 * 1024)];
    loop {
        match data.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => stream.write_all(&buffer[..count]).map_err(ArchiveError::Write)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(read(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use proptest::prelude::*;

    use super::super::{Entry, Kind, Reader, Time, Writer, drain, unpack_layer};
    use super::*;

    fn entry(path: &str, kind: Kind) -> Entry {
        let modified = Time { seconds: 1_000, nanoseconds: 0 };
        Entry {
            path: path.into(),
            kind,
            mode: 0o755,
            uid: 0,
            gid: 0,
            modified,
            size: 0,
            sparse: None,
            xattrs: Vec::new(),
        }
    }

    fn stream(entries: &[(Entry, Vec<u8>)]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        for (entry, data) in entries {
            writer.append(&Entry { size: length(data.len()), ..entry.clone() }, &data[..]).unwrap();
        }
        writer.finish().unwrap()
    }

    /// Makes a layer of a stream and writes its stream again. `None` if it was not kept.
    fn again(bytes: &[u8], layer: &Path) -> Option<Vec<u8>> {
        std::fs::create_dir(layer.join("diff")).unwrap();
        let path = layer.join("layer.split");
        let split = Split::new(OpenOptions::new().write(true).create_new(true).open(&path).unwrap(), layer);
        let split = split.unwrap();
        let mut reader = Reader::new(split.keep(bytes));
        unpack_layer(&mut reader, &Below::open(&layer.join("diff")).unwrap(), &split).unwrap();
        drain(&mut reader.into_inner()).unwrap();
        let kept = split.finish().unwrap()?;
        assert_eq!(kept, length(bytes.len()));
        let mut restored = Vec::new();
        restore(&path, layer, &mut restored).unwrap();
        Some(restored)
    }

    fn check(entries: &[(Entry, Vec<u8>)], tail: &[u8]) {
        let layer = tempfile::tempdir().unwrap();
        let bytes = [&stream(entries)[..], tail].concat();
        assert!(again(&bytes, layer.path()) == Some(bytes), "{entries:?}");
    }

    #[test]
    fn a_stream_comes_back_with_what_is_not_in_its_files() {
        let file = |path: &str, text: &str| (entry(path, Kind::File), text.as_bytes().to_vec());
        let other = |path: &str, kind: Kind| (entry(path, kind), Vec::new());
        let large = "x".repeat(300_000);
        for entries in [
            vec![],
            vec![file("a", "one"), file("d/b", &large), other("l", Kind::Symlink("a".into()))],
            // Replaced: a file by a file, by a directory, a directory with all in it, and what is reached by a link
            // that leads elsewhere later.
            vec![file("a", "one"), file("a", "two"), file("a", "three")],
            vec![file("a", "one"), other("a", Kind::Directory), file("a/b", "two"), file("a", "three")],
            vec![file("d/e/f", "one"), file("d", "two"), file("d", "")],
            vec![
                file("x/f", "one"),
                file("y/f", "two"),
                other("l", Kind::Symlink("x".into())),
                file("l/g", "three"),
                other("l", Kind::Symlink("y".into())),
                file("l/g", "four"),
                file("l/f", "five"),
            ],
            vec![
                file("a", "one"),
                other("h", Kind::HardLink("a".into())),
                file("a", "two"),
                file("h", "three"),
            ],
            // Neither are these files of the layer.
            vec![file(".wh..wh.plnk", "data that is passed over"), file(".wh.gone", ""), file("a", "one")],
        ] {
            check(&entries, b"");
            check(&entries, &[0; 10_000]);
            check(&entries, b"whatever follows");
        }
    }

    #[test]
    fn a_file_with_holes_comes_back_as_its_parts() {
        let part = |offset, length| Part { offset, length };
        let holes = |path: &str, parts: Vec<Part>| {
            let sparse = Sparse { size: 1 << 30, parts };
            let data = vec![b'x'; usize::try_from(sparse.stored()).unwrap()];
            (Entry { sparse: Some(sparse), ..entry(path, Kind::File) }, data)
        };
        let entries = [
            holes("a", vec![part(0, 5), part(1 << 20, 200_000), part((1 << 30) - 7, 7)]),
            holes("nothing", vec![]),
            (entry("a", Kind::File), b"whole".to_vec()),
            holes("b", vec![part(4096, 1)]),
            holes("b", vec![part(0, 4096)]),
        ];
        check(&entries, b"");
        // Cut off, it is told.
        let layer = tempfile::tempdir().unwrap();
        again(&stream(&entries[3..]), layer.path()).unwrap();
        OpenOptions::new().write(true).open(layer.path().join("diff/b")).unwrap().set_len(100).unwrap();
        let error = restore(&layer.path().join("layer.split"), layer.path(), &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "cannot read diff/b");
    }

    #[test]
    fn many_replacements_are_not_kept_but_unpacked() {
        let layer = tempfile::tempdir().unwrap();
        let count = usize::try_from(REPLACED_MAX).unwrap() + 2;
        let entries = vec![(entry("a", Kind::File), b"x".to_vec()); count];
        assert_eq!(again(&stream(&entries), layer.path()), None);
        assert_eq!(std::fs::read(layer.path().join("diff/a")).unwrap(), b"x");
    }

    #[test]
    fn damage_is_told() {
        let layer = tempfile::tempdir().unwrap();
        let bytes = stream(&[(entry("a", Kind::File), b"contents".to_vec())]);
        again(&bytes, layer.path()).unwrap();
        let path = layer.path().join("layer.split");
        let restored = || restore(&path, layer.path(), &mut Vec::new()).unwrap_err().to_string();
        std::fs::remove_file(layer.path().join("diff/a")).unwrap();
        assert_eq!(restored(), "cannot read diff/a");
        let kept = std::fs::read(&path).unwrap();
        for bad in
            [&kept[..kept.len() / 2], b"", b"something else", &zstd::encode_all(&b"other"[..], 1).unwrap()]
        {
            crate::store::write_atomic(&path, bad, crate::store::Durability::Process).unwrap();
            assert!(restored().contains("layer.split"));
        }
    }

    proptest! {
        #[test]
        fn any_sequence_of_entries_comes_back(
            steps in prop::collection::vec((0..4_usize, 0..5_usize, "[ab](/[ab]){0,2}", 0..3_usize), 0..20)
        ) {
            let mut entries = Vec::new();
            for (number, (kind, data, path, target)) in steps.into_iter().enumerate() {
                let kind = match kind {
                    0 | 1 => Kind::File,
                    2 => Kind::Directory,
                    _ => Kind::Symlink(["a", "b", "b/a"][target].into()),
                };
                let data = if kind == Kind::File { vec![u8::try_from(number).unwrap(); data * 300] } else { Vec::new() };
                entries.push((entry(&path, kind), data));
            }
            let layer = tempfile::tempdir().unwrap();
            std::fs::create_dir(layer.path().join("diff")).unwrap();
            let bytes = stream(&entries);
            // Links in circles, and files where directories are wanted, are refused when the layer is made.
            let below = Below::open(&layer.path().join("diff")).unwrap();
            let is_fine = super::super::unpack(
                &mut Reader::new(&bytes[..]), &below, super::super::Target::Layer, super::super::Owners::Archive).is_ok();
            if is_fine {
                let layer = tempfile::tempdir().unwrap();
                prop_assert_eq!(again(&bytes, layer.path()), Some(bytes));
            }
        }
    }
}
