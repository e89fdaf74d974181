//! How it is checked whether a container works.

use crate::cli::CommandError;
use crate::duration;
use crate::engine::{EngineError, HealthCheck, OnFailure, Settings};

/// How it is checked whether the container works
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Health")]
pub(super) struct HealthOptions {
    /// The shell command that checks the health: status 0 is healthy, any other is not (default: the image's)
    #[arg(long, value_name = "COMMAND")]
    health_cmd: Option<String>,
    /// The time between two checks, such as 10s or 1m30s (default: 30s)
    #[arg(long, value_name = "DURATION", value_parser = nanoseconds)]
    health_interval: Option<u64>,
    /// How long a check may take before it fails (default: 30s)
    #[arg(long, value_name = "DURATION", value_parser = nanoseconds)]
    health_timeout: Option<u64>,
    /// After how many failures in a row the container is unhealthy (default: 3)
    #[arg(long, value_name = "NUMBER")]
    health_retries: Option<u32>,
    /// How long after the start failures do not count (default: 0s)
    #[arg(long, value_name = "DURATION", value_parser = nanoseconds)]
    health_start_period: Option<u64>,
    /// The time between two checks in that time (default: 5s)
    #[arg(long, value_name = "DURATION", value_parser = nanoseconds)]
    health_start_interval: Option<u64>,
    /// What to do with a container that is unhealthy: none, kill, restart or stop
    #[arg(long, value_name = "ACTION", default_value_t)]
    health_on_failure: OnFailure,
    /// Do not check, whatever the image says
    #[arg(long)]
    no_healthcheck: bool,
}

/// A length of time; 0 stands for the default.
fn nanoseconds(text: &str) -> Result<u64, String> {
    const LEAST: u64 = 1_000_000;
    let length = duration::parse(text).and_then(|length| length.num_nanoseconds());
    match length.map(u64::try_from) {
        None => Err("expected a length of time such as 30s or 1m30s".to_owned()),
        Some(Ok(length)) if length == 0 || length >= LEAST => Ok(length),
        Some(_) => Err("the shortest time is 1ms".to_owned()),
    }
}

impl HealthOptions {
    /// An option that says something of the check.
    fn said(&self) -> Option<&'static str> {
        let said = [
            ("--health-cmd", self.health_cmd.is_some()),
            ("--health-interval", self.health_interval.is_some()),
            ("--health-timeout", self.health_timeout.is_some()),
            ("--health-retries", self.health_retries.is_some()),
            ("--health-start-period", self.health_start_period.is_some()),
            ("--health-start-interval", self.health_start_interval.is_some()),
            ("--health-on-failure", self.health_on_failure != OnFailure::None),
        ];
        said.into_iter().find_map(|(name, is_said)| is_said.then_some(name))
    }

    /// Fills in this group's part.
    pub(super) fn apply(self, settings: &mut Settings) -> Result<(), CommandError> {
        let said = self.said();
        if self.no_healthcheck {
            settings.health = Some(HealthCheck::none());
            return match said {
                None => Ok(()),
                Some(option) => {
                    let (option, other) = (option.to_owned(), "--no-healthcheck".to_owned());
                    Err(EngineError::Conflict { option, other }.into())
                }
            };
        }
        let line = self.health_cmd.filter(|line| !line.is_empty());
        settings.on_unhealthy = self.health_on_failure;
        settings.health = said.map(|_| HealthCheck {
            test: line.map(|line| vec!["CMD-SHELL".to_owned(), line]).unwrap_or_default(),
            interval: self.health_interval.unwrap_or(0),
            timeout: self.health_timeout.unwrap_or(0),
            start_period: self.health_start_period.unwrap_or(0),
            start_interval: self.health_start_interval.unwrap_or(0),
            retries: self.health_retries.unwrap_or(0),
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_dockers() {
        assert_eq!(nanoseconds("1m1ms"), Ok(60_001_000_000));
        assert_eq!(nanoseconds("0"), Ok(0));
        for bad in ["", "5", "-1s", "10us", "x", "999999999h"] {
            assert!(nanoseconds(bad).is_err(), "{bad}");
        }
    }
}
