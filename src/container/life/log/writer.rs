//! A supervisor's side of a log.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use chrono::{SecondsFormat, Utc};

use super::{ENTRY_MAX, Entry, LogError, file};
use crate::container::life::protocol::Stream;
use crate::container::request::log::Options;
use crate::store;

/// How much memory is kept from one entry to the next.
const BUFFER: usize = 16 << 10;

/// Writes what a container prints, entry by entry.
///
/// A log that cannot be written (a full disk) never stops the container: what does not fit is lost, and
/// [`Writer::lost`] counts it.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    max_size: u64,
    max_file: u16,
    /// `None` between two files, if the next one could not be made.
    file: Option<File>,
    /// How large it is.
    size: u64,
    /// The unfinished lines of standard output and standard error.
    partial: [Vec<u8>; 2],
    /// Entries of one call, written at once.
    buffer: Vec<u8>,
    lost: u64,
    /// Whether the file ends in the middle of an entry.
    torn: bool,
}

impl Writer {
    /// Opens the log for appending, and makes it if need be.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn open(path: &Path, options: &Options) -> Result<Self, LogError> {
        let error = |source| LogError { action: "open", path: path.to_owned(), source };
        let mut file = open(path).map_err(error)?;
        let torn = !ends_with_line(&mut file).map_err(error)?;
        Ok(Self {
            path: path.to_owned(),
            max_size: options.max_size.map_or(u64::MAX, u64::from),
            max_file: options.max_file.get(),
            size: file.stream_position().map_err(error)?,
            file: Some(file),
            partial: [Vec::new(), Vec::new()],
            buffer: Vec::new(),
            lost: 0,
            torn,
        })
    }

    /// Takes what the container wrote to `stream` and writes the entries that are complete.
    pub fn write(&mut self, stream: Stream, data: &[u8]) {
        let index = usize::from(stream == Stream::Stderr);
        let mut rest = data;
        while !rest.is_empty() {
            let room = ENTRY_MAX - self.partial[index].len();
            let piece = &rest[..rest.len().min(room)];
            let end = piece.iter().position(|&byte| byte == b'\n').map_or(piece.len(), |at| at + 1);
            let (piece, after) = rest.split_at(end);
            rest = after;
            self.partial[index].extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.partial[index].len() == ENTRY_MAX {
                self.complete(stream, index);
            }
        }
        self.flush();
    }

    /// Writes what is left of unfinished lines: there will be no more.
    pub fn finish(&mut self) {
        for (index, stream) in [Stream::Stdout, Stream::Stderr].into_iter().enumerate() {
            if !self.partial[index].is_empty() {
                self.complete(stream, index);
            }
        }
        self.flush();
    }

    /// How many bytes of entries could not be written.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    fn complete(&mut self, stream: Stream, index: usize) {
        let text = String::from_utf8_lossy(&self.partial[index]).into_owned();
        let time = Utc::now().to_rfc3339_opts(SecondsFormat::Nanos, true);
        let start = self.buffer.len();
        // Strings can always be written as JSON, and a vector always takes them.
        serde_json::to_writer(&mut self.buffer, &Entry { text, stream, time }).ok();
        self.buffer.push(b'\n');
        self.partial[index].clear();
        self.partial[index].shrink_to(BUFFER);
        if self.size.saturating_add(self.buffer.len() as u64) > self.max_size {
            let entry = self.buffer.split_off(start);
            self.flush();
            // An entry that is larger than a file may be has one to itself.
            if self.size > 0 {
                self.rotate();
            }
            self.buffer = entry;
        }
    }

    /// Begins a new file. The others become one file older each, and the oldest goes.
    ///
    /// At no instant is a file without a name but the one that goes, and each only ever moves towards the
    /// older names: so a reader that looks from the newest to the oldest misses none. What a writer left that
    /// was killed in between is a name without a file, up to which the next one moves the files.
    fn rotate(&mut self) {
        let names: Vec<PathBuf> = (0..self.max_file).map(|age| file(&self.path, age)).collect();
        let free = names.iter().position(|name| !name.exists()).unwrap_or(names.len());
        if free == names.len() && names.len() == 1 {
            // A reader must not see it emptied: it is removed, and another file takes its place.
            store::remove_if_exists(&self.path).ok();
        }
        for age in (1..=free.min(names.len() - 1)).rev() {
            if std::fs::rename(&names[age - 1], &names[age]).is_err() {
                // The next attempt moves it. What comes after it must not take its name.
                break;
            }
        }
        self.file = None;
        self.reopen();
    }

    /// Makes the next file, if there is none.
    fn reopen(&mut self) {
        if self.file.is_none()
            && let Ok(mut file) = open(&self.path)
        {
            self.torn = !ends_with_line(&mut file).unwrap_or(false);
            self.size = file.stream_position().unwrap_or(0);
            self.file = Some(file);
        }
    }

    fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        self.reopen();
        let written = self.file.as_mut().is_some_and(|file| {
            if self.torn {
                // The next entry has a line of its own again.
                self.torn = file.write_all(b"\n").is_err();
            }
            let before = file.stream_position().unwrap_or(0);
            let written = !self.torn && file.write_all(&self.buffer).is_ok();
            if !written {
                // What a full disk took is cut off again where possible, so that the file stays lines of JSON.
                self.torn = self.torn || file.set_len(before).is_err();
            }
            self.size = file.seek(SeekFrom::End(0)).unwrap_or(self.size);
            written
        });
        if !written {
            self.lost += self.buffer.len() as u64;
        }
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER);
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path)
}

/// Whether the file is whole lines; leaves it at its end.
fn ends_with_line(file: &mut File) -> io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    file.seek(SeekFrom::End(0))?;
    Ok(last == *b"\n")
}
