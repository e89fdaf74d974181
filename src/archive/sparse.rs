//! Files with holes: which parts of them hold data, in file systems and in tar streams.
//!
//! A stream carries the parts alone, one after the other, and says where they belong. It is said in one of four ways;
//! they are those of GNU tar ("Storing Sparse Files" in its manual), the last of which is the one that is written:
//!
//! ```text
//! GNU      in the header and blocks that follow it
//! PAX 0.0  GNU.sparse.offset and GNU.sparse.numbytes, again and again
//! PAX 0.1  GNU.sparse.map=OFFSET,LENGTH,…
//! PAX 1.0  in front of the data: the number of parts, offset and length of each, one number on a line
//! ```

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt as _;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};

/// The most parts of a file that are told apart. More take memory, and save little.
pub(super) const PARTS_MAX: usize = 1 << 15;

/// One part that holds data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Where it starts.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
}

/// A file with holes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sparse {
    /// How many bytes the file has, holes included.
    pub size: u64,
    /// The parts that are no holes, in order.
    pub parts: Vec<Part>,
}

impl Sparse {
    /// The holes of a file of this size; `None` if it has none.
    ///
    /// A file of which the file system cannot tell has none.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn of(file: impl AsFd, size: u64) -> io::Result<Option<Self>> {
        let mut parts = Vec::new();
        let mut at = 0;
        while at < size {
            let seek = |from: u64, whence| {
                let from = i64::try_from(from).map_err(|_| Errno::EOVERFLOW)?;
                lseek(&file, from, whence).map(|at| u64::try_from(at).unwrap_or(0))
            };
            let start = match seek(at, Whence::SeekData) {
                // Nothing but a hole is left.
                Err(Errno::ENXIO) => break,
                Err(Errno::EINVAL | Errno::EOPNOTSUPP | Errno::ESPIPE) => return Ok(None),
                start => start?.min(size),
            };
            let end = match seek(start, Whence::SeekHole) {
                // The file has become shorter.
                Err(Errno::ENXIO) => break,
                end => end?.min(size),
            };
            // What lies behind the last part that is told apart counts as data.
            let end = if parts.len() + 1 == PARTS_MAX { size } else { end };
            if end > start {
                parts.push(Part { offset: start, length: end - start });
            }
            at = end.max(at + 1);
        }
        let whole = [Part { offset: 0, length: size }];
        Ok((size > 0 && parts != whole).then_some(Self { size, parts }))
    }

    /// The parts, if they are in order and within the file, which holds `stored` bytes.
    pub(super) fn checked(size: u64, parts: Vec<Part>, stored: u64) -> Option<Self> {
        let mut end = 0_u64;
        let mut sum = 0_u64;
        for part in &parts {
            if part.offset < end {
                return None;
            }
            end = part.offset.checked_add(part.length)?;
            sum += part.length;
        }
        (end <= size && sum == stored && i64::try_from(size).is_ok()).then_some(Self { size, parts })
    }

    /// How many bytes the parts have together.
    #[must_use]
    pub fn stored(&self) -> u64 {
        self.parts.iter().map(|part| part.length).sum()
    }

    /// What stands in front of the data (PAX 1.0), in whole blocks.
    pub(super) fn map(&self) -> Vec<u8> {
        let mut map = format!("{}\n", self.parts.len());
        for Part { offset, length } in &self.parts {
            map.push_str(&format!("{offset}\n{length}\n"));
        }
        let mut map = map.into_bytes();
        map.resize(map.len().next_multiple_of(512), 0);
        map
    }
}

/// The data of a file without its holes, as one stream.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    file: &'a File,
    parts: std::slice::Iter<'a, Part>,
    current: Part,
}

impl<'a> Parts<'a> {
    pub(super) fn new(file: &'a File, sparse: &'a Sparse) -> Self {
        Self { file, parts: sparse.parts.iter(), current: Part { offset: 0, length: 0 } }
    }
}

impl Read for Parts<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.length == 0 {
            let Some(next) = self.parts.next() else { return Ok(0) };
            self.current = *next;
        }
        let most = usize::try_from(self.current.length).unwrap_or(usize::MAX).min(buffer.len());
        let count = match self.file.read_at(&mut buffer[..most], self.current.offset)? {
            // The file has become shorter: what is missing is made up with zeros, so that the parts after it stay in
            // their places.
            0 => {
                buffer[..most].fill(0);
                most
            }
            count => count,
        };
        let counted = u64::try_from(count).unwrap_or(0);
        self.current.offset += counted;
        self.current.length -= counted;
        Ok(count)
    }
}

/// Copies a file's contents, holes as holes, into one that is empty.
///
/// # Errors
/// One cannot be read, or the other not be written.
pub fn copy(from: &mut File, to: &mut File) -> io::Result<()> {
    let size = from.metadata()?.len();
    let Some(sparse) = Sparse::of(&*from, size)? else {
        io::Seek::rewind(from)?;
        return io::copy(from, to).map(drop);
    };
    let mut data = Parts::new(from, &sparse);
    let mut buffer = vec![0; 128 * 1024];
    for part in &sparse.parts {
        let mut at = part.offset;
        let end = part.offset + part.length;
        while at < end {
            let most = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
            data.read_exact(&mut buffer[..most])?;
            to.write_all_at(&buffer[..most], at)?;
            at += u64::try_from(most).unwrap_or(0);
        }
    }
    to.set_len(size)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn file_with(parts: &[(u64, &[u8])], size: u64) -> File {
        let file = tempfile::tempfile().unwrap();
        parts.iter().for_each(|(offset, data)| file.write_all_at(data, *offset).unwrap());
        file.set_len(size).unwrap();
        file
    }

    #[test]
    fn holes_are_found_where_the_file_system_tells_of_them() {
        let file = file_with(&[(MIB, &[1; 4096]), (8 * MIB, &[2; 10])], 2048 * MIB);
        let sparse = Sparse::of(&file, 2048 * MIB).unwrap().expect("it has holes");
        assert!(sparse.stored() < MIB, "{sparse:?}");
        assert!(sparse.parts.iter().any(|part| part.offset <= MIB && part.offset + part.length > MIB));
        assert_eq!(Sparse::of(file_with(&[(0, &[1; 5000])], 5000), 5000).unwrap(), None);
        assert_eq!(Sparse::of(file_with(&[], 0), 0).unwrap(), None);
        assert_eq!(
            Sparse::of(file_with(&[], MIB), MIB).unwrap(),
            Some(Sparse { size: MIB, parts: Vec::new() })
        );
        // It has become shorter since its size was asked for.
        let shorter = Sparse::of(file_with(&[(0, &[1; 4096])], 4096), MIB).unwrap().unwrap();
        assert_eq!(shorter.stored(), 4096);
    }

    #[test]
    fn a_copy_has_the_same_holes() {
        for size in [8 * MIB + 10, 2048 * MIB] {
            let mut file = file_with(&[(MIB, &[1; 4096]), (8 * MIB, &[2; 10])], size);
            let mut to = tempfile::tempfile().unwrap();
            copy(&mut file, &mut to).unwrap();
            let metadata = to.metadata().unwrap();
            assert_eq!(metadata.len(), size);
            assert!(metadata.blocks() * 512 < MIB, "{}", metadata.blocks());
            let mut data = [9; 12];
            to.read_exact_at(&mut data[..10], 8 * MIB).unwrap();
            assert_eq!(data[..10], [2; 10]);
            to.read_exact_at(&mut data, MIB - 6).unwrap();
            assert_eq!(data, [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]);
        }
    }

    #[test]
    fn parts_that_make_no_sense_are_refused() {
        let part = |offset, length| Part { offset, length };
        for (size, parts, stored) in [
            (10, vec![part(0, 5), part(4, 1)], 6),
            (10, vec![part(8, 3)], 3),
            (10, vec![part(0, 5)], 4),
            (10, vec![part(u64::MAX, 2)], 2),
            (u64::MAX, vec![], 0),
        ] {
            assert_eq!(Sparse::checked(size, parts, stored), None);
        }
        assert!(Sparse::checked(10, vec![part(0, 5), part(10, 0)], 5).is_some());
    }
}
