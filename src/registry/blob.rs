//! A blob as a stream that is what was asked for, however often the connection breaks.
//!
//! ```text
//! one connection      ████████████████▶                       as a rule
//! several             ████▶████▶████▶████▶ (in order)         where the one is slower than whoever reads
//! ```

use std::collections::VecDeque;
use std::io::{self, Read};
use std::thread::ScopedJoinHandle;

use sha2::{Digest as _, Sha256};

use super::RegistryError;
use super::client::Registry;
use super::span::{Source, Span};
use crate::names::Digest;

/// How much each of several connections fetches at once, and keeps in memory until its turn comes.
const PART: u64 = 4 << 20;

/// How many connections one blob has at most.
pub const CONNECTIONS_MAX: usize = 4;

/// Reads a blob. Its end is only reached if digest and size are right; errors are [`RegistryError`]s.
pub struct BlobReader<'a> {
    span: Span<'a>,
    hash: Sha256,
    ended: bool,
    /// Whether the registry has turned out to send no parts.
    is_whole_only: bool,
}

impl std::fmt::Debug for BlobReader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobReader").field("digest", &self.span.source.digest).finish_non_exhaustive()
    }
}

impl Registry {
    /// A blob of that digest and size; nothing is asked for before it is read. `what` names it in errors.
    #[must_use]
    pub fn blob(&self, digest: &Digest, size: u64, what: &str) -> BlobReader<'_> {
        let source = Source { registry: self, digest: digest.clone(), size, what: what.to_owned() };
        BlobReader { span: Span::whole(source), hash: Sha256::new(), ended: false, is_whole_only: false }
    }
}

impl Read for BlobReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended || buffer.is_empty() {
            return Ok(0);
        }
        let count = self.span.read(buffer).map_err(io::Error::other)?;
        self.hash.update(&buffer[..count]);
        if count == 0 {
            self.ended = true;
            self.verdict().map_err(io::Error::other)?;
        }
        Ok(count)
    }
}

/// A part that is on its way.
type Fetching<'scope> = ScopedJoinHandle<'scope, Result<Vec<u8>, RegistryError>>;

impl BlobReader<'_> {
    /// Whether the rest is long enough, and the registry able, to be fetched over several connections.
    #[must_use]
    pub fn can_be_split(&self) -> bool {
        let left = self.span.source.size - self.span.position;
        self.span.has_ranges && !self.is_whole_only && left > PART * 4
    }

    /// Fetches the rest over so many connections, and hands the bytes on in their order, until there are no more or
    /// `hand_on` wants no more. What is left then, because the registry sends no parts after all, is still to be read;
    /// and the end is.
    ///
    /// # Errors
    /// As for reading.
    pub fn split(
        &mut self,
        connections: usize,
        mut hand_on: impl FnMut(&[u8]) -> bool,
    ) -> Result<(), RegistryError> {
        self.span.close();
        let source = self.span.source.clone();
        let mut next = self.span.position;
        std::thread::scope(|scope| {
            let mut parts: VecDeque<Fetching<'_>> = VecDeque::new();
            loop {
                while parts.len() < connections.clamp(1, CONNECTIONS_MAX) && next < source.size {
                    let end = (next + PART).min(source.size);
                    let part = Span::part(source.clone(), next, end);
                    parts.push_back(scope.spawn(move || part.read_all()));
                    next = end;
                }
                let Some(part) = parts.pop_front() else { return Ok(()) };
                let fetched = part.join().unwrap_or(Err(RegistryError::GivenUp));
                match fetched {
                    Ok(bytes) => {
                        self.span.position += u64::try_from(bytes.len()).unwrap_or(0);
                        self.hash.update(&bytes);
                        if !hand_on(&bytes) {
                            return Ok(());
                        }
                    }
                    Err(RegistryError::NoRanges { .. }) => {
                        self.is_whole_only = true;
                        return Ok(());
                    }
                    Err(error) => return Err(error),
                }
            }
        })
    }

    fn verdict(&mut self) -> Result<(), RegistryError> {
        let found = Digest::sha256(std::mem::take(&mut self.hash).finalize().into());
        let Source { registry, digest, what, .. } = &self.span.source;
        if found == *digest {
            return Ok(());
        }
        let (host, what) = (registry.host().to_owned(), what.clone());
        Err(RegistryError::WrongDigest { host, what, expected: digest.clone(), found })
    }
}
