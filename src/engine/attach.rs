//! The caller's streams are connected with a container's.

use std::io::{self, IsTerminal as _, Stderr, Stdin, Stdout};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

use super::containers::{self, Record};
use super::{EngineError, events, privileges};
use crate::container::life::attach::{self, Io, Manner, Outcome, Proxy};
use crate::container::life::detach::DetachKeys;
use crate::store::Layout;
use crate::sys::WindowSize;

/// How the caller's streams are connected with a container's.
#[derive(Debug, Clone)]
pub struct Attachment {
    /// Whether the caller's input goes to the container, if that takes any.
    pub stdin: bool,
    /// Whether the container's output comes to the caller's.
    pub stdout: bool,
    /// Whether its error output does.
    pub stderr: bool,
    /// Which signals that the caller gets go to the container.
    pub proxy: Proxy,
    /// The keys that end the connection.
    pub detach_keys: DetachKeys,
}

/// How a connected container was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// It has ended with this status; or the caller has to, whom a signal has ended or whose output is closed.
    Ended(u8),
    /// The user has left it by keys; it runs on.
    Running,
}

/// The exit status of a client that can write its output nowhere, as if `SIGPIPE` had ended it.
const OUTPUT_CLOSED: u8 = 141;

pub(super) fn attach(layout: &Layout, reference: &str, attachment: &Attachment) -> Result<Left, EngineError> {
    privileges::for_containers()?;
    let record = containers::find_running(layout, reference, "attach to")?.0;
    let not_running = || EngineError::NotRunning { action: "attach to", name: record.name.clone() };
    let stream = attach::connect(layout, &record.id)?.ok_or_else(not_running)?;
    let streams = (io::stdin(), io::stdout(), io::stderr());
    let io = connect_streams(&streams, attachment, record.config.open_stdin);
    check_terminal(io, record.config.tty)?;
    attach::subscribe(&stream, io)?;
    events::container(layout, &record, "attach", &[]);
    let on_resize = |size| events::resize(layout, &record, size);
    if let Some((rows, columns)) = attach::terminal_size(io).filter(|_| record.config.tty) {
        on_resize(WindowSize { rows, columns });
    }
    let left = relay(stream, io, record.config.tty, attachment, &on_resize)?;
    tell_detached(layout, &record, left);
    Ok(left)
}

/// Tells that the caller has left a container that runs on.
pub(super) fn tell_detached(layout: &Layout, record: &Record, left: Left) {
    if left == Left::Running {
        events::container(layout, record, "detach", &[]);
    }
}

/// The caller's streams that are to be connected.
pub(super) fn connect_streams<'a>(
    (stdin, stdout, stderr): &'a (Stdin, Stdout, Stderr),
    attachment: &Attachment,
    open_stdin: bool,
) -> Io<'a> {
    Io {
        stdin: (attachment.stdin && open_stdin).then(|| stdin.as_fd()),
        stdout: attachment.stdout.then(|| stdout.as_fd()),
        stderr: attachment.stderr.then(|| stderr.as_fd()),
    }
}

pub(super) fn check_terminal(io: Io<'_>, tty: bool) -> Result<(), EngineError> {
    match io.stdin {
        Some(stdin) if tty && !stdin.is_terminal() => Err(EngineError::NoTerminal),
        _ => Ok(()),
    }
}

/// Connects the caller until the container ends or the caller leaves it. `on_resize` is called with each size that the
/// container's terminal gets.
pub(super) fn relay(
    stream: UnixStream,
    io: Io<'_>,
    tty: bool,
    attachment: &Attachment,
    on_resize: &dyn Fn(WindowSize),
) -> Result<Left, EngineError> {
    let manner = Manner { tty, proxy: attachment.proxy, detach: attachment.detach_keys.clone() };
    match attach::relay(stream, io, &manner, on_resize)? {
        Outcome::Exited(code) => Ok(Left::Ended(code)),
        Outcome::Detached => Ok(Left::Running),
        Outcome::Failed(failure) => Err(EngineError::Start(failure)),
        Outcome::OutputClosed => Ok(Left::Ended(OUTPUT_CLOSED)),
        Outcome::Interrupted(signal) => {
            Ok(Left::Ended(u8::try_from(128 + signal.number()).unwrap_or(u8::MAX)))
        }
        Outcome::Lost => Err(EngineError::ConnectionLost),
    }
}
