//! `mydocker push`

use std::process::ExitCode;

use crate::cli::progress::{Direction, Shown};
use crate::cli::pull::TlsOptions;
use crate::cli::{CommandError, Context, failed, output, platform, remote_name};
use crate::engine::{Platform, RemoteName};

/// Push an image to the registry that its name begins with
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mydocker tag web registry.example:5000/team/web:v1\n  mydocker push registry.example:5000/team/web:v1"
)]
pub(super) struct Args {
    /// Push all tags of the repository
    #[arg(long, short)]
    all_tags: bool,
    /// Refuse an image that is not for OS/ARCHITECTURE[/VARIANT]
    #[arg(long, value_name = "PLATFORM", value_parser = platform)]
    platform: Option<Platform>,
    /// Print the name only
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    tls: TlsOptions,
    /// The image; without a host it goes to Docker Hub
    #[arg(value_name = "NAME[:TAG]", value_parser = remote_name)]
    name: RemoteName,
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    if args.name.digest().is_some() {
        return Err(failed("cannot push to a digest", Some("name a tag: mydocker push NAME:TAG")));
    }
    let options = args.tls.options();
    let names = if args.all_tags {
        if args.name.tag().is_some() {
            let hint = "leave out either the tag or --all-tags";
            return Err(failed("cannot push all tags of a name with a tag", Some(hint)));
        }
        context.engine()?.tags_of(&args.name)?
    } else {
        vec![args.name]
    };
    for name in names {
        let shown = Shown::new(Direction::Push, args.quiet);
        shown.say(&format!("The push refers to repository [{}/{}]", name.host(), name.path()));
        let pushed = context.engine()?.push_image(&name, args.platform.as_ref(), &options, &shown);
        shown.finish();
        let pushed = pushed?;
        let tag = name.tag().unwrap_or("latest");
        output::print(&if args.quiet {
            format!("{}\n", name.full())
        } else {
            format!("{tag}: digest: {} size: {}\n", pushed.digest, pushed.size)
        });
    }
    Ok(ExitCode::SUCCESS)
}
