//! mydocker in the place of another engine's program: no command line, but an environment and standard input, and one
//! object on standard output.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use tracing_subscriber::filter::LevelFilter;

use super::log_file::log_to_stderr;
use super::{FAILED, LogFormat, output, supervisor_arguments};
use crate::engine::Layout;
use crate::plugin::{Answer, Role, Roots};

/// Answers if the program was called by another engine.
pub(super) fn answer(arguments: &[OsString]) -> Option<ExitCode> {
    let (program, rest) = arguments.split_first()?;
    let role = Role::of(program, rest.len(), |name| env::var_os(name).is_some())?;
    let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    let level = variable("MYDOCKER_LOG").and_then(|level| level.to_str()?.parse().ok());
    let _log = log_to_stderr(level.unwrap_or(LevelFilter::WARN), LogFormat::Text);
    let path = |name, default: &str| PathBuf::from(variable(name).unwrap_or_else(|| default.into()));
    let (root, run_root) =
        (path("MYDOCKER_ROOT", "/var/lib/mydocker"), path("MYDOCKER_RUN_ROOT", "/run/mydocker"));
    let words = supervisor_arguments(
        &Layout::new(&root, &run_root),
        level.unwrap_or(LevelFilter::WARN),
        LogFormat::Text,
    );
    let roots = Roots { root, run_root, words };
    let text = |name: &str| env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let Answer { result, remark, status } = role.answer(roots, rest, text, io::stdin().lock());
    // Nobody reads it: nothing to be done.
    io::stderr().write_all(remark.as_bytes()).ok();
    let is_printed = output::try_print(&result);
    Some(ExitCode::from(if is_printed { status } else { FAILED }))
}
