//! Names of images: `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`, as the distribution project defines them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ImageError;
use crate::names::Digest;

/// The registry of names without a host.
const DOCKER_HUB: &str = "docker.io";

/// The longest repository name, its host included.
const NAME_MAX: usize = 255;

/// The longest tag.
const TAG_MAX: usize = 128;

/// A name of an image, checked, in the form in which it is shown: without the parts that go without saying.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    repository: String,
    tag: String,
}

impl Reference {
    /// The name without the tag.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; `latest` if none was given.
    #[must_use]
    pub fn tag(&self) -> &str {
        &self.tag
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.repository, self.tag)
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}

impl TryFrom<String> for Reference {
    type Error = ImageError;
    fn try_from(text: String) -> Result<Self, ImageError> {
        text.parse()
    }
}

impl FromStr for Reference {
    type Err = ImageError;
    fn from_str(text: &str) -> Result<Self, ImageError> {
        if text.contains('@') {
            let why = "only pull, push, run, create, inspect and rmi take a name with a digest";
            return Err(ImageError::Reference { text: text.to_owned(), why });
        }
        let (repository, tag) = parse(text, text)?;
        Ok(Self { repository, tag: tag.unwrap_or("latest").to_owned() })
    }
}

/// What a registry is asked for: a repository, and in it a tag or a digest. With both, the digest counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteName {
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl RemoteName {
    /// The repository, without the host that goes without saying.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag that was given.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest that was given.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The registry's host, with its port.
    #[must_use]
    pub fn host(&self) -> &str {
        match self.repository.split_once('/') {
            Some((first, _)) if is_host(first) => first,
            _ => DOCKER_HUB,
        }
    }

    /// The repository's name at its registry.
    #[must_use]
    pub fn path(&self) -> String {
        match self.repository.split_once('/') {
            Some((first, rest)) if is_host(first) => rest.to_owned(),
            Some(_) => self.repository.clone(),
            None => format!("library/{}", self.repository),
        }
    }

    /// The name by which the image is called afterwards; with a digest, none but that.
    #[must_use]
    pub fn reference(&self) -> Option<Reference> {
        let tag = self.tag.clone().unwrap_or_else(|| "latest".to_owned());
        self.digest.is_none().then(|| Reference { repository: self.repository.clone(), tag })
    }

    /// The same repository with this tag.
    #[must_use]
    pub fn with_tag(&self, tag: &str) -> Self {
        Self { repository: self.repository.clone(), tag: Some(tag.to_owned()), digest: None }
    }

    /// The repository at this digest.
    #[must_use]
    pub fn pinned(&self, digest: Digest) -> Pinned {
        Pinned { repository: self.repository.clone(), digest }
    }

    /// With all that goes without saying, as Docker ends a pull.
    #[must_use]
    pub fn full(&self) -> String {
        let name = format!("{}/{}", self.host(), self.path());
        match (&self.digest, &self.tag) {
            (Some(digest), _) => format!("{name}@{digest}"),
            (None, tag) => format!("{name}:{}", tag.as_deref().unwrap_or("latest")),
        }
    }
}

impl fmt::Display for RemoteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => write!(f, "{}@{digest}", self.repository),
            (None, tag) => write!(f, "{}:{}", self.repository, tag.as_deref().unwrap_or("latest")),
        }
    }
}

impl From<&Reference> for RemoteName {
    fn from(reference: &Reference) -> Self {
        Self { repository: reference.repository.clone(), tag: Some(reference.tag.clone()), digest: None }
    }
}

impl FromStr for RemoteName {
    type Err = ImageError;
    fn from_str(text: &str) -> Result<Self, ImageError> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => {
                let why = "after the @ comes a digest: sha256: and 64 hexadecimal digits";
                let refused = |_| ImageError::Reference { text: text.to_owned(), why };
                (name, Some(digest.parse().map_err(refused)?))
            }
            None => (text, None),
        };
        let (repository, tag) = parse(name, text)?;
        Ok(Self { repository, tag: tag.map(str::to_owned), digest })
    }
}

/// What a registry called an image by its contents: `REPOSITORY@DIGEST`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pinned {
    repository: String,
    digest: Digest,
}

impl Pinned {
    /// The name without the digest.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The digest of what the registry has under it: a manifest, or a list of them.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }
}

impl fmt::Display for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.repository, self.digest)
    }
}

impl From<Pinned> for String {
    fn from(pinned: Pinned) -> Self {
        pinned.to_string()
    }
}

impl TryFrom<String> for Pinned {
    type Error = ImageError;
    fn try_from(text: String) -> Result<Self, ImageError> {
        let name: RemoteName = text.parse()?;
        let why = "it has no digest";
        let digest = name.digest.ok_or(ImageError::Reference { text, why })?;
        Ok(Self { repository: name.repository, digest })
    }
}

/// A repository as it is shown, and the tag, if there is one. `whole` is what errors quote.
fn parse<'a>(text: &'a str, whole: &str) -> Result<(String, Option<&'a str>), ImageError> {
    let refuse = |why| ImageError::Reference { text: whole.to_owned(), why };
    // A colon before the last slash separates a port.
    let (repository, tag) = match text.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (text, None),
    };
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let plain = |byte: u8| word(byte) || matches!(byte, b'.' | b'-');
    let is_tag =
        |tag: &str| tag.len() <= TAG_MAX && tag.bytes().next().is_some_and(word) && tag.bytes().all(plain);
    if !tag.is_none_or(is_tag) {
        return Err(refuse("a tag is at most 128 letters, digits, '_', '.' and '-'"));
    }
    if repository.len() > NAME_MAX {
        return Err(refuse("a repository name has at most 255 bytes"));
    }
    if repository.len() == 64 && repository.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(refuse("64 hexadecimal digits are an id"));
    }
    let (host, path) = match repository.split_once('/') {
        Some((first, rest)) if is_host(first) => (Some(first), rest),
        _ => (None, repository),
    };
    if host.is_some_and(|host| !is_valid_host(host)) {
        return Err(refuse("a host is a name or address, and optionally :PORT"));
    }
    if !path.split('/').all(is_component) {
        return Err(refuse(
            "its parts are lower-case letters and digits, separated by '.', '_', '__' or dashes",
        ));
    }
    Ok((familiar(host, path), tag))
}

/// The first part is a host if it could not be a part of a path, as with Docker.
fn is_host(part: &str) -> bool {
    part == "localhost" || part.contains(['.', ':']) || part.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn is_valid_host(host: &str) -> bool {
    let is_port = |port: &str| port.parse::<u16>().is_ok() && port.bytes().all(|b| b.is_ascii_digit());
    if let Some((address, rest)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok()
            && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port));
    }
    let (name, port) = host.split_once(':').unwrap_or((host, "0"));
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    name.split('.').all(label) && is_port(port)
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(part: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut rest = part.as_bytes();
    loop {
        let word = rest.iter().take_while(|byte| plain(**byte)).count();
        if word == 0 {
            return false;
        }
        rest = &rest[word..];
        let separator = rest.iter().take_while(|byte| !plain(**byte)).count();
        match &rest[..separator] {
            [] => return true,
            b"." | b"_" | b"__" => {}
            dashes if dashes.iter().all(|byte| *byte == b'-') => {}
            _ => return false,
        }
        rest = &rest[separator..];
    }
}

/// Without the host that Docker fills in where none is given, unless what is left would read as another host's.
fn familiar(host: Option<&str>, path: &str) -> String {
    match host {
        None | Some(DOCKER_HUB | "index.docker.io") => {
            let short = path.strip_prefix("library/").filter(|rest| !rest.contains('/')).unwrap_or(path);
            match short.split_once('/') {
                Some((first, _)) if is_host(first) => format!("{DOCKER_HUB}/{short}"),
                _ => short.to_owned(),
            }
        }
        Some(host) => format!("{host}/{path}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_read_as_dockers() {
        for (text, repository, tag) in [
            ("busybox", "busybox", "latest"),
            ("busybox:1.36", "busybox", "1.36"),
            ("me/my-app_x.y__z:v1_A", "me/my-app_x.y__z", "v1_A"),
            ("localhost/x", "localhost/x", "latest"),
            ("localhost:5000/a/b:t", "localhost:5000/a/b", "t"),
            ("example.org:443/x", "example.org:443/x", "latest"),
            ("docker.io/library/busybox:2", "busybox", "2"),
            ("docker.io/me/app", "me/app", "latest"),
            ("docker.io/localhost/x", "docker.io/localhost/x", "latest"),
            ("docker.io/example.org/x", "docker.io/example.org/x", "latest"),
            ("index.docker.io/library/a.b/x:1", "library/a.b/x", "1"),
            ("library/busybox", "busybox", "latest"),
            ("[::1]:5000/x:t", "[::1]:5000/x", "t"),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!((reference.repository(), reference.tag()), (repository, tag), "{text}");
            assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference);
        }
    }

    #[test]
    fn anything_else_is_refused_and_quoted() {
        let hex = "a".repeat(64);
        let long = "a".repeat(256);
        let tag = format!("x:{}", "t".repeat(129));
        for bad in [
            "",
            ":",
            "x:",
            ":x",
            "Upper",
            "a//b",
            "/a",
            "a/",
            "a b",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a_-b",
            "a:b:c",
            "x:-t",
            "x:a/b:",
            "x@sha256:1",
            "exa_mple.org/x",
            "example.org:port/x",
            "example.org:99999/x",
            "ä",
            "../x",
            "a\0",
            &hex,
            &long,
            &tag,
        ] {
            let error = bad.parse::<Reference>().unwrap_err().to_string();
            assert!(error.contains(&format!("\"{bad}\" is not an image name: ")), "{error}");
        }
    }

    #[test]
    fn a_registry_is_asked_for_a_tag_or_a_digest() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, host, path, shown) in [
            ("nginx", "docker.io", "library/nginx", "nginx:latest".to_owned()),
            ("me/app:v1", "docker.io", "me/app", "me/app:v1".to_owned()),
            ("localhost:5000/a/b", "localhost:5000", "a/b", "localhost:5000/a/b:latest".to_owned()),
            (&format!("nginx:1@{digest}"), "docker.io", "library/nginx", format!("nginx@{digest}")),
            (&format!("[::1]:5/x@{digest}"), "[::1]:5", "x", format!("[::1]:5/x@{digest}")),
        ] {
            let name: RemoteName = text.parse().unwrap();
            assert_eq!((name.host(), name.path().as_str(), name.to_string()), (host, path, shown), "{text}");
            assert_eq!(name.reference().is_none(), text.contains('@'));
            assert_eq!(name.full().parse::<RemoteName>().unwrap().to_string(), name.to_string());
        }
        for bad in ["x@", "x@sha256:1", "x@md5:1", "@", "[::g]/x", "[::1]x/y", "[::1]:p/y"] {
            assert!(bad.parse::<RemoteName>().is_err(), "{bad}");
        }
        let pinned: Pinned = serde_json::from_str(&format!("\"a/b@{digest}\"")).unwrap();
        assert_eq!((pinned.repository(), pinned.digest().as_str()), ("a/b", digest.as_str()));
        assert!(serde_json::from_str::<Pinned>("\"a/b:t\"").is_err());
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_a_name_that_means_itself(text in "[a-zA-Z0-9./:_@-]{0,20}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference.clone());
                prop_assert!(!reference.repository().contains("..") && !reference.repository().contains("//"));
            }
        }
    }
}
