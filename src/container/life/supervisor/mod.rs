//! The one small process of a container: it holds the container's streams, writes its log, serves its
//! clients, and learns how its first process ended.
//!
//! It is one loop over poll(2) with one thread, and owns everything that a killed container could leave
//! open. A process that joins a container (`exec`) has a supervisor of its own, without log and socket.
//!
//! # Nothing that the container writes is lost
//!
//! The client of a foreground run makes a socket pair, hands one end to the supervisor as its standard
//! input, and sends its [`Order`] through the other. So it is connected before the container exists; the
//! supervisor reads from the container's pipes only into the log and to clients that are connected; and
//! after the first process has ended, the pipes are read empty. No other process of the container can write
//! then: they ended before their first process could (pid_namespaces(7)).
//!
//! [`Order`]: crate::container::life::protocol::Order

mod begin;
mod checks;
mod client;
mod names;
mod stop;
mod streams;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal as NixSignal;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::container::life::log;
use crate::container::life::protocol::{Reply, Request, Stream};
use crate::container::run::runtime::{RuntimeError, Start, Task};
use crate::dns;
use crate::process::Process;
use crate::sys::{self, WindowSize};
pub use begin::{begin, let_go_of_stderr, listen};
pub use checks::{Checks, Verdict};
use client::Client;
pub use stop::Stop;
use stop::watched_signals;
use streams::Output;

/// The name of the socket in a running container's directory.
pub(super) const SOCKET: &str = "attach.sock";

/// How much is read from the container at once.
const BLOCK: usize = 16 << 10;

/// How long no further client is accepted when there is no descriptor or memory for one. The connection keeps
/// the listener ready meanwhile: without a pause, the loop would turn without end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a container has run when its supervisor gives back the memory of the code that led to its start. One that
/// ends sooner has no use for that, and would have to read the code again.
const SETTLED: Duration = Duration::from_millis(500);

/// Why a supervisor cannot do its work.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} as the container's supervisor")]
pub struct SupervisorError {
    /// What was tried.
    action: &'static str,
    /// What the system said.
    #[source]
    source: io::Error,
}

fn failed<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> SupervisorError {
    move |source| SupervisorError { action, source: source.into() }
}

/// What a supervisor works with besides the container.
#[derive(Debug)]
pub struct Options {
    /// Where the output is kept.
    pub log: Option<log::Sink>,
    /// Where clients connect.
    pub listener: Option<UnixListener>,
    /// The client that waits for the start.
    pub client: Option<UnixStream>,
    /// Whether that client wants the output.
    pub subscribe: bool,
    /// Whether the container's input comes from it, and ends with it if it is to.
    pub feeds: bool,
    /// The size of its terminal.
    pub size: Option<(u16, u16)>,
    /// Whether the container's input ends with that of its client.
    pub stdin_once: bool,
    /// What is done when the supervisor is asked to end.
    pub stop: Stop,
    /// Where output waits for clients that are stopped: a directory on a disk.
    pub spool: PathBuf,
    /// The container's name server.
    pub names: Option<dns::Server>,
    /// Its health checks.
    pub checks: Option<Box<Checks>>,
}

/// How a container's first process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Its exit status, or 128 + N if signal N ended it.
    pub code: u8,
    /// When.
    pub at: DateTime<Utc>,
    /// Whether the supervisor had been asked to end.
    pub asked: bool,
    /// Whether it is to be started again because it was unhealthy.
    pub again: bool,
}

/// The supervisor of one process in a container.
#[derive(Debug)]
pub struct Supervisor {
    process: Process,
    start: Start,
    outputs: Vec<Output>,
    stdin: Option<Rc<File>>,
    terminal: Option<Rc<File>>,
    clients: Vec<Client>,
    listener: Option<UnixListener>,
    /// Until when no client is accepted.
    accepts_from: Option<Instant>,
    log: Option<log::Sink>,
    signals: SignalFd,
    stdin_once: bool,
    stop: Stop,
    /// Whether this process was asked to end.
    asked: bool,
    /// Whether it is to come back after that.
    again: bool,
    /// When the process is killed that has not ended as it was asked to.
    kills_at: Option<Instant>,
    spool: PathBuf,
    names: Option<dns::Server>,
    checks: Option<Box<Checks>>,
    buffer: Vec<u8>,
    ended: Option<Ended>,
    /// When the memory of the code that led here is given back.
    forgets_at: Option<Instant>,
}

/// What is left to be waited for after the container's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Nobody,
    Clients,
    AskedToEnd,
}

/// What poll(2) watches.
#[derive(Debug, Clone, Copy)]
enum Source {
    Signals,
    Listener,
    Stdin,
    Output(Stream),
    Client(usize),
    Names(dns::Watched),
}

impl Supervisor {
    /// Takes over a process that is this one's child. From now on this process ignores the signals that end
    /// others; only `SIGKILL` does.
    ///
    /// # Errors
    /// [`SupervisorError`], for lack of descriptors or memory.
    pub fn new(task: Task, options: Options) -> Result<Self, SupervisorError> {
        let watched = watched_signals();
        watched.thread_block().map_err(failed("block signals"))?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&watched, flags).map_err(failed("watch signals"))?;
        let new = |stream| Client::new(stream, options.subscribe, options.feeds);
        let client = options.client.map(new).transpose();
        let mut supervisor = Self {
            process: task.process(),
            start: task.start,
            outputs: Vec::new(),
            stdin: None,
            terminal: None,
            clients: client.map_err(failed("serve the client"))?.into_iter().collect(),
            listener: options.listener,
            accepts_from: None,
            log: options.log,
            signals,
            stdin_once: options.stdin_once,
            stop: options.stop,
            asked: false,
            again: false,
            kills_at: None,
            spool: options.spool,
            names: options.names,
            checks: options.checks,
            buffer: vec![0; BLOCK],
            ended: None,
            forgets_at: None,
        };
        if let Some(listener) = &supervisor.listener {
            listener.set_nonblocking(true).map_err(failed("listen for clients"))?;
        }
        supervisor.take_streams(task.streams)?;
        if let Some((rows, columns)) = options.size {
            supervisor.resize(WindowSize { rows, columns });
        }
        Ok(supervisor)
    }

    /// Lets the command run, calls `on_start`, and reports to the client.
    ///
    /// # Errors
    /// [`RuntimeError`] if the command could not be executed; nothing was reported to the client.
    pub fn start(&mut self, on_start: impl FnOnce()) -> Result<(), RuntimeError> {
        self.start.start()?;
        on_start();
        for client in &mut self.clients {
            client.reply(&Reply::Started);
            client.flush();
        }
        Ok(())
    }

    /// Serves until the process has ended and all its output has been read.
    ///
    /// # Errors
    /// poll(2) fails, for lack of memory.
    pub fn run(&mut self) -> Result<Ended, SupervisorError> {
        self.forgets_at = Some(Instant::now() + SETTLED);
        loop {
            self.reap();
            if let Some(ended) = self.ended {
                // Its sockets would keep the namespace.
                self.names = None;
                self.checks.iter_mut().for_each(|checks| checks.end());
                self.drain();
                return Ok(ended);
            }
            // Before the wait: what was compressing may just have been reaped, and nothing else may happen for long.
            self.compress_log();
            self.turn()?;
            self.stop_waiting_for_names();
            self.check_health();
            if self.kills_at.is_some_and(|at| at <= Instant::now()) {
                self.kills_at = None;
                self.kill();
            }
            if self.forgets_at.is_some_and(|at| at <= Instant::now()) {
                self.forgets_at = None;
                // Only memory is at stake.
                sys::shrink_memory().ok();
            }
        }
    }

    /// Reports to all clients that the container has ended and been taken down, waits until they have read what is
    /// still to be sent, and ends.
    ///
    /// A client that takes nothing keeps this process, and nothing else, for as long as it lives or until this process
    /// is asked to end.
    ///
    /// # Errors
    /// poll(2) fails, for lack of memory.
    pub fn finish(mut self, code: u8) -> Result<(), SupervisorError> {
        self.say_goodbye(code);
        while self.wait_for_clients(PollTimeout::NONE)? == Left::Clients {}
        Ok(())
    }

    /// Reports to all clients that the container has ended, and waits before it is to be started again. A client
    /// that has not read everything by then loses the rest. False if this process was asked to end meanwhile.
    ///
    /// # Errors
    /// poll(2) fails, for lack of memory.
    pub fn rest(mut self, code: u8, delay: Duration) -> Result<bool, SupervisorError> {
        let deadline = Instant::now() + delay;
        self.say_goodbye(code);
        // Only memory is at stake.
        sys::shrink_memory().ok();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(true);
            }
            // Rounded up, so that the last turn does not spin.
            let left = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
            if self.wait_for_clients(left)? == Left::AskedToEnd {
                return Ok(false);
            }
        }
    }

    fn say_goodbye(&mut self, code: u8) {
        self.accept();
        self.listener = None;
        for client in &mut self.clients {
            client.reply(&Reply::Exited(code));
            client.flush();
        }
    }

    /// Waits until clients can read more, or a signal comes. Without clients and without a timeout it returns at
    /// once.
    fn wait_for_clients(&mut self, timeout: PollTimeout) -> Result<Left, SupervisorError> {
        self.clients.retain(Client::has_mail);
        if self.clients.is_empty() && timeout == PollTimeout::NONE {
            return Ok(Left::Nobody);
        }
        let flags = PollFlags::POLLIN | PollFlags::POLLOUT;
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        fds.extend(self.clients.iter().map(|client| PollFd::new(client.stream().as_fd(), flags)));
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(failed("wait for clients")(errno)),
        }
        for client in &mut self.clients {
            client.receive(&mut self.buffer);
            client.flush();
        }
        self.reap();
        let mut asked = false;
        while let Ok(Some(info)) = self.signals.read_signal() {
            asked |= i32::try_from(info.ssi_signo) == Ok(NixSignal::SIGTERM as i32);
        }
        Ok(if asked { Left::AskedToEnd } else { Left::Clients })
    }

    /// Waits for anything to happen, and deals with it.
    fn turn(&mut self) -> Result<(), SupervisorError> {
        let ready = self.wait()?;
        for (source, events) in ready {
            match source {
                Source::Signals => self.take_signals(),
                Source::Listener => self.accept(),
                Source::Stdin => self.feed(),
                Source::Output(stream) => {
                    self.read_output(stream);
                }
                Source::Names(watched) => self.look_up(watched),
                Source::Client(index) => {
                    if events.contains(PollFlags::POLLOUT) {
                        self.clients[index].flush();
                    }
                    if events.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
                        self.listen_to(index);
                    }
                }
            }
        }
        for client in &mut self.clients {
            client.spool_to_file(&self.spool);
        }
        if self.stdin_once && self.clients.iter().any(|client| client.is_gone() && client.feeds) {
            self.close_stdin();
            if self.listener.is_none() {
                self.hang_up();
            }
        }
        self.clients.retain(|client| !client.is_gone());
        Ok(())
    }

    fn wait(&self) -> Result<Vec<(Source, PollFlags)>, SupervisorError> {
        let mut sources = vec![Source::Signals];
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        let mut watch = |source, fd, flags| {
            sources.push(source);
            fds.push(PollFd::new(fd, flags));
        };
        let pause = self.accepts_from.filter(|from| *from > Instant::now());
        if let Some(listener) = self.listener.as_ref().filter(|_| pause.is_none()) {
            watch(Source::Listener, listener.as_fd(), PollFlags::POLLIN);
        }
        if let Some(stdin) = &self.stdin
            && self.clients.iter().any(|client| !client.stdin.is_empty())
        {
            watch(Source::Stdin, stdin.as_fd(), PollFlags::POLLOUT);
        }
        if self.clients.iter().all(Client::has_room) {
            for output in &self.outputs {
                watch(Source::Output(output.stream), output.file.as_fd(), PollFlags::POLLIN);
            }
        }
        for (index, client) in self.clients.iter().enumerate() {
            let mail = if client.has_mail() { PollFlags::POLLOUT } else { PollFlags::empty() };
            watch(Source::Client(index), client.stream().as_fd(), PollFlags::POLLIN | mail);
        }
        for (watched, fd, flags) in self.names.iter().flat_map(dns::Server::watched) {
            watch(Source::Names(watched), fd, flags);
        }
        let stalled = self.clients.iter().filter_map(Client::stall_deadline);
        let names = self.names.as_ref().and_then(dns::Server::deadline);
        let checks = self.checks.as_ref().and_then(|checks| checks.due());
        let deadline =
            stalled.chain(pause).chain(names).chain(self.forgets_at).chain(self.kills_at).chain(checks).min();
        let timeout = deadline.map_or(PollTimeout::NONE, |deadline| {
            // Rounded up, so that the last turn does not spin.
            let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(failed("wait for events")(errno)),
        }
        let events = |fd: &PollFd<'_>| fd.revents().unwrap_or(PollFlags::empty());
        let happened = sources.into_iter().zip(fds.iter().map(events));
        Ok(happened.filter(|(_, events)| !events.is_empty()).collect())
    }

    fn accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        self.accepts_from = None;
        loop {
            match listener.accept() {
                Ok((stream, _)) => self.clients.extend(Client::new(stream, false, false)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Who connected has gone again.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.accepts_from = Some(Instant::now() + ACCEPT_PAUSE);
                    return;
                }
            }
        }
    }

    fn listen_to(&mut self, index: usize) {
        for request in self.clients[index].receive(&mut self.buffer) {
            match request {
                Request::Subscribe => {}
                Request::Stdin(data) => self.clients[index].take_stdin(&data),
                Request::StdinEof => self.clients[index].stdin_ended = true,
                Request::Resize(size) => self.resize(size),
                Request::Signal(signal) => self.signal(signal),
                Request::Detach => self.clients[index].feeds = false,
            }
        }
        self.feed();
    }

    /// Takes note of children that have ended.
    fn reap(&mut self) {
        loop {
            // All children: one that failed to start may have been left behind.
            let (pid, code) = match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, code),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32),
                Ok(WaitStatus::StillAlive) => return,
                Ok(_) | Err(Errno::EINTR) => continue,
                // ECHILD: there are none left.
                Err(_) => return,
            };
            if pid.as_raw() == self.process.pid && self.ended.is_none() {
                let code = u8::try_from(code).unwrap_or(u8::MAX);
                let (asked, again) = (self.asked && !self.again, self.again);
                self.ended = Some(Ended { code, at: Utc::now(), asked, again });
            } else {
                self.note_check(pid.as_raw(), code);
                self.log.iter_mut().for_each(|log| log.note_end(pid.as_raw()));
            }
        }
    }
}

#[cfg(test)]
mod tests;
