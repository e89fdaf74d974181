//! Commands that do the same to several containers, images or networks: one that fails does not keep the others.

use std::process::ExitCode;

use super::{CommandError, Context, output};
use crate::engine::{Engine, EngineError};

/// Does something to each container and prints what it was called by. One that fails does not keep the others.
pub(super) fn for_each(
    names: &[String],
    context: &mut Context,
    mut work: impl FnMut(&mut Engine, &str) -> Result<(), EngineError>,
) -> Result<ExitCode, CommandError> {
    let mut code = ExitCode::SUCCESS;
    for name in names {
        match work(context.engine()?, name) {
            Ok(()) => output::print(&format!("{name}\n")),
            Err(error) => {
                CommandError::from(error).report(context.log_format);
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

/// As [`for_each`] where something is removed: with `force`, one that is not there is told of, and is no failure.
pub(super) fn remove_each(
    names: &[String],
    force: bool,
    context: &mut Context,
    mut work: impl FnMut(&mut Engine, &str) -> Result<Vec<String>, EngineError>,
) -> Result<ExitCode, CommandError> {
    let mut code = ExitCode::SUCCESS;
    for name in names {
        match work(context.engine()?, name) {
            Ok(removed) => removed.iter().for_each(|line| output::print(&format!("{line}\n"))),
            Err(error) => {
                if !(force && error.is_not_found()) {
                    code = ExitCode::FAILURE;
                }
                CommandError::from(error).report(context.log_format);
            }
        }
    }
    Ok(code)
}

/// Prints what is told of each. One that fails does not keep the others.
pub(super) fn print_each(
    names: &[String],
    context: &mut Context,
    mut tell: impl FnMut(&mut Engine, &str) -> Result<String, EngineError>,
) -> Result<ExitCode, CommandError> {
    let mut code = ExitCode::SUCCESS;
    for name in names {
        match tell(context.engine()?, name) {
            Ok(text) => output::print(&text),
            Err(error) => {
                CommandError::from(error).report(context.log_format);
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}
