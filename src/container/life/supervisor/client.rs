//! A supervisor's side of one client: what it has said, and what it has not taken yet.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::libc;

use crate::container::life::protocol::{
    Decoder, Message as _, ProtocolError, Reply, Request, STDIN_WINDOW, Stream, encode_output,
};

/// How much output waits in memory for a client before the container has to wait as well.
const MEMORY_MAX: usize = 256 << 10;

/// How long the container waits for a client that takes nothing at all. From then on its output goes to a
/// file until the client carries on: a slow client slows the container down, as a pipe would, but a stopped
/// one does not stop it.
const STALL: Duration = Duration::from_secs(1);

/// The most that is kept in that file. A client that is further behind is given up.
const SPOOL_MAX: u64 = 1 << 30;

/// How much goes from the file into memory at once.
const SPOOL_BLOCK: usize = 64 << 10;

/// One client.
#[derive(Debug)]
pub(super) struct Client {
    stream: UnixStream,
    decoder: Decoder,
    outbox: Outbox,
    subscribed: bool,
    /// Input that the container has not taken yet.
    pub(super) stdin: Vec<u8>,
    /// Whether there will be no more input.
    pub(super) stdin_ended: bool,
    /// Whether the container's input comes from this client.
    pub(super) feeds: bool,
    /// Whether it takes nothing any more. What it said before it left is still to be read.
    deaf: bool,
    gone: bool,
}

impl Client {
    pub(super) fn new(stream: UnixStream, subscribed: bool, feeds: bool) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            decoder: Decoder::default(),
            outbox: Outbox::default(),
            subscribed,
            stdin: Vec::new(),
            stdin_ended: false,
            feeds,
            deaf: false,
            gone: false,
        })
    }

    pub(super) fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Whether the connection is of no more use.
    pub(super) fn is_gone(&self) -> bool {
        self.gone
    }

    /// Whether there is something that the client has not taken yet.
    pub(super) fn has_mail(&self) -> bool {
        !self.gone && !self.deaf && !self.outbox.is_empty()
    }

    /// Whether the container may write more as far as this client is concerned.
    pub(super) fn has_room(&self) -> bool {
        self.gone || self.deaf || self.outbox.has_room()
    }

    /// When the container stops waiting for this client, if it waits.
    pub(super) fn stall_deadline(&self) -> Option<Instant> {
        if self.has_room() { None } else { self.outbox.stalled_since.map(|since| since + STALL) }
    }

    /// Puts the output of a client that takes nothing into a file in `directory` if it is time to.
    pub(super) fn spool_to_file(&mut self, directory: &Path) {
        if self.stall_deadline().is_some_and(|deadline| Instant::now() >= deadline)
            && self.outbox.spool(directory).is_err()
        {
            self.gone = true;
        }
    }

    /// Sends output to the client if it wants any.
    pub(super) fn output(&mut self, stream: Stream, data: &[u8]) {
        if self.subscribed && !self.deaf {
            self.deaf = self.outbox.add(|bytes| encode_output(stream, data, bytes)).is_err();
        }
    }

    /// Sends a reply to the client.
    pub(super) fn reply(&mut self, reply: &Reply) {
        if !self.deaf {
            self.deaf = self.outbox.add(|bytes| reply.encode(bytes)).is_err();
        }
    }

    /// Writes as much as the client takes now.
    pub(super) fn flush(&mut self) {
        if !self.deaf {
            self.deaf = self.outbox.flush(&mut &self.stream).is_err();
        }
    }

    /// Takes input for the container. A client that sends more than it was allowed is not a mydocker, and is
    /// disconnected.
    pub(super) fn take_stdin(&mut self, data: &[u8]) {
        self.feeds = true;
        self.stdin.extend_from_slice(data);
        self.gone |= self.stdin.len() > STDIN_WINDOW;
    }

    /// Reads what the client has said.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> Vec<Request> {
        let mut requests = Vec::new();
        while !self.gone {
            match (&self.stream).read(buffer) {
                Ok(0) => self.gone = true,
                Ok(size) => {
                    self.decoder.push(&buffer[..size]);
                    self.gone = self.decode(&mut requests).is_err();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.gone = true,
            }
        }
        requests
    }

    fn decode(&mut self, requests: &mut Vec<Request>) -> Result<(), ProtocolError> {
        while let Some(request) = self.decoder.next_message()? {
            match request {
                Request::Subscribe => {
                    self.subscribed = true;
                    // Who connects to a running container waits for this as the client of a start does.
                    self.reply(&Reply::Started);
                }
                request => requests.push(request),
            }
        }
        Ok(())
    }
}

/// Frames on their way to a client: in memory, and behind that, if need be, in a file without a name.
#[derive(Debug, Default)]
struct Outbox {
    memory: Vec<u8>,
    /// How much of `memory` has been sent.
    sent: usize,
    spool: Option<Spool>,
    /// Since when the client has taken nothing.
    stalled_since: Option<Instant>,
}

#[derive(Debug)]
struct Spool {
    file: File,
    read: u64,
    written: u64,
}

impl Outbox {
    fn is_empty(&self) -> bool {
        self.memory.len() == self.sent && self.spool.is_none()
    }

    fn has_room(&self) -> bool {
        self.spool.is_some() || self.memory.len() - self.sent < MEMORY_MAX
    }

    fn add(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        if let Some(spool) = &mut self.spool {
            let mut bytes = Vec::new();
            encode(&mut bytes);
            spool.file.write_all_at(&bytes, spool.written)?;
            spool.written += bytes.len() as u64;
            if spool.written - spool.read > SPOOL_MAX {
                return Err(io::ErrorKind::StorageFull.into());
            }
            return Ok(());
        }
        if self.is_empty() {
            self.stalled_since = Some(Instant::now());
        }
        encode(&mut self.memory);
        Ok(())
    }

    fn spool(&mut self, directory: &Path) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let file =
            options.read(true).write(true).custom_flags(libc::O_TMPFILE).mode(0o600).open(directory)?;
        self.spool = Some(Spool { file, read: 0, written: 0 });
        Ok(())
    }

    fn flush(&mut self, stream: &mut impl io::Write) -> io::Result<()> {
        loop {
            if self.memory.len() == self.sent {
                self.memory.clear();
                self.sent = 0;
                if !self.refill()? {
                    self.memory.shrink_to(SPOOL_BLOCK);
                    self.stalled_since = None;
                    return Ok(());
                }
            }
            match stream.write(&self.memory[self.sent..]) {
                Ok(size) => {
                    self.sent += size;
                    self.stalled_since = Some(Instant::now());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.memory.drain(..self.sent);
        self.sent = 0;
        Ok(())
    }

    /// Takes the next block from the file; false if there is nothing left in it.
    fn refill(&mut self) -> io::Result<bool> {
        let Some(spool) = &mut self.spool else { return Ok(false) };
        let left = usize::try_from(spool.written - spool.read).unwrap_or(SPOOL_BLOCK);
        if left == 0 {
            self.spool = None;
            return Ok(false);
        }
        self.memory.resize(left.min(SPOOL_BLOCK), 0);
        spool.file.read_exact_at(&mut self.memory, spool.read)?;
        spool.read += self.memory.len() as u64;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// Takes so many bytes, then would block.
    struct Reluctant(Vec<u8>, usize);

    impl io::Write for Reluctant {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let size = bytes.len().min(self.1);
            if size == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.0.extend_from_slice(&bytes[..size]);
            self.1 -= size;
            Ok(size)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nothing_is_lost_or_reordered_between_memory_and_file() {
        let directory = tempfile::tempdir().unwrap();
        let mut outbox = Outbox::default();
        let mut client = Reluctant(Vec::new(), 0);
        let mut expected = Vec::new();
        for round in 0..200_u32 {
            let piece: Vec<u8> = (0..5_000_u32).map(|byte| (byte * 7 + round).to_le_bytes()[0]).collect();
            expected.extend_from_slice(&piece);
            outbox.add(|bytes| bytes.extend_from_slice(&piece)).unwrap();
            if !outbox.has_room() {
                outbox.spool(directory.path()).unwrap();
            }
            client.1 = if round % 3 == 0 { 7_001 } else { 0 };
            outbox.flush(&mut client).unwrap();
        }
        assert!(outbox.spool.is_some() && outbox.has_room() && !outbox.is_empty());
        client.1 = usize::MAX;
        outbox.flush(&mut client).unwrap();
        assert!(outbox.is_empty());
        assert!(client.0 == expected);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_client_that_takes_nothing_is_waited_for_a_moment_only() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut client = Client::new(ours, true, false).unwrap();
        let directory = tempfile::tempdir().unwrap();
        while client.has_room() {
            client.output(Stream::Stdout, &[0; 16 << 10]);
            client.flush();
        }
        let deadline = client.stall_deadline().unwrap();
        client.spool_to_file(directory.path());
        assert!(!client.has_room() || Instant::now() >= deadline, "not yet");
        std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
        client.spool_to_file(directory.path());
        assert!(client.has_room() && client.has_mail() && client.stall_deadline().is_none());
    }

    #[test]
    fn what_a_client_said_before_it_left_counts() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut client = Client::new(ours, true, true).unwrap();
        let mut said = Vec::new();
        Request::Stdin(b"typed".to_vec()).encode(&mut said);
        Request::Detach.encode(&mut said);
        theirs.write_all(&said).unwrap();
        drop(theirs);
        // Nobody reads it any more, which is noticed first.
        client.output(Stream::Stdout, b"lost");
        client.flush();
        assert!(client.has_room() && !client.has_mail());
        let heard = client.receive(&mut [0; 64]);
        assert_eq!(heard, [Request::Stdin(b"typed".to_vec()), Request::Detach]);
        assert!(client.is_gone());
    }

    #[test]
    fn nonsense_and_silence_end_a_connection() {
        for garbage in [&b"\xff\0\0\0\0"[..], &[2, 0xff, 0xff, 0xff, 0xff], b""] {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            let mut client = Client::new(ours, false, false).unwrap();
            theirs.write_all(garbage).unwrap();
            if garbage.is_empty() {
                drop(theirs);
            }
            assert!(client.receive(&mut [0; 64]).is_empty());
            assert!(client.is_gone());
            client.reply(&Reply::Started);
            client.flush();
            assert!(!client.has_mail());
        }
    }
}
