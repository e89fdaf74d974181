//! Names of images: `[HOST[:PORT]/]PATH[:TAG]`, as the distribution project defines them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ImageError;

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
        let refuse = |why| ImageError::Reference { text: text.to_owned(), why };
        if text.contains('@') {
            return Err(refuse("a name with a digest belongs to a registry"));
        }
        // A colon before the last slash separates a port.
        let (repository, tag) = match text.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, tag),
            _ => (text, "latest"),
        };
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let plain = |byte: u8| word(byte) || matches!(byte, b'.' | b'-');
        if tag.len() > TAG_MAX || !tag.bytes().next().is_some_and(word) || !tag.bytes().all(plain) {
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
        Ok(Self { repository: familiar(host, path), tag: tag.to_owned() })
    }
}

/// The first part is a host if it could not be a part of a path, as with Docker.
fn is_host(part: &str) -> bool {
    part == "localhost" || part.contains(['.', ':']) || part.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn is_valid_host(host: &str) -> bool {
    let (name, port) = host.split_once(':').unwrap_or((host, "0"));
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    name.split('.').all(label) && port.parse::<u16>().is_ok() && port.bytes().all(|b| b.is_ascii_digit())
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

/// Without the host that Docker fills in where none is given.
fn familiar(host: Option<&str>, path: &str) -> String {
    match host {
        Some("docker.io" | "index.docker.io") => path.strip_prefix("library/").unwrap_or(path).to_owned(),
        Some(host) => format!("{host}/{path}"),
        None => path.strip_prefix("library/").filter(|rest| !rest.contains('/')).unwrap_or(path).to_owned(),
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
            ("library/busybox", "busybox", "latest"),
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
