//! What there is to know of this host and of mydocker on it.

use std::path::PathBuf;

use nix::sys::utsname::uname;

use super::{EngineError, host};
use crate::container::request::modules::Modules;
use crate::container::run::usage;
use crate::needs::{self, Lack, ThisHost};
use crate::network;
use crate::store::Layout;

/// Where distributions say what they are called (os-release(5)).
const RELEASE_FILES: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];

/// What there is to know of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostInfo {
    /// The host's name.
    pub name: String,
    /// The kernel's release.
    pub kernel: String,
    /// The processor's architecture.
    pub architecture: String,
    /// The same by Go's name, which images have too.
    pub go_architecture: &'static str,
    /// The distribution.
    pub system: String,
    /// The version of its control groups; `None` where none are mounted.
    pub cgroup_version: Option<u8>,
    /// Whether AppArmor is at work.
    pub apparmor: bool,
    /// The processors that we may use.
    pub processors: usize,
    /// The bytes of its memory.
    pub memory: u64,
    /// The directory that survives a reboot.
    pub root: PathBuf,
    /// The directory that does not.
    pub run_root: PathBuf,
}

pub(super) fn host(layout: &Layout) -> Result<HostInfo, EngineError> {
    let groups = host::groups();
    let names = uname()
        .map_err(|errno| EngineError::Io { action: "ask the kernel for its name", source: errno.into() })?;
    let text = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
    let release = RELEASE_FILES.iter().find_map(|path| std::fs::read_to_string(path).ok());
    Ok(HostInfo {
        name: text(names.nodename()),
        kernel: text(names.release()),
        architecture: text(names.machine()),
        go_architecture: crate::image::architecture(),
        system: release.and_then(|text| pretty_name(&text)).unwrap_or_else(|| text(names.sysname())),
        cgroup_version: groups.tree.is_some().then_some(if groups.unified { 2 } else { 1 }),
        apparmor: Modules::of_host().apparmor,
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        memory: usage::host_memory().unwrap_or(0),
        root: layout.root().to_owned(),
        run_root: layout.run_root().to_owned(),
    })
}

pub(super) fn lacking() -> Vec<Lack> {
    let mut lacks = needs::lacking(&ThisHost, &host::groups());
    lacks.extend(network::lacking());
    lacks.sort_by_key(|lack| lack.weight);
    lacks
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
