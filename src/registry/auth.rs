//! How a registry wants to know who asks: RFC 7235's challenges, and tokens as the distribution project defines them.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::credentials::Credentials;

/// How long before its end a token is taken for run out.
const EARLY: Duration = Duration::from_secs(30);

/// How long a token is good for whose server does not say.
const USUAL: u64 = 60;

/// The longest a token is trusted.
const LONGEST: u64 = 24 * 3600;

/// What a registry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User and password with every request.
    Basic,
    /// A token of another server.
    Bearer {
        /// The address of that server.
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

/// What a token server answers.
#[derive(Deserialize)]
pub(super) struct TokenAnswer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl TokenAnswer {
    /// The token, and for how long it is good.
    pub(super) fn token(self) -> Option<(String, Duration)> {
        let token = self.token.filter(|token| !token.is_empty()).or(self.access_token)?;
        let is_plain = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        let seconds = self.expires_in.unwrap_or(USUAL).clamp(1, LONGEST);
        is_plain.then(|| (token, Duration::from_secs(seconds)))
    }
}

/// The tokens that are known, by what they are for.
#[derive(Debug, Default)]
pub(super) struct Tokens(Mutex<HashMap<String, (String, Instant)>>);

impl Tokens {
    /// A token that is still good.
    pub(super) fn get(&self, scope: &str) -> Option<String> {
        let tokens = self.0.lock().ok()?;
        let (token, until) = tokens.get(scope)?;
        (Instant::now() < *until).then(|| token.clone())
    }

    pub(super) fn put(&self, scope: &str, token: &str, life: Duration) {
        // A short one is at least used while it can be.
        let until = Instant::now() + life.saturating_sub(EARLY).max(life / 2);
        if let Ok(mut tokens) = self.0.lock() {
            tokens.insert(scope.to_owned(), (token.to_owned(), until));
        }
    }

    /// A token that the registry does not take any more. Another one that came meanwhile stays.
    pub(super) fn forget(&self, scope: &str, token: &str) {
        if let Ok(mut tokens) = self.0.lock()
            && tokens.get(scope).is_some_and(|(known, _)| known == token)
        {
            tokens.remove(scope);
        }
    }
}

/// The header by which user and password are sent.
pub(super) fn basic(credentials: &Credentials) -> String {
    format!("Basic {}", STANDARD.encode(format!("{}:{}", credentials.user, credentials.password)))
}

/// Reads the values of `WWW-Authenticate`: a token is preferred to a password.
pub(super) fn challenge<'a>(values: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let all: Vec<Challenge> = values.filter_map(parse).collect();
    all.iter().find(|one| matches!(one, Challenge::Bearer { .. })).or(all.first()).cloned()
}

fn parse(value: &str) -> Option<Challenge> {
    let (scheme, rest) = value.trim().split_once(' ').unwrap_or((value.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let parameters = parameters(rest);
    let find = |name: &str| {
        let found = parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
    };
    Some(Challenge::Bearer { realm: find("realm")?, service: find("service"), scope: find("scope") })
}

/// `KEY="VALUE",…`: commas may stand within the quotes.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((key, more)) = rest.split_once('=') {
        let key = key.trim_matches([' ', ',', '\t']).to_owned();
        let (value, after) = match more.trim_start().strip_prefix('"') {
            Some(quoted) => {
                let mut value = String::new();
                let mut letters = quoted.char_indices();
                let mut end = quoted.len();
                while let Some((at, letter)) = letters.next() {
                    match letter {
                        '"' => {
                            end = at + 1;
                            break;
                        }
                        '\\' => value.extend(letters.next().map(|(_, letter)| letter)),
                        letter => value.push(letter),
                    }
                }
                (value, &quoted[end..])
            }
            None => {
                let end = more.find(',').unwrap_or(more.len());
                (more[..end].trim().to_owned(), &more[end..])
            }
        };
        found.push((key, value));
        rest = after;
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn challenges_are_read() {
        let bearer = |text: &str| match challenge([text].into_iter()) {
            Some(Challenge::Bearer { realm, service, scope }) => (realm, service, scope),
            other => panic!("{other:?}"),
        };
        let text = r#"Bearer realm="https://auth.example/token",service="registry, the one",scope="repository:a/b:pull,push""#;
        let (realm, service, scope) = bearer(text);
        assert_eq!(realm, "https://auth.example/token");
        assert_eq!(service.as_deref(), Some("registry, the one"));
        assert_eq!(scope.as_deref(), Some("repository:a/b:pull,push"));
        assert_eq!(bearer("bearer realm=x, service=\"a\\\"b\"").1.as_deref(), Some("a\"b"));
        assert_eq!(
            challenge(["Basic realm=\"x\"", text].into_iter()).map(|c| c == Challenge::Basic),
            Some(false)
        );
        assert_eq!(challenge(["Basic realm=\"x\""].into_iter()), Some(Challenge::Basic));
        assert_eq!(challenge(["Bearer service=\"x\"", "Digest x"].into_iter()), None);
    }

    #[test]
    fn tokens_run_out_and_hostile_ones_are_refused() {
        let answer = |text: &str| serde_json::from_str::<TokenAnswer>(text).unwrap().token();
        assert_eq!(answer(r#"{"token":"t","expires_in":300}"#), Some(("t".into(), Duration::from_secs(300))));
        assert_eq!(answer(r#"{"access_token":"a"}"#), Some(("a".into(), Duration::from_secs(60))));
        for bad in ["{}", r#"{"token":""}"#, r#"{"token":"a\r\nX: y"}"#] {
            assert_eq!(answer(bad), None, "{bad}");
        }
        let tokens = Tokens::default();
        tokens.put("s", "one", Duration::from_secs(60));
        assert_eq!(tokens.get("s").as_deref(), Some("one"));
        tokens.forget("s", "another");
        assert!(tokens.get("s").is_some() && tokens.get("other").is_none());
        tokens.forget("s", "one");
        assert!(tokens.get("s").is_none());
        tokens.put("s", "two", Duration::ZERO);
        assert!(tokens.get("s").is_none());
    }

    proptest! {
        #[test]
        fn no_challenge_makes_it_panic(text in "(Bearer |Basic )?[ -~]{0,60}") {
            challenge([text.as_str()].into_iter());
        }
    }
}
