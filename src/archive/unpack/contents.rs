//! What is in the files that are unpacked.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::fd::OwnedFd;

use super::{Target, Unpacker, failed};
use crate::archive::below::set_modified;
use crate::archive::compression::read_error;
use crate::archive::{ArchiveError, Entry, Reader};
use crate::store::NewFile;
use crate::sys;

/// A layer is on the disk before it counts. So that its end does not wait for all of it, the kernel writes files of
/// at least so many bytes while the next ones are made, and larger ones in such pieces.
const EARLY: u64 = 256 * 1024;
const PIECE: u64 = 8 * 1024 * 1024;

impl Unpacker<'_> {
    /// A file that takes its name only when it is whole: cut short, a copy leaves what was there.
    pub(super) fn whole_file(
        &mut self,
        entry: &Entry,
        directory: &OwnedFd,
        name: &OsStr,
        reader: &mut Reader<impl Read>,
    ) -> Result<(), ArchiveError> {
        let new = NewFile::create(directory).map_err(failed("create", entry))?;
        let file = new.file().try_clone().map_err(failed("create", entry))?;
        let made = OwnedFd::from(self.contents(entry, file, reader)?);
        self.describe(entry, &made)?;
        set_modified(&made, entry.modified).map_err(failed("set the time of", entry))?;
        new.rename(name).map_err(failed("create", entry))
    }

    pub(super) fn contents(
        &mut self,
        entry: &Entry,
        mut file: File,
        reader: &mut Reader<impl Read>,
    ) -> Result<File, ArchiveError> {
        match &entry.sparse {
            None => self.data(entry, &mut file, 0, entry.size, reader)?,
            Some(sparse) => {
                for part in &sparse.parts {
                    file.seek(SeekFrom::Start(part.offset)).map_err(failed("write", entry))?;
                    self.data(entry, &mut file, part.offset, part.length, reader)?;
                }
                file.set_len(sparse.size).map_err(failed("write", entry))?;
            }
        }
        self.done.size += entry.size;
        Ok(file)
    }

    /// So many bytes of an entry's data, for where the file is at: `from`.
    fn data(
        &mut self,
        entry: &Entry,
        file: &mut File,
        from: u64,
        length: u64,
        reader: &mut Reader<impl Read>,
    ) -> Result<(), ArchiveError> {
        let (mut left, mut started) = (length, 0);
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            let count = match reader.read(&mut self.buffer[..most]) {
                Ok(0) => return Err(ArchiveError::Truncated),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(read_error(error)),
            };
            file.write_all(&self.buffer[..count]).map_err(failed("write", entry))?;
            left -= u64::try_from(count).unwrap_or(left);
            let ready = length - left - started;
            if self.target == Target::Layer && (ready >= PIECE || left == 0 && ready >= EARLY) {
                // If it cannot, the sync will.
                sys::start_writing(&*file, from + started, ready).ok();
                started += ready;
            }
        }
        Ok(())
    }
}
