//! A tar stream as entries: the old format, ustar, GNU's long names and POSIX's extended headers.
//!
//! Extended headers are held in memory and therefore bounded; nothing else is.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt as _;

use tar::{EntryType, Header};

use super::compression::read_error;
use super::read_sparse::Said;
use super::{ArchiveError, Entry, Kind, Time};

/// The unit of tar streams.
const BLOCK: u64 = 512;

/// How long the extended headers of one entry may be that are read. The kernel's own limits for names (4 KiB) and attributes (64 KiB
/// a file) leave plenty of room.
const EXTENSION_MAX: u64 = 1 << 20;

/// What the name of an extended attribute starts with in an extended header.
pub(super) const XATTR: &[u8] = b"SCHILY.xattr.";

/// What the names of records about holes start with.
const SPARSE: &[u8] = b"GNU.sparse.";

/// Reads entries from a stream. Between two entries, the reader itself is the data of the first.
#[derive(Debug)]
pub struct Reader<R> {
    stream: R,
    /// Bytes read so far.
    position: u64,
    /// Data of the current entry that nobody has read yet.
    data: u64,
    /// What fills its last block.
    padding: u64,
    /// Whether the mark at the end was met.
    ended: bool,
    /// Whether any header was met.
    started: bool,
}

/// What extended headers say of the next entry.
#[derive(Debug, Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    modified: Option<Time>,
    xattrs: BTreeMap<OsString, Vec<u8>>,
    /// How long they are together.
    length: u64,
    holes: Said,
}

impl<R: Read> Reader<R> {
    /// Reads the tar stream `stream`.
    pub fn new(stream: R) -> Self {
        Self { stream, position: 0, data: 0, padding: 0, ended: false, started: false }
    }

    /// The stream, wherever it is.
    pub fn into_inner(self) -> R {
        self.stream
    }

    /// How many bytes of the stream have been read: after [`Reader::next_entry`], where the entry's data start.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next entry; what is left of the data of the one before is passed over. `None` at the end.
    ///
    /// # Errors
    /// The stream cannot be read, is no tar archive, or is damaged.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ArchiveError> {
        let mut extensions = Extensions::default();
        let mut expects_entry = false;
        loop {
            let Some(header) = self.header()? else {
                return if expects_entry { Err(ArchiveError::Truncated) } else { Ok(None) };
            };
            let size = self.number(&header.as_old().size, "a size")?;
            match header.entry_type() {
                EntryType::XHeader => {
                    let text = self.extension(size, &mut extensions)?;
                    self.parse_pax(&text, &mut extensions)?;
                }
                EntryType::XGlobalHeader => {
                    // What archivers say of themselves; no attribute of a file that anything depends on.
                    self.extension(size, &mut Extensions::default())?;
                    continue;
                }
                EntryType::GNULongName => {
                    extensions.path = Some(until_nul(self.extension(size, &mut extensions)?));
                }
                EntryType::GNULongLink => {
                    extensions.link = Some(until_nul(self.extension(size, &mut extensions)?));
                }
                // A volume's label is no file.
                kind if kind.as_byte() == b'V' => {
                    self.expect_data(size)?;
                    continue;
                }
                _ => return self.entry(&header, size, extensions).map(Some),
            }
            expects_entry = true;
        }
    }

    /// The next header block with a valid checksum; `None` at the end.
    fn header(&mut self) -> Result<Option<Header>, ArchiveError> {
        self.pass(self.data + self.padding)?;
        (self.data, self.padding) = (0, 0);
        if self.ended {
            return Ok(None);
        }
        let mut header = Header::new_old();
        match self.fill(header.as_mut_bytes())? {
            512 => {}
            // Without the mark at the end, too, a stream may end between two entries.
            0 if self.started => {
                self.ended = true;
                return Ok(None);
            }
            _ => return Err(if self.started { ArchiveError::Truncated } else { ArchiveError::NotTar }),
        }
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            (self.started, self.ended) = (true, true);
            return Ok(None);
        }
        if octal(&header.as_old().cksum) != Some(checksum(header.as_bytes())) {
            return Err(if self.started {
                self.damaged("a header without a valid checksum")
            } else {
                ArchiveError::NotTar
            });
        }
        self.started = true;
        Ok(Some(header))
    }

    /// One more block of a header.
    pub(super) fn block(&mut self, block: &mut [u8; 512]) -> Result<(), ArchiveError> {
        if self.fill(block)? < block.len() { Err(ArchiveError::Truncated) } else { Ok(()) }
    }

    /// Reads a block, or as much of it as there is.
    fn fill(&mut self, block: &mut [u8; 512]) -> Result<usize, ArchiveError> {
        let mut length = 0;
        while length < block.len() {
            match self.stream.read(&mut block[length..]) {
                Ok(0) => return Ok(length),
                Ok(count) => length += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(read_error(error)),
            }
        }
        self.position += BLOCK;
        Ok(length)
    }

    fn entry(
        &mut self,
        header: &Header,
        size: u64,
        mut extensions: Extensions,
    ) -> Result<Entry, ArchiveError> {
        let old = header.as_old();
        // The header of a file with holes may have a name for programs that know of none.
        let named = extensions.holes.name.take().or(extensions.path);
        let path = named.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = extensions.link.unwrap_or_else(|| {
            header.link_name_bytes().map(std::borrow::Cow::into_owned).unwrap_or_default()
        });
        if path.is_empty() || path.contains(&0) || link.contains(&0) {
            return Err(self.damaged("a malformed name"));
        }
        let (path, link) = (OsString::from_vec(path), OsString::from_vec(link));
        let unsupported = |what| ArchiveError::Unsupported { what, path: (&path).into() };
        let device = || -> Result<(u32, u32), ArchiveError> {
            // Before ustar there were no devices.
            let Some(ustar) = header.as_ustar() else {
                let gnu = header.as_gnu().ok_or_else(|| self.damaged("a device without a number"))?;
                return Ok((self.number32(&gnu.dev_major)?, self.number32(&gnu.dev_minor)?));
            };
            Ok((self.number32(&ustar.dev_major)?, self.number32(&ustar.dev_minor)?))
        };
        let kind = match header.entry_type().as_byte() {
            // In the old format, a name that ends in a slash is a directory.
            b'0' | 0 | b'7' if path.as_encoded_bytes().ends_with(b"/") => Kind::Directory,
            b'0' | 0 | b'7' => Kind::File,
            b'1' => Kind::HardLink(link),
            b'2' => Kind::Symlink(link),
            b'3' => device().map(|(major, minor)| Kind::Character { major, minor })?,
            b'4' => device().map(|(major, minor)| Kind::Block { major, minor })?,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            b'S' => Kind::File,
            b'D' | b'M' | b'N' => return Err(unsupported("a part of an incremental or split archive")),
            _ => return Err(unsupported("an entry of an unknown kind")),
        };
        if let Kind::Symlink(target) | Kind::HardLink(target) = &kind
            && target.is_empty()
        {
            return Err(self.damaged("a link to nothing"));
        }
        // Only files have data; what the headers of others say there means something else to each archiver.
        let size = if kind == Kind::File { extensions.size.unwrap_or(size) } else { 0 };
        let id = |extended: Option<u64>, field: &[u8]| {
            let id = extended.map_or_else(|| self.number(field, "an owner"), Ok)?;
            u32::try_from(id).map_err(|_| self.damaged("an owner"))
        };
        let (uid, gid) = (id(extensions.uid, &old.uid)?, id(extensions.gid, &old.gid)?);
        let mode = self.number32(&old.mode)? & 0o7777;
        let modified = extensions.modified.unwrap_or_else(|| Time {
            // A time that makes no sense is no reason to refuse a file.
            seconds: number(&old.mtime).unwrap_or(0),
            nanoseconds: 0,
        });
        let sparse = if kind == Kind::File {
            self.holes(header, extensions.holes, size)?
        } else {
            self.expect_data(size)?;
            None
        };
        let size = self.data;
        Ok(Entry {
            path,
            kind,
            mode,
            uid,
            gid,
            modified,
            size,
            sparse,
            xattrs: extensions.xattrs.into_iter().collect(),
        })
    }

    /// Says that so many bytes of data follow.
    pub(super) fn expect_data(&mut self, size: u64) -> Result<(), ArchiveError> {
        self.data = size;
        self.padding = size.wrapping_neg() % BLOCK;
        // Nothing is that long; without this check the sum of both could overflow.
        if size > u64::MAX / 2 { Err(self.damaged("a size")) } else { Ok(()) }
    }

    /// The contents of an extended header. All of one entry are as long together as one may be.
    fn extension(&mut self, size: u64, others: &mut Extensions) -> Result<Vec<u8>, ArchiveError> {
        others.length = others.length.saturating_add(size);
        if others.length > EXTENSION_MAX {
            return Err(self.damaged("extended headers of more than 1 MiB"));
        }
        self.expect_data(size)?;
        let mut text = Vec::new();
        self.read_to_end(&mut text).map_err(read_error)?;
        if self.data > 0 { Err(ArchiveError::Truncated) } else { Ok(text) }
    }

    /// Records of the form `LENGTH KEY=VALUE\n`, the length being that of the whole record. The value is any
    /// bytes.
    fn parse_pax(&self, mut text: &[u8], extensions: &mut Extensions) -> Result<(), ArchiveError> {
        let damaged = || self.damaged("an extended header");
        while !text.is_empty() {
            let space = text.iter().position(|byte| *byte == b' ').ok_or_else(damaged)?;
            let length = decimal(&text[..space]).and_then(|length| usize::try_from(length).ok());
            let record = length.filter(|length| *length > space + 1).and_then(|length| text.get(..length));
            let record = record.ok_or_else(damaged)?;
            text = &text[record.len()..];
            let field = record[space + 1..].strip_suffix(b"\n").ok_or_else(damaged)?;
            let equals = field.iter().position(|byte| *byte == b'=').ok_or_else(damaged)?;
            let (key, value) = (&field[..equals], &field[equals + 1..]);
            match key {
                b"path" => extensions.path = Some(value.to_vec()),
                b"linkpath" => extensions.link = Some(value.to_vec()),
                b"size" => extensions.size = Some(decimal(value).ok_or_else(damaged)?),
                b"uid" => extensions.uid = Some(decimal(value).ok_or_else(damaged)?),
                b"gid" => extensions.gid = Some(decimal(value).ok_or_else(damaged)?),
                b"mtime" => extensions.modified = Some(time(value).ok_or_else(damaged)?),
                _ if key.starts_with(SPARSE) => {
                    extensions.holes.take(&key[SPARSE.len()..], value).ok_or_else(damaged)?;
                }
                _ => {
                    if let Some(name) = key.strip_prefix(XATTR) {
                        let name = OsString::from_vec(name.to_vec());
                        extensions.xattrs.insert(name, value.to_vec());
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads so many bytes and forgets them.
    fn pass(&mut self, count: u64) -> Result<(), ArchiveError> {
        let passed = io::copy(&mut (&mut self.stream).take(count), &mut io::sink()).map_err(read_error)?;
        self.position += passed;
        if passed < count { Err(ArchiveError::Truncated) } else { Ok(()) }
    }

    fn number(&self, field: &[u8], what: &'static str) -> Result<u64, ArchiveError> {
        number(field).and_then(|number| u64::try_from(number).ok()).ok_or_else(|| self.damaged(what))
    }

    fn number32(&self, field: &[u8]) -> Result<u32, ArchiveError> {
        let number = self.number(field, "a number")?;
        u32::try_from(number).map_err(|_| self.damaged("a number"))
    }

    /// How much of the current entry's data is left.
    pub(super) fn left(&self) -> u64 {
        self.data
    }

    pub(super) fn damaged(&self, what: &'static str) -> ArchiveError {
        ArchiveError::Damaged { what, position: self.position }
    }
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.data).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let count = self.stream.read(&mut buffer[..most])?;
        let counted = u64::try_from(count).unwrap_or(u64::MAX);
        (self.data, self.position) = (self.data - counted, self.position + counted);
        Ok(count)
    }
}

fn until_nul(mut text: Vec<u8>) -> Vec<u8> {
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    text.truncate(end);
    text
}

/// The sum of all bytes of a header, its own field counted as blanks.
fn checksum(block: &[u8; 512]) -> u64 {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
    sum(&block[..148]) + 8 * u64::from(b' ') + sum(&block[156..])
}

/// A number in a header: octal digits, or a binary number if the first bit is set. A blank field is 0.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    match field.split_first() {
        Some((first, rest)) if first & 0x80 != 0 => {
            // Two's complement of all bits but the first.
            let head = i64::from((first << 1).cast_signed() >> 1);
            rest.iter().try_fold(head, |number, byte| number.checked_mul(256)?.checked_add(i64::from(*byte)))
        }
        _ => octal(field).and_then(|number| i64::try_from(number).ok()),
    }
}

fn octal(field: &[u8]) -> Option<u64> {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    let digits = field[..end].trim_ascii();
    digits.iter().try_fold(0_u64, |number, digit| match digit {
        b'0'..=b'7' => number.checked_mul(8)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    digits.then(|| std::str::from_utf8(text).ok()?.parse().ok())?
}

/// Seconds with a fraction, before 1970 if negative.
fn time(text: &[u8]) -> Option<Time> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = match text.iter().position(|byte| *byte == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &b""[..]),
    };
    let seconds = i64::try_from(decimal(whole)?).ok()?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction.iter().chain(std::iter::repeat(&b'0')).take(9);
    let nanoseconds = digits.fold(0_u32, |number, digit| number * 10 + u32::from(digit - b'0'));
    Some(match (negative, nanoseconds) {
        (false, _) => Time { seconds, nanoseconds },
        (true, 0) => Time { seconds: -seconds, nanoseconds },
        // The fraction counts forward from the second before.
        (true, _) => Time { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(path: &str, kind: EntryType, size: u64) -> Header {
        let mut header = Header::new_ustar();
        header.as_ustar_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o4755);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(9);
        header.set_cksum();
        header
    }

    fn block(header: &Header, data: &[u8]) -> Vec<u8> {
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }

    fn all(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, ArchiveError> {
        let mut reader = Reader::new(bytes);
        let mut entries = Vec::new();
        while let Some(entry) = reader.next_entry()? {
            let mut data = Vec::new();
            reader.read_to_end(&mut data).map_err(read_error)?;
            entries.push((entry, data));
        }
        Ok(entries)
    }

    fn extended(records: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut text = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let length =
                (1..).map(|digits| rest + digits).find(|l| l.to_string().len() + rest == *l).unwrap();
            text.extend_from_slice(length.to_string().as_bytes());
            text.extend_from_slice(&[b" ", *key, b"=", *value, b"\n"].concat());
        }
        block(&header("x", EntryType::XHeader, text.len() as u64), &text)
    }

    #[test]
    fn extended_headers_describe_the_next_entry_only() {
        let value = b"a\n=b\0c\n";
        let bytes = [
            extended(&[
                (b"path", b"long/\xff"),
                (b"mtime", b"-1.25"),
                (b"uid", b"4000000000"),
                (b"size", b"3"),
                (b"SCHILY.xattr.user.x", value),
                (b"comment", b"nothing"),
            ]),
            block(&header("short", EntryType::Regular, 3), b"abc"),
            block(&header("next", EntryType::Regular, 0), b""),
            vec![0; 1024],
        ]
        .concat();
        let entries = all(&bytes).unwrap();
        let (first, data) = &entries[0];
        assert_eq!((first.path.as_encoded_bytes(), &data[..]), (&b"long/\xff"[..], &b"abc"[..]));
        assert_eq!((first.uid, first.gid, first.mode), (4_000_000_000, 8, 0o4755));
        assert_eq!(first.modified, Time { seconds: -2, nanoseconds: 750_000_000 });
        assert_eq!(first.xattrs, [("user.x".into(), value.to_vec())]);
        assert_eq!((entries[1].0.path.to_str(), entries[1].0.uid), (Some("next"), 7));
        assert!(entries[1].0.xattrs.is_empty());
    }

    #[test]
    fn what_is_no_archive_is_told_from_a_damaged_one() {
        let file = block(&header("a", EntryType::Regular, 600), &[1; 600]);
        assert!(matches!(all(b""), Err(ArchiveError::NotTar)));
        assert!(matches!(all(b"#!/bin/sh\n"), Err(ArchiveError::NotTar)));
        assert!(matches!(all(&[7; 4096]), Err(ArchiveError::NotTar)));
        assert!(all(&[0; 1024]).unwrap().is_empty());
        for cut in [1, 511, 513, 1000, 1535] {
            let result = all(&file[..cut]);
            let expected = if cut < 512 { ArchiveError::NotTar } else { ArchiveError::Truncated };
            assert_eq!(result.unwrap_err().to_string(), expected.to_string(), "{cut}");
        }
        assert!(matches!(all(&[&file[..], &[7; 512]].concat()), Err(ArchiveError::Damaged { .. })));
        // A stream that ends between two entries is whole.
        assert_eq!(all(&file).unwrap().len(), 1);
    }

    #[test]
    fn kinds_that_cannot_be_kept_are_refused() {
        for (kind, what) in [(b'M', "split"), (b'Q', "unknown")] {
            let error = all(&block(&header("odd", EntryType::new(kind), 0), b"")).unwrap_err().to_string();
            assert!(error.contains(what) && error.contains("odd"), "{error}");
        }
        // Holes of a file without a size, without a map, with a map that is cut short or none.
        for (records, data) in [
            (&[(&b"GNU.sparse.major"[..], &b"1"[..])][..], &b""[..]),
            (&[(b"GNU.sparse.major", b"1"), (b"GNU.sparse.realsize", b"9")], b""),
            (&[(b"GNU.sparse.major", b"1"), (b"GNU.sparse.realsize", b"9")], b"2\n0\n1\n"),
            (&[(b"GNU.sparse.major", b"1"), (b"GNU.sparse.realsize", b"9")], b"x\n"),
            (&[(b"GNU.sparse.major", b"1"), (b"GNU.sparse.realsize", b"9")], b"1\n9\n1\n"),
            (&[(b"GNU.sparse.major", b"1"), (b"GNU.sparse.realsize", b"9")], b"99999999\n"),
            (&[(b"GNU.sparse.numbytes", b"1")], b"a"),
            (&[(b"GNU.sparse.map", b"1,2,3"), (b"GNU.sparse.size", b"9")], b"a"),
            (&[(b"GNU.sparse.map", b"1,2"), (b"GNU.sparse.size", b"9")], b"a"),
        ] {
            let mut file = block(&header("s", EntryType::Regular, data.len() as u64), data);
            if data.ends_with(b"\n") {
                file = block(&header("s", EntryType::Regular, 512), data);
            }
            let result = all(&[extended(records), file].concat());
            assert!(
                matches!(result, Err(ArchiveError::Damaged { .. } | ArchiveError::Truncated)),
                "{records:?}: {result:?}"
            );
        }
        // Nor do many of them make one entry larger.
        for kind in [EntryType::XHeader, EntryType::GNULongName, EntryType::GNULongLink] {
            let text = if kind == EntryType::XHeader {
                extended(&[(b"SCHILY.xattr.user.x", &[b'x'; 1000])])
            } else {
                block(&header("x", kind, 1000), &[b'x'; 1000])
            };
            let entry = block(&header("x", EntryType::Regular, 0), b"");
            assert_eq!(all(&[&text.repeat(500)[..], &entry].concat()).unwrap().len(), 1);
            let result = all(&[&text.repeat(1100)[..], &entry].concat());
            assert!(matches!(result, Err(ArchiveError::Damaged { .. })), "{kind:?}");
        }
        let huge = header("x", EntryType::XHeader, EXTENSION_MAX + 1);
        assert!(matches!(all(huge.as_bytes()), Err(ArchiveError::Damaged { .. })));
    }

    #[test]
    fn numbers_are_octal_or_binary() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"  644 \0\0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0"), Some(0));
        assert_eq!(number(b"9\0"), None);
        assert_eq!(number(&[0x80, 0, 0, 1, 0]), Some(256));
        assert_eq!(number(&[0xff, 0xff, 0xff, 0xff]), Some(-1));
        assert_eq!(number(&[0xff, 0xff, 0xff, 0x00]), Some(-256));
        assert_eq!(number(&[0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..3000), kind in any::<u8>()) {
            all(&bytes).ok();
            // The same behind a header that says that they are its data, or an extension.
            let mut first = header("x", EntryType::new(kind), bytes.len() as u64);
            first.set_cksum();
            bytes = [first.as_bytes().to_vec(), bytes].concat();
            all(&bytes).ok();
        }

        #[test]
        fn any_header_with_a_checksum_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 512)) {
            let mut header = Header::new_old();
            header.as_mut_bytes().copy_from_slice(&bytes);
            header.set_cksum();
            all(&[header.as_bytes().to_vec(), vec![0; 4096]].concat()).ok();
        }
    }
}
