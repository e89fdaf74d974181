//! `mydocker completion`

use std::process::ExitCode;

use clap::CommandFactory as _;

use crate::cli::{Arguments, CommandError, output};

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  source <(mydocker completion bash)")]
pub(super) struct Args {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl From<Shell> for clap_complete::Shell {
    fn from(shell: Shell) -> Self {
        match shell {
            Shell::Bash => Self::Bash,
            Shell::Zsh => Self::Zsh,
            Shell::Fish => Self::Fish,
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "all commands have the same signature")]
pub(super) fn run(args: &Args) -> Result<ExitCode, CommandError> {
    let mut script = Vec::new();
    let shell = clap_complete::Shell::from(args.shell);
    // What is hidden from the help is not to be completed either.
    let whole = Arguments::command();
    let shown = whole.get_subcommands().filter(|command| !command.is_hide_set());
    let mut command = clap::Command::new("mydocker")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_version_flag(true)
        .args(whole.get_arguments().cloned())
        .subcommands(shown.cloned());
    clap_complete::generate(shell, &mut command, "mydocker", &mut script);
    output::print(&String::from_utf8_lossy(&script));
    Ok(ExitCode::SUCCESS)
}
