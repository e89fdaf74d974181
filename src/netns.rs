//! Network namespaces: made, pinned to a path, entered for a moment, unpinned.
//!
//! A namespace lives as long as something refers to it: a process in it, an open descriptor, or a file it is
//! bind-mounted on (the pin). Work inside another namespace is a closure, and the calling thread is back in its own
//! namespace however that ends: a process that cannot come back ends instead.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

/// Why a namespace could not be made, entered or unpinned.
#[derive(Debug, thiserror::Error)]
pub enum NetNsError {
    /// The kernel refused to make a namespace.
    #[error("cannot make a network namespace")]
    Create(#[source] io::Error),
    /// The namespace could not be mounted on its path.
    #[error("cannot pin the network namespace to {path}")]
    Pin {
        /// The file it was to be mounted on.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// There is no such file, or it is not a network namespace.
    #[error("cannot enter the network namespace {path}")]
    Enter {
        /// The file that was opened.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The pin could not be taken off.
    #[error("cannot unpin the network namespace {path}")]
    Unpin {
        /// The file it is mounted on.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// An open network namespace.
#[derive(Debug)]
pub struct NetNs {
    path: PathBuf,
    file: File,
}

impl NetNs {
    /// Makes a new namespace and pins it to `path` (the directory is created).
    ///
    /// In it, `lo` is down and there is nothing else.
    ///
    /// # Errors
    /// [`NetNsError::Create`] or [`NetNsError::Pin`]; nothing is left behind.
    pub fn create_pinned(path: &Path) -> Result<Self, NetNsError> {
        let pin_error = |source| NetNsError::Pin { path: path.to_owned(), source };
        // With the modes that ip-netns(8) gives them.
        let directory = path.parent().unwrap_or(Path::new("/"));
        DirBuilder::new().recursive(true).mode(0o755).create(directory).map_err(pin_error)?;
        File::options().write(true).create_new(true).mode(0o600).open(path).map_err(pin_error)?;
        let made = run_in_new(|| {
            mount(Some(OWN), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
                .map_err(|errno| pin_error(errno.into()))
        });
        made.and_then(|pinned| pinned).and_then(|()| Self::open(path)).inspect_err(|_| {
            // The first error is the one to report.
            std::fs::remove_file(path).ok();
        })
    }

    /// Opens the namespace at `path`: a pin or `/proc/PID/ns/net`.
    ///
    /// # Errors
    /// [`NetNsError::Enter`] where the path cannot be opened. That it is a network namespace shows when it
    /// is entered.
    pub fn open(path: &Path) -> Result<Self, NetNsError> {
        // Not blocking, in case it is a FIFO that nobody writes to.
        let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY;
        let file = File::options().read(true).custom_flags(flags).open(path);
        let file = file.map_err(|source| NetNsError::Enter { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Runs `work` inside the namespace, and returns what it returns.
    ///
    /// Sockets that `work` opens stay in the namespace when they are handed out.
    ///
    /// # Errors
    /// [`NetNsError::Enter`] where the namespace cannot be entered; `work` was not run.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> Result<T, NetNsError> {
        let _way_back = WayBack::remember()?;
        setns(&self.file, CloneFlags::CLONE_NEWNET)
            .map_err(|errno| NetNsError::Enter { path: self.path.clone(), source: errno.into() })?;
        Ok(work())
    }
}

/// Runs `work` in a new namespace, which ends with the call unless `work` pins it.
///
/// # Errors
/// [`NetNsError::Create`]; `work` was not run.
pub fn run_in_new<T>(work: impl FnOnce() -> T) -> Result<T, NetNsError> {
    let _way_back = WayBack::remember()?;
    unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| NetNsError::Create(errno.into()))?;
    Ok(work())
}

/// The network namespace of the calling thread.
const OWN: &str = "/proc/thread-self/ns/net";

/// Brings the thread back to the namespace that it was in, when it is dropped: after a panic, too.
struct WayBack(File);

impl WayBack {
    fn remember() -> Result<Self, NetNsError> {
        let own = File::open(OWN).map_err(|source| NetNsError::Enter { path: OWN.into(), source })?;
        Ok(Self(own))
    }
}

impl Drop for WayBack {
    fn drop(&mut self) {
        if let Err(errno) = setns(&self.0, CloneFlags::CLONE_NEWNET) {
            // Whatever this process did from here on would happen to the wrong namespace.
            tracing::error!(%errno, "cannot come back from another network namespace");
            std::process::abort();
        }
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Takes the pin at `path` off. The kernel destroys the namespace with everything in it once nobody else
/// refers to it. "Already gone" is success.
///
/// # Errors
/// [`NetNsError::Unpin`] for any other refusal.
pub fn unpin(path: &Path) -> Result<(), NetNsError> {
    let error = |source| NetNsError::Unpin { path: path.to_owned(), source };
    match umount2(path, MntFlags::MNT_DETACH) {
        // EINVAL: the file is there but nothing is mounted on it (killed between the two steps).
        Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => {}
        Err(errno) => return Err(error(errno.into())),
    }
    crate::store::remove_if_exists(path).map_err(error)
}
