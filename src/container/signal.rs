//! Signals by name and number, and how a process is sent one and awaited without ever meeting another
//! process that got its pid.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::str::FromStr;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};

use crate::process::Process;
use crate::sys;

/// A signal that exists on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Signal(i32);

/// Why something is no signal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a signal: expected a name such as TERM or SIGTERM, RTMIN+3, or a number")]
pub struct SignalError(String);

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

impl Signal {
    /// Ends a process at once; it cannot be handled.
    pub const KILL: Self = Self(libc::SIGKILL);
    /// Asks a process to end.
    pub const TERM: Self = Self(libc::SIGTERM);

    /// The signal with this number.
    ///
    /// # Errors
    /// There is none.
    pub fn from_number(number: i32) -> Result<Self, SignalError> {
        if (1..=libc::SIGRTMAX()).contains(&number) {
            Ok(Self(number))
        } else {
            Err(SignalError(number.to_string()))
        }
    }

    /// The kernel's number of it.
    #[must_use]
    pub fn number(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match nix::sys::signal::Signal::try_from(self.0) {
            Ok(signal) => f.write_str(signal.as_str()),
            Err(_) => write!(f, "{}", self.0),
        }
    }
}

impl From<Signal> for String {
    fn from(signal: Signal) -> Self {
        signal.to_string()
    }
}

impl TryFrom<String> for Signal {
    type Error = SignalError;
    fn try_from(text: String) -> Result<Self, SignalError> {
        text.parse()
    }
}

impl FromStr for Signal {
    type Err = SignalError;
    fn from_str(text: &str) -> Result<Self, SignalError> {
        let wrong = || SignalError(text.to_owned());
        if let Ok(number) = text.parse() {
            return Self::from_number(number).map_err(|_| wrong());
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let real_time = |offset: &str, base: i32, sign: i32| {
            let offset: i32 = if offset.is_empty() { 0 } else { offset.parse().map_err(|_| wrong())? };
            let number = base + sign * offset;
            let valid = (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&number);
            if valid { Ok(Self(number)) } else { Err(wrong()) }
        };
        if let Some(rest) = name.strip_prefix("RTMIN") {
            return real_time(rest.strip_prefix('+').unwrap_or(rest), libc::SIGRTMIN(), 1);
        }
        if let Some(rest) = name.strip_prefix("RTMAX") {
            return real_time(rest.strip_prefix('-').unwrap_or(rest), libc::SIGRTMAX(), -1);
        }
        let known: nix::sys::signal::Signal = format!("SIG{name}").parse().map_err(|_| wrong())?;
        Ok(Self(known as i32))
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
    match sys::pidfd_send_signal(pidfd, signal.0) {
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

/// Asks `process` to end with `signal`, and kills it if it still runs after `grace` (`None`: it may take for
/// ever). It has ended when the call returns; true if it did so by itself.
///
/// # Errors
/// The process cannot be signalled or watched.
pub fn terminate(process: Process, signal: Signal, grace: Option<Duration>) -> Result<bool, ProcessError> {
    send(process, signal)?;
    if wait(process, grace)? {
        return Ok(true);
    }
    send(process, Signal::KILL)?;
    wait(process, None)?;
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_read_as_dockers_are() {
        for text in ["15", "TERM", "SIGTERM", "term", "sigterm"] {
            assert_eq!(text.parse::<Signal>().unwrap(), Signal::TERM, "{text}");
        }
        assert_eq!("RTMIN+3".parse::<Signal>().unwrap().number(), libc::SIGRTMIN() + 3);
        assert_eq!("SIGRTMAX-1".parse::<Signal>().unwrap().number(), libc::SIGRTMAX() - 1);
        for bad in ["", "0", "-1", "65", "SIGNOTHING", "RTMIN+99", "RTMAX-99", "1x"] {
            assert!(bad.parse::<Signal>().is_err(), "{bad:?} was accepted");
        }
        for number in 1..=libc::SIGRTMAX() {
            let signal = Signal::from_number(number).unwrap();
            assert_eq!(signal.to_string().parse::<Signal>().unwrap(), signal);
        }
    }

    #[test]
    fn a_process_that_is_not_the_one_recorded_is_neither_signalled_nor_awaited() {
        let me = Process::current().unwrap();
        let another = Process { start_time: me.start_time + 1, ..me };
        assert!(!send(another, Signal::KILL).unwrap());
        assert!(wait(another, None).unwrap());
        assert!(terminate(another, Signal::KILL, None).unwrap());
        assert!(!wait(me, Some(Duration::from_millis(5))).unwrap());
    }
}
