//! A supervisor's side of the container's health checks: when the next one is due, and what its end asks for.
//!
//! The check itself is a process of our own binary (`container::life::check`), whose exit status is its verdict. So the
//! supervisor has one more deadline and one more child, and nothing else.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use super::{SETTLED, Supervisor};
use crate::container::life::signal;
use crate::container::request::health::{HealthCheck, OnFailure};
use crate::container::run::cgroup::{self, Hierarchy};

/// What a check has found, as the exit status of its process: none of those that mydocker has for errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The container is healthy, or unhealthy and that is only shown.
    Known = 40,
    /// It is starting still.
    Starting = 41,
    /// It has become unhealthy, and something is to be done.
    Act = 42,
    /// There was no check, because the container is paused.
    Nothing = 43,
}

impl Verdict {
    const ALL: [Self; 4] = [Self::Known, Self::Starting, Self::Act, Self::Nothing];

    /// The exit status.
    #[must_use]
    pub fn status(self) -> u8 {
        self as u8
    }
}

/// Starts the process of one check, and returns its pid.
type Begin = Box<dyn Fn() -> io::Result<i32>>;

/// The health checks of a container.
pub struct Checks {
    begin: Begin,
    on_failure: OnFailure,
    interval: Duration,
    start_interval: Duration,
    /// When failures begin to count.
    counts_from: Instant,
    is_starting: bool,
    next: Option<Instant>,
    running: Option<i32>,
    /// When the last one was begun.
    began: Option<Instant>,
}

/// A check is a process of mydocker's, which no limit of the container's holds, and an image may say how often there is one.
/// So there is a pause of so many times what the last one took, if that is not longer than this.
const PAUSE: u32 = 9;
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl fmt::Debug for Checks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checks")
            .field("next", &self.next)
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}

impl Checks {
    /// Those of a container that is starting now. `begin` starts the process of one.
    pub fn new(check: &HealthCheck, on_failure: OnFailure, begin: Begin) -> Box<Self> {
        let mut checks = Self {
            begin,
            on_failure,
            interval: check.interval(),
            start_interval: check.start_interval(),
            counts_from: Instant::now() + check.start_period(),
            is_starting: true,
            next: None,
            running: None,
            began: None,
        };
        checks.wait();
        Box::new(checks)
    }

    /// When the next one is due, if none is running.
    pub(super) fn due(&self) -> Option<Instant> {
        self.next
    }

    fn wait(&mut self) {
        let now = Instant::now();
        let is_early = self.is_starting && now < self.counts_from;
        let interval = if is_early { self.start_interval } else { self.interval };
        let took = self.began.take().map_or(Duration::ZERO, |began| now - began);
        self.next = Some(now + interval.max(took.saturating_mul(PAUSE).min(LONGEST_PAUSE)));
    }

    /// Ends a check that is running, and begins no other.
    pub(super) fn end(&mut self) {
        self.next = None;
        if let Some(pid) = self.running.take() {
            signal::end_child(pid);
        }
    }
}

impl Supervisor {
    /// Begins a check if one is due.
    pub(super) fn check_health(&mut self) {
        let Some(checks) = &mut self.checks else { return };
        // How a container is that is about to end is not the question any more.
        if self.asked {
            checks.next = None;
            return;
        }
        if checks.next.is_none_or(|at| at > Instant::now()) {
            return;
        }
        checks.began = Some(Instant::now());
        match (checks.begin)() {
            Ok(pid) => (checks.running, checks.next) = (Some(pid), None),
            // No process is to be had at the moment.
            Err(_) => checks.wait(),
        }
        self.forgets_at = Some(Instant::now() + SETTLED);
    }

    /// Takes note of the end of a check, if this child was one.
    pub(super) fn note_check(&mut self, pid: i32, code: i32) {
        let Some(checks) = self.checks.as_mut().filter(|checks| checks.running == Some(pid)) else { return };
        checks.running = None;
        let verdict = Verdict::ALL.into_iter().find(|verdict| i32::from(verdict.status()) == code);
        match verdict {
            Some(Verdict::Known | Verdict::Act) => checks.is_starting = false,
            Some(Verdict::Starting) => checks.is_starting = true,
            Some(Verdict::Nothing) => {}
            // It was killed, maybe while it held processes of the container.
            None => {
                if let (Some(group), Ok(hierarchy)) = (&self.stop.container, Hierarchy::of_host()) {
                    cgroup::thaw_apart(hierarchy, group);
                }
            }
        }
        checks.wait();
        // Once: a second one would look like the wish of somebody else.
        if verdict == Some(Verdict::Act) && self.ended.is_none() && !self.asked {
            match checks.on_failure {
                OnFailure::None => {}
                OnFailure::Kill => self.kill(),
                OnFailure::Stop => self.end(),
                OnFailure::Restart => {
                    self.again = true;
                    self.end();
                }
            }
        }
    }
}
