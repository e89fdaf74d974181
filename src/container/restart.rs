//! When a container that has ended is started again, and after how long.
//!
//! The policy is the user's ([`RestartPolicy`]), the memory is the record's ([`Life`]), and the supervisor
//! decides by [`next`] when the container has ended. No daemon looks after it: a container comes back as long
//! as its supervisor lives, and nothing comes back after a reboot.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The first delay, and the one after a run that was long enough.
const SHORTEST: Duration = Duration::from_millis(100);

/// The longest delay. Each is twice the one before.
const LONGEST: Duration = Duration::from_secs(60);

/// A run of this length shows that the container works: its next end is a first one again.
const STEADY: Duration = Duration::from_secs(10);

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
    /// The same; after a reboot, Docker would start those of `Always` that the user had stopped.
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

/// What a container's record remembers from one run to the next.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Life {
    /// How often the policy has started it again since the user started it.
    pub restarts: u32,
    /// The milliseconds that it waited for the last time, 0 if it has not yet.
    pub delay: u64,
    /// Whether the user has ended the current run: then it stays ended.
    pub stopped: bool,
    /// Whether it is kept at its end even though it is to be removed then: it is about to be started again.
    pub kept: bool,
}

/// How long to wait before the container is started again; `None` if it is not to be.
#[must_use]
pub fn next(policy: RestartPolicy, life: &Life, code: u8, ran: Duration) -> Option<Duration> {
    let wanted = match policy {
        RestartPolicy::No => false,
        RestartPolicy::OnFailure(maximum) => {
            code != 0 && maximum.is_none_or(|maximum| life.restarts < maximum.get())
        }
        RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
    };
    if !wanted || life.stopped {
        return None;
    }
    let before = Duration::from_millis(life.delay);
    if ran >= STEADY || before.is_zero() { Some(SHORTEST) } else { Some((before * 2).min(LONGEST)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_millis(5);

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

    #[test]
    fn the_exit_status_and_the_count_decide() {
        let life = |restarts| Life { restarts, ..Life::default() };
        let again = |text, restarts, code| next(policy(text), &life(restarts), code, MOMENT).is_some();
        assert!(!again("no", 0, 1));
        assert!(again("always", 99, 0) && again("unless-stopped", 99, 1));
        assert!(again("on-failure", 99, 1) && !again("on-failure", 0, 0));
        assert!(again("on-failure:2", 1, 1) && !again("on-failure:2", 2, 1));
    }

    #[test]
    fn what_the_user_has_stopped_stays_so() {
        let life = Life { stopped: true, ..Life::default() };
        for text in ["always", "unless-stopped", "on-failure"] {
            assert_eq!(next(policy(text), &life, 1, MOMENT), None, "{text}");
        }
    }

    #[test]
    fn delays_double_up_to_a_minute_and_begin_anew_after_a_steady_run() {
        let mut life = Life::default();
        let mut delays = Vec::new();
        for _ in 0..12 {
            let delay = next(RestartPolicy::Always, &life, 0, MOMENT).unwrap();
            life.delay = u64::try_from(delay.as_millis()).unwrap();
            delays.push(life.delay);
        }
        assert_eq!(delays[..5], [100, 200, 400, 800, 1600]);
        assert_eq!(delays[9..], [51_200, 60_000, 60_000]);
        assert_eq!(next(RestartPolicy::Always, &life, 0, STEADY), Some(SHORTEST));
    }
}
