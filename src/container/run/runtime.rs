//! A container's processes from the supervisor's side: made, confined, waiting for its go-ahead; and what has to be
//! removed when they have ended.
//!
//! ```text
//! RUN_ROOT/containers/ID/attach.sock     where clients reach the supervisor
//! ```

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::capability::CapabilityError;
use super::cgroup::{self, CgroupError, GroupPath, Hierarchy};
use super::command::CommandError;
use super::stdio::Streams;
use super::step::{Failure, Message, Step, Supervisors};
use crate::container::request::device::DeviceError;
use crate::container::request::seccomp_profile::ProfileError;
use crate::container::request::ulimit::Ulimit;
use crate::container::tree::user::UserError;
use crate::names::ContainerId;
use crate::needs;
use crate::process::Process;
use crate::store::{self, FileError, Layout};
use crate::sys;

/// How long a process that has reported a failure may take to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why a container or a process in it could not be made, started or removed.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The command is at fault.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The user is at fault.
    #[error(transparent)]
    User(#[from] UserError),
    /// The control groups are at fault.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// The capabilities are at fault.
    #[error(transparent)]
    Capability(#[from] CapabilityError),
    /// The seccomp profile is at fault.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// A device is at fault.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// Something cannot be mounted.
    #[error("cannot mount {what} on {}", .place.display())]
    Mount {
        /// What.
        what: String,
        /// Where in the container.
        place: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A device node cannot be made.
    #[error("cannot make the device {} in the container", .path.display())]
    Node {
        /// Its path in the container.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A file, socket or descriptor of ours.
    #[error(transparent)]
    File(#[from] FileError),
    /// The kernel is too old.
    #[error("this kernel cannot run containers: it has no {0}")]
    Kernel(String),
    /// There could be no process.
    #[error("cannot make a process for the container")]
    Clone(#[source] io::Error),
    /// The container has as many processes as it may have.
    #[error("cannot make a process for the container: it has as many as --pids-limit allows")]
    PidsLimit,
    /// A limit of its processes is above what the host lets anybody have.
    #[error("cannot set --ulimit {limit}: the host allows at most {most}")]
    Ulimit {
        /// As the user wrote it.
        limit: String,
        /// The most that there can be.
        most: u64,
    },
    /// A step of the container's process failed.
    #[error("cannot {step}")]
    Step {
        /// What was to be done.
        step: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Its process was ended by somebody else.
    #[error("the container's process was killed before its command ran{0}")]
    Killed(&'static str),
    /// There is no process to join.
    #[error("container {0} is not running")]
    NotRunning(ContainerId),
    /// Its processes are frozen, and so would be one that joins them.
    #[error("container {0} is paused")]
    Paused(ContainerId),
}

impl RuntimeError {
    /// What the user can do about it, where there is something.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Kernel(_) => Some(needs::remedy_for_calls()),
            Self::Cgroup(error) => error.hint(),
            Self::Command(error) => error.hint(),
            _ => None,
        }
    }

    /// The exit status that Docker's `run` and `exec` have for it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Command(error) => error.exit_code(),
            _ => 125,
        }
    }
}

/// A process in a container, with its streams. It is a child of this process, which has to reap it.
#[derive(Debug)]
pub struct Task {
    pub(in crate::container) process: Process,
    pub(in crate::container) streams: Streams,
    pub(in crate::container) start: Start,
}

impl Task {
    /// The process, by its pid on the host.
    #[must_use]
    pub fn process(&self) -> Process {
        self.process
    }

    /// Waits until the process has everything that the container has, and nothing more, and only waits to become its
    /// command.
    ///
    /// # Errors
    /// [`RuntimeError`]: a step failed, and the process has ended.
    pub fn wait_until_ready(&mut self) -> Result<(), RuntimeError> {
        self.start.wait_until_ready()
    }
}

#[cfg(test)]
impl Task {
    /// A task of a process that is nobody's child, to be supervised without a container.
    pub(in crate::container) fn fake(process: Process, streams: Streams) -> Self {
        Self { process, streams, start: Start(None) }
    }
}

/// The right to let a container's command run, once.
#[derive(Debug)]
pub(in crate::container) struct Start(pub(super) Option<Pending>);

/// What is known about a process that has not become its command.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) socket: Supervisors,
    /// The process that the messages come from.
    pub(super) pid: i32,
    /// What its steps are about.
    pub(super) names: Names,
    /// Whether it has reported that it is ready.
    pub(super) is_ready: bool,
}

impl Start {
    fn wait_until_ready(&mut self) -> Result<(), RuntimeError> {
        let Some(pending) = self.0.as_mut().filter(|pending| !pending.is_ready) else { return Ok(()) };
        match pending.receive()? {
            Some(Message::Ready) => {
                pending.is_ready = true;
                Ok(())
            }
            _ => Err(pending.killed()),
        }
    }

    /// Lets the command run, and returns once it does.
    ///
    /// # Errors
    /// [`RuntimeError::Command`] if execve(2) failed; the process has ended then.
    pub(in crate::container) fn start(&mut self) -> Result<(), RuntimeError> {
        self.wait_until_ready()?;
        let Some(pending) = self.0.take() else { return Ok(()) };
        pending.socket.go().map_err(RuntimeError::Clone)?;
        match pending.receive()? {
            None => Ok(()),
            Some(_) => Err(pending.killed()),
        }
    }
}

impl Pending {
    /// The process that goes on in the place of the one that was made, which ends.
    pub(super) fn successor(&mut self) -> Result<i32, RuntimeError> {
        let made = sys::pidfd_open(self.pid).map_err(RuntimeError::Clone)?;
        loop {
            // The other one has this socket too, and does not go on by itself: if what was made is killed before it
            // says who that is, nothing more is ever said.
            if !self.socket.is_readable_before_end_of(&made).map_err(RuntimeError::Clone)? {
                return Err(self.killed());
            }
            match self.receive()? {
                Some(Message::Pid(pid)) => {
                    reap(self.pid);
                    self.pid = pid;
                    return Ok(pid);
                }
                // It may be faster than the process that reports it.
                Some(Message::Ready) => self.is_ready = true,
                _ => return Err(self.killed()),
            }
        }
    }

    /// The next message; a failure is an error, and its process has ended.
    pub(super) fn receive(&self) -> Result<Option<Message>, RuntimeError> {
        match self.socket.receive().map_err(RuntimeError::Clone)? {
            Some(Message::Failed(failure)) => {
                reap(self.pid);
                Err(self.names.error(failure))
            }
            message => Ok(message),
        }
    }

    /// Why there was no message.
    pub(super) fn killed(&self) -> RuntimeError {
        // What the kernel kills for lack of memory gets this signal; nobody else has a reason to.
        match reap(self.pid) {
            Some(WaitStatus::Signaled(_, nix::sys::signal::Signal::SIGKILL, _))
                if self.names.has_memory_limit =>
            {
                RuntimeError::Killed(": the limit of memory is too low to start it")
            }
            _ => RuntimeError::Killed(""),
        }
    }
}

/// Takes note of a child that is about to end, or has ended.
pub(super) fn reap(pid: i32) -> Option<WaitStatus> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) if Instant::now() >= deadline => return None,
            Ok(WaitStatus::StillAlive) => std::thread::sleep(Duration::from_micros(200)),
            Err(Errno::EINTR) => {}
            Ok(status) => return Some(status),
            Err(_) => return None,
        }
    }
}

/// The lists that the details of failures are positions in, and what else goes into their texts.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) program: String,
    pub(super) directory: PathBuf,
    pub(super) groups: Vec<PathBuf>,
    pub(super) mounts: Vec<PathBuf>,
    pub(super) sysctls: Vec<String>,
    pub(super) hidden: Vec<String>,
    pub(super) protected: Vec<&'static str>,
    pub(super) limits: Vec<String>,
    pub(super) profile: String,
    pub(super) has_memory_limit: bool,
}

impl Names {
    /// A failure in words.
    fn error(&self, failure: Failure) -> RuntimeError {
        let Failure { step, detail, errno } = failure;
        match (step, errno) {
            (Step::Find, errno) => return CommandError::find(&self.program, errno).into(),
            (Step::Exec, errno) => return CommandError::execute(&self.program, errno).into(),
            (Step::Clone | Step::Init, Errno::EAGAIN) => return RuntimeError::PidsLimit,
            (Step::Limit, Errno::EPERM) => {
                if let Some(limit) = self.limits.get(detail)
                    && let Some(most) = limit.parse::<Ulimit>().ok().and_then(most_of_host)
                {
                    return RuntimeError::Ulimit { limit: limit.clone(), most };
                }
            }
            _ => {}
        }
        RuntimeError::Step { step: self.text(step, detail), source: errno.into() }
    }

    fn text(&self, step: Step, detail: usize) -> String {
        let path =
            |list: &[PathBuf]| list.get(detail).map(|path| path.display().to_string()).unwrap_or_default();
        let text = |list: &[&str]| list.get(detail).copied().unwrap_or_default().to_owned();
        match step {
            Step::JoinGroup => format!("join the control group {}", path(&self.groups)),
            Step::OomScore => "set --oom-score-adj".to_owned(),
            Step::JoinNetwork => "join the network namespace".to_owned(),
            Step::JoinIpc => "join the IPC namespace".to_owned(),
            Step::JoinPids => "join the pid namespace".to_owned(),
            Step::JoinContainer => "join the container's namespaces".to_owned(),
            Step::GroupNamespace => "make a namespace of control groups".to_owned(),
            Step::Propagation => "make the mounts of the container private".to_owned(),
            Step::Root => "mount the container's root file system".to_owned(),
            Step::Place => format!("open {} in the container", path(&self.mounts)),
            Step::FileSystem | Step::Attach => format!("mount {} in the container", path(&self.mounts)),
            Step::Console => "mount the terminal on /dev/console".to_owned(),
            Step::Sysctl => {
                let name = self.sysctls.get(detail).map_or("", String::as_str);
                format!("set --sysctl {name}")
            }
            Step::Hide => {
                format!("hide {} from the container", self.hidden.get(detail).map_or("", String::as_str))
            }
            Step::Protect => format!("make {} read-only", text(&self.protected)),
            Step::ReadOnlyRoot => "make the root file system read-only".to_owned(),
            Step::Pivot => "change to the container's root".to_owned(),
            Step::Hostname => "set the host name".to_owned(),
            Step::Domainname => "set the domain name".to_owned(),
            Step::Terminal => "make the container's terminal".to_owned(),
            Step::Streams => "put the standard streams in place".to_owned(),
            Step::Keyring => "make a session keyring".to_owned(),
            Step::Limit => {
                let limit = self.limits.get(detail).map_or("", String::as_str);
                format!("set --ulimit {limit}")
            }
            Step::Bounding | Step::Capabilities => "give up capabilities".to_owned(),
            Step::Filter => "load the seccomp filter".to_owned(),
            Step::User => "change to the container's user".to_owned(),
            Step::Profile => format!("apply the AppArmor profile {}", self.profile),
            Step::Promise => "set no-new-privileges".to_owned(),
            Step::Directory => format!("change to the working directory {}", self.directory.display()),
            Step::Session => "make a session".to_owned(),
            Step::Clone => "make a process in the container".to_owned(),
            Step::Init => "start a process beside the first".to_owned(),
            Step::Find | Step::Exec => format!("run \"{}\"", self.program),
        }
    }
}

/// The most that a limit can be on this host.
fn most_of_host(limit: Ulimit) -> Option<u64> {
    if limit.kind() == Resource::RLIMIT_NOFILE {
        // No privilege is enough for more (setrlimit(2)).
        return std::fs::read_to_string("/proc/sys/fs/nr_open").ok()?.trim().parse().ok();
    }
    getrlimit(limit.kind()).ok().map(|(_, hard)| hard)
}

/// Makes the directory of a container that runs.
pub(super) fn prepare_directory(layout: &Layout, id: &ContainerId) -> Result<(), RuntimeError> {
    let directory = layout.container_run(id);
    Ok(DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&directory)
        .map_err(FileError::of("create the directory", &directory))?)
}

/// Removes all that was made for a container's processes: what still runs is killed, its control groups and its
/// directory go. "Already gone" is success, and any process may do it.
///
/// # Errors
/// The first thing that could not be removed; the others were tried none the less.
pub fn delete(layout: &Layout, id: &ContainerId, group: &GroupPath) -> Result<(), RuntimeError> {
    let hierarchy = Hierarchy::of_host()?;
    let groups = cgroup::remove(hierarchy, group);
    // Children of this process that were killed with the groups.
    while matches!(waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)), Ok(status) if status != WaitStatus::StillAlive)
    {
    }
    let directory = layout.container_run(id);
    let removed = store::remove_tree_if_exists(&directory).map_err(FileError::of("remove", &directory));
    groups?;
    Ok(removed?)
}
