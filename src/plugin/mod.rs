//! mydocker in the place of other engines' network programs: what they ask for is translated into what the engine does,
//! and its results into what they expect.
//!
//! ```text
//! cni       the Container Network Interface, by environment and standard input: containerd, CRI-O, nerdctl, Podman 4
//! netavark  the program by which Podman makes its networks
//! ports     published ports, as these engines write them
//! json      their JSON, of which names may be written in any case
//! ```
//!
#![doc = include_str!("engines.md")]

mod cni;
mod json;
mod netavark;
mod ports;

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The most that is read of what an engine says. A list of two thousand containers has a tenth of that.
const INPUT_MAX: u64 = 4 << 20;

/// What to print, and how to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The one object that the engine reads.
    pub result: String,
    /// For people.
    pub remark: String,
    /// The exit status.
    pub status: u8,
}

/// Where mydocker's files are, unless the engine says otherwise.
#[derive(Debug, Clone)]
pub struct Roots {
    /// `--root`.
    pub root: PathBuf,
    /// `--run-root`.
    pub run_root: PathBuf,
}

/// What mydocker is called as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A CNI plugin.
    Cni(cni::Plugin),
    /// Podman's network back end.
    Netavark,
}

impl Role {
    /// By the program's name, or, where that is mydocker's own, by the environment; `None` for the command line.
    #[must_use]
    pub fn of(program: &OsStr, arguments: usize, environment: impl Fn(&str) -> bool) -> Option<Self> {
        let name = Path::new(program).file_name()?.to_str()?;
        if let Some(plugin) = cni::Plugin::called(name) {
            return Some(Self::Cni(plugin));
        }
        if name == "netavark" {
            return Some(Self::Netavark);
        }
        let is_plugin = arguments == 0 && environment(cni::COMMAND);
        is_plugin.then_some(Self::Cni(cni::Plugin::Mydocker))
    }

    /// Does what the engine asks for.
    #[must_use]
    pub fn answer(
        self,
        roots: Roots,
        arguments: &[OsString],
        environment: impl Fn(&str) -> Option<String>,
        input: impl Read,
    ) -> Answer {
        match self {
            Self::Netavark => netavark::answer(roots, arguments, || read(input)),
            Self::Cni(plugin) => cni::answer(plugin, roots, &environment, || read(input)),
        }
    }
}

/// All of the input, if it is not longer than any that makes sense.
fn read(input: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input.take(INPUT_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > INPUT_MAX {
        return Err(io::Error::other(format!("it has more than {INPUT_MAX} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_follows_from_the_name_or_the_environment() {
        let role = |name: &str, arguments, set| Role::of(name.as_ref(), arguments, |_| set);
        assert_eq!(role("/usr/bin/mydocker", 0, false), None);
        assert_eq!(role("mydocker", 1, true), None);
        assert_eq!(role("/opt/cni/bin/mydocker", 0, true), Some(Role::Cni(cni::Plugin::Mydocker)));
        assert_eq!(role("/opt/cni/bin/bridge", 0, false), Some(Role::Cni(cni::Plugin::Bridge)));
    }

    #[test]
    fn the_input_is_bounded() {
        assert_eq!(read(&b"{}"[..]).unwrap(), b"{}");
        assert!(read(io::repeat(b' ')).is_err());
    }
}
