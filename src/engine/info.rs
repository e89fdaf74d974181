//! What there is to know of this host and of mydocker on it.

use std::path::PathBuf;

use nix::sys::utsname::uname;

use super::{Engine, EngineError};
use crate::container::run::usage;

/// Where distributions say what they are called (os-release(5)).
const RELEASE_FILES: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];

/// Controllers, and what cannot be limited without them.
const LIMITS: [(&str, &str); 5] = [
    ("memory", "memory"),
    ("cpu", "processor time"),
    ("cpuset", "processors"),
    ("pids", "processes"),
    ("io", "block input and output"),
];

/// What there is to know of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostInfo {
    /// The host's name.
    pub name: String,
    /// The kernel's release.
    pub kernel: String,
    /// The processor's architecture.
    pub architecture: String,
    /// The distribution.
    pub system: String,
    /// The version of its control groups.
    pub cgroup_version: u8,
    /// The processors that we may use.
    pub processors: usize,
    /// The bytes of its memory.
    pub memory: u64,
    /// The directory that survives a reboot.
    pub root: PathBuf,
    /// The directory that does not.
    pub run_root: PathBuf,
    /// What this host cannot do.
    pub warnings: Vec<String>,
}

impl Engine {
    /// What there is to know of this host.
    ///
    /// # Errors
    /// The host has no control groups, or does not tell its name.
    pub fn host_info(&self) -> Result<HostInfo, EngineError> {
        let hierarchy = super::hierarchy()?;
        let names = uname().map_err(|errno| EngineError::Io {
            action: "ask the kernel for its name",
            source: errno.into(),
        })?;
        let text = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
        let controllers = hierarchy.controllers();
        // Version 1 calls it otherwise.
        let has =
            |name: &str| controllers.iter().any(|known| known == name || known == "blkio" && name == "io");
        let missing = LIMITS.iter().filter(|(controller, _)| !has(controller));
        let release = RELEASE_FILES.iter().find_map(|path| std::fs::read_to_string(path).ok());
        Ok(HostInfo {
            name: text(names.nodename()),
            kernel: text(names.release()),
            architecture: text(names.machine()),
            system: release.and_then(|text| pretty_name(&text)).unwrap_or_else(|| text(names.sysname())),
            cgroup_version: hierarchy.version(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            memory: usage::host_memory().unwrap_or(0),
            root: self.layout.root().to_owned(),
            run_root: self.layout.run_root().to_owned(),
            warnings: missing
                .map(|(name, what)| format!("{what} cannot be limited: no controller {name}"))
                .collect(),
        })
    }
}

/// The value of `PRETTY_NAME` without its quotes.
fn pretty_name(release: &str) -> Option<String> {
    let value = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?.trim();
    Some(value.trim_matches(['"', '\'']).to_owned()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_tells_its_name() {
        assert_eq!(pretty_name("ID=x\nPRETTY_NAME=\"Some Linux 1\"\n").as_deref(), Some("Some Linux 1"));
        assert_eq!(pretty_name("PRETTY_NAME=Plain\n").as_deref(), Some("Plain"));
        assert_eq!(pretty_name("ID=x\nPRETTY_NAME=\n"), None);
    }
}
