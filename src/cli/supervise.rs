//! `mydocker supervise`: not for people. The engine starts it for each container and each `exec`.

use std::process::ExitCode;

use crate::cli::{CommandError, Context};

/// Watch over one container; started by mydocker itself
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let log = context.log.clone();
    Ok(ExitCode::from(context.engine()?.supervise(&|| log.close())?))
}
