//! A client's side of a log.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use super::files::{Files, Identity, Source};
use super::{Entry, LogError};
use crate::container::request::log::Options;

/// How often a followed log is looked at.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(50);

/// How much is read at once when the last lines are looked for.
const BLOCK: usize = 32 << 10;

/// Reads a log's entries across its files, and waits for more if asked to.
#[derive(Debug)]
pub struct Reader {
    files: Files,
    /// The file that is read; none before the container has written anything.
    current: Option<Source>,
    /// The newest file when the log was opened, and how long it was then.
    newest: Option<(Identity, u64)>,
    /// Whether what comes after that is not wanted.
    ends_there: bool,
    /// Files that were begun after the current one, the oldest first. While there are any, it is never written again.
    newer: VecDeque<Source>,
    line: Vec<u8>,
}

impl Reader {
    /// Opens the log at its last `tail` lines (`None`: at its beginning). A container that never wrote
    /// has an empty log.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn open(path: &Path, options: &Options, tail: Option<u64>) -> Result<Self, LogError> {
        let files = Files::new(path, options);
        let mut reader = Self {
            files: files.map_err(|source| LogError { action: "read", path: path.to_owned(), source })?,
            current: None,
            newest: None,
            ends_there: false,
            newer: VecDeque::new(),
            line: Vec::new(),
        };
        let mut newest_first = reader.newer_than_current()?;
        reader.newest = newest_first.first().map(|newest| (newest.identity(), newest.size));
        if let Some(mut wanted) = tail {
            let mut needed = 0;
            let mut later = [false; 2];
            for source in &mut newest_first {
                needed += 1;
                let tail = go_to_tail(source, wanted, &mut later);
                let (start, found) = tail.map_err(|source| reader.error(source))?;
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
            (Some((newest, size)), Some(current)) => {
                current.identity() == *newest && current.position >= *size
            }
            (Some(_), None) => false,
        }
    }

    /// Whether what was read last goes beyond that.
    fn is_behind_end(&self) -> bool {
        let newest = self.newest.zip(self.current.as_ref());
        newest
            .is_some_and(|((newest, size), current)| current.identity() == newest && current.position > size)
    }

    fn error(&self, source: io::Error) -> LogError {
        LogError { action: "read", path: self.files.path().to_owned(), source }
    }

    /// The files that were begun after the current one, the newest first. They may be moving to older names at this moment,
    /// several times if nobody lets this thread go on.
    fn newer_than_current(&self) -> Result<Vec<Source>, LogError> {
        self.find_newer().map_err(|source| self.error(source))
    }

    fn find_newer(&self) -> io::Result<Vec<Source>> {
        let names = self.files.newest_first()?;
        let mut found: Vec<Source> = Vec::new();
        let (mut next, mut place_of_last) = (0, 0);
        while let Some(name) = names.get(next) {
            let Some(source) = self.files.open(*name)? else {
                next += 1;
                continue;
            };
            if let Some(last) = found.last()
                && !self.files.has_name(last.identity(), names[place_of_last])?
            {
                // So this may not be the one before it, but one that is newer. Names get older only, so it is found there.
                let mut older = (place_of_last + 1)..names.len();
                let place = older
                    .find(|place| self.files.has_name(last.identity(), names[*place]).unwrap_or_default());
                // Whatever was before it has gone with it.
                let Some(place) = place else { break };
                (place_of_last, next) = (place, place + 1);
                continue;
            }
            if self.current.as_ref().is_some_and(|current| current.identity() == source.identity()) {
                break;
            }
            found.push(source);
            (place_of_last, next) = (next, next + 1);
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
                if let Err(source) = current.read_line(&mut self.line) {
                    return Err(self.error(source));
                }
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

/// Goes to where the last `wanted` lines of the file start, as it was when it was opened. Returns that place, and how many
/// lines there are. `later` says of either stream whether there were entries of it behind this file, and does so for the
/// file before it afterwards.
fn go_to_tail(source: &mut Source, wanted: u64, later: &mut [bool; 2]) -> io::Result<(u64, u64)> {
    let size = source.size;
    let (start, lines) = match source.as_plain() {
        Some(file) => start_of_tail(file, size, wanted, later)?,
        None => start_in_compressed(source, wanted, later)?,
    };
    source.go_to(start)?;
    Ok((start, lines))
}

/// The same for a file that can only be read from its beginning: once to count its lines, and once more up to the place.
fn start_in_compressed(source: &mut Source, wanted: u64, later: &mut [bool; 2]) -> io::Result<(u64, u64)> {
    let is_later = *later;
    // Of each stream, whether its last entry is a part of a line.
    let mut begun = [false; 2];
    let mut lines = 0;
    pass_over(source, |(stream, ends)| {
        lines += u64::from(ends);
        (begun[stream], later[stream]) = (!ends, true);
        true
    })?;
    // A line that ends in a newer file was met there.
    lines += begun.iter().zip(is_later).filter(|(begun, later)| **begun && !later).map(|_| 1).sum::<u64>();
    let Some(mut unwanted) = lines.checked_sub(wanted).filter(|unwanted| *unwanted > 0) else {
        return Ok((0, lines));
    };
    source.go_to(0)?;
    pass_over(source, |(_, ends)| {
        unwanted -= u64::from(ends);
        unwanted > 0
    })?;
    Ok((source.position, wanted))
}

/// Reads entries as long as `go_on` wants more. Of each it gets the stream, and whether it ends a line.
fn pass_over(source: &mut Source, mut go_on: impl FnMut((usize, bool)) -> bool) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        source.read_line(&mut line)?;
        let Some(text) = line.strip_suffix(b"\n") else { return Ok(()) };
        if let Some(entry) = end_of_entry(text)
            && !go_on(entry)
        {
            return Ok(());
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
    Ok(end_of_entry(text.iter().rposition(|byte| *byte == b'\n').map_or(text, |at| &text[at + 1..])))
}

/// The same of an entry, or its end.
fn end_of_entry(line: &[u8]) -> Option<(usize, bool)> {
    let found = [&b"\",\"stream\":\"stdout\""[..], b"\",\"stream\":\"stderr\""].into_iter().enumerate();
    let found = found.filter_map(|(stream, mark)| {
        let at = line.windows(mark.len()).rposition(|window| window == mark)?;
        Some((at, stream))
    });
    found.max().map(|(at, stream)| {
        let before = &line[..at];
        // A line feed is written as two letters, and so is a backslash.
        let slashes = before
            .strip_suffix(b"n")
            .map_or(0, |rest| rest.iter().rev().take_while(|byte| **byte == b'\\').count());
        (stream, slashes % 2 == 1)
    })
}
