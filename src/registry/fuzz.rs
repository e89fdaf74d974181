//! What has to hold for whatever registries answer and the files about them say: see [`crate::fuzz`].

use std::path::Path;

use super::auth::{Challenge, challenge};
use super::client::{message, next_page, retry_after};
use super::credentials::find_in;
use super::http::{resolve, same_origin};
use super::registries_conf;
use super::resolver::{self, Answer, Settings, in_hosts};

const HOST: &str = "registry.example:5000";
const PATH: &str = "team/image";

/// The headers and errors of a registry's answer, one on each line.
pub fn header(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let asked = challenge(text.lines());
    if let Some(Challenge::Bearer { realm, .. }) = &asked {
        assert!(!realm.is_empty(), "a token of nobody");
    }
    for line in text.lines() {
        retry_after(line);
        let url = format!("https://{HOST}/v2/{PATH}");
        let target = resolve(&url, next_page(line).as_deref().unwrap_or(line));
        same_origin(&url, &target);
    }
    let said = message(bytes);
    assert!(said.len() <= bytes.len());
    asked.is_some() || !said.is_empty()
}

/// A file with credentials.
pub fn credentials(bytes: &[u8]) -> bool {
    let Ok(document) = serde_json::from_slice(bytes) else { return false };
    let found = [(HOST, PATH), (HOST, ""), ("docker.io", "library/x")]
        .map(|(host, path)| find_in(Path::new("auth.json"), &document, host, path));
    for known in found.iter().flatten().flatten() {
        assert!(!known.user.is_empty() || known.identity_token.is_some(), "nobody is somebody");
    }
    found.iter().any(|found| matches!(found, Ok(Some(_))))
}

/// A `registries.conf`.
pub fn registries(bytes: &[u8]) -> bool {
    let Ok(rules) = registries_conf::parse(&String::from_utf8_lossy(bytes), Path::new("registries.conf"))
    else {
        return false;
    };
    for by_tag in [true, false] {
        // It may be blocked.
        if let Ok(places) = registries_conf::find(&rules, HOST, PATH, by_tag) {
            assert!(places.iter().all(|place| !place.host.contains('/')));
        }
    }
    !rules.is_empty()
}

/// The answer of a name server, behind a byte that chooses what was asked.
pub fn addresses(bytes: &[u8]) -> bool {
    let Some((control, message)) = bytes.split_first() else { return false };
    let kind = if control & 1 == 0 { 1 } else { 28 };
    match resolver::parse(message, 7, kind) {
        Some(Answer::Addresses(found)) => {
            assert!(found.iter().all(|address| address.is_ipv4() == (kind == 1)));
            assert!(found.len() <= message.len() / 12);
            true
        }
        other => other.is_some(),
    }
}

/// `/etc/hosts` and `/etc/resolv.conf`, in one.
pub fn lists(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let settings = Settings::parse(&text);
    for name in ["registry", "registry.example"] {
        let candidates = settings.candidates(name);
        assert!(candidates.iter().any(|candidate| candidate == name));
        for candidate in candidates {
            if let Some(query) = resolver::query(&candidate, 1, 7) {
                assert!(query.len() <= 12 + 255 + 4 + 11);
            }
        }
    }
    !in_hosts(&text, "registry").is_empty()
}

/// What registries answer.
pub fn headers() -> Vec<Vec<u8>> {
    [
        r#"Bearer realm="https://auth.example/token?a=b",service="x, \"y",scope="repository:a:pull""#,
        "Basic realm=\"x\"\nFri, 01 Jan 2100 00:00:00 GMT\n</v2/a/tags/list?last=x>; rel=\"next\"\n//cdn/x",
        r#"{"errors":[{"code":"X","message":"not here"}]}"#,
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// Files of Docker's and Podman's.
pub fn files() -> Vec<Vec<u8>> {
    [
        r#"{"auths":{"registry.example:5000/team":{"auth":"bWU6c2VjcmV0"},"x":{}},"credsStore":"pass"}"#,
        r#"{"auths":{"https://index.docker.io/v1/":{"username":"u","password":"p","identitytoken":"t"}}}"#,
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// Rules with mirrors.
pub fn rules() -> Vec<Vec<u8>> {
    let text = "# x\nunqualified-search-registries = [\n 'a', # b\n]\n[[registry]]\nprefix = \"*.example\"\n\
        location = 'm/x'\nblocked = false\n[[registry.mirror]]\nlocation = \"mirror:5000/of\"\ninsecure = true\n\
        pull-from-mirror = \"digest-only\"\n[aliases]\n\"x\" = \"y\"\n[[registry]]\nlocation = \"registry.example:5000\"\n";
    vec![text.as_bytes().to_vec()]
}

/// Answers with addresses, and one that is cut.
pub fn messages() -> Vec<Vec<u8>> {
    let with = |control: u8, kind: u8, address: &[u8]| {
        let mut message = vec![
            control, 0, 7, 0x81, 0x80, 0, 1, 0, 2, 0, 0, 0, 0, 3, b'w', b'w', b'w', 1, b'x', 0, 0, kind, 0, 1,
        ];
        message.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 2, 0xc0, 16]);
        message.extend([0xc0, 16, 0, kind, 0, 1, 0, 0, 0, 9, 0]);
        message.extend(u8::try_from(address.len()));
        message.extend(address);
        message
    };
    vec![
        with(0, 1, &[192, 0, 2, 1]),
        with(1, 28, &[0x20; 16]),
        vec![0, 0, 7, 0x83, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ]
}

/// The files that say who has which address.
pub fn hosts() -> Vec<Vec<u8>> {
    let text = "127.0.0.1 localhost\n192.0.2.1\tregistry.example Registry # x\nnameserver 192.0.2.53\nsearch a.example b.\n";
    vec![text.as_bytes().to_vec()]
}
