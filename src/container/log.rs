//! A container's log: Docker's `json-file` format, one JSON object on each line.
//!
//! ```text
//! ROOT/containers/ID/ID-json.log
//!     {"log":"hello\n","stream":"stdout","time":"2026-01-02T03:04:05.678901234Z"}
//! ```
//!
//! A line of the container's that is longer than 16 KiB becomes several entries, of which all but the last
//! have no `\n`.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use super::protocol::Stream;

/// The most bytes of one line that go into one entry.
pub const ENTRY_MAX: usize = 16 << 10;

/// How often a followed log is looked at.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(50);

/// How much is read at once when the last lines are looked for.
const BLOCK: usize = 32 << 10;

/// Why a log cannot be opened or read.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} the log {path}")]
pub struct LogError {
    /// What was tried.
    action: &'static str,
    /// The file.
    path: PathBuf,
    /// What the system said.
    #[source]
    source: io::Error,
}

/// One entry of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What the container wrote: a line with its line feed, or a part of one without.
    #[serde(rename = "log")]
    pub text: String,
    /// Where it wrote it.
    pub stream: Stream,
    /// When it was read: RFC 3339 with nanoseconds, in UTC.
    pub time: String,
}

/// Writes what a container prints, entry by entry.
///
/// A log that cannot be written (a full disk) never stops the container: what does not fit is lost, and
/// [`Writer::lost`] counts it.
#[derive(Debug)]
pub struct Writer {
    file: File,
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
    pub fn open(path: &Path) -> Result<Self, LogError> {
        let error = |source| LogError { action: "open", path: path.to_owned(), source };
        let mut options = OpenOptions::new();
        options.create(true).append(true).read(true).mode(0o600);
        let mut file = options.open(path).map_err(error)?;
        Ok(Self {
            torn: !ends_with_line(&mut file).map_err(error)?,
            file,
            partial: [Vec::new(), Vec::new()],
            buffer: Vec::new(),
            lost: 0,
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
        // Strings can always be written as JSON, and a vector always takes them.
        serde_json::to_writer(&mut self.buffer, &Entry { text, stream, time }).ok();
        self.buffer.push(b'\n');
        self.partial[index].clear();
    }

    fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        if self.torn {
            // The next entry has a line of its own again.
            self.torn = self.file.write_all(b"\n").is_err();
        }
        let before = self.file.stream_position().unwrap_or(0);
        if !self.torn && self.file.write_all(&self.buffer).is_ok() {
            self.buffer.clear();
        } else {
            // What a full disk took is cut off again where possible, so that the file stays lines of JSON.
            self.torn = self.torn || self.file.set_len(before).is_err();
            self.lost += u64::try_from(self.buffer.len()).unwrap_or(u64::MAX);
            self.buffer.clear();
        }
        self.buffer.shrink_to(ENTRY_MAX);
    }
}

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

/// Reads a log's entries, and waits for more if asked to.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    line: Vec<u8>,
}

impl Reader {
    /// Opens the log at its last `tail` entries (`None`: at its beginning). A container that never wrote
    /// has an empty log.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn open(path: &Path, tail: Option<u64>) -> Result<Self, LogError> {
        let error = |source| LogError { action: "read", path: path.to_owned(), source };
        let file = match File::open(path) {
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => File::open("/dev/null"),
            other => other,
        };
        let mut file = file.map_err(error)?;
        let start = match tail {
            Some(entries) => start_of_tail(&mut file, entries).map_err(error)?,
            None => 0,
        };
        file.seek(SeekFrom::Start(start)).map_err(error)?;
        Ok(Self { path: path.to_owned(), file: BufReader::new(file), line: Vec::new() })
    }

    /// The next entry, or `None` where the log ends for now. Lines that are no entries are passed over.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn next_entry(&mut self) -> Result<Option<Entry>, LogError> {
        loop {
            self.file.read_until(b'\n', &mut self.line).map_err(|source| LogError {
                action: "read",
                path: self.path.clone(),
                source,
            })?;
            if !self.line.ends_with(b"\n") {
                // The rest of it is not written yet, or never will be; it is kept for the next call.
                return Ok(None);
            }
            let entry = serde_json::from_slice(&self.line).ok();
            self.line.clear();
            if entry.is_some() {
                return Ok(entry);
            }
        }
    }

    /// Hands every entry to `show`, and once the log ends, waits for more while `more` says there may be
    /// some. Ends early when `show` returns false.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn follow(
        &mut self,
        mut more: impl FnMut() -> bool,
        mut show: impl FnMut(Entry) -> bool,
    ) -> Result<(), LogError> {
        loop {
            // Asked before the log is read to its end: what was written until then is not missed.
            let last = !more();
            while let Some(entry) = self.next_entry()? {
                if !show(entry) {
                    return Ok(());
                }
            }
            if last {
                return Ok(());
            }
            std::thread::sleep(FOLLOW_INTERVAL);
        }
    }
}

/// Where the last `entries` lines of the file start, found from its end.
fn start_of_tail(file: &mut File, entries: u64) -> io::Result<u64> {
    let mut position = file.seek(SeekFrom::End(0))?;
    let mut found = 0;
    let mut block = vec![0; BLOCK];
    let end = position;
    while position > 0 {
        let size = BLOCK.min(usize::try_from(position).unwrap_or(BLOCK));
        position -= size as u64;
        file.seek(SeekFrom::Start(position))?;
        file.read_exact(&mut block[..size])?;
        for (offset, _) in block[..size].iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let after = position + offset as u64 + 1;
            // The line feed at the very end finishes the last line, it does not start one.
            if after == end {
                if entries == 0 {
                    return Ok(end);
                }
                continue;
            }
            found += 1;
            if found == entries.max(1) {
                return Ok(after);
            }
        }
    }
    Ok(if entries == 0 { end } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        (directory, path)
    }

    fn read(path: &Path, tail: Option<u64>) -> Vec<(Stream, String)> {
        let mut reader = Reader::open(path, tail).unwrap();
        let mut entries = Vec::new();
        reader
            .follow(
                || false,
                |entry| {
                    entries.push((entry.stream, entry.text));
                    true
                },
            )
            .unwrap();
        entries
    }

    #[test]
    fn lines_become_entries_however_they_arrive() {
        let (_directory, path) = fixture();
        let mut writer = Writer::open(&path).unwrap();
        writer.write(Stream::Stdout, b"one\ntw");
        writer.write(Stream::Stderr, b"error\n");
        writer.write(Stream::Stdout, b"o\n\xff\n\nrest");
        writer.finish();
        writer.finish();
        let expected = [
            (Stream::Stdout, "one\n"),
            (Stream::Stderr, "error\n"),
            (Stream::Stdout, "two\n"),
            (Stream::Stdout, "\u{fffd}\n"),
            (Stream::Stdout, "\n"),
            (Stream::Stdout, "rest"),
        ];
        let expected: Vec<_> = expected.map(|(stream, text)| (stream, text.to_owned())).into();
        assert_eq!(read(&path, None), expected);
        for tail in 0..8 {
            let from = expected.len().saturating_sub(tail);
            assert_eq!(read(&path, Some(tail as u64)), expected[from..], "--tail {tail}");
        }
        let line = std::fs::read_to_string(&path).unwrap();
        let time =
            &line.lines().next().unwrap()["{\"log\":\"one\\n\",\"stream\":\"stdout\",\"time\":\"".len()..];
        assert!(chrono::DateTime::parse_from_rfc3339(time.trim_end_matches("\"}")).is_ok(), "{line}");
        assert_eq!(writer.lost(), 0);
    }

    #[test]
    fn long_lines_are_cut_every_16_kib() {
        let (_directory, path) = fixture();
        let mut writer = Writer::open(&path).unwrap();
        let long = [b'x'; 40_000];
        for piece in long.chunks(7_000) {
            writer.write(Stream::Stdout, piece);
        }
        writer.write(Stream::Stdout, b"\n");
        let lengths: Vec<_> = read(&path, None).iter().map(|(_, text)| text.len()).collect();
        assert_eq!(lengths, [ENTRY_MAX, ENTRY_MAX, 40_001 - 2 * ENTRY_MAX]);
        // The tail is found across the blocks that are read backwards.
        assert_eq!(read(&path, Some(2)).len(), 2);
        assert_eq!(read(&path, Some(3)).len(), 3);
    }

    #[test]
    fn a_half_written_entry_is_waited_for_and_a_torn_one_passed_over() {
        let (_directory, path) = fixture();
        let mut writer = Writer::open(&path).unwrap();
        writer.write(Stream::Stdout, b"one\n");
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        let mut reader = Reader::open(&path, None).unwrap();
        assert_eq!(reader.next_entry().unwrap().unwrap().text, "one\n");
        let whole = "{\"log\":\"two\\n\",\"stream\":\"stderr\",\"time\":\"t\"}\n";
        file.write_all(&whole.as_bytes()[..20]).unwrap();
        assert_eq!(reader.next_entry().unwrap(), None);
        file.write_all(&whole.as_bytes()[20..]).unwrap();
        assert_eq!(reader.next_entry().unwrap().unwrap().text, "two\n");
        // A supervisor that was killed while it wrote: the next one starts a new line.
        file.write_all(&whole.as_bytes()[..20]).unwrap();
        let mut writer = Writer::open(&path).unwrap();
        writer.write(Stream::Stdout, b"three\n");
        assert_eq!(reader.next_entry().unwrap().unwrap().text, "three\n");
        assert_eq!(read(&path, Some(1)).len(), 1);
    }

    #[test]
    fn a_full_disk_costs_entries_and_nothing_else() {
        let mut writer = Writer::open(Path::new("/dev/full")).unwrap();
        writer.write(Stream::Stdout, b"lost\n");
        assert!(writer.lost() > 0);
        writer.write(Stream::Stdout, b"lost too\n");
        writer.finish();
    }

    #[test]
    fn following_ends_with_the_container_and_misses_nothing() {
        let (_directory, path) = fixture();
        let mut writer = Writer::open(&path).unwrap();
        let mut reader = Reader::open(&path, None).unwrap();
        let mut rounds = 0;
        let mut seen = Vec::new();
        let more = || {
            rounds += 1;
            // What is written until the answer is "no more" counts.
            writer.write(Stream::Stdout, format!("{rounds}\n").as_bytes());
            rounds < 4
        };
        let show = |entry: Entry| {
            seen.push(entry.text);
            true
        };
        reader.follow(more, show).unwrap();
        assert_eq!(seen, ["1\n", "2\n", "3\n", "4\n"]);
        assert_eq!(read(&path.with_extension("none"), Some(3)), []);
    }
}
