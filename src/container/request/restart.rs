//! When a container that has ended is to be started again, as the user asks for it.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// When a container is started again after its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// When its exit status is not zero, at most so many times in a row (`None`: without end).
    OnFailure(Option<NonZeroU32>),
    /// Whatever its exit status.
    Always,
    /// The same; but after a reboot, `boot` leaves what the user had stopped.
    UnlessStopped,
}

/// A text that is no restart policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestartPolicyError {
    /// No such policy.
    #[error("\"{0}\" is not a restart policy: expected no, on-failure[:N], always or unless-stopped")]
    Unknown(String),
    /// A count with a policy that has none.
    #[error("a number of restarts goes with on-failure only, not with {0}")]
    Counted(&'static str),
    /// Not a number.
    #[error("\"{0}\" is not a number of restarts")]
    Count(String),
}

impl RestartPolicy {
    /// The policy's name, without the number.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OnFailure(_) => "on-failure",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
        }
    }

    /// The most restarts in a row; 0 for any number, as Docker's `MaximumRetryCount`.
    #[must_use]
    pub fn maximum(self) -> u32 {
        match self {
            Self::OnFailure(Some(maximum)) => maximum.get(),
            _ => 0,
        }
    }
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnFailure(Some(maximum)) => write!(f, "on-failure:{maximum}"),
            _ => f.write_str(self.name()),
        }
    }
}

impl FromStr for RestartPolicy {
    type Err = RestartPolicyError;
    fn from_str(text: &str) -> Result<Self, RestartPolicyError> {
        let (name, count) = text.split_once(':').map_or((text, None), |(name, count)| (name, Some(count)));
        let policy = match name {
            "no" | "" => Self::No,
            "on-failure" => Self::OnFailure(None),
            "always" => Self::Always,
            "unless-stopped" => Self::UnlessStopped,
            _ => return Err(RestartPolicyError::Unknown(text.to_owned())),
        };
        match (policy, count) {
            (policy, None) => Ok(policy),
            (Self::OnFailure(_), Some(count)) => {
                let count: u32 = count.parse().map_err(|_| RestartPolicyError::Count(count.to_owned()))?;
                Ok(Self::OnFailure(NonZeroU32::new(count)))
            }
            (policy, Some(_)) => Err(RestartPolicyError::Counted(policy.name())),
        }
    }
}

impl TryFrom<String> for RestartPolicy {
    type Error = RestartPolicyError;
    fn try_from(text: String) -> Result<Self, RestartPolicyError> {
        text.parse()
    }
}

impl From<RestartPolicy> for String {
    fn from(policy: RestartPolicy) -> Self {
        policy.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> RestartPolicy {
        text.parse().unwrap()
    }

    #[test]
    fn policies_are_read_as_dockers_are() {
        for text in ["no", "on-failure", "on-failure:3", "always", "unless-stopped"] {
            assert_eq!(policy(text).to_string(), text);
        }
        assert_eq!(policy(""), RestartPolicy::No);
        assert_eq!(policy("on-failure:0"), RestartPolicy::OnFailure(None));
        for bad in ["sometimes", "on-failure:x", "on-failure:-1", "always:3", "no:1", "on-failure:1:2", "No"]
        {
            assert!(bad.parse::<RestartPolicy>().is_err(), "{bad:?} was accepted");
        }
    }
}
