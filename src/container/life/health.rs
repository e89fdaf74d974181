//! How a container is by its health check: what is kept of the last checks, and what follows from one.
//!
//! ```text
//! ROOT/containers/ID/health.json               replaced whole after each check
//! RUN_ROOT/containers/ID/health-unsaved.json   the same, if the disk of the other one is full
//! ```
//!
//! It names the first process of the run that it is about. What it says of another run counts for its log only, so that a
//! start has nothing to write.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::container::life::record::State;
use crate::container::request::health::HealthCheck;
use crate::names::ContainerId;
use crate::process::Process;
use crate::store::{self, Durability, Layout};

/// How many results are kept.
const KEPT: usize = 5;

/// How a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// No check has succeeded, and not enough have failed.
    Starting,
    /// The last check that counts has succeeded.
    Healthy,
    /// As many checks in a row have failed as were allowed to; or the container does not run.
    Unhealthy,
}

impl HealthStatus {
    /// Docker's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// When it was begun.
    pub start: DateTime<Utc>,
    /// When it had ended.
    pub end: DateTime<Utc>,
    /// Its exit status; -1 for one that could not be run, or took too long.
    pub exit_code: i32,
    /// What it wrote, or why there was no result.
    pub output: String,
}

/// How a container is, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// The first process of the run.
    run: Option<Process>,
    /// How it is.
    pub status: HealthStatus,
    /// How many checks in a row have failed.
    pub failing_streak: u32,
    /// The last results, the oldest first.
    pub log: Vec<Outcome>,
}

impl Health {
    /// How a container in this state is; `None` if nothing is checked, or it never ran.
    #[must_use]
    pub fn of(layout: &Layout, id: &ContainerId, check: Option<&HealthCheck>, state: &State) -> Option<Self> {
        check?.command()?;
        match state {
            State::Created | State::Starting { again: false, .. } => None,
            State::Running { init, .. } => Some(Self::of_run(layout, id, *init)),
            // As with Docker: nobody finds it healthy.
            _ => Some(Self { status: HealthStatus::Unhealthy, ..Self::load(&file(layout, id)) }),
        }
    }

    /// How the container is whose first process this is.
    #[must_use]
    pub fn of_run(layout: &Layout, id: &ContainerId, init: Process) -> Self {
        let known = [file(layout, id), other_file(layout, id)].map(|file| Self::load(&file));
        // Whoever was killed between the two left both.
        let latest = |health: &&Self| health.log.last().map(|outcome| outcome.end);
        if let Some(last) = known.iter().filter(|health| health.run == Some(init)).max_by_key(latest) {
            return last.clone();
        }
        let [Self { log, .. }, _] = known;
        Self { run: Some(init), status: HealthStatus::Starting, failing_streak: 0, log }
    }

    fn load(file: &Path) -> Self {
        let text = std::fs::read(file).ok();
        // What cannot be read is not worth an error: the next check writes it anew.
        text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or(Self {
            run: None,
            status: HealthStatus::Starting,
            failing_streak: 0,
            log: Vec::new(),
        })
    }

    /// Writes it down.
    ///
    /// # Errors
    /// Neither file can be written; the old one is still in place.
    pub fn save(&self, layout: &Layout, id: &ContainerId) -> std::io::Result<()> {
        let (text, other) = (serde_json::to_vec(self)?, other_file(layout, id));
        match store::write_atomic(&file(layout, id), &text, Durability::Process) {
            Ok(()) => store::remove_if_exists(&other),
            Err(error) => store::write_atomic(&other, &text, Durability::Process).map_err(|_| error),
        }
    }

    /// Takes note of a check of a container that was started then. Docker's rules.
    pub fn note(&mut self, check: &HealthCheck, started: DateTime<Utc>, outcome: Outcome) {
        let since_start = (outcome.start - started).to_std().unwrap_or_default();
        if outcome.exit_code == 0 {
            self.failing_streak = 0;
            self.status = HealthStatus::Healthy;
        } else if self.status != HealthStatus::Starting || since_start >= check.start_period() {
            self.failing_streak = self.failing_streak.saturating_add(1);
            if self.failing_streak >= check.retries() {
                self.status = HealthStatus::Unhealthy;
            }
        }
        self.log.push(outcome);
        let excess = self.log.len().saturating_sub(KEPT);
        self.log.drain(..excess);
    }
}

fn file(layout: &Layout, id: &ContainerId) -> PathBuf {
    layout.container(id).join("health.json")
}

fn other_file(layout: &Layout, id: &ContainerId) -> PathBuf {
    layout.container_run(id).join("health-unsaved.json")
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn outcome(start: DateTime<Utc>, exit_code: i32) -> Outcome {
        Outcome { start, end: start, exit_code, output: String::new() }
    }

    fn fresh() -> Health {
        Health { run: None, status: HealthStatus::Starting, failing_streak: 0, log: Vec::new() }
    }

    #[test]
    fn failures_count_after_the_start_period_or_the_first_success() {
        let started = Utc::now();
        let second = 1_000_000_000;
        let check = HealthCheck { retries: 2, start_period: 10 * second, ..HealthCheck::default() };
        let at = |seconds| started + TimeDelta::seconds(seconds);
        let mut health = fresh();
        let mut seen = Vec::new();
        for (seconds, code) in [(1, 1), (2, 1), (9, 1), (10, 1), (11, 1), (12, 0), (13, 1), (14, 9)] {
            health.note(&check, started, outcome(at(seconds), code));
            seen.push((health.status.as_str(), health.failing_streak));
        }
        let (starting, healthy, unhealthy) = ("starting", "healthy", "unhealthy");
        assert_eq!(seen[..4], [(starting, 0), (starting, 0), (starting, 0), (starting, 1)]);
        assert_eq!(seen[4..], [(unhealthy, 2), (healthy, 0), (healthy, 1), (unhealthy, 2)]);
        let codes: Vec<i32> = health.log.iter().map(|outcome| outcome.exit_code).collect();
        assert_eq!(codes, [1, 1, 0, 1, 9]);
        let mut early = fresh();
        early.note(&check, started, outcome(at(1), 0));
        early.note(&check, started, outcome(at(2), 1));
        assert_eq!((early.status, early.failing_streak), (HealthStatus::Healthy, 1));
    }

    #[test]
    fn what_is_kept_is_of_one_run_and_its_log_of_all() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path(), directory.path());
        let id = ContainerId::generate().unwrap();
        store::make_directories(&layout.container(&id)).unwrap();
        let run = |start_time| Process { pid: 1, start_time };
        let mut health = Health::of_run(&layout, &id, run(1));
        health.note(&HealthCheck::default(), Utc::now(), outcome(Utc::now(), 0));
        health.save(&layout, &id).unwrap();
        assert_eq!(Health::of_run(&layout, &id, run(1)), health);
        let next = Health::of_run(&layout, &id, run(2));
        assert_eq!((next.status, next.log.len()), (HealthStatus::Starting, 1));
    }
}
