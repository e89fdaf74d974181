//! Limits of each process of a container (setrlimit(2)): `nofile=1024:2048`.

use std::fmt;
use std::str::FromStr;

use nix::sys::resource::Resource;
use serde::{Deserialize, Serialize};

/// Why something is no limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UlimitError {
    /// Not `NAME=SOFT[:HARD]`.
    #[error("\"{0}\" is not a limit: expected NAME=SOFT or NAME=SOFT:HARD, each a number or unlimited")]
    Malformed(String),
    /// The kernel has no such limit.
    #[error("\"{0}\" is not a limit of processes: there are {names}", names = NAMES.map(|(name, _)| name).join(", "))]
    Unknown(String),
    /// The soft limit is above the hard one.
    #[error("{0}: the soft limit cannot be above the hard one")]
    SoftAboveHard(Ulimit),
}

/// The limits as `ulimit` and Docker name them.
const NAMES: [(&str, Resource); 16] = [
    ("as", Resource::RLIMIT_AS),
    ("core", Resource::RLIMIT_CORE),
    ("cpu", Resource::RLIMIT_CPU),
    ("data", Resource::RLIMIT_DATA),
    ("fsize", Resource::RLIMIT_FSIZE),
    ("locks", Resource::RLIMIT_LOCKS),
    ("memlock", Resource::RLIMIT_MEMLOCK),
    ("msgqueue", Resource::RLIMIT_MSGQUEUE),
    ("nice", Resource::RLIMIT_NICE),
    ("nofile", Resource::RLIMIT_NOFILE),
    ("nproc", Resource::RLIMIT_NPROC),
    ("rss", Resource::RLIMIT_RSS),
    ("rtprio", Resource::RLIMIT_RTPRIO),
    ("rttime", Resource::RLIMIT_RTTIME),
    ("sigpending", Resource::RLIMIT_SIGPENDING),
    ("stack", Resource::RLIMIT_STACK),
];

/// One limit of each process. `u64::MAX` is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ulimit {
    /// Which.
    kind: Resource,
    /// What holds at first.
    pub soft: u64,
    /// To what the process itself can raise it.
    pub hard: u64,
}

impl Ulimit {
    /// Which limit it is.
    #[must_use]
    pub fn kind(self) -> Resource {
        self.kind
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, kind)| *kind == self.kind).map_or("", |(name, _)| name)
    }
}

fn value(text: &str) -> Option<u64> {
    if matches!(text, "-1" | "unlimited") {
        return Some(u64::MAX);
    }
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

impl FromStr for Ulimit {
    type Err = UlimitError;
    fn from_str(text: &str) -> Result<Self, UlimitError> {
        let malformed = || UlimitError::Malformed(text.to_owned());
        let (name, values) = text.split_once('=').ok_or_else(malformed)?;
        let (_, kind) = NAMES
            .into_iter()
            .find(|(known, _)| *known == name)
            .ok_or_else(|| UlimitError::Unknown(name.to_owned()))?;
        let (soft, hard) = values.split_once(':').unwrap_or((values, values));
        let (soft, hard) = (value(soft).ok_or_else(malformed)?, value(hard).ok_or_else(malformed)?);
        let limit = Self { kind, soft, hard };
        if soft > hard { Err(UlimitError::SoftAboveHard(limit)) } else { Ok(limit) }
    }
}

impl fmt::Display for Ulimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let say = |value: u64| if value == u64::MAX { "unlimited".to_owned() } else { value.to_string() };
        write!(f, "{}={}:{}", self.name(), say(self.soft), say(self.hard))
    }
}

impl TryFrom<String> for Ulimit {
    type Error = UlimitError;
    fn try_from(text: String) -> Result<Self, UlimitError> {
        text.parse()
    }
}

impl From<Ulimit> for String {
    fn from(limit: Ulimit) -> Self {
        limit.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_processes_are_read_as_dockers() {
        let limit: Ulimit = "nofile=10:20".parse().unwrap();
        assert_eq!((limit.name(), limit.soft, limit.hard), ("nofile", 10, 20));
        for (text, canonical) in [
            ("core=0", "core=0:0"),
            ("stack=-1", "stack=unlimited:unlimited"),
            ("cpu=1:unlimited", "cpu=1:unlimited"),
        ] {
            let limit: Ulimit = text.parse().unwrap();
            assert_eq!(limit.to_string(), canonical);
            assert_eq!(canonical.parse(), Ok(limit));
        }
        for bad in
            ["", "nofile", "nofile=", "nofile=a", "nofile=2:1", "nothing=1", "nofile=1:2:3", "nofile=+1"]
        {
            assert!(bad.parse::<Ulimit>().is_err(), "{bad:?} was accepted");
        }
    }
}
