//! A part of a blob as a stream that goes on where it was when the connection breaks.

use std::io::{self, Read};

use ureq::BodyReader;

use super::RegistryError;
use super::client::{Registry, header};
use super::http::Payload;
use super::requests::ATTEMPTS;
use crate::names::Digest;

/// How much has to arrive for the attempts to be counted anew.
const PROGRESS: u64 = 1 << 20;

/// Which blob is read, and from whom.
#[derive(Clone)]
pub(super) struct Source<'a> {
    pub(super) registry: &'a Registry,
    pub(super) digest: Digest,
    /// How long the whole blob is.
    pub(super) size: u64,
    /// What it is, in errors.
    pub(super) what: String,
}

/// The bytes of a blob from one position up to another one.
pub(super) struct Span<'a> {
    pub(super) source: Source<'a>,
    /// The next byte.
    pub(super) position: u64,
    end: u64,
    body: Option<BodyReader<'static>>,
    attempt: u32,
    /// Where the attempts were counted anew.
    counted_from: u64,
    /// Whether the registry said that it can send parts.
    pub(super) has_ranges: bool,
    /// Whether it is an error if a part cannot be had without what is in front of it.
    only_ranges: bool,
}

impl<'a> Span<'a> {
    /// The whole blob.
    pub(super) fn whole(source: Source<'a>) -> Self {
        let end = source.size;
        let (position, counted_from) = (0, 0);
        Self {
            source,
            position,
            end,
            body: None,
            attempt: 1,
            counted_from,
            has_ranges: false,
            only_ranges: false,
        }
    }

    /// A part of it, from a registry that sends parts.
    pub(super) fn part(source: Source<'a>, position: u64, end: u64) -> Self {
        Self { position, end, counted_from: position, only_ranges: true, ..Self::whole(source) }
    }

    /// Reads some bytes; none at the end. What breaks off is asked for again.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, RegistryError> {
        loop {
            if self.source.registry.is_given_up() {
                return Err(RegistryError::GivenUp);
            }
            if self.body.is_none() && self.position == self.end {
                return Ok(0);
            }
            match self.next(buffer) {
                Ok(0) if self.position == self.end => return Ok(0),
                Ok(0) => self.again(None)?,
                Ok(count) => {
                    self.arrived(count)?;
                    return Ok(count);
                }
                Err(error) => self.again(Some(error))?,
            }
        }
    }

    /// All of it.
    pub(super) fn read_all(mut self) -> Result<Vec<u8>, RegistryError> {
        let mut bytes = vec![0; usize::try_from(self.end - self.position).unwrap_or(0)];
        let mut filled = 0;
        while filled < bytes.len() {
            match self.read(&mut bytes[filled..])? {
                0 => break,
                count => filled += count,
            }
        }
        // The connection is good for the next part once the end has been seen.
        self.read(&mut [0])?;
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// Closes the connection. What follows is asked for anew, if it is read.
    pub(super) fn close(&mut self) {
        self.body = None;
    }

    fn next(&mut self, buffer: &mut [u8]) -> Result<usize, RegistryError> {
        if self.body.is_none() {
            self.body = Some(self.open()?);
        }
        let Some(body) = &mut self.body else { return Ok(0) };
        let broken = |error: io::Error| {
            let Source { registry, what, .. } = &self.source;
            registry.broken(format!("fetch {what}"), error.into())
        };
        body.read(buffer).map_err(broken)
    }

    /// Asks for what is still missing.
    fn open(&mut self) -> Result<BodyReader<'static>, RegistryError> {
        let Source { registry, digest, size, what } = &self.source;
        let mut ask = registry.ask("GET", "fetch", what, &format!("blobs/{digest}"), "*/*");
        let is_part = self.position > 0 || self.end < *size;
        if is_part {
            // The last position is named as well, as a range has it (RFC 9110, 14.1.2).
            ask.headers.push(("range", format!("bytes={}-{}", self.position, self.end.saturating_sub(1))));
        }
        let answer = registry.once(&ask, Payload::Nothing)?;
        let status = answer.status().as_u16();
        if self.only_ranges && matches!(status, 200 | 416) {
            return Err(RegistryError::NoRanges { host: registry.host().to_owned() });
        }
        if !answer.status().is_success() {
            return Err(registry.refusal(&ask, answer));
        }
        let range = header(&answer, "content-range");
        let starts_here = range.is_some_and(|range| range.starts_with(&format!("bytes {}-", self.position)));
        let skip = match status {
            206 if !is_part || starts_here => 0,
            206 => return Err(registry.nonsense("it sends another range than was asked for")),
            // It knows of no ranges: what is here already comes once more.
            _ => self.position,
        };
        self.has_ranges = header(&answer, "accept-ranges").is_some_and(|unit| unit.contains("bytes"));
        let length = header(&answer, "content-length").and_then(|length| length.parse::<u64>().ok());
        let expected = self.end - self.position + skip;
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

    fn arrived(&mut self, count: usize) -> Result<(), RegistryError> {
        self.position += u64::try_from(count).unwrap_or(u64::MAX);
        if self.position > self.end {
            return Err(self.wrong_size(self.position));
        }
        if self.position - self.counted_from >= PROGRESS {
            (self.attempt, self.counted_from) = (1, self.position);
        }
        Ok(())
    }

    /// Prepares the next attempt, if there is one.
    fn again(&mut self, error: Option<RegistryError>) -> Result<(), RegistryError> {
        self.body = None;
        let Source { registry, size, what, .. } = &self.source;
        let action = format!("fetch {what}");
        let host = registry.host().to_owned();
        let reason = error.unwrap_or_else(|| {
            registry.broken(action.clone(), io::Error::from(io::ErrorKind::UnexpectedEof).into())
        });
        let Some(pause) = registry.pause_after(&reason, self.attempt) else {
            let is_broken = self.attempt >= ATTEMPTS && matches!(reason, RegistryError::Transport { .. });
            let (received, size, attempts) = (self.position, *size, self.attempt);
            let broken = RegistryError::BrokenOff { action, host, received, size, attempts };
            return Err(if is_broken { broken } else { reason });
        };
        tracing::debug!(error = %reason, position = self.position, "trying again");
        self.attempt += 1;
        registry.pause(pause)
    }

    fn wrong_size(&self, found: u64) -> RegistryError {
        let Source { registry, size, what, .. } = &self.source;
        RegistryError::WrongSize {
            host: registry.host().to_owned(),
            what: what.clone(),
            expected: *size,
            found,
        }
    }
}
