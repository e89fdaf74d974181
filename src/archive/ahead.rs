//! A stream that another thread decompresses meanwhile, and that a third one looks at, as for its digest: each takes about
//! as long as making files of it.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use super::decompress;

/// How much is handed over at once, and how many of these wait for whoever reads.
const BUFFER: usize = 64 * 1024;
const BUFFERS: usize = 8;

/// The stream without its compression.
#[derive(Debug)]
pub struct Ahead {
    filled: Receiver<io::Result<Vec<u8>>>,
    /// Those that have been read are filled again.
    empty: Sender<Vec<u8>>,
    current: Vec<u8>,
    read: usize,
    ended: bool,
}

/// Decompresses `stream`, if it is compressed, on a thread of its own while `take` reads it. `look` sees on another one what
/// `take` is about to read. Both threads end with the stream, or when `take` has returned and the stream gives its next
/// bytes.
pub fn decompress_ahead<T>(
    stream: impl Read + Send,
    look: impl FnMut(&[u8]) + Send,
    take: impl FnOnce(Ahead) -> T,
) -> T {
    let (filler, to_look_at) = sync_channel(BUFFERS);
    let (passer, filled) = sync_channel(BUFFERS);
    let (empty, emptied) = channel();
    std::thread::scope(|scope| {
        scope.spawn(move || fill(stream, &filler, &emptied));
        scope.spawn(move || look_at(to_look_at, look, &passer));
        take(Ahead { filled, empty, current: Vec::new(), read: 0, ended: false })
    })
}

/// Shows each buffer to `look` and passes it on.
fn look_at(
    filled: Receiver<io::Result<Vec<u8>>>,
    mut look: impl FnMut(&[u8]),
    seen: &SyncSender<io::Result<Vec<u8>>>,
) {
    for buffer in filled {
        if let Ok(bytes) = &buffer {
            look(bytes);
        }
        if seen.send(buffer).is_err() {
            return;
        }
    }
}

/// Fills buffers until the stream ends, or nobody takes them any more.
fn fill(stream: impl Read, filled: &SyncSender<io::Result<Vec<u8>>>, emptied: &Receiver<Vec<u8>>) {
    let mut stream = match decompress(stream) {
        Ok(stream) => stream,
        Err(error) => return drop(filled.send(Err(io::Error::other(error)))),
    };
    loop {
        let mut buffer = emptied.try_recv().unwrap_or_default();
        buffer.resize(BUFFER, 0);
        let result = fill_one(&mut stream, &mut buffer).map(|count| buffer.truncate(count));
        let is_last = buffer.len() < BUFFER || result.is_err();
        if filled.send(result.map(|()| buffer)).is_err() || is_last {
            return;
        }
    }
}

fn fill_one(stream: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match stream.read(&mut buffer[count..]) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

impl Read for Ahead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read == self.current.len() && !self.ended {
            let last = std::mem::take(&mut self.current);
            self.read = 0;
            // A buffer that was not full was the last one.
            self.ended = !last.is_empty() && last.len() < BUFFER;
            // Where nobody wants it back, the stream has ended.
            self.empty.send(last).ok();
            if !self.ended {
                self.current = self.filled.recv().unwrap_or_else(|_| Ok(Vec::new()))?;
                self.ended = self.current.is_empty();
            }
        }
        let left = &self.current[self.read..];
        let count = left.len().min(buffer.len());
        buffer[..count].copy_from_slice(&left[..count]);
        self.read += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ArchiveError, read_error};
    use super::*;

    fn all(stream: impl Read + Send) -> Result<Vec<u8>, ArchiveError> {
        let mut bytes = Vec::new();
        let mut seen = Vec::new();
        let look = |bytes: &[u8]| seen.extend_from_slice(bytes);
        decompress_ahead(stream, look, |mut ahead| ahead.read_to_end(&mut bytes)).map_err(read_error)?;
        assert!(seen == bytes, "what was seen is what was read");
        Ok(bytes)
    }

    #[test]
    fn it_is_the_same_stream() {
        for size in [0, 1, BUFFER - 1, BUFFER, BUFFER + 1, BUFFER * (BUFFERS + 3), 3_000_001] {
            let text: Vec<u8> = (0..size).map(|n| b"some text"[n % 9]).collect();
            let packed = zstd::encode_all(&text[..], 1).unwrap();
            assert!(all(&text[..]).unwrap() == text, "{size}");
            assert!(all(&packed[..]).unwrap() == text, "{size}, compressed");
        }
    }

    #[test]
    fn what_is_wrong_is_told_where_it_is_read() {
        let text = b"some text".repeat(100_000);
        let packed = zstd::encode_all(&text[..], 1).unwrap();
        let cut = all(&packed[..packed.len() / 2]);
        assert!(matches!(cut, Err(ArchiveError::Compression { .. })), "{cut:?}");
        assert!(matches!(all(&b"BZh91AY&SY"[..]), Err(ArchiveError::UnknownCompression("bzip2"))));
        // Who has read enough waits for nobody, and the end is an end however often it is asked for.
        let first = decompress_ahead(
            &text[..],
            |_| (),
            |mut ahead| {
                let mut first = [0; 4];
                ahead.read_exact(&mut first).map(|()| first)
            },
        );
        assert_eq!(&first.unwrap(), b"some");
        decompress_ahead(
            &b"x"[..],
            |_| (),
            |mut ahead| {
                let mut one = [0; 2];
                assert_eq!([(); 4].map(|()| ahead.read(&mut one).unwrap()), [1, 0, 0, 0]);
            },
        );
    }
}
