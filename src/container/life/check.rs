//! One health check: a command in the container whose output and time are bounded, and which ends with all that it has
//! started.
//!
//! It is run by a process of its own, which the container's supervisor starts for each check: between two checks there is
//! nothing, and nothing of this stays in the supervisor's memory.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use chrono::Utc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::container::life::health::Outcome;
use crate::container::request::config::{Argv, Config};
use crate::container::request::health::HealthCheck;
use crate::container::run::cgroup::{self, CgroupError, GroupPath, Hierarchy};
use crate::container::run::exec::{self, ExecRequest};
use crate::container::run::runtime::{RuntimeError, Task};
use crate::container::run::stdio::Streams;
use crate::duration;
use crate::names::ContainerId;
use crate::process::Process;

/// The most bytes of output that are kept, as with Docker. The rest is read and dropped.
const OUTPUT_MAX: usize = 4096;

/// How long the init process beside the command may take to end when there is nobody left that it waits for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Checks a container whose first process is `init`, and returns when no process of the check is left. `None` if there is
/// no result: the container is paused, or has ended.
#[must_use]
pub fn run(id: &ContainerId, config: &Config, init: Process, check: &HealthCheck) -> Option<Outcome> {
    let hierarchy = Hierarchy::of_host().ok()?;
    let group = &GroupPath::of(id, config);
    if cgroup::is_freezing(hierarchy, group) {
        return None;
    }
    let (start, deadline) = (Utc::now(), Instant::now() + check.timeout());
    // What one has left that was killed.
    if let Err(error) = cgroup::end_apart(hierarchy, group, None) {
        let failed = Outcome { start, end: Utc::now(), exit_code: -1, output: in_words(&error) };
        return (!cgroup::is_freezing(hierarchy, group)).then_some(failed);
    }
    let (exit_code, output) = match begin(id, config, init, check, (hierarchy, group)) {
        Ok(running) => running.finish(hierarchy, group, (deadline, check.timeout()))?,
        Err(RuntimeError::NotRunning(_) | RuntimeError::Paused(_)) => return None,
        Err(_) if Instant::now() >= deadline && cgroup::is_freezing(hierarchy, group) => {
            cgroup::kill_apart(hierarchy, group);
            return None;
        }
        // A process of the container has stopped it before it had begun.
        Err(_) if Instant::now() >= deadline => (-1, too_late(check.timeout(), "")),
        Err(error) => (-1, in_words(&error)),
    };
    cgroup::end_apart(hierarchy, group, None).ok();
    Some(Outcome { start, end: Utc::now(), exit_code, output })
}

fn begin(
    id: &ContainerId,
    config: &Config,
    init: Process,
    check: &HealthCheck,
    (hierarchy, group): (&Hierarchy, &GroupPath),
) -> Result<Running, RuntimeError> {
    let command = check.command().and_then(|words| Argv::new(words).ok());
    let command = command.ok_or_else(|| RuntimeError::NotRunning(id.clone()))?;
    let request = ExecRequest {
        command,
        env: Vec::new(),
        env_absent: Vec::new(),
        working_dir: None,
        user: None,
        tty: false,
        open_stdin: false,
        size: None,
        privileged: false,
        apart: Some(check.timeout()),
    };
    let Task { process, streams, mut start } = exec::exec(id, config, init, &request)?;
    let outputs = match streams {
        Streams::Pipes { stdout, stderr, .. } => vec![File::from(stdout), File::from(stderr)],
        Streams::Terminal(master) => vec![File::from(master)],
    };
    let running = Running { init: process, outputs, output: Vec::new(), is_cut: false };
    if let Err(error) = start.start() {
        // The time may have been over while the command began.
        running.end(hierarchy, group).ok();
        return Err(error);
    }
    Ok(running)
}

fn too_late(timeout: Duration, output: &str) -> String {
    let said = if output.is_empty() { String::new() } else { format!(": {output}") };
    format!("Health check exceeded timeout ({}){said}", duration::text(timeout))
}

fn in_words(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// A check that runs.
struct Running {
    /// The init process beside the command (see `container::run::init`).
    init: Process,
    /// Where its output is read.
    outputs: Vec<File>,
    output: Vec<u8>,
    /// Whether there was more.
    is_cut: bool,
}

/// How the init process beside the command is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// The command runs.
    Alive,
    /// The command has ended and left others.
    Stopped,
    /// All have ended.
    Ended(i32),
}

impl Running {
    /// Waits for the result. `None`: the container was paused meanwhile, and it is too late for one.
    fn finish(
        mut self,
        hierarchy: &Hierarchy,
        group: &GroupPath,
        (deadline, timeout): (Instant, Duration),
    ) -> Option<(i32, String)> {
        let seen = self.watch(deadline);
        if seen == Seen::Alive && cgroup::is_freezing(hierarchy, group) {
            // All of it ends as soon as the container goes on.
            cgroup::kill_apart(hierarchy, group);
            return None;
        }
        self.read();
        let code = match seen {
            Seen::Ended(code) => code,
            Seen::Alive | Seen::Stopped => match self.end(hierarchy, group) {
                Ok(code) => code,
                Err(_) if cgroup::is_freezing(hierarchy, group) => {
                    // It was paused a moment ago. What was sent to them ends them when it goes on.
                    cgroup::kill_apart(hierarchy, group);
                    return None;
                }
                Err(_) => -1,
            },
        };
        let output = self.text();
        if seen == Seen::Alive {
            return Some((-1, too_late(timeout, &output)));
        }
        Some((code, output))
    }

    /// Reads its output until the command has ended or the time is up.
    fn watch(&mut self, deadline: Instant) -> Seen {
        let signals = SigSet::from_iter([Signal::SIGCHLD]);
        let ended = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK);
        let Ok(ended) = ended else { return self.look() };
        loop {
            while let Ok(Some(_)) = ended.read_signal() {}
            let seen = self.look();
            let left = deadline.saturating_duration_since(Instant::now());
            if seen != Seen::Alive || left.is_zero() {
                return seen;
            }
            let mut fds = vec![PollFd::new(ended.as_fd(), PollFlags::POLLIN)];
            fds.extend(self.outputs.iter().map(|output| PollFd::new(output.as_fd(), PollFlags::POLLIN)));
            // Rounded up, so that the last turn does not spin.
            let left = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
            poll(&mut fds, left).ok();
            self.read_once();
        }
    }

    /// How the init process is now.
    fn look(&self) -> Seen {
        let flags = WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED;
        match waitpid(Pid::from_raw(self.init.pid), Some(flags)) {
            Ok(WaitStatus::Exited(_, code)) => Seen::Ended(code),
            Ok(WaitStatus::Signaled(_, signal, _)) => Seen::Ended(128 + signal as i32),
            Ok(WaitStatus::Stopped(..)) => Seen::Stopped,
            Ok(_) => Seen::Alive,
            Err(_) => Seen::Ended(-1),
        }
    }

    /// Ends all of it. The init process ends by itself, as the last one: it reaps the others, which would otherwise become
    /// zombies of the container's first process. Returns the command's status.
    fn end(&self, hierarchy: &Hierarchy, group: &GroupPath) -> Result<i32, CgroupError> {
        let deadline = Instant::now() + PATIENCE;
        let pid = Pid::from_raw(self.init.pid);
        loop {
            // Again and again: it may be about to start the command.
            cgroup::end_apart(hierarchy, group, Some(self.init.pid))?;
            if let Seen::Ended(code) = self.look() {
                return Ok(code);
            }
            if Instant::now() >= deadline {
                // A process of the container has stopped it, or it was paused a moment ago: then it ends when it goes on,
                // and the next check clears up.
                kill(pid, Signal::SIGKILL).ok();
                return Ok(-1);
            }
            kill(pid, Signal::SIGCONT).ok();
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Reads what is there.
    fn read(&mut self) {
        // What a process writes that is about to be ended is not waited for.
        for _ in 0..64 {
            if !self.read_once() {
                return;
            }
        }
    }

    /// Reads a block from each of its outputs that has something; false if none has.
    fn read_once(&mut self) -> bool {
        let mut block = [0; OUTPUT_MAX];
        let mut any = false;
        let (output, is_cut) = (&mut self.output, &mut self.is_cut);
        self.outputs.retain_mut(|file| {
            let mut ready = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
            if !matches!(poll(&mut ready, PollTimeout::ZERO), Ok(1)) {
                return true;
            }
            let size = file.read(&mut block).unwrap_or(0);
            let kept = size.min(OUTPUT_MAX - output.len());
            output.extend_from_slice(&block[..kept]);
            *is_cut |= kept < size;
            any |= size > 0;
            size > 0
        });
        any
    }

    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.output);
        if self.is_cut { format!("{text}...") } else { text.into_owned() }
    }
}
