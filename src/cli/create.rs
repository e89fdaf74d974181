//! `mydocker create`

use std::process::ExitCode;

use crate::cli::options::ContainerOptions;
use crate::cli::options::life::IdFile;
use crate::cli::output::print;
use crate::cli::{CommandError, Context};

/// Create a container without starting it, and print its id
#[derive(Debug, clap::Args)]
#[command(
    disable_help_flag = true,
    override_usage = "mydocker create [OPTIONS] IMAGE [COMMAND] [ARGUMENT]..."
)]
#[command(after_help = "Example:\n  mydocker create --name web -p 8080:80 / httpd -f")]
pub(super) struct Args {
    #[command(flatten)]
    container: ContainerOptions,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let mut id_file = IdFile::reserve(args.container.life.cidfile.as_deref())?;
    args.container.provide_image(context)?;
    let request = args.container.request(false, context)?;
    let engine = context.engine()?;
    let record = engine.create_container(request)?;
    if let Err(error) = id_file.write(record.id.as_str()) {
        engine.remove_container(record.id.as_str(), false, true)?;
        return Err(error);
    }
    if let Err(error) = engine.prepare_volumes(&record) {
        engine.remove_container(record.id.as_str(), false, true)?;
        return Err(error.into());
    }
    id_file.keep();
    print(&format!("{}\n", record.id));
    Ok(ExitCode::SUCCESS)
}
