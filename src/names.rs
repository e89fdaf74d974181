//! Names that are checked once, where they enter the program, and trusted from there on.
//!
//! Each type can only be made by its parser, so that a function that takes one never has to ask whether it
//! is well-formed. All of them are plain text on disk and on the command line.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Why a name was refused. The text is complete: it quotes the name and says what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name has no characters.
    #[error("a {kind} name must not be empty")]
    Empty {
        /// What was to be named.
        kind: &'static str,
    },
    /// The name has more bytes than the kernel or the file system takes.
    #[error("\"{name}\" is too long for a {kind} name: {length} bytes, at most {limit}")]
    TooLong {
        /// What was to be named.
        kind: &'static str,
        /// The refused name.
        name: String,
        /// Its length in bytes.
        length: usize,
        /// The most bytes it may have.
        limit: usize,
    },
    /// A character that is not allowed, or not allowed at that place.
    #[error("\"{name}\" is not a valid {kind} name: only [a-zA-Z0-9][a-zA-Z0-9_.-]* is allowed")]
    Malformed {
        /// What was to be named.
        kind: &'static str,
        /// The refused name.
        name: String,
    },
    /// Words with a meaning of their own on the command line.
    #[error("\"{name}\" is reserved and cannot name a {kind}")]
    Reserved {
        /// What was to be named.
        kind: &'static str,
        /// The refused name.
        name: String,
    },
    /// Something that should be a container id but is not 64 hexadecimal digits.
    #[error("\"{0}\" is not a container id: expected 64 lower-case hexadecimal digits")]
    NotAnId(String),
    /// Something that should be a digest but is not `sha256:` and 64 hexadecimal digits.
    #[error("\"{0}\" is not a digest: expected sha256: and 64 lower-case hexadecimal digits")]
    NotADigest(String),
}

/// Docker's rule for the names of objects: `[a-zA-Z0-9][a-zA-Z0-9_.-]*`.
fn check(kind: &'static str, name: &str, limit: usize) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty { kind });
    }
    let first = name.as_bytes()[0].is_ascii_alphanumeric();
    let rest = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if !first || !rest {
        return Err(NameError::Malformed { kind, name: name.to_owned() });
    }
    if name.len() > limit {
        return Err(NameError::TooLong { kind, name: name.to_owned(), length: name.len(), limit });
    }
    Ok(())
}

macro_rules! name_type {
    ($(#[$doc:meta])* $type:ident $(, in_files: $in_files:path)?) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl AsRef<std::path::Path> for $type {
            fn as_ref(&self) -> &std::path::Path {
                let name = self.as_str();
                $(let name = $in_files(name);)?
                name.as_ref()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(name: String) -> Result<Self, NameError> {
                name.parse()
            }
        }
    };
}

name_type! {
    /// The 64 hexadecimal digits that identify one container for ever.
    ContainerId
}
name_type! {
    /// A container's name, unique among the containers of one root directory.
    ContainerName
}
name_type! {
    /// A network's name: 1 to 63 bytes. Its bridge has a name of its own.
    NetworkName, in_files: network_in_files
}
name_type! {
    /// A volume's name, which is also its directory's.
    VolumeName
}
name_type! {
    /// The digest of some contents, as `sha256:` and 64 hexadecimal digits. An image is identified by that of
    /// its configuration, a layer by that of its uncompressed tar stream.
    Digest
}
name_type! {
    /// What another engine calls a network or a container.
    ForeignName
}
name_type! {
    /// A network device's name: 1 to 15 bytes (`IFNAMSIZ` less the final NUL).
    IfName
}

/// How a network is called in the names of files: the default one as it was before it was `bridge`, so that hosts keep
/// the one they have.
fn network_in_files(name: &str) -> &str {
    if name == BRIDGE { DEFAULT } else { name }
}

/// The network of containers that name none, as users see it.
const BRIDGE: &str = "bridge";
/// Another name for it.
const DEFAULT: &str = "default";

/// The most bytes of a network's name.
const NETWORK_NAME_MAX: usize = 63;

/// The most bytes of a device name (`IFNAMSIZ` is 16 and counts the final NUL, `<linux/if.h>`).
pub const IF_NAME_MAX: usize = 15;

impl FromStr for ContainerId {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        if is_64_hex(text) { Ok(Self(text.to_owned())) } else { Err(NameError::NotAnId(text.to_owned())) }
    }
}

fn is_64_hex(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

impl FromStr for Digest {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.strip_prefix("sha256:") {
            Some(hex) if is_64_hex(hex) => Ok(Self(text.to_owned())),
            _ => Err(NameError::NotADigest(text.to_owned())),
        }
    }
}

impl Digest {
    /// The digest with these bytes.
    #[must_use]
    pub fn sha256(bytes: [u8; 32]) -> Self {
        Self(format!("sha256:{}", hex(&bytes)))
    }

    /// The digits alone.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.0["sha256:".len()..]
    }

    /// The first twelve digits, as listings show them.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a String cannot fail.
        write!(text, "{byte:02x}").ok();
    }
    text
}

/// 64 random hexadecimal digits.
fn random_digits() -> Result<String, std::io::Error> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(hex(&bytes))
}

impl ContainerId {
    /// The id of something that is known by these words, always the same.
    #[must_use]
    pub fn of_words(words: &[&str]) -> Self {
        let mut digest = Sha256::new();
        for word in words {
            // No name has this byte: other words give another text.
            digest.update(word.as_bytes());
            digest.update([0]);
        }
        Self(hex(&digest.finalize()))
    }

    /// A new random id.
    ///
    /// # Errors
    /// The kernel's random number generator cannot be read.
    pub fn generate() -> Result<Self, std::io::Error> {
        random_digits().map(Self)
    }

    /// The first twelve digits, as listings show it.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl FromStr for ContainerName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        // 255 bytes is the longest file name of the file systems in use; the name is a file of the index.
        check("container", text, 255)?;
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for ForeignName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        check("network or container", text, 255)?;
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for VolumeName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        // 255 bytes is the longest file name of the file systems in use.
        check("volume", text, 255)?;
        Ok(Self(text.to_owned()))
    }
}

impl VolumeName {
    /// A new random name, for a volume that nobody has named.
    ///
    /// # Errors
    /// The kernel's random number generator cannot be read.
    pub fn generate() -> Result<Self, std::io::Error> {
        random_digits().map(Self)
    }
}

impl FromStr for NetworkName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        check("network", text, NETWORK_NAME_MAX)?;
        if matches!(text, "host" | "none" | "container") {
            return Err(NameError::Reserved { kind: "network", name: text.to_owned() });
        }
        // As Docker calls it on its command line, and other engines everywhere.
        if text == DEFAULT {
            return Ok(Self::of_default());
        }
        Ok(Self(text.to_owned()))
    }
}

impl NetworkName {
    /// The name of the network that containers are connected to when nobody names one: `bridge`, where Docker's scripts
    /// look for it. `default` is another name for it.
    #[must_use]
    pub fn of_default() -> Self {
        Self(BRIDGE.to_owned())
    }
}

impl FromStr for IfName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        check("device", text, IF_NAME_MAX)?;
        Ok(Self(text.to_owned()))
    }
}

impl IfName {
    /// The name as nftables stores it in a set of `ifname`s: 16 bytes, padded with NUL.
    #[must_use]
    pub fn padded(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..self.0.len()].copy_from_slice(self.0.as_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_network_name_is_a_file_name_of_at_most_63_bytes() {
        let longest = "x".repeat(63);
        for good in ["testbr0", "project_default", "longer-than-a-device", &longest] {
            assert_eq!(good.parse::<NetworkName>().unwrap().as_str(), good);
        }
        let default: NetworkName = "default".parse().unwrap();
        assert_eq!(default, NetworkName::of_default());
        assert_eq!(default.to_string(), "bridge");
        let files: [&Path; 2] = [default.as_ref(), Path::new("default")];
        assert_eq!(files[0], files[1]);
        let too_long = "x".repeat(64);
        for bad in ["", "-a", ".", "..", "a/b", "a b", "a:b", "ä", "host", "none", &too_long] {
            assert!(bad.parse::<NetworkName>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn ids_are_64_hex_digits() {
        let id = ContainerId::generate().unwrap();
        assert_eq!(id.as_str().parse::<ContainerId>().unwrap(), id);
        assert!("abc".parse::<ContainerId>().is_err());
        assert!("G".repeat(64).parse::<ContainerId>().is_err());
        assert_ne!(id, ContainerId::generate().unwrap());
    }

    #[test]
    fn a_digest_names_its_algorithm() {
        let digest = Digest::sha256([0xab; 32]);
        assert_eq!(digest.as_str().parse::<Digest>().unwrap(), digest);
        assert_eq!((digest.hex().len(), digest.short()), (64, "abababababab"));
        for bad in [digest.hex(), "sha256:", "sha256:xyz", "md5:ab", &format!("{digest}0")] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn refusals_quote_the_name_and_the_rule() {
        let error = "a b".parse::<ContainerName>().unwrap_err().to_string();
        assert!(error.contains("\"a b\"") && error.contains("[a-zA-Z0-9]"), "{error}");
    }
}
