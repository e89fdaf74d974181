//! A client's side of a log.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Entry, LogError, file};
use crate::container::request::log::Options;

/// How often a followed log is looked at.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(50);

/// How much is read at once when the last lines are looked for.
const BLOCK: usize = 32 << 10;

/// Reads a log's entries across its files, and waits for more if asked to.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    /// How many files the log may have.
    files: u16,
    /// The file that is read; none before the container has written anything.
    current: Option<Source>,
    /// The newest file when the log was opened, and how long it was then.
    newest: Option<(u64, u64, u64)>,
    /// Whether what comes after that is not wanted.
    ends_there: bool,
    /// Files that were begun after the current one, the oldest first. While there are any, it is never written again.
    newer: VecDeque<Source>,
    line: Vec<u8>,
}

/// An open file of a log. It stays the same under whatever name, and nobody else has its identity while it is
/// open.
#[derive(Debug)]
struct Source {
    file: BufReader<File>,
    device: u64,
    inode: u64,
    /// How long it was when it was opened.
    size: u64,
    /// How much of it has been read.
    position: u64,
}

impl Source {
    fn is(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

impl Reader {
    /// Opens the log at its last `tail` lines (`None`: at its beginning). A container that never wrote
    /// has an empty log.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn open(path: &Path, options: &Options, tail: Option<u64>) -> Result<Self, LogError> {
        let mut reader = Self {
            path: path.to_owned(),
            files: options.max_file.get(),
            current: None,
            newest: None,
            ends_there: false,
            newer: VecDeque::new(),
            line: Vec::new(),
        };
        let mut newest_first = reader.newer_than_current()?;
        reader.newest = newest_first.first().map(|newest| (newest.device, newest.inode, newest.size));
        if let Some(mut wanted) = tail {
            let mut needed = 0;
            let mut later = [false; 2];
            for source in &mut newest_first {
                needed += 1;
                let (file, size) = (source.file.get_mut(), source.size);
                let (start, found) =
                    start_of_tail(file, size, wanted, &mut later).map_err(|source| reader.error(source))?;
                file.seek(SeekFrom::Start(start)).map_err(|source| reader.error(source))?;
                source.position = start;
                wanted -= found;
                // At the very beginning, a line may have begun in the file before.
                if start > 0 {
                    break;
                }
            }
            newest_first.truncate(needed);
        }
        reader.newer = newest_first.into_iter().rev().collect();
        reader.current = reader.newer.pop_front();
        Ok(reader)
    }

    /// What is written from the moment on at which the log was opened is not wanted. A container may write faster than
    /// anybody reads.
    pub fn end_where_it_was(&mut self) {
        self.ends_there = true;
    }

    /// Whether everything was read that was there when the log was opened.
    fn is_through(&self) -> bool {
        match (&self.newest, &self.current) {
            (None, _) => true,
            (Some((device, inode, size)), Some(current)) => {
                (current.device, current.inode) == (*device, *inode) && current.position >= *size
            }
            (Some(_), None) => false,
        }
    }

    /// Whether what was read last goes beyond that.
    fn is_behind_end(&self) -> bool {
        let newest = self.newest.zip(self.current.as_ref());
        newest.is_some_and(|((device, inode, size), current)| {
            (current.device, current.inode) == (device, inode) && current.position > size
        })
    }

    fn error(&self, source: io::Error) -> LogError {
        LogError { action: "read", path: self.path.clone(), source }
    }

    /// The files that were begun after the current one, the newest first. They may be moving to older names
    /// at this moment; looked at in this order, one is met twice at worst.
    fn newer_than_current(&self) -> Result<Vec<Source>, LogError> {
        let mut found: Vec<Source> = Vec::new();
        for age in 0..self.files {
            let file = match File::open(file(&self.path, age)) {
                Ok(file) => file,
                Err(missing) if missing.kind() == io::ErrorKind::NotFound => continue,
                Err(refused) => return Err(self.error(refused)),
            };
            let metadata = file.metadata().map_err(|source| self.error(source))?;
            let source = Source {
                file: BufReader::new(file),
                device: metadata.dev(),
                inode: metadata.ino(),
                size: metadata.len(),
                position: 0,
            };
            if self.current.as_ref().is_some_and(|current| current.is(&source)) {
                break;
            }
            if !found.iter().any(|known| known.is(&source)) {
                found.push(source);
            }
        }
        Ok(found)
    }

    /// The next entry, or `None` where the log ends for now. Lines that are no entries are passed over.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn next_entry(&mut self) -> Result<Option<Entry>, LogError> {
        loop {
            if self.ends_there && self.is_through() {
                return Ok(None);
            }
            if let Some(current) = &mut self.current {
                let read = current.file.read_until(b'\n', &mut self.line);
                let read =
                    read.map_err(|source| LogError { action: "read", path: self.path.clone(), source })?;
                current.position += u64::try_from(read).unwrap_or(0);
                if self.ends_there && self.is_behind_end() {
                    // An entry of which only a part was there.
                    self.line.clear();
                    return Ok(None);
                }
                if self.line.ends_with(b"\n") {
                    let entry = serde_json::from_slice(&self.line).ok();
                    self.line.clear();
                    if entry.is_some() {
                        return Ok(entry);
                    }
                    continue;
                }
            }
            // The file has been read to its end, perhaps after it was known that nothing will follow in it.
            if self.current.is_some() && self.newer.is_empty() {
                self.newer = self.newer_than_current()?.into_iter().rev().collect();
                if self.newer.is_empty() {
                    // The rest of a line is not written yet; what there is of it is kept for the next call.
                    return Ok(None);
                }
                // It may have grown since, before it was full.
                continue;
            }
            if self.current.is_none() {
                self.newer = self.newer_than_current()?.into_iter().rev().collect();
            }
            let Some(next) = self.newer.pop_front() else { return Ok(None) };
            // A line that a killed writer left unfinished.
            self.line.clear();
            self.current = Some(next);
        }
    }

    /// Hands every entry to `show`, and once the log ends, waits for more while `more` says there may be
    /// some. Ends early when `show` returns false.
    ///
    /// A container that writes so fast that files are full and removed while this waits has written what
    /// nobody can read any more.
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

/// Where the last `wanted` lines of the first `size` bytes of the file start, found from their end, and how many lines that
/// is. `later` says of
/// either stream whether there were entries of it behind this file, and does so for the file before it afterwards.
fn start_of_tail(file: &mut File, size: u64, wanted: u64, later: &mut [bool; 2]) -> io::Result<(u64, u64)> {
    let mut position = size;
    let (mut lines, mut start) = (0, position);
    let mut block = vec![0; BLOCK];
    let mut end_of_entry = None;
    while position > 0 {
        let size = BLOCK.min(usize::try_from(position).unwrap_or(BLOCK));
        position -= size as u64;
        file.seek(SeekFrom::Start(position))?;
        file.read_exact(&mut block[..size])?;
        for (offset, _) in block[..size].iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let after = position + offset as u64 + 1;
            if end_of_entry.is_some() {
                // The entry behind this end of another one was looked at, and is wanted.
                start = after;
            }
            if let Some((stream, ends)) = entry_before(file, after - 1)? {
                // An entry without a line feed is the beginning of a line of which more was met, or the end of the log.
                if ends || !later[stream] {
                    if lines == wanted {
                        return Ok((start.max(after), lines));
                    }
                    lines += 1;
                }
                later[stream] = true;
            }
            end_of_entry = Some(after);
        }
    }
    Ok((0, lines))
}

/// How the last bytes of an entry look, whose line feed is at `end`: which stream it is of, and whether it ends a line.
/// `None` if it is no entry.
fn entry_before(file: &File, end: u64) -> io::Result<Option<(usize, bool)>> {
    let mut bytes = [0; 128];
    let start = end.saturating_sub(bytes.len() as u64);
    let length = usize::try_from(end - start).unwrap_or(0);
    file.read_exact_at(&mut bytes[..length], start)?;
    let text = &bytes[..length];
    let line = text.iter().rposition(|byte| *byte == b'\n').map_or(text, |at| &text[at + 1..]);
    let found = [&b"\",\"stream\":\"stdout\""[..], b"\",\"stream\":\"stderr\""].into_iter().enumerate();
    let found = found.filter_map(|(stream, mark)| {
        let at = line.windows(mark.len()).rposition(|window| window == mark)?;
        Some((at, stream))
    });
    Ok(found.max().map(|(at, stream)| {
        let before = &line[..at];
        // A line feed is written as two letters, and so is a backslash.
        let slashes = before
            .strip_suffix(b"n")
            .map_or(0, |rest| rest.iter().rev().take_while(|byte| **byte == b'\\').count());
        (stream, slashes % 2 == 1)
    }))
}
