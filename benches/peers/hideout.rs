//! Where all of it happens, so that the machine sees nothing of it and keeps nothing of it.

use std::fs;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use mydocker::netns::NetNs;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{WaitStatus, wait};

use crate::command::{self, Outcome};
use crate::raw;

/// Which of the three processes of this program it is: none for the first, then these.
const STAGE: &str = "MYDOCKER_BENCH_STAGE";
const INIT: &str = "init";
const WORK: &str = "work";
/// Which of this program's tasks is done inside.
const TASK: &str = "MYDOCKER_BENCH_TASK";
/// Where the files go. A control group of the same name is removed in the end, in every tree, with all below it.
pub(crate) const DIRECTORY: &str = "MYDOCKER_BENCH_DIRECTORY";

/// The directories of the run.
pub(crate) struct Place {
    directory: PathBuf,
}

impl Place {
    /// A small root file system: busybox and a page.
    pub(crate) fn image(&self) -> PathBuf {
        self.directory.join("image")
    }

    /// What is left for the process outside.
    pub(crate) fn result(&self) -> PathBuf {
        result(&self.directory)
    }

    /// A new directory on a disk.
    pub(crate) fn directory(&self) -> PathBuf {
        tempfile::Builder::new().disable_cleanup(true).tempdir_in(&self.directory).unwrap().path().to_owned()
    }

    /// A control group that is removed in the end with all below it, as runtimes write its path.
    pub(crate) fn cgroup() -> String {
        let directory = PathBuf::from(std::env::var_os(DIRECTORY).unwrap());
        format!("/{}", directory.file_name().unwrap().display())
    }

    /// A new directory in memory.
    pub(crate) fn run_directory() -> PathBuf {
        tempfile::tempdir_in("/run").unwrap().keep()
    }
}

/// Where the work leaves something for the process outside.
pub(crate) fn result(directory: &Path) -> PathBuf {
    directory.join("result")
}

/// Does the part of this process, if it is one of those inside. `work` is handed the name of its task.
pub(crate) fn inside(work: impl FnOnce(&str, &Place)) -> bool {
    match std::env::var(STAGE).as_deref() {
        Ok(INIT) => be_init(),
        Ok(WORK) => {
            let place = Place { directory: INSIDE.into() };
            make_image(&place.image());
            work(&std::env::var(TASK).unwrap(), &place);
        }
        _ => return false,
    }
    true
}

/// Starts this program again, inside, for this task, and removes what is left of it in the end, however that comes.
/// `collect` reads what the work has written, before it goes.
pub(crate) fn start<T>(task: &str, collect: impl FnOnce(&Path) -> T) -> Outcome<T> {
    assert!(nix::unistd::geteuid().is_root(), "the benchmarks make namespaces: run them as root");
    // Whoever interrupts this program interrupts the work; this process lives on and tidies up.
    let mut awaited = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD] {
        awaited.add(signal);
    }
    let before = SigSet::thread_get_mask().unwrap();
    awaited.thread_block().unwrap();
    // Removed from out here, where nothing is mounted below it whatever happens inside.
    let directory = tempfile::Builder::new().prefix("mydocker-bench-").tempdir().unwrap();
    if let Some(results) = std::env::var_os(raw::DIRECTORY) {
        fs::create_dir_all(results).unwrap();
    }
    let cgroups = Cgroups::before();
    let ended = std::thread::scope(|scope| {
        // The thread lives as long as its child, which the kernel ends together with it.
        let child = scope.spawn(|| {
            let new = CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
            unshare(new).unwrap();
            let child = again(INIT).env(TASK, task).env(DIRECTORY, directory.path()).spawn();
            wait_for(child.unwrap(), &awaited)
        });
        child.join().unwrap()
    });
    cgroups.remove(directory.path());
    before.thread_set_mask().unwrap();
    ended.map(|()| collect(directory.path()))
}

fn wait_for(mut child: Child, awaited: &SigSet) -> Outcome<()> {
    let signals = SignalFd::new(awaited).unwrap();
    let mut interrupted = false;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return match status {
                _ if interrupted => Err("interrupted".to_owned()),
                status if status.success() => Ok(()),
                status => Err(format!("the benchmark failed: {status}")),
            };
        }
        let signal = signals.read_signal().unwrap();
        if signal.is_some_and(|signal| signal.ssi_signo.cast_signed() != Signal::SIGCHLD as i32) {
            interrupted = true;
            // It may have ended meanwhile.
            child.kill().ok();
        }
    }
}

/// What containers leave in the machine's control groups when they are all killed at once: no namespace hides
/// these from them.
struct Cgroups {
    /// The groups above the containers', as far as they were not there before.
    new: Vec<PathBuf>,
}

const PODMAN_CGROUP: &str = "libpod_parent";
const OUR_CGROUP: &str = "mydocker";

impl Cgroups {
    fn hierarchies() -> impl Iterator<Item = PathBuf> {
        let below = fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path());
        below.chain(["/sys/fs/cgroup".into()])
    }

    fn before() -> Self {
        let all = Self::hierarchies()
            .flat_map(|hierarchy| [PODMAN_CGROUP, OUR_CGROUP].map(|name| hierarchy.join(name)));
        Self { new: all.filter(|cgroup| !cgroup.exists()).collect() }
    }

    /// Of mydocker's those of the containers below `directory`; podman never removes any itself. And what the work
    /// itself has made.
    fn remove(&self, directory: &Path) {
        for hierarchy in Self::hierarchies() {
            remove_cgroup(&hierarchy.join(directory.file_name().unwrap()));
        }
        let listed = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
        for root in listed(directory) {
            for container in listed(&root.path().join("containers")) {
                for hierarchy in Self::hierarchies() {
                    remove_cgroup(&hierarchy.join(OUR_CGROUP).join(container.file_name()));
                }
            }
        }
        for cgroup in &self.new {
            if cgroup.ends_with(PODMAN_CGROUP) {
                remove_cgroup(cgroup);
            } else {
                // Where it is missing, or somebody else's containers are in it, nothing is lost.
                fs::remove_dir(cgroup).ok();
            }
        }
    }
}

fn remove_cgroup(cgroup: &Path) {
    for below in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if below.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&below.path());
        }
    }
    // Where it is missing, or not empty for a reason that is not ours, nothing is lost.
    fs::remove_dir(cgroup).ok();
}

fn again(stage: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.env(STAGE, stage);
    command
}

/// The first process of the namespace: whatever loses its parent is its child, and its end is the end of all.
#[expect(clippy::zombie_processes, reason = "it is waited for together with all others")]
fn be_init() {
    set_pdeathsig(Signal::SIGKILL).unwrap();
    SigSet::empty().thread_set_mask().unwrap();
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), None::<&str>).unwrap();
    hide();
    let mut worker = again(WORK);
    worker.env("TMPDIR", TEMPORARY);
    if std::env::var_os(raw::DIRECTORY).is_some() {
        worker.env(raw::DIRECTORY, RESULTS);
    }
    let worker = worker.spawn().unwrap();
    loop {
        match wait().unwrap() {
            WaitStatus::Exited(pid, status) if pid.as_raw().unsigned_abs() == worker.id() => {
                assert_eq!(status, 0, "the benchmark failed");
                return;
            }
            WaitStatus::Signaled(pid, signal, _) if pid.as_raw().unsigned_abs() == worker.id() => {
                panic!("the benchmark was ended by {signal}");
            }
            _ => {}
        }
    }
}

/// Where all files go, inside.
const INSIDE: &str = "/run/bench";
const RESULTS: &str = "/run/results";
const TEMPORARY: &str = "/run/temporary";

fn hide() {
    // Locks, states and sockets of the machine's own containers are out of reach.
    for directory in ["/run", "/dev/shm"] {
        mount(Some("tmpfs"), directory, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    }
    fs::create_dir(TEMPORARY).unwrap();
    for (variable, inside) in [(DIRECTORY, INSIDE), (raw::DIRECTORY, RESULTS)] {
        fs::create_dir(inside).unwrap();
        if let Some(directory) = std::env::var_os(variable) {
            mount(Some(Path::new(&directory)), inside, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
        }
    }
    // Whatever else is written is written to memory, or not at all.
    for directory in ["/etc", "/root", "/var"] {
        let layer = |kind: &str| {
            let path = format!("/run/written/{kind}{directory}");
            fs::create_dir_all(&path).unwrap();
            path
        };
        let options = format!("lowerdir={directory},upperdir={},workdir={}", layer("upper"), layer("work"));
        mount(Some("overlay"), directory, Some("overlay"), MsFlags::empty(), Some(options.as_str())).unwrap();
    }
    let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    mount(None::<&str>, "/", None::<&str>, read_only, None::<&str>).unwrap();
    // crun refuses to work where both versions of cgroups have controllers.
    let unified = "/sys/fs/cgroup/unified";
    if Path::new(unified).join("cgroup.controllers").exists() {
        umount2(unified, MntFlags::MNT_DETACH).unwrap();
    }
}

fn make_image(image: &Path) {
    for directory in ["bin", "dev", "etc", "proc", "run", "sys", "tmp", "www"] {
        fs::create_dir_all(image.join(directory)).unwrap();
    }
    let busybox = ["/usr/bin/busybox", "/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    fs::copy(busybox.expect("busybox (package busybox-static)"), image.join("bin/busybox")).unwrap();
    for applet in ["httpd", "sh", "sleep", "true"] {
        std::os::unix::fs::symlink("busybox", image.join("bin").join(applet)).unwrap();
    }
    fs::write(image.join("etc/passwd"), "root:x:0:0:root:/:/bin/sh\n").unwrap();
    fs::write(image.join("etc/group"), "root:x:0:\n").unwrap();
    fs::write(image.join("www/index.html"), "a page from a container\n").unwrap();
}

/// A host with an uplink, and another host at its end.
pub(crate) struct Host {
    pub(crate) space: NetNs,
    pub(crate) outside: NetNs,
}

impl Host {
    pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
    pub(crate) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

    pub(crate) fn new() -> Self {
        let host = Self { space: namespace(), outside: namespace() };
        let there = path_of(&host.outside);
        setns(&host.outside, CloneFlags::CLONE_NEWNET).unwrap();
        ip("link set lo up\n");
        host.enter();
        ip(&format!(
            "link set lo up\nlink add uplink0 type veth peer name eth0 netns {there}\n\
             address add {}/24 dev uplink0\nlink set uplink0 up\nroute add default via {}\n",
            Self::ADDRESS,
            Self::OUTSIDE
        ));
        setns(&host.outside, CloneFlags::CLONE_NEWNET).unwrap();
        ip(&format!("address add {}/24 dev eth0\nlink set eth0 up\n", Self::OUTSIDE));
        host.enter();
        host
    }

    /// Whatever this thread does or starts from now on happens on this host.
    pub(crate) fn enter(&self) {
        setns(&self.space, CloneFlags::CLONE_NEWNET).unwrap();
    }
}

/// Where other programs find a namespace that only a descriptor of this one holds.
pub(crate) fn path_of(namespace: &NetNs) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), namespace.as_fd().as_raw_fd())
}

pub(crate) fn namespace() -> NetNs {
    let made = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        fs::File::open("/proc/thread-self/ns/net").unwrap()
    });
    let made = made.join().unwrap();
    NetNs::open(Path::new(&format!("/proc/self/fd/{}", made.as_raw_fd()))).unwrap()
}

pub(crate) fn ip(script: &str) {
    command::run(Command::new("ip").args(["-batch", "-"]), script).unwrap();
}

/// Network namespaces with a name, as `ip netns` makes them.
pub(crate) mod named {
    use super::{Command, Outcome, Path, PathBuf, command};

    pub(crate) fn path(name: &str) -> PathBuf {
        Path::new("/run/netns").join(name)
    }

    /// In place of one that whoever failed before has left.
    pub(crate) fn add(name: &str) -> Outcome<()> {
        if path(name).exists() {
            delete(name)?;
        }
        command::run(Command::new("ip").args(["netns", "add", name]), "").map(drop)
    }

    pub(crate) fn delete(name: &str) -> Outcome<()> {
        command::run(Command::new("ip").args(["netns", "delete", name]), "").map(drop)
    }
}
