//! What a container may do beyond or short of the default.

use std::fmt;
use std::str::FromStr;

use caps::Capability;
use serde::{Deserialize, Serialize};

use crate::container::request::modules::{AppArmorProfile, Modules};
use crate::container::request::namespaces::{IpcMode, Namespaces};
use crate::container::request::seccomp_profile::{Profile, ProfileError};

/// Why something about a container's rights makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecurityError {
    /// The kernel has no such capability.
    #[error("\"{0}\" is not a capability: expected a name such as NET_ADMIN, or ALL")]
    Capability(String),
    /// Not an option of `--security-opt`.
    #[error(
        "\"{0}\" is an invalid --security-opt: there are no-new-privileges[=true|false], seccomp=FILE, \
         seccomp=unconfined, apparmor=PROFILE, apparmor=unconfined, label=disable and systempaths=unconfined"
    )]
    Option(String),
    /// A profile on a host without AppArmor.
    #[error("--security-opt apparmor={0}: this host has no AppArmor that could enforce the profile")]
    NoAppArmor(AppArmorProfile),
    /// Labels on a host with SELinux, which mydocker does not set.
    #[error(
        "--security-opt label={0}: mydocker gives no SELinux labels, and SELinux is in force on this host; \
         there is only label=disable"
    )]
    Label(String),
    /// Not a kernel parameter that a container can have for itself.
    #[error("--sysctl {name}: {reason}")]
    Sysctl {
        /// The parameter.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// It is not a profile's name.
    #[error(transparent)]
    Profile(#[from] ProfileError),
}

/// A capability by the name that Docker gives it, or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum CapabilityName {
    /// Every one that there is.
    All,
    /// One.
    One(Capability),
}

impl FromStr for CapabilityName {
    type Err = SecurityError;
    fn from_str(text: &str) -> Result<Self, SecurityError> {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if name == "ALL" {
            return Ok(Self::All);
        }
        let known = format!("CAP_{name}").parse();
        known.map(Self::One).map_err(|_| SecurityError::Capability(text.to_owned()))
    }
}

impl fmt::Display for CapabilityName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("ALL"),
            Self::One(capability) => write!(f, "{capability}"),
        }
    }
}

impl TryFrom<String> for CapabilityName {
    type Error = SecurityError;
    fn try_from(text: String) -> Result<Self, SecurityError> {
        text.parse()
    }
}

impl From<CapabilityName> for String {
    fn from(name: CapabilityName) -> Self {
        name.to_string()
    }
}

/// Which system calls a container may make.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Seccomp {
    /// Those of the built-in list.
    #[default]
    Default,
    /// All.
    Unconfined,
    /// Those of a profile of the user's.
    Profile(Profile),
}

/// What a container may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Security {
    /// Whether nothing is kept from it.
    pub privileged: bool,
    /// Capabilities beyond the default.
    pub cap_add: Vec<CapabilityName>,
    /// Capabilities short of the default.
    pub cap_drop: Vec<CapabilityName>,
    /// Whether its processes may get more privileges by executing a program, such as `sudo`.
    pub new_privileges: bool,
    /// Its system calls.
    pub seccomp: Seccomp,
    /// The AppArmor profile that was asked for.
    pub apparmor: Option<AppArmorProfile>,
    /// The SELinux labels that were asked for; they have no effect.
    pub labels: Vec<String>,
    /// Whether the parts of /proc and /sys that show or change the host are visible.
    pub system_paths: bool,
    /// Its namespaces.
    pub namespaces: Namespaces,
}

impl Default for Security {
    fn default() -> Self {
        Self {
            privileged: false,
            cap_add: Vec::new(),
            cap_drop: Vec::new(),
            // As in Docker. Records from before always say what they mean.
            new_privileges: true,
            seccomp: Seccomp::default(),
            apparmor: None,
            labels: Vec::new(),
            system_paths: false,
            namespaces: Namespaces::default(),
        }
    }
}

impl Security {
    /// Whether a filter of system calls is loaded.
    #[must_use]
    pub fn is_filtered(&self) -> bool {
        !self.privileged && self.seccomp != Seccomp::Unconfined
    }

    /// Whether its processes promise never to get more privileges.
    #[must_use]
    pub fn promises(&self) -> bool {
        !self.privileged && !self.new_privileges
    }

    /// The AppArmor profile that its processes are to have: none for one that nothing is kept from, whatever it
    /// asks for.
    #[must_use]
    pub fn profile(&self) -> Option<&AppArmorProfile> {
        self.apparmor.as_ref().filter(|profile| !self.privileged && !profile.is_unconfined())
    }

    /// Whether the kernel's security modules can do what is asked of them. Where there is no SELinux, its labels
    /// have no effect, and are not looked at.
    ///
    /// # Errors
    /// [`SecurityError::NoAppArmor`] or [`SecurityError::Label`].
    pub fn check_on(&self, modules: Modules) -> Result<(), SecurityError> {
        if let Some(profile) = self.profile().filter(|_| !modules.apparmor) {
            return Err(SecurityError::NoAppArmor(profile.clone()));
        }
        match self.labels.iter().find(|label| modules.selinux && *label != "disable") {
            Some(label) => Err(SecurityError::Label(label.clone())),
            None => Ok(()),
        }
    }
}

/// Parameters of the IPC namespace (ipc_namespaces(7)) besides `fs.mqueue.*`.
const IPC_SYSCTLS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Whether a kernel parameter belongs to a namespace that the container has for itself.
///
/// # Errors
/// [`SecurityError::Sysctl`] says why not.
pub fn check_sysctl(name: &str, namespaces: &Namespaces, own_network: bool) -> Result<(), SecurityError> {
    let refused = |reason| Err(SecurityError::Sysctl { name: name.to_owned(), reason });
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/');
    if name.is_empty() || !name.bytes().all(plain) || name.split(['.', '/']).any(str::is_empty) {
        return refused("it is not the name of a kernel parameter");
    }
    let dotted = name.replace('/', ".");
    if dotted.starts_with("net.") {
        return if own_network { Ok(()) } else { refused("the network is not the container's own") };
    }
    if IPC_SYSCTLS.contains(&dotted.as_str()) || dotted.starts_with("fs.mqueue.") {
        return match namespaces.ipc {
            IpcMode::Host => refused("it is the host's with --ipc host"),
            IpcMode::Container(_) => refused("it is the other container's with --ipc container:NAME"),
            IpcMode::Private | IpcMode::Shareable | IpcMode::None => Ok(()),
        };
    }
    if matches!(dotted.as_str(), "kernel.hostname" | "kernel.domainname") {
        return refused("use --hostname or --domainname");
    }
    refused("it is the whole host's: only parameters of the network and IPC namespaces can be set")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_have_dockers_names() {
        for text in ["NET_ADMIN", "net_admin", "CAP_NET_ADMIN", "cap_net_admin"] {
            assert_eq!(text.parse(), Ok(CapabilityName::One(Capability::CAP_NET_ADMIN)), "{text}");
        }
        assert_eq!("all".parse(), Ok(CapabilityName::All));
        for bad in ["", "NET", "CAP_", "CAP_CAP_CHOWN", "ALL,NET_ADMIN"] {
            assert!(bad.parse::<CapabilityName>().is_err(), "{bad:?} was accepted");
        }
        for name in [CapabilityName::All, CapabilityName::One(Capability::CAP_BPF)] {
            assert_eq!(name.to_string().parse(), Ok(name));
        }
    }

    #[test]
    fn only_parameters_of_the_containers_own_namespaces_can_be_set() {
        let own = &Namespaces::default();
        for good in ["net.ipv4.ip_forward", "net/ipv4/ip_forward", "kernel.shmmax", "fs.mqueue.msg_max"] {
            check_sysctl(good, own, true).unwrap();
        }
        for bad in [
            "",
            ".",
            "net..x",
            "kernel.panic",
            "vm.swappiness",
            "kernel.hostname",
            "net.ipv4.\n",
            "../x",
            "fs.file-max",
        ] {
            assert!(check_sysctl(bad, own, true).is_err(), "{bad:?} was accepted");
        }
        assert!(check_sysctl("net.ipv4.ip_forward", own, false).is_err());
        let other = IpcMode::Container("ab".repeat(32).parse().unwrap());
        for (ipc, is_own) in
            [(IpcMode::Shareable, true), (IpcMode::None, true), (IpcMode::Host, false), (other, false)]
        {
            let namespaces = Namespaces { ipc, ..Namespaces::default() };
            for name in ["kernel.shmmax", "kernel/shmmax", "fs.mqueue.msg_max"] {
                assert_eq!(check_sysctl(name, &namespaces, true).is_ok(), is_own, "{name} {namespaces:?}");
            }
        }
    }

    #[test]
    fn a_filter_and_the_promise_of_no_new_privileges_come_without_each_other() {
        let plain = Security::default();
        assert!(plain.is_filtered() && !plain.promises());
        let promising = Security { new_privileges: false, ..Security::default() };
        assert!(promising.is_filtered() && promising.promises());
        let unfiltered = Security { seccomp: Seccomp::Unconfined, ..promising };
        assert!(!unfiltered.is_filtered() && unfiltered.promises());
        let privileged = Security { privileged: true, new_privileges: false, ..Security::default() };
        assert!(!privileged.is_filtered() && !privileged.promises());
    }

    #[test]
    fn records_keep_the_promise_that_was_the_default_when_they_were_written() {
        let old = r#"{"privileged":false,"cap_add":[],"cap_drop":["CAP_CHOWN"],"new_privileges":false,
            "seccomp":"default","system_paths":false,
            "namespaces":{"pid":"private","ipc":"host","uts":"private","cgroup":"private"}}"#;
        let read: Security = serde_json::from_str(old).unwrap();
        assert!(read.promises() && read.namespaces.ipc.is_host() && read.apparmor.is_none());
        // What a record does not mention has the default.
        assert_eq!(serde_json::from_str::<Security>("{}").unwrap(), Security::default());
        let mut security = Security { labels: vec!["disable".to_owned()], ..read };
        security.apparmor = Some("web".parse().unwrap());
        let written = serde_json::to_string(&security).unwrap();
        assert_eq!(serde_json::from_str::<Security>(&written).unwrap(), security);
        for bad in [r#"{"apparmor":" web"}"#, r#"{"apparmor":""}"#, r#"{"surprise":true}"#] {
            assert!(serde_json::from_str::<Security>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_a_security_module_is_asked_for_needs_the_module() {
        let (none, all) = (Modules::default(), Modules { apparmor: true, selinux: true });
        let confined =
            |profile: &str| Security { apparmor: Some(profile.parse().unwrap()), ..Security::default() };
        let web = confined("web");
        assert!(matches!(web.check_on(none), Err(SecurityError::NoAppArmor(_))));
        web.check_on(all).unwrap();
        assert_eq!(web.profile(), web.apparmor.as_ref());
        assert_eq!(confined("unconfined").profile(), None);
        confined("unconfined").check_on(none).unwrap();
        let privileged = Security { privileged: true, ..web };
        assert_eq!(privileged.profile(), None);
        privileged.check_on(none).unwrap();
        let labelled = |label: &str| Security { labels: vec![label.to_owned()], ..Security::default() };
        for label in ["disable", "type:svirt_t"] {
            labelled(label).check_on(none).unwrap();
        }
        labelled("disable").check_on(all).unwrap();
        let error = labelled("type:svirt_t").check_on(all).unwrap_err().to_string();
        assert!(error.contains("label=type:svirt_t") && error.contains("SELinux"), "{error}");
    }
}
