//! Where the log goes, and in which form.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex};

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::{LogFormat, output};

/// Where log lines go: a copy of standard error. Where a container's first process is made, descriptor 2
/// becomes the container's own before our code in it has ended, and our log is not the container's output.
#[derive(Clone, Default)]
pub(super) struct LogFile(Arc<Mutex<Option<File>>>);

impl LogFile {
    /// Lets go of standard error: from now on nothing is logged.
    pub(super) fn close(&self) {
        if let Ok(mut file) = self.0.lock() {
            file.take();
        }
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.lock().map_err(|_| io::ErrorKind::Other)?.as_mut() {
            // A whole event: one line, whatever the names in it are made of.
            Some(file) => {
                let text = String::from_utf8_lossy(bytes);
                let line = text.strip_suffix('\n').unwrap_or(&text);
                file.write_all(format!("{}\n", output::escaped(line)).as_bytes()).map(|()| bytes.len())
            }
            None => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn log_to_stderr(level: LevelFilter, format: LogFormat) -> LogFile {
    // Without a standard error there is nowhere to log to.
    let file = LogFile(Arc::new(Mutex::new(io::stderr().as_fd().try_clone_to_owned().ok().map(File::from))));
    let writer = file.clone();
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(move || writer.clone())
        .with_target(false);
    match format {
        // Only what went wrong: when it was does not matter to who has just typed the command.
        LogFormat::Text if level <= LevelFilter::WARN => {
            builder.event_format(output::PlainLines).finish().init();
        }
        LogFormat::Text => builder.with_ansi(false).finish().init(),
        LogFormat::Json => {
            builder.event_format(output::JsonLines).finish().init();
        }
    }
    file
}
