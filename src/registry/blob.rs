//! A blob as a stream that is what was asked for, however often the connection breaks.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};
use ureq::BodyReader;

use super::RegistryError;
use super::client::{Registry, header};
use super::http::Payload;
use super::requests::ATTEMPTS;
use crate::names::Digest;

/// How much has to arrive for the attempts to be counted anew.
const PROGRESS: u64 = 1 << 20;

/// Reads a blob. Its end is only reached if digest and size are right; errors are [`RegistryError`]s.
pub struct BlobReader<'a> {
    registry: &'a Registry,
    digest: Digest,
    size: u64,
    what: String,
    body: Option<BodyReader<'static>>,
    hash: Sha256,
    received: u64,
    attempt: u32,
    /// How much had arrived when the attempts were counted anew.
    counted_from: u64,
    ended: bool,
}

impl std::fmt::Debug for BlobReader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobReader").field("digest", &self.digest).finish_non_exhaustive()
    }
}

impl Registry {
    /// A blob of that digest and size; nothing is asked for before it is read. `what` names it in errors.
    #[must_use]
    pub fn blob(&self, digest: &Digest, size: u64, what: &str) -> BlobReader<'_> {
        BlobReader {
            registry: self,
            digest: digest.clone(),
            size,
            what: what.to_owned(),
            body: None,
            hash: Sha256::new(),
            received: 0,
            attempt: 1,
            counted_from: 0,
            ended: false,
        }
    }
}

impl Read for BlobReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended || buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if self.registry.is_given_up() {
                return Err(io::Error::other(RegistryError::GivenUp));
            }
            let read = self.next(buffer);
            match read {
                Ok(count) if count > 0 => return self.arrived(&buffer[..count]).map_err(io::Error::other),
                Ok(_) if self.received == self.size => {
                    self.ended = true;
                    return self.verdict().map_err(io::Error::other);
                }
                Ok(_) => self.again(None).map_err(io::Error::other)?,
                Err(error) => self.again(Some(error)).map_err(io::Error::other)?,
            }
        }
    }
}

impl BlobReader<'_> {
    fn next(&mut self, buffer: &mut [u8]) -> Result<usize, RegistryError> {
        if self.body.is_none() {
            self.body = Some(self.open()?);
        }
        let Some(body) = &mut self.body else { return Ok(0) };
        body.read(buffer).map_err(|error| RegistryError::Transport {
            action: format!("fetch {}", self.what),
            host: self.registry.host().to_owned(),
            cause: Box::new(error.into()),
        })
    }

    /// Asks for what is still missing.
    fn open(&self) -> Result<BodyReader<'static>, RegistryError> {
        let registry = self.registry;
        let mut ask = registry.ask("GET", "fetch", &self.what, &format!("blobs/{}", self.digest), "*/*");
        if self.received > 0 {
            ask.headers.push(("range", format!("bytes={}-", self.received)));
        }
        let answer = registry.once(&ask, Payload::Nothing)?;
        let status = answer.status().as_u16();
        if !answer.status().is_success() {
            return Err(registry.refusal(&ask, answer));
        }
        let range = header(&answer, "content-range");
        let starts_here = range.is_some_and(|range| range.starts_with(&format!("bytes {}-", self.received)));
        let skip = match status {
            206 if self.received == 0 || starts_here => 0,
            206 => return Err(registry.nonsense("it sends another range than was asked for")),
            // It knows of no ranges: what is here already comes once more.
            _ => self.received,
        };
        let length = header(&answer, "content-length").and_then(|length| length.parse::<u64>().ok());
        let expected = self.size - self.received + skip;
        if let Some(found) = length.filter(|length| *length != expected) {
            return Err(self.wrong_size(found));
        }
        let mut body = answer.into_body().into_reader();
        let skipped = io::copy(&mut (&mut body).take(skip), &mut io::sink());
        match skipped {
            Ok(skipped) if skipped == skip => Ok(body),
            Ok(_) => Err(registry.transport(&ask, io::Error::from(io::ErrorKind::UnexpectedEof).into())),
            Err(error) => Err(registry.transport(&ask, error.into())),
        }
    }

    fn arrived(&mut self, bytes: &[u8]) -> Result<usize, RegistryError> {
        self.received += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if self.received > self.size {
            return Err(self.wrong_size(self.received));
        }
        self.hash.update(bytes);
        if self.received - self.counted_from >= PROGRESS {
            (self.attempt, self.counted_from) = (1, self.received);
        }
        Ok(bytes.len())
    }

    fn verdict(&mut self) -> Result<usize, RegistryError> {
        let found = Digest::sha256(std::mem::take(&mut self.hash).finalize().into());
        if found == self.digest {
            return Ok(0);
        }
        let (host, what) = (self.registry.host().to_owned(), self.what.clone());
        Err(RegistryError::WrongDigest { host, what, expected: self.digest.clone(), found })
    }

    /// Prepares the next attempt, if there is one.
    fn again(&mut self, error: Option<RegistryError>) -> Result<(), RegistryError> {
        self.body = None;
        let broken = RegistryError::BrokenOff {
            action: format!("fetch {}", self.what),
            host: self.registry.host().to_owned(),
            received: self.received,
            size: self.size,
            attempts: self.attempt,
        };
        let transport = || io::Error::from(io::ErrorKind::UnexpectedEof).into();
        let reason = error.unwrap_or_else(|| RegistryError::Transport {
            action: format!("fetch {}", self.what),
            host: self.registry.host().to_owned(),
            cause: Box::new(transport()),
        });
        let Some(pause) = self.registry.pause_after(&reason, self.attempt) else {
            let is_broken = self.attempt >= ATTEMPTS && matches!(reason, RegistryError::Transport { .. });
            return Err(if is_broken { broken } else { reason });
        };
        tracing::debug!(error = %reason, received = self.received, "trying again");
        self.attempt += 1;
        self.registry.pause(pause)
    }

    fn wrong_size(&self, found: u64) -> RegistryError {
        let (host, what) = (self.registry.host().to_owned(), self.what.clone());
        RegistryError::WrongSize { host, what, expected: self.size, found }
    }
}
