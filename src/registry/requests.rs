//! Requests to a registry: with the right credentials, tried again where that helps, and led no further than is safe.

use std::time::Duration;

use ureq::Body;
use ureq::http::Response;

use super::RegistryError;
use super::auth::{self, Challenge};
use super::client::{Ask, QUOTED, Registry, header};
use super::error::{is_about_trust, tls_trouble};
use super::http::{Call, Payload, origin, resolve, same_origin};

/// How often something is tried.
pub(super) const ATTEMPTS: u32 = 5;

/// The first pause between two attempts; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(250);

/// The longest that a registry is obeyed which wants to be left alone.
const OBEYED: Duration = Duration::from_secs(60);

/// How many redirects are followed.
const REDIRECTS: u32 = 5;

impl Registry {
    /// Sends a request without a body until it is answered well.
    pub(super) fn send(&self, ask: &Ask<'_>) -> Result<Response<Body>, RegistryError> {
        let mut attempt = 1;
        loop {
            let error = match self.once(ask, Payload::Nothing) {
                Ok(answer) if answer.status().is_success() => return Ok(answer),
                Ok(answer) => self.refusal(ask, answer),
                Err(error) => error,
            };
            let Some(pause) = self.pause_after(&error, attempt) else { return Err(error) };
            tracing::debug!(%error, attempt, "trying again");
            self.pause(pause)?;
            attempt += 1;
        }
    }

    /// How long to wait before trying again; `None` if that is of no use.
    pub(super) fn pause_after(&self, error: &RegistryError, attempt: u32) -> Option<Duration> {
        if attempt >= ATTEMPTS {
            return None;
        }
        let usual = PAUSE * 2_u32.pow(attempt - 1);
        match error {
            RegistryError::RateLimited { after: Some(after), .. } => (*after <= OBEYED).then_some(*after),
            RegistryError::RateLimited { .. } => Some(usual * 4),
            RegistryError::Refused { status, .. } => (*status >= 500 && *status != 501).then_some(usual),
            RegistryError::Transport { cause, .. } => {
                let may_pass = match &**cause {
                    cause if tls_trouble(cause).is_some() => false,
                    ureq::Error::Io(error) => {
                        error.kind() != std::io::ErrorKind::ConnectionRefused || self.base.get().is_some()
                    }
                    ureq::Error::Timeout(_) | ureq::Error::ConnectionFailed => true,
                    _ => false,
                };
                may_pass.then_some(usual)
            }
            _ => None,
        }
    }

    /// Waits, unless everything is given up meanwhile. Not to the same instant as others who failed with us.
    pub(super) fn pause(&self, time: Duration) -> Result<(), RegistryError> {
        let mut random = [0; 1];
        getrandom::fill(&mut random).ok();
        let mut left = time + time / 1024 * u32::from(random[0]);
        while !left.is_zero() {
            if self.is_given_up() {
                return Err(RegistryError::GivenUp);
            }
            let part = left.min(Duration::from_millis(100));
            std::thread::sleep(part);
            left -= part;
        }
        Ok(())
    }

    /// Sends a request once, with what proves who asks, and follows where it is led. The answer has any status.
    pub(super) fn once(
        &self,
        ask: &Ask<'_>,
        mut payload: Payload<'_>,
    ) -> Result<Response<Body>, RegistryError> {
        let mut proof = self.known_proof(ask.from);
        let mut is_new_proof = false;
        loop {
            let part = match &mut payload {
                Payload::Nothing => Payload::Nothing,
                Payload::Bytes(bytes) => Payload::Bytes(bytes),
                Payload::Stream(stream, size) => Payload::Stream(*stream, *size),
            };
            let is_stream = matches!(part, Payload::Stream(..));
            let (url, answer) = self.at_its_place(ask, part, proof.as_deref())?;
            if answer.status() != 401 || is_new_proof || is_stream || !self.is_own(&url) {
                return self.follow(ask, url, answer);
            }
            let Some(challenge) = auth::challenge(
                answer.headers().get_all("www-authenticate").iter().filter_map(|value| value.to_str().ok()),
            ) else {
                return Ok(answer);
            };
            if let (Some(proof), Challenge::Bearer { .. }) = (&proof, &challenge) {
                self.tokens.forget(&self.scope(ask.from), proof.trim_start_matches("Bearer "));
            }
            self.challenge.set(challenge.clone()).ok();
            match self.proof(&challenge, ask.from)? {
                Some(found) => proof = Some(found),
                None => return Ok(answer),
            }
            is_new_proof = true;
        }
    }

    /// Sends a request to the registry, wherever it turns out to be.
    fn at_its_place(
        &self,
        ask: &Ask<'_>,
        payload: Payload<'_>,
        proof: Option<&str>,
    ) -> Result<(String, Response<Body>), RegistryError> {
        let mut payload = Some(payload);
        let bases = match self.base.get() {
            Some(base) => vec![base.clone()],
            None if self.may_be_plain => {
                vec![format!("https://{}", self.server), format!("http://{}", self.server)]
            }
            None => vec![format!("https://{}", self.server)],
        };
        let mut last = None;
        for base in &bases {
            let url = if ask.url.starts_with('/') { format!("{base}{}", ask.url) } else { ask.url.clone() };
            let mut headers = ask.headers.clone();
            if let Some(proof) = proof.filter(|_| same_origin(&url, base)) {
                headers.push(("authorization", proof.to_owned()));
            }
            let call = Call { method: ask.method, url: &url, headers };
            match self.hosts.send(call, payload.take().unwrap_or(Payload::Nothing), self.verify)? {
                Ok(answer) => {
                    self.base.set(base.clone()).ok();
                    return Ok((url, answer));
                }
                // Whoever speaks TLS with a certificate that is not trusted is not asked without TLS.
                Err(error) if is_about_trust(&error) => return Err(self.transport(ask, error)),
                Err(error) => last = Some(error),
            }
        }
        Err(self.transport(ask, last.unwrap_or(ureq::Error::ConnectionFailed)))
    }

    pub(super) fn is_own(&self, url: &str) -> bool {
        self.base.get().is_some_and(|base| same_origin(base, url))
    }

    /// Follows redirects of what is only read. Credentials stay behind.
    fn follow(
        &self,
        ask: &Ask<'_>,
        mut url: String,
        mut answer: Response<Body>,
    ) -> Result<Response<Body>, RegistryError> {
        for _ in 0..REDIRECTS {
            let location = header(&answer, "location").filter(|_| matches!(ask.method, "GET" | "HEAD"));
            let Some(location) = location.filter(|_| answer.status().is_redirection()) else {
                return Ok(answer);
            };
            let target = resolve(&url, &location);
            self.check_protected(&url, &target)?;
            let headers = ask.headers.clone();
            let call = Call { method: ask.method, url: &target, headers };
            let sent = self.hosts.send(call, Payload::Nothing, self.verify || !self.is_own(&target))?;
            answer = sent.map_err(|error| self.transport(ask, error))?;
            url = target;
        }
        Err(self.nonsense("it leads on and on"))
    }

    /// Refuses to be led from TLS to where there is none.
    pub(super) fn check_protected(&self, from: &str, target: &str) -> Result<(), RegistryError> {
        if target.starts_with("https://") || target.starts_with("http://") && from.starts_with("http://") {
            return Ok(());
        }
        let url = origin(target).chars().take(QUOTED).collect();
        Err(RegistryError::Downgrade { host: self.host.clone(), url })
    }
}
