//! One more command is run in a running container.

use super::attach::{Attachment, Left};
use super::containers::{self, Record};
use super::launch::{Job, Supervisors};
use super::{EngineError, SignalProxy, events, privileges};
use crate::container::life::detach::DetachKeys;
use crate::container::request::config::{Argv, ContainerPath, EnvVar, UserSpec};
use crate::container::run::exec;
use crate::names::ContainerId;
use crate::store::Layout;

/// A command for a container that runs already.
#[derive(Debug, Clone)]
pub struct ExecRequest {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Variables beside the container's own.
    pub env: Vec<EnvVar>,
    /// Variables of the container's that it does not get.
    pub env_absent: Vec<String>,
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

pub(super) fn attached(
    layout: &Layout,
    supervisors: &Supervisors,
    reference: &str,
    request: ExecRequest,
    keys: DetachKeys,
) -> Result<Left, EngineError> {
    privileges::for_containers()?;
    let (tty, stdin) = (request.tty, request.interactive);
    let (record, id, job) = job(layout, reference, request)?;
    let proxy = SignalProxy::Streams;
    let attachment = Attachment { stdin, stdout: true, stderr: true, proxy, detach_keys: keys };
    // As with Docker, of the size of a command's terminal nothing is told.
    let left = supervisors.attached(job, tty, stdin, &attachment, &|_| {})?;
    if left == Left::Running {
        events::Exec::detached(layout, &record, &id);
    }
    Ok(left)
}

pub(super) fn detached(
    layout: &Layout,
    supervisors: &Supervisors,
    reference: &str,
    request: ExecRequest,
) -> Result<(), EngineError> {
    privileges::for_containers()?;
    let (_, _, job) = job(layout, reference, request)?;
    supervisors.detached(job)?.map_err(|_| EngineError::ConnectionLost)
}

/// What a supervisor is to do, with the container and the command's id in events.
fn job(layout: &Layout, reference: &str, request: ExecRequest) -> Result<(Record, String, Job), EngineError> {
    let record = containers::find_running(layout, reference, "run a command in")?.0;
    let request = exec::ExecRequest {
        command: Argv::try_from(request.command)?,
        env: request.env,
        env_absent: request.env_absent,
        working_dir: request.working_dir,
        user: request.user,
        tty: request.tty,
        open_stdin: request.interactive,
        size: None,
        privileged: request.privileged,
        apart: None,
    };
    let id =
        ContainerId::generate().map_err(|source| EngineError::Io { action: "make a random id", source })?;
    let job = Job::Exec(record.id.clone(), request, id.to_string());
    Ok((record, id.to_string(), job))
}
