//! Where a stream says which parts of a file it carries.

use std::io::Read;

use tar::{GnuExtSparseHeader, GnuSparseHeader, Header};

use super::ArchiveError;
use super::compression::read_error;
use super::read::{Reader, decimal, number};
use super::sparse::{PARTS_MAX, Part, Sparse};

/// What extended headers say of the holes of a file.
#[derive(Debug, Default)]
pub(super) struct Said {
    major: Option<u64>,
    /// The size of the file.
    size: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    parts: Vec<Part>,
    /// An offset whose length is still to come.
    offset: Option<u64>,
    /// Whether anything was said.
    any: bool,
}

impl Said {
    /// Takes a record whose key begins with `GNU.sparse.`; `None` if it makes no sense.
    pub(super) fn take(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        self.any = true;
        match key {
            b"major" => self.major = Some(decimal(value)?),
            b"size" | b"realsize" => self.size = Some(decimal(value)?),
            b"name" => self.name = Some(value.to_vec()),
            b"offset" => self.offset = Some(decimal(value)?),
            b"numbytes" => {
                let part = Part { offset: self.offset.take()?, length: decimal(value)? };
                self.parts.push(part);
            }
            b"map" => {
                let mut numbers = value.split(|byte| *byte == b',').filter(|text| !text.is_empty());
                while let Some(offset) = numbers.next() {
                    self.parts.push(Part { offset: decimal(offset)?, length: decimal(numbers.next()?)? });
                }
            }
            // How many parts there are is seen; the minor number changes nothing.
            _ => {}
        }
        (self.parts.len() <= PARTS_MAX).then_some(())
    }
}

impl<R: Read> Reader<R> {
    /// The holes of a file with this header, of which `said` was told before and `stored` bytes follow. Afterwards, what
    /// the reader gives is the data alone.
    pub(super) fn holes(
        &mut self,
        header: &Header,
        said: Said,
        stored: u64,
    ) -> Result<Option<Sparse>, ArchiveError> {
        if header.entry_type().is_gnu_sparse() {
            return self.gnu(header, stored).map(Some);
        }
        self.expect_data(stored)?;
        if !said.any {
            return Ok(None);
        }
        let size = said.size.ok_or_else(|| self.bad_map())?;
        let parts = if said.major == Some(1) { self.map()? } else { said.parts };
        Sparse::checked(size, parts, self.left()).map(Some).ok_or_else(|| self.bad_map())
    }

    fn bad_map(&self) -> ArchiveError {
        self.damaged("the places of a sparse file's data")
    }

    /// The old format of GNU tar.
    fn gnu(&mut self, header: &Header, stored: u64) -> Result<Sparse, ArchiveError> {
        let gnu = header.as_gnu().ok_or_else(|| self.bad_map())?;
        let size = number(&gnu.realsize).and_then(|size| u64::try_from(size).ok());
        let mut parts = Vec::new();
        self.gnu_parts(&gnu.sparse, &mut parts)?;
        let mut more = gnu.isextended[0] == 1;
        while more {
            let mut block = GnuExtSparseHeader::new();
            self.block(block.as_mut_bytes())?;
            self.gnu_parts(block.sparse(), &mut parts)?;
            more = block.is_extended();
        }
        self.expect_data(stored)?;
        let sparse = size.and_then(|size| Sparse::checked(size, parts, stored));
        sparse.ok_or_else(|| self.bad_map())
    }

    fn gnu_parts(&self, all: &[GnuSparseHeader], parts: &mut Vec<Part>) -> Result<(), ArchiveError> {
        for one in all.iter().take_while(|one| !one.is_empty()) {
            let field = |field: &[u8]| number(field).and_then(|number| u64::try_from(number).ok());
            let (offset, length) = (field(&one.offset), field(&one.numbytes));
            let (Some(offset), Some(length)) = (offset, length) else { return Err(self.bad_map()) };
            parts.push(Part { offset, length });
        }
        if parts.len() > PARTS_MAX { Err(self.bad_map()) } else { Ok(()) }
    }

    /// The map in front of the data (PAX 1.0).
    fn map(&mut self) -> Result<Vec<Part>, ArchiveError> {
        let (mut numbers, mut digits) = (Vec::new(), Vec::new());
        let mut block = [0; 512];
        loop {
            self.read_exact(&mut block).map_err(|error| match error.kind() {
                std::io::ErrorKind::UnexpectedEof => ArchiveError::Truncated,
                _ => read_error(error),
            })?;
            for &byte in &block {
                if byte != b'\n' {
                    digits.push(byte);
                    // No number has more digits; and what fills the last block is passed over.
                    digits.truncate(20);
                    continue;
                }
                numbers.push(decimal(&digits).ok_or_else(|| self.bad_map())?);
                digits.clear();
                let count = usize::try_from(numbers[0]).unwrap_or(usize::MAX);
                if count > PARTS_MAX {
                    return Err(self.bad_map());
                }
                if numbers.len() == 1 + 2 * count {
                    let pairs = numbers[1..].chunks_exact(2);
                    return Ok(pairs.map(|pair| Part { offset: pair[0], length: pair[1] }).collect());
                }
            }
        }
    }
}
