//! Network namespaces that do not belong to a container, and which networks each is connected to.
//!
//! ```text
//! RUN_ROOT/network/namespaces/INODE/NETWORK   → ADDRESS (a symbolic link that leads nowhere)
//!                                  /.NETWORK  → ADDRESS, while the connection is being made
//! ```
//!
//! The link tells which endpoint record is the namespace's in that network (`endpoint`), so that nobody has to look
//! through all of them. It is made before the record, renamed when all is there, and goes after the record; one
//! without such a record means nothing.

use std::fs::DirBuilder;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use nix::sys::stat::fstat;
use serde::{Deserialize, Serialize};

use crate::names::NetworkName;
use crate::process::Process;
use crate::store::{self, Layout};

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

    fn directory(&self, layout: &Layout) -> PathBuf {
        layout.namespaces().join(self.inode.to_string())
    }

    /// What is noted of the namespace, or of an earlier one of its number; `None` if nothing ever was. From here
    /// on there is a place for more.
    pub(super) fn links(&self, layout: &Layout) -> io::Result<Vec<Link>> {
        let directory = self.directory(layout);
        match DirBuilder::new().mode(0o700).create(&directory) {
            Ok(()) => return Ok(Vec::new()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                store::make_directories(&directory)?;
                return Ok(Vec::new());
            }
            Err(error) => return Err(error),
        }
        let mut links = Vec::new();
        for entry in std::fs::read_dir(&directory)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let (is_made, name) = match name.strip_prefix('.') {
                Some(name) => (false, name.to_owned()),
                None => (true, name),
            };
            let target = std::fs::read_link(&path)?;
            let address = target.to_str().and_then(|address| address.parse().ok());
            if let (Ok(network), Some(address)) = (name.parse(), address) {
                links.push(Link { network, address, is_made });
            }
        }
        Ok(links)
    }

    /// Notes the address that the namespace is going to have.
    pub(super) fn begin(&self, layout: &Layout, network: &NetworkName, address: IpAddr) -> io::Result<()> {
        let (directory, address) = (self.directory(layout), address.to_string());
        let link = directory.join(format!(".{network}"));
        match symlink(&address, &link) {
            // Another command has just removed what an earlier namespace with this number had left there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                store::make_directories(&directory)?;
                symlink(&address, &link)
            }
            other => other,
        }
    }

    /// Notes that it has that address now.
    pub(super) fn complete(&self, layout: &Layout, network: &NetworkName) -> io::Result<()> {
        let directory = self.directory(layout);
        std::fs::rename(directory.join(format!(".{network}")), directory.join(network))
    }

    /// Removes what is noted of the network, if it is one of these addresses: any other is that of a namespace
    /// which has had the same number before, or has it since.
    pub(super) fn forget(
        &self,
        layout: &Layout,
        network: &NetworkName,
        addresses: &[IpAddr],
    ) -> io::Result<()> {
        let directory = self.directory(layout);
        for link in [directory.join(network), directory.join(format!(".{network}"))] {
            let target = match std::fs::read_link(&link) {
                Ok(target) => target,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if addresses.iter().any(|address| target == Path::new(&address.to_string())) {
                store::remove_if_exists(&link)?;
            }
        }
        match std::fs::remove_dir(&directory) {
            Err(error)
                if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) =>
            {
                Err(error)
            }
            _ => Ok(()),
        }
    }
}

/// A network that a namespace is noted to be connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    /// The network.
    pub(super) network: NetworkName,
    /// The address under which the endpoint's record lies.
    pub(super) address: IpAddr,
    /// Whether the connection was finished.
    pub(super) is_made: bool,
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

    #[test]
    fn what_is_noted_is_found_until_it_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path().join("root"), directory.path().join("run"));
        let namespace = Namespace { path: "/run/netns/x".into(), inode: 7, born: 1 };
        assert_eq!(namespace.links(&layout).unwrap(), []);
        let (front, address): (NetworkName, IpAddr) = ("front".parse().unwrap(), [10, 0, 0, 2].into());
        namespace.begin(&layout, &front, address).unwrap();
        let link = |is_made| Link { network: front.clone(), address, is_made };
        assert_eq!(namespace.links(&layout).unwrap(), [link(false)]);
        namespace.complete(&layout, &front).unwrap();
        assert_eq!(namespace.links(&layout).unwrap(), [link(true)]);
        // What an earlier namespace of the number had is gone long since, or never was.
        namespace.forget(&layout, &front, &[[10, 0, 0, 3].into()]).unwrap();
        assert_eq!(namespace.links(&layout).unwrap(), [link(true)]);
        namespace.forget(&layout, &front, &[address]).unwrap();
        namespace.forget(&layout, &front, &[address]).unwrap();
        assert!(!layout.namespaces().join("7").exists());
    }
}
