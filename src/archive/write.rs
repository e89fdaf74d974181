//! Entries as a tar stream: ustar, with POSIX's extended headers for what does not fit. The same entries
//! always make the same bytes.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;

use tar::{EntryType, Header};

use super::read::XATTR;
use super::{ArchiveError, Entry, Kind, Sparse, Time};

use crate::store::FileError;

/// The unit of tar streams.
const BLOCK: usize = 512;

/// The largest number of seven octal digits: owners and device numbers.
const OCTAL_7: u64 = 0o777_7777;

/// The largest number of eleven octal digits: sizes and times.
const OCTAL_11: u64 = 0o777_7777_7777;

/// Writes entries to a stream.
#[derive(Debug)]
pub struct Writer<W> {
    stream: W,
}

impl<W: Write> Writer<W> {
    /// Writes a tar stream to `stream`.
    pub fn new(stream: W) -> Self {
        Self { stream }
    }

    /// Writes an entry and its data. `data` is read to exactly the size that the entry says; what is missing
    /// is made up with zeros, because a file may shrink while it is read.
    ///
    /// # Errors
    /// [`ArchiveError::Write`], or [`ArchiveError::File`] if `data` cannot be read.
    pub fn append(&mut self, entry: &Entry, mut data: impl Read) -> Result<(), ArchiveError> {
        let mut records = Vec::new();
        let map = entry.sparse.as_ref().map(Sparse::map).unwrap_or_default();
        let header = header(entry, map.len(), &mut records);
        if !records.is_empty() {
            let mut extension = Header::new_ustar();
            name(&mut extension, OsStr::new("PaxHeaders/entry"));
            extension.set_entry_type(EntryType::XHeader);
            extension.set_mode(0o644);
            set_size(&mut extension, records.len());
            extension.set_cksum();
            self.write(extension.as_bytes())?;
            self.write(&records)?;
            self.pad(records.len())?;
        }
        self.write(header.as_bytes())?;
        self.write(&map)?;
        let mut left = entry.size;
        let mut buffer = vec![0_u8; 128 * 1024];
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let count = match data.read(&mut buffer[..most]) {
                Ok(0) => {
                    buffer[..most].fill(0);
                    most
                }
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => {
                    return Err(ArchiveError::File(FileError {
                        action: "read",
                        path: entry.shown(),
                        source,
                    }));
                }
            };
            self.write(&buffer[..count])?;
            left -= u64::try_from(count).unwrap_or(left);
        }
        self.pad(usize::try_from(entry.size % 512).unwrap_or(0))
    }

    /// Writes the mark at the end and hands the stream back.
    ///
    /// # Errors
    /// [`ArchiveError::Write`].
    pub fn finish(mut self) -> Result<W, ArchiveError> {
        self.write(&[0; 2 * BLOCK])?;
        self.stream.flush().map_err(ArchiveError::Write)?;
        Ok(self.stream)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        self.stream.write_all(bytes).map_err(ArchiveError::Write)
    }

    fn pad(&mut self, length: usize) -> Result<(), ArchiveError> {
        self.write(&[0; BLOCK][..length.next_multiple_of(BLOCK) - length])
    }
}

/// The header of an entry with so many bytes in front of its data; what does not fit becomes a record of an extended
/// header.
fn header(entry: &Entry, map: usize, records: &mut Vec<u8>) -> Header {
    let mut header = Header::new_ustar();
    let mut path = entry.path.as_bytes().to_vec();
    if let Some(sparse) = &entry.sparse {
        record(records, b"GNU.sparse.major", b"1");
        record(records, b"GNU.sparse.minor", b"0");
        record(records, b"GNU.sparse.name", &path);
        record(records, b"GNU.sparse.realsize", sparse.size.to_string().as_bytes());
        // Who knows of no holes does not take what follows for the file.
        let name = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        path = [b"GNUSparseFile.0/", &path[name..]].concat();
        path.truncate(100);
    }
    if entry.kind == Kind::Directory && !path.ends_with(b"/") {
        path.push(b'/');
    }
    if !name(&mut header, OsStr::from_bytes(&path)) {
        record(records, b"path", &path);
    }
    let mut device = (0, 0);
    let (kind, link) = match &entry.kind {
        Kind::File => (EntryType::Regular, None),
        Kind::Directory => (EntryType::Directory, None),
        Kind::Symlink(target) => (EntryType::Symlink, Some(target)),
        Kind::HardLink(target) => (EntryType::Link, Some(target)),
        Kind::Character { major, minor } => {
            device = (*major, *minor);
            (EntryType::Char, None)
        }
        Kind::Block { major, minor } => {
            device = (*major, *minor);
            (EntryType::Block, None)
        }
        Kind::Fifo => (EntryType::Fifo, None),
    };
    header.set_entry_type(kind);
    if let Some(link) = link
        && !fill(&mut header.as_old_mut().linkname, link.as_bytes())
    {
        record(records, b"linkpath", link.as_bytes());
    }
    if matches!(kind, EntryType::Char | EntryType::Block) {
        // Both are set for a ustar header.
        header.set_device_major(device.0).ok();
        header.set_device_minor(device.1).ok();
    }
    header.set_mode(entry.mode & 0o7777);
    number(u64::from(entry.uid), OCTAL_7, b"uid", records, |value| header.set_uid(value));
    number(u64::from(entry.gid), OCTAL_7, b"gid", records, |value| header.set_gid(value));
    let stored = entry.size + u64::try_from(map).unwrap_or(0);
    number(stored, OCTAL_11, b"size", records, |value| header.set_size(value));
    match u64::try_from(entry.modified.seconds) {
        Ok(seconds) if seconds <= OCTAL_11 => {
            header.set_mtime(seconds);
            if entry.modified.nanoseconds > 0 {
                record(records, b"mtime", decimal(entry.modified).as_bytes());
            }
        }
        _ => record(records, b"mtime", decimal(entry.modified).as_bytes()),
    }
    for (name, value) in &entry.xattrs {
        record(records, &[XATTR, name.as_bytes()].concat(), value);
    }
    header.set_cksum();
    header
}

/// A time as seconds with a fraction.
fn decimal(Time { seconds, nanoseconds }: Time) -> String {
    if nanoseconds == 0 {
        return seconds.to_string();
    }
    // The fraction counts forward in a time before 1970 as well, and backward in the text.
    let (sign, whole, fraction) = match seconds {
        0.. => ("", seconds.unsigned_abs(), nanoseconds),
        _ => ("-", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanoseconds),
    };
    format!("{sign}{whole}.{fraction:09}")
}

fn set_size(header: &mut Header, size: usize) {
    header.set_size(u64::try_from(size).unwrap_or(u64::MAX));
}

/// Sets a number, or leaves 0 and writes a record if it has too many digits.
fn number(value: u64, most: u64, key: &[u8], records: &mut Vec<u8>, mut set: impl FnMut(u64)) {
    if value <= most {
        set(value);
    } else {
        set(0);
        record(records, key, value.to_string().as_bytes());
    }
}

/// Puts bytes into a field; whether they fit.
fn fill(field: &mut [u8], bytes: &[u8]) -> bool {
    let length = bytes.len().min(field.len());
    field[..length].copy_from_slice(&bytes[..length]);
    length == bytes.len()
}

/// Puts a name into a ustar header, split at a slash if it is long; whether it fits. If not, as much of it
/// stands there as fits, for programs that know no extended headers.
fn name(header: &mut Header, path: &OsStr) -> bool {
    let path = path.as_bytes();
    let Some(ustar) = header.as_ustar_mut() else { return false };
    if path.len() <= ustar.name.len() {
        return fill(&mut ustar.name, path);
    }
    let split = (0..path.len()).find(|&at| {
        path[at] == b'/'
            && at > 0
            && at + 1 < path.len()
            && at <= ustar.prefix.len()
            && path.len() - at - 1 <= ustar.name.len()
    });
    match split {
        Some(at) => fill(&mut ustar.prefix, &path[..at]) && fill(&mut ustar.name, &path[at + 1..]),
        None => fill(&mut ustar.name, path),
    }
}

/// Appends a record `LENGTH KEY=VALUE\n`, where the length counts its own digits as well.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.extend_from_slice(&[b" ", key, b"=", value, b"\n"].concat());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Part, Reader};
    use super::*;

    fn bytes(first: u8) -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(first..=255_u8, 1..300)
    }

    fn kind() -> impl Strategy<Value = Kind> {
        use std::os::unix::ffi::OsStringExt as _;
        let link = || bytes(1).prop_map(std::ffi::OsString::from_vec);
        let device = || (0..=0x1f_ffff_u32, 0..=0x1f_ffff_u32);
        prop_oneof![
            Just(Kind::File),
            Just(Kind::Fifo),
            link().prop_map(Kind::Symlink),
            link().prop_map(Kind::HardLink),
            device().prop_map(|(major, minor)| Kind::Character { major, minor }),
            device().prop_map(|(major, minor)| Kind::Block { major, minor }),
        ]
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            path in bytes(0x30),
            kind in kind(),
            (mode, uid, gid) in (0..0o10000_u32, any::<u32>(), any::<u32>()),
            seconds in any::<i64>().prop_map(|seconds| seconds / 2),
            nanoseconds in 0..1_000_000_000_u32,
            holes in prop::option::of(prop::collection::vec((1..9_000_u64, 1..9_u64), 0..40)),
            data in prop::collection::vec(any::<u8>(), 0..2000),
            xattr in bytes(0),
        ) {
            use std::os::unix::ffi::OsStringExt as _;
            let data = if kind == Kind::File { data } else { Vec::new() };
            let sparse = holes.filter(|_| kind == Kind::File).map(|gaps| {
                let (mut at, mut left) = (0, data.len() as u64);
                let mut parts = Vec::new();
                for (gap, length) in gaps {
                    let length = length.min(left);
                    parts.push(Part { offset: at + gap, length });
                    (at, left) = (at + gap + length, left - length);
                }
                parts.push(Part { offset: at, length: left });
                Sparse { size: at + left + 7, parts }
            });
            let entry = Entry {
                path: std::ffi::OsString::from_vec(path),
                kind, mode, uid, gid,
                modified: Time { seconds, nanoseconds },
                size: data.len() as u64,
                sparse,
                xattrs: vec![("user.x".into(), xattr)],
            };
            let mut writer = Writer::new(Vec::new());
            writer.append(&entry, &data[..]).unwrap();
            writer.append(&entry, &data[..]).unwrap();
            let stream = writer.finish().unwrap();
            prop_assert_eq!(stream.len() % BLOCK, 0);
            let mut reader = Reader::new(&stream[..]);
            for _ in 0..2 {
                let next = reader.next_entry().unwrap();
                prop_assert_eq!(next.as_ref(), Some(&entry));
                let mut read = Vec::new();
                reader.read_to_end(&mut read).unwrap();
                prop_assert_eq!(&read, &data);
            }
            prop_assert_eq!(reader.next_entry().unwrap(), None);
        }
    }

    #[test]
    fn a_long_name_is_split_or_extended_and_others_can_read_it() {
        for path in ["d/".repeat(60) + "file", "n".repeat(200), "é".repeat(40)] {
            let entry = Entry {
                path: path.clone().into(),
                kind: Kind::File,
                mode: 0o600,
                uid: 0,
                gid: 0,
                modified: Time::default(),
                size: 3,
                sparse: None,
                xattrs: Vec::new(),
            };
            let mut writer = Writer::new(Vec::new());
            // Shorter than it says: made up with zeros.
            writer.append(&entry, &b"a"[..]).unwrap();
            let stream = writer.finish().unwrap();
            let mut archive = tar::Archive::new(&stream[..]);
            let mut other = archive.entries().unwrap().next().unwrap().unwrap();
            assert_eq!(&*other.path_bytes(), path.as_bytes());
            let mut data = Vec::new();
            other.read_to_end(&mut data).unwrap();
            assert_eq!(data, b"a\0\0");
        }
    }
}
