//! Which endpoints a container or a namespace has: found without looking through those of others.
//!
//! ```text
//! RUN_ROOT/network/containers/ID/NETWORK      → ADDRESS (a symbolic link that leads nowhere)
//! RUN_ROOT/network/namespaces/INODE/NETWORK   → ADDRESS, of a namespace that is no container's
//!                                  /.NETWORK  → ADDRESS, while the connection is being made
//! ```
//!
//! The link names the endpoint's record (`endpoint`) by its first address. It is made before the record, renamed when
//! everything is there, and removed after the record; one without such a record means nothing.

use std::io;
use std::net::IpAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::attachment::AttachmentKey;
use super::endpoint::Endpoint;
use super::namespace::Namespace;
use crate::names::{ContainerId, NetworkName};
use crate::store::{self, Layout};

/// A network that a container or namespace is connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    /// The network.
    pub(super) network: NetworkName,
    /// The address under which the endpoint's record lies.
    pub(super) address: IpAddr,
    /// Whether the connection was finished.
    pub(super) is_made: bool,
}

/// The links of one container or namespace.
#[derive(Debug)]
pub(super) struct Links {
    directory: PathBuf,
}

impl Links {
    pub(super) fn of_container(layout: &Layout, id: &ContainerId) -> Self {
        Self { directory: layout.connected_containers().join(id) }
    }

    /// Those of what another engine calls one container, in all of its networks where it is found by names.
    pub(super) fn of_other_engines(layout: &Layout, key: &AttachmentKey) -> Self {
        Self::of_container(layout, &key.container_words_id())
    }

    pub(super) fn of_namespace(layout: &Layout, namespace: &Namespace) -> Self {
        Self { directory: layout.namespaces().join(namespace.inode().to_string()) }
    }

    /// Those that the endpoint's own is one of.
    pub(super) fn with(layout: &Layout, endpoint: &Endpoint) -> Self {
        match endpoint.owner.namespace() {
            Some(namespace) => Self::of_namespace(layout, namespace),
            None => Self::of_container(layout, endpoint.owner.id()),
        }
    }

    /// Where they lie.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// All links; of a namespace, those of an earlier one of its number as well.
    pub(super) fn list(&self) -> io::Result<Vec<Link>> {
        let entries = match std::fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut links = Vec::new();
        for entry in entries {
            let entry = entry?;
            let target = match std::fs::read_link(entry.path()) {
                // Finished or removed since the listing.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                target => target?,
            };
            let name = entry.file_name().to_string_lossy().into_owned();
            let (is_made, name) = match name.strip_prefix('.') {
                Some(name) => (false, name),
                None => (true, name.as_str()),
            };
            let address = target.to_str().and_then(|address| address.parse().ok());
            if let (Ok(network), Some(address)) = (name.parse(), address) {
                links.push(Link { network, address, is_made });
            }
        }
        Ok(links)
    }

    /// The link to a network while the connection is being made.
    fn begun(&self, network: &NetworkName) -> PathBuf {
        let name: &Path = network.as_ref();
        self.directory.join(format!(".{}", name.display()))
    }

    /// Writes down the address that the endpoint is going to have.
    pub(super) fn begin(&self, network: &NetworkName, address: IpAddr) -> io::Result<()> {
        let (link, address) = (self.begun(network), address.to_string());
        match symlink(&address, &link) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                store::make_directories(&self.directory)?;
                symlink(&address, &link)
            }
            // Of a command or a run that was killed.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                store::remove_if_exists(&link)?;
                symlink(&address, &link)
            }
            other => other,
        }
    }

    /// Writes down that the endpoint with this address is there.
    pub(super) fn complete(&self, network: &NetworkName, address: IpAddr) -> io::Result<()> {
        let rename = || std::fs::rename(self.begun(network), self.directory.join(network));
        match rename() {
            // The container has ended meanwhile: then its supervisor is to see what it was too early to take down.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.begin(network, address)?;
                rename()
            }
            other => other,
        }
    }

    /// Removes the link to a network if it leads to one of these addresses: any other is that of a namespace
    /// which has had the same number before, or has it since.
    pub(super) fn forget(&self, network: &NetworkName, addresses: &[IpAddr]) -> io::Result<()> {
        for link in [self.directory.join(network), self.begun(network)] {
            let target = match std::fs::read_link(&link) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                target => target?,
            };
            if addresses.iter().any(|address| target == Path::new(&address.to_string())) {
                store::remove_if_exists(&link)?;
            }
        }
        self.remove_directory()
    }

    /// Removes the directory when it has no links any more.
    pub(super) fn remove_directory(&self) -> io::Result<()> {
        match std::fs::remove_dir(&self.directory) {
            Err(error)
                if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) =>
            {
                Err(error)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_down_is_found_until_it_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path().join("root"), directory.path().join("run"));
        let links = Links::of_container(&layout, &ContainerId::generate().unwrap());
        assert_eq!(links.list().unwrap(), []);
        let (front, address): (NetworkName, IpAddr) = ("front".parse().unwrap(), [10, 0, 0, 2].into());
        let other = [10, 0, 0, 3].into();
        // The second one finds what the first has left.
        links.begin(&front, other).unwrap();
        links.begin(&front, address).unwrap();
        let link = |is_made| Link { network: front.clone(), address, is_made };
        assert_eq!(links.list().unwrap(), [link(false)]);
        links.complete(&front, address).unwrap();
        assert_eq!(links.list().unwrap(), [link(true)]);
        links.forget(&front, &[other]).unwrap();
        assert_eq!(links.list().unwrap(), [link(true)]);
        links.forget(&front, &[address]).unwrap();
        links.forget(&front, &[address]).unwrap();
        assert!(!links.directory.exists());
        links.complete(&front, address).unwrap();
        assert_eq!(links.list().unwrap(), [link(true)]);
    }
}
