//! Where the image of a container comes from.

use crate::cli::pull::pull;
use crate::cli::{CommandError, Context, output, platform};
use crate::engine::{EngineError, ImageError, Platform, PullImage, RegistryOptions, RemoteName};

/// Where the image comes from
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Image")]
pub(in crate::cli) struct ImageOptions {
    /// When to pull the image
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    pull: Pull,
    /// Use the image for OS/ARCHITECTURE[/VARIANT] (default: this machine's)
    #[arg(long, value_name = "PLATFORM", value_parser = platform)]
    platform: Option<Platform>,
    /// Do not show how far the pull has come
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum Pull {
    /// Before each container: what the registry has by now
    Always,
    /// If it is not there
    #[default]
    Missing,
    /// Never: use only images that are there
    Never,
}

impl ImageOptions {
    /// Sees to it that the image is there, if it may be pulled.
    pub(in crate::cli) fn provide(&self, image: &str, context: &mut Context) -> Result<(), CommandError> {
        // A directory; or what is no name, about which there is more to be said later.
        let is_directory = image.starts_with(['/', '.']);
        let Some(name) =
            image.parse::<RemoteName>().ok().filter(|_| !is_directory && self.pull != Pull::Never)
        else {
            return Ok(());
        };
        let found = context.engine()?.image(image);
        let wanted = self.platform.as_ref();
        let is_missing = match &found {
            Ok(found) => wanted.is_some_and(|wanted| found.config.check_platform(wanted).is_err()),
            Err(EngineError::Image(ImageError::NotFound(_))) => true,
            Err(_) => return Ok(()),
        };
        if !is_missing && self.pull != Pull::Always {
            return Ok(());
        }
        // The beginning of an id is no name that a registry could know.
        if let Ok(found) = &found
            && !found.names.iter().any(|own| own.to_string() == name.to_string())
            && name.digest().is_none()
        {
            return Ok(());
        }
        if is_missing && !self.quiet {
            output::complain(&format!("Unable to find image '{name}' locally"));
        }
        let options = RegistryOptions::default();
        let request = PullImage { name, platform: self.platform.clone(), options };
        pull(&request, self.quiet, context).map(drop).map_err(|error| match found {
            Err(_) => CommandError {
                message: format!("No such image: {image}, and it cannot be pulled: {}", error.message),
                ..error
            },
            Ok(_) => error,
        })
    }
}
