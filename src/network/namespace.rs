//! Network namespaces that do not belong to a container.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::sys::stat::fstat;
use serde::{Deserialize, Serialize};

use crate::names::ContainerId;
use crate::process::Process;

/// The running containers, and where the network namespace of each can be opened.
pub type Running = BTreeMap<ContainerId, PathBuf>;

/// A namespace that can be recognised later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Namespace {
    path: PathBuf,
    /// The kernel's number for it, which another one may have after its end.
    inode: u64,
    /// When its inode was made, in nanoseconds: no two of one number have the same.
    born: i64,
}

impl Namespace {
    /// The namespace behind an open file.
    ///
    /// # Errors
    /// The kernel refuses to describe the file.
    pub(super) fn of(path: &Path, file: impl AsFd) -> io::Result<Self> {
        let stat = fstat(file)?;
        Ok(Self::new(path, stat.st_ino, stat.st_ctime, stat.st_ctime_nsec))
    }

    fn new(path: &Path, inode: u64, seconds: i64, nanoseconds: i64) -> Self {
        let born = seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds);
        Self { path: path.to_owned(), inode, born }
    }

    /// Where it was found.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The kernel's number for it.
    pub(super) fn inode(&self) -> u64 {
        self.inode
    }

    /// Whether it is still to be found there.
    #[must_use]
    pub fn is_there(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|found| {
            self.is_same_as(&Self::new(&self.path, found.ino(), found.ctime(), found.ctime_nsec()))
        })
    }

    /// Whether both are one namespace, by whatever path.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.inode == other.inode && self.born == other.born
    }

    /// Whether it is that of the calling thread.
    pub(super) fn is_own(&self) -> bool {
        std::fs::metadata("/proc/thread-self/ns/net").is_ok_and(|own| own.ino() == self.inode)
    }

    /// The process that the path names, where it is `/proc/PID/ns/net`. It answers for the namespace then: that
    /// path is another namespace's when the process has ended.
    pub(super) fn process(&self) -> io::Result<Option<Process>> {
        let mut parts = self.path.strip_prefix("/proc").into_iter().flat_map(Path::iter);
        let pid = parts.next().and_then(|pid| pid.to_str()?.parse().ok());
        match pid.filter(|_| parts.eq(["ns", "net"])) {
            Some(pid) => Process::of(pid).map(Some),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn namespace(path: &Path) -> Namespace {
        Namespace::of(path, File::open(path).unwrap()).unwrap()
    }

    #[test]
    fn a_namespace_is_recognised_until_another_has_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ns");
        let make = || drop(File::options().write(true).create_new(true).open(&path).unwrap());
        make();
        let first = namespace(&path);
        assert!(first.is_there() && first.is_same_as(&namespace(&path)));
        std::fs::rename(&path, directory.path().join("elsewhere")).unwrap();
        assert!(!first.is_there());
        make();
        assert!(!first.is_there());
    }

    #[test]
    fn only_the_path_of_a_process_names_one() {
        let of = |path: &str| Namespace { path: path.into(), inode: 1, born: 1 }.process();
        let own = std::process::id();
        assert_eq!(of(&format!("/proc/{own}/ns/net")).unwrap(), Some(Process::current().unwrap()));
        for other in ["/run/netns/1", "/proc/self/ns/net", "/proc/1/fd/3", "/proc/1/ns/net/x", "/proc"] {
            assert_eq!(of(other).unwrap(), None, "{other}");
        }
        assert!(of("/proc/999999999/ns/net").is_err());
    }
}
