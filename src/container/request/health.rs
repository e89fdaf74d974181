//! A health check: what is run in a container to see whether it works, how often, and what follows from it.
//!
//! It has the members that Docker's has, in images, in records and for `inspect`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The time between two checks.
const INTERVAL: Duration = Duration::from_secs(30);
/// How long one may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The time between two checks of a container that is starting.
const START_INTERVAL: Duration = Duration::from_secs(5);
/// After how many failures in a row the container is unhealthy.
const RETRIES: u32 = 3;

/// A health check as the user or the image wants it. What is 0 or empty was not said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
pub struct HealthCheck {
    /// `NONE`; `CMD` and the words of a command; or `CMD-SHELL` and a line for the shell.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// The nanoseconds between two checks.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: u64,
    /// The nanoseconds that one may take.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: u64,
    /// The nanoseconds after the start in which failures do not count.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: u64,
    /// The nanoseconds between two checks in that time.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: u64,
    /// After how many failures in a row the container is unhealthy.
    #[serde(skip_serializing_if = "is_none")]
    pub retries: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_none(number: &u32) -> bool {
    *number == 0
}

impl HealthCheck {
    /// That there is to be none, whatever the image says.
    #[must_use]
    pub fn none() -> Self {
        Self { test: vec!["NONE".to_owned()], ..Self::default() }
    }

    /// What an image says. What makes no sense in it was not said.
    #[must_use]
    pub fn of_image(said: &Value) -> Self {
        let number = |name: &str| said[name].as_u64().unwrap_or(0);
        let words = said["Test"].as_array().into_iter().flatten();
        Self {
            test: words.filter_map(Value::as_str).map(str::to_owned).collect(),
            interval: number("Interval"),
            timeout: number("Timeout"),
            start_period: number("StartPeriod"),
            start_interval: number("StartInterval"),
            retries: u32::try_from(number("Retries")).unwrap_or(u32::MAX),
        }
    }

    /// This one, with what it does not say taken from another.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let first = |own, others| if own == 0 { others } else { own };
        Self {
            test: if self.test.is_empty() { other.test } else { self.test },
            interval: first(self.interval, other.interval),
            timeout: first(self.timeout, other.timeout),
            start_period: first(self.start_period, other.start_period),
            start_interval: first(self.start_interval, other.start_interval),
            retries: if self.retries == 0 { other.retries } else { self.retries },
        }
    }

    /// The command that is run; `None` where nothing is checked.
    #[must_use]
    pub fn command(&self) -> Option<Vec<String>> {
        let (kind, words) = self.test.split_first()?;
        match (kind.as_str(), words) {
            ("CMD", [_, ..]) => Some(words.to_vec()),
            ("CMD-SHELL", [line, ..]) => Some(["/bin/sh", "-c", line].map(str::to_owned).to_vec()),
            _ => None,
        }
    }

    /// The time between two checks.
    #[must_use]
    pub fn interval(&self) -> Duration {
        said(self.interval, INTERVAL)
    }

    /// How long one may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        said(self.timeout, TIMEOUT)
    }

    /// How long after the start failures do not count.
    #[must_use]
    pub fn start_period(&self) -> Duration {
        Duration::from_nanos(self.start_period)
    }

    /// The time between two checks until then.
    #[must_use]
    pub fn start_interval(&self) -> Duration {
        said(self.start_interval, START_INTERVAL)
    }

    /// After how many failures in a row the container is unhealthy.
    #[must_use]
    pub fn retries(&self) -> u32 {
        if self.retries == 0 { RETRIES } else { self.retries }
    }
}

fn said(nanoseconds: u64, default: Duration) -> Duration {
    if nanoseconds == 0 { default } else { Duration::from_nanos(nanoseconds) }
}

/// What is done with a container that has become unhealthy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// It is shown as unhealthy.
    #[default]
    None,
    /// It is killed; its restart policy decides what comes then.
    Kill,
    /// It is stopped and started again.
    Restart,
    /// It is stopped.
    Stop,
}

impl fmt::Display for OnFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "none",
            Self::Kill => "kill",
            Self::Restart => "restart",
            Self::Stop => "stop",
        })
    }
}

impl FromStr for OnFailure {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" | "" => Ok(Self::None),
            "kill" => Ok(Self::Kill),
            "restart" => Ok(Self::Restart),
            "stop" => Ok(Self::Stop),
            _ => Err("expected none, kill, restart or stop".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_user_does_not_say_the_image_does_and_then_docker() {
        let image = HealthCheck::of_image(&json!({
            "Test": ["CMD", "check"], "Interval": 7, "Retries": 5, "Timeout": -1, "More": {},
        }));
        let own = HealthCheck { retries: 2, ..HealthCheck::default() };
        let both = own.or(image.clone());
        assert_eq!((both.interval(), both.retries(), both.timeout()), (Duration::from_nanos(7), 2, TIMEOUT));
        assert_eq!(both.command().unwrap(), ["check"]);
        assert_eq!((both.start_period(), both.start_interval()), (Duration::ZERO, START_INTERVAL));
        assert_eq!(HealthCheck::none().or(image).command(), None);
        assert_eq!(HealthCheck::default().retries(), RETRIES);
    }

    #[test]
    fn what_is_no_command_checks_nothing() {
        let command = |test: Value| HealthCheck::of_image(&json!({ "Test": test })).command();
        assert_eq!(command(json!(["CMD-SHELL", "a b"])).unwrap(), ["/bin/sh", "-c", "a b"]);
        for none in
            [json!(["NONE"]), json!([]), json!(null), json!(["CMD"]), json!(["DO", "x"]), json!("CMD")]
        {
            assert_eq!(command(none.clone()), None, "{none}");
        }
    }
}
