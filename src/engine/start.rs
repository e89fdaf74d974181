//! The client's side of a container's start and of `exec`: our own binary is started once more as the supervisor,
//! gets its order over a socket, and reports the outcome.

use std::io::{self, IsTerminal as _, Stderr, Stdin, Stdout};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Engine, EngineError, Record, Snapshot, privileges};
use crate::container::life::attach::{self, Io, Manner, Outcome};
use crate::container::life::detach::DetachKeys;
use crate::container::life::protocol::Order;
use crate::container::life::record::{RecordError, State};
use crate::container::life::signal;
use crate::container::request::config::{Argv, ContainerPath, EnvVar, UserSpec};
use crate::container::run::cgroup::Groups;
use crate::container::run::exec;
use crate::container::run::runtime::RuntimeError;
use crate::names::ContainerId;
use crate::process::Process;
use crate::sys::{self, SpawnError};

/// What a supervisor is started for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Job {
    /// To start a container and stay with it.
    Run(ContainerId),
    /// To do so again, because its restart policy asks for it. There is no client.
    Again(ContainerId),
    /// To run one more command in a running container and stay with that.
    Exec(ContainerId, exec::ExecRequest),
}

/// A command for a container that runs already.
#[derive(Debug, Clone)]
pub struct ExecRequest {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Variables beside the container's own.
    pub env: Vec<EnvVar>,
    /// Where it starts.
    pub working_dir: Option<ContainerPath>,
    /// The user that it runs as.
    pub user: Option<UserSpec>,
    /// Whether it gets a terminal.
    pub tty: bool,
    /// Whether it gets the caller's standard input.
    pub interactive: bool,
    /// Whether it gets all capabilities, whatever the container has.
    pub privileged: bool,
}

/// How the caller's streams are connected with a container's.
#[derive(Debug, Clone)]
pub struct Attachment {
    /// Whether the caller's input goes to the container, if that takes any.
    pub stdin: bool,
    /// Whether the container's output comes to the caller's.
    pub stdout: bool,
    /// Whether its error output does.
    pub stderr: bool,
    /// Whether signals that the caller gets go to the container.
    pub sig_proxy: bool,
    /// The keys that end the connection.
    pub detach_keys: DetachKeys,
}

/// How a connected container was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// It has ended with this status; or the caller has to, whom a signal has ended or whose output is closed.
    Ended(u8),
    /// The user has left it by keys; it runs on.
    Running,
}

/// The exit status of a client that can write its output nowhere, as if `SIGPIPE` had ended it.
const OUTPUT_CLOSED: u8 = 141;

/// How long to wait before looking again at a container that another command is starting.
pub(super) const GLANCE: Duration = Duration::from_millis(10);

impl Engine {
    /// Starts a container that was just registered in the background. Returns once its command runs.
    ///
    /// # Errors
    /// The container could not be started; then it is not registered any more either.
    pub fn run_detached(&mut self, record: &Record) -> Result<(), EngineError> {
        self.launch(record).inspect_err(|_| self.forget_failed(record))
    }

    /// Starts a container that was just registered in the foreground, connected with the caller's streams.
    ///
    /// # Errors
    /// The container could not be started; then it is not registered any more either.
    pub fn run_attached(&mut self, record: &Record, attachment: &Attachment) -> Result<Left, EngineError> {
        let finished = self.launch_attached(record, attachment);
        finished.inspect_err(|error| {
            match error {
                EngineError::Start(_) | EngineError::NoTerminal => self.forget_failed(record),
                // It may have run for a long time; what it wrote is kept unless --rm was given.
                EngineError::ConnectionLost if record.config.auto_remove => self.forget_failed(record),
                _ => {}
            }
        })
    }

    /// Starts a container in the background. Returns once its command runs; at once if it does already.
    ///
    /// # Errors
    /// The container could not be started, and its record has the reason as well.
    pub fn start(&mut self, reference: &str) -> Result<(), EngineError> {
        privileges::for_containers()?;
        let Some(record) = self.find_to_start(reference)? else { return Ok(()) };
        let started = self.launch(&record);
        match started {
            // Another command was faster.
            Err(EngineError::Start(_)) if self.find(record.id.as_str())?.state.is_running() => Ok(()),
            Err(EngineError::SupervisorLost(_)) => self.clean_up_start(&record).and(started),
            started => started,
        }
    }

    /// Starts a container in the foreground, connected with the caller's streams; one that runs already is only
    /// connected.
    ///
    /// # Errors
    /// The container could not be started, and its record has the reason as well.
    pub fn start_attached(&mut self, reference: &str, attachment: &Attachment) -> Result<Left, EngineError> {
        privileges::for_containers()?;
        match self.find_to_start(reference)? {
            None => self.attach(reference, attachment),
            Some(record) => self.launch_attached(&record, attachment),
        }
    }

    /// Connects the caller's streams with a running container, whose input and output others may share.
    ///
    /// # Errors
    /// The container does not run.
    pub fn attach(&mut self, reference: &str, attachment: &Attachment) -> Result<Left, EngineError> {
        privileges::for_containers()?;
        let record = self.find_running(reference, "attach to")?.0;
        let not_running = || EngineError::NotRunning { action: "attach to", name: record.name.clone() };
        let stream = attach::connect(&self.layout, &record.id)?.ok_or_else(not_running)?;
        let streams = (io::stdin(), io::stdout(), io::stderr());
        let io = connect_streams(&streams, attachment, record.config.open_stdin);
        check_terminal(io, record.config.tty)?;
        attach::subscribe(&stream, io)?;
        relay(stream, io, record.config.tty, attachment)
    }

    /// Runs one more command in a running container, connected with the caller's streams.
    ///
    /// # Errors
    /// The container does not run, or the command could not be started.
    pub fn exec(
        &mut self,
        reference: &str,
        request: ExecRequest,
        keys: DetachKeys,
    ) -> Result<Left, EngineError> {
        privileges::for_containers()?;
        let (tty, stdin) = (request.tty, request.interactive);
        let job = self.exec_job(reference, request)?;
        let attachment = Attachment { stdin, stdout: true, stderr: true, sig_proxy: true, detach_keys: keys };
        self.supervise_attached(job, tty, stdin, &attachment)
    }

    /// Runs one more command in a running container in the background. Returns once it runs.
    ///
    /// # Errors
    /// The container does not run, or the command could not be started.
    pub fn exec_detached(&mut self, reference: &str, request: ExecRequest) -> Result<(), EngineError> {
        privileges::for_containers()?;
        let job = self.exec_job(reference, request)?;
        self.supervise_detached(job)?.map_err(|_| EngineError::ConnectionLost)
    }

    fn exec_job(&mut self, reference: &str, request: ExecRequest) -> Result<Job, EngineError> {
        let record = self.find_running(reference, "run a command in")?.0;
        let request = exec::ExecRequest {
            command: Argv::try_from(request.command)?,
            env: request.env,
            working_dir: request.working_dir,
            user: request.user,
            tty: request.tty,
            open_stdin: request.interactive,
            size: None,
            privileged: request.privileged,
        };
        Ok(Job::Exec(record.id, request))
    }

    /// The container and its first process, if it runs and is not paused.
    pub(super) fn find_running(
        &self,
        reference: &str,
        action: &'static str,
    ) -> Result<(Record, Process), EngineError> {
        let Snapshot { record, state } = self.find(reference)?;
        match state {
            State::Running { init, paused: false, .. } => Ok((record, init)),
            State::Running { .. } | State::Restarting { .. } => {
                Err(EngineError::Is { action, name: record.name, state: state.as_str() })
            }
            _ => Err(EngineError::NotRunning { action, name: record.name }),
        }
    }

    /// The container if it is to be started; `None` if it runs already.
    fn find_to_start(&mut self, reference: &str) -> Result<Option<Record>, EngineError> {
        loop {
            let Snapshot { record, state } = self.find(reference)?;
            match state {
                State::Created | State::Exited(_) => return Ok(Some(record)),
                State::Running { paused: true, .. } | State::Removing { .. } | State::Dead => {
                    let state = state.as_str();
                    return Err(EngineError::Is { action: "start", name: record.name, state });
                }
                State::Running { .. } | State::Restarting { .. } => return Ok(None),
                State::Starting { supervisor, .. } => {
                    signal::wait(supervisor, Some(GLANCE))?;
                }
            }
        }
    }

    fn launch(&mut self, record: &Record) -> Result<(), EngineError> {
        let lost = |_| EngineError::SupervisorLost(record.name.clone());
        self.supervise_detached(Job::Run(record.id.clone()))?.map_err(lost)
    }

    fn launch_attached(&mut self, record: &Record, attachment: &Attachment) -> Result<Left, EngineError> {
        let (tty, interactive) = (record.config.tty, record.config.open_stdin);
        self.supervise_attached(Job::Run(record.id.clone()), tty, interactive, attachment)
    }

    /// Starts a supervisor and waits until it has done what is needed. The inner error: it has ended without a
    /// word.
    fn supervise_detached(&mut self, job: Job) -> Result<Result<(), ()>, EngineError> {
        let stream = self.spawn_supervisor(&Order { job, subscribe: false, feeds: false, size: None })?;
        match attach::wait_for_start(&stream)? {
            None => Ok(Ok(())),
            Some(Outcome::Failed(failure)) => Err(EngineError::Start(failure)),
            Some(_) => Ok(Err(())),
        }
    }

    fn supervise_attached(
        &mut self,
        mut job: Job,
        tty: bool,
        open_stdin: bool,
        attachment: &Attachment,
    ) -> Result<Left, EngineError> {
        let streams = (io::stdin(), io::stdout(), io::stderr());
        let io = connect_streams(&streams, attachment, open_stdin);
        check_terminal(io, tty)?;
        let size = if tty { attach::terminal_size(io) } else { None };
        if let Job::Exec(_, request) = &mut job {
            request.size = size;
        }
        let order = Order { job, subscribe: true, feeds: io.stdin.is_some(), size };
        relay(self.spawn_supervisor(&order)?, io, tty, attachment)
    }

    /// Starts our own binary as a supervisor and gives it its order.
    fn spawn_supervisor(&self, order: &Order<Job>) -> Result<UnixStream, EngineError> {
        let error = |source| EngineError::Io { action: "start a supervisor", source };
        let (ours, theirs) = attach::pair().map_err(error)?;
        let groups = Groups::of_supervisors(super::hierarchy()?).map_err(RuntimeError::from)?;
        // Its standard error is ours until the command runs; its log goes there.
        let spawned = sys::spawn_self(&self.supervisor, theirs.as_fd(), &groups.place());
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

    /// Takes down what a supervisor that was killed while it started a container has left.
    fn clean_up_start(&mut self, record: &Record) -> Result<(), EngineError> {
        let record = Record::load(&self.layout, &record.id)?;
        // Its end of the connection is closed before a killed process is gone.
        if let State::Starting { supervisor, .. } | State::Running { supervisor, .. } = record.state {
            self.outlive(&record.name, &record.id, supervisor)?;
        }
        Ok(())
    }

    /// Removes what is registered of a container that could not be started, and what a supervisor that was
    /// killed has left of the attempt.
    fn forget_failed(&mut self, record: &Record) {
        let forgotten = self.clean_up_start(record).and_then(|()| self.forget(&record.id, true));
        match forgotten {
            // It was to be removed anyway.
            Ok(()) | Err(EngineError::Record(RecordError::NotFound(_))) => {}
            // The first error is the one to report.
            Err(error) => {
                tracing::warn!(container = %record.name, %error, "cannot remove what is left of the failed start");
            }
        }
    }
}

/// The caller's streams that are to be connected.
fn connect_streams<'a>(
    (stdin, stdout, stderr): &'a (Stdin, Stdout, Stderr),
    attachment: &Attachment,
    open_stdin: bool,
) -> Io<'a> {
    Io {
        stdin: (attachment.stdin && open_stdin).then(|| stdin.as_fd()),
        stdout: attachment.stdout.then(|| stdout.as_fd()),
        stderr: attachment.stderr.then(|| stderr.as_fd()),
    }
}

fn check_terminal(io: Io<'_>, tty: bool) -> Result<(), EngineError> {
    match io.stdin {
        Some(stdin) if tty && !stdin.is_terminal() => Err(EngineError::NoTerminal),
        _ => Ok(()),
    }
}

/// Connects the caller until the container ends or the caller leaves it.
fn relay(stream: UnixStream, io: Io<'_>, tty: bool, attachment: &Attachment) -> Result<Left, EngineError> {
    let manner = Manner { tty, proxy: attachment.sig_proxy, detach: attachment.detach_keys.clone() };
    match attach::relay(stream, io, &manner)? {
        Outcome::Exited(code) => Ok(Left::Ended(code)),
        Outcome::Detached => Ok(Left::Running),
        Outcome::Failed(failure) => Err(EngineError::Start(failure)),
        Outcome::OutputClosed => Ok(Left::Ended(OUTPUT_CLOSED)),
        Outcome::Interrupted(signal) => {
            Ok(Left::Ended(u8::try_from(128 + signal.number()).unwrap_or(u8::MAX)))
        }
        Outcome::Lost => Err(EngineError::ConnectionLost),
    }
}
