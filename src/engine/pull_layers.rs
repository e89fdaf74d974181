//! The layers of an image that is pulled.
//!
//! ```text
//! thread for each of six layers:  body ─► digest and size ─► thread: decompress ─► thread: digest ─► files
//! all layers there: one sync, each into its place, configuration, list of images
//! ```
//!
//! Threads that find no layer any more lend their connection to one that still comes, if unpacking waits for it.

use std::io::{self, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use super::EngineError;
use super::transfer::{LayerState, Progress};
use crate::image::Adding;
use crate::image::manifest::Descriptor;
use crate::names::Digest;
use crate::registry::{CONNECTIONS_MAX, Registry, RegistryError};

/// How many layers are fetched at once, and how many connections there are.
const AT_ONCE: usize = 6;

/// How much is handed over at once, and how many of these wait to be unpacked.
const BUFFER: usize = 128 * 1024;
const BUFFERS: usize = 6;

/// After how many buffers in a row for which unpacking had to wait the connection counts as the slower part.
const SLOW: usize = 24;

/// What all threads share.
struct Pull<'a> {
    registry: &'a Registry,
    adding: &'a Adding<'a>,
    progress: &'a dyn Progress,
    /// How many connections nobody uses.
    free: AtomicUsize,
}

/// Fetches all layers that are missing. The first that fails ends all others.
pub(super) fn fetch_layers(
    registry: &Registry,
    adding: &Adding<'_>,
    diffs: &[Digest],
    layers: &[Descriptor],
    progress: &dyn Progress,
) -> Result<(), EngineError> {
    for layer in layers {
        progress.layer(&layer.digest, LayerState::Waiting);
    }
    let threads = AT_ONCE.min(layers.len());
    let pull = Pull { registry, adding, progress, free: AtomicUsize::new(AT_ONCE - threads) };
    let (next, failure) = (AtomicUsize::new(0), Mutex::new(None));
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let (Some(diff), Some(layer)) = (diffs.get(at), layers.get(at)) else { break };
            let Err(error) = pull.layer(diff, layer) else { continue };
            registry.give_up();
            let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
            // That the others gave up is a consequence.
            failure.get_or_insert(error);
            break;
        }
        pull.free.fetch_add(1, Ordering::Relaxed);
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

impl Pull<'_> {
    fn layer(&self, diff: &Digest, layer: &Descriptor) -> Result<(), EngineError> {
        let stop = || self.registry.is_given_up();
        let Some(claim) = self.adding.claim(diff, &stop)? else {
            if !self.adding.has(diff) {
                return Err(RegistryError::GivenUp.into());
            }
            self.progress.layer(&layer.digest, LayerState::Exists);
            return Ok(());
        };
        let what = format!("layer {}", layer.digest.short());
        let (sender, receiver) = sync_channel(BUFFERS);
        let waiting = AtomicUsize::new(0);
        let result = std::thread::scope(|scope| {
            let out = Out {
                sender,
                waiting: &waiting,
                layer,
                progress: self.progress,
                done: 0,
                waits: 0,
                is_closed: false,
            };
            let fetching = scope.spawn(|| self.fetch(layer, &what, out));
            let stream = Buffers { receiver, waiting: &waiting, current: Vec::new(), read: 0, ended: false };
            let made = self.adding.make_ahead(&claim, diff, stream, &what);
            match (fetching.join(), made) {
                // What comes first is the cause: the registry's failure ends the stream.
                (Ok(Err(error)), _) => Err(EngineError::from(error)),
                (_, made) => Ok(made?),
            }
        });
        if result.is_ok() {
            self.progress.layer(&layer.digest, LayerState::Done);
        }
        result
    }

    fn fetch(&self, layer: &Descriptor, what: &str, mut out: Out<'_>) -> Result<(), RegistryError> {
        let mut body = self.registry.blob(&layer.digest, layer.size, what);
        loop {
            if out.is_slow() && body.can_be_split() {
                let borrowed = self.borrow_connections();
                if borrowed > 0 {
                    let hand_on = |bytes: &[u8]| bytes.chunks(BUFFER).all(|part| out.hand_on(part.to_vec()));
                    let split = body.split(1 + borrowed, hand_on);
                    self.free.fetch_add(borrowed, Ordering::Relaxed);
                    split?;
                    if out.is_closed {
                        return Ok(());
                    }
                }
            }
            let mut buffer = Vec::with_capacity(BUFFER);
            let read = (&mut body).take(u64::try_from(BUFFER).unwrap_or(u64::MAX)).read_to_end(&mut buffer);
            read.map_err(|error| self.registry.error_of(error))?;
            // Nobody listens any more: whoever unpacks has failed, and says why.
            if buffer.is_empty() {
                out.end();
                return Ok(());
            }
            if !out.hand_on(buffer) {
                return Ok(());
            }
        }
    }

    /// Takes connections that nobody uses. How many.
    fn borrow_connections(&self) -> usize {
        let take = |free: usize| Some(free.saturating_sub(CONNECTIONS_MAX - 1));
        let before = self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        before.unwrap_or(0).min(CONNECTIONS_MAX - 1)
    }
}

/// What is handed over from the connection to the one who unpacks.
enum Part {
    Bytes(Vec<u8>),
    /// All was as announced.
    End,
}

/// Where the bytes of a layer go.
struct Out<'a> {
    sender: SyncSender<Part>,
    /// How many buffers wait to be unpacked.
    waiting: &'a AtomicUsize,
    layer: &'a Descriptor,
    progress: &'a dyn Progress,
    done: u64,
    /// For how many buffers in a row unpacking had to wait.
    waits: usize,
    /// Whether nobody takes any more.
    is_closed: bool,
}

impl Out<'_> {
    /// Hands over some bytes. Whether somebody takes more.
    fn hand_on(&mut self, bytes: Vec<u8>) -> bool {
        self.done += u64::try_from(bytes.len()).unwrap_or(0);
        self.progress
            .layer(&self.layer.digest, LayerState::Moving { done: self.done, size: self.layer.size });
        let had_to_wait = self.waiting.fetch_add(1, Ordering::Relaxed) == 0;
        self.waits = if had_to_wait { self.waits + 1 } else { 0 };
        self.is_closed |= self.sender.send(Part::Bytes(bytes)).is_err();
        !self.is_closed
    }

    /// Says that the stream has ended well.
    fn end(&mut self) {
        self.is_closed |= self.sender.send(Part::End).is_err();
    }

    /// Whether unpacking waits for the connection all the time.
    fn is_slow(&self) -> bool {
        self.waits >= SLOW
    }
}

/// The parts as a stream. It only ends well if the registry's did.
struct Buffers<'a> {
    receiver: Receiver<Part>,
    waiting: &'a AtomicUsize,
    current: Vec<u8>,
    read: usize,
    ended: bool,
}

impl Read for Buffers<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read == self.current.len() && !self.ended {
            match self.receiver.recv() {
                Ok(Part::Bytes(bytes)) => {
                    (self.current, self.read) = (bytes, 0);
                    self.waiting.fetch_sub(1, Ordering::Relaxed);
                }
                Ok(Part::End) => self.ended = true,
                Err(_) => return Err(io::Error::other("it was not fetched to its end")),
            }
        }
        if self.ended {
            return Ok(0);
        }
        let left = &self.current[self.read..];
        let count = left.len().min(buffer.len());
        buffer[..count].copy_from_slice(&left[..count]);
        self.read += count;
        Ok(count)
    }
}
