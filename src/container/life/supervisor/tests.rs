//! Tests of the loop, with pipes in the place of a container.

use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::unistd::pipe2;

use super::super::protocol::{Decoder, Message as _};
use super::*;
use crate::container::request::signal::Signal;
use crate::container::run::stdio::Streams;

/// A supervisor of two pipes and one client, and everybody else's ends.
struct Stage {
    supervisor: Supervisor,
    client: UnixStream,
    stdin: Option<File>,
    stdout: File,
    stderr: File,
    log: PathBuf,
    _directory: tempfile::TempDir,
}

impl Stage {
    fn new(open_stdin: bool) -> Self {
        let pipe = || pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
        let ((stdout, their_stdout), (stderr, their_stderr)) = (pipe(), pipe());
        let stdin = open_stdin.then(pipe);
        let (their_stdin, stdin): (Option<OwnedFd>, _) = stdin.unzip();
        // Nobody has this pid: signals reach no one.
        let process = Process { pid: i32::MAX, start_time: 0 };
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let (client, ours) = UnixStream::pair().unwrap();
        client.set_nonblocking(true).unwrap();
        let options = Options {
            log: Some(log::Sink::Files(Box::new(
                log::Writer::open(&log, &crate::container::request::log::Options::default()).unwrap(),
            ))),
            listener: None,
            client: Some(ours),
            subscribe: true,
            feeds: true,
            size: None,
            stdin_once: true,
            stop: Stop {
                signal: Signal::TERM,
                timeout: Duration::ZERO,
                container: None,
                tell: Box::new(|_| {}),
            },
            names: None,
            checks: None,
            spool: directory.path().to_owned(),
        };
        let task = Task::fake(process, Streams::Pipes { stdin, stdout, stderr });
        Self {
            supervisor: Supervisor::new(task, options).unwrap(),
            client,
            stdin: their_stdin.map(File::from),
            stdout: their_stdout.into(),
            stderr: their_stderr.into(),
            log,
            _directory: directory,
        }
    }

    fn say(&self, request: &Request) {
        let mut bytes = Vec::new();
        request.encode(&mut bytes);
        (&self.client).write_all(&bytes).unwrap();
    }

    fn heard(&self) -> Vec<Reply> {
        let mut bytes = vec![0; 1 << 20];
        let mut decoder = Decoder::default();
        while let Ok(size @ 1..) = (&self.client).read(&mut bytes) {
            decoder.push(&bytes[..size]);
        }
        std::iter::from_fn(|| decoder.next_message().unwrap()).collect()
    }
}

#[test]
fn output_goes_to_the_log_and_the_client_in_order_and_whole() {
    let mut stage = Stage::new(false);
    stage.supervisor.start(|| {}).unwrap();
    stage.stdout.write_all(b"one\n").unwrap();
    stage.supervisor.turn().unwrap();
    stage.stderr.write_all(b"two\n").unwrap();
    stage.supervisor.turn().unwrap();
    // What is written last is read after the end.
    stage.stdout.write_all(b"three").unwrap();
    stage.supervisor.drain();
    let replies = stage.heard();
    let expected = [
        Reply::Started,
        Reply::Output(Stream::Stdout, b"one\n".to_vec()),
        Reply::Output(Stream::Stderr, b"two\n".to_vec()),
        Reply::Output(Stream::Stdout, b"three".to_vec()),
    ];
    assert_eq!(replies, expected);
    let logged = std::fs::read_to_string(&stage.log).unwrap();
    assert_eq!(logged.lines().count(), 3);
    assert!(logged.lines().last().unwrap().contains("three"));
    let client = stage.client.try_clone().unwrap();
    stage.supervisor.finish(7).unwrap();
    stage.client = client;
    let mut decoder = Decoder::default();
    let mut bytes = [0; 64];
    let size = (&stage.client).read(&mut bytes).unwrap();
    decoder.push(&bytes[..size]);
    assert_eq!(decoder.next_message().unwrap(), Some(Reply::Exited(7)));
}

#[test]
fn input_is_passed_on_accepted_and_ended() {
    let mut stage = Stage::new(true);
    stage.say(&Request::Stdin(b"hello".to_vec()));
    stage.supervisor.turn().unwrap();
    assert_eq!(stage.heard(), [Reply::Accepted(5)]);
    stage.say(&Request::StdinEof);
    stage.supervisor.turn().unwrap();
    let mut text = String::new();
    stage.stdin.take().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
    // Input after the end is dropped, but the client must not wait for it.
    stage.say(&Request::Stdin(b"late".to_vec()));
    stage.supervisor.turn().unwrap();
    assert_eq!(stage.heard(), [Reply::Accepted(4)]);
}

#[test]
fn a_client_for_whom_there_is_no_descriptor_waits_and_does_not_keep_the_loop_busy() {
    let mut stage = Stage::new(false);
    // Nobody listens at it, so that it fails in another way than "nobody is there yet".
    let broken = || UnixListener::from(OwnedFd::from(UnixStream::pair().unwrap().0));
    stage.supervisor.listener = Some(broken());
    stage.supervisor.accept();
    let watched = |supervisor: &Supervisor| {
        supervisor.wait().unwrap().into_iter().any(|(source, _)| matches!(source, Source::Listener))
    };
    let paused = stage.supervisor.accepts_from.unwrap();
    assert!(paused <= Instant::now() + ACCEPT_PAUSE);
    // It is as ready as ever, and not looked at.
    stage.supervisor.accepts_from = Some(paused + Duration::from_secs(1000));
    stage.stdout.write_all(b"one\n").unwrap();
    assert!(!watched(&stage.supervisor));
    let path = stage.log.with_file_name("socket");
    stage.supervisor.listener = Some(UnixListener::bind(&path).unwrap());
    stage.supervisor.listener.as_ref().unwrap().set_nonblocking(true).unwrap();
    let _other = UnixStream::connect(&path).unwrap();
    assert!(!watched(&stage.supervisor));
    // After the pause it is.
    stage.supervisor.accepts_from = Some(Instant::now());
    assert!(watched(&stage.supervisor));
    stage.supervisor.turn().unwrap();
    assert_eq!((stage.supervisor.clients.len(), stage.supervisor.accepts_from), (2, None));
}

#[test]
fn a_client_that_leaves_ends_the_input_and_nothing_else() {
    let mut stage = Stage::new(true);
    let (other, _) = UnixStream::pair().unwrap();
    drop(std::mem::replace(&mut stage.client, other));
    stage.supervisor.turn().unwrap();
    assert!(stage.supervisor.clients.is_empty());
    assert_eq!(stage.stdin.take().unwrap().read(&mut [0; 8]).unwrap(), 0);
    stage.stdout.write_all(b"alone\n").unwrap();
    stage.supervisor.turn().unwrap();
    assert!(std::fs::read_to_string(&stage.log).unwrap().contains("alone"));
}

#[test]
fn input_that_nobody_reads_keeps_no_signal_from_getting_through() {
    let mut stage = Stage::new(true);
    let full = vec![0; 32 << 10];
    // The container's pipe takes 64 KiB; then the client has used up its credit, and still is heard.
    for _ in 0..4 {
        stage.say(&Request::Stdin(full.clone()));
        stage.supervisor.turn().unwrap();
    }
    assert_eq!(stage.supervisor.clients[0].stdin.len(), 64 << 10);
    stage.say(&Request::Signal(Signal::TERM));
    stage.supervisor.turn().unwrap();
    assert!(!stage.supervisor.clients.is_empty());
    // A client that goes on regardless is not a mydocker.
    stage.say(&Request::Stdin(full));
    stage.supervisor.turn().unwrap();
    assert!(stage.supervisor.clients.is_empty());
}

#[test]
fn a_client_that_takes_nothing_stops_the_container_for_a_moment_only() {
    let mut stage = Stage::new(false);
    let mut stdout = stage.stdout.try_clone().unwrap();
    let size = 4 << 20;
    let written = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let written = Arc::clone(&written);
        move || {
            stdout.write_all(&vec![b'x'; size - 1]).unwrap();
            written.store(true, Ordering::Relaxed);
            // A turn waits until something happens: this happens after all others.
            stdout.write_all(b"x").unwrap();
        }
    });
    let before = Instant::now();
    while !written.load(Ordering::Relaxed) {
        stage.supervisor.turn().unwrap();
    }
    while !writer.is_finished() {
        stage.supervisor.read_output(Stream::Stdout);
    }
    assert!(before.elapsed() >= Duration::from_millis(900), "a slow client is waited for");
    writer.join().unwrap();
    stage.supervisor.drain();
    let client = stage.client.try_clone().unwrap();
    client.set_nonblocking(false).unwrap();
    let reader = std::thread::spawn(move || {
        let (mut decoder, mut bytes, mut count) = (Decoder::default(), vec![0; 64 << 10], 0);
        while let Ok(size @ 1..) = (&client).read(&mut bytes) {
            decoder.push(&bytes[..size]);
            while let Some(reply) = decoder.next_message().unwrap() {
                match reply {
                    Reply::Output(_, data) => count += data.len(),
                    Reply::Exited(code) => return (count, code),
                    other => panic!("{other:?}"),
                }
            }
        }
        panic!("no end");
    });
    stage.supervisor.finish(3).unwrap();
    assert_eq!(reader.join().unwrap(), (size, 3));
}
