//! A supervisor's side of a log.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use chrono::{SecondsFormat, Utc};

use super::compress::{Begin, Compressor};
use super::files::Files;
use super::{ENTRY_MAX, LogError};
use crate::container::life::protocol::Stream;
use crate::container::request::log::{Driver, Options};
use crate::store;

/// How much memory is kept from one entry to the next.
const BUFFER: usize = 16 << 10;
/// How much is gathered before it is written.
const BUFFERED_MAX: usize = 64 << 10;

/// Writes what a container prints, entry by entry.
///
/// A log that cannot be written (a full disk) never stops the container: what does not fit is lost, and
/// [`Writer::lost`] counts it.
#[derive(Debug)]
pub struct Writer {
    files: Files,
    max_size: u64,
    /// `None` between two files, if the next one could not be made.
    file: Option<File>,
    /// How large it is.
    size: u64,
    /// The unfinished lines of standard output and standard error.
    partial: [Vec<u8>; 2],
    /// Entries of one call, written at once.
    buffer: Vec<u8>,
    lost: u64,
    /// What stands beside each entry, as a member of its JSON.
    beside: String,
    /// Whether the file ends in the middle of an entry.
    torn: bool,
    /// Who compresses full files, if anybody does.
    compressor: Option<Box<Compressor>>,
}

impl Writer {
    /// Opens the log for appending, and makes it if need be.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn open(path: &Path, options: &Options) -> Result<Self, LogError> {
        let error = |source| LogError { action: "open", path: path.to_owned(), source };
        if options.driver == Driver::Local {
            store::make_directories(path).map_err(error)?;
        }
        let files = Files::new(path, options).map_err(error)?;
        let mut file = open(&files.current()).map_err(error)?;
        let torn = !ends_with_line(&mut file).map_err(error)?;
        Ok(Self {
            files,
            max_size: options.max_size.map_or(u64::MAX, u64::from),
            size: file.stream_position().map_err(error)?,
            file: Some(file),
            partial: [Vec::new(), Vec::new()],
            buffer: Vec::new(),
            lost: 0,
            beside: String::new(),
            torn,
            compressor: None,
        })
    }

    /// Has full files compressed, by processes that are started by `begin`.
    #[must_use]
    pub fn compressing(mut self, begin: Begin) -> Self {
        self.compressor = Some(Box::new(Compressor::new(begin, self.files.has_full())));
        self
    }

    /// Who compresses full files, if anybody does.
    pub fn compressor(&mut self) -> Option<&mut Compressor> {
        self.compressor.as_deref_mut()
    }

    /// Puts these beside each entry (`attrs`), if there are any.
    #[must_use]
    pub fn beside(mut self, details: &BTreeMap<String, String>) -> Self {
        if !details.is_empty() {
            let json = serde_json::to_string(details).unwrap_or_default();
            self.beside = format!("\"attrs\":{json},");
        }
        self
    }

    /// Takes what the container wrote to `stream` and writes the entries that are complete.
    pub fn write(&mut self, stream: Stream, data: &[u8]) {
        let index = usize::from(stream == Stream::Stderr);
        let time = now();
        let mut rest = data;
        while !rest.is_empty() {
            let room = ENTRY_MAX - self.partial[index].len();
            let piece = &rest[..rest.len().min(room)];
            let end = piece.iter().position(|&byte| byte == b'\n').map_or(piece.len(), |at| at + 1);
            let (piece, after) = rest.split_at(end);
            rest = after;
            let is_whole = piece.ends_with(b"\n") || piece.len() == room;
            if is_whole && self.partial[index].is_empty() {
                self.complete(stream, piece, &time);
                continue;
            }
            self.partial[index].extend_from_slice(piece);
            if is_whole {
                self.complete_partial(stream, index, &time);
            }
        }
        self.flush();
    }

    /// Writes what is left of unfinished lines: there will be no more.
    pub fn finish(&mut self) {
        let time = now();
        for (index, stream) in [Stream::Stdout, Stream::Stderr].into_iter().enumerate() {
            if !self.partial[index].is_empty() {
                self.complete_partial(stream, index, &time);
            }
        }
        self.flush();
    }

    /// How many bytes of entries could not be written.
    #[cfg(test)]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    fn complete_partial(&mut self, stream: Stream, index: usize, time: &str) {
        let mut line = std::mem::take(&mut self.partial[index]);
        self.complete(stream, &line, time);
        line.clear();
        line.shrink_to(BUFFER);
        self.partial[index] = line;
    }

    fn complete(&mut self, stream: Stream, line: &[u8], time: &str) {
        let start = self.buffer.len();
        push_entry(&mut self.buffer, &String::from_utf8_lossy(line), stream, &self.beside, time);
        // Of many short lines, each with much beside it.
        let is_full = self.buffer.len() >= BUFFERED_MAX;
        if self.size.saturating_add(self.buffer.len() as u64) > self.max_size {
            let entry = self.buffer.split_off(start);
            self.flush();
            // An entry that is larger than a file may be has one to itself.
            if self.size > 0 {
                self.rotate();
            }
            self.buffer = entry;
        }
        if is_full {
            self.flush();
        }
    }

    /// Begins a new file.
    fn rotate(&mut self) {
        self.files.rotate();
        self.file = None;
        self.reopen();
        self.compressor.iter_mut().for_each(|compressor| compressor.note_full());
    }

    /// Makes the next file, if there is none.
    fn reopen(&mut self) {
        if self.file.is_none()
            && let Ok(mut file) = open(&self.files.current())
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
                self.size += u64::from(!self.torn);
            }
            let written = !self.torn && file.write_all(&self.buffer).is_ok();
            if written {
                self.size += self.buffer.len() as u64;
            } else {
                // What a full disk took is cut off again where possible, so that the file stays lines of JSON.
                self.torn = self.torn || file.set_len(self.size).is_err();
                self.size = file.seek(SeekFrom::End(0)).unwrap_or(self.size);
            }
            written
        });
        if !written {
            self.lost += self.buffer.len() as u64;
        }
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER);
    }
}

fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Nanos, true)
}

/// Appends an [`Entry`](super::Entry) as one line of JSON: as a serializer would, in a tenth of the time where much has
/// to be escaped.
fn push_entry(buffer: &mut Vec<u8>, text: &str, stream: Stream, beside: &str, time: &str) {
    buffer.extend_from_slice(br#"{"log":""#);
    push_escaped(buffer, text);
    buffer.extend_from_slice(match stream {
        Stream::Stdout => br#"","stream":"stdout","#,
        Stream::Stderr => br#"","stream":"stderr","#,
    });
    buffer.extend_from_slice(beside.as_bytes());
    buffer.extend_from_slice(br#""time":""#);
    buffer.extend_from_slice(time.as_bytes());
    buffer.extend_from_slice(b"\"}\n");
}

fn push_escaped(buffer: &mut Vec<u8>, text: &str) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let is_special = |byte: &u8| *byte < b' ' || matches!(*byte, b'"' | b'\\');
        let (plain, after) = rest.split_at(rest.iter().position(is_special).unwrap_or(rest.len()));
        buffer.extend_from_slice(plain);
        let Some((&byte, after)) = after.split_first() else { return };
        match byte {
            b'"' => buffer.extend_from_slice(br#"\""#),
            b'\\' => buffer.extend_from_slice(br"\\"),
            b'\n' => buffer.extend_from_slice(br"\n"),
            b'\r' => buffer.extend_from_slice(br"\r"),
            b'\t' => buffer.extend_from_slice(br"\t"),
            _ => {
                let (high, low) = (DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]);
                buffer.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            }
        }
        rest = after;
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
