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
//! [`Order`]: super::protocol::Order

mod client;

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal as NixSignal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::log;
use super::protocol::{Reply, Request, Stream};
use super::runtime::{RuntimeError, Start, Streams, Task};
use super::signal::{self, Signal};
use super::terminal;
use crate::names::ContainerId;
use crate::process::Process;
use crate::store::Layout;
use crate::sys::{self, WindowSize};
use client::Client;

/// The name of the socket in a running container's directory.
pub(super) const SOCKET: &str = "attach.sock";

/// How much is read from the container at once: what one log entry holds.
const BLOCK: usize = log::ENTRY_MAX;

/// How long the output of a terminal may still be on its way through the kernel after the last process has
/// closed it.
const TERMINAL_DRAIN: Duration = Duration::from_millis(200);

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
    pub log: Option<log::Writer>,
    /// Where clients connect.
    pub listener: Option<UnixListener>,
    /// The client that waits for the start.
    pub client: Option<UnixStream>,
    /// Whether that client wants the output.
    pub subscribe: bool,
    /// The size of its terminal.
    pub size: Option<(u16, u16)>,
    /// Whether the container's input ends with that of its client.
    pub stdin_once: bool,
    /// What the container is sent when the supervisor is asked to end.
    pub stop_signal: Signal,
    /// Where output waits for clients that are stopped: a directory on a disk.
    pub spool: PathBuf,
}

/// How a container's first process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Its exit status, or 128 + N if signal N ended it.
    pub code: u8,
    /// When.
    pub at: DateTime<Utc>,
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
    log: Option<log::Writer>,
    signals: SignalFd,
    stdin_once: bool,
    stop_signal: Signal,
    spool: PathBuf,
    buffer: Vec<u8>,
    ended: Option<Ended>,
}

#[derive(Debug)]
struct Output {
    stream: Stream,
    file: Rc<File>,
}

/// What poll(2) watches.
#[derive(Debug, Clone, Copy)]
enum Source {
    Signals,
    Listener,
    Stdin,
    Output(Stream),
    Client(usize),
}

/// Makes this process independent of the one that started it: a session of its own, no terminal, no
/// directory held, and standard input is nothing. Returns the connection that standard input was.
///
/// # Errors
/// Standard input is not a socket, or a system call fails that never does.
pub fn begin() -> Result<UnixStream, SupervisorError> {
    let stdin = io::stdin();
    let connection = stdin.as_fd().try_clone_to_owned().map_err(failed("keep the connection"))?;
    let nothing = File::open("/dev/null").map_err(failed("open /dev/null"))?;
    // Were it kept as standard input as well, the client would never see it close.
    nix::unistd::dup2_stdin(&nothing).map_err(failed("let go of standard input"))?;
    // A process that leads a group already cannot make a session, and has one to itself anyway.
    nix::unistd::setsid().ok();
    std::env::set_current_dir("/").map_err(failed("leave the directory"))?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    // Started from a descriptor, it would be called by a number; only for listings.
    nix::sys::prctl::set_name(c"mydocker").ok();
    Ok(UnixStream::from(connection))
}

/// Lets go of the standard error that this process has from its client.
///
/// # Errors
/// A system call fails that never does.
pub fn let_go_of_stderr() -> Result<(), SupervisorError> {
    let nothing = File::open("/dev/null").map_err(failed("open /dev/null"))?;
    nix::unistd::dup2_stderr(&nothing).map_err(failed("let go of standard error"))
}

/// Makes the socket through which clients reach the container's supervisor.
///
/// # Errors
/// The container's run directory is not there, or the socket cannot be made in it.
pub fn listen(layout: &Layout, id: &ContainerId) -> Result<UnixListener, SupervisorError> {
    terminal::listen(&layout.container_run(id), SOCKET).map_err(failed("listen for clients"))
}

fn set_nonblocking(file: &File) -> Result<(), SupervisorError> {
    let flags = fcntl(file, FcntlArg::F_GETFL).map_err(failed("read the streams' flags"))?;
    let flags = OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK;
    fcntl(file, FcntlArg::F_SETFL(flags)).map(drop).map_err(failed("set the streams' flags"))
}

impl Supervisor {
    /// Takes over a process that is this one's child. From now on this process ignores the signals that end
    /// others; only `SIGKILL` does.
    ///
    /// # Errors
    /// [`SupervisorError`], for lack of descriptors or memory.
    pub fn new(task: Task, options: Options) -> Result<Self, SupervisorError> {
        let mut watched = SigSet::empty();
        for signal in [NixSignal::SIGCHLD, NixSignal::SIGTERM, NixSignal::SIGINT, NixSignal::SIGHUP] {
            watched.add(signal);
        }
        watched.thread_block().map_err(failed("block signals"))?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&watched, flags).map_err(failed("watch signals"))?;
        let client = options.client.map(|stream| Client::new(stream, options.subscribe, true)).transpose();
        let mut supervisor = Self {
            process: task.process(),
            start: task.start,
            outputs: Vec::new(),
            stdin: None,
            terminal: None,
            clients: client.map_err(failed("serve the client"))?.into_iter().collect(),
            listener: options.listener,
            log: options.log,
            signals,
            stdin_once: options.stdin_once,
            stop_signal: options.stop_signal,
            spool: options.spool,
            buffer: vec![0; BLOCK],
            ended: None,
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

    fn take_streams(&mut self, streams: Streams) -> Result<(), SupervisorError> {
        let take = |fd: OwnedFd| {
            let file = File::from(fd);
            set_nonblocking(&file).map(|()| Rc::new(file))
        };
        match streams {
            Streams::Pipes { stdin, stdout, stderr } => {
                self.outputs.push(Output { stream: Stream::Stdout, file: take(stdout)? });
                self.outputs.push(Output { stream: Stream::Stderr, file: take(stderr)? });
                self.stdin = stdin.map(take).transpose()?;
            }
            Streams::Terminal(master) => {
                let master = take(master)?;
                self.outputs.push(Output { stream: Stream::Stdout, file: Rc::clone(&master) });
                self.stdin = Some(Rc::clone(&master));
                self.terminal = Some(master);
            }
        }
        Ok(())
    }

    /// Lets the command run, and tells the client.
    ///
    /// # Errors
    /// [`RuntimeError`] if the command could not be executed; the client has been told nothing.
    pub fn start(&mut self) -> Result<(), RuntimeError> {
        self.start.start()?;
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
        loop {
            self.reap();
            if let Some(ended) = self.ended {
                self.drain();
                return Ok(ended);
            }
            self.turn()?;
        }
    }

    /// Tells all clients that the container has ended and been taken down, waits until they have taken what
    /// is still on its way to them, and ends the service.
    ///
    /// A client that takes nothing keeps this process, and nothing else, for as long as it lives.
    ///
    /// # Errors
    /// poll(2) fails, for lack of memory.
    pub fn finish(mut self, code: u8) -> Result<(), SupervisorError> {
        self.accept();
        self.listener = None;
        for client in &mut self.clients {
            client.reply(&Reply::Exited(code));
            client.flush();
        }
        loop {
            self.clients.retain(Client::has_mail);
            if self.clients.is_empty() {
                return Ok(());
            }
            let flags = PollFlags::POLLIN | PollFlags::POLLOUT;
            let mut fds: Vec<_> =
                self.clients.iter().map(|client| PollFd::new(client.stream().as_fd(), flags)).collect();
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(failed("wait for clients")(errno)),
            }
            for client in &mut self.clients {
                client.receive(&mut self.buffer);
                client.flush();
            }
        }
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
            client.relieve(&self.spool);
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
        if let Some(listener) = &self.listener {
            watch(Source::Listener, listener.as_fd(), PollFlags::POLLIN);
        }
        if let Some(stdin) = &self.stdin {
            if self.clients.iter().any(|client| !client.stdin.is_empty()) {
                watch(Source::Stdin, stdin.as_fd(), PollFlags::POLLOUT);
            }
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
        let deadline = self.clients.iter().filter_map(Client::stall_deadline).min();
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

    fn take_signals(&mut self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            if i32::try_from(info.ssi_signo) == Ok(NixSignal::SIGTERM as i32) {
                // The host is shutting down: the container gets the chance to end in order.
                self.signal(self.stop_signal);
            }
        }
    }

    fn signal(&self, signal: Signal) {
        // It has ended if it cannot be signalled, and that is about to be noticed.
        signal::send(self.process, signal).ok();
    }

    fn accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        while let Ok((stream, _)) = listener.accept() {
            self.clients.extend(Client::new(stream, false, false));
        }
    }

    fn listen_to(&mut self, index: usize) {
        for request in self.clients[index].receive(&mut self.buffer) {
            match request {
                Request::Subscribe => {}
                Request::Stdin(data) => {
                    self.clients[index].feeds = true;
                    self.clients[index].stdin.extend_from_slice(&data);
                }
                Request::StdinEof => self.clients[index].stdin_ended = true,
                Request::Resize(size) => self.resize(size),
                Request::Signal(signal) => self.signal(signal),
            }
        }
        self.feed();
    }

    fn resize(&self, size: WindowSize) {
        if let Some(terminal) = &self.terminal {
            // Only a terminal that is gone refuses.
            sys::set_window_size(terminal, size).ok();
        }
    }

    /// Passes on what clients have sent for standard input, as far as the container takes it.
    fn feed(&mut self) {
        let mut closed = self.stdin.is_none();
        let mut finished = false;
        for client in &mut self.clients {
            let mut taken = 0;
            while let Some(stdin) = self.stdin.as_ref().filter(|_| taken < client.stdin.len() && !closed) {
                match (&**stdin).write(&client.stdin[taken..]) {
                    Ok(size) => taken += size,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(_) => closed = true,
                }
            }
            if closed {
                // Nobody reads it: it is taken and dropped, so that the client does not wait.
                taken = client.stdin.len();
            }
            if taken > 0 {
                client.stdin.drain(..taken);
                client.reply(&Reply::Accepted(u32::try_from(taken).unwrap_or(u32::MAX)));
                client.flush();
            }
            finished |= client.stdin_ended && client.stdin.is_empty() && self.stdin_once;
        }
        if closed || finished {
            self.close_stdin();
        }
    }

    /// Lets the container read the end of its input. A terminal's input does not end.
    fn close_stdin(&mut self) {
        if self.terminal.is_none() {
            self.stdin = None;
        }
    }

    /// Takes the terminal away from a process whose client has left and to which none can come back.
    fn hang_up(&mut self) {
        if self.terminal.take().is_some() {
            self.stdin = None;
            self.outputs.clear();
        }
    }

    /// Reads once from the container; false if there is nothing to read now.
    fn read_output(&mut self, stream: Stream) -> bool {
        let Some(output) = self.outputs.iter().find(|output| output.stream == stream) else { return false };
        let size = match (&*output.file).read(&mut self.buffer) {
            Ok(size) => size,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            // EIO: nobody has the terminal open any more.
            Err(_) => 0,
        };
        let data = &self.buffer[..size];
        if data.is_empty() {
            self.outputs.retain(|output| output.stream != stream);
            return false;
        }
        if let Some(log) = &mut self.log {
            log.write(stream, data);
        }
        for client in &mut self.clients {
            client.output(stream, data);
            client.flush();
        }
        true
    }

    /// Takes note of children that have ended.
    fn reap(&mut self) {
        loop {
            // All children, because the library leaves some of its own behind.
            let (pid, code) = match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, code),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32),
                Ok(WaitStatus::StillAlive) => return,
                Ok(_) | Err(Errno::EINTR) => continue,
                // ECHILD: there are none left.
                Err(_) => return,
            };
            if pid.as_raw() == self.process.pid && self.ended.is_none() {
                self.ended = Some(Ended { code: u8::try_from(code).unwrap_or(u8::MAX), at: Utc::now() });
            }
        }
    }

    /// Reads what is left in the streams of a process that has ended.
    fn drain(&mut self) {
        let deadline = Instant::now() + TERMINAL_DRAIN;
        while let Some(stream) = self.outputs.first().map(|output| output.stream) {
            while self.read_output(stream) {}
            // A pipe that is empty but open stays so: who else has it is not the command. A terminal's last
            // output may still be on its way.
            if self.terminal.is_none() || !self.wait_for_terminal(deadline) {
                self.outputs.retain(|output| output.stream != stream);
            }
        }
        if let Some(log) = &mut self.log {
            log.finish();
        }
    }

    /// Waits for more output of the terminal; false if there will be none.
    fn wait_for_terminal(&self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let Some(output) = self.outputs.first() else { return false };
        let mut fds = [PollFd::new(output.file.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        !left.is_zero() && poll(&mut fds, timeout).is_ok_and(|ready| ready > 0)
    }
}
