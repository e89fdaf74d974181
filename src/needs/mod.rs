//! What mydocker needs of the host: the one list, each with what it is for and what to do where it is missing.
//!
//! Who fails for want of something takes its name and its remedy from here. `mydocker info` and `mydocker network check`
//! go through all of it beforehand: [`lacking`] asks the kernel and reads files, and changes nothing. What only shows
//! when a network is made is tried out in `network::check`, with the names from here.

mod feature;
mod host;

use std::fmt;
use std::path::PathBuf;

use nix::libc;

use crate::sys;

pub use feature::{BRIDGE, CONNTRACK, Feature, IPV6, LISTENERS, VETH, of_rules};
pub use host::{Host, ThisHost};

/// The oldest kernel that everything is known to work on: that of the oldest distribution that is still maintained.
pub const OLDEST_KERNEL: &str = "5.15";

/// The system calls that are younger than the rest, each with the first kernel that has it.
const CALLS: [(&str, i64, &str); 9] = [
    ("fsopen", libc::SYS_fsopen, "5.2"),
    ("fsmount", libc::SYS_fsmount, "5.2"),
    ("open_tree", libc::SYS_open_tree, "5.2"),
    ("move_mount", libc::SYS_move_mount, "5.2"),
    ("clone3", libc::SYS_clone3, "5.3"),
    ("pidfd_open", libc::SYS_pidfd_open, "5.3"),
    ("openat2", libc::SYS_openat2, "5.6"),
    ("close_range", libc::SYS_close_range, "5.9"),
    ("mount_setattr", libc::SYS_mount_setattr, "5.12"),
];

/// The namespaces that each container gets, by their names below `/proc/self/ns`.
const NAMESPACES: [(&str, Feature); 6] = [
    ("mnt", Feature::built_in("CONFIG_NAMESPACES")),
    ("pid", Feature::built_in("CONFIG_PID_NS")),
    ("net", Feature::built_in("CONFIG_NET_NS")),
    ("ipc", Feature::built_in("CONFIG_IPC_NS")),
    ("uts", Feature::built_in("CONFIG_UTS_NS")),
    ("cgroup", Feature::built_in("CONFIG_CGROUPS")),
];

/// The file systems that each container gets.
const FILE_SYSTEMS: [(&str, Feature); 6] = [
    ("overlay", Feature::new("CONFIG_OVERLAY_FS", "overlay")),
    ("proc", Feature::built_in("CONFIG_PROC_FS")),
    ("sysfs", Feature::built_in("CONFIG_SYSFS")),
    ("tmpfs", Feature::built_in("CONFIG_TMPFS")),
    ("devpts", Feature::built_in("CONFIG_UNIX98_PTYS")),
    ("mqueue", Feature::built_in("CONFIG_POSIX_MQUEUE")),
];

/// Controllers, each with the name that version 1 has for it and what cannot be done without it.
const CONTROLLERS: [(&str, &str, Feature, &str); 5] = [
    ("memory", "memory", Feature::built_in("CONFIG_MEMCG"), "memory cannot be limited"),
    ("cpu", "cpu", Feature::built_in("CONFIG_CFS_BANDWIDTH"), "processor time cannot be limited"),
    ("cpuset", "cpuset", Feature::built_in("CONFIG_CPUSETS"), "processors cannot be chosen"),
    ("pids", "pids", Feature::built_in("CONFIG_CGROUP_PIDS"), "processes cannot be limited"),
    ("io", "blkio", Feature::built_in("CONFIG_BLK_CGROUP"), "block input and output cannot be limited"),
];

/// What version 2 has without a controller.
const FREEZER: Feature = Feature::built_in("CONFIG_CGROUP_FREEZER");
const DEVICES: Feature = Feature::built_in("CONFIG_CGROUP_DEVICE");

const SECCOMP: Feature = Feature::built_in("CONFIG_SECCOMP_FILTER");
/// What restricts the devices of a group of version 2.
pub const DEVICE_PROGRAMS: Feature = Feature::built_in("CONFIG_CGROUP_BPF");

/// Where distributions mount control groups.
pub const CGROUP_ROOT: &str = "/sys/fs/cgroup";
/// `Y` where AppArmor was built in and is not switched off.
pub const APPARMOR: &str = "/sys/module/apparmor/parameters/enabled";
/// There where SELinux is in force or only reports (its file system is mounted).
pub const SELINUX: &str = "/sys/fs/selinux/enforce";
/// What a seccomp filter can answer.
const SECCOMP_ACTIONS: &str = "/proc/sys/kernel/seccomp/actions_avail";
/// Every controller that the kernel was built with: name, tree, groups, and whether it was left on at boot.
const BUILT_CONTROLLERS: &str = "/proc/cgroups";

/// How much something is missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// No container, or no network, works without it.
    Required,
    /// Some option or command does not work without it.
    Wanted,
    /// Many hosts do without it.
    Optional,
}

/// Something that the host lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// How much it is missed.
    pub weight: Weight,
    /// One word for what was looked at.
    pub subject: &'static str,
    /// What is missing, and what for.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// How the host's control groups are arranged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    /// The tree of version 2, or the first one of version 1; `None` where there is none.
    pub tree: Option<PathBuf>,
    /// Whether version 2 has all controllers.
    pub unified: bool,
    /// Whether version 2 is mounted beside version 1.
    pub beside: bool,
    /// The controllers that are there.
    pub controllers: Vec<String>,
}

/// `MAJOR.MINOR` of a kernel, whatever follows.
#[must_use]
pub fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn is_new_enough(release: &str) -> bool {
    version(release).is_some_and(|release| Some(release) >= version(OLDEST_KERNEL))
}

/// The calls that this kernel lacks, in words; for each start, so that they are tried on an old kernel only.
#[must_use]
pub fn missing_calls() -> Vec<String> {
    let host = ThisHost;
    let release = host.release();
    if release.is_empty() || is_new_enough(&release) {
        return Vec::new();
    }
    absent_calls(&host).map(|(name, since)| format!("{name} (Linux {since})")).collect()
}

/// What to do about a call that the kernel lacks.
#[must_use]
pub fn remedy_for_calls() -> String {
    remedy_for_calls_of(&ThisHost.release())
}

fn remedy_for_calls_of(release: &str) -> String {
    if is_new_enough(release) {
        "run mydocker outside of the sandbox or container whose seccomp filter hides it".to_owned()
    } else {
        format!("use Linux {OLDEST_KERNEL} or later")
    }
}

fn absent_calls(host: &dyn Host) -> impl Iterator<Item = (&'static str, &'static str)> {
    CALLS.into_iter().filter(|(_, number, _)| !host.has_call(*number)).map(|(name, _, since)| (name, since))
}

/// All that the host lacks, what is missed most first. Nothing is changed, but that the kernel may load a module.
#[must_use]
pub fn lacking(host: &dyn Host, groups: &Groups) -> Vec<Lack> {
    let mut lacks = kernel(host);
    lacks.extend(namespaces(host));
    lacks.extend(file_systems(host));
    lacks.extend(filters(host));
    lacks.extend(control_groups(host, groups));
    lacks.extend(apparmor(host));
    lacks.sort_by_key(|lack| lack.weight);
    lacks
}

fn kernel(host: &dyn Host) -> Vec<Lack> {
    let release = host.release();
    let lack =
        |weight, message| Lack { weight, subject: "kernel", message, remedy: remedy_for_calls_of(&release) };
    let absent = absent_calls(host);
    let mut lacks: Vec<Lack> = absent
        .map(|(name, since)| {
            let message = format!("the kernel has no {name} (Linux {since}), which containers need");
            lack(Weight::Required, message)
        })
        .collect();
    if lacks.is_empty() && !is_new_enough(&release) {
        let message =
            format!("Linux {release} is older than {OLDEST_KERNEL}: mydocker was never tried on it");
        lacks.push(lack(Weight::Wanted, message));
    }
    lacks
}

fn namespaces(host: &dyn Host) -> Vec<Lack> {
    let mut lacks = Vec::new();
    for (name, feature) in NAMESPACES {
        let limit = format!("user.max_{name}_namespaces");
        if !host.exists(&format!("/proc/self/ns/{name}")) {
            let message =
                format!("the kernel has no {name} namespaces ({}), which containers need", feature.option);
            lacks.push(feature.lack(Weight::Required, message, host));
        } else if host.read(&format!("/proc/sys/{}", limit.replace('.', "/"))).as_deref() == Some("0") {
            lacks.push(Lack {
                weight: Weight::Required,
                subject: "kernel",
                message: format!("{limit} is 0: no container can have a {name} namespace of its own"),
                remedy: format!("allow them with: sysctl -w {limit}=10000"),
            });
        }
    }
    lacks
}

fn file_systems(host: &dyn Host) -> Vec<Lack> {
    let absent = FILE_SYSTEMS.into_iter().filter(|(name, _)| !host.has_file_system(name));
    absent
        .map(|(name, feature)| {
            let message = format!("the kernel has no {name} ({}), which containers need", feature.option);
            feature.lack(Weight::Required, message, host)
        })
        .collect()
}

fn filters(host: &dyn Host) -> Option<Lack> {
    // Where /proc/sys is hidden from us nothing is known.
    let known = host.exists("/proc/sys/kernel/osrelease");
    (known && host.read(SECCOMP_ACTIONS).is_none()).then(|| {
        let message =
            format!("the kernel has no seccomp filters ({}), which containers need", SECCOMP.option);
        SECCOMP.lack(Weight::Required, message, host)
    })
}

fn control_groups(host: &dyn Host, groups: &Groups) -> Vec<Lack> {
    let lack = |weight, message: &str, remedy: &str| Lack {
        weight,
        subject: "cgroup",
        message: message.to_owned(),
        remedy: remedy.to_owned(),
    };
    let Some(tree) = &groups.tree else {
        return vec![lack(
            Weight::Required,
            "no control groups are mounted at /sys/fs/cgroup: no container can be started",
            "mount them with: mount -t cgroup2 cgroup2 /sys/fs/cgroup",
        )];
    };
    let mut lacks = Vec::new();
    if host.is_read_only(tree) {
        lacks.push(lack(
            Weight::Required,
            &format!("{} is read-only: no container can be started", tree.display()),
            "leave ProtectControlGroups= out of the unit that runs mydocker; in a container, run that with --privileged",
        ));
    }
    // The root of the tree has no such file.
    let kind = host.read(&tree.join("cgroup.type").to_string_lossy()).unwrap_or_default();
    if groups.unified && kind.contains("threaded") {
        lacks.push(lack(
            Weight::Required,
            &format!("the topmost control group is {kind}: no container's group can be below it"),
            "run mydocker, and the container that it is in, outside of threaded groups",
        ));
    }
    lacks.extend(devices(host, groups));
    if !groups.unified && tree.as_os_str() == CGROUP_ROOT {
        lacks.push(lack(
            Weight::Wanted,
            "all controllers of version 1 are mounted as one tree: limits cannot be set",
            "mount each in a directory of its own below /sys/fs/cgroup, or use version 2",
        ));
        return lacks;
    }
    let has = |name: &str| groups.controllers.iter().any(|known| known == name);
    let absent = CONTROLLERS.into_iter().filter(|(name, old, ..)| !has(name) && !has(old));
    lacks.extend(absent.map(|(name, old, feature, without)| {
        let own = if groups.unified { name } else { old };
        controller(host, groups, [own, old], feature, without)
    }));
    if !groups.unified && !has("freezer") {
        lacks.push(controller(host, groups, ["freezer"; 2], FREEZER, "containers cannot be paused"));
    }
    lacks
}

/// What keeps containers from the host's devices.
fn devices(host: &dyn Host, groups: &Groups) -> Option<Lack> {
    if groups.controllers.iter().any(|name| name == "devices") {
        return None;
    }
    if !groups.unified && !groups.beside {
        let without = "no container can be started: its devices could not be restricted";
        let lack = controller(host, groups, ["devices"; 2], DEVICES, without);
        return Some(Lack { weight: Weight::Required, ..lack });
    }
    (!host.takes_device_programs()).then(|| {
        let message =
            format!("the kernel cannot restrict the devices of a container ({})", DEVICE_PROGRAMS.option);
        DEVICE_PROGRAMS.lack(Weight::Required, message, host)
    })
}

/// A controller that is not there. Why that is, the kernel's own list tells, which has the names of version 1.
fn controller(
    host: &dyn Host,
    groups: &Groups,
    [name, listed]: [&'static str; 2],
    feature: Feature,
    without: &str,
) -> Lack {
    let list = host.read(BUILT_CONTROLLERS).unwrap_or_default();
    let fields = list.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let known = fields.into_iter().find(|fields| fields.first() == Some(&listed));
    let remedy = match known.as_deref() {
        None => format!("use a kernel that was built with {}", feature.option),
        Some([_, _, _, "0"]) => format!("boot with the kernel parameter cgroup_enable={listed}"),
        Some([_, "0", ..]) if groups.unified => format!(
            "let the group that mydocker runs in have it: in a unit with Delegate={name}, in a container with --cgroupns=host"
        ),
        Some(_) if groups.unified => format!(
            "a tree of version 1 holds it: unmount that, or boot with the kernel parameter cgroup_no_v1={listed}"
        ),
        Some(_) => format!(
            "mount it with: mkdir -p {CGROUP_ROOT}/{name} && mount -t cgroup -o {name} cgroup {CGROUP_ROOT}/{name}"
        ),
    };
    let message = format!("{without}: there is no controller {name}");
    Lack { weight: Weight::Wanted, subject: "cgroup", message, remedy }
}

fn apparmor(host: &dyn Host) -> Option<Lack> {
    let enabled = host.read(APPARMOR);
    if enabled.as_deref() == Some("Y") {
        return None;
    }
    let remedy = if host.exists(SELINUX) {
        "nothing, where SELinux is to confine the host's own services".to_owned()
    } else if enabled.is_some() {
        "boot with the kernel parameters apparmor=1 security=apparmor".to_owned()
    } else {
        "nothing, if no profile is wanted; else use a kernel that was built with CONFIG_SECURITY_APPARMOR"
            .to_owned()
    };
    Some(Lack {
        weight: Weight::Optional,
        subject: "apparmor",
        message: "there is no AppArmor: --security-opt apparmor=PROFILE is refused".to_owned(),
        remedy,
    })
}

#[cfg(test)]
mod tests;
