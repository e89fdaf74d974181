//! What every pull has to do.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use flate2::read::MultiGzDecoder;
use sha2::{Digest as _, Sha256};

use crate::hideout::Place;
use crate::images::Image;
use crate::tools::Registry;

pub(crate) const FETCH: &str = "floor: fetch all blobs";
pub(crate) const UNPACK: &str = "floor: decompress, digest and write the largest layer";
pub(crate) const WRITE: &str = "floor: write files of these sizes and sync";

const BUFFER: usize = 256 * 1024;

/// Fetches all blobs, six at once, to nothing.
pub(crate) fn fetch(registry: &Registry, image: &Image) -> Duration {
    let start = Instant::now();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while let Some(path) = image.blobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut stream = TcpStream::connect(&registry.address).unwrap();
                    write!(stream, "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", registry.address).unwrap();
                    let (mut buffer, mut total) = (vec![0; BUFFER], 0);
                    loop {
                        match stream.read(&mut buffer).unwrap() {
                            0 => break,
                            count => total += count,
                        }
                    }
                    assert!(total > 0, "the registry sends nothing");
                }
            });
        }
    });
    start.elapsed()
}

/// Each step on a thread of its own, as far as there are processors for them.
pub(crate) fn unpack(place: &Place, image: &Image) -> Duration {
    let directory = place.directory();
    let start = Instant::now();
    let (compressed, to_decompress) = sync_channel(6);
    let (plain, to_write) = sync_channel(6);
    std::thread::scope(|scope| {
        scope.spawn(move || read(image, &compressed));
        scope.spawn(move || {
            let mut decoder = MultiGzDecoder::new(Parts { parts: to_decompress, current: Vec::new(), at: 0 });
            send_all(&mut decoder, &plain);
        });
        let (mut hash, mut file) = (Sha256::new(), File::create(directory.join("layer")).unwrap());
        for part in to_write {
            hash.update(&part);
            file.write_all(&part).unwrap();
        }
        hash.finalize();
    });
    let took = start.elapsed();
    std::fs::remove_dir_all(directory).unwrap();
    took
}

fn read(image: &Image, parts: &SyncSender<Vec<u8>>) {
    let (mut file, mut hash) = (File::open(&image.largest).unwrap(), Sha256::new());
    loop {
        let mut buffer = vec![0; BUFFER];
        let count = file.read(&mut buffer).unwrap();
        if count == 0 {
            break;
        }
        buffer.truncate(count);
        hash.update(&buffer);
        parts.send(buffer).unwrap();
    }
    hash.finalize();
}

fn send_all(stream: &mut impl std::io::Read, parts: &SyncSender<Vec<u8>>) {
    loop {
        let mut buffer = vec![0; BUFFER];
        let count = stream.read(&mut buffer).unwrap();
        if count == 0 {
            return;
        }
        buffer.truncate(count);
        parts.send(buffer).unwrap();
    }
}

/// Parts as a stream.
struct Parts {
    parts: Receiver<Vec<u8>>,
    current: Vec<u8>,
    at: usize,
}

impl std::io::Read for Parts {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.current.len() {
            let Ok(next) = self.parts.recv() else { return Ok(0) };
            (self.current, self.at) = (next, 0);
        }
        let count = buffer.len().min(self.current.len() - self.at);
        buffer[..count].copy_from_slice(&self.current[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

/// Writes as many files of the same sizes, and syncs the file system.
pub(crate) fn write(place: &Place, image: &Image) -> Duration {
    let directory = place.directory();
    let buffer = vec![1; BUFFER];
    let start = Instant::now();
    let mut made = None;
    for (name, size) in &image.files {
        let path = directory.join(name);
        let parent = path.parent().unwrap();
        if made.as_deref() != Some(parent) {
            std::fs::create_dir_all(parent).unwrap();
            made = Some(parent.to_owned());
        }
        let (mut file, mut left) = (File::create(&path).unwrap(), *size);
        while left > 0 {
            let count = left.min(BUFFER);
            file.write_all(&buffer[..count]).unwrap();
            left -= count;
        }
    }
    nix::unistd::syncfs(File::open(&directory).unwrap()).unwrap();
    let took = start.elapsed();
    std::fs::remove_dir_all(directory).unwrap();
    took
}
