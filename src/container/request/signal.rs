//! Signals by name and number.

use std::fmt;
use std::str::FromStr;

use nix::libc;
use serde::{Deserialize, Serialize};

/// A signal that exists on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Signal(i32);

/// Why something is no signal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a signal: expected a name such as TERM or SIGTERM, RTMIN+3, or a number")]
pub struct SignalError(String);

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
}
