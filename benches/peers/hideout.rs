//! Where all of it happens, so that the machine sees nothing of it and keeps nothing of it.

use std::fs;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use mydocker::netns::NetNs;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::wait::{WaitStatus, wait};

use crate::command;

/// Which of the three processes of this program it is: none for the first, then these.
const STAGE: &str = "MYDOCKER_BENCH_STAGE";
const INIT: &str = "init";
const WORK: &str = "work";
/// Where the files go.
const DIRECTORY: &str = "MYDOCKER_BENCH_DIRECTORY";

/// The directories of the run.
pub(crate) struct Place {
    directory: PathBuf,
}

impl Place {
    /// A small root file system: busybox and a page.
    pub(crate) fn image(&self) -> PathBuf {
        self.directory.join("image")
    }

    /// A new directory on a disk.
    pub(crate) fn directory(&self) -> PathBuf {
        tempfile::Builder::new().disable_cleanup(true).tempdir_in(&self.directory).unwrap().path().to_owned()
    }

    /// A new directory in memory.
    pub(crate) fn run_directory() -> PathBuf {
        tempfile::tempdir_in("/run").unwrap().keep()
    }
}

/// Starts this program again, inside; `Some` is for the one that does the work.
pub(crate) fn enter() -> Option<Place> {
    match std::env::var(STAGE).as_deref() {
        Ok(WORK) => return Some(prepare(std::env::var_os(DIRECTORY).unwrap().into())),
        Ok(INIT) => be_init(),
        _ => {
            assert!(nix::unistd::geteuid().is_root(), "the benchmarks make namespaces: run them as root");
            // Removed from out here, where nothing is mounted below it whatever happens inside.
            let directory = tempfile::Builder::new().prefix("mydocker-peers-").tempdir().unwrap();
            let cgroups = missing_cgroups();
            let inside = std::thread::scope(|scope| {
                let inside = scope.spawn(|| {
                    let new = CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
                    unshare(new).unwrap();
                    again(INIT).env(DIRECTORY, directory.path()).status().unwrap()
                });
                inside.join().unwrap()
            });
            cgroups.iter().for_each(|cgroup| remove_cgroup(cgroup));
            assert!(inside.success(), "the benchmark failed: {inside}");
        }
    }
    None
}

/// Where podman will put cgroups that it never removes, as long as it has not done so before.
fn missing_cgroups() -> Vec<PathBuf> {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path());
    let all = hierarchies.chain(["/sys/fs/cgroup".into()]).map(|hierarchy| hierarchy.join("libpod_parent"));
    all.filter(|cgroup| !cgroup.exists()).collect()
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
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), None::<&str>).unwrap();
    let worker = again(WORK).spawn().unwrap();
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

fn prepare(directory: PathBuf) -> Place {
    // Locks, states and sockets of the machine's own containers are out of reach.
    for directory in ["/run", "/dev/shm", "/var/lib/cni", "/var/lib/containers", "/etc/cni/net.d"] {
        if Path::new(directory).is_dir() {
            mount(Some("tmpfs"), directory, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        }
    }
    // crun refuses to work where both versions of cgroups have controllers.
    let unified = "/sys/fs/cgroup/unified";
    if Path::new(unified).join("cgroup.controllers").exists() {
        umount2(unified, MntFlags::MNT_DETACH).unwrap();
    }
    let place = Place { directory };
    make_image(&place.image());
    place
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
    const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

    pub(crate) fn new() -> Self {
        let host = Self { space: namespace(), outside: namespace() };
        let there = format!("/proc/{}/fd/{}", std::process::id(), host.outside.as_fd().as_raw_fd());
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

fn namespace() -> NetNs {
    let made = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        fs::File::open("/proc/thread-self/ns/net").unwrap()
    });
    let made = made.join().unwrap();
    NetNs::open(Path::new(&format!("/proc/self/fd/{}", made.as_raw_fd()))).unwrap()
}

fn ip(script: &str) {
    command::run(Command::new("ip").args(["-batch", "-"]), script).unwrap();
}

/// Network namespaces with a name, as `ip netns` makes them.
pub(crate) mod named {
    use super::{Command, Path, PathBuf, command};
    use crate::tools::Outcome;

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
