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
use tempfile::TempDir;

use crate::command;

/// Which of the three processes of this program it is: none for the first, then these.
const STAGE: &str = "MYDOCKER_BENCH_STAGE";
const INIT: &str = "init";
const WORK: &str = "work";

/// The directories of the run.
pub(crate) struct Place {
    directory: TempDir,
}

impl Place {
    /// A small root file system: busybox and a page.
    pub(crate) fn image(&self) -> PathBuf {
        self.directory.path().join("image")
    }

    /// A new directory on a disk.
    pub(crate) fn directory(&self) -> PathBuf {
        tempfile::Builder::new()
            .disable_cleanup(true)
            .tempdir_in(self.directory.path())
            .unwrap()
            .path()
            .to_owned()
    }

    /// A new directory in memory.
    pub(crate) fn run_directory() -> PathBuf {
        tempfile::Builder::new().disable_cleanup(true).tempdir_in("/run").unwrap().path().to_owned()
    }
}

/// Starts this program again, inside; `Some` is for the one that does the work.
pub(crate) fn enter() -> Option<Place> {
    match std::env::var(STAGE).as_deref() {
        Ok(WORK) => return Some(Place { directory: prepare() }),
        Ok(INIT) => be_init(),
        _ => {
            assert!(nix::unistd::geteuid().is_root(), "the benchmarks make namespaces: run them as root");
            unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID).unwrap();
            let status = again(INIT).status().unwrap();
            assert!(status.success(), "the benchmark failed: {status}");
        }
    }
    None
}

fn again(stage: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.env(STAGE, stage);
    command
}

/// The first process of the namespace: whatever loses its parent is its child, and its end is the end of all.
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

fn prepare() -> TempDir {
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
    let directory = tempfile::Builder::new().prefix("mydocker-peers-").tempdir().unwrap();
    make_image(&directory.path().join("image"));
    directory
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

    pub(crate) fn add(name: &str) -> Outcome<()> {
        command::run(Command::new("ip").args(["netns", "add", name]), "").map(drop)
    }

    pub(crate) fn delete(name: &str) -> Outcome<()> {
        command::run(Command::new("ip").args(["netns", "delete", name]), "").map(drop)
    }
}
