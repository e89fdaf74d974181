//! `mydocker pull`

use std::process::ExitCode;

use crate::cli::progress::{Direction, Shown};
use crate::cli::{CommandError, Context, failed, output, platform, remote_name};
use crate::engine::{Platform, PullImage, Pulled, RegistryOptions, RemoteName};

/// Pull an image from a registry
///
/// Of images for several platforms, it is the one for this machine. The variables HTTPS_PROXY, HTTP_PROXY and NO_PROXY
/// of the environment are honoured.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mydocker pull nginx\n  mydocker pull --platform linux/arm64 registry.example:5000/team/app:v1"
)]
pub(super) struct Args {
    /// Pull all tags of the repository
    #[arg(long, short)]
    all_tags: bool,
    /// Pull the image for OS/ARCHITECTURE[/VARIANT] (default: this machine's)
    #[arg(long, value_name = "PLATFORM", value_parser = platform)]
    platform: Option<Platform>,
    /// Print the name only
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    tls: TlsOptions,
    /// The image: NAME is [HOST[:PORT]/]PATH; without a host it is Docker Hub's
    #[arg(value_name = "NAME[:TAG|@DIGEST]", value_parser = remote_name)]
    name: RemoteName,
}

/// How registries are trusted
#[derive(Debug, clap::Args)]
pub(super) struct TlsOptions {
    /// Require a valid TLS certificate of the registry; false also allows plain HTTP. Registries on this machine's
    /// loopback are exempt
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", action = clap::ArgAction::Set)]
    tls_verify: bool,
    /// Accepted for compatibility: signatures by Docker's content trust are not looked at
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", action = clap::ArgAction::Set, hide = true)]
    disable_content_trust: bool,
}

impl TlsOptions {
    /// How registries are asked then.
    pub(super) fn options(&self) -> RegistryOptions {
        RegistryOptions { tls_verify: self.tls_verify, ..RegistryOptions::default() }
    }
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let options = args.tls.options();
    if !args.all_tags {
        if args.name.tag().is_none() && args.name.digest().is_none() && !args.quiet {
            output::complain("Using default tag: latest");
        }
        let request = PullImage { name: args.name, platform: args.platform, options };
        pull(&request, args.quiet, context)?;
        output::print(&format!("{}\n", request.name.full()));
        return Ok(ExitCode::SUCCESS);
    }
    if args.name.tag().is_some() || args.name.digest().is_some() {
        let hint = "leave out either the tag or --all-tags";
        return Err(failed("cannot pull all tags of a name with a tag or digest", Some(hint)));
    }
    for name in context.engine()?.remote_tags(&args.name, &options)? {
        let request = PullImage { name, platform: args.platform.clone(), options: options.clone() };
        pull(&request, args.quiet, context)?;
        output::print(&format!("{}\n", request.name.full()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Pulls an image and says what becomes of it, in Docker's words.
pub(super) fn pull(request: &PullImage, quiet: bool, context: &mut Context) -> Result<Pulled, CommandError> {
    let shown = Shown::new(Direction::Pull, quiet);
    let name = &request.name;
    shown.say(&format!("{}: Pulling from {}", name.tag().unwrap_or("latest"), name.path()));
    let pulled = context.engine()?.pull_image(request, &shown);
    shown.finish();
    let pulled = pulled?;
    shown.say(&format!("Digest: {}", pulled.digest));
    shown.say(&if pulled.is_new {
        format!("Status: Downloaded newer image for {name}")
    } else {
        format!("Status: Image is up to date for {name}")
    });
    Ok(pulled)
}
