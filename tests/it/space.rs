//! Namespaces made by threads: no process and no pinned file holds them, only the descriptors in
//! [`Namespace`]. Even a test binary that is killed leaves none behind.

use std::fs::File;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use crate::program::{Output, Program};

/// A network namespace, and for the host under test a mount namespace with it.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) name: String,
    net: File,
    mounts: Option<File>,
}

impl Namespace {
    /// A new network namespace with `lo` up.
    pub(crate) fn new(name: &str) -> Self {
        Self::make(name, false)
    }

    /// A new network namespace with `lo` up, in a mount namespace from which nothing propagates, with an
    /// empty `/run`, without anything that others have mounted there, and a `/sys` that shows this network
    /// namespace's devices.
    pub(crate) fn with_mounts(name: &str) -> Self {
        Self::make(name, true)
    }

    fn make(name: &str, with_mounts: bool) -> Self {
        let made = on_a_thread(|| {
            let mut flags = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_FS;
            if with_mounts {
                flags |= CloneFlags::CLONE_NEWNS;
            }
            unshare(flags).expect("unshare a network namespace");
            if with_mounts {
                private_mounts();
            }
            Self {
                name: name.to_owned(),
                net: File::open("/proc/thread-self/ns/net").expect("open the new network namespace"),
                mounts: with_mounts
                    .then(|| File::open("/proc/thread-self/ns/mnt").expect("open the new mount namespace")),
            }
        });
        made.ok(&["ip", "link", "set", "lo", "up"]);
        // A new namespace begins with what the machine's own has, which Docker and others switch on.
        made.set_sysctl("net/ipv4/ip_forward", "0");
        made
    }

    /// The network namespace pinned at `path`, as `within` sees the path.
    pub(crate) fn pinned(within: &Self, path: &Path) -> Self {
        let net = within.run(|| File::open(path));
        let net =
            net.unwrap_or_else(|error| panic!("open the network namespace {}: {error}", path.display()));
        Self { name: path.display().to_string(), net, mounts: None }
    }

    /// The network namespace as a path that other programs of this machine can open.
    pub(crate) fn path(&self) -> String {
        use std::os::fd::AsRawFd as _;
        format!("/proc/{}/fd/{}", std::process::id(), self.net.as_raw_fd())
    }

    /// The descriptors of the network and the mount namespace once more: as long as they are open, no other
    /// namespace gets the numbers of these.
    pub(crate) fn hold(&self) -> Vec<File> {
        let files = std::iter::once(&self.net).chain(&self.mounts);
        files.map(|file| file.try_clone().expect("another descriptor of a namespace")).collect()
    }

    /// The inode numbers that name the network and the mount namespace.
    pub(crate) fn inodes(&self) -> Vec<u64> {
        use std::os::unix::fs::MetadataExt as _;
        let files = std::iter::once(&self.net).chain(&self.mounts);
        files.map(|file| file.metadata().expect("fstat a namespace").ino()).collect()
    }

    /// Runs `work` inside, on a thread of its own. A socket that it opens belongs to the namespace for ever;
    /// a process that it starts begins its life there.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        on_a_thread(|| {
            if let Some(mounts) = &self.mounts {
                // Threads share root and working directory until they say otherwise; setns(2) demands it.
                unshare(CloneFlags::CLONE_FS).expect("unshare the working directory");
                setns(mounts, CloneFlags::CLONE_NEWNS).expect("enter the mount namespace");
            }
            setns(&self.net, CloneFlags::CLONE_NEWNET).expect("enter the network namespace");
            work()
        })
    }

    /// Runs a program inside and waits for its end.
    pub(crate) fn program(&self, command: &[&str]) -> Output {
        Program::new(command).run_in(self)
    }

    /// The Ethernet address of `device` here; `/sys` tells those of the namespace that it was mounted in.
    pub(crate) fn ethernet_address(&self, device: &str) -> String {
        let link = self.ok(&["ip", "-br", "link", "show", "dev", device]);
        link.split_whitespace().nth(2).expect("an Ethernet address").to_owned()
    }

    /// The output of a program that must succeed.
    pub(crate) fn ok(&self, command: &[&str]) -> String {
        self.program(command).ok()
    }

    /// Runs the lines of an `ip -batch` script.
    pub(crate) fn ip(&self, script: &str) {
        Program::new(&["ip", "-batch", "-"]).input(script).run_in(self).ok();
    }

    /// A kernel parameter's value, without the final newline. `name` has slashes.
    pub(crate) fn sysctl(&self, name: &str) -> String {
        let path = format!("/proc/sys/{name}");
        let value = self.run(|| std::fs::read_to_string(&path));
        value.unwrap_or_else(|error| panic!("read {path} in {}: {error}", self.name)).trim_end().to_owned()
    }

    /// Sets a kernel parameter.
    pub(crate) fn set_sysctl(&self, name: &str, value: &str) {
        let path = format!("/proc/sys/{name}");
        let written = self.run(|| std::fs::write(&path, value));
        written.unwrap_or_else(|error| panic!("write {value} to {path} in {}: {error}", self.name));
    }
}

fn on_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        scope.spawn(work).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Makes the calling thread's new mount namespace the host's: see [`Namespace::with_mounts`].
fn private_mounts() {
    let none = None::<&str>;
    let mount = |what: &str, source, target, kind, flags| {
        mount(source, target, kind, flags, none).unwrap_or_else(|errno| panic!("{what}: {errno}"));
    };
    mount("stop mount propagation", none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE);
    // The machine's containers and its named namespaces are not this host's.
    detach_all("/run");
    mount("a /run of its own", Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty());
    // A sysfs shows the network namespace of whoever mounted it. The cgroups mounted below move over.
    std::fs::create_dir("/run/cgroup").expect("a place to keep the cgroup mounts");
    mount("keep cgroups", Some("/sys/fs/cgroup"), "/run/cgroup", none, MsFlags::MS_BIND | MsFlags::MS_REC);
    mount("a /sys of its own", Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty());
    mount("restore cgroups", Some("/run/cgroup"), "/sys/fs/cgroup", none, MsFlags::MS_MOVE);
    std::fs::remove_dir("/run/cgroup").expect("the emptied place");
}

/// Takes a directory's mounts, and those below it, out of the calling thread's mount namespace.
fn detach_all(directory: &str) {
    let mounted = || {
        let table = std::fs::read_to_string("/proc/thread-self/mountinfo").expect("the mount table");
        let mut targets: Vec<_> =
            table.lines().filter_map(|line| line.split(' ').nth(4)).map(plain).collect();
        targets.retain(|target| Path::new(target).starts_with(directory));
        targets
    };
    loop {
        let targets = mounted();
        // One that is covered by another is reached in the next round. What its owner takes away meanwhile is gone
        // here as well.
        let detach =
            |target: &String| umount2(target.as_str(), MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
        let detached = targets.iter().rev().filter(|target| detach(target).is_ok()).count();
        if targets.is_empty() {
            return;
        }
        assert!(detached > 0 || mounted() != targets, "these mounts cannot be detached: {targets:?}");
    }
}

/// A path as it is, from how mount tables show it.
pub(crate) fn plain(shown: &str) -> String {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.iter().fold(shown.to_owned(), |path, (escape, character)| path.replace(escape, character))
}
