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
    /// The process that the path names. As long as nothing else holds the namespace, the kernel makes its inode anew for
    /// whoever looks at it, so it is recognised by its process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    process: Option<Process>,
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
        Self { path: path.to_owned(), inode, born, process: process_of(path).ok().flatten() }
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
        let is_of_same_process = self.process.is_some() && self.process == other.process;
        self.inode == other.inode && (self.born == other.born || is_of_same_process)
    }

    /// Whether it is that of the calling thread.
    pub(super) fn is_own(&self) -> bool {
        std::fs::metadata("/proc/thread-self/ns/net").is_ok_and(|own| own.ino() == self.inode)
    }

    /// The process that the path names, where it is `/proc/PID/ns/net`. It answers for the namespace then: that
    /// path is another namespace's when the process has ended.
    pub(super) fn process(&self) -> io::Result<Option<Process>> {
        process_of(&self.path)
    }
}

fn process_of(path: &Path) -> io::Result<Option<Process>> {
    let mut parts = path.strip_prefix("/proc").into_iter().flat_map(Path::iter);
    let pid = parts.next().and_then(|pid| pid.to_str()?.parse().ok());
    match pid.filter(|_| parts.eq(["ns", "net"])) {
        Some(pid) => Process::of(pid).map(Some),
        None => Ok(None),
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
    fn the_namespace_of_a_process_is_recognised_although_its_inode_is_made_anew() {
        let own = format!("/proc/{}/ns/net", std::process::id());
        let first = namespace(own.as_ref());
        let later = Namespace { born: first.born + 1, ..first.clone() };
        assert!(later.is_same_as(&first) && later.is_there());
        let stored = serde_json::to_string(&later).unwrap();
        assert_eq!(serde_json::from_str::<Namespace>(&stored).unwrap(), later);
        let process = first.process.map(|process| Process { start_time: process.start_time + 1, ..process });
        let next = Namespace { process, ..later.clone() };
        assert!(!next.is_same_as(&first) && !next.is_there(), "the pid may be another process's by now");
        assert!(!Namespace { inode: 1, ..later }.is_same_as(&first));
    }

    #[test]
    fn only_the_path_of_a_process_names_one() {
        let of = |path: &str| process_of(path.as_ref());
        let own = std::process::id();
        assert_eq!(of(&format!("/proc/{own}/ns/net")).unwrap(), Some(Process::current().unwrap()));
        for other in ["/run/netns/1", "/proc/self/ns/net", "/proc/1/fd/3", "/proc/1/ns/net/x", "/proc"] {
            assert_eq!(of(other).unwrap(), None, "{other}");
        }
        assert!(of("/proc/999999999/ns/net").is_err());
    }
}
