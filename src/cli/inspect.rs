//! `mydocker inspect`

use std::process::ExitCode;

use serde_json::Value;

use crate::cli::listing::{ObjectFormat, without_empty};
use crate::cli::{CommandError, Context, documents, image, network, output, volume};
use crate::engine::Engine;

/// Show details of containers, images, networks and volumes as JSON
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  mydocker inspect -f '{{.State.Status}} {{.NetworkSettings.IPAddress}}' web"
)]
pub(super) struct Args {
    /// Print one line for each, by a Go template or as JSON (json), instead of the array
    #[arg(long, short, value_name = "TEMPLATE")]
    format: Option<ObjectFormat>,
    /// Also show how much disk space containers use
    #[arg(long, short)]
    size: bool,
    /// Look only for this kind of object (default: any, containers first)
    #[arg(long = "type", value_name = "TYPE", value_enum)]
    kind: Option<Kind>,
    /// The containers and images by name or id, the networks or the volumes
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    Container,
    Image,
    Network,
    Volume,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    inspect(&args.names, args.format.as_ref(), context, |engine, name| {
        object(engine, args.kind, name, args.size)
    })
}

/// Looks each name up and prints what it stands for. What was found is printed, whatever was not.
pub(super) fn inspect(
    names: &[String],
    format: Option<&ObjectFormat>,
    context: &mut Context,
    find: impl Fn(&Engine, &str) -> Result<Value, CommandError>,
) -> Result<ExitCode, CommandError> {
    let mut found = Vec::new();
    let mut errors = Vec::new();
    for name in names {
        match find(context.engine()?, name) {
            Ok(object) => found.push(object),
            Err(error) => errors.push(error),
        }
    }
    print(&found, format)?;
    for error in &errors {
        error.report(context.log_format);
    }
    Ok(if errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints documents as one array, or one line for each.
fn print(documents: &[Value], format: Option<&ObjectFormat>) -> Result<(), CommandError> {
    let Some(format) = format else {
        output::json(&documents.iter().map(without_empty).collect::<Vec<_>>());
        return Ok(());
    };
    for document in documents {
        match format.render(document)? {
            Some(text) => output::print(&text),
            None => output::json(&[without_empty(document)]),
        }
    }
    Ok(())
}

/// Whatever has the name. The error is that of the last kind that it could be.
fn object(engine: &Engine, kind: Option<Kind>, name: &str, size: bool) -> Result<Value, CommandError> {
    match kind {
        Some(Kind::Container) => return Ok(container(engine, name, size)?),
        Some(Kind::Image) => return Ok(image::document(&engine.image(name)?)),
        Some(Kind::Network) => return Ok(network::inspect::called(engine, name)?),
        Some(Kind::Volume) => return Ok(volume::inspect::document(&engine.volume(name)?)),
        None => {}
    }
    match container(engine, name, size) {
        Err(error) if error.is_not_found() => {}
        other => return Ok(other?),
    }
    match engine.image(name) {
        Err(error) if error.is_not_found() => {}
        other => return Ok(image::document(&other?)),
    }
    match network::inspect::called(engine, name) {
        Err(error) if error.is_not_found() => {}
        other => return Ok(other?),
    }
    match engine.volume(name) {
        Err(error) if error.is_not_found() => Err(CommandError {
            message: format!("No such object: {name}"),
            hint: Some("list all containers with: mydocker ps -a".to_owned()),
            run_status: 125,
        }),
        other => Ok(volume::inspect::document(&other?)),
    }
}

fn container(engine: &Engine, name: &str, size: bool) -> Result<Value, crate::engine::EngineError> {
    let snapshot = engine.find(name)?;
    let disk = size.then(|| engine.disk_usage(&snapshot.record, true));
    let (paths, mounts) = (engine.paths(&snapshot.record.id), engine.mounts(&snapshot.record));
    let endpoints = engine.endpoints(&snapshot)?;
    let mut document = documents::container(&snapshot, &endpoints, &paths, &mounts, disk);
    if let Value::Object(networks) = &mut document["NetworkSettings"]["Networks"] {
        for (name, network) in networks {
            // One that was removed meanwhile has none.
            if let Ok(known) = network::inspect::called(engine, name) {
                network["NetworkID"] = known["Id"].clone();
            }
        }
    }
    Ok(document)
}
