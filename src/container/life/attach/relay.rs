//! The loop of a client that is connected with a container.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal as NixSignal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{isatty, read, write};

use super::{AttachError, Io, Outcome, own, terminal_size};
use crate::container::life::detach::{DetachKeys, Watch};
use crate::container::life::protocol::{
    Decoder, Message as _, PAYLOAD_MAX, ProtocolError, Reply, Request, STDIN_WINDOW, Stream,
};
use crate::container::request::signal::Signal;
use crate::container::run::terminal::{RawMode, is_in_background};
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

/// How often a client in the background looks whether it has got its terminal.
const GLANCE: Duration = Duration::from_millis(200);

/// How long a client to which nobody can type waits for its container, once it has passed on a signal to end.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Which of the signals that a client gets are passed on to the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proxy {
    /// None: they end the client.
    Nothing,
    /// All, unless what is typed goes to a terminal of the container's: then they are for the client.
    Streams,
    /// All.
    Always,
}

/// How a client is connected.
#[derive(Debug, Clone)]
pub struct Manner {
    /// Whether the container has a terminal.
    pub tty: bool,
    /// What is passed on.
    pub proxy: Proxy,
    /// The keys that end the connection.
    pub detach: DetachKeys,
}

/// Connects the caller's streams with a container until it ends or the caller cannot go on.
///
/// With a terminal and input, the caller's terminal is raw until this returns, in whatever way, and signals that end
/// the caller do so here, unless they are passed on to the container.
///
/// In the background the caller's terminal is left alone, and the caller goes on without input. Nobody can type the keys
/// that leave a container there; so a signal to end, which goes to the container, ends the caller as well, though not
/// before the container has had a moment to answer.
///
/// `on_resize` is called with each size that the container's terminal gets from the caller's.
///
/// # Errors
/// [`AttachError::Own`] for the caller's streams (input that is no terminal with `tty`), and
/// [`AttachError::Protocol`].
pub fn relay(
    stream: UnixStream,
    io: Io<'_>,
    manner: &Manner,
    on_resize: &dyn Fn(WindowSize),
) -> Result<Outcome, AttachError> {
    stream.set_nonblocking(true).map_err(ProtocolError::Io)?;
    let tty = manner.tty;
    let proxy = match manner.proxy {
        Proxy::Nothing => false,
        Proxy::Streams => !tty || io.stdin.is_none(),
        Proxy::Always => true,
    };
    let at_terminal = io.stdin.is_some_and(|stdin| isatty(stdin).unwrap_or(false));
    let signals = Signals::watch(tty, proxy, at_terminal)?;
    let mut relay = Relay {
        stream,
        io,
        tty,
        proxy,
        raw: None,
        in_background: false,
        keys: Watch::new(manner.detach.clone()),
        started: false,
        leaving: false,
        leaves_at: None,
        decoder: Decoder::default(),
        requests: Vec::new(),
        credit: STDIN_WINDOW,
        output: VecDeque::new(),
        waiting: 0,
        verdict: None,
        signals: signals.fd.as_fd(),
        on_resize,
    };
    relay.look_at_terminal()?;
    relay.run()
}

/// Signals that come as events, until dropped.
struct Signals {
    fd: SignalFd,
    before: SigSet,
}

impl Signals {
    /// `at_terminal`: whether input comes from a terminal.
    fn watch(tty: bool, proxy: bool, at_terminal: bool) -> Result<Self, AttachError> {
        let mut watched = SigSet::empty();
        watched.extend(if proxy { &PROXIED[..] } else { &ENDING[..] }.iter().copied());
        if tty {
            watched.add(NixSignal::SIGWINCH);
        }
        let mut blocked = watched;
        if at_terminal {
            watched.add(NixSignal::SIGCONT);
            // Stopped, it would not notice that its container has ended, nor that it is to end itself.
            blocked.extend([NixSignal::SIGCONT, NixSignal::SIGTTIN, NixSignal::SIGTTOU]);
        }
        let before = blocked.thread_swap_mask(SigmaskHow::SIG_BLOCK).map_err(own("block signals"))?;
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
    /// Whether input is a terminal that is another program's at the moment.
    in_background: bool,
    keys: Watch,
    /// Whether the command runs.
    started: bool,
    /// Whether the user has typed the keys, and only the requests have to be sent still.
    leaving: bool,
    /// When the caller ends even if the container has not, and by which signal.
    leaves_at: Option<(Instant, Signal)>,
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
    on_resize: &'a dyn Fn(WindowSize),
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
            // Before the command runs, nobody knows whether there is anything to be left.
            if self.leaving && self.started && self.requests.is_empty() {
                return Ok(Outcome::Detached);
            }
            if let Some((_, signal)) = self.leaves_at.filter(|(at, _)| *at <= Instant::now()) {
                return Ok(Outcome::Interrupted(signal));
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
            if self.in_background {
                self.look_at_terminal()?;
            }
        }
    }

    /// Takes the terminal that is the caller's input, if it is the caller's at the moment.
    fn look_at_terminal(&mut self) -> Result<(), AttachError> {
        let Some(stdin) = self.io.stdin else { return Ok(()) };
        self.in_background = is_in_background(stdin);
        if !self.tty || self.in_background {
            return Ok(());
        }
        let raw = match &mut self.raw {
            Some(raw) => raw.renew(),
            None => RawMode::enter(stdin).map(|raw| self.raw = Some(raw)),
        };
        raw.map_err(own("use standard input as a terminal"))?;
        self.complete_raw_mode()
    }

    /// From the start of the command on, what is written to the terminal is made for one that is raw.
    fn complete_raw_mode(&mut self) -> Result<(), AttachError> {
        match &mut self.raw {
            Some(raw) if self.started => raw.complete().map_err(own("use standard input as a terminal")),
            _ => Ok(()),
        }
    }

    /// When to look again though nothing has happened.
    fn timeout(&self) -> PollTimeout {
        let glance = self.in_background.then_some(GLANCE);
        let left = self.leaves_at.map(|(at, _)| at.saturating_duration_since(Instant::now()));
        glance.into_iter().chain(left).min().map_or(PollTimeout::NONE, |time| {
            // Rounded up, so that the last turn does not spin.
            PollTimeout::try_from(time + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        })
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
            let takes_input =
                !self.in_background && self.credit > self.keys.held() && self.requests.is_empty();
            if let Some(stdin) = self.io.stdin.filter(|_| takes_input) {
                watch(Source::Stdin, stdin, PollFlags::POLLIN);
            }
        }
        if let Some(fd) = self.output.front().and_then(|(stream, _)| self.output_fd(*stream)) {
            watch(Source::Output, fd, PollFlags::POLLOUT);
        }
        match poll(&mut fds, self.timeout()) {
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
            } else if number == NixSignal::SIGCONT as i32 {
                self.look_at_terminal()?;
                self.send_size();
            } else if self.proxy {
                self.request(&Request::Signal(signal));
                self.leave_soon(signal);
            } else {
                return Ok(Some(Outcome::Interrupted(signal)));
            }
        }
    }

    /// A signal to end ends the caller where nobody can type: its terminal has gone, or is another program's.
    fn leave_soon(&mut self, signal: Signal) {
        let is = |other: NixSignal| signal.number() == other as i32;
        let alone = is(NixSignal::SIGHUP) || self.io.stdin.is_some_and(is_in_background);
        if self.tty && alone && ENDING.into_iter().any(is) {
            self.leaves_at.get_or_insert((Instant::now() + LAST_WAIT, signal));
        }
    }

    fn send_size(&mut self) {
        if let Some((rows, columns)) = terminal_size(self.io) {
            let size = WindowSize { rows, columns };
            self.request(&Request::Resize(size));
            (self.on_resize)(size);
        }
    }

    fn read_stdin(&mut self) -> Result<(), AttachError> {
        let Some(stdin) = self.io.stdin else { return Ok(()) };
        // What is held back of the keys may follow at once.
        let mut buffer = vec![0; (self.credit - self.keys.held()).min(PAYLOAD_MAX)];
        match read(stdin, &mut buffer) {
            // Another program has got the terminal since.
            Err(Errno::EIO) if is_in_background(stdin) => self.in_background = true,
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
            Reply::Started => {
                self.started = true;
                self.complete_raw_mode()?;
                if self.tty {
                    // It may have changed since the order was sent.
                    self.send_size();
                }
            }
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
}
