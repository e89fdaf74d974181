//! The client's side of a container's start and of `exec`: our own binary is started once more as the supervisor,
//! gets its order over a socket, and reports the outcome.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

use nix::sys::signal::Signal as NixSignal;
use serde::{Deserialize, Serialize};

use super::attach::{self, Attachment, Left};
use super::host::hierarchy;
use super::{EngineError, one_line};
use crate::container::life::attach::{self as client, Outcome};
use crate::container::life::protocol::{Failure, Order};
use crate::container::run::cgroup::Groups;
use crate::container::run::exec;
use crate::container::run::runtime::RuntimeError;
use crate::names::{ContainerId, NetworkName};
use crate::sys::{self, Place, SpawnError, WindowSize};

/// What a supervisor is started for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Job {
    /// To start a container and stay with it.
    Run(ContainerId),
    /// To do so again, because its restart policy asks for it. There is no client.
    Again(ContainerId),
    /// To run one more command in a running container and stay with that. The text is the command's id in events.
    Exec(ContainerId, exec::ExecRequest, String),
    /// To check once how a running container is. There is no client.
    Check(ContainerId),
    /// To compress what is full of a container's log. There is no client.
    CompressLog(ContainerId),
    /// To answer questions for names at the gateways of a network.
    Answer(NetworkName),
    /// To remove what a command has left that was interrupted by this signal, and let go on the container that it had
    /// paused. The command's own process does it. There is no client.
    ClearUp { signal: i32, container: Option<ContainerId> },
}

/// Starts a process for a job of this supervisor's that has no client, in this process's control groups, and returns its
/// pid. `words` are those that our own binary is called by.
pub(super) fn child(words: &[OsString], job: Job) -> io::Result<i32> {
    let (ours, theirs) = client::pair()?;
    let pid = sys::spawn_self(words, theirs.as_fd(), &Place::default()).map_err(|failure| match failure {
        SpawnError::Start(source) | SpawnError::Join(_, source) => source,
    })?;
    // One that never gets its order ends.
    Order { job, subscribe: false, feeds: false, size: None }.send(&ours).ok();
    Ok(pid)
}

/// Makes this process end with its supervisor, which alone waits for it.
pub(super) fn end_with_supervisor() -> Result<(), EngineError> {
    nix::sys::prctl::set_pdeathsig(NixSignal::SIGKILL)
        .map_err(|errno| EngineError::Io { action: "follow the supervisor", source: errno.into() })
}

/// How our own binary is called to supervise containers.
#[derive(Debug)]
pub(super) struct Supervisors {
    words: Vec<OsString>,
}

impl Supervisors {
    pub(super) fn new(words: Vec<OsString>) -> Self {
        Self { words }
    }

    /// The arguments, the program first.
    pub(super) fn words(&self) -> &[OsString] {
        &self.words
    }

    /// Starts a supervisor and waits until it has done what is needed. The inner error: it has ended without a
    /// word.
    pub(super) fn detached(&self, job: Job) -> Result<Result<(), ()>, EngineError> {
        let stream = self.spawn(&Order { job, subscribe: false, feeds: false, size: None })?;
        match client::wait_for_start(&stream)? {
            None => Ok(Ok(())),
            Some(Outcome::Failed(failure)) => Err(EngineError::Start(failure)),
            Some(_) => Ok(Err(())),
        }
    }

    pub(super) fn attached(
        &self,
        mut job: Job,
        tty: bool,
        open_stdin: bool,
        attachment: &Attachment,
        on_resize: &dyn Fn(WindowSize),
    ) -> Result<Left, EngineError> {
        let streams = (io::stdin(), io::stdout(), io::stderr());
        let io = attach::connect_streams(&streams, attachment, open_stdin);
        attach::check_terminal(io, tty)?;
        let size = if tty { client::terminal_size(io) } else { None };
        if let Job::Exec(_, request, _) = &mut job {
            request.size = size;
        }
        let order = Order { job, subscribe: true, feeds: io.stdin.is_some(), size };
        attach::relay(self.spawn(&order)?, io, tty, attachment, on_resize)
    }

    /// Starts our own binary as a supervisor and gives it its order.
    fn spawn(&self, order: &Order<Job>) -> Result<UnixStream, EngineError> {
        let error = |source| EngineError::Io { action: "start a supervisor", source };
        let (ours, theirs) = client::pair().map_err(error)?;
        let groups = Groups::of_supervisors(hierarchy()?).map_err(RuntimeError::from)?;
        // Its standard error is ours until the command runs; its log goes there.
        let spawned = sys::spawn_self(&self.words, theirs.as_fd(), &groups.place());
        // It is not reaped here: its end is reported over the socket, and once this process has ended it has
        // another parent.
        spawned.map_err(|failure| match failure {
            SpawnError::Start(source) => error(source),
            SpawnError::Join(position, source) => RuntimeError::from(groups.refused(position, source)).into(),
        })?;
        drop(theirs);
        order.send(&ours)?;
        Ok(ours)
    }
}

/// Sends the client the reason why what it asked for is not done.
pub(super) fn refuse(client: &UnixStream, error: &EngineError) {
    let failure = Failure { code: error.run_status(), message: one_line(error), hint: error.hint() };
    // If the client has gone or cannot be written to, there is no one else to report to.
    client.set_nonblocking(false).ok();
    failure.send(client).ok();
}
