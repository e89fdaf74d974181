//! The client's side: standard streams, terminal and signals of the caller, connected to a container through
//! its supervisor.

mod relay;

use std::io::{self, Read as _, Write as _};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::container::life::protocol::{Decoder, Failure, Message as _, ProtocolError, Reply, Request};
use crate::container::life::supervisor::SOCKET;
use crate::container::request::signal::Signal;
use crate::container::run::terminal;
use crate::names::ContainerId;
use crate::store::Layout;
use crate::sys::{self, WindowSize};
pub use relay::{Manner, Proxy, relay};

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
    /// Where output goes, if anywhere.
    pub stdout: Option<BorrowedFd<'a>>,
    /// Where error output goes, if anywhere.
    pub stderr: Option<BorrowedFd<'a>>,
}

/// How a container was left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It has ended with this exit status, and has been taken down.
    Exited(u8),
    /// It could not be started.
    Failed(Failure),
    /// The user typed the keys for it; the container runs on.
    Detached,
    /// Nobody reads the caller's output any more (`EPIPE`); the container runs on.
    OutputClosed,
    /// A signal ended the caller; the container runs on.
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
        // Another size first, so that what runs there draws itself anew.
        Request::Resize(WindowSize { rows: rows.saturating_add(1), columns }).encode(&mut bytes);
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

/// Whether the supervisor of a running container answers within this time, and has not to say that the container has
/// ended.
///
/// # Errors
/// [`AttachError::Protocol`].
pub fn answers(stream: &UnixStream, patience: Duration) -> Result<bool, AttachError> {
    let mut bytes = Vec::new();
    Request::Subscribe.encode(&mut bytes);
    let mut sent: &UnixStream = stream;
    if sent.write_all(&bytes).is_err() {
        return Ok(false);
    }
    let answer = wait_for(stream, Some(patience), |reply| match reply {
        Reply::Started => Some(true),
        Reply::Exited(_) | Reply::Failed(_) => Some(false),
        Reply::Output(..) | Reply::Accepted(_) => None,
    });
    Ok(answer?.unwrap_or(false))
}

/// Waits until the container has ended and been taken down, at most `patience` long (`None`: for ever). `None` if
/// it has not by then, or if the supervisor ended without a report: the record shows which.
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

/// The size of the caller's terminal, for an [`Order`](crate::container::life::protocol::Order).
#[must_use]
pub fn terminal_size(io: Io<'_>) -> Option<(u16, u16)> {
    let mut streams = [io.stdout, io.stdin, io.stderr].into_iter().flatten();
    streams.find_map(|stream| sys::window_size(stream).ok()).map(|size| (size.rows, size.columns))
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use std::os::fd::AsFd as _;

    use nix::fcntl::OFlag;
    use nix::unistd::pipe2;

    use super::super::protocol::{STDIN_WINDOW, Stream};
    use super::*;

    fn manner() -> Manner {
        Manner { tty: false, proxy: Proxy::Streams, detach: super::super::detach::DetachKeys::default() }
    }

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
                let (stdout, stderr) = (Some(stdout.as_fd()), Some(stderr.as_fd()));
                relay(ours, Io { stdin: Some(stdin.as_fd()), stdout, stderr }, &manner(), &|_| {})
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
            let deadline = Instant::now() + Duration::from_secs(180);
            while !ended {
                match stream.read(&mut bytes) {
                    Ok(size) => decoder.push(&bytes[..size]),
                    Err(_) => {
                        // It sends all it may, if not at once: more only for credit.
                        if unaccepted < STDIN_WINDOW.min(input.len() + unaccepted - received.len()) {
                            assert!(Instant::now() < deadline, "it sent {unaccepted} bytes, and no more");
                            continue;
                        }
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
        let io = Io { stdin: None, stdout: Some(stdout.as_fd()), stderr: None };
        assert_eq!(relay(ours, io, &manner(), &|_| {}).unwrap(), Outcome::OutputClosed);
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
