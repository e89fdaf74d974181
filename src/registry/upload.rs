//! What is sent to a registry: blobs that it has not got, and manifests.

use std::io::Read;
use std::time::Duration;

use ureq::Body;
use ureq::http::Response;

use super::RegistryError;
use super::client::{Ask, Registry, header};
use super::http::{Payload, encoded, resolve, same_origin};
use crate::names::Digest;

/// How much is sent at once of a blob that was broken off before.
const PART: u64 = 8 << 20;

/// How often that begins anew, because the registry forgets what it got when a connection breaks.
const RESTARTS: u32 = 3;

impl Registry {
    /// Whether the repository has a blob.
    ///
    /// # Errors
    /// The registry cannot be used.
    pub fn has_blob(&self, digest: &Digest) -> Result<bool, RegistryError> {
        let what = format!("blob {}", digest.short());
        match self.send(&self.ask("HEAD", "look for", &what, &format!("blobs/{digest}"), "*/*")) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Has the registry take a blob over from another repository of its own. Whether it did.
    ///
    /// # Errors
    /// The registry cannot be used.
    pub fn mount(&self, digest: &Digest, from: &str) -> Result<bool, RegistryError> {
        let what = format!("blob {}", digest.short());
        let below = format!("blobs/uploads/?mount={}&from={}", encoded(digest.as_str()), encoded(from));
        let mut ask = self.ask("POST", "take over", &what, &below, "*/*");
        // Who may not read that repository learns nothing of it: then the blob is sent.
        ask.from = Some(from);
        let answer = self.once(&ask, Payload::Nothing)?;
        let is_taken_over = answer.status() == 201;
        if answer.status() == 202
            && let Ok(place) = self.place(&ask, &answer)
        {
            // It waits for the bytes instead. They get a place of their own.
            let cancel = Ask { method: "DELETE", url: place, ..self.ask("", "cancel", &what, "", "*/*") };
            self.once(&cancel, Payload::Nothing).ok();
        }
        Ok(is_taken_over)
    }

    /// Sends a blob. `open` gives its bytes from a position on, anew for each attempt.
    ///
    /// A blob that is broken off in the middle is sent in parts after that: then only a part comes twice. Not from the
    /// start, because some registries take no parts, and others only small ones.
    ///
    /// # Errors
    /// The bytes cannot be read, or the registry does not take them.
    pub fn upload<R: Read>(
        &self,
        digest: &Digest,
        size: u64,
        what: &str,
        mut open: impl FnMut(u64) -> std::io::Result<R>,
    ) -> Result<(), RegistryError> {
        let (mut attempt, mut in_parts) = (1, false);
        loop {
            let source = |source| RegistryError::Source { host: self.host.clone(), source };
            let sent = if in_parts {
                self.upload_in_parts(digest, size, what, &mut open)
            } else {
                open(0)
                    .map_err(source)
                    .and_then(|mut stream| self.upload_once(digest, size, what, &mut stream))
            };
            let Err(error) = sent else { return Ok(()) };
            // A registry that takes no parts gets the whole again.
            let takes_no_parts = in_parts && matches!(error, RegistryError::Refused { .. });
            let pause = self.pause_after(&error, attempt);
            let Some(pause) = pause.or(takes_no_parts.then_some(Duration::ZERO)) else { return Err(error) };
            tracing::debug!(%error, attempt, "sending again");
            in_parts = !in_parts && size > PART && matches!(error, RegistryError::Transport { .. });
            self.pause(pause)?;
            attempt += 1;
        }
    }

    fn upload_once(
        &self,
        digest: &Digest,
        size: u64,
        what: &str,
        stream: &mut dyn Read,
    ) -> Result<(), RegistryError> {
        let place = self.new_place(what)?;
        let put = self.last_request(what, &place, digest);
        let answer = self.once(&put, Payload::Stream(stream, size))?;
        if answer.status().is_success() { Ok(()) } else { Err(self.refusal(&put, answer)) }
    }

    /// Sends a blob part by part; what arrived before a connection broke is not sent again, unless the registry has
    /// given the whole up with it.
    fn upload_in_parts<R: Read>(
        &self,
        digest: &Digest,
        size: u64,
        what: &str,
        open: &mut impl FnMut(u64) -> std::io::Result<R>,
    ) -> Result<(), RegistryError> {
        let (mut place, mut position) = (self.new_place(what)?, 0);
        let (mut attempt, mut restarts) = (1, 0);
        while position < size {
            let error = match self.send_part(what, &place, position, open) {
                Ok(next) => {
                    (place, position) = next;
                    attempt = 1;
                    continue;
                }
                Err(error) => error,
            };
            let Some(pause) = self.pause_after(&error, attempt) else { return Err(error) };
            tracing::debug!(%error, attempt, position, "sending a part again");
            self.pause(pause)?;
            attempt += 1;
            (place, position) = match self.arrived(what, &place) {
                Err(RegistryError::NotFound { .. } | RegistryError::Refused { status: 400..500, .. })
                    if restarts < RESTARTS =>
                {
                    restarts += 1;
                    (self.new_place(what)?, 0)
                }
                found => found?,
            };
        }
        let put = self.last_request(what, &place, digest);
        let answer = self.once(&put, Payload::Bytes(&[]))?;
        if answer.status().is_success() { Ok(()) } else { Err(self.refusal(&put, answer)) }
    }

    /// Sends the part that begins at a position. Where the next one goes, and which it is.
    fn send_part<R: Read>(
        &self,
        what: &str,
        place: &str,
        position: u64,
        open: &mut impl FnMut(u64) -> std::io::Result<R>,
    ) -> Result<(String, u64), RegistryError> {
        let failed = |source| RegistryError::Source { host: self.host.clone(), source };
        let mut bytes = Vec::new();
        open(position).and_then(|stream| stream.take(PART).read_to_end(&mut bytes)).map_err(failed)?;
        if bytes.is_empty() {
            return Err(failed(std::io::ErrorKind::UnexpectedEof.into()));
        }
        let end = position + u64::try_from(bytes.len()).unwrap_or(0);
        let mut patch =
            Ask { method: "PATCH", url: place.to_owned(), ..self.ask("", "push", what, "", "*/*") };
        patch.headers.push(("content-type", "application/octet-stream".to_owned()));
        patch.headers.push(("content-range", format!("{position}-{}", end - 1)));
        let answer = self.once(&patch, Payload::Bytes(&bytes))?;
        if answer.status() != 202 {
            return Err(self.refusal(&patch, answer));
        }
        Ok((self.place(&patch, &answer)?, end))
    }

    /// How much of a blob has arrived at its place, and where the rest goes.
    fn arrived(&self, what: &str, place: &str) -> Result<(String, u64), RegistryError> {
        let ask = Ask { method: "GET", url: place.to_owned(), ..self.ask("", "push", what, "", "*/*") };
        let answer = self.once(&ask, Payload::Nothing)?;
        if !answer.status().is_success() {
            return Err(self.refusal(&ask, answer));
        }
        let last =
            header(&answer, "range").and_then(|range| range.rsplit('-').next()?.trim().parse::<u64>().ok());
        let place = self.place(&ask, &answer).unwrap_or_else(|_| place.to_owned());
        // `0-0` is nothing, or one byte.
        Ok((place, last.filter(|last| *last > 0).map_or(0, |last| last + 1)))
    }

    /// A place for a new blob. With this request, a token is there that is good for what follows.
    fn new_place(&self, what: &str) -> Result<String, RegistryError> {
        let ask = self.ask("POST", "push", what, "blobs/uploads/", "*/*");
        let answer = self.once(&ask, Payload::Nothing)?;
        if answer.status() != 202 {
            return Err(self.refusal(&ask, answer));
        }
        self.place(&ask, &answer)
    }

    /// Where an answer says that a blob goes.
    fn place(&self, ask: &Ask<'_>, answer: &Response<Body>) -> Result<String, RegistryError> {
        let location =
            header(answer, "location").ok_or_else(|| self.nonsense("it names no place to send to"))?;
        let url = self.address(&ask.url)?;
        let place = resolve(&url, &location);
        self.check_protected(&url, &place)?;
        if !same_origin(&url, &place) {
            tracing::debug!(place, "the registry has blobs sent elsewhere");
        }
        Ok(place)
    }

    /// The request with which a blob is whole.
    fn last_request<'a>(&self, what: &'a str, place: &str, digest: &Digest) -> Ask<'a> {
        let separator = if place.contains('?') { '&' } else { '?' };
        let mut put = self.ask("PUT", "push", what, "", "*/*");
        put.url = format!("{place}{separator}digest={}", encoded(digest.as_str()));
        put.headers.push(("content-type", "application/octet-stream".to_owned()));
        put
    }

    /// Gives the repository a manifest, under a tag or under its digest.
    ///
    /// # Errors
    /// The registry does not take it.
    pub fn put_manifest(&self, selector: &str, media_type: &str, bytes: &[u8]) -> Result<(), RegistryError> {
        let what = self.shown(selector);
        let mut ask = self.ask("PUT", "push", &what, &format!("manifests/{selector}"), "*/*");
        ask.headers.push(("content-type", media_type.to_owned()));
        let mut attempt = 1;
        loop {
            let error = match self.once(&ask, Payload::Bytes(bytes)) {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) => self.refusal(&ask, answer),
                Err(error) => error,
            };
            let Some(pause) = self.pause_after(&error, attempt) else { return Err(error) };
            self.pause(pause)?;
            attempt += 1;
        }
    }
}
