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

#[cfg(any(test, fuzzing, doc))]
pub mod fuzz {
    //! What engines may write: see [`crate::fuzz`].
    pub use super::cni::fuzz::{configuration, configurations};
    pub use super::netavark::fuzz::{inputs, options};
}

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// The directory in which Podman's own back end finds drivers: see `make install-cni`.
const DRIVERS: &str = "netavark-plugins";
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
    /// The arguments that our own binary is started with, for what goes on when the engine has its answer.
    pub words: Vec<OsString>,
}

/// What mydocker is called as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A CNI plugin.
    Cni(cni::Plugin),
    /// Podman's network back end.
    Netavark,
    /// A driver that Podman's own back end calls for networks of that driver.
    Driver,
}

impl Role {
    /// By the program's name, or, where that is mydocker's own, by the environment; `None` for the command line.
    #[must_use]
    pub fn of(program: &OsStr, arguments: usize, environment: impl Fn(&str) -> bool) -> Option<Self> {
        let path = Path::new(program);
        let name = path.file_name()?.to_str()?;
        // There, the name is the driver's: `mydocker`, as users write it.
        if path.parent().and_then(Path::file_name).is_some_and(|directory| directory == DRIVERS) {
            return Some(Self::Driver);
        }
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
            Self::Driver => netavark::answer_as_driver(roots, arguments, &environment, || read(input)),
            Self::Netavark => netavark::answer(roots, arguments, &environment, || read(input)),
            Self::Cni(plugin) => cni::answer(plugin, roots, &environment, || read(input)),
        }
    }
}

/// Opens a file that an engine names; one that is no plain file is refused, and never waited for.
fn open(path: &str) -> io::Result<File> {
    let file =
        File::options().read(true).custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no plain file"));
    }
    Ok(file)
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
        assert_eq!(role("/usr/libexec/mydocker/netavark", 3, false), Some(Role::Netavark));
        assert_eq!(role("/usr/libexec/mydocker/netavark-plugins/mydocker", 1, false), Some(Role::Driver));
    }

    #[test]
    fn the_input_is_bounded() {
        assert_eq!(read(&b"{}"[..]).unwrap(), b"{}");
        assert!(read(io::repeat(b' ')).is_err());
    }
}
