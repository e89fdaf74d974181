//! A container's log: Docker's `json-file` format, one JSON object on each line.
//!
//! ```text
//! ROOT/containers/ID/ID-json.log        is written
//! ROOT/containers/ID/ID-json.log.1      was written before it, and so on
//!     {"log":"hello\n","stream":"stdout","time":"2026-01-02T03:04:05.678901234Z"}
//!
//! ROOT/containers/ID/local-logs/18      the driver `local`: the same lines; is written
//! ROOT/containers/ID/local-logs/17.zst  was written before it, and has been compressed since
//! ```
//!
//! A line of the container's is one entry, up to 1 MiB: a longer one, which would have to be kept in memory, becomes
//! several, of which all but the last have no `\n`. Readers take those for the one line that they are.
//!
//! A file that is full is never written again; it only gets another name, until it is the oldest of too many. So a
//! reader that has it open can read it to its end.

mod compress;
mod details;
mod files;
mod journal;
mod reader;
mod writer;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::container::life::protocol::Stream;
use compress::Compressor;
pub use compress::compress;
pub use details::{details, tag};
pub use journal::{Journal, field_name};
pub use reader::Reader;
pub use writer::Writer;

/// The most bytes of one line that go into one entry.
pub const ENTRY_MAX: usize = 1 << 20;

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

/// Where a supervisor writes what its container prints.
#[derive(Debug)]
pub enum Sink {
    /// Files.
    Files(Box<Writer>),
    /// The journal of systemd.
    Journal(Box<Journal>),
}

impl Sink {
    /// Takes what the container wrote.
    pub fn write(&mut self, stream: Stream, data: &[u8]) {
        match self {
            Self::Files(writer) => writer.write(stream, data),
            Self::Journal(journal) => journal.write(stream, data),
        }
    }

    /// Writes what is left: there will be no more.
    pub fn finish(&mut self) {
        match self {
            Self::Files(writer) => {
                writer.finish();
                writer.compressor().into_iter().for_each(Compressor::end);
            }
            Self::Journal(journal) => journal.finish(),
        }
    }

    /// Has full files compressed, if that is wanted and nobody is at it. False if nothing was started.
    pub fn compress(&mut self) -> bool {
        match self {
            Self::Files(writer) => writer.compressor().is_some_and(Compressor::start_if_needed),
            Self::Journal(_) => false,
        }
    }

    /// Takes note of the end of a child of this process, which may be one that compressed something.
    pub fn note_end(&mut self, pid: i32) {
        if let Self::Files(writer) = self
            && let Some(compressor) = writer.compressor()
        {
            compressor.note_end(pid);
        }
    }
}

/// One entry of a log.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Entry {
    /// What the container wrote: a line with its line feed, or a part of one without.
    #[serde(rename = "log")]
    pub text: String,
    /// Where it wrote it.
    pub stream: Stream,
    /// When it was read: RFC 3339 with nanoseconds, in UTC.
    pub time: String,
    /// What was put beside it as the user asked for it.
    #[serde(default, rename = "attrs")]
    pub details: BTreeMap<String, String>,
}

/// The file of a log that is `age` files older than the one that is written.
fn file(path: &Path, age: u16) -> PathBuf {
    if age == 0 {
        return path.to_owned();
    }
    let mut name = OsString::from(path);
    name.push(format!(".{age}"));
    name.into()
}

#[cfg(test)]
mod tests;
