//! `mydocker cp`

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use crate::cli::{CommandError, Context, failed, images, output};
use crate::engine::{CopyEnd, CopyOptions};

/// Copy files between a container, running or not, and the host
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "mydocker cp [OPTIONS] CONTAINER:PATH DEST|-\n       mydocker cp [OPTIONS] SRC|- CONTAINER:PATH",
    after_help = "A directory is copied with everything in it, SRC/. copies only what is in it. - is a tar archive on standard
input or output. A word that starts with / or . is a path of the host, even if it contains a colon.

Examples:
  mydocker cp web:/etc/hosts .
  mydocker cp site/. web:/www"
)]
pub(super) struct Args {
    /// Keep the owners of files (default: root in a container, you on the host)
    #[arg(long, short)]
    archive: bool,
    /// If SRC is a symbolic link, copy what it leads to
    #[arg(long, short = 'L')]
    follow_link: bool,
    /// Do not print how much was copied
    #[arg(long, short)]
    quiet: bool,
    /// What is copied
    #[arg(value_name = "SRC")]
    source: OsString,
    /// Where to
    #[arg(value_name = "DEST")]
    target: OsString,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let options = CopyOptions { archive: args.archive, follow: args.follow_link };
    let end = |word: &OsString| (word != "-").then(|| CopyEnd::from(word.as_os_str()));
    let engine = context.engine()?;
    let copied = match (end(&args.source), end(&args.target)) {
        (Some(source @ CopyEnd::Container { .. }), None) => {
            if io::stdout().is_terminal() {
                return Err(failed(
                    "cannot write an archive to a terminal",
                    Some("redirect standard output"),
                ));
            }
            engine.copy_out(&source, io::stdout().lock(), args.follow_link)?;
            return Ok(ExitCode::SUCCESS);
        }
        (None, Some(target @ CopyEnd::Container { .. })) => {
            if io::stdin().is_terminal() {
                return Err(failed(
                    "cannot read an archive from a terminal",
                    Some("redirect standard input"),
                ));
            }
            engine.copy_in(io::stdin().lock(), &target, options)?
        }
        (Some(CopyEnd::Container { .. }), Some(CopyEnd::Container { .. })) => {
            let hint =
                "copy to the host first, or through a pipe: mydocker cp A:PATH - | mydocker cp - B:PATH";
            return Err(failed("cannot copy from one container to another", Some(hint)));
        }
        (Some(source), Some(target))
            if !matches!((&source, &target), (CopyEnd::Host(_), CopyEnd::Host(_))) =>
        {
            engine.copy(&source, &target, options)?
        }
        _ => {
            let hint = "write the container's path as CONTAINER:PATH";
            return Err(failed(
                "cannot copy: neither the source nor the destination is a container's",
                Some(hint),
            ));
        }
    };
    if !args.quiet {
        let target = args.target.display();
        output::complain(&format!("Successfully copied {} to {target}", images::size(copied)));
    }
    Ok(ExitCode::SUCCESS)
}
