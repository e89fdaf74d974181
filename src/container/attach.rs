//! The client's side: standard streams, terminal and signals of the caller, connected to a container through
//! its supervisor.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal as NixSignal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{read, write};

use super::protocol::{
    Decoder, Failure, Message as _, PAYLOAD_MAX, ProtocolError, Reply, Request, STDIN_WINDOW, Stream,
};
use super::signal::Signal;
use super::supervisor::SOCKET;
use super::terminal::{self, RawMode};
use crate::names::ContainerId;
use crate::store::Layout;
use crate::sys::{self, WindowSize};

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

/// Why a client cannot be connected, or not any more.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The other side is no supervisor, or went away in the middle of a frame.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The supervisor's socket cannot be reached.
    #[error("cannot connect to the supervisor of container {id}")]
    Connect {
        /// The container.
        id: ContainerId,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// One of the caller's own streams.
    #[error("cannot {action}")]
    Own {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

fn own<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> AttachError {
    move |source| AttachError::Own { action, source: source.into() }
}

/// The caller's streams.
#[derive(Debug, Clone, Copy)]
pub struct Io<'a> {
    /// Where input is read, if the container is to get any.
    pub stdin: Option<BorrowedFd<'a>>,
    /// Where output goes.
    pub stdout: BorrowedFd<'a>,
    /// Where error output goes.
    pub stderr: BorrowedFd<'a>,
}

/// How a container was left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It has ended with this exit status, and has been taken down.
    Exited(u8),
    /// It could not be started.
    Failed(Failure),
    /// Nobody reads the caller's output any more (`EPIPE`); the container runs on.
    OutputClosed,
    /// A signal ended the caller, whose terminal was raw; the container runs on.
    Interrupted(Signal),
    /// The supervisor ended without a word: it was killed, and the container with it.
    Lost,
}

/// A connection for a supervisor that is about to be started: the client's end, and the one that becomes
/// the supervisor's standard input.
///
/// # Errors
/// There are no more descriptors.
pub fn pair() -> io::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = UnixStream::pair()?;
    Ok((ours, theirs.into()))
}

/// Connects to the supervisor of a running container. `None` if it has none, or none any more.
///
/// # Errors
/// [`AttachError::Connect`], for lack of rights or descriptors.
pub fn connect(layout: &Layout, id: &ContainerId) -> Result<Option<UnixStream>, AttachError> {
    let connected = terminal::short_path(&layout.container_run(id), SOCKET)
        .and_then(|(_open, path)| UnixStream::connect(path));
    match connected {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            Ok(None)
        }
        Err(source) => Err(AttachError::Connect { id: id.clone(), source }),
    }
}

/// Asks the supervisor of a running container for its output from now on, with the caller's terminal in `io`.
/// [`relay`] does the rest.
///
/// # Errors
/// [`AttachError::Protocol`] if the supervisor has ended in the meantime.
pub fn subscribe(stream: &UnixStream, io: Io<'_>) -> Result<(), AttachError> {
    let mut bytes = Vec::new();
    if let Some((rows, columns)) = terminal_size(io) {
        Request::Resize(WindowSize { rows, columns }).encode(&mut bytes);
    }
    Request::Subscribe.encode(&mut bytes);
    let mut stream: &UnixStream = stream;
    stream.write_all(&bytes).map_err(ProtocolError::Io)?;
    Ok(())
}

/// Waits until a supervisor that was just started says that the command runs, or why it does not.
/// [`Outcome::Exited`] is impossible here; `None` stands for success.
///
/// # Errors
/// [`AttachError::Protocol`].
pub fn wait_for_start(stream: &UnixStream) -> Result<Option<Outcome>, AttachError> {
    wait_for(stream, None, |reply| match reply {
        Reply::Started => Some(None),
        Reply::Failed(failure) => Some(Some(Outcome::Failed(failure))),
        _ => None,
    })
    .map(|answer| answer.unwrap_or(Some(Outcome::Lost)))
}

/// Waits until the container has ended and been taken down, at most `patience` long (`None`: for ever).
/// `None` if it has not by then, or if the supervisor ended without a word: the record tells which.
///
/// # Errors
/// [`AttachError::Protocol`].
pub fn wait_for_exit(stream: &UnixStream, patience: Option<Duration>) -> Result<Option<u8>, AttachError> {
    let code = |reply| if let Reply::Exited(code) = reply { Some(code) } else { None };
    wait_for(stream, patience, code)
}

fn wait_for<T>(
    mut stream: &UnixStream,
    patience: Option<Duration>,
    answer: impl Fn(Reply) -> Option<T>,
) -> Result<Option<T>, AttachError> {
    let deadline = patience.map(|patience| Instant::now() + patience);
    let mut decoder = Decoder::default();
    let mut buffer = vec![0; 4096];
    loop {
        while let Some(reply) = decoder.next_message()? {
            if let Some(answer) = answer(reply) {
                return Ok(Some(answer));
            }
        }
        if let Some(deadline) = deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            stream.set_read_timeout(Some(left)).map_err(ProtocolError::Io)?;
        }
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(None),
            Ok(size) => decoder.push(&buffer[..size]),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(ProtocolError::Io(error).into()),
        }
    }
}

/// The size of the caller's terminal, for an [`Order`](super::protocol::Order).
#[must_use]
pub fn terminal_size(io: Io<'_>) -> Option<(u16, u16)> {
    let size = sys::window_size(io.stdout).or_else(|_| sys::window_size(io.stdin.unwrap_or(io.stderr)));
    size.ok().map(|size| (size.rows, size.columns))
}

/// Connects the caller's streams with a container until it ends or the caller cannot go on.
///
/// With `tty` and input, the caller's terminal is raw from the start of the command until this returns, in
/// whatever way, and signals that end the caller do so here. Otherwise those signals are passed on to the
/// container.
///
/// # Errors
/// [`AttachError::Own`] for the caller's streams (input that is no terminal with `tty`), and
/// [`AttachError::Protocol`].
pub fn relay(stream: UnixStream, io: Io<'_>, tty: bool) -> Result<Outcome, AttachError> {
    stream.set_nonblocking(true).map_err(ProtocolError::Io)?;
    let proxy = !tty || io.stdin.is_none();
    let signals = Signals::watch(tty, proxy)?;
    let mut relay = Relay {
        stream,
        io,
        tty,
        proxy,
        raw: None,
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
            if let Some(stdin) = self.io.stdin.filter(|_| self.credit > 0 && self.requests.is_empty()) {
                watch(Source::Stdin, stdin, PollFlags::POLLIN);
            }
        }
        if let Some((stream, _)) = self.output.front() {
            watch(Source::Output, self.output_fd(*stream), PollFlags::POLLOUT);
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(own("wait for events")(errno)),
        }
        let events = |fd: &PollFd<'_>| fd.revents().unwrap_or(PollFlags::empty());
        let happened = sources.into_iter().zip(fds.iter().map(events));
        Ok(happened.filter(|(_, events)| !events.is_empty()).collect())
    }

    fn output_fd(&self, stream: Stream) -> BorrowedFd<'_> {
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
        let mut buffer = vec![0; self.credit.min(PAYLOAD_MAX)];
        match read(stdin, &mut buffer) {
            // EIO: the terminal is gone, or this process may not read from it.
            Ok(0) | Err(Errno::EIO) => {
                self.io.stdin = None;
                self.request(&Request::StdinEof);
            }
            Ok(size) => {
                buffer.truncate(size);
                self.credit -= size;
                self.request(&Request::Stdin(buffer));
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
        match write(self.output_fd(*stream), piece) {
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
                self.waiting += data.len();
                if !data.is_empty() {
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

#[cfg(test)]
mod tests {
    use std::fs::File;

    use nix::fcntl::OFlag;
    use nix::unistd::pipe2;

    use super::*;

    /// Runs the client's side on a thread of its own, with the other side played by `supervisor`. Returns
    /// how it ended, and what it wrote to standard output and standard error.
    fn played(
        input: &[u8],
        supervisor: impl FnOnce(UnixStream) + Send,
    ) -> (Result<Outcome, AttachError>, String, String) {
        let pipe = || pipe2(OFlag::O_CLOEXEC).unwrap();
        let (stdin, feed) = pipe();
        let ((mut out, stdout), (mut err, stderr)) = {
            let ((out, stdout), (err, stderr)) = (pipe(), pipe());
            ((File::from(out), stdout), (File::from(err), stderr))
        };
        let (ours, theirs) = UnixStream::pair().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| supervisor(theirs));
            scope.spawn(move || File::from(feed).write_all(input).ok());
            let outcome = {
                let (stdin, stdout, stderr) = (stdin, stdout, stderr);
                let io = Io { stdin: Some(stdin.as_fd()), stdout: stdout.as_fd(), stderr: stderr.as_fd() };
                relay(ours, io, false)
            };
            let (mut output, mut errors) = (String::new(), String::new());
            out.read_to_string(&mut output).unwrap();
            err.read_to_string(&mut errors).unwrap();
            (outcome, output, errors)
        })
    }

    fn reply(mut stream: &UnixStream, replies: &[Reply]) {
        let mut bytes = Vec::new();
        replies.iter().for_each(|reply| reply.encode(&mut bytes));
        stream.write_all(&bytes).unwrap();
    }

    #[test]
    fn output_is_written_whole_before_the_end_is_told() {
        let (outcome, output, errors) = played(b"", |stream| {
            let end = [
                Reply::Started,
                Reply::Output(Stream::Stdout, vec![b'a'; 10_000]),
                Reply::Output(Stream::Stderr, b"error".to_vec()),
                Reply::Output(Stream::Stdout, b"end".to_vec()),
                Reply::Exited(3),
            ];
            reply(&stream, &end);
        });
        assert_eq!(outcome.unwrap(), Outcome::Exited(3));
        assert_eq!((output.len(), errors.as_str()), (10_003, "error"));
        assert!(output.ends_with("end"));
    }

    #[test]
    fn a_failure_a_hangup_and_nonsense_are_told_apart() {
        let failure = Failure { code: 127, message: "no".into(), hint: None };
        let (outcome, ..) = played(b"", |stream| reply(&stream, &[Reply::Failed(failure.clone())]));
        assert_eq!(outcome.unwrap(), Outcome::Failed(failure.clone()));
        let (outcome, ..) = played(b"", |stream| reply(&stream, &[Reply::Started]));
        assert_eq!(outcome.unwrap(), Outcome::Lost);
        let (outcome, ..) = played(b"", |mut stream| stream.write_all(b"HTTP/1.1 200").unwrap());
        assert!(matches!(outcome, Err(AttachError::Protocol(_))));
    }

    #[test]
    fn input_is_sent_as_far_as_it_is_accepted() {
        let input: Vec<u8> = (0..300_000_u32).map(|byte| byte.to_le_bytes()[0]).collect();
        let (mut received, mut ended) = (Vec::new(), false);
        let (outcome, ..) = played(&input, |mut stream| {
            reply(&stream, &[Reply::Started]);
            let mut decoder = Decoder::default();
            let (mut bytes, mut unaccepted) = (vec![0; 8192], 0);
            stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            while !ended {
                match stream.read(&mut bytes) {
                    Ok(size) => decoder.push(&bytes[..size]),
                    Err(_) => {
                        // It has sent all it may: more only for credit.
                        assert_eq!(unaccepted, STDIN_WINDOW.min(input.len() + unaccepted - received.len()));
                        reply(&stream, &[Reply::Accepted(u32::try_from(unaccepted).unwrap())]);
                        unaccepted = 0;
                    }
                }
                while let Some(request) = decoder.next_message().unwrap() {
                    match request {
                        Request::Stdin(data) => {
                            unaccepted += data.len();
                            assert!(unaccepted <= STDIN_WINDOW);
                            received.extend(data);
                        }
                        Request::StdinEof => ended = true,
                        other => panic!("{other:?}"),
                    }
                }
            }
            reply(&stream, &[Reply::Exited(0)]);
        });
        assert_eq!(outcome.unwrap(), Outcome::Exited(0));
        assert!(received == input);
    }

    #[test]
    fn output_that_nobody_reads_ends_the_client() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (reader, stdout) = pipe2(OFlag::O_CLOEXEC).unwrap();
        drop(reader);
        reply(&theirs, &[Reply::Started, Reply::Output(Stream::Stdout, b"x".to_vec())]);
        let io = Io { stdin: None, stdout: stdout.as_fd(), stderr: stdout.as_fd() };
        assert_eq!(relay(ours, io, false).unwrap(), Outcome::OutputClosed);
    }

    #[test]
    fn the_start_and_the_end_can_be_awaited_alone() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        reply(&theirs, &[Reply::Started, Reply::Output(Stream::Stdout, b"x".to_vec()), Reply::Exited(9)]);
        assert_eq!(wait_for_start(&ours).unwrap(), None);
        let (ours, theirs) = UnixStream::pair().unwrap();
        assert_eq!(wait_for_exit(&ours, Some(Duration::from_millis(20))).unwrap(), None);
        reply(&theirs, &[Reply::Output(Stream::Stdout, b"x".to_vec()), Reply::Exited(9)]);
        assert_eq!(wait_for_exit(&ours, None).unwrap(), Some(9));
        drop(theirs);
        assert_eq!(wait_for_start(&ours).unwrap(), Some(Outcome::Lost));
        assert_eq!(wait_for_exit(&ours, None).unwrap(), None);
    }
}
