//! The loop of a client that is connected with a container.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal as NixSignal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{read, write};

use super::{AttachError, Io, Outcome, own, terminal_size};
use crate::container::life::detach::{DetachKeys, Watch};
use crate::container::life::protocol::{
    Decoder, Message as _, PAYLOAD_MAX, ProtocolError, Reply, Request, STDIN_WINDOW, Stream,
};
use crate::container::request::signal::Signal;
use crate::container::run::terminal::RawMode;
use crate::sys::WindowSize;

/// How much output waits here before the supervisor has to wait.
const OUTPUT_MAX: usize = 64 << 10;

/// What a pipe that is ready for writing takes without blocking: `PIPE_BUF` (pipe(7)).
const WRITE_MAX: usize = 4096;

/// The signals that a client passes on whose keys do not reach the container, as Docker's `--sig-proxy` does.
const PROXIED: [NixSignal; 6] = [
    NixSignal::SIGHUP,
    NixSignal::SIGINT,
    NixSignal::SIGQUIT,
    NixSignal::SIGTERM,
    NixSignal::SIGUSR1,
    NixSignal::SIGUSR2,
];

/// The signals that end a client whose terminal is raw, and has to be restored first.
const ENDING: [NixSignal; 4] = [NixSignal::SIGHUP, NixSignal::SIGINT, NixSignal::SIGQUIT, NixSignal::SIGTERM];

/// How a client is connected.
#[derive(Debug, Clone)]
pub struct Manner {
    /// Whether the container has a terminal.
    pub tty: bool,
    /// Whether signals that the client gets are passed on to the container.
    pub proxy: bool,
    /// The keys that end the connection.
    pub detach: DetachKeys,
}

/// Connects the caller's streams with a container until it ends or the caller cannot go on.
///
/// With a terminal and input, the caller's terminal is raw from the start of the command until this returns, in
/// whatever way, and signals that end the caller do so here. Otherwise those signals are passed on to the
/// container, if they are to be.
///
/// # Errors
/// [`AttachError::Own`] for the caller's streams (input that is no terminal with `tty`), and
/// [`AttachError::Protocol`].
pub fn relay(stream: UnixStream, io: Io<'_>, manner: &Manner) -> Result<Outcome, AttachError> {
    stream.set_nonblocking(true).map_err(ProtocolError::Io)?;
    let tty = manner.tty;
    let proxy = manner.proxy && (!tty || io.stdin.is_none());
    let signals = Signals::watch(tty, proxy)?;
    let mut relay = Relay {
        stream,
        io,
        tty,
        proxy,
        raw: None,
        keys: Watch::new(manner.detach.clone()),
        leaving: false,
        decoder: Decoder::default(),
        requests: Vec::new(),
        credit: STDIN_WINDOW,
        output: VecDeque::new(),
        waiting: 0,
        verdict: None,
        signals: signals.fd.as_fd(),
    };
    relay.run()
}

/// Signals that come as events, until dropped.
struct Signals {
    fd: SignalFd,
    before: SigSet,
}

impl Signals {
    fn watch(tty: bool, proxy: bool) -> Result<Self, AttachError> {
        let mut watched = SigSet::empty();
        watched.extend(if proxy { &PROXIED[..] } else { &ENDING[..] }.iter().copied());
        if tty {
            watched.add(NixSignal::SIGWINCH);
        }
        let before = watched.thread_swap_mask(SigmaskHow::SIG_BLOCK).map_err(own("block signals"))?;
        let fd = SignalFd::with_flags(&watched, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK);
        let fd = fd.map_err(own("watch signals")).inspect_err(|_| {
            before.thread_set_mask().ok();
        })?;
        Ok(Self { fd, before })
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // A mask that was read a moment ago can be set.
        self.before.thread_set_mask().ok();
    }
}

struct Relay<'a> {
    stream: UnixStream,
    io: Io<'a>,
    tty: bool,
    /// Whether signals go to the container.
    proxy: bool,
    raw: Option<RawMode<BorrowedFd<'a>>>,
    keys: Watch,
    /// Whether the user has typed the keys, and only the requests have to be sent still.
    leaving: bool,
    decoder: Decoder,
    /// Frames that the supervisor has not taken yet.
    requests: Vec<u8>,
    /// How much input may still be sent.
    credit: usize,
    /// Output that the caller's streams have not taken yet, in the order it came.
    output: VecDeque<(Stream, Vec<u8>)>,
    /// How much that is.
    waiting: usize,
    /// How it ended, to be returned once all output is written.
    verdict: Option<Outcome>,
    signals: BorrowedFd<'a>,
}

/// What poll(2) watches.
#[derive(Clone, Copy)]
enum Source {
    Signals,
    Supervisor,
    Stdin,
    Output,
}

impl Relay<'_> {
    fn run(&mut self) -> Result<Outcome, AttachError> {
        loop {
            if self.output.is_empty()
                && let Some(verdict) = self.verdict.take()
            {
                return Ok(verdict);
            }
            if self.leaving && self.requests.is_empty() {
                return Ok(Outcome::Detached);
            }
            for (source, events) in self.wait()? {
                let left = match source {
                    Source::Signals => self.take_signals()?,
                    Source::Stdin => {
                        self.read_stdin()?;
                        None
                    }
                    Source::Output => self.write_output()?,
                    Source::Supervisor => {
                        self.talk(events)?;
                        None
                    }
                };
                if let Some(outcome) = left {
                    return Ok(outcome);
                }
            }
        }
    }

    fn wait(&self) -> Result<Vec<(Source, PollFlags)>, AttachError> {
        let mut sources = vec![Source::Signals];
        let mut fds = vec![PollFd::new(self.signals, PollFlags::POLLIN)];
        let mut watch = |source, fd, flags| {
            sources.push(source);
            fds.push(PollFd::new(fd, flags));
        };
        if self.verdict.is_none() {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::POLLIN, self.waiting < OUTPUT_MAX);
            flags.set(PollFlags::POLLOUT, !self.requests.is_empty());
            // Without any interest a supervisor that has hung up would make the loop spin.
            if !flags.is_empty() {
                watch(Source::Supervisor, self.stream.as_fd(), flags);
            }
            if let Some(stdin) =
                self.io.stdin.filter(|_| self.credit > self.keys.held() && self.requests.is_empty())
            {
                watch(Source::Stdin, stdin, PollFlags::POLLIN);
            }
        }
        if let Some(fd) = self.output.front().and_then(|(stream, _)| self.output_fd(*stream)) {
            watch(Source::Output, fd, PollFlags::POLLOUT);
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(own("wait for events")(errno)),
        }
        let events = |fd: &PollFd<'_>| fd.revents().unwrap_or(PollFlags::empty());
        let happened = sources.into_iter().zip(fds.iter().map(events));
        Ok(happened.filter(|(_, events)| !events.is_empty()).collect())
    }

    fn output_fd(&self, stream: Stream) -> Option<BorrowedFd<'_>> {
        match stream {
            Stream::Stdout => self.io.stdout,
            Stream::Stderr => self.io.stderr,
        }
    }

    fn request(&mut self, request: &Request) {
        request.encode(&mut self.requests);
    }

    fn take_signals(&mut self) -> Result<Option<Outcome>, AttachError> {
        loop {
            let mut info = [0; size_of::<libc::signalfd_siginfo>()];
            match read(self.signals, &mut info) {
                Ok(_) => {}
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(own("read signals")(errno)),
            }
            // `ssi_signo` is the first member (signalfd(2)).
            let number = i32::from_ne_bytes([info[0], info[1], info[2], info[3]]);
            let Ok(signal) = Signal::from_number(number) else { continue };
            if number == NixSignal::SIGWINCH as i32 {
                self.send_size();
            } else if self.proxy {
                self.request(&Request::Signal(signal));
            } else {
                return Ok(Some(Outcome::Interrupted(signal)));
            }
        }
    }

    fn send_size(&mut self) {
        if let Some((rows, columns)) = terminal_size(self.io) {
            self.request(&Request::Resize(WindowSize { rows, columns }));
        }
    }

    fn read_stdin(&mut self) -> Result<(), AttachError> {
        let Some(stdin) = self.io.stdin else { return Ok(()) };
        // What is held back of the keys may follow at once.
        let mut buffer = vec![0; (self.credit - self.keys.held()).min(PAYLOAD_MAX)];
        match read(stdin, &mut buffer) {
            // EIO: the terminal is gone, or this process may not read from it.
            Ok(0) | Err(Errno::EIO) => {
                self.io.stdin = None;
                self.request(&Request::StdinEof);
            }
            Ok(size) => {
                buffer.truncate(size);
                // Only what is typed has keys in it.
                if self.raw.is_some() {
                    (buffer, self.leaving) = self.keys.pass(&buffer);
                }
                self.credit -= buffer.len();
                if !buffer.is_empty() {
                    self.request(&Request::Stdin(buffer));
                }
                if self.leaving {
                    self.io.stdin = None;
                    self.request(&Request::Detach);
                }
            }
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(errno) => return Err(own("read standard input")(errno)),
        }
        Ok(())
    }

    /// Writes the next piece of output, as much as the stream takes without blocking.
    fn write_output(&mut self) -> Result<Option<Outcome>, AttachError> {
        let Some((stream, data)) = self.output.front() else { return Ok(None) };
        let piece = &data[..data.len().min(WRITE_MAX)];
        let Some(fd) = self.output_fd(*stream) else { return Ok(None) };
        match write(fd, piece) {
            Ok(size) => {
                self.waiting -= size;
                if size == data.len() {
                    self.output.pop_front();
                } else if let Some((_, data)) = self.output.front_mut() {
                    data.drain(..size);
                }
                Ok(None)
            }
            Err(Errno::EINTR | Errno::EAGAIN) => Ok(None),
            // EIO: the terminal is gone.
            Err(Errno::EPIPE | Errno::EIO) => Ok(Some(Outcome::OutputClosed)),
            Err(errno) => Err(own("write the container's output")(errno)),
        }
    }

    /// Exchanges frames with the supervisor.
    fn talk(&mut self, events: PollFlags) -> Result<(), AttachError> {
        if events.contains(PollFlags::POLLOUT) {
            match self.stream.write(&self.requests) {
                Ok(size) => drop(self.requests.drain(..size)),
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                // What it said last is still to be read.
                Err(_) => self.requests.clear(),
            }
        }
        if !events.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
            return Ok(());
        }
        let mut buffer = vec![0; OUTPUT_MAX];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.verdict = Some(Outcome::Lost),
            Ok(size) => self.decoder.push(&buffer[..size]),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                self.verdict = Some(Outcome::Lost);
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(ProtocolError::Io(error).into()),
        }
        while let Some(reply) = self.decoder.next_message()? {
            self.take(reply)?;
        }
        Ok(())
    }

    fn take(&mut self, reply: Reply) -> Result<(), AttachError> {
        match reply {
            Reply::Started => self.enter_raw_mode()?,
            Reply::Failed(failure) => self.verdict = Some(Outcome::Failed(failure)),
            Reply::Output(stream, data) => {
                if !data.is_empty() && self.output_fd(stream).is_some() {
                    self.waiting += data.len();
                    self.output.push_back((stream, data));
                }
            }
            Reply::Accepted(count) => {
                let count = usize::try_from(count).unwrap_or(STDIN_WINDOW);
                self.credit = (self.credit + count).min(STDIN_WINDOW);
            }
            Reply::Exited(code) => self.verdict = Some(Outcome::Exited(code)),
        }
        Ok(())
    }

    fn enter_raw_mode(&mut self) -> Result<(), AttachError> {
        if self.tty && self.raw.is_none() {
            if let Some(stdin) = self.io.stdin {
                self.raw = Some(RawMode::enter(stdin).map_err(own("use standard input as a terminal"))?);
            }
            // It may have changed since the order was sent.
            self.send_size();
        }
        Ok(())
    }
}
