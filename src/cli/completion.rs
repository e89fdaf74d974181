//! `mydocker completion`, and what the scripts that it prints ask for.
//!
//! A script has this very program complete the words (`MYDOCKER_COMPLETE=SHELL mydocker -- WORDS`), which knows the
//! options of each command, their values, and what there is on this host.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use clap::{Arg, Command, CommandFactory as _, ValueHint};
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, ValueCompleter};
use clap_complete::env::Shells;

use crate::cli::{Arguments, CommandError, failed, output};
use crate::engine::{Layout, Named, names};

/// The variable by which a shell asks for completions.
const VARIABLE: &str = "MYDOCKER_COMPLETE";

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

impl Shell {
    fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
        }
    }
}

pub(super) fn run(args: &Args) -> Result<ExitCode, CommandError> {
    let mut script = Vec::new();
    let shells = Shells::builtins();
    let written = shells
        .completer(args.shell.name())
        .map(|shell| shell.write_registration(VARIABLE, "mydocker", "mydocker", "mydocker", &mut script));
    if !matches!(written, Some(Ok(()))) {
        return Err(failed("cannot write the script", None));
    }
    output::print(&String::from_utf8_lossy(&script));
    Ok(ExitCode::SUCCESS)
}

/// Completes the words if a shell asks for that. The exit status then.
pub(super) fn answer(words: &[OsString]) -> Option<ExitCode> {
    std::env::var_os(VARIABLE)?;
    let layout = layout(words);
    let completing =
        CompleteEnv::with_factory(|| known(&layout)).var(VARIABLE).bin("mydocker").completer("mydocker");
    match completing.try_complete(words.iter().cloned(), std::env::current_dir().ok().as_deref()) {
        Ok(true) => Some(ExitCode::SUCCESS),
        Ok(false) => None,
        // A shell shows nothing of it, in the middle of a line.
        Err(_) => Some(ExitCode::FAILURE),
    }
}

/// Where the words that are completed look for networks and containers.
fn layout(words: &[OsString]) -> Layout {
    let said = |option: &str, variable: &str, default: &str| {
        let place = words.iter().position(|word| word == option).map(|place| place + 1);
        let with_equals =
            |word: &OsString| Some(OsString::from(word.to_str()?.strip_prefix(option)?.strip_prefix('=')?));
        place
            .and_then(|place| words.get(place).cloned())
            .or_else(|| words.iter().find_map(with_equals))
            .or_else(|| std::env::var_os(variable).filter(|value| !value.is_empty()))
            .unwrap_or_else(|| default.into())
    };
    let root = said("--root", "MYDOCKER_ROOT", "/var/lib/mydocker");
    let run_root = said("--run-root", "MYDOCKER_RUN_ROOT", "/run/mydocker");
    Layout::new(root, run_root)
}

/// The command line, of which each argument knows what it may be. What is hidden from the help is not completed either.
fn known(layout: &Layout) -> Command {
    let whole = Arguments::command();
    let shown = whole.get_subcommands().filter(|command| !command.is_hide_set());
    let command = Command::new("mydocker")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_version_flag(true)
        .args(whole.get_arguments().cloned())
        .subcommands(shown.cloned());
    with_names(command, layout, "")
}

fn with_names(command: Command, layout: &Layout, above: &str) -> Command {
    let own = command.get_name().to_owned();
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    let command = names
        .into_iter()
        .fold(command, |command, name| command.mut_subcommand(name, |sub| with_names(sub, layout, &own)));
    command.mut_args(|arg| {
        if !arg.get_action().takes_values() {
            return arg;
        }
        let meant = kind(&arg, above, &own);
        match (meant, hint(&arg)) {
            (Some(kind), _) => {
                // Behind these stands the container's own command.
                let only_first = arg.is_positional() && matches!(own.as_str(), "run" | "create" | "exec");
                arg.add(ArgValueCompleter::new(OfHost { layout: layout.clone(), kind, only_first }))
            }
            (None, Some(hint)) => arg.value_hint(hint),
            (None, None) => arg,
        }
    })
}

fn value_name(arg: &Arg) -> &str {
    arg.get_value_names().and_then(|names| names.first()).map_or("", |name| name.as_str())
}

/// What an argument names, of the command `own` below the command `above`.
fn kind(arg: &Arg, above: &str, own: &str) -> Option<Named> {
    match (value_name(arg), above, own) {
        ("CONTAINER", ..) => Some(Named::Container),
        ("NETWORK", ..) => Some(Named::Network),
        ("NAME", "network", "inspect" | "remove" | "rm") => Some(Named::Network),
        ("NAME", "volume", "inspect" | "remove" | "rm") => Some(Named::Volume),
        ("IMAGE" | "SOURCE", ..) => Some(Named::Image),
        ("NAME", "mydocker", "inspect") => Some(Named::Container),
        _ => None,
    }
}

fn hint(arg: &Arg) -> Option<ValueHint> {
    match value_name(arg) {
        "FILE" | "TAR" | "ARCHIVE" => Some(ValueHint::FilePath),
        "DIR" => Some(ValueHint::DirPath),
        "PATH" => Some(ValueHint::AnyPath),
        _ => None,
    }
}

/// Completes the names of one kind.
struct OfHost {
    layout: Layout,
    kind: Named,
    /// Whether only the first of several words is such a name.
    only_first: bool,
}

impl ValueCompleter for OfHost {
    fn complete(&self, current: &OsStr) -> Vec<CompletionCandidate> {
        let Some(current) = current.to_str() else { return Vec::new() };
        let names = names(&self.layout, self.kind).into_iter();
        names.filter(|name| name.starts_with(current)).map(CompletionCandidate::new).collect()
    }

    fn complete_at(&self, place: usize, current: &OsStr) -> Vec<CompletionCandidate> {
        if place > 0 && self.only_first { Vec::new() } else { self.complete(current) }
    }
}
