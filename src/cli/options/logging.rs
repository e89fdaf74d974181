//! What is kept of a container's output.

use crate::cli::{CommandError, key_value};
use crate::engine::{EngineError, LogDriver, LogOptions, Settings};

/// What is kept of a container's output
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Log")]
pub(super) struct LoggingOptions {
    /// Where to keep the output: json-file or local for logs, journald for the journal of systemd, or none to keep nothing.
    /// Full files of local are compressed
    #[arg(long, value_name = "DRIVER", default_value_t)]
    log_driver: LogDriver,
    /// How much output to keep: max-size of one file (default: 50m, of local 20m; -1 for no limit), max-file (default: 2, of
    /// local 5), compress (of local; default: true); and, except with local, what to add to each entry: tag, or the
    /// container's labels or environment variables by name, such as labels=team,role
    #[arg(long = "log-opt", value_name = "NAME=VALUE", value_parser = key_value)]
    log_options: Vec<(String, String)>,
}

impl LoggingOptions {
    /// Fills in this group's part.
    pub(super) fn apply(self, settings: &mut Settings) -> Result<(), CommandError> {
        settings.log = LogOptions::new(self.log_driver, &self.log_options).map_err(EngineError::from)?;
        Ok(())
    }
}
