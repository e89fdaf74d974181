//! How a container is started, watched and started again.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::cli::CommandError;
use crate::engine::{EngineError, FileError, RestartPolicy, Settings};

/// How a container is started, watched and started again
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Lifecycle")]
pub(in crate::cli) struct LifeOptions {
    /// Connect only this stream; may be given more than once
    #[arg(long, short, value_name = "STREAM", value_enum, ignore_case = true)]
    pub(in crate::cli) attach: Vec<Standard>,
    /// Write the container's id to a file that does not exist yet
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) cidfile: Option<PathBuf>,
    /// Write the pid of the container's first process to a file, at each start
    #[arg(long, value_name = "FILE")]
    pidfile: Option<PathBuf>,
    /// Run a small init process in the container, which reaps orphaned processes and passes signals on to the
    /// command
    #[arg(long)]
    init: bool,
    /// When to restart the container after it has ended: no, on-failure[:N], always or unless-stopped
    #[arg(long, value_name = "POLICY", default_value_t)]
    restart: RestartPolicy,
    /// Read environment variables from a file, one on each line; may be given more than once
    #[arg(long, value_name = "FILE")]
    pub(super) env_file: Vec<PathBuf>,
    /// Read labels from a file, one on each line; may be given more than once
    #[arg(long, value_name = "FILE")]
    pub(super) label_file: Vec<PathBuf>,
}

/// One of the three standard streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum Standard {
    /// Input
    Stdin,
    /// Output
    Stdout,
    /// Error output
    Stderr,
}

impl LifeOptions {
    fn attaches(&self, stream: Standard) -> bool {
        self.attach.is_empty() || self.attach.contains(&stream)
    }

    pub(in crate::cli) fn attaches_stdin(&self) -> bool {
        self.attaches(Standard::Stdin)
    }

    pub(in crate::cli) fn attaches_stdout(&self) -> bool {
        self.attaches(Standard::Stdout)
    }

    pub(in crate::cli) fn attaches_stderr(&self) -> bool {
        self.attaches(Standard::Stderr)
    }

    /// Fills in this group's part.
    pub(super) fn apply(self, settings: &mut Settings) -> Result<(), CommandError> {
        let absolute = |path: PathBuf| {
            std::path::absolute(&path)
                .map_err(|source| EngineError::File(FileError { action: "find the pid file", path, source }))
        };
        settings.pidfile = self.pidfile.map(absolute).transpose()?;
        settings.init = self.init;
        settings.restart = self.restart;
        Ok(())
    }
}

/// The file that gets the container's id. It is made before the container, so that two runs cannot have the
/// same one, and removed again unless it is kept.
#[derive(Debug)]
pub(in crate::cli) struct IdFile {
    file: Option<(PathBuf, File)>,
    kept: bool,
}

impl IdFile {
    /// Makes the file, if there is to be one.
    pub(in crate::cli) fn reserve(path: Option<&Path>) -> Result<Self, CommandError> {
        let Some(path) = path else { return Ok(Self { file: None, kept: true }) };
        match OpenOptions::new().write(true).create_new(true).mode(0o644).open(path) {
            Ok(file) => Ok(Self { file: Some((path.to_owned(), file)), kept: false }),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(CommandError {
                message: format!("cannot write the container's id to {}: the file exists", path.display()),
                hint: Some("if the container that it names is not needed, remove the file".to_owned()),
                run_status: 125,
            }),
            Err(source) => Err(Self::failed(path, source)),
        }
    }

    fn failed(path: &Path, source: std::io::Error) -> CommandError {
        let path = path.to_owned();
        EngineError::File(FileError { action: "write the container's id to", path, source }).into()
    }

    /// Writes the id.
    pub(in crate::cli) fn write(&mut self, id: &str) -> Result<(), CommandError> {
        let Some((path, file)) = &mut self.file else { return Ok(()) };
        file.write_all(id.as_bytes()).map_err(|source| Self::failed(path, source))
    }

    /// Leaves the file when this is dropped.
    pub(in crate::cli) fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for IdFile {
    fn drop(&mut self) {
        if let Some((path, _)) = self.file.as_ref().filter(|_| !self.kept) {
            std::fs::remove_file(path).ok();
        }
    }
}
