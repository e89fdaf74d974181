//! `mydocker generate unit`: a unit of systemd's for one container.

use std::process::ExitCode;

use crate::cli::{CommandError, Context, output};
use crate::engine::{Record, RestartPolicy};

/// Print configuration files for other programs
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker generate unit web")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Unit(UnitArgs),
}

/// Print a unit with which systemd starts, restarts and stops a container
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker generate unit web >/etc/systemd/system/web.service")]
struct UnitArgs {
    /// The container, by name or id
    #[arg(value_name = "CONTAINER")]
    container: String,
}

pub(super) fn run(args: &Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let Command::Unit(UnitArgs { container }) = &args.command;
    let record = context.engine()?.find(container)?.record;
    let program = std::env::current_exe()
        .map_or_else(|_| "/usr/local/bin/mydocker".to_owned(), |path| path.to_string_lossy().into_owned());
    let (root, run_root) = (context.layout.root(), context.layout.run_root());
    let (root, run_root) = (root.to_string_lossy(), run_root.to_string_lossy());
    let words = [&*program, "--root", &*root, "--run-root", &*run_root].map(word).join(" ");
    // A path, in which nothing stands for a variable.
    output::print(&unit(&record, &words, &word(&root).replace("$$", "$")));
    Ok(ExitCode::SUCCESS)
}

/// The text of the unit. `program` is how mydocker is called, `root` what has to be mounted.
fn unit(record: &Record, program: &str, root: &str) -> String {
    let name = word(record.name.as_str());
    let policy = record.config.settings.restart;
    let restart = match policy {
        RestartPolicy::No => "no",
        RestartPolicy::OnFailure(_) => "on-failure",
        RestartPolicy::Always | RestartPolicy::UnlessStopped => "always",
    };
    let advice = match policy {
        RestartPolicy::No => String::new(),
        _ => format!(
            "# systemd restarts it, so its own policy is to be off: mydocker update --restart no {name}\n"
        ),
    };
    format!(
        "# Written by: mydocker generate unit {name}\n\
         [Unit]\n\
         Description=Container {name}\n\
         After=network.target nftables.service firewalld.service\n\
         RequiresMountsFor={root}\n\
         \n\
         [Service]\n\
         Type=exec\n\
         ExecStart={program} start --attach --sig-proxy=false {name}\n\
         ExecStop={program} stop {name}\n\
         {advice}\
         Restart={restart}\n\
         # It was stopped: its command has ended by SIGTERM.\n\
         SuccessExitStatus=143\n\
         # How long the container may take to end is its own --stop-timeout.\n\
         TimeoutStopSec=infinity\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    )
}

/// A word as systemd reads it in a command line: in quotes where it has to be, and with its own signs doubled.
fn word(text: &str) -> String {
    let plain = text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    let plain = plain.replace('\n', "\\n");
    let is_plain = plain.chars().all(|c| c.is_ascii_alphanumeric() || "/._-%$:@+".contains(c));
    if is_plain { plain } else { format!("\"{plain}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_systemd_needs_it() {
        assert_eq!(word("/var/lib/mydocker"), "/var/lib/mydocker");
        assert_eq!(word("/a b/100%"), "\"/a b/100%%\"");
        assert_eq!(word("$x\"\\"), "\"$$x\\\"\\\\\"");
    }
}
