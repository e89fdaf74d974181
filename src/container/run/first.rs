//! A container's first process: what its supervisor makes ready, and what the process does until it is confined.
//!
//! ```text
//! supervisor   groups, devices → mounts, terminal, filter, ids: all as descriptors and bytes → clone
//! process      groups → namespaces → mounts below the root → root → names → confined ([`super::confine`]) → ready
//! ```
//!
//! Everything that needs a path of the host is a descriptor before there is a process: it cannot get a path of the
//! host wrong, and the supervisor reports what cannot be opened.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::libc;
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::{Mode, fstat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use nix::unistd::{chdir, fchdir, pivot_root, sethostname};

use super::capability;
use super::cgroup::{GroupPath, Groups, Hierarchy};
use super::command::Command;
use super::confine::{Becomes, Confinement, begin};
use super::environment::{environment, hostname};
use super::init::Beside;
use super::mounting::{self, Mounts, Wanted};
use super::runtime::{self, Names, Pending, RuntimeError, Start, Task};
use super::stdio::{self, Streams, Theirs};
use super::step::{At as _, Failure, Processes, Step, channel};
use crate::container::request::config::Config;
use crate::container::request::device::{self, DeviceError, Node};
use crate::container::request::namespaces::IpcMode;
use crate::container::tree::detached;
use crate::container::tree::mount_points::MountPoint;
use crate::container::tree::rootfs::Rootfs;
use crate::container::tree::user;
use crate::names::ContainerId;
use crate::needs;
use crate::process::Process;
use crate::store::{FileError, Layout};
use crate::sys::{self, Cloned, MountAttributes};

/// What Docker sets in each container's own network: there is nobody there from whom the lower ports would
/// have to be kept, and `ping` needs no capability.
const NETWORK_SYSCTLS: [(&str, &str); 2] =
    [("net.ipv4.ip_unprivileged_port_start", "0"), ("net.ipv4.ping_group_range", "0 2147483647")];

/// Which network namespace a container is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network<'a> {
    /// The host's.
    Host,
    /// Its own, at this path.
    Own(&'a Path),
    /// Another container's, at this path.
    Shared(&'a Path),
}

/// Which namespace of one kind a container is started in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    /// A new one.
    Own,
    /// The host's, which is that of this process.
    Host,
    /// That of another container, whose first process this is.
    Of(Process),
}

/// The namespaces that containers can have in common, besides the network's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sharing {
    /// Whose process ids it sees.
    pub pid: Joined,
    /// Whose shared memory, semaphores and message queues it sees.
    pub ipc: Joined,
}

/// What a container is made of besides its configuration.
#[derive(Debug)]
pub struct Parts<'a> {
    /// Its root file system.
    pub rootfs: Rootfs,
    /// Its network namespace.
    pub network: Network<'a>,
    /// Its other namespaces.
    pub sharing: Sharing,
    /// What the user has mounted in it.
    pub mounts: &'a [MountPoint],
}

/// All that the first process needs.
struct First {
    confinement: Confinement,
    streams: Theirs,
    groups: Groups,
    /// Whether it was born in its group of version 2.
    is_born_in_group: bool,
    oom_score: Option<i32>,
    network: Option<File>,
    /// Those of other containers.
    ipc: Option<File>,
    pids: Option<File>,
    own_groups_namespace: bool,
    root: OwnedFd,
    mounts: Mounts,
    sysctls: Vec<(PathBuf, String)>,
    hostname: Option<String>,
    domainname: Option<String>,
}

/// Makes the first process of a container. It is confined and waits for [`Supervisor::start`] once
/// [`Task::wait_until_ready`] returns; until then its network can be made.
///
/// # Errors
/// [`RuntimeError`]; what was made is for [`runtime::delete`].
///
/// [`Supervisor::start`]: crate::container::life::supervisor::Supervisor::start
pub fn create(
    layout: &Layout,
    id: &ContainerId,
    config: &Config,
    parts: Parts<'_>,
) -> Result<Task, RuntimeError> {
    let lacking = needs::missing_calls();
    if !lacking.is_empty() {
        return Err(RuntimeError::Kernel(lacking.join(", ")));
    }
    let hierarchy = Hierarchy::of_host()?;
    let settings = &config.settings;
    let security = &settings.security;
    let identity = user::lookup(&parts.rootfs.path(), config.user.as_ref(), &settings.groups)?;
    let capabilities = capability::of_container(security)?;
    let nodes = device::resolve(&settings.devices, security.privileged)?;
    check_places(&nodes, parts.mounts)?;
    runtime::prepare_directory(layout, id)?;
    let devices = (!security.privileged).then_some((&nodes[..], &settings.devices));
    let groups = Groups::make(hierarchy, &GroupPath::of(id, config), &settings.limits, devices)?;
    let open = |path: &Path| File::open(path).map_err(FileError::of("open the network namespace", path));
    let network = match parts.network {
        Network::Host => None,
        Network::Own(path) | Network::Shared(path) => Some(open(path)?),
    };
    let ipc = parts.sharing.ipc;
    let shared_memory = match ipc {
        Joined::Own => None,
        // Who talks to the host's processes does so through the host's memory.
        Joined::Host => Some(host_memory()?),
        Joined::Of(owner) => memory_of(owner)?,
    };
    let has_shared_memory = ipc == Joined::Own && security.namespaces.ipc != IpcMode::None;
    let wanted = Wanted {
        config,
        hierarchy,
        groups: &groups,
        points: parts.mounts,
        nodes: &nodes,
        shared_memory,
        has_shared_memory,
        processes: match parts.sharing.pid {
            Joined::Of(owner) => Some(processes_of(owner)?),
            Joined::Own | Joined::Host => None,
        },
    };
    let mounts = Mounts::prepare(wanted)?;
    let (streams, theirs) = connect(config, &mounts, identity.uid)?;
    let environment = environment(config, id, &identity, config.tty, (&[], &[]));
    let directory = config.working_dir.as_ref().map_or(Path::new("/"), |path| path.as_path());
    // With the host's names there are none to be set: they would be set for the host.
    let own_names = !security.namespaces.uts.is_host();
    let command = Command::new(config.command.words(), &environment);
    let mut confinement = Confinement::new(config, command, directory, identity, capabilities)?;
    // Who sees the processes of others leaves it to their first one to look after orphans.
    confinement.init = (settings.init && parts.sharing.pid == Joined::Own).then_some(Beside::First);
    let first = First {
        confinement,
        streams: theirs,
        is_born_in_group: groups.birthplace().is_some(),
        groups,
        oom_score: settings.limits.oom_score_adj,
        network,
        ipc: match ipc {
            Joined::Of(owner) => Some(namespace_of(owner, "ipc")?),
            Joined::Own | Joined::Host => None,
        },
        pids: match parts.sharing.pid {
            Joined::Of(owner) => Some(namespace_of(owner, "pid")?),
            Joined::Own | Joined::Host => None,
        },
        own_groups_namespace: !security.namespaces.cgroup.is_host(),
        root: parts.rootfs.into_descriptor(),
        mounts,
        sysctls: sysctls(config, parts.network),
        hostname: own_names.then(|| hostname(config, id).to_owned()),
        domainname: settings.domainname.as_ref().filter(|_| own_names).map(ToString::to_string),
    };
    let names = first.names(config, directory);
    let mut namespaces = CloneFlags::CLONE_NEWNS;
    namespaces.set(CloneFlags::CLONE_NEWPID, parts.sharing.pid == Joined::Own);
    namespaces.set(CloneFlags::CLONE_NEWIPC, ipc == Joined::Own);
    namespaces.set(CloneFlags::CLONE_NEWUTS, own_names);
    first.make(namespaces, names, streams)
}

/// The streams of a container: a terminal or pipes.
fn connect(config: &Config, mounts: &Mounts, uid: u32) -> Result<(Streams, Theirs), RuntimeError> {
    if config.tty {
        let (master, theirs) = stdio::terminal(&mounts.terminals, uid)
            .map_err(|source| step("make the container's terminal", source))?;
        return Ok((Streams::Terminal(master), theirs));
    }
    stdio::pipes(config.open_stdin, uid)
        .map_err(|source| step("make the container's standard streams", source))
}

fn step(step: &str, source: std::io::Error) -> RuntimeError {
    RuntimeError::Step { step: step.to_owned(), source }
}

fn host_memory() -> Result<OwnedFd, RuntimeError> {
    let path = Path::new("/dev/shm");
    let error = |source| RuntimeError::Mount {
        what: "the host's shared memory".to_owned(),
        place: path.into(),
        source,
    };
    let file = File::open(path).map_err(error)?;
    let attributes = MountAttributes::MOUNT_ATTR_NOSUID
        | MountAttributes::MOUNT_ATTR_NODEV
        | MountAttributes::MOUNT_ATTR_NOEXEC;
    detached::copy_with(file.as_fd(), true, attributes).map_err(|errno| error(errno.into()))
}

/// The `/proc` of another container, for one that joins its pid namespace: only a process in that namespace could make
/// a new one, and none of ours is there before it is confined. The other container may have mounted something else
/// there, if it may mount.
fn processes_of(owner: Process) -> Result<OwnedFd, RuntimeError> {
    let failed = |source| RuntimeError::Mount {
        what: "the other container's processes".to_owned(),
        place: "/proc".into(),
        source,
    };
    let namespaces = [namespace_of(owner, "mnt")?, namespace_of(owner, "pid")?];
    let find = || -> Result<Option<OwnedFd>, Errno> {
        let mount = detached::copy_inside(&namespaces[0], Path::new("/proc"), false)?;
        if fstatfs(&mount)?.filesystem_type() != PROC_SUPER_MAGIC {
            return Ok(None);
        }
        // Not a part of it, and of this very namespace: its first process is in it.
        let first = openat(&mount, "1/ns/pid", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
        let (shown, wanted) = (fstat(&first)?, fstat(&namespaces[1])?);
        let is_same = (shown.st_dev, shown.st_ino) == (wanted.st_dev, wanted.st_ino);
        Ok(is_same.then_some(mount))
    };
    match find() {
        Ok(Some(mount)) => {
            detached::set_attributes(&mount, mounting::PLAIN, 0, false)
                .map_err(|errno| failed(errno.into()))?;
            Ok(mount)
        }
        // As openat(2) says of a tree that has something else there.
        Ok(None) | Err(Errno::ENOENT | Errno::ENOTDIR) => {
            Err(failed(io::Error::other("it has something else mounted on its /proc")))
        }
        Err(errno) => Err(failed(errno.into())),
    }
}

/// The shared memory of another container, as it sees it; one that has none shares none.
fn memory_of(owner: Process) -> Result<Option<OwnedFd>, RuntimeError> {
    let namespace = namespace_of(owner, "mnt")?;
    match detached::copy_inside(&namespace, Path::new("/dev/shm"), false) {
        Ok(memory) => Ok(Some(memory)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(RuntimeError::Mount {
            what: "the other container's shared memory".to_owned(),
            place: "/dev/shm".into(),
            source: errno.into(),
        }),
    }
}

fn namespace_of(owner: Process, kind: &str) -> Result<File, RuntimeError> {
    let path = PathBuf::from(format!("/proc/{}/ns/{kind}", owner.pid));
    let file = File::open(&path).map_err(FileError::of("open the namespace", &path))?;
    // Asked after it was opened: had the pid changed hands before, it was another process's.
    if owner.is_alive() {
        Ok(file)
    } else {
        Err(FileError::of("open the namespace", &path)(Errno::ESRCH).into())
    }
}

/// Refuses devices in directories that are mounted: others may be changing those while the nodes are made.
fn check_places(nodes: &[Node], mounts: &[MountPoint]) -> Result<(), DeviceError> {
    for mount in mounts {
        if let Some(node) = nodes.iter().find(|node| node.path.starts_with(&mount.destination)) {
            let (device, mount) = (node.path.clone(), mount.destination.clone());
            return Err(DeviceError::Inside { device, mount });
        }
    }
    Ok(())
}

/// The kernel parameters to be set, as files below `/proc`.
fn sysctls(config: &Config, network: Network<'_>) -> Vec<(PathBuf, String)> {
    let mut all = config.settings.sysctls.clone();
    if matches!(network, Network::Own(_)) {
        for (name, value) in NETWORK_SYSCTLS {
            all.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
    }
    all.into_iter().map(|(name, value)| (sysctl_file(&name), value)).collect()
}

/// The file of a kernel parameter below `/proc`. The first of dot and slash is what separates its parts, and the other
/// one stands for a dot in a name, as devices have some (sysctl.d(5)).
fn sysctl_file(name: &str) -> PathBuf {
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    let is_path = name.find(['.', '/']).is_some_and(|at| name[at..].starts_with('/'));
    let file = if is_path { name.to_owned() } else { name.chars().map(swap).collect() };
    Path::new("/sys").join(file)
}

impl First {
    fn names(&self, config: &Config, directory: &Path) -> Names {
        let settings = &config.settings;
        let sysctl = |(path, value): &(PathBuf, String)| {
            let name = path.strip_prefix("/sys").unwrap_or(path).display().to_string().replace('/', ".");
            format!("{name}={value}")
        };
        Names {
            program: config.command.program().to_owned(),
            directory: directory.to_owned(),
            groups: self.groups.names(),
            mounts: self.mounts.attachments.iter().map(|attachment| attachment.place.clone()).collect(),
            sysctls: self.sysctls.iter().map(sysctl).collect(),
            hidden: self.mounts.hidden.clone(),
            protected: self.mounts.protected.clone(),
            limits: settings.ulimits.iter().map(ToString::to_string).collect(),
            profile: self.confinement.profile.clone().unwrap_or_default(),
            has_memory_limit: settings.limits.memory.is_some(),
        }
    }

    /// Makes the process, which goes on with [`First::run`].
    fn make(mut self, namespaces: CloneFlags, names: Names, streams: Streams) -> Result<Task, RuntimeError> {
        let clone = |error: Errno| match error {
            Errno::EAGAIN => RuntimeError::PidsLimit,
            errno => RuntimeError::Clone(errno.into()),
        };
        let (ours, theirs) = channel().map_err(RuntimeError::Clone)?;
        let cloned = match sys::clone_process(namespaces, self.groups.birthplace()) {
            // Where nobody can be born in a group, one joins it.
            Err(Errno::EBUSY | Errno::EOPNOTSUPP | Errno::EINVAL | Errno::ENOSYS)
                if self.is_born_in_group =>
            {
                self.is_born_in_group = false;
                sys::clone_process(namespaces, None)
            }
            cloned => cloned,
        };
        let pid = match cloned.map_err(clone)? {
            Cloned::Child => {
                drop(ours);
                self.run(theirs)
            }
            Cloned::Parent { pid, .. } => pid,
        };
        let becomes = self.becomes();
        // All that only the new process needs is closed here, and the end of the connection above all.
        drop(theirs);
        drop(self);
        let mut pending = Pending { socket: ours, pid, names, is_ready: false };
        let pid = if becomes == Becomes::Another { pending.successor()? } else { pid };
        let process = Process::of(pid).map_err(|_| pending.killed())?;
        Ok(Task { process, streams, start: Start(Some(pending)) })
    }

    /// The process itself.
    fn run(self, socket: Processes) -> ! {
        match self.enter() {
            Ok(profile) => self.confinement.run(&self.streams, socket, profile, self.becomes()),
            Err(failure) => {
                socket.tell_failure(failure);
                sys::end_process(127)
            }
        }
    }

    /// In another container's pid namespace, whose processes may be attackers, only a process that is confined is seen.
    fn becomes(&self) -> Becomes {
        if self.pids.is_some() { Becomes::Another } else { Becomes::Itself }
    }

    /// Everything that needs the host's privileges.
    fn enter(&self) -> Result<Option<File>, Failure> {
        begin(&self.groups, self.is_born_in_group, self.oom_score)?;
        if let Some(network) = &self.network {
            setns(network, CloneFlags::CLONE_NEWNET).at(Step::JoinNetwork)?;
        }
        if let Some(ipc) = &self.ipc {
            setns(ipc, CloneFlags::CLONE_NEWIPC).at(Step::JoinIpc)?;
        }
        if let Some(pids) = &self.pids {
            // For the process that comes after this one, which itself stays outside.
            setns(pids, CloneFlags::CLONE_NEWPID).at(Step::JoinPids)?;
        }
        if self.own_groups_namespace {
            // Only now: its root is the group that it is made in.
            unshare(CloneFlags::CLONE_NEWCGROUP).at(Step::GroupNamespace)?;
        }
        let host = File::open("/").at(Step::Propagation)?;
        detached::set_attributes(&host, MountAttributes::empty(), libc::MS_PRIVATE, true)
            .at(Step::Propagation)?;
        // On top of the host's root: no place has to be there for it.
        detached::attach_to_root(&self.root).at(Step::Root)?;
        // In another container's, this process is not to be found.
        let own = self.pids.as_ref().map(|_| File::open("/proc")).transpose().at(Step::Profile)?;
        let proc = self.mounts.attach(self.root.as_fd(), &self.sysctls)?;
        let proc = own.map_or(proc, OwnedFd::from);
        self.change_root().at(Step::Pivot)?;
        if let Some(name) = &self.hostname {
            sethostname(name).at(Step::Hostname)?;
        }
        if let Some(name) = &self.domainname {
            let set = rustix::system::setdomainname(name.as_bytes());
            set.map_err(|errno| Errno::from_raw(errno.raw_os_error())).at(Step::Domainname)?;
        }
        match self.confinement.profile {
            Some(_) => mounting::profile_file(&proc).at(Step::Profile).map(Some),
            None => Ok(None),
        }
    }

    /// Makes the container's root the process's own, and lets go of the host's.
    fn change_root(&self) -> Result<(), Errno> {
        fchdir(&self.root)?;
        pivot_root(".", ".")?;
        // The host's root lies on top of the container's now.
        umount2(".", MntFlags::MNT_DETACH)?;
        chdir("/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::request::config::tests::minimal;

    #[test]
    fn kernel_parameters_are_files() {
        for (name, file) in [
            ("net.ipv4.ip_forward", "/sys/net/ipv4/ip_forward"),
            ("net/ipv4/ip_forward", "/sys/net/ipv4/ip_forward"),
            ("net/ipv4/conf/eth0.5/forwarding", "/sys/net/ipv4/conf/eth0.5/forwarding"),
            ("net.ipv4.conf.eth0/5.forwarding", "/sys/net/ipv4/conf/eth0.5/forwarding"),
        ] {
            assert_eq!(sysctl_file(name), Path::new(file), "{name}");
        }
    }

    #[test]
    fn a_network_of_its_own_has_dockers_parameters_unless_the_user_has_others() {
        let mut config = minimal(&["sh"]);
        assert!(sysctls(&config, Network::Host).is_empty());
        let own = Network::Own(Path::new("/run/netns/x"));
        assert_eq!(sysctls(&config, own).len(), 2);
        config.settings.sysctls.insert("net.ipv4.ip_unprivileged_port_start".into(), "80".into());
        let set = sysctls(&config, own);
        let start = set.iter().find(|(path, _)| path.ends_with("ip_unprivileged_port_start"));
        assert_eq!((set.len(), start.map(|(_, value)| value.as_str())), (2, Some("80")));
    }
}
