//! What is sent to a registry: blobs that it has not got, and manifests.

use std::io::Read;

use super::RegistryError;
use super::client::{Registry, header};
use super::http::{Payload, encoded, resolve, same_origin};
use crate::names::Digest;

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
        let ask = self.ask("POST", "take over", &what, &below, "*/*");
        let answer = self.once(&ask, Payload::Nothing)?;
        // Whatever else it says: then the blob is sent.
        Ok(answer.status() == 201)
    }

    /// Sends a blob. `open` gives its bytes, anew for each attempt.
    ///
    /// # Errors
    /// The bytes cannot be read, or the registry does not take them.
    pub fn upload<R: Read>(
        &self,
        digest: &Digest,
        size: u64,
        what: &str,
        mut open: impl FnMut() -> std::io::Result<R>,
    ) -> Result<(), RegistryError> {
        let mut attempt = 1;
        loop {
            let source = |source| RegistryError::Source { host: self.host.clone(), source };
            let error = match self.upload_once(digest, size, what, &mut open().map_err(source)?) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let Some(pause) = self.pause_after(&error, attempt) else { return Err(error) };
            tracing::debug!(%error, attempt, "sending again");
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
        // With this, a token is there that is good for what follows.
        let ask = self.ask("POST", "push", what, "blobs/uploads/", "*/*");
        let answer = self.once(&ask, Payload::Nothing)?;
        if answer.status() != 202 {
            return Err(self.refusal(&ask, answer));
        }
        let location =
            header(&answer, "location").ok_or_else(|| self.nonsense("it names no place to send to"))?;
        drop(answer);
        let url = self.address(&ask.url)?;
        let place = resolve(&url, &location);
        self.check_protected(&url, &place)?;
        if !same_origin(&url, &place) {
            tracing::debug!(place, "the registry has blobs sent elsewhere");
        }
        let separator = if place.contains('?') { '&' } else { '?' };
        let mut put = self.ask("PUT", "push", what, "", "*/*");
        put.url = format!("{place}{separator}digest={}", encoded(digest.as_str()));
        put.headers.push(("content-type", "application/octet-stream".to_owned()));
        let answer = self.once(&put, Payload::Stream(stream, size))?;
        if answer.status().is_success() { Ok(()) } else { Err(self.refusal(&put, answer)) }
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
