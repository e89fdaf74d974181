//! When a container that has ended is started again, and after how long.
//!
//! The policy is the user's ([`RestartPolicy`]), the memory is the record's ([`Life`]), and the supervisor
//! decides by [`next`] when the container has ended. No daemon looks after it: a container comes back as long
//! as its supervisor lives, and after a reboot by `mydocker boot`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::container::request::restart::RestartPolicy;
use crate::process::Process;

/// The first delay, and the one after a run that was long enough.
const SHORTEST: Duration = Duration::from_millis(100);

/// The longest delay. Each is twice the one before.
const LONGEST: Duration = Duration::from_secs(60);

/// A run of this length shows that the container works: its next end is a first one again.
const STEADY: Duration = Duration::from_secs(10);

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
    /// The command that has ended the run and is about to start the container again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarter: Option<Process>,
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
