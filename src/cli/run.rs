//! `mydocker run`

use std::process::ExitCode;

use crate::cli::options::ContainerOptions;
use crate::cli::options::life::IdFile;
use crate::cli::output::print;
use crate::cli::{CommandError, Context, left};
use crate::engine::{Attachment, DetachKeys, EngineError, SignalProxy};

/// Create a container and run a command in it
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true, override_usage = "mydocker run [OPTIONS] IMAGE [COMMAND] [ARGUMENT]...")]
#[command(
    after_help = "IMAGE is the name or id of an image, or the path of a directory with a root file system, which starts with / or .;
neither is ever written.
The exit status is the command's own; 125 if mydocker failed, 126 if the command cannot be invoked,
127 if it was not found, 128+N if signal N ended it.

Examples:
  mydocker run --rm -it / sh
  mydocker run -d --name web -p 8080:80 / python3 -m http.server 80"
)]
pub(super) struct Args {
    /// Run in the background and print the container's id
    #[arg(long, short)]
    detach: bool,
    /// Pass the signals that mydocker gets on to the container
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", action = clap::ArgAction::Set)]
    sig_proxy: bool,
    /// The keys that detach from the container and leave it running
    #[arg(long, value_name = "KEYS", default_value_t)]
    detach_keys: DetachKeys,
    /// Print what would change in the firewall table, as text for nft -f, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    container: ContainerOptions,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let life = &args.container.life;
    if args.detach && !life.attach.is_empty() {
        let (option, other) = ("--attach".to_owned(), "--detach".to_owned());
        return Err(EngineError::Conflict { option, other }.into());
    }
    let attachment = Attachment {
        stdin: life.attaches_stdin(),
        stdout: life.attaches_stdout(),
        stderr: life.attaches_stderr(),
        proxy: if args.sig_proxy { SignalProxy::Always } else { SignalProxy::Nothing },
        detach_keys: args.detach_keys,
    };
    if args.dry_run {
        let request = args.container.request(args.detach, context)?;
        print(&context.engine()?.plan_run(request)?);
        return Ok(ExitCode::SUCCESS);
    }
    let mut id_file = IdFile::reserve(life.cidfile.as_deref())?;
    args.container.provide_image(context)?;
    let request = args.container.request(args.detach, context)?;
    let engine = context.engine()?;
    let record = engine.create_container(request)?;
    let id = record.id.as_str();
    if let Err(error) = id_file.write(id) {
        engine.remove_container(id, false, true)?;
        return Err(error);
    }
    let result = if args.detach {
        engine.run_detached(&record).map(|()| {
            print(&format!("{id}\n"));
            ExitCode::SUCCESS
        })
    } else {
        if !attachment.stdout && !attachment.stderr {
            print(&format!("{id}\n"));
        }
        engine.run_attached(&record, &attachment).map(left)
    };
    // A run that could not be started leaves nothing.
    if result.is_ok() || engine.find(id).is_ok() {
        id_file.keep();
    }
    Ok(result?)
}
