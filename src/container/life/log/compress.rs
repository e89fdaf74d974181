//! Full files of a log are compressed, by a process of its own: the supervisor has no time and no memory for that.
//!
//! The compressed file gets its name when it is whole and on the disk, and the plain one goes after that. So what a killed
//! process leaves is the plain file, or both.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::files::{compressed, full, plain};
use crate::container::life::signal;
use crate::store;

/// How much is compressed for how much time: the container's own work goes first.
const LEVEL: i32 = 3;

/// Compresses the files of a log in this directory, but not the newest, which is being written.
///
/// # Errors
/// A file cannot be read or written. It stays as it is.
pub fn compress(directory: &Path) -> io::Result<()> {
    for number in full(directory)? {
        let plain = plain(directory, number);
        match File::open(&plain) {
            Ok(file) => replace(&file, &compressed(directory, number))?,
            // It was the oldest of too many.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        }
        store::remove_if_exists(&plain)?;
    }
    Ok(())
}

fn replace(file: &File, target: &Path) -> io::Result<()> {
    let temporary = store::temporary_path(target, 0)?;
    let written = (|| {
        let new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        let mut encoder = zstd::Encoder::new(new, LEVEL)?;
        encoder.include_checksum(true)?;
        io::copy(&mut &*file, &mut encoder)?;
        encoder.finish()?.sync_all()?;
        std::fs::rename(&temporary, target)
    })();
    if written.is_err() {
        // The first error is the one to report.
        std::fs::remove_file(&temporary).ok();
    }
    written
}

/// Starts a process that calls [`compress`], and returns its pid.
pub type Begin = Box<dyn Fn() -> io::Result<i32> + Send>;

/// A writer's side of the compression: when there is something to compress, and who does it.
pub struct Compressor {
    begin: Begin,
    /// Whether there are files that no process has seen yet.
    is_due: bool,
    running: Option<i32>,
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor").field("running", &self.running).finish_non_exhaustive()
    }
}

impl Compressor {
    /// `is_due`: whether there is something to do already.
    pub fn new(begin: Begin, is_due: bool) -> Self {
        Self { begin, is_due, running: None }
    }

    /// A file is full.
    pub fn note_full(&mut self) {
        self.is_due = true;
    }

    /// Starts a process if there is something to do and none is at it. False if none was started.
    pub fn start_if_needed(&mut self) -> bool {
        if !self.is_due || self.running.is_some() {
            return false;
        }
        // What cannot be done now is done with the next file.
        self.is_due = false;
        self.running = (self.begin)().ok();
        true
    }

    /// Takes note of the end of a child of this process, if it was the one at work.
    pub fn note_end(&mut self, pid: i32) {
        if self.running == Some(pid) {
            self.running = None;
        }
    }

    /// Ends the process that is at work: the next run goes on with it.
    pub fn end(&mut self) {
        if let Some(pid) = self.running.take() {
            signal::end_child(pid);
        }
    }
}
