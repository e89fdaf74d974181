//! One repository at one registry: what is asked of it, and what its answers mean.

use std::io::Read as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};
use ureq::Body;
use ureq::http::Response;

use super::RegistryError;
use super::auth::{Challenge, Tokens};
use super::credentials::{Credentials, Files};
use super::error::is_about_trust;
use super::http::{Hosts, resolve};
use super::proxy;
use super::registries_conf::{self, Place};
use super::resolver::is_loopback;
use super::trust;
use crate::names::Digest;

/// How much of an answer that is an error is read.
const MESSAGE_MAX: usize = 16 * 1024;

/// The longest text of a registry that an error quotes.
pub(super) const QUOTED: usize = 300;

/// How registries are asked.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether the registry has to prove who it is.
    pub tls_verify: bool,
    /// Who asks, if that is not to be looked up.
    pub credentials: Option<Credentials>,
}

impl Default for Options {
    fn default() -> Self {
        Self { tls_verify: true, credentials: None }
    }
}

/// A repository at a registry.
#[derive(Debug)]
pub struct Registry {
    /// What the user calls the registry.
    pub(super) host: String,
    /// The repository's name there.
    pub(super) path: String,
    pub(super) verify: bool,
    /// Whether it may be asked without TLS.
    pub(super) may_be_plain: bool,
    /// Where it answers: the scheme, host and port. Known once it did.
    pub(super) base: OnceLock<String>,
    pub(super) server: String,
    pub(super) credentials: Option<Credentials>,
    pub(super) challenge: OnceLock<Challenge>,
    pub(super) tokens: Tokens,
    pub(super) hosts: Hosts,
    /// What is asked for: `pull`, or `pull,push`.
    pub(super) actions: &'static str,
    stop: AtomicBool,
}

/// Some bytes that a registry has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// What the registry says it is.
    pub media_type: String,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Their digest.
    pub digest: Digest,
}

/// One thing that is asked of the registry.
pub(super) struct Ask<'a> {
    /// What for, in errors: "fetch …".
    pub(super) action: &'a str,
    /// What it is, in errors: "manifest …".
    pub(super) what: &'a str,
    pub(super) method: &'static str,
    /// Below the registry's address, or a whole one.
    pub(super) url: String,
    pub(super) headers: Vec<(&'static str, String)>,
    /// Another repository that has to be read for it.
    pub(super) from: Option<&'a str>,
}

impl Registry {
    /// The repositories to ask for an image, one after the other: mirrors, then the registry itself. Nothing is sent
    /// yet.
    ///
    /// # Errors
    /// A file about registries makes no sense, or the registry is blocked.
    pub fn to_pull(
        host: &str,
        path: &str,
        by_tag: bool,
        options: &Options,
    ) -> Result<Vec<Self>, RegistryError> {
        let places = registries_conf::places(host, path, by_tag)?;
        places.into_iter().map(|place| Self::at(place, host, "pull", options)).collect()
    }

    /// The repository to push to.
    ///
    /// # Errors
    /// As [`Registry::to_pull`].
    pub fn to_push(host: &str, path: &str, options: &Options) -> Result<Self, RegistryError> {
        let place = registries_conf::places(host, path, true)?.pop();
        let own = Place { host: host.to_owned(), path: path.to_owned(), insecure: false };
        Self::at(place.unwrap_or(own), host, "pull,push", options)
    }

    fn at(
        place: Place,
        called: &str,
        actions: &'static str,
        options: &Options,
    ) -> Result<Self, RegistryError> {
        let Place { host, path, insecure } = place;
        let credentials = match &options.credentials {
            // They are for the registry that the user named.
            Some(given) => Some(given.clone()).filter(|_| host == called),
            None => Files::from_environment().find(&host, &path)?,
        };
        let verify = options.tls_verify && !insecure;
        Ok(Self {
            server: if host == "docker.io" { "registry-1.docker.io".to_owned() } else { host.clone() },
            may_be_plain: !verify || is_loopback(&host),
            host,
            path,
            verify,
            base: OnceLock::new(),
            credentials,
            challenge: OnceLock::new(),
            tokens: Tokens::default(),
            hosts: Hosts::default(),
            actions,
            stop: AtomicBool::new(false),
        })
    }

    /// The registry and repository, as errors and records name them.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.host, self.path)
    }

    /// The registry.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The repository's name at the registry.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Gives up whatever is under way, at its next pause or byte.
    pub fn give_up(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether everything is given up.
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// The digest of what the registry has under a tag or digest, if it says so without sending it.
    ///
    /// # Errors
    /// There is no such image, or the registry cannot be used.
    pub fn digest(&self, selector: &str, accept: &str) -> Result<Option<Digest>, RegistryError> {
        let what = self.shown(selector);
        let ask = self.ask("HEAD", "look for", &what, &format!("manifests/{selector}"), accept);
        let answer = self.send(&ask)?;
        Ok(header(&answer, "docker-content-digest").and_then(|digest| digest.parse().ok()))
    }

    /// What the registry has under a tag or digest.
    ///
    /// # Errors
    /// There is no such image, the registry cannot be used, or sends something else.
    pub fn manifest(&self, selector: &str, accept: &str, limit: usize) -> Result<Fetched, RegistryError> {
        let what = self.shown(selector);
        let ask = self.ask("GET", "fetch", &what, &format!("manifests/{selector}"), accept);
        let answer = self.send(&ask)?;
        let media_type = header(&answer, "content-type").unwrap_or_default();
        let said = header(&answer, "docker-content-digest").and_then(|said| said.parse::<Digest>().ok());
        let bytes = self.read(answer, &format!("the manifest of {what}"), limit)?;
        let digest = Digest::sha256(Sha256::digest(&bytes).into());
        if let Some(expected) = selector.parse().ok().or(said).filter(|expected| *expected != digest) {
            let what = format!("a manifest for {what}");
            return Err(RegistryError::WrongDigest {
                host: self.host.clone(),
                what,
                expected,
                found: digest,
            });
        }
        Ok(Fetched { media_type, bytes, digest })
    }

    /// A small blob, whole.
    ///
    /// # Errors
    /// There is none, or the registry sends something else.
    pub fn small_blob(
        &self,
        digest: &Digest,
        size: u64,
        limit: usize,
        what: &str,
    ) -> Result<Vec<u8>, RegistryError> {
        if size > u64::try_from(limit).unwrap_or(u64::MAX) {
            return Err(RegistryError::TooLarge { host: self.host.clone(), what: what.to_owned(), limit });
        }
        let mut bytes = Vec::new();
        let mut reader = self.blob(digest, size, what);
        reader.read_to_end(&mut bytes).map_err(|error| self.error_of(error))?;
        Ok(bytes)
    }

    /// The tags of the repository.
    ///
    /// # Errors
    /// The registry cannot be used.
    pub fn tags(&self, limit: usize) -> Result<Vec<String>, RegistryError> {
        #[derive(serde::Deserialize)]
        struct Page {
            #[serde(default)]
            tags: Option<Vec<String>>,
        }
        let mut tags = Vec::new();
        let what = format!("the tags of {}", self.path);
        let mut ask = self.ask("GET", "list", &what, "tags/list?n=1000", "application/json");
        loop {
            let answer = self.send(&ask)?;
            let next = header(&answer, "link").and_then(|link| next_page(&link));
            let bytes = self.read(answer, &what, 4 << 20)?;
            let page: Page =
                serde_json::from_slice(&bytes).map_err(|error| self.nonsense(&error.to_string()))?;
            tags.extend(page.tags.unwrap_or_default());
            if tags.len() > limit {
                return Err(RegistryError::TooLarge { host: self.host.clone(), what, limit });
            }
            match next {
                Some(next) => ask.url = resolve(&self.address(&ask.url)?, &next),
                None => return Ok(tags),
            }
        }
    }

    /// Finds out whether the registry takes the credentials.
    ///
    /// # Errors
    /// It does not, or cannot be used.
    pub fn log_in(&self) -> Result<(), RegistryError> {
        let url = "/v2/".to_owned();
        let ask = Ask { action: "log in", what: "", method: "GET", url, headers: Vec::new(), from: None };
        self.send(&ask).map(drop)
    }

    pub(super) fn ask<'a>(
        &self,
        method: &'static str,
        action: &'a str,
        what: &'a str,
        below: &str,
        accept: &str,
    ) -> Ask<'a> {
        let url = format!("/v2/{}/{below}", self.path);
        Ask { action, what, method, url, headers: vec![("accept", accept.to_owned())], from: None }
    }

    pub(super) fn shown(&self, selector: &str) -> String {
        let separator = if selector.contains(':') { '@' } else { ':' };
        format!("{}{separator}{selector}", self.path)
    }

    /// The whole address of something below the registry's. Only once the registry has answered.
    pub(super) fn address(&self, url: &str) -> Result<String, RegistryError> {
        if !url.starts_with('/') {
            return Ok(url.to_owned());
        }
        let base = self.base.get().ok_or_else(|| self.nonsense("nothing"))?;
        Ok(format!("{base}{url}"))
    }

    /// Reads a small body.
    pub(super) fn read(
        &self,
        answer: Response<Body>,
        what: &str,
        limit: usize,
    ) -> Result<Vec<u8>, RegistryError> {
        let mut bytes = Vec::new();
        let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        let read = answer.into_body().into_reader().take(most).read_to_end(&mut bytes);
        let host = || self.host.clone();
        read.map_err(|error| self.broken(format!("read {what}"), error.into()))?;
        if bytes.len() > limit {
            return Err(RegistryError::TooLarge { host: host(), what: what.to_owned(), limit });
        }
        Ok(bytes)
    }

    pub(super) fn transport(&self, ask: &Ask<'_>, source: ureq::Error) -> RegistryError {
        self.broken(action(ask), source)
    }

    /// What became of a connection.
    pub(super) fn broken(&self, action: String, source: ureq::Error) -> RegistryError {
        if self.verify && is_about_trust(&source) && trust::is_without_roots() {
            return RegistryError::NoRoots { host: self.host.clone() };
        }
        let base = self.base.get().map_or_else(|| format!("https://{}", self.server), Clone::clone);
        let (host, proxy) = (self.host.clone(), proxy::variable_for(&base));
        RegistryError::Transport { action, host, cause: Box::new(source), proxy }
    }

    pub(super) fn nonsense(&self, what: &str) -> RegistryError {
        RegistryError::Answer { host: self.host.clone(), what: what.chars().take(QUOTED).collect() }
    }

    /// What an answer means that is not what was asked for.
    pub(super) fn refusal(&self, ask: &Ask<'_>, answer: Response<Body>) -> RegistryError {
        let (host, status) = (self.host.clone(), answer.status().as_u16());
        let after = header(&answer, "retry-after").and_then(|after| retry_after(&after));
        let mut body = Vec::new();
        let most = u64::try_from(MESSAGE_MAX).unwrap_or(u64::MAX);
        answer.into_body().into_reader().take(most).read_to_end(&mut body).ok();
        let message = message(&body);
        match status {
            401 | 403 => RegistryError::Denied {
                action: action(ask),
                host,
                with_credentials: self.credentials.is_some(),
                message,
            },
            404 => RegistryError::NotFound { host, what: ask.what.to_owned() },
            429 => RegistryError::RateLimited { host, after },
            _ => RegistryError::Refused { action: action(ask), host, status, message },
        }
    }

    /// The error that a [`BlobReader`](super::BlobReader) failed with.
    #[must_use]
    pub fn error_of(&self, error: std::io::Error) -> RegistryError {
        error
            .downcast::<RegistryError>()
            .unwrap_or_else(|source| RegistryError::Source { host: self.host.clone(), source })
    }
}

fn action(ask: &Ask<'_>) -> String {
    format!("{} {}", ask.action, ask.what).trim_end().to_owned()
}

pub(super) fn header(answer: &Response<Body>, name: &str) -> Option<String> {
    Some(answer.headers().get(name)?.to_str().ok()?.to_owned())
}

/// `<URL>; rel="next"` (RFC 8288).
pub(super) fn next_page(link: &str) -> Option<String> {
    let (url, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    rest.contains("next").then(|| url.to_owned())
}

/// Seconds, or a date (RFC 9110, 10.2.3).
pub(super) fn retry_after(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = chrono::DateTime::parse_from_rfc2822(text.trim()).ok()?;
    SystemTime::from(date).duration_since(SystemTime::now()).ok()
}

/// What a registry says is wrong; nothing if it says so in no known way.
pub(super) fn message(body: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let first = &value["errors"][0];
    let text = [&first["message"], &value["message"], &value["details"], &first["code"]];
    let text = text.iter().find_map(|text| text.as_str().filter(|text| !text.is_empty()));
    text.unwrap_or_default().chars().take(QUOTED).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_registries_are_read() {
        assert_eq!(message(br#"{"errors":[{"code":"X","message":"not here"}]}"#), "not here");
        assert_eq!(message(br#"{"errors":[{"code":"X","message":""}]}"#), "X");
        assert_eq!(message(br#"{"details":"slow down"}"#), "slow down");
        assert_eq!(message(b"<html>"), "");
        assert_eq!(message(br#"{"errors":7}"#), "");
        assert_eq!(retry_after(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("soon"), None);
        assert!(retry_after("Fri, 01 Jan 2100 00:00:00 GMT").is_some());
        assert_eq!(
            next_page("</v2/a/tags/list?last=x>; rel=\"next\"").as_deref(),
            Some("/v2/a/tags/list?last=x")
        );
        assert_eq!(next_page("x"), None);
    }
}
