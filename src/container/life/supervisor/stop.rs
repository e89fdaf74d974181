//! How a supervisor that is asked to end ends its process first.

use std::fmt;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal as NixSignal};

use super::Supervisor;
use crate::container::life::signal;
use crate::container::request::signal::Signal;
use crate::container::run::cgroup::{self, GroupPath, Hierarchy};

/// How a process is ended when its supervisor is asked to end (`SIGTERM`), as it is when the host is shut down.
pub struct Stop {
    /// What it is sent.
    pub signal: Signal,
    /// How long it may take to end before it is killed.
    pub timeout: Duration,
    /// The groups of the container, which goes on if it is paused: what is frozen cannot end.
    pub container: Option<GroupPath>,
    /// Called with each signal before it is sent because of that, or because a container is unhealthy.
    pub tell: Box<dyn Fn(Signal)>,
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stop")
            .field("signal", &self.signal)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// The signals that a supervisor waits for, instead of being ended by them.
pub(super) fn watched_signals() -> SigSet {
    [NixSignal::SIGCHLD, NixSignal::SIGTERM, NixSignal::SIGINT, NixSignal::SIGHUP].into_iter().collect()
}

impl Supervisor {
    pub(super) fn take_signals(&mut self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            if i32::try_from(info.ssi_signo) == Ok(NixSignal::SIGTERM as i32) {
                self.again = false;
                self.end();
            }
        }
    }

    pub(super) fn kill(&self) {
        (self.stop.tell)(Signal::KILL);
        let refused = signal::send(self.process, Signal::KILL).is_err();
        if let (true, Some(group), Ok(hierarchy)) = (refused, &self.stop.container, Hierarchy::of_host()) {
            cgroup::kill_all(hierarchy, group);
        }
    }

    /// Asks the process to end, and sees to it that it does.
    pub(super) fn end(&mut self) {
        if std::mem::replace(&mut self.asked, true) {
            return;
        }
        (self.stop.tell)(self.stop.signal);
        self.signal(self.stop.signal);
        if let (Some(group), Ok(hierarchy)) = (&self.stop.container, Hierarchy::of_host()) {
            // Where that fails, the process is killed in time.
            cgroup::thaw(hierarchy, group).ok();
        }
        self.kills_at = Some(Instant::now() + self.stop.timeout);
    }

    pub(super) fn signal(&self, signal: Signal) {
        // It has ended if it cannot be signalled, and that is about to be noticed.
        signal::send(self.process, signal).ok();
    }
}
