//! How a process is sent a signal and awaited without ever meeting another process that got its pid.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal as NixSignal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::container::request::signal::Signal;
use crate::process::Process;
use crate::sys;

/// How long a killed child may take to end.
const CHILD_PATIENCE: Duration = Duration::from_secs(1);

/// Why a process could not be signalled or awaited.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} process {pid}")]
pub struct ProcessError {
    /// What was tried.
    action: &'static str,
    /// On which process.
    pid: i32,
    /// What the kernel said.
    #[source]
    source: io::Error,
}

impl ProcessError {
    /// Whether the kernel does not let the caller do it: to root this happens where a profile of AppArmor or SELinux
    /// denies it.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self.source.raw_os_error(), Some(libc::EPERM | libc::EACCES))
    }
}

/// A descriptor of exactly `process`, or `None` if that process has ended.
fn open(process: Process) -> io::Result<Option<OwnedFd>> {
    match sys::pidfd_open(process.pid) {
        // Asked after the descriptor is there: had the pid changed hands before, the start time shows it.
        Ok(pidfd) => Ok(process.is_alive().then_some(pidfd)),
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sends `signal` to exactly `process`; false if it has ended already.
///
/// # Errors
/// The kernel refused, for example because the caller may not signal the process.
pub fn send(process: Process, signal: Signal) -> Result<bool, ProcessError> {
    let error = |source| ProcessError { action: "signal", pid: process.pid, source };
    let Some(pidfd) = open(process).map_err(error)? else {
        return Ok(false);
    };
    match sys::pidfd_send_signal(pidfd, signal.number()) {
        Ok(()) => Ok(true),
        Err(refused) if refused.raw_os_error() == Some(libc::ESRCH) => Ok(false),
        Err(refused) => Err(error(refused)),
    }
}

/// Waits until exactly `process` has ended, at most `patience` long (`None`: for ever); false if it still
/// runs then.
///
/// # Errors
/// The kernel cannot watch the process.
pub fn wait(process: Process, patience: Option<Duration>) -> Result<bool, ProcessError> {
    let error = |source| ProcessError { action: "wait for", pid: process.pid, source };
    let Some(pidfd) = open(process).map_err(error)? else {
        return Ok(true);
    };
    let deadline = patience.map(|patience| Instant::now() + patience);
    loop {
        let timeout = match deadline {
            None => PollTimeout::NONE,
            Some(deadline) => {
                // Rounded up, so that the last turn does not spin.
                let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            }
        };
        match poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) if deadline.is_some_and(|deadline| Instant::now() >= deadline) => return Ok(false),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(errno) => return Err(error(errno.into())),
        }
    }
}

/// Ends a child of this process at once, and waits for that, but not for long: one that a file system keeps in the kernel
/// ends when that lets it go, and what it leaves is reaped by whoever is its parent then.
pub fn end_child(pid: i32) {
    let pid = Pid::from_raw(pid);
    // It has not been reaped: the pid is its own.
    kill(pid, NixSignal::SIGKILL).ok();
    let deadline = Instant::now() + CHILD_PATIENCE;
    while matches!(waitpid(pid, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive))
        && Instant::now() < deadline
    {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_not_the_one_recorded_is_neither_signalled_nor_awaited() {
        let me = Process::current().unwrap();
        let another = Process { start_time: me.start_time + 1, ..me };
        assert!(!send(another, Signal::KILL).unwrap());
        assert!(wait(another, None).unwrap());
        assert!(!wait(me, Some(Duration::from_millis(5))).unwrap());
    }

    #[test]
    fn a_pid_that_became_a_threads_is_that_of_a_process_that_ended() {
        let me = Process::current().unwrap();
        std::thread::scope(|scope| {
            let (send_tid, tid) = std::sync::mpsc::channel();
            let (end, ended) = std::sync::mpsc::channel::<()>();
            scope.spawn(move || {
                send_tid.send(nix::unistd::gettid().as_raw()).unwrap();
                ended.recv().ok();
            });
            let process = Process { pid: tid.recv().unwrap(), ..me };
            assert!(!send(process, Signal::KILL).unwrap());
            assert!(wait(process, None).unwrap());
            drop(end);
        });
    }
}
