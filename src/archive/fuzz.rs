//! What has to hold for whatever stream comes as an archive: see [`crate::fuzz`].

use std::ffi::OsStr;
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;

use super::{ArchiveError, Entry, Kind, Part, Reader, Sparse, Time, Writer, decompress, drain};

/// The largest file whose data are looked at, and so much of what a compressed stream becomes.
const LOOKED_AT: u64 = 64 << 10;
const DECOMPRESSED: u64 = 4 << 20;

/// A tar stream: what was read of an entry is read again when it is written.
pub fn tar(bytes: &[u8]) -> bool {
    let repaired = with_checksums(bytes);
    let mut reader = Reader::new(&*repaired);
    let mut count = 0;
    while let Ok(Some(entry)) = reader.next_entry() {
        count += 1;
        if let Some(names) = Entry::components(&entry.path) {
            let leads_out = |name: &&OsStr| {
                matches!(name.as_bytes(), b"" | b"." | b"..") || name.as_bytes().contains(&b'/')
            };
            assert!(!names.iter().any(leads_out), "{names:?}");
        }
        assert!(entry.modified.nanoseconds < 1_000_000_000);
        if entry.size > LOOKED_AT {
            continue;
        }
        let mut data = Vec::new();
        if reader.read_to_end(&mut data).is_err() {
            break;
        }
        assert_eq!(data.len() as u64, entry.size, "it has other data than it says");
        check_again(&entry, &data);
    }
    count > 0
}

fn check_again(entry: &Entry, data: &[u8]) {
    let mut writer = Writer::new(Vec::new());
    writer.append(entry, data).expect("an entry that was read can be written");
    let stream = writer.finish().expect("an end");
    let mut reader = Reader::new(&*stream);
    let again = reader.next_entry().expect("what was written can be read").expect("an entry");
    let mut expected = entry.clone();
    if entry.kind == Kind::Directory && !entry.path.as_bytes().ends_with(b"/") {
        // As other programs write it.
        expected.path.push("/");
    }
    assert_eq!(again, expected);
    let mut read = Vec::new();
    reader.read_to_end(&mut read).expect("its data");
    assert_eq!(read, data);
    assert!(reader.next_entry().expect("an end").is_none());
}

/// The same bytes, but whatever looks like a header has the checksum of one: no change would get past it otherwise.
fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut repaired = bytes.to_vec();
    for block in repaired.chunks_exact_mut(512).filter(|block| block[257..262] == *b"ustar") {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    }
    repaired
}

/// A stream that may be compressed: it has an end, or is damaged.
pub fn compressed(bytes: &[u8]) -> bool {
    let stream = match decompress(bytes) {
        Ok(stream) => stream,
        Err(ArchiveError::UnknownCompression(_) | ArchiveError::Read(_)) => return false,
        Err(other) => panic!("that is no reason: {other}"),
    };
    drain(&mut stream.take(DECOMPRESSED)).is_ok()
}

/// A stream with an entry of each kind.
pub fn streams() -> Vec<Vec<u8>> {
    let entry = |path: &str, kind: Kind, size: u64| Entry {
        path: path.into(),
        kind,
        mode: 0o4755,
        uid: 1000,
        gid: 3_000_000,
        modified: Time { seconds: 1_700_000_000, nanoseconds: 5 },
        size,
        sparse: None,
        xattrs: vec![("user.x".into(), b"1\n2".to_vec())],
    };
    let parts = vec![Part { offset: 512, length: 3 }, Part { offset: 4096, length: 2 }];
    let holes = Entry { sparse: Some(Sparse { size: 8192, parts }), ..entry("holes", Kind::File, 5) };
    let plain =
        Entry { xattrs: Vec::new(), gid: 0, modified: Time::default(), ..entry("d/", Kind::Directory, 0) };
    let all = [
        plain.clone(),
        entry("d/file", Kind::File, 5),
        entry(&"long/".repeat(60), Kind::Symlink("../x".into()), 0),
        entry("d/again", Kind::HardLink("d/file".into()), 0),
        entry("null", Kind::Character { major: 1, minor: 3 }, 0),
        entry("disk", Kind::Block { major: 3_000_000, minor: 1 }, 0),
        entry("pipe", Kind::Fifo, 0),
        holes,
    ];
    [&all[..], &[plain]].map(stream).to_vec()
}

fn stream(entries: &[Entry]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for entry in entries {
        writer.append(entry, &b"hello"[..]).expect("an entry");
    }
    writer.finish().expect("an end")
}

/// The same, compressed in each way.
pub fn compressed_streams() -> Vec<Vec<u8>> {
    let plain = streams().pop().unwrap_or_default();
    let gzip = || -> io::Result<Vec<u8>> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&plain)?;
        encoder.finish()
    };
    let packed = [gzip(), zstd::stream::encode_all(&*plain, 3)].map(|packed| packed.expect("a stream"));
    [&packed[..], &[plain]].concat()
}
