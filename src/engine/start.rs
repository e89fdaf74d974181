//! The client's side of a container's start and of `exec`: our own binary is started once more as the
//! supervisor, gets its order over a socket, and tells how it went.

use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use serde::{Deserialize, Serialize};

use super::{Engine, EngineError, Record, privileges};
use crate::container::attach::{self, Io, Outcome};
use crate::container::config::{Argv, ContainerPath, EnvVar, UserSpec};
use crate::container::protocol::Order;
use crate::container::record::State;
use crate::container::runtime;
use crate::names::ContainerId;
use crate::sys;

/// What a supervisor is started for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Job {
    /// To start a container and stay with it.
    Run(ContainerId),
    /// To run one more command in a running container and stay with that.
    Exec(ContainerId, runtime::ExecRequest),
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
    /// As whom it runs.
    pub user: Option<UserSpec>,
    /// Whether it gets a terminal.
    pub tty: bool,
    /// Whether it gets the caller's standard input.
    pub interactive: bool,
}

/// The exit status of a client that can write its output nowhere, as if `SIGPIPE` had ended it.
const OUTPUT_CLOSED: u8 = 141;

impl Engine {
    /// Starts a registered container in the background. Returns once its command runs.
    ///
    /// # Errors
    /// The container could not be started; then it is not registered any more either.
    pub fn start_detached(&mut self, record: &Record) -> Result<(), EngineError> {
        let order = Order { job: Job::Run(record.id.clone()), subscribe: false, size: None };
        let started =
            self.spawn_supervisor(&order).and_then(|stream| match attach::wait_for_start(&stream)? {
                None => Ok(()),
                Some(Outcome::Failed(failure)) => Err(EngineError::Start(failure)),
                Some(_) => Err(EngineError::SupervisorLost(record.name.clone())),
            });
        started.inspect_err(|_| self.forget_failed(record))
    }

    /// Starts a registered container in the foreground, connected with the caller's streams. Returns its exit
    /// status.
    ///
    /// # Errors
    /// The container could not be started; then it is not registered any more either.
    pub fn start_attached(&mut self, record: &Record) -> Result<u8, EngineError> {
        let (tty, interactive) = (record.config.tty, record.config.open_stdin);
        let finished = self.run_attached(Job::Run(record.id.clone()), tty, interactive);
        finished.inspect_err(|error| {
            match error {
                EngineError::Start(_) | EngineError::NoTerminal => self.forget_failed(record),
                // It may have run for long; what it wrote is kept unless nobody wants it.
                EngineError::ConnectionLost if record.config.auto_remove => self.forget_failed(record),
                _ => {}
            }
        })
    }

    /// Runs one more command in a running container, connected with the caller's streams. Returns its exit
    /// status.
    ///
    /// # Errors
    /// The container does not run, or the command could not be started.
    pub fn exec(&mut self, reference: &str, request: ExecRequest) -> Result<u8, EngineError> {
        privileges::for_containers()?;
        let snapshot = self.find(reference)?;
        if !matches!(snapshot.state, State::Running { .. }) {
            return Err(EngineError::NotRunning { action: "run a command in", name: snapshot.record.name });
        }
        let (tty, interactive) = (request.tty, request.interactive);
        let request = runtime::ExecRequest {
            command: Argv::try_from(request.command)?,
            env: request.env,
            working_dir: request.working_dir,
            user: request.user,
            tty,
            open_stdin: interactive,
            size: None,
        };
        self.run_attached(Job::Exec(snapshot.record.id, request), tty, interactive)
    }

    fn run_attached(&mut self, mut job: Job, tty: bool, interactive: bool) -> Result<u8, EngineError> {
        let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
        if tty && interactive && !stdin.is_terminal() {
            return Err(EngineError::NoTerminal);
        }
        let io =
            Io { stdin: interactive.then(|| stdin.as_fd()), stdout: stdout.as_fd(), stderr: stderr.as_fd() };
        let size = if tty { attach::terminal_size(io) } else { None };
        if let Job::Exec(_, request) = &mut job {
            request.size = size;
        }
        let stream = self.spawn_supervisor(&Order { job, subscribe: true, size })?;
        match attach::relay(stream, io, tty)? {
            Outcome::Exited(code) => Ok(code),
            Outcome::Failed(failure) => Err(EngineError::Start(failure)),
            Outcome::OutputClosed => Ok(OUTPUT_CLOSED),
            Outcome::Interrupted(signal) => Ok(u8::try_from(128 + signal.number()).unwrap_or(u8::MAX)),
            Outcome::Lost => Err(EngineError::ConnectionLost),
        }
    }

    /// Starts our own binary as a supervisor and gives it its order.
    fn spawn_supervisor(&self, order: &Order<Job>) -> Result<UnixStream, EngineError> {
        let error = |source| EngineError::Io { action: "start a supervisor", source };
        let (ours, theirs) = attach::pair().map_err(error)?;
        // Its standard error is ours until the command runs; its log goes there.
        let child = sys::spawn_self(&self.supervisor, theirs.into(), Stdio::null(), Stdio::inherit())
            .map_err(error)?;
        // It is not waited for: its end is told over the socket, and it is nobody's child once we have ended.
        drop(child);
        order.send(&ours)?;
        Ok(ours)
    }

    /// Removes what is registered of a container that could not be started, and what a supervisor that was
    /// killed has left of the attempt.
    fn forget_failed(&mut self, record: &Record) {
        let forgotten =
            Record::load(&self.layout, &record.id).map_err(EngineError::from).and_then(|record| {
                // Its end of the connection is closed before a killed process is gone.
                if let State::Starting { supervisor, .. } | State::Running { supervisor, .. } = record.state {
                    self.outlive(&record, supervisor)?;
                }
                self.forget(&record)?;
                self.remove_anonymous_volumes(&record)
            });
        // The first error is the one to report.
        if let Err(error) = forgotten {
            tracing::warn!(container = %record.name, %error, "cannot remove what is left of the failed start");
        }
    }
}
