//! The files of a log: which there are, in which order they were written, and how there is room for the next one.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::file;
use crate::container::request::log::{Driver, Options};
use crate::store;

/// What the name of a compressed file ends with.
const COMPRESSED: &str = ".zst";

/// The files of one log.
#[derive(Debug)]
pub enum Files {
    /// Of the driver `json-file`: the one that is written has the log's name, and the older ones are renamed.
    Renamed {
        /// The log's name.
        path: PathBuf,
        /// How many there may be.
        most: u16,
    },
    /// Of the driver `local`: each keeps its number, and those that are full are compressed.
    Numbered {
        /// Where they lie.
        directory: PathBuf,
        /// How many there may be.
        most: u16,
        /// The number of the one that is written.
        newest: u64,
    },
}

/// One of the files of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    /// So many files are newer.
    Age(u16),
    /// It has this number.
    Number(u64),
}

impl Files {
    /// The files of a log with this path, which is a directory for the driver `local`.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn new(path: &Path, options: &Options) -> io::Result<Self> {
        let most = options.max_file.get();
        if options.driver != Driver::Local {
            return Ok(Self::Renamed { path: path.to_owned(), most });
        }
        let newest = numbers(path)?.last().copied().unwrap_or(1);
        // A compressed file is whole.
        let newest = newest.saturating_add(u64::from(compressed(path, newest).exists()));
        Ok(Self::Numbered { directory: path.to_owned(), most, newest })
    }

    /// The log, for messages.
    pub fn path(&self) -> &Path {
        match self {
            Self::Renamed { path, .. } => path,
            Self::Numbered { directory, .. } => directory,
        }
    }

    /// The file that is written.
    pub fn current(&self) -> PathBuf {
        match self {
            Self::Renamed { path, .. } => path.clone(),
            Self::Numbered { directory, newest, .. } => plain(directory, *newest),
        }
    }

    /// Whether there are files that can be compressed.
    pub fn has_full(&self) -> bool {
        match self {
            Self::Renamed { .. } => false,
            Self::Numbered { directory, .. } => full(directory).is_ok_and(|full| !full.is_empty()),
        }
    }

    /// Makes room for a new file: the oldest of too many goes.
    pub fn rotate(&mut self) {
        match self {
            Self::Renamed { path, most } => rename(path, *most),
            Self::Numbered { directory, most, newest } => {
                *newest = newest.saturating_add(1);
                let (most, newest) = (u64::from(*most), *newest);
                for number in numbers(directory).unwrap_or_default() {
                    if number.saturating_add(most) <= newest {
                        // The next rotation tries again.
                        store::remove_if_exists(&plain(directory, number)).ok();
                        store::remove_if_exists(&compressed(directory, number)).ok();
                    }
                }
            }
        }
    }

    /// What files there may be, the newest first.
    pub(super) fn newest_first(&self) -> io::Result<Vec<Name>> {
        Ok(match self {
            Self::Renamed { most, .. } => (0..*most).map(Name::Age).collect(),
            Self::Numbered { directory, most, .. } => {
                let numbers = numbers(directory)?;
                let (Some(oldest), Some(newest)) = (numbers.first(), numbers.last()) else {
                    return Ok(Vec::new());
                };
                // Those between them as well: one may have changed its name while the directory was read.
                let oldest = (*oldest).max(newest.saturating_sub(u64::from(*most)));
                (oldest..=*newest).rev().map(Name::Number).collect()
            }
        })
    }

    /// Whether the file of this identity has this name. One with a number keeps it.
    pub(super) fn has_name(&self, identity: Identity, name: Name) -> io::Result<bool> {
        let (Self::Renamed { path, .. }, Name::Age(age)) = (self, name) else { return Ok(true) };
        match std::fs::metadata(file(path, age)) {
            Ok(metadata) => Ok(Identity::of(&metadata) == identity),
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(refused) => Err(refused),
        }
    }

    /// Opens a file, unless it is not there (any more).
    pub(super) fn open(&self, name: Name) -> io::Result<Option<Source>> {
        match (self, name) {
            (Self::Numbered { directory, .. }, Name::Number(number)) => {
                // The plain one goes when the other one is there, so this order misses neither.
                if let Some(file) = open_if_exists(&plain(directory, number))? {
                    return Source::plain(file, Some(number)).map(Some);
                }
                let file = open_if_exists(&compressed(directory, number))?;
                file.map(|file| Source::compressed(file, number)).transpose()
            }
            (Self::Renamed { path, .. }, Name::Age(age)) => {
                let found = open_if_exists(&file(path, age))?;
                found.map(|file| Source::plain(file, None)).transpose()
            }
            _ => Ok(None),
        }
    }
}

fn open_if_exists(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(refused) => Err(refused),
    }
}

/// Gives each file the next older name; the oldest goes.
///
/// At no instant is a file without a name but the one that goes, and each only ever moves towards the older names: so a
/// reader that looks from the newest to the oldest misses none. What a writer left that was killed in between is a name
/// without a file, up to which the next one moves the files.
fn rename(path: &Path, most: u16) {
    let names: Vec<PathBuf> = (0..most).map(|age| file(path, age)).collect();
    let free = names.iter().position(|name| !name.exists()).unwrap_or(names.len());
    if free == names.len() && names.len() == 1 {
        // A reader must not see it emptied: it is removed, and another file takes its place.
        store::remove_if_exists(path).ok();
    }
    for age in (1..=free.min(names.len() - 1)).rev() {
        if std::fs::rename(&names[age - 1], &names[age]).is_err() {
            // The next attempt moves it. What comes after it must not take its name.
            break;
        }
    }
}

/// The numbers of the files in a directory, the oldest first. Without the directory, there are none.
pub(super) fn numbers(directory: &Path) -> io::Result<Vec<u64>> {
    let number = |name: &String| name.strip_suffix(COMPRESSED).unwrap_or(name).parse::<u64>().ok();
    let mut numbers: Vec<u64> = store::list(directory)?.iter().filter_map(number).collect();
    numbers.sort_unstable();
    // One that has just been compressed is there twice for a moment.
    numbers.dedup();
    Ok(numbers)
}

/// The numbers of the files in a directory that are full and not compressed.
pub(super) fn full(directory: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = numbers(directory)?;
    numbers.pop();
    numbers.retain(|number| plain(directory, *number).exists());
    Ok(numbers)
}

/// The file of this number as it is written.
pub(super) fn plain(directory: &Path, number: u64) -> PathBuf {
    directory.join(number.to_string())
}

/// The compressed file of this number.
pub(super) fn compressed(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number}{COMPRESSED}"))
}

/// An open file of a log. It stays the same under whatever name, compressed or not, and nobody else has its identity while
/// it is open.
#[derive(Debug)]
pub(super) struct Source {
    content: Content,
    identity: Identity,
    /// How long it was when it was opened; not known of a compressed one.
    pub(super) size: u64,
    /// How much of it has been read.
    pub(super) position: u64,
}

/// What tells two files of a log apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Identity {
    Inode { device: u64, inode: u64 },
    Number(u64),
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        Self::Inode { device: metadata.dev(), inode: metadata.ino() }
    }
}

enum Content {
    Plain(BufReader<File>),
    Compressed(Box<BufReader<Decoder>>),
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain",
            Self::Compressed(_) => "Compressed",
        })
    }
}

type Decoder = zstd::Decoder<'static, BufReader<File>>;

impl Source {
    fn plain(file: File, number: Option<u64>) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let identity = number.map_or_else(|| Identity::of(&metadata), Identity::Number);
        Ok(Self {
            content: Content::Plain(BufReader::new(file)),
            identity,
            size: metadata.len(),
            position: 0,
        })
    }

    fn compressed(file: File, number: u64) -> io::Result<Self> {
        let content = Content::Compressed(Box::new(BufReader::new(zstd::Decoder::new(file)?)));
        Ok(Self { content, identity: Identity::Number(number), size: 0, position: 0 })
    }

    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    /// The file, if it is not compressed.
    pub(super) fn as_plain(&mut self) -> Option<&mut File> {
        match &mut self.content {
            Content::Plain(file) => Some(file.get_mut()),
            Content::Compressed(_) => None,
        }
    }

    /// Reads up to the end of a line, or of the file, and appends that to `line`.
    pub(super) fn read_line(&mut self, line: &mut Vec<u8>) -> io::Result<u64> {
        let read = match &mut self.content {
            Content::Plain(file) => file.read_until(b'\n', line),
            Content::Compressed(file) => file.read_until(b'\n', line),
        }?;
        let read = u64::try_from(read).unwrap_or(0);
        self.position += read;
        Ok(read)
    }

    /// Goes to a place from the beginning.
    pub(super) fn go_to(&mut self, position: u64) -> io::Result<()> {
        match &mut self.content {
            Content::Plain(file) => drop(file.seek(SeekFrom::Start(position))?),
            Content::Compressed(decoder) => {
                let mut file = decoder.get_ref().get_ref().get_ref().try_clone()?;
                file.seek(SeekFrom::Start(0))?;
                **decoder = BufReader::new(zstd::Decoder::new(file)?);
                io::copy(&mut decoder.by_ref().take(position), &mut io::sink())?;
            }
        }
        self.position = position;
        Ok(())
    }
}
