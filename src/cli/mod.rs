//! The command line: arguments in, tables, JSON and exit codes out. No business rule lives here.

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the command that `arguments` (the program's name first) asks for.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    drop(arguments.into_iter());
    ExitCode::SUCCESS
}
