//! Network namespaces: made, pinned to a path, entered for a moment, unpinned.
//!
//! A namespace lives as long as something refers to it: a process in it, an open descriptor, or a file it is
//! bind-mounted on (the pin). Work inside another namespace is a closure on a thread of its own that ends
//! with the call, so that no early return can leave the caller in the wrong namespace.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
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
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).map_err(pin_error)?;
        File::options().write(true).create_new(true).open(path).map_err(pin_error)?;
        let made = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| NetNsError::Create(errno.into()))?;
                let own = "/proc/thread-self/ns/net";
                mount(Some(own), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
                    .map_err(|errno| pin_error(errno.into()))
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        made.and_then(|()| Self::open(path)).inspect_err(|_| {
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
        let file = File::open(path).map_err(|source| NetNsError::Enter { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Runs `work` inside the namespace, on a thread of its own, and returns what it returns.
    ///
    /// Sockets that `work` opens stay in the namespace when they are handed out.
    ///
    /// # Errors
    /// [`NetNsError::Enter`] where the namespace cannot be entered; `work` was not run.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NetNsError> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(&self.file, CloneFlags::CLONE_NEWNET)
                    .map_err(|errno| NetNsError::Enter { path: self.path.clone(), source: errno.into() })?;
                Ok(work())
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// Runs `work` in a new namespace that ends with the call, on a thread of its own: to try something out.
///
/// # Errors
/// [`NetNsError::Create`]; `work` was not run.
pub fn run_in_new<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, NetNsError> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| NetNsError::Create(errno.into()))?;
            Ok(work())
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
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
