//! Logging in to and out of registries.

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};

use super::EngineError;
use crate::registry::{self, Credentials, Options, Registry, RegistryError};
use crate::sys;

/// Finds out whether a registry takes credentials.
///
/// # Errors
/// It does not, or cannot be used.
pub(super) fn log_in(host: &str, options: &Options) -> Result<(), EngineError> {
    let registries = Registry::to_pull(host, "", true, options)?;
    let registry = registries.last().ok_or(RegistryError::GivenUp)?;
    Ok(registry.log_in()?)
}

/// Writes down who one is at a registry, where Docker and podman look as well. Returns the file.
///
/// # Errors
/// The file cannot be written.
pub(super) fn remember(host: &str, credentials: &Credentials) -> Result<PathBuf, EngineError> {
    Ok(registry::remember(host, credentials)?)
}

/// Forgets who one is at a registry. Whether anything was known.
///
/// # Errors
/// The file cannot be written.
pub(super) fn log_out(host: &str) -> Result<bool, EngineError> {
    Ok(registry::forget(host)?)
}

/// The user that is known for a registry.
///
/// # Errors
/// The file cannot be read.
pub(super) fn known_user(host: &str) -> Result<Option<String>, EngineError> {
    Ok(registry::known_user(host)?)
}

/// Runs `read` while the terminal behind standard input does not show what is typed.
///
/// # Errors
/// It is no terminal, or those of `read`.
pub fn without_echo<T>(read: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let terminal = io::stdin();
    let before = tcgetattr(&terminal)?;
    let mut silent = before.clone();
    silent.local_flags.remove(LocalFlags::ECHO);
    silent.local_flags.insert(LocalFlags::ECHONL);
    tcsetattr(&terminal, SetArg::TCSAFLUSH, &silent)?;
    let result = read();
    tcsetattr(&terminal, SetArg::TCSAFLUSH, &before)?;
    result
}

/// The rows and columns of a terminal.
///
/// # Errors
/// It is none.
pub fn terminal_size(terminal: impl AsFd) -> io::Result<(u16, u16)> {
    let size = sys::window_size(terminal)?;
    Ok((size.rows, size.columns))
}
