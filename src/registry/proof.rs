//! What proves to a registry who asks: a password, or the token of the server that it names.

use std::time::Duration;

use super::RegistryError;
use super::auth::{self, Challenge, TokenAnswer};
use super::client::{Ask, Registry};
use super::http::{Call, Payload, encoded};

/// The largest answer of a token server.
const TOKEN_MAX: usize = 256 * 1024;

impl Registry {
    /// What is asked for, in the words of token servers: one scope, or two with a space between them.
    pub(super) fn scope(&self, from: Option<&str>) -> String {
        let own = format!("repository:{}:{}", self.path, self.actions);
        match from {
            Some(from) => format!("{own} repository:{from}:pull"),
            None => own,
        }
    }

    /// What proves who asks, as far as that is known without asking for it.
    pub(super) fn known_proof(&self, from: Option<&str>) -> Option<String> {
        match self.challenge.get()? {
            Challenge::Basic => self.credentials.as_ref().map(auth::basic),
            challenge @ Challenge::Bearer { .. } => {
                // One that runs out is replaced before it is refused.
                let known = self.tokens.get(&self.scope(from)).map(|token| format!("Bearer {token}"));
                known.or_else(|| self.proof(challenge, from).ok().flatten())
            }
        }
    }

    /// What answers a challenge; `None` if nothing does.
    pub(super) fn proof(
        &self,
        challenge: &Challenge,
        from: Option<&str>,
    ) -> Result<Option<String>, RegistryError> {
        match challenge {
            Challenge::Basic => Ok(self.credentials.as_ref().map(auth::basic)),
            Challenge::Bearer { realm, service, scope } => {
                // Another thread may have had the same.
                let own = self.scope(from);
                if let Some(token) = self.tokens.get(&own) {
                    return Ok(Some(format!("Bearer {token}")));
                }
                // Whatever the registry names, no more is asked for than what is needed.
                let scope = if self.path.is_empty() { scope.as_deref() } else { Some(own.as_str()) };
                let (token, life) = self.token(realm, service.as_deref(), scope)?;
                self.tokens.put(&own, &token, life);
                Ok(Some(format!("Bearer {token}")))
            }
        }
    }

    fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: Option<&str>,
    ) -> Result<(String, Duration), RegistryError> {
        let base = self.base.get().map_or("https://", String::as_str);
        self.check_protected(base, realm)?;
        let mut parameters: Vec<(&str, &str)> = Vec::new();
        parameters.extend(service.map(|service| ("service", service)));
        // One parameter for each; where the token is asked for with a form, they stand in one (RFC 6749, 3.3).
        let refresh = self.credentials.as_ref().and_then(|known| known.identity_token.clone());
        match scope {
            Some(scope) if refresh.is_none() => parameters.extend(scope.split(' ').map(|one| ("scope", one))),
            scope => parameters.extend(scope.map(|scope| ("scope", scope))),
        }
        let mut headers = vec![("accept", "application/json".to_owned())];
        let (method, url, form) = if let Some(refresh) = &refresh {
            parameters.extend([
                ("grant_type", "refresh_token"),
                ("client_id", "mydocker"),
                ("refresh_token", refresh),
            ]);
            headers.push(("content-type", "application/x-www-form-urlencoded".to_owned()));
            ("POST", realm.to_owned(), Some(query(&parameters)))
        } else {
            if let Some(credentials) = &self.credentials {
                headers.push(("authorization", auth::basic(credentials)));
                parameters.push(("account", &credentials.user));
            }
            let separator = if realm.contains('?') { '&' } else { '?' };
            ("GET", format!("{realm}{separator}{}", query(&parameters)), None)
        };
        let ask = Ask { action: "get a token", what: "token", method, url, headers, from: None };
        let mut attempt = 1;
        loop {
            let payload = form.as_ref().map_or(Payload::Nothing, |form| Payload::Bytes(form.as_bytes()));
            let call = Call { method, url: &ask.url, headers: ask.headers.clone() };
            let sent = self.hosts.send(call, payload, self.verify || !self.is_own(&ask.url))?;
            let error = match sent {
                Ok(answer) if answer.status().is_success() => {
                    let bytes = self.read(answer, "a token", TOKEN_MAX)?;
                    let answer: Option<TokenAnswer> = serde_json::from_slice(&bytes).ok();
                    return answer
                        .and_then(TokenAnswer::token)
                        .ok_or_else(|| self.nonsense("it is no token"));
                }
                Ok(answer) => self.refusal(&ask, answer),
                Err(error) => self.transport(&ask, error),
            };
            let Some(pause) = self.pause_after(&error, attempt) else { return Err(error) };
            self.pause(pause)?;
            attempt += 1;
        }
    }
}

fn query(parameters: &[(&str, &str)]) -> String {
    let pairs = parameters.iter().map(|(name, value)| format!("{name}={}", encoded(value)));
    pairs.collect::<Vec<_>>().join("&")
}
