//! `mydocker image …`

use std::process::ExitCode;

use serde_json::{Value, json};

use super::listing::ObjectFormat;
use super::{
    CommandError, Context, documents, history, images, import, load, output, pull, push, rmi, save, tag,
    waiting,
};
use crate::engine::StoredImage;

/// Manage images.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    #[command(name = "ls", visible_alias = "list")]
    List(images::Args),
    Inspect(InspectArgs),
    #[command(name = "rm", visible_alias = "remove")]
    Remove(rmi::Args),
    Tag(tag::Args),
    History(history::Args),
    Import(import::Args),
    Load(load::Args),
    Save(save::Args),
    Pull(pull::Args),
    Push(push::Args),
    Prune(PruneArgs),
}

/// Show details of images, as a JSON array
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker image inspect web | jq -r '.[0].Config.Cmd'")]
struct InspectArgs {
    /// Print one line for each, by a Go template or as JSON (json), instead of the array
    #[arg(long, short, value_name = "TEMPLATE")]
    format: Option<ObjectFormat>,
    /// The images, by name or id
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

/// Remove the images without a name that no container uses
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker image prune -f")]
struct PruneArgs {
    /// Also remove images with a name that no container uses
    #[arg(long, short)]
    all: bool,
    /// Do not ask for confirmation
    #[arg(long, short)]
    force: bool,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    match args.command {
        Command::List(args) => images::run(args, context),
        Command::Inspect(args) => inspect(&args, context),
        Command::Remove(args) => rmi::run(args, context),
        Command::Tag(args) => tag::run(args, context),
        Command::History(args) => history::run(args, context),
        Command::Import(args) => import::run(args, context),
        Command::Load(args) => load::run(args, context),
        Command::Save(args) => save::run(args, context),
        Command::Pull(args) => pull::run(args, context),
        Command::Push(args) => push::run(args, context),
        Command::Prune(args) => prune(&args, context),
    }
}

fn inspect(args: &InspectArgs, context: &mut Context) -> Result<ExitCode, CommandError> {
    super::inspect::inspect(&args.images, args.format.as_ref(), context, |engine, name| {
        Ok(document(&engine.image(name)?))
    })
}

/// Docker's member names, so that scripts written for it find what they look for.
pub(super) fn document(image: &StoredImage) -> Value {
    let config = &image.config;
    let created = config.created.map(|t| t.to_rfc3339_opts(chrono::SecondsFormat::Nanos, true));
    let comment = config.history.last().map_or("", |history| history.comment.as_str());
    let defaults = &config.config;
    json!({
        "Id": image.id,
        "RepoTags": image.names,
        "RepoDigests": image.digests,
        "Parent": "",
        "Comment": comment,
        "Created": created,
        "Author": config.author.as_deref().unwrap_or_default(),
        "Architecture": config.architecture,
        "Os": config.os,
        "Size": image.size,
        "DockerVersion": "",
        "Descriptor": null,
        "Metadata": { "LastTagTime": documents::NEVER },
        "Config": {
            "Hostname": "",
            "Domainname": "",
            "AttachStdin": false,
            "AttachStdout": false,
            "AttachStderr": false,
            "Tty": false,
            "OpenStdin": false,
            "StdinOnce": false,
            "Image": "",
            "OnBuild": null,
            "Healthcheck": null,
            "Shell": null,
            "ArgsEscaped": null,
            "User": defaults.user,
            "ExposedPorts": defaults.exposed_ports,
            "Env": defaults.env,
            "Cmd": defaults.cmd,
            "Volumes": defaults.volumes,
            "WorkingDir": defaults.working_dir,
            "Entrypoint": defaults.entrypoint,
            "Labels": defaults.labels,
            "StopSignal": defaults.stop_signal,
            "Healthcheck": defaults.other.get("Healthcheck"),
            "OnBuild": defaults.other.get("OnBuild"),
            "Shell": defaults.other.get("Shell"),
        },
        "GraphDriver": { "Name": "overlay2", "Data": {
            "UpperDir": image.layers.first(),
            "LowerDir": documents::joined(image.layers.get(1..).unwrap_or_default()),
        } },
        "RootFS": { "Type": config.rootfs.kind, "Layers": config.rootfs.diff_ids },
    })
}

fn prune(args: &PruneArgs, context: &mut Context) -> Result<ExitCode, CommandError> {
    if !args.force {
        let what = if args.all {
            "all images that no container uses"
        } else {
            "the images without a name that no container uses"
        };
        super::system::confirm(false, what)?;
    }
    let engine = context.engine()?;
    let (removals, freed) = waiting::during("Removing images", || engine.prune_images(args.all))?;
    removals.iter().for_each(|removal| output::print(&format!("{removal}\n")));
    output::print(&format!("Total reclaimed space: {}\n", images::size(freed)));
    Ok(ExitCode::SUCCESS)
}
