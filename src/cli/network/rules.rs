//! `mydocker network rules`

use std::process::ExitCode;

use crate::cli::output::print;
use crate::cli::{CommandError, Context};

/// Print the table inet mydocker as the kernel holds it, in nft's syntax; nft itself is not needed
///
/// Every rule that drops packets counts them: the one whose number rises is the one that drops yours.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  mydocker network rules\n  mydocker network rules | grep counter")]
pub(in crate::cli) struct Args {}

pub(super) fn run(_: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    // Without networks there is no table, and nothing to print.
    if let Some(rules) = context.engine()?.rules()? {
        print(&rules);
    }
    Ok(ExitCode::SUCCESS)
}
