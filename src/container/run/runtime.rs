//! Making, starting, joining and deleting containers through `libcontainer`.
//!
//! ```text
//! RUN_ROOT/containers/ID/config.json     the OCI specification: this directory is the bundle
//! RUN_ROOT/containers/ID/attach.sock     where clients reach the supervisor
//! RUN_ROOT/containers/ID/lock            held, shared by those that join, until a process is the command
//! RUN_ROOT/libcontainer/ID/              the library's own state
//! ```
//!
//! The library clones without executing anything, so all of this is only to be called by a process with one
//! thread; it changes that process (it is no longer dumpable), so there is one process for each container.
//!
//! Its helpers outlive a caller that is killed for some milliseconds, in which they make control groups and
//! mounts. They inherit the lock's descriptor, which execve(2) closes: who has the lock for itself knows that
//! none of them is left.

use std::error::Error as _;
use std::fs::{DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use libcontainer::container::Container;
use libcontainer::error::LibcontainerError;
use libcontainer::oci_spec::OciSpecError;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::container::request::config::{Argv, Config, ContainerPath, EnvVar, UserSpec};
use crate::container::request::device::{self, DeviceError};
use crate::container::run::capability::{self, CapabilityError};
use crate::container::run::cgroup::{self, CgroupError, Hierarchy};
use crate::container::run::executor::{CommandError, ContainerExecutor, Report};
use crate::container::run::seccomp::{Filters, SeccompError};
use crate::container::run::spec;
use crate::container::run::stdio::{Connection, Streams};
use crate::container::tree::mount_points::MountPoint;
use crate::container::tree::rootfs::{self, Rootfs, RootfsError};
use crate::container::tree::user::{self, Identity, UserError};
use crate::names::ContainerId;
use crate::process::Process;
use crate::store::{self, Durability, Layout, Lock};
use crate::sys::WindowSize;

/// The name of the lock in a container's run directory.
const LOCK: &str = "lock";

/// What the library puts before its reasons without telling anything.
const NOISE: [&str; 4] = [
    "failed to create container: ",
    "exec process failed with error ",
    "intermediate process error ",
    "error in executing process : ",
];

/// How long the processes of a failed start may take to end.
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
    /// The working directory or the root file system is at fault.
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
    /// The control groups are at fault.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// The capabilities are at fault.
    #[error(transparent)]
    Capability(#[from] CapabilityError),
    /// The seccomp filter is at fault.
    #[error(transparent)]
    Seccomp(#[from] SeccompError),
    /// A device is at fault.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The library's builders refuse a value.
    #[error("cannot write the container's OCI specification")]
    Spec(#[source] OciSpecError),
    /// A file, socket or descriptor of ours.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The library failed.
    #[error("cannot {action} the container: {reason}")]
    Library {
        /// What was tried.
        action: &'static str,
        /// Its error and the causes, on one line.
        reason: String,
    },
    /// There is no process to join.
    #[error("container {0} is not running")]
    NotRunning(ContainerId),
}

impl RuntimeError {
    /// The exit status that Docker's `run` and `exec` have for it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Command(error) => error.exit_code(),
            _ => 125,
        }
    }

    fn library(action: &'static str, program: &str, error: &LibcontainerError) -> Self {
        let mut reason = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Its errors repeat their causes more often than not.
            if !reason.contains(&text) {
                reason = format!("{reason}: {text}");
            }
            cause = error.source();
        }
        if let Some(error) = CommandError::in_text(program, &reason) {
            return Self::Command(error);
        }
        for noise in NOISE {
            reason = reason.replace(noise, "");
        }
        Self::Library { action, reason: reason.replace(['\n', '\0'], " ").trim().to_owned() }
    }
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RuntimeError {
    let path = path.to_owned();
    move |source| RuntimeError::Io { action, path, source }
}

/// A process in a container, with its streams. It is a child of this process, which has to reap it.
#[derive(Debug)]
pub struct Task {
    process: Process,
    pub(in crate::container) streams: Streams,
    pub(in crate::container) start: Start,
}

impl Task {
    /// The process, by its pid on the host.
    #[must_use]
    pub fn process(&self) -> Process {
        self.process
    }
}

#[cfg(test)]
impl Task {
    /// A task of a process that is nobody's child, to be supervised without a container.
    pub(in crate::container) fn fake(process: Process, streams: Streams) -> Self {
        Self { process, streams, start: Start { program: String::new(), pending: None } }
    }
}

/// The right to let a container's command run, once.
#[derive(Debug)]
pub(in crate::container) struct Start {
    program: String,
    /// Nothing for a process that has joined a container: it runs already.
    pending: Option<(Container, Report)>,
}

impl Start {
    /// Lets the command run, and returns once it does.
    ///
    /// # Errors
    /// [`RuntimeError::Command`] if execve(2) failed; the process has ended then.
    pub(in crate::container) fn start(&mut self) -> Result<(), RuntimeError> {
        let Some((mut container, report)) = self.pending.take() else { return Ok(()) };
        container.start().map_err(|error| RuntimeError::library("start", &self.program, &error))?;
        Ok(report.wait(&self.program)?)
    }
}

/// Makes a container whose command waits for [`Supervisor::start`].
///
/// Its root file system is mounted, and its network namespace is there; `mounts` are what goes on top of the
/// root. Remains of an earlier run that was not deleted are deleted first.
///
/// # Errors
/// [`RuntimeError`]. What was made is removed again, except the bundle, which [`delete`] removes.
///
/// [`Supervisor::start`]: crate::container::life::supervisor::Supervisor::start
pub fn create(
    layout: &Layout,
    id: &ContainerId,
    config: &Config,
    rootfs: &Rootfs,
    network: spec::Network<'_>,
    mounts: &[MountPoint],
) -> Result<Task, RuntimeError> {
    if layout.libcontainer().join(id).exists() {
        delete(layout, id)?;
    }
    let hierarchy = Hierarchy::of_host()?;
    let identity = user::lookup(rootfs.path(), config.user.as_ref(), &config.settings.groups)?;
    let security = &config.settings.security;
    let restricted = hierarchy.controls_devices();
    let capabilities = capability::of_container(restricted, security)?;
    let devices = device::resolve(&config.settings.devices, security.privileged, restricted)?;
    spec::devices::check_places(&devices, mounts)?;
    let inputs = spec::Inputs {
        id,
        rootfs: rootfs.path(),
        network,
        identity: &identity,
        capabilities: &capabilities,
        hierarchy,
        mounts,
        devices: &devices,
    };
    let spec = spec::build(config, &inputs).map_err(RuntimeError::Spec)?;
    let bundle = layout.container_run(id);
    prepare_directories(layout, &bundle)?;
    write_json(&bundle.join("config.json"), &spec)?;

    let lock = bundle.join(LOCK);
    let lock = Lock::exclusive(&lock).map_err(io_error("lock", &lock))?;
    let filters = Filters::of(security, &capabilities)?;
    let (executor, report) = ContainerExecutor::new(filters).map_err(io_error("make a pipe for", &bundle))?;
    let executor = executor.with_init(config.settings.init);
    let mut connection = Connection::new(config.tty, config.open_stdin, identity.uid, &bundle)
        .map_err(io_error("make the streams in", &bundle))?;
    let program = config.command.program();
    let built = connection
        .builder(layout, id, executor)
        .and_then(|builder| builder.as_init(&bundle).with_systemd(false).with_detach(true).build());
    let container = match built {
        Ok(container) => container,
        Err(error) => {
            let error = RuntimeError::library("create", program, &error);
            reap_all(PATIENCE);
            return Err(error);
        }
    };
    let made: Result<_, RuntimeError> = (|| {
        let pid = container.pid().ok_or_else(|| RuntimeError::NotRunning(id.clone()))?.as_raw();
        let process = Process::of(pid).map_err(io_error("find the first process of", &bundle))?;
        set_oom_score(process, config)?;
        if config.settings.limits.oom_kill_disable {
            cgroup::disable_oom_killer(hierarchy, id)?;
        }
        let streams =
            connection.finish(identity.uid).map_err(io_error("take over the terminal in", &bundle))?;
        Ok((process, streams))
    })();
    // The first process has it now, until it is the command.
    drop(lock);
    let (process, streams) = made.inspect_err(|_| {
        // The first error is the one to report.
        delete(layout, id).ok();
    })?;
    let start = Start { program: program.to_owned(), pending: Some((container, report)) };
    Ok(Task { process, streams, start })
}

/// What is to be run in a container that runs already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecRequest {
    /// The program and its arguments.
    pub command: Argv,
    /// Variables besides the container's own.
    pub env: Vec<EnvVar>,
    /// Where it starts; without one, where the container's command did.
    pub working_dir: Option<ContainerPath>,
    /// As whom it runs; without one, as the container's command does.
    pub user: Option<UserSpec>,
    /// Whether it gets a terminal.
    pub tty: bool,
    /// Whether its standard input is kept open for the client.
    pub open_stdin: bool,
    /// Rows and columns of its terminal.
    pub size: Option<(u16, u16)>,
    /// Whether it gets all capabilities, whatever the container has.
    pub privileged: bool,
}

/// Runs a command in the container whose first process is `init`. It runs when the call returns.
///
/// It gets the container's namespaces, groups, capabilities and seccomp filter.
///
/// # Errors
/// [`RuntimeError`]; nothing runs then, and this process has no children left.
pub fn exec(
    layout: &Layout,
    id: &ContainerId,
    config: &Config,
    init: Process,
    request: &ExecRequest,
) -> Result<Task, RuntimeError> {
    let hierarchy = Hierarchy::of_host()?;
    // Whoever takes the container down has the lock for itself.
    let lock = File::open(layout.container_run(id).join(LOCK)).ok();
    let lock = lock.and_then(|file| Flock::lock(file, FlockArg::LockSharedNonblock).ok());
    let _lock = lock.ok_or_else(|| RuntimeError::NotRunning(id.clone()))?;
    // Through the process, its mounts are seen as well as its layers.
    let root = PathBuf::from(format!("/proc/{}/root", init.pid));
    let user = request.user.as_ref().or(config.user.as_ref());
    let directory = request.working_dir.as_ref().or(config.working_dir.as_ref());
    let found: Result<Identity, RuntimeError> = (|| {
        let identity = user::lookup(&root, user, &config.settings.groups)?;
        if let Some(directory) = directory {
            rootfs::open_directory(&root, directory)?;
        }
        Ok(identity)
    })();
    // Asked after the directory was used: had the pid changed hands before, it was another process's.
    if !init.is_alive() {
        return Err(RuntimeError::NotRunning(id.clone()));
    }
    let identity = found?;
    let security = &config.settings.security;
    let capabilities = if request.privileged {
        capability::all()?
    } else {
        capability::of_container(hierarchy.controls_devices(), security)?
    };
    let process = spec::process(&spec::Task {
        words: request.command.words(),
        env: spec::environment(config, id, &identity, request.tty, &request.env),
        cwd: directory.map_or(Path::new("/"), |path| path.as_path()),
        tty: request.tty,
        identity: &identity,
        capabilities: &capabilities,
        settings: &config.settings,
    })
    .map_err(RuntimeError::Spec)?;
    let bundle = layout.container_run(id);
    let description = bundle.join(format!("exec-{}.json", std::process::id()));
    write_json(&description, &process)?;
    let joined = join(layout, id, request, &identity, &description, Filters::of(security, &capabilities)?);
    store::remove_if_exists(&description).map_err(io_error("remove", &description))?;
    if let Ok(task) = &joined {
        set_oom_score(task.process, config)?;
    }
    joined.map_err(|error| {
        reap_all(PATIENCE);
        // Whatever else went wrong, it did so because there was nothing to join any more.
        if init.is_alive() { error } else { RuntimeError::NotRunning(id.clone()) }
    })
}

fn join(
    layout: &Layout,
    id: &ContainerId,
    request: &ExecRequest,
    identity: &Identity,
    description: &Path,
    filters: Filters,
) -> Result<Task, RuntimeError> {
    let bundle = layout.container_run(id);
    let program = request.command.program();
    let (executor, report) = ContainerExecutor::new(filters).map_err(io_error("make a pipe for", &bundle))?;
    let size = request.size.map(|(rows, columns)| WindowSize { rows, columns });
    let executor = executor.with_size(size);
    let mut connection = Connection::new(request.tty, request.open_stdin, identity.uid, &bundle)
        .map_err(io_error("make the streams in", &bundle))?;
    let built = connection.builder(layout, id, executor).and_then(|builder| {
        builder.as_tenant().with_detach(true).with_process(Some(description.to_owned())).build()
    });
    // Whatever the library says, the process itself tells best why it could not become the command.
    let pid = match (built, report.wait(program)) {
        (_, Err(error)) => return Err(error.into()),
        (Err(error), Ok(())) => return Err(RuntimeError::library("join", program, &error)),
        (Ok(pid), Ok(())) => pid.as_raw(),
    };
    let process = Process::of(pid).map_err(io_error("find the process that joined", &bundle))?;
    let streams = connection.finish(identity.uid).map_err(io_error("take over the terminal in", &bundle))?;
    Ok(Task { process, streams, start: Start { program: program.to_owned(), pending: None } })
}

/// Removes all that [`create`] made: what still runs in the container is killed, its control groups, the
/// library's state and the bundle go. "Already gone" is success, and any process may do it.
///
/// # Errors
/// The first thing that could not be removed; the others were tried none the less.
pub fn delete(layout: &Layout, id: &ContainerId) -> Result<(), RuntimeError> {
    let hierarchy = Hierarchy::of_host()?;
    let bundle = layout.container_run(id);
    cgroup::kill_all(hierarchy, id);
    let lock = bundle.join(LOCK);
    let _lock =
        if lock.exists() { Some(Lock::exclusive(&lock).map_err(io_error("lock", &lock))?) } else { None };
    let groups = cgroup::remove(hierarchy, id);
    // Children of this process that were killed with the groups.
    reap_all(Duration::ZERO);
    let directories = [layout.libcontainer().join(id), bundle];
    let removed = directories
        .map(|directory| store::remove_tree_if_exists(&directory).map_err(io_error("remove", &directory)));
    groups.map_err(RuntimeError::from).and(removed.into_iter().collect())
}

/// Sets how readily the kernel kills a process of the container when the host runs short of memory. Not the
/// library's way: that would set it for the supervisor as well.
fn set_oom_score(process: Process, config: &Config) -> Result<(), RuntimeError> {
    let Some(score) = config.settings.limits.oom_score_adj else { return Ok(()) };
    let path = PathBuf::from(format!("/proc/{}/oom_score_adj", process.pid));
    let file = std::fs::OpenOptions::new().write(true).open(&path);
    match file.and_then(|mut file| file.write_all(score.to_string().as_bytes())) {
        // It may have ended by now.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        written => written.map_err(io_error("write --oom-score-adj to", &path)),
    }
}

/// Takes note of children that have ended, and waits for the others for a while. Only for processes whose
/// children are all of no further interest.
fn reap_all(patience: Duration) {
    let deadline = std::time::Instant::now() + patience;
    loop {
        match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) if std::time::Instant::now() >= deadline => return,
            Ok(WaitStatus::StillAlive) => std::thread::sleep(Duration::from_millis(1)),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}

fn prepare_directories(layout: &Layout, bundle: &Path) -> Result<(), RuntimeError> {
    for directory in [&layout.libcontainer(), bundle] {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(io_error("create the directory", directory))?;
    }
    Ok(())
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), RuntimeError> {
    serde_json::to_vec(value)
        .map_err(io::Error::from)
        .and_then(|text| store::write_atomic(path, &text, Durability::Process))
        .map_err(io_error("write", path))
}
