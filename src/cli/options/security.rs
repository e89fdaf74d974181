//! What a container may do.

use crate::cli::CommandError;
use crate::engine::Settings;

/// What a container may do
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Security")]
pub(super) struct Options {
    /// Mount the root file system read-only
    #[arg(long)]
    read_only: bool,
    /// Keep nothing from the container: all capabilities, all devices, no filter
    #[arg(long)]
    privileged: bool,
    /// One more group of the command's user, by name or number; may be given more than once
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,
}

impl Options {
    /// Fills in this group's part.
    pub(super) fn apply(self, settings: &mut Settings) -> Result<(), CommandError> {
        settings.read_only = self.read_only;
        settings.security.privileged = self.privileged;
        settings.groups = self.group_add;
        Ok(())
    }
}
