//! Programs that are waited for, but not for ever.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::process::Command;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What was wanted, or why it cannot be had.
pub(crate) type Outcome<T> = Result<T, String>;

/// What a program took and said.
pub(crate) struct Done {
    pub(crate) took: Duration,
    pub(crate) stdout: String,
}

/// A number that may be set from outside.
pub(crate) fn number(variable: &str, default: u32) -> u32 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// How long one program may take.
pub(crate) fn limit() -> Duration {
    Duration::from_secs(number("MYDOCKER_BENCH_LIMIT", 300).into())
}

/// Runs a program to its end. Its input and output are files: what it leaves running may keep them open.
pub(crate) fn run(command: &mut Command, input: &str) -> Outcome<Done> {
    let (mut stdin, mut stdout, mut stderr) = (file(), file(), file());
    stdin.write_all(input.as_bytes()).unwrap();
    stdin.rewind().unwrap();
    let same = |file: &File| file.try_clone().unwrap();
    command.stdin(stdin).stdout(same(&stdout)).stderr(same(&stderr));
    let program = command.get_program().to_string_lossy().into_owned();
    let start = Instant::now();
    let mut child = command.spawn().map_err(|error| format!("{program}: {error}"))?;
    let process = Pid::from_raw(child.id().try_into().unwrap());
    let (ended, end) = mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        let late = end.recv_timeout(limit()) == Err(RecvTimeoutError::Timeout);
        if late {
            kill(process, Signal::SIGKILL).ok();
        }
        late
    });
    let status = child.wait().unwrap();
    let took = start.elapsed();
    drop(ended);
    if watchdog.join().unwrap() {
        return Err(format!("{program} takes more than {} s", limit().as_secs()));
    }
    let stdout = text(&mut stdout);
    if status.success() {
        return Ok(Done { took, stdout });
    }
    // The plugins tell their errors on standard output.
    let said = [text(&mut stderr), stdout].concat();
    Err(format!("{program}: {status}: {}", said.split_whitespace().collect::<Vec<_>>().join(" ")))
}

fn file() -> File {
    tempfile::tempfile().unwrap()
}

fn text(file: &mut File) -> String {
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}
