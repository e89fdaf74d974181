//! Clients that ask by TCP: each message has its length before it (RFC 7766). What is passed on is passed on by TCP as
//! well, and the answer is handed through in small pieces, however long it is.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;

use super::decide::{Directory, Verdict, decide};
use super::flight::TRY;
use super::message::{Code, HEADER, Question, code_of};
use super::servers::{self, Servers};

/// How long a client may say nothing, and take nothing.
const IDLE: Duration = Duration::from_secs(5);
/// The longest question: any longer one is nobody's that means well.
const LONGEST_QUESTION: usize = 1024;
/// How much of a long answer is in memory at once.
const PIECE: usize = 1024;
/// The longest answer of our own.
const LONGEST_ANSWER: usize = 2048;

/// A client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) serial: u64,
    stream: TcpStream,
    pub(super) peer: SocketAddr,
    /// What it has sent and was not looked at.
    input: Vec<u8>,
    /// What it has not taken yet.
    output: Vec<u8>,
    /// When it is closed unless something happens.
    pub(super) deadline: Instant,
    relay: Option<Relay>,
    is_gone: bool,
}

/// A question that was passed on.
#[derive(Debug)]
struct Relay {
    stream: TcpStream,
    /// The question with its length, and how much of it was sent.
    query: Vec<u8>,
    sent: usize,
    /// The length of the answer and its header, as far as they have arrived.
    head: Vec<u8>,
    /// How much of the answer is still to come, once its header is there.
    left: Option<usize>,
    next: VecDeque<SocketAddr>,
    deadline: Instant,
}

/// What questions are answered with.
pub(super) struct Sources<'a> {
    pub(super) directory: &'a dyn Directory,
    pub(super) servers: &'a Servers,
    pub(super) turn: usize,
}

impl Sources<'_> {
    /// Whom a client's question may be passed on to, and the code of one that nobody could be asked: where nothing outside
    /// is reached, there are no other names. What comes from an address of our own was passed on by one of our own servers:
    /// two that have each other for a server would ask for ever.
    pub(super) fn outside(&self, client: IpAddr) -> (Vec<SocketAddr>, Code) {
        let reaches = self.directory.reaches_outside(client);
        let unreached = if reaches { Code::ServFail } else { Code::NxDomain };
        let is_closed = !reaches && self.servers.are_hosts();
        if is_closed || !self.directory.passes_on() || self.directory.is_here(client) {
            return (Vec::new(), unreached);
        }
        let mut servers = match self.directory.servers_for(client) {
            Some(given) => servers::at_port(&given),
            None => self.servers.addresses(),
        };
        servers.retain(|server| !self.directory.is_here(server.ip()));
        (servers, unreached)
    }
}

impl Client {
    pub(super) fn new(serial: u64, stream: TcpStream, peer: SocketAddr) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let deadline = Instant::now() + IDLE;
        let (input, output) = (Vec::new(), Vec::new());
        Ok(Self { serial, stream, peer, input, output, deadline, relay: None, is_gone: false })
    }

    pub(super) fn is_gone(&self) -> bool {
        self.is_gone
    }

    /// What to watch: the client or the server that was asked for it, whoever has to do something next. Of the other one
    /// not even the end is wanted, which would be reported without end.
    pub(super) fn watched(&self) -> (BorrowedFd<'_>, PollFlags) {
        match &self.relay {
            _ if !self.output.is_empty() => (self.stream.as_fd(), PollFlags::POLLOUT),
            Some(relay) if relay.sent < relay.query.len() => (relay.stream.as_fd(), PollFlags::POLLOUT),
            Some(relay) => (relay.stream.as_fd(), PollFlags::POLLIN),
            None => (self.stream.as_fd(), PollFlags::POLLIN),
        }
    }

    /// When something has to happen at the latest.
    pub(super) fn next_deadline(&self) -> Instant {
        self.relay.as_ref().map_or(self.deadline, |relay| relay.deadline.min(self.deadline))
    }

    /// Goes on with whatever can go on now.
    pub(super) fn turn(&mut self, sources: &Sources<'_>) {
        let gone_on = self.flush().and_then(|()| match &self.relay {
            Some(_) => self.go_on_relaying(sources),
            None => self.read(sources),
        });
        if gone_on.and_then(|()| self.flush()).is_err() {
            self.is_gone = true;
        }
    }

    /// Closes what has waited too long; a server that is silent is given up for another one.
    pub(super) fn expire(&mut self, now: Instant, sources: &Sources<'_>) {
        let is_server_silent = self.relay.as_ref().is_some_and(|relay| relay.deadline <= now);
        self.is_gone |= self.deadline <= now
            || (is_server_silent && (self.give_up_server(sources).is_err() || self.flush().is_err()));
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(size) => {
                    self.output.drain(..size);
                    self.deadline = Instant::now() + IDLE;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads once, and answers what is there.
    fn read(&mut self, sources: &Sources<'_>) -> io::Result<()> {
        if !self.output.is_empty() {
            return Ok(());
        }
        let mut buffer = [0; LONGEST_QUESTION + 2];
        match self.stream.read(&mut buffer[self.input.len()..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(size) => {
                let start = self.input.len();
                self.input.extend(&buffer[start..start + size]);
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
        self.answer(sources)
    }

    /// Deals with one message, if it is whole. The next one waits until the client has taken the answer.
    fn answer(&mut self, sources: &Sources<'_>) -> io::Result<()> {
        while self.output.is_empty() && self.relay.is_none() {
            let Some(prefix) = self.input.first_chunk::<2>() else { return Ok(()) };
            let length = usize::from(u16::from_be_bytes(*prefix));
            if !(HEADER..=LONGEST_QUESTION).contains(&length) {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if self.input.len() < 2 + length {
                return Ok(());
            }
            let message: Vec<u8> = self.input.drain(..2 + length).collect();
            self.deadline = Instant::now() + IDLE;
            match decide(&message[2..], sources.directory, self.peer.ip(), Some(LONGEST_ANSWER), sources.turn)
            {
                Verdict::Answer(reply) => self.queue(&reply),
                Verdict::Nothing => {}
                Verdict::Forward(_) => {
                    let (next, unreached) = sources.outside(self.peer.ip());
                    self.pass_on(message, next.into(), sources, unreached);
                }
            }
            self.flush()?;
        }
        Ok(())
    }

    fn queue(&mut self, reply: &[u8]) {
        self.output.extend(u16::try_from(reply.len()).unwrap_or_default().to_be_bytes());
        self.output.extend(reply);
    }

    /// Begins to ask the next server; if there is none, the client gets this code.
    fn pass_on(
        &mut self,
        query: Vec<u8>,
        mut next: VecDeque<SocketAddr>,
        sources: &Sources<'_>,
        failure: Code,
    ) {
        while let Some(server) = next.pop_front() {
            if let Ok(stream) = sources.servers.connect_tcp(server) {
                let deadline = Instant::now() + TRY;
                let head = Vec::new();
                self.relay = Some(Relay { stream, query, sent: 0, head, left: None, next, deadline });
                return;
            }
        }
        if let Ok(question) = Question::parse(&query[2..]) {
            self.queue(&question.answer(failure, &[], LONGEST_ANSWER));
        }
    }

    fn give_up_server(&mut self, sources: &Sources<'_>) -> io::Result<()> {
        let Some(mut relay) = self.relay.take() else { return Ok(()) };
        if relay.left.is_some() {
            // A part of its answer is with the client already.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (query, next) = (std::mem::take(&mut relay.query), std::mem::take(&mut relay.next));
        self.pass_on(query, next, sources, Code::ServFail);
        Ok(())
    }

    fn go_on_relaying(&mut self, sources: &Sources<'_>) -> io::Result<()> {
        let Some(relay) = &mut self.relay else { return Ok(()) };
        match relay.step(&mut self.output) {
            Ok(Progress::Waits) => return Ok(()),
            Ok(Progress::Done) => self.relay = None,
            Ok(Progress::Failed) | Err(_) => self.give_up_server(sources)?,
        }
        self.flush()?;
        self.answer(sources)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Progress {
    Waits,
    Done,
    /// The server cannot answer.
    Failed,
}

impl Relay {
    /// Sends what is still to be sent, and hands through one piece of the answer.
    fn step(&mut self, output: &mut Vec<u8>) -> io::Result<Progress> {
        while self.sent < self.query.len() {
            match self.stream.write(&self.query[self.sent..]) {
                Ok(size) => self.sent += size,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Progress::Waits),
                Err(error) => return Err(error),
            }
        }
        if !output.is_empty() {
            return Ok(Progress::Waits);
        }
        let mut piece = [0; PIECE];
        let wanted = self.left.unwrap_or(2 + HEADER - self.head.len()).min(PIECE);
        let size = match self.stream.read(&mut piece[..wanted]) {
            Ok(0) => return Ok(Progress::Failed),
            Ok(size) => size,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return Ok(Progress::Waits);
            }
            Err(error) => return Err(error),
        };
        self.deadline = Instant::now() + TRY;
        if let Some(left) = &mut self.left {
            output.extend(&piece[..size]);
            *left -= size;
        } else {
            self.head.extend(&piece[..size]);
            if self.head.len() < 2 + HEADER {
                return Ok(Progress::Waits);
            }
            let length = usize::from(u16::from_be_bytes([self.head[0], self.head[1]]));
            let header = &self.head[2..];
            let is_ours = header[..2] == self.query[2..4] && header[2] & 0x80 != 0;
            let is_bad = [Code::ServFail as u8, Code::Refused as u8].contains(&code_of(header));
            if length < HEADER || !is_ours || (is_bad && !self.next.is_empty()) {
                return Ok(Progress::Failed);
            }
            output.extend(&self.head);
            self.left = Some(length - HEADER);
        }
        Ok(if self.left == Some(0) { Progress::Done } else { Progress::Waits })
    }
}
