//! What the user asked a container to be. Every part is checked when it is made, so a [`Config`] that
//! exists is valid in itself; only the host decides whether it can be run.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::container::request::cgroup_parent::CgroupParent;
use crate::container::request::device::Devices;
use crate::container::request::health::{HealthCheck, OnFailure};
use crate::container::request::limits::{Bytes, Limits};
use crate::container::request::log;
use crate::container::request::mounts::{Mount, VolumesFrom};
use crate::container::request::resolution::Resolution;
use crate::container::request::restart::RestartPolicy;
use crate::container::request::security::Security;
use crate::container::request::signal::Signal;
use crate::container::request::ulimit::Ulimit;
use crate::names::Digest;

/// The seconds Docker gives a container between the stop signal and `SIGKILL`.
pub const DEFAULT_STOP_TIMEOUT: u32 = 10;

/// The longest host name the kernel takes (`__NEW_UTS_LEN`).
const HOSTNAME_MAX: usize = 64;

/// Why a part of a request was refused. The text is complete.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// There is nothing to run.
    #[error("no command given, and the image has none")]
    NoCommand,
    /// The kernel ends strings at a NUL byte.
    #[error("{what} must not contain a NUL byte")]
    Nul {
        /// Which string.
        what: &'static str,
    },
    /// Not `NAME=VALUE`.
    #[error("\"{0}\" is not an environment variable: expected NAME=VALUE")]
    EnvVar(String),
    /// Not a name that the kernel or DNS takes.
    #[error("\"{0}\" is not a host name: expected 1 to 64 letters, digits, '-' and '.'")]
    Hostname(String),
    /// A path in the container that does not start at its root.
    #[error("\"{0}\" is not an absolute path")]
    RelativePath(PathBuf),
    /// Not `USER[:GROUP]`.
    #[error("\"{0}\" is not a user: expected NAME or UID, and optionally :GROUP or :GID")]
    User(String),
}

/// What a container is asked to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The image as the user wrote it.
    pub image: String,
    /// The read-only directories below the container's own layer, topmost first.
    pub layers: Vec<PathBuf>,
    /// The program and its arguments.
    pub command: Argv,
    /// The environment, in order; a later entry for the same name wins.
    pub env: Vec<EnvVar>,
    /// The host name; without one the first twelve digits of the id.
    pub hostname: Option<Hostname>,
    /// Where the command starts; without one `/`. Made if it is missing.
    pub working_dir: Option<ContainerPath>,
    /// The user that the command runs as; without one, root.
    pub user: Option<UserSpec>,
    /// Whether the container gets a terminal.
    pub tty: bool,
    /// Whether standard input is kept open for clients; without it the container reads `/dev/null`.
    pub open_stdin: bool,
    /// Whether standard input is closed when the client that feeds it ends or leaves.
    pub stdin_once: bool,
    /// Whether the container is removed when it ends.
    pub auto_remove: bool,
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
    /// The signal that asks the container to end.
    pub stop_signal: Signal,
    /// The seconds between that signal and `SIGKILL`.
    pub stop_timeout: u32,
    /// Everything that most containers leave at its default.
    #[serde(default)]
    pub settings: Settings,
}

/// What most containers leave at its default. What a record does not mention has that default, too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The image's id; a directory has none.
    pub image_id: Option<Digest>,
    /// The ports that it listens on, as `PORT/PROTOCOL`, whether they are published or not.
    pub exposed: Vec<String>,
    /// The first words of the command, as far as they are the entry point's.
    pub entrypoint: Vec<String>,
    /// Groups of the command's user beside its own, by name or number.
    pub groups: Vec<String>,
    /// The NIS domain name.
    pub domainname: Option<Hostname>,
    /// Whether the root file system is read-only.
    pub read_only: bool,
    /// What is mounted besides the root and the kernel's own file systems.
    pub mounts: Vec<Mount>,
    /// Whose mounts were taken over; they are among [`Settings::mounts`] by then.
    pub volumes_from: Vec<VolumesFrom>,
    /// How large `/dev/shm` is.
    pub shm_size: Option<Bytes>,
    /// The names that it can look up, and how.
    pub resolution: Resolution,
    /// The devices that it gets.
    pub devices: Devices,
    /// What the container may do.
    pub security: Security,
    /// How much of the machine it may use.
    pub limits: Limits,
    /// The control group that its own group is made in; without one, mydocker's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup_parent: Option<CgroupParent>,
    /// Limits of each of its processes.
    pub ulimits: Vec<Ulimit>,
    /// Kernel parameters of its namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// What is kept of its output.
    pub log: log::Options,
    /// When it is started again after its end.
    pub restart: RestartPolicy,
    /// How it is checked whether it works.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthCheck>,
    /// What is done with it when it does not.
    pub on_unhealthy: OnFailure,
    /// Whether an init process of mydocker's stays beside the command and reaps orphans.
    pub init: bool,
    /// Where each start writes the pid of the first process.
    pub pidfile: Option<PathBuf>,
}

/// A program and its arguments: at least one string.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Argv(Vec<String>);

impl Argv {
    /// Checks a command.
    ///
    /// # Errors
    /// [`ConfigError::NoCommand`] without a program, [`ConfigError::Nul`] for strings that cannot be passed.
    pub fn new(words: Vec<String>) -> Result<Self, ConfigError> {
        if words.first().is_none_or(String::is_empty) {
            return Err(ConfigError::NoCommand);
        }
        if words.iter().any(|word| word.contains('\0')) {
            return Err(ConfigError::Nul { what: "a command" });
        }
        Ok(Self(words))
    }

    /// The program, by name or path.
    #[must_use]
    pub fn program(&self) -> &str {
        &self.0[0]
    }

    /// The program and its arguments.
    #[must_use]
    pub fn words(&self) -> &[String] {
        &self.0
    }
}

impl TryFrom<Vec<String>> for Argv {
    type Error = ConfigError;
    fn try_from(words: Vec<String>) -> Result<Self, ConfigError> {
        Self::new(words)
    }
}

impl From<Argv> for Vec<String> {
    fn from(command: Argv) -> Self {
        command.0
    }
}

macro_rules! text_type {
    ($type:ident) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl TryFrom<String> for $type {
            type Error = ConfigError;
            fn try_from(text: String) -> Result<Self, ConfigError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.0
            }
        }
    };
}

/// One entry of the environment: `NAME=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EnvVar(String);

text_type!(EnvVar);

impl EnvVar {
    /// The part before the first `=`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.split_once('=').map_or("", |(name, _)| name)
    }

    /// The part after the first `=`.
    #[must_use]
    pub fn value(&self) -> &str {
        self.0.split_once('=').map_or("", |(_, value)| value)
    }
}

impl FromStr for EnvVar {
    type Err = ConfigError;
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        if text.contains('\0') {
            return Err(ConfigError::Nul { what: "an environment variable" });
        }
        match text.split_once('=') {
            Some((name, _)) if !name.is_empty() => Ok(Self(text.to_owned())),
            _ => Err(ConfigError::EnvVar(text.to_owned())),
        }
    }
}

/// A host name: letters, digits, `-` and `.`, at most 64 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hostname(String);

text_type!(Hostname);

impl Hostname {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Hostname {
    type Err = ConfigError;
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        // Underscores are not DNS, but in wide use with containers.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        let edges = !text.starts_with(['-', '.']) && !text.ends_with('-');
        if text.is_empty() || text.len() > HOSTNAME_MAX || !edges || !text.bytes().all(plain) {
            return Err(ConfigError::Hostname(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

/// An absolute path inside a container, without `.` and `..`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "PathBuf", into = "PathBuf")]
pub struct ContainerPath(PathBuf);

impl ContainerPath {
    /// Checks a path; `..` is resolved by its words alone, as Docker does, and never leaves the root.
    ///
    /// # Errors
    /// [`ConfigError::RelativePath`] or [`ConfigError::Nul`].
    pub fn new(path: &Path) -> Result<Self, ConfigError> {
        if !path.is_absolute() {
            return Err(ConfigError::RelativePath(path.to_owned()));
        }
        if path.as_os_str().as_encoded_bytes().contains(&0) {
            return Err(ConfigError::Nul { what: "a path" });
        }
        let mut clean = PathBuf::from("/");
        for component in path.components() {
            match component {
                Component::Normal(name) => clean.push(name),
                Component::ParentDir => {
                    clean.pop();
                }
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
        Ok(Self(clean))
    }

    /// The path as seen inside the container.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl TryFrom<PathBuf> for ContainerPath {
    type Error = ConfigError;
    fn try_from(path: PathBuf) -> Result<Self, ConfigError> {
        Self::new(&path)
    }
}

impl From<ContainerPath> for PathBuf {
    fn from(path: ContainerPath) -> Self {
        path.0
    }
}

/// Who runs a command: `USER[:GROUP]`, each by name or number. The names are the container's, so they are
/// looked up when its root is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserSpec(String);

text_type!(UserSpec);

impl UserSpec {
    /// The user's name or number.
    #[must_use]
    pub fn user(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }

    /// The group's name or number, if one was given.
    #[must_use]
    pub fn group(&self) -> Option<&str> {
        self.0.split_once(':').map(|(_, group)| group)
    }
}

impl FromStr for UserSpec {
    type Err = ConfigError;
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let parts: Vec<&str> = text.split(':').collect();
        let plain =
            |part: &&str| !part.is_empty() && !part.contains(['\0', '\n', '/']) && !part.starts_with('-');
        if parts.len() > 2 || !parts.iter().all(plain) {
            return Err(ConfigError::User(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
pub(in crate::container) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The smallest configuration that is one.
    pub(in crate::container) fn minimal(command: &[&str]) -> Config {
        Config {
            image: "/".to_owned(),
            layers: vec![PathBuf::from("/")],
            command: Argv::new(command.iter().map(|word| (*word).to_owned()).collect()).unwrap(),
            env: Vec::new(),
            hostname: None,
            working_dir: None,
            user: None,
            tty: false,
            open_stdin: false,
            stdin_once: false,
            auto_remove: false,
            labels: BTreeMap::new(),
            stop_signal: Signal::TERM,
            stop_timeout: DEFAULT_STOP_TIMEOUT,
            settings: Settings::default(),
        }
    }

    #[test]
    fn malformed_parts_are_refused() {
        assert_eq!(Argv::new(vec![]), Err(ConfigError::NoCommand));
        assert_eq!(Argv::new(vec![String::new()]), Err(ConfigError::NoCommand));
        assert!(Argv::new(vec!["a\0".to_owned()]).is_err());
        for bad in ["", "A", "=x", "A\0=b"] {
            assert!(bad.parse::<EnvVar>().is_err(), "{bad:?} was accepted");
        }
        for bad in ["", "-a", "a-", ".a", "a b", "ä", &"a".repeat(65)] {
            assert!(bad.parse::<Hostname>().is_err(), "{bad:?} was accepted");
        }
        for bad in ["", ":", "a:", ":b", "a:b:c", "-1", "a\n"] {
            assert!(bad.parse::<UserSpec>().is_err(), "{bad:?} was accepted");
        }
        assert!(ContainerPath::new(Path::new("a/b")).is_err());
    }

    #[test]
    fn the_parts_of_well_formed_values() {
        let variable: EnvVar = "A=b=c".parse().unwrap();
        assert_eq!((variable.name(), variable.value()), ("A", "b=c"));
        let user: UserSpec = "1000:staff".parse().unwrap();
        assert_eq!((user.user(), user.group()), ("1000", Some("staff")));
        assert_eq!("root".parse::<UserSpec>().unwrap().group(), None);
        let path = ContainerPath::new(Path::new("/a/./b/../../../c")).unwrap();
        assert_eq!(path.as_path(), Path::new("/c"));
    }

    #[test]
    fn a_configuration_survives_its_file_and_refuses_unknown_members() {
        let mut config = minimal(&["sh", "-c", "true"]);
        config.env.push("A=b".parse().unwrap());
        config.user = Some("0:0".parse().unwrap());
        let mut value = serde_json::to_value(&config).unwrap();
        assert_eq!(serde_json::from_value::<Config>(value.clone()).unwrap(), config);
        value["surprise"] = serde_json::Value::Bool(true);
        assert!(serde_json::from_value::<Config>(value).is_err());
    }

    proptest! {
        #[test]
        fn a_path_never_leaves_the_root(text in "[a.]{0,3}(/|[a.]{1,3}|//){0,8}") {
            match ContainerPath::new(Path::new(&text)) {
                Ok(path) => {
                    prop_assert!(path.as_path().is_absolute());
                    let up = path.as_path().components().any(|part| part == Component::ParentDir);
                    prop_assert!(!up, "{}", path.as_path().display());
                    prop_assert_eq!(ContainerPath::new(path.as_path()).unwrap(), path);
                }
                Err(_) => prop_assert!(!text.starts_with('/')),
            }
        }

        #[test]
        fn what_is_accepted_is_kept_as_it_was_written(text in "\\PC{0,80}") {
            if let Ok(value) = text.parse::<EnvVar>() {
                prop_assert_eq!(format!("{}={}", value.name(), value.value()), text.clone());
            }
            if let Ok(value) = text.parse::<UserSpec>() {
                prop_assert_eq!(value.to_string(), text.clone());
            }
            if let Ok(value) = text.parse::<Hostname>() {
                prop_assert_eq!(value.as_str(), text);
            }
        }
    }
}
