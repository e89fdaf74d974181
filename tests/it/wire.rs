//! Servers and clients that speak real TCP and UDP inside a given namespace. A server answers each client
//! with the address it saw the client come from, so that one exchange tells whether packets arrive, and what
//! was rewritten on their way.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::program::{PATIENCE, eventually, forget_closed_descriptors};
use crate::space::Namespace;

/// How long a client waits for an answer that should come. On the way to it a packet may be lost, and TCP takes
/// its time to send it again.
const ANSWER: Duration = PATIENCE;
/// How long a client waits for the answer to one of several datagrams.
const ONE_ANSWER: Duration = Duration::from_secs(2);
/// How long a client waits before it takes the silence for a drop. Long enough for a SYN to be sent twice
/// (again after 1 s); packets in here take microseconds.
const SILENCE: Duration = Duration::from_millis(1500);

/// What came of an attempt to reach a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probe {
    /// The server answered, and saw the client come from this address.
    Answered(SocketAddr),
    /// The other host said at once that nobody listens there.
    Refused,
    /// No answer of any kind: the packets were dropped.
    Silence,
    /// A router on the way, or the client's own kernel, said that there is no way.
    NoRoute,
}

impl Probe {
    /// The client's address without the port, as the server saw it.
    #[track_caller]
    pub(crate) fn seen_as(self) -> String {
        match self {
            Self::Answered(address) => address.ip().to_string(),
            other => panic!("the server should have answered, but: {other:?}"),
        }
    }

    /// Fails unless the attempt was dropped without an answer.
    #[track_caller]
    fn dropped(self, space: &Namespace, to: &str) {
        assert_eq!(self, Self::Silence, "packets from {} to {to} should have been dropped", space.name);
    }
}

/// A server that runs until it is dropped.
pub(crate) struct Server {
    seen: Arc<Mutex<Vec<SocketAddr>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// A TCP server inside the namespace.
    #[track_caller]
    pub(crate) fn tcp(space: &Namespace, address: &str) -> Self {
        let listener = when_free(space, "tcp", address, || TcpListener::bind(address));
        listener.set_nonblocking(true).expect("a non-blocking listener");
        Self::serve(listener, |listener, note| {
            let (mut stream, peer) = listener.accept().ok()?;
            note(peer);
            stream.set_nonblocking(false).expect("a blocking stream");
            // A client that has gone again has still been seen.
            stream.write_all(peer.to_string().as_bytes()).ok()
        })
    }

    /// A UDP server inside the namespace.
    #[track_caller]
    pub(crate) fn udp(space: &Namespace, address: &str) -> Self {
        let socket = when_free(space, "udp", address, || UdpSocket::bind(address));
        socket.set_nonblocking(true).expect("a non-blocking socket");
        Self::serve(socket, |socket, note| {
            let (_, peer) = socket.recv_from(&mut [0; 64]).ok()?;
            note(peer);
            socket.send_to(peer.to_string().as_bytes(), peer).ok().map(drop)
        })
    }

    fn serve<S: std::os::fd::AsFd + Send + 'static>(
        socket: S,
        answer: impl Fn(&S, &dyn Fn(SocketAddr)) -> Option<()> + Send + 'static,
    ) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (seen, stop) = (Arc::clone(&seen), Arc::clone(&stop));
            move || {
                while !stop.load(Ordering::Relaxed) {
                    let mut waiting = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
                    poll(&mut waiting, PollTimeout::from(20_u8)).ok();
                    // Noted before it is answered: whoever has an answer finds itself in the list.
                    while answer(&socket, &|peer| seen.lock().expect("the list of clients").push(peer))
                        .is_some()
                    {}
                }
            }
        });
        Self { seen, stop, thread: Some(thread) }
    }

    /// The addresses of the clients so far, as the server saw them.
    pub(crate) fn clients(&self) -> Vec<String> {
        self.seen.lock().expect("the list of clients").iter().map(|peer| peer.ip().to_string()).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A server that panicked has already failed the test by its silence.
            thread.join().ok();
        }
        // Else its port might still be taken.
        forget_closed_descriptors();
    }
}

/// Binds a socket; a port that somebody is just giving up is waited for.
#[track_caller]
fn when_free<S: Send>(
    space: &Namespace,
    protocol: &str,
    address: &str,
    bind: impl Fn() -> std::io::Result<S> + Sync,
) -> S {
    eventually(&format!("{protocol} {address} in {} to be free", space.name), || match space.run(&bind) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => None,
        bound => Some(bound.unwrap_or_else(|e| panic!("bind {protocol} {address} in {}: {e}", space.name))),
    })
}

/// Connects over TCP from inside the namespace; an answer is expected.
#[track_caller]
pub(crate) fn tcp(space: &Namespace, to: &str) -> Probe {
    tcp_within(space, to, ANSWER)
}

/// Connects over TCP from inside the namespace; silence is expected.
#[track_caller]
pub(crate) fn tcp_dropped(space: &Namespace, to: &str) {
    but_no_way(|| tcp_within(space, to, SILENCE)).dropped(space, to);
}

/// Connects over TCP from inside the namespace; anything but an answer will do.
#[track_caller]
pub(crate) fn tcp_closed(space: &Namespace, to: &str) {
    let probe = tcp_within(space, to, SILENCE);
    assert!(!matches!(probe, Probe::Answered(_)), "{} reached {to}: {probe:?}", space.name);
}

#[track_caller]
fn tcp_within(space: &Namespace, to: &str, patience: Duration) -> Probe {
    let target: SocketAddr = to.parse().unwrap_or_else(|error| panic!("{to}: {error}"));
    let connected = space.run(|| TcpStream::connect_timeout(&target, patience));
    let mut stream = match connected {
        Ok(stream) => stream,
        Err(error) => return failure(&error),
    };
    stream.set_read_timeout(Some(patience)).expect("a read timeout");
    let mut answer = String::new();
    match stream.read_to_string(&mut answer) {
        Ok(_) => parse(&answer),
        Err(error) => failure(&error),
    }
}

/// Sends UDP datagrams from inside the namespace until one is answered; an answer is expected.
#[track_caller]
pub(crate) fn udp(space: &Namespace, to: &str) -> Probe {
    udp_within(space, to, ANSWER, ONE_ANSWER)
}

/// Sends UDP datagrams from inside the namespace; silence is expected.
#[track_caller]
pub(crate) fn udp_dropped(space: &Namespace, to: &str) {
    but_no_way(|| udp_within(space, to, SILENCE, SILENCE / 5)).dropped(space, to);
}

/// What came of an attempt that is made again, twice, if there was no way: a neighbour that was found too late, or
/// a lack of memory, passes; a host that says so by a rule says so each time.
fn but_no_way(attempt: impl Fn() -> Probe) -> Probe {
    (0..3).map(|_| attempt()).find(|probe| *probe != Probe::NoRoute).unwrap_or(Probe::NoRoute)
}

#[track_caller]
fn udp_within(space: &Namespace, to: &str, patience: Duration, each: Duration) -> Probe {
    let target: SocketAddr = to.parse().unwrap_or_else(|error| panic!("{to}: {error}"));
    let bound = space.run(|| {
        let any = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any)?;
        socket.connect(target).map(|()| socket)
    });
    let socket = match bound {
        Ok(socket) => socket,
        Err(error) => return failure(&error),
    };
    // The first datagram may be lost while ARP resolves; a lost one is not a drop.
    socket.set_read_timeout(Some(each)).expect("a read timeout");
    let deadline = Instant::now() + patience;
    let mut buffer = [0; 64];
    let mut last = Probe::Silence;
    // Several, however long the first one took.
    for attempt in 0.. {
        if attempt >= 5 && (last != Probe::Silence || Instant::now() >= deadline) {
            break;
        }
        if let Err(error) = socket.send(b"who am I?") {
            // No buffer, no memory: the machine's trouble, and it passes.
            last = if error.kind() == ErrorKind::ConnectionRefused { Probe::Refused } else { Probe::NoRoute };
            std::thread::sleep(each / 2);
            continue;
        }
        match socket.recv(&mut buffer) {
            Ok(length) => return parse(&String::from_utf8_lossy(&buffer[..length])),
            Err(error) => last = failure(&error),
        }
    }
    last
}

fn parse(answer: &str) -> Probe {
    // A connection that was accepted and closed without a word is as good as refused.
    answer.parse().map_or(Probe::Refused, Probe::Answered)
}

#[track_caller]
fn failure(error: &std::io::Error) -> Probe {
    match error.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => Probe::Refused,
        ErrorKind::TimedOut | ErrorKind::WouldBlock | ErrorKind::Interrupted => Probe::Silence,
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => Probe::NoRoute,
        _ => panic!("an error that no test expects: {error}"),
    }
}

/// A UDP client that keeps its source port, and so its connection-tracking entry.
pub(crate) struct FixedClient(UdpSocket);

impl FixedClient {
    pub(crate) fn new(space: &Namespace, to: &str) -> Self {
        let to: SocketAddr = to.parse().unwrap();
        let any = if to.is_ipv4() { "0.0.0.0:5000" } else { "[::]:5000" };
        let socket = space.run(|| UdpSocket::bind(any)).unwrap();
        socket.connect(to).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        Self(socket)
    }

    /// Sends until there is an answer of any kind: a server's, or the host's word that nobody listens.
    pub(crate) fn ask(&self) -> Probe {
        let mut answer = [0; 64];
        self.forget(&mut answer);
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            // The word on the datagram before comes with the next call.
            if self.0.send(b"?").is_err() {
                return Probe::Refused;
            }
            match self.0.recv(&mut answer) {
                Ok(length) => {
                    let text = std::str::from_utf8(&answer[..length]).unwrap();
                    return Probe::Answered(text.parse().unwrap());
                }
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Probe::Refused,
                Err(_) => {}
            }
        }
        Probe::Silence
    }

    /// Drops what came too late for the question before.
    fn forget(&self, buffer: &mut [u8]) {
        self.0.set_nonblocking(true).unwrap();
        while self.0.recv(buffer).map_or_else(|error| error.kind() != ErrorKind::WouldBlock, |_| true) {}
        self.0.set_nonblocking(false).unwrap();
    }
}

/// Whether one of a few echo requests from inside the namespace is answered.
pub(crate) fn ping(space: &Namespace, to: &str) -> bool {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let output = space.program(&["ping", "-n", "-c", "1", "-W", "10", to]);
        // Only 1 stands for a request without an answer, which may have been lost; 2 for one that cannot be sent.
        if output.code() != 1 || Instant::now() >= deadline {
            return output.status.success();
        }
    }
}

/// Fails if an echo request from inside the namespace is answered.
#[track_caller]
pub(crate) fn ping_dropped(space: &Namespace, to: &str) {
    let output = space.program(&["ping", "-n", "-c", "2", "-i", "0.2", "-W", "2", to]);
    assert!(!output.status.success(), "there should be no answer: {output}");
    assert!(output.stdout.contains("100% packet loss"), "ping did not even try: {output}");
}
