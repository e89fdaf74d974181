//! From a configuration to the OCI runtime specification that the library carries out: a pure function of
//! what was asked for and what was found out about the host and the image.

pub(super) mod devices;
mod mounts;
mod resources;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use caps::CapsHashSet;
use libcontainer::capabilities::CapabilityExt as _;
use libcontainer::oci_spec::OciSpecError;
use libcontainer::oci_spec::runtime::{
    Capability, Linux, LinuxBuilder, LinuxCapabilities, LinuxCapabilitiesBuilder, LinuxNamespace,
    LinuxNamespaceBuilder, LinuxNamespaceType, Process, ProcessBuilder, RootBuilder, Spec, SpecBuilder,
    UserBuilder,
};

use crate::container::request::config::{Config, EnvVar, Settings};
use crate::container::request::device::Node;
use crate::container::request::security::{Namespace, Security};
use crate::container::run::cgroup::{self, Hierarchy};
use crate::container::tree::mount_points::MountPoint;
use crate::container::tree::user::Identity;
use crate::names::ContainerId;

pub use resources::of_limits;

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

/// What Docker sets in each container's own network: there is nobody there from whom the lower ports would
/// have to be kept, and `ping` needs no capability.
const NETWORK_SYSCTLS: [(&str, &str); 2] =
    [("net.ipv4.ip_unprivileged_port_start", "0"), ("net.ipv4.ping_group_range", "0 2147483647")];

/// What a specification depends on besides the configuration.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// The container.
    pub id: &'a ContainerId,
    /// Where its root file system is mounted.
    pub rootfs: &'a Path,
    /// Its network namespace.
    pub network: Network<'a>,
    /// As whom its command runs.
    pub identity: &'a Identity,
    /// Its capabilities.
    pub capabilities: &'a CapsHashSet,
    /// The host's control groups.
    pub hierarchy: &'a Hierarchy,
    /// What is mounted in it besides the kernel's own file systems.
    pub mounts: &'a [MountPoint],
    /// The devices of the host that it gets.
    pub devices: &'a [Node],
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
        settings: &config.settings,
    };
    let mut spec = SpecBuilder::default()
        .version("1.0.2")
        .root(RootBuilder::default().path(inputs.rootfs).readonly(config.settings.read_only).build()?)
        .process(process(&task)?)
        .mounts(mounts::build(config, inputs)?)
        .linux(linux(config, inputs)?)
        .build()?;
    // With the host's names there are none to be set: they would be set for the host.
    let own_names = !config.settings.security.namespaces.uts.is_host();
    spec.set_hostname(own_names.then(|| hostname(config, inputs.id).to_owned()));
    let domain = config.settings.domainname.as_ref().filter(|_| own_names);
    spec.set_domainname(domain.map(ToString::to_string));
    Ok(spec)
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
    /// The container's other settings.
    pub settings: &'a Settings,
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
        .build()
        .and_then(|mut process| {
            // An explicit "no" makes the library fail.
            process.set_no_new_privileges(task.settings.security.promises().then_some(true));
            // The builder's defaults raise limits that the caller may not be allowed to raise.
            process.set_rlimits(resources::rlimits(&task.settings.ulimits)?);
            Ok(process)
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

/// The host name that the container has.
#[must_use]
pub fn hostname<'a>(config: &'a Config, id: &'a ContainerId) -> &'a str {
    config.hostname.as_ref().map_or(id.short(), |name| name.as_str())
}

fn linux(config: &Config, inputs: &Inputs<'_>) -> Result<Linux, OciSpecError> {
    let settings = &config.settings;
    let security = &settings.security;
    let rules = devices::rules(config, inputs.devices)?;
    let (masked, mut read_only) = paths(security, inputs.hierarchy);
    // Control groups that the user has mounted are as the user wants them.
    let groups = Path::new("/sys/fs/cgroup");
    if inputs.mounts.iter().any(|mount| groups.starts_with(&mount.destination)) {
        read_only.retain(|path| !Path::new(path).starts_with(groups));
    }
    let resources = resources::build(&settings.limits, rules, inputs.hierarchy.accounts_swap())?;
    LinuxBuilder::default()
        .namespaces(namespaces(security, inputs.network)?)
        .cgroups_path(cgroup::path(inputs.id))
        .devices(devices::nodes(inputs.devices)?)
        .resources(resources)
        .rootfs_propagation("private")
        .masked_paths(masked)
        .readonly_paths(read_only)
        .build()
        .map(|mut linux| {
            // Our executor loads the filter; the library ignores a section it was built without.
            linux.set_seccomp(None);
            let mut sysctls: HashMap<_, _> = settings.sysctls.clone().into_iter().collect();
            if matches!(inputs.network, Network::Own(_)) {
                for (name, value) in NETWORK_SYSCTLS {
                    sysctls.entry(name.to_owned()).or_insert_with(|| value.to_owned());
                }
            }
            linux.set_sysctl(Some(sysctls).filter(|list| !list.is_empty()));
            linux
        })
}

/// What is hidden, and what is shown but cannot be written.
fn paths(security: &Security, hierarchy: &Hierarchy) -> (Vec<String>, Vec<String>) {
    if security.privileged {
        return (Vec::new(), Vec::new());
    }
    let list = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
    let (masked, mut read_only): (Vec<String>, Vec<String>) =
        if security.system_paths { (Vec::new(), Vec::new()) } else { (list(&MASKED), list(&READ_ONLY)) };
    if let Hierarchy::Legacy(mounts) = hierarchy {
        // The library mounts version 1 trees, and the tmpfs they are in, writable whatever the mount's options
        // say.
        read_only.push("/sys/fs/cgroup".to_owned());
        read_only.extend(mounts.iter().map(|mount| mount.display().to_string()));
    }
    (masked, read_only)
}

fn namespaces(security: &Security, network: Network<'_>) -> Result<Vec<LinuxNamespace>, OciSpecError> {
    let of = security.namespaces;
    let kinds = [
        (LinuxNamespaceType::Pid, of.pid),
        (LinuxNamespaceType::Ipc, of.ipc),
        (LinuxNamespaceType::Uts, of.uts),
        (LinuxNamespaceType::Mount, Namespace::Private),
        (LinuxNamespaceType::Cgroup, of.cgroup),
    ];
    let mut namespaces = kinds
        .into_iter()
        .filter(|(_, namespace)| !namespace.is_host())
        .map(|(kind, _)| LinuxNamespaceBuilder::default().typ(kind).build())
        .collect::<Result<Vec<_>, _>>()?;
    if let Network::Own(path) | Network::Shared(path) = network {
        let network = LinuxNamespaceBuilder::default().typ(LinuxNamespaceType::Network);
        namespaces.push(network.path(PathBuf::from(path)).build()?);
    }
    Ok(namespaces)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::request::config::tests::minimal;

    fn identity() -> Identity {
        Identity { uid: 1000, gid: 100, groups: vec![100, 44], home: "/home/bob".into() }
    }

    fn spec(config: &Config, network: Network<'_>) -> serde_json::Value {
        let inputs = Inputs {
            id: &"ab".repeat(32).parse().unwrap(),
            rootfs: Path::new("/merged"),
            network,
            identity: &identity(),
            capabilities: &[caps::Capability::CAP_CHOWN].into_iter().collect(),
            hierarchy: &Hierarchy::Legacy(vec!["/sys/fs/cgroup/devices".into()]),
            mounts: &[],
            devices: &[],
        };
        serde_json::to_value(build(config, &inputs).unwrap()).unwrap()
    }

    #[test]
    fn a_container_has_its_own_namespaces_and_few_rights() {
        let spec = spec(&minimal(&["sh"]), Network::Own(Path::new("/run/netns/x")));
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
        assert_eq!(spec["linux"]["sysctl"]["net.ipv4.ip_unprivileged_port_start"], "0");
        assert_eq!(spec["linux"]["resources"]["devices"][0]["allow"], false);
        assert_eq!(spec["linux"]["cgroupsPath"], format!("/mydocker/{}", "ab".repeat(32)));
        let read_only = spec["linux"]["readonlyPaths"].as_array().unwrap();
        assert!(read_only.iter().any(|path| path == "/sys/fs/cgroup/devices"));
        assert_eq!(spec["process"]["user"]["additionalGids"], serde_json::json!([100, 44]));
    }

    #[test]
    fn the_hosts_network_is_no_namespace() {
        let spec = spec(&minimal(&["sh"]), Network::Host);
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
            Some(crate::container::request::config::ContainerPath::new(Path::new("/srv/../tmp")).unwrap());
        let spec = spec(&config, Network::Host);
        assert_eq!(spec["process"]["terminal"], true);
        assert_eq!(spec["process"]["cwd"], "/tmp");
        assert_eq!(spec["process"]["args"], serde_json::json!(["sh", "-l"]));
        assert_eq!(spec["hostname"], "abababababab");
    }
}
