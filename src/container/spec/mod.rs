//! From a configuration to the OCI runtime specification that the library carries out: a pure function of
//! what was asked for and what was found out about the host and the image.

mod mounts;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use caps::CapsHashSet;
use libcontainer::capabilities::CapabilityExt as _;
use libcontainer::oci_spec::OciSpecError;
use libcontainer::oci_spec::runtime::{
    Capability, Linux, LinuxBuilder, LinuxCapabilities, LinuxCapabilitiesBuilder, LinuxDeviceCgroupBuilder,
    LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType, LinuxResourcesBuilder, Process,
    ProcessBuilder, RootBuilder, Spec, SpecBuilder, UserBuilder,
};

use super::cgroup::{self, Hierarchy};
use super::config::{Config, EnvVar};
use super::user::Identity;
use crate::names::ContainerId;

/// The `PATH` of a container that sets none, as Docker's.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The umask of a container: not that of who happens to start it.
const UMASK: u32 = 0o022;

/// Files of the kernel that tell about the host or its hardware.
const MASKED: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/kernel/debug",
];

/// Files of the kernel that would change the host.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What a specification depends on besides the configuration.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// The container.
    pub id: &'a ContainerId,
    /// Where its root file system is mounted.
    pub rootfs: &'a Path,
    /// Its network namespace; `None` for the host's.
    pub netns: Option<&'a Path>,
    /// As whom its command runs.
    pub identity: &'a Identity,
    /// Its capabilities.
    pub capabilities: &'a CapsHashSet,
    /// The host's control groups.
    pub hierarchy: &'a Hierarchy,
}

/// The specification of a whole container.
///
/// # Errors
/// The library's builders refuse a value.
pub fn build(config: &Config, inputs: &Inputs<'_>) -> Result<Spec, OciSpecError> {
    let task = Task {
        words: config.command.words(),
        env: environment(config, inputs.id, inputs.identity, config.tty, &[]),
        cwd: config.working_dir.as_ref().map_or(Path::new("/"), |path| path.as_path()),
        tty: config.tty,
        identity: inputs.identity,
        capabilities: inputs.capabilities,
    };
    SpecBuilder::default()
        .version("1.0.2")
        .root(RootBuilder::default().path(inputs.rootfs).readonly(false).build()?)
        .hostname(hostname(config, inputs.id))
        .process(process(&task)?)
        .mounts(mounts::build()?)
        .linux(linux(inputs)?)
        .build()
}

/// One process of a container: its first, or one that joins it.
#[derive(Debug)]
pub struct Task<'a> {
    /// The program and its arguments.
    pub words: &'a [String],
    /// Its environment.
    pub env: Vec<String>,
    /// Where it starts.
    pub cwd: &'a Path,
    /// Whether it gets a terminal.
    pub tty: bool,
    /// As whom it runs.
    pub identity: &'a Identity,
    /// Its capabilities.
    pub capabilities: &'a CapsHashSet,
}

/// The specification of one process.
///
/// # Errors
/// The library's builders refuse a value.
pub fn process(task: &Task<'_>) -> Result<Process, OciSpecError> {
    let user = UserBuilder::default()
        .uid(task.identity.uid)
        .gid(task.identity.gid)
        .umask(UMASK)
        .additional_gids(task.identity.groups.clone())
        .build()?;
    ProcessBuilder::default()
        .args(task.words.to_vec())
        .env(task.env.clone())
        .cwd(task.cwd)
        .terminal(task.tty)
        .user(user)
        .capabilities(capabilities(task.capabilities)?)
        .no_new_privileges(true)
        .build()
        .map(|mut process| {
            // The builder's defaults raise limits that the caller may not be allowed to raise.
            process.set_rlimits(None);
            process
        })
}

/// Bounding, effective and permitted; nothing is inheritable or ambient, as in Docker since CVE-2022-24769.
fn capabilities(set: &CapsHashSet) -> Result<LinuxCapabilities, OciSpecError> {
    let set: HashSet<Capability> = set.iter().map(|capability| Capability::from_cap(*capability)).collect();
    LinuxCapabilitiesBuilder::default()
        .bounding(set.clone())
        .effective(set.clone())
        .permitted(set)
        .inheritable(HashSet::new())
        .ambient(HashSet::new())
        .build()
}

/// The environment of a container's process: the container's own variables, and `extra` ones, which win.
///
/// `HOME` is always set and never empty: the library would look an unset one up through the C library, and
/// load code from the container to do so.
#[must_use]
pub fn environment(
    config: &Config,
    id: &ContainerId,
    identity: &Identity,
    tty: bool,
    extra: &[EnvVar],
) -> Vec<String> {
    let mut env = vec![PATH.to_owned(), format!("HOSTNAME={}", hostname(config, id))];
    if tty {
        env.push("TERM=xterm".to_owned());
    }
    for variable in config.env.iter().chain(extra) {
        let same = |entry: &&mut String| entry.split('=').next() == Some(variable.name());
        match env.iter_mut().find(same) {
            Some(entry) => *entry = variable.to_string(),
            None => env.push(variable.to_string()),
        }
    }
    env.retain(|entry| entry != "HOME=");
    if !env.iter().any(|entry| entry.starts_with("HOME=")) {
        env.push(format!("HOME={}", identity.home));
    }
    env
}

fn hostname<'a>(config: &'a Config, id: &'a ContainerId) -> &'a str {
    config.hostname.as_ref().map_or(id.short(), |name| name.as_str())
}

fn linux(inputs: &Inputs<'_>) -> Result<Linux, OciSpecError> {
    // Everything is denied first; the library then allows null, zero, random and the terminals.
    let no_devices = LinuxDeviceCgroupBuilder::default().allow(false).access("rwm").build()?;
    let mut read_only: Vec<String> = READ_ONLY.map(str::to_owned).into();
    if let Hierarchy::Legacy(mounts) = inputs.hierarchy {
        // The library mounts version 1 trees, and the tmpfs they are in, writable whatever the mount's options
        // say.
        read_only.push("/sys/fs/cgroup".to_owned());
        read_only.extend(mounts.iter().map(|mount| mount.display().to_string()));
    }
    LinuxBuilder::default()
        .namespaces(namespaces(inputs.netns)?)
        .cgroups_path(cgroup::path(inputs.id))
        .resources(LinuxResourcesBuilder::default().devices(vec![no_devices]).build()?)
        .rootfs_propagation("private")
        .masked_paths(MASKED.map(str::to_owned))
        .readonly_paths(read_only)
        .build()
        .map(|mut linux| {
            // Our executor loads the filter; the library ignores a section it was built without.
            linux.set_seccomp(None);
            linux
        })
}

fn namespaces(netns: Option<&Path>) -> Result<Vec<LinuxNamespace>, OciSpecError> {
    let own = [
        LinuxNamespaceType::Pid,
        LinuxNamespaceType::Ipc,
        LinuxNamespaceType::Uts,
        LinuxNamespaceType::Mount,
        LinuxNamespaceType::Cgroup,
    ];
    let mut namespaces = own
        .into_iter()
        .map(|kind| LinuxNamespaceBuilder::default().typ(kind).build())
        .collect::<Result<Vec<_>, _>>()?;
    if let Some(path) = netns {
        let network = LinuxNamespaceBuilder::default().typ(LinuxNamespaceType::Network);
        namespaces.push(network.path(PathBuf::from(path)).build()?);
    }
    Ok(namespaces)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::config::tests::minimal;

    fn identity() -> Identity {
        Identity { uid: 1000, gid: 100, groups: vec![100, 44], home: "/home/bob".into() }
    }

    fn spec(config: &Config, netns: Option<&Path>) -> serde_json::Value {
        let inputs = Inputs {
            id: &"ab".repeat(32).parse().unwrap(),
            rootfs: Path::new("/merged"),
            netns,
            identity: &identity(),
            capabilities: &[caps::Capability::CAP_CHOWN].into_iter().collect(),
            hierarchy: &Hierarchy::Legacy(vec!["/sys/fs/cgroup/devices".into()]),
        };
        serde_json::to_value(build(config, &inputs).unwrap()).unwrap()
    }

    #[test]
    fn a_container_has_its_own_namespaces_and_few_rights() {
        let spec = spec(&minimal(&["sh"]), Some(Path::new("/run/netns/x")));
        let namespaces = spec["linux"]["namespaces"].as_array().unwrap();
        let mut kinds: Vec<_> = namespaces.iter().map(|entry| entry["type"].as_str().unwrap()).collect();
        kinds.sort_unstable();
        assert_eq!(kinds, ["cgroup", "ipc", "mount", "network", "pid", "uts"]);
        assert!(namespaces.iter().any(|entry| entry["path"] == "/run/netns/x"));
        assert_eq!(spec["process"]["noNewPrivileges"], true);
        for set in ["bounding", "effective", "permitted"] {
            assert_eq!(spec["process"]["capabilities"][set], serde_json::json!(["CAP_CHOWN"]), "{set}");
        }
        for set in ["inheritable", "ambient"] {
            assert_eq!(spec["process"]["capabilities"][set], serde_json::json!([]), "{set}");
        }
        assert!(spec["process"]["rlimits"].is_null() && spec["linux"]["seccomp"].is_null());
        assert_eq!(spec["linux"]["resources"]["devices"][0]["allow"], false);
        assert_eq!(spec["linux"]["cgroupsPath"], format!("/mydocker/{}", "ab".repeat(32)));
        let read_only = spec["linux"]["readonlyPaths"].as_array().unwrap();
        assert!(read_only.iter().any(|path| path == "/sys/fs/cgroup/devices"));
        assert_eq!(spec["process"]["user"]["additionalGids"], serde_json::json!([100, 44]));
    }

    #[test]
    fn the_hosts_network_is_no_namespace() {
        let spec = spec(&minimal(&["sh"]), None);
        let namespaces = spec["linux"]["namespaces"].as_array().unwrap();
        assert!(namespaces.iter().all(|entry| entry["type"] != "network"));
    }

    #[test]
    fn the_users_variables_win_and_home_is_never_empty() {
        let mut config = minimal(&["sh"]);
        let id: ContainerId = "ab".repeat(32).parse().unwrap();
        let plain = environment(&config, &id, &identity(), false, &[]);
        assert_eq!(plain, [PATH, "HOSTNAME=abababababab", "HOME=/home/bob"]);
        config.hostname = Some("web".parse().unwrap());
        config.env = ["A=1", "PATH=/x", "HOME=", "A=2"].map(|entry| entry.parse().unwrap()).into();
        let extra: Vec<EnvVar> = ["TERM=dumb", "A=3"].map(|entry| entry.parse().unwrap()).into();
        let env = environment(&config, &id, &identity(), true, &extra);
        assert_eq!(env, ["PATH=/x", "HOSTNAME=web", "TERM=dumb", "A=3", "HOME=/home/bob"]);
    }

    #[test]
    fn the_directory_and_the_terminal_are_those_asked_for() {
        let mut config = minimal(&["sh", "-l"]);
        config.tty = true;
        config.working_dir =
            Some(crate::container::config::ContainerPath::new(Path::new("/srv/../tmp")).unwrap());
        let spec = spec(&config, None);
        assert_eq!(spec["process"]["terminal"], true);
        assert_eq!(spec["process"]["cwd"], "/tmp");
        assert_eq!(spec["process"]["args"], serde_json::json!(["sh", "-l"]));
        assert_eq!(spec["hostname"], "abababababab");
    }
}
