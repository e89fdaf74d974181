//! Which compression a stream has, by its first bytes, and the stream without it.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

use super::ArchiveError;

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompressionFormat {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl fmt::Display for CompressionFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

/// What reading a damaged compressed stream failed with, so that it differs from a stream that cannot be read at
/// all.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
struct Damage {
    format: CompressionFormat,
    source: io::Error,
}

/// A stream that has no compression any more.
pub struct Decompressed<'a>(Box<dyn Read + 'a>);

impl fmt::Debug for Decompressed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decompressed")
    }
}

impl Read for Decompressed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

/// The bytes behind `stream`, decompressed if they are compressed.
///
/// # Errors
/// [`ArchiveError::UnknownCompression`], or the stream cannot be read.
pub fn decompress<'a>(stream: impl Read + 'a) -> Result<Decompressed<'a>, ArchiveError> {
    let mut stream = BufReader::with_capacity(128 * 1024, stream);
    // A pipe may deliver the first bytes one by one.
    let mut head = [0_u8; 6];
    let mut length = 0;
    while length < head.len() {
        match stream.read(&mut head[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(ArchiveError::Read(error)),
        }
    }
    let whole = io::Cursor::new(head[..length].to_vec()).chain(stream);
    match head {
        [0x1f, 0x8b, ..] => {
            // More than one member may follow one another (RFC 1952, 2.2).
            let decoder = flate2::bufread::MultiGzDecoder::new(BufReader::new(whole));
            Ok(Decompressed(Box::new(Told { inner: decoder, format: CompressionFormat::Gzip })))
        }
        // A frame, or a skippable frame in front of one.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            let decoder = zstd_decoder(BufReader::new(whole)).map_err(ArchiveError::Read)?;
            Ok(Decompressed(Box::new(Told { inner: decoder, format: CompressionFormat::Zstd })))
        }
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Err(ArchiveError::UnknownCompression("xz")),
        [b'B', b'Z', b'h', ..] => Err(ArchiveError::UnknownCompression("bzip2")),
        _ => Ok(Decompressed(Box::new(whole))),
    }
}

fn zstd_decoder<'a>(stream: impl BufRead + 'a) -> io::Result<impl Read + 'a> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(stream)?;
    // 128 MiB of window, as the zstd program allows without being asked: with more, an archive could use up
    // mydocker's memory.
    decoder.window_log_max(27)?;
    Ok(decoder)
}

/// Marks errors of a decoder as damage.
struct Told<R> {
    inner: R,
    format: CompressionFormat,
}

impl<R: Read> Read for Told<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(|source| match source.raw_os_error() {
            // The system's own errors are about reading.
            Some(_) => source,
            None if source.kind() == io::ErrorKind::Interrupted => source,
            None => io::Error::other(Damage { format: self.format, source }),
        })
    }
}

/// Reads a stream to its end, so that damage behind the last entry shows as well.
///
/// # Errors
/// The stream is damaged or cannot be read.
pub fn drain(stream: &mut impl Read) -> Result<(), ArchiveError> {
    io::copy(stream, &mut io::sink()).map(drop).map_err(read_error)
}

/// What the error of a read of a [`decompress`]ed stream was about.
#[must_use]
pub fn read_error(error: io::Error) -> ArchiveError {
    // Of a stream that another thread decompresses, it is what the first bytes were.
    match error.downcast::<ArchiveError>().map_err(io::Error::downcast::<Damage>) {
        Ok(error) => error,
        Err(Ok(Damage { format, source })) => ArchiveError::Compression { format, source },
        Err(Err(error)) => ArchiveError::Read(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> Result<Vec<u8>, ArchiveError> {
        let mut all = Vec::new();
        decompress(bytes)?.read_to_end(&mut all).map_err(read_error)?;
        Ok(all)
    }

    #[test]
    fn the_first_bytes_tell() {
        let text = b"some text, some text, some text".repeat(100);
        let zstd = zstd::encode_all(&text[..], 1).unwrap();
        let twice = [gzip(&text), gzip(b"more")].concat();
        assert_eq!(read(&text).unwrap(), text);
        assert_eq!(read(&gzip(&text)).unwrap(), text);
        assert_eq!(read(&zstd).unwrap(), text);
        assert_eq!(read(&twice).unwrap(), [&text[..], b"more"].concat());
        assert_eq!(read(b"").unwrap(), b"");
        assert_eq!(read(b"abc").unwrap(), b"abc");
        assert!(matches!(read(b"BZh91AY&SY"), Err(ArchiveError::UnknownCompression("bzip2"))));
        assert!(matches!(read(b"\xfd7zXZ\0more"), Err(ArchiveError::UnknownCompression("xz"))));
    }

    #[test]
    fn damage_is_not_taken_for_an_end() {
        let noise: Vec<u8> =
            (0..20_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        for (format, mut packed) in [
            (CompressionFormat::Gzip, gzip(&noise)),
            (CompressionFormat::Zstd, zstd::encode_all(&noise[..], 1).unwrap()),
        ] {
            let cut = read(&packed[..packed.len() / 2]);
            assert!(
                matches!(&cut, Err(ArchiveError::Compression { format: f, .. }) if *f == format),
                "{cut:?}"
            );
            let middle = packed.len() / 2;
            packed[middle..middle + 64].fill(0xff);
            // What decodes all the same is not what it was, or the checksum catches it.
            match read(&packed) {
                Err(ArchiveError::Compression { format: f, .. }) => assert_eq!(f, format),
                Ok(_) => assert_eq!(format, CompressionFormat::Zstd, "gzip has a checksum"),
                Err(other) => panic!("{other:?}"),
            }
        }
    }
}
