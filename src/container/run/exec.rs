//! Joining a container that runs.
//!
//! A process must not be visible in the container's pid namespace as long as it has anything that the container
//! does not have: a container that may trace processes would seize it. So there are two. The helper is made in the
//! host's pid namespace, joins the container's groups and namespaces, where it is not to be seen, and gives up
//! everything that the container does not have; only then it makes the process that becomes the command, which is
//! born in the container's pid namespace as a child of the supervisor's, and ends itself.
//!
//! ```text
//! supervisor ─► helper: groups → namespaces → terminal → streams, confined ([`super::confine`])
//!                 └─► process: session → ready → the command
//! ```

use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};

use super::capability;
use super::cgroup::{self, GroupPath, Groups, Hierarchy};
use super::command::Command;
use super::confine::{Becomes, Confinement, begin};
use super::environment::environment;
use super::init::Beside;
use super::mounting;
use super::runtime::{Names, Pending, RuntimeError, Start, Task};
use super::stdio::{self, Streams, Theirs};
use super::step::{At as _, Failure, Message, Processes, Step, channel, errno_of};
use crate::container::request::config::{Argv, Config, ContainerPath, EnvVar, UserSpec};
use crate::container::tree::user;
use crate::names::ContainerId;
use crate::process::Process;
use crate::store::FileError;
use crate::sys::{self, Cloned};

/// What is to be run in a container that runs already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecRequest {
    /// The program and its arguments.
    pub command: Argv,
    /// Variables besides the container's own.
    pub env: Vec<EnvVar>,
    /// Variables of the container's that it does not get.
    #[serde(default)]
    pub env_absent: Vec<String>,
    /// Where it starts; without one, where the container's command did.
    pub working_dir: Option<ContainerPath>,
    /// The user that it runs as; without one, that of the container's command.
    pub user: Option<UserSpec>,
    /// Whether it gets a terminal.
    pub tty: bool,
    /// Whether its standard input is kept open for the client.
    pub open_stdin: bool,
    /// Rows and columns of its terminal.
    pub size: Option<(u16, u16)>,
    /// Whether it gets all capabilities, whatever the container has.
    pub privileged: bool,
    /// Whether it is to be ended together with all that it has started (see [`cgroup::end_apart`]), and how long it may
    /// take to begin: a process of the container can stop it as soon as it sees it.
    #[serde(default)]
    pub apart: Option<Duration>,
}

/// The namespaces of a container that runs, all at once: a process that joins them is in all or in none.
const NAMESPACES: CloneFlags = CloneFlags::CLONE_NEWNS
    .union(CloneFlags::CLONE_NEWNET)
    .union(CloneFlags::CLONE_NEWIPC)
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWCGROUP)
    .union(CloneFlags::CLONE_NEWPID);

/// All that the helper needs.
struct Helper {
    confinement: Confinement,
    /// Pipes; a terminal is made in the container.
    streams: Option<Theirs>,
    groups: Groups,
    is_born_in_group: bool,
    oom_score: Option<i32>,
    /// The container's first process.
    init: OwnedFd,
    /// How long it may take to begin, if it is to be in a group apart.
    apart: Option<Duration>,
}

/// Makes a process for a command in the container whose first process is `init`. It is confined, and waits for
/// [`Supervisor::start`].
///
/// It gets the container's namespaces, groups, capabilities and seccomp filter.
///
/// # Errors
/// [`RuntimeError`]; there is no process then.
///
/// [`Supervisor::start`]: crate::container::life::supervisor::Supervisor::start
pub fn exec(
    id: &ContainerId,
    config: &Config,
    init: Process,
    request: &ExecRequest,
) -> Result<Task, RuntimeError> {
    let not_running = || RuntimeError::NotRunning(id.clone());
    let hierarchy = Hierarchy::of_host()?;
    let group = GroupPath::of(id, config);
    if cgroup::is_freezing(hierarchy, &group) {
        return Err(RuntimeError::Paused(id.clone()));
    }
    let made = (|| {
        let pidfd = sys::pidfd_open(init.pid).map_err(|_| not_running())?;
        // Through the process, its mounts are seen as well as its layers.
        let root = PathBuf::from(format!("/proc/{}/root", init.pid));
        let user = request.user.as_ref().or(config.user.as_ref());
        let identity = user::lookup(&root, user, &config.settings.groups)?;
        let mut groups = Groups::open(hierarchy, &group)?;
        if request.apart.is_some() {
            groups.set_apart()?;
        }
        // Asked after all was opened: had the pid changed hands before, it was another process's.
        if !init.is_alive() {
            return Err(not_running());
        }
        let security = &config.settings.security;
        let capabilities =
            if request.privileged { capability::all()? } else { capability::of_container(security)? };
        let environment =
            environment(config, id, &identity, request.tty, (&request.env, &request.env_absent));
        let directory = request.working_dir.as_ref().or(config.working_dir.as_ref());
        let directory = directory.map_or(Path::new("/"), |path| path.as_path());
        let (streams, theirs) = if request.tty {
            (None, None)
        } else {
            let made = stdio::pipes(request.open_stdin, identity.uid);
            let (streams, theirs) =
                made.map_err(FileError::of("make pipes for", Path::new("the command")))?;
            (Some(streams), Some(theirs))
        };
        let command = Command::new(request.command.words(), &environment);
        let mut confinement = Confinement::new(config, command, directory, identity, capabilities)?;
        confinement.tty = request.tty;
        confinement.init = request.apart.map(|_| Beside::Apart);
        let helper = Helper {
            confinement,
            streams: theirs,
            is_born_in_group: groups.birthplace().is_some(),
            groups,
            oom_score: config.settings.limits.oom_score_adj,
            init: pidfd,
            apart: request.apart,
        };
        let names = Names {
            program: request.command.program().to_owned(),
            directory: directory.to_owned(),
            groups: helper.groups.names(),
            limits: config.settings.ulimits.iter().map(ToString::to_string).collect(),
            profile: helper.confinement.profile.clone().unwrap_or_default(),
            has_memory_limit: config.settings.limits.memory.is_some(),
            ..Names::default()
        };
        helper.make(hierarchy, init, names, streams)
    })();
    // Whatever else went wrong, it did so because there was nothing to join any more.
    made.map_err(|error| if init.is_alive() { error } else { not_running() })
}

impl Helper {
    /// Makes the helper, and waits for the process that it makes.
    fn make(
        mut self,
        hierarchy: &Hierarchy,
        init: Process,
        names: Names,
        streams: Option<Streams>,
    ) -> Result<Task, RuntimeError> {
        let (mut ours, theirs) = channel().map_err(RuntimeError::Clone)?;
        if let Some(patience) = self.apart {
            ours.give_up_after(patience).map_err(RuntimeError::Clone)?;
        }
        let mut cloned = sys::clone_process(CloneFlags::empty(), self.groups.birthplace());
        if let (Err(Errno::EBUSY), true, None) = (&cloned, self.is_born_in_group, self.apart) {
            // The container has made groups of its own below its first one: with its first process.
            self.groups.use_group_of(hierarchy, init.pid)?;
            cloned = sys::clone_process(CloneFlags::empty(), self.groups.birthplace());
        }
        if matches!((&cloned, self.apart), (Err(Errno::EBUSY), Some(_))) {
            // In any other group, what it leaves would not be found.
            return Err(RuntimeError::Clone(Errno::EBUSY.into()));
        }
        if matches!(cloned, Err(Errno::EBUSY | Errno::EOPNOTSUPP | Errno::EINVAL | Errno::ENOSYS)) {
            self.is_born_in_group = false;
            cloned = sys::clone_process(CloneFlags::empty(), None);
        }
        let helper = match cloned {
            Ok(Cloned::Child) => {
                drop(ours);
                self.run(theirs)
            }
            Ok(Cloned::Parent { pid, .. }) => pid,
            Err(Errno::EAGAIN) => return Err(RuntimeError::PidsLimit),
            Err(errno) => return Err(RuntimeError::Clone(errno.into())),
        };
        drop(theirs);
        drop(self);
        let mut pending = Pending { socket: ours, pid: helper, names, is_ready: false };
        let streams = match streams {
            Some(streams) => streams,
            None => match pending.receive()? {
                Some(Message::Terminal(master)) => Streams::Terminal(master),
                _ => return Err(pending.killed()),
            },
        };
        let pid = pending.successor()?;
        // Ours, and not reaped: its pid is nobody else's.
        let process = Process::of(pid).map_err(|_| pending.killed())?;
        let mut task = Task { process, streams, start: Start(Some(pending)) };
        task.wait_until_ready()?;
        Ok(task)
    }

    /// The helper itself.
    fn run(mut self, socket: Processes) -> ! {
        match self.enter(&socket) {
            Ok((streams, profile)) => self.confinement.run(&streams, socket, profile, Becomes::Another),
            Err(failure) => {
                socket.tell_failure(failure);
                sys::end_process(127)
            }
        }
    }

    /// Everything that needs the host's privileges.
    fn enter(&mut self, socket: &Processes) -> Result<(Theirs, Option<File>), Failure> {
        begin(&self.groups, self.is_born_in_group, self.oom_score)?;
        // Our own: the container may have mounted anything on its /proc.
        let profile = match self.confinement.profile {
            Some(_) => {
                let proc = File::open("/proc").at(Step::Profile)?;
                Some(mounting::profile_file(&proc).at(Step::Profile)?)
            }
            None => None,
        };
        setns(&self.init, NAMESPACES).at(Step::JoinContainer)?;
        let streams = match self.streams.take() {
            Some(streams) => streams,
            None => {
                // A directory or nothing: in the container anything may be there, and opening a FIFO would wait.
                let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
                let terminals = open("/dev/pts", flags, Mode::empty()).at(Step::Terminal)?;
                let made = stdio::terminal(&terminals, self.confinement.identity.uid);
                let (master, streams) = made.map_err(|error| errno_of(&error)).at(Step::Terminal)?;
                socket.send_terminal(master.as_fd()).at(Step::Terminal)?;
                streams
            }
        };
        Ok((streams, profile))
    }
}
