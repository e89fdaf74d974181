//! Kernel parameters, read and written as files below `/proc/sys`.
//!
//! `/proc/sys/net` shows the network namespace of the thread that opens it, so a caller that means another
//! namespace runs these inside [`crate::netns::NetNs::run`].

use std::ffi::CStr;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

/// Why a parameter could not be set.
#[derive(Debug, thiserror::Error)]
#[error("cannot set the kernel parameter {name} to {value}")]
pub struct SysctlError {
    /// The parameter as a path below `/proc/sys`.
    pub name: String,
    /// The value that was to be written.
    pub value: String,
    /// What the kernel said.
    #[source]
    pub source: io::Error,
}

fn path(name: &str) -> String {
    format!("/proc/sys/{name}")
}

/// A parameter's value without the final newline, or `None` where the kernel has no such parameter.
///
/// `name` is the path below `/proc/sys`, with slashes, because device names may hold dots.
///
/// # Errors
/// The file exists but cannot be read.
pub fn read(name: &str) -> io::Result<Option<String>> {
    Ok(crate::store::read_if_exists(path(name).as_ref())?
        .map(|bytes| String::from_utf8_lossy(&bytes).trim_end().to_owned()))
}

/// Sets a parameter, unless it has the value already: then a read-only `/proc/sys` is no obstacle. Returns
/// whether it was changed.
///
/// # Errors
/// The parameter does not exist or cannot be written.
pub fn set(name: &str, value: &str) -> Result<bool, SysctlError> {
    View::host().set(name, value)
}

/// Where parameters are looked up.
///
/// The kernel remembers the names that were looked up in a proc file system, those of all network namespaces in the
/// same places: below the host's `/proc`, each look-up for the thousandth container walks past the entries of all
/// others. A view of one's own has none but those that are needed, and takes them along.
#[derive(Debug)]
pub struct View(Option<OwnedFd>);

impl View {
    /// A view of one's own; the host's where that cannot be had.
    #[must_use]
    pub fn of_ones_own() -> Self {
        const NAME: &CStr = c"proc";
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let made = fsopen(NAME, FsOpenFlags::FSOPEN_CLOEXEC).and_then(|system| {
            fsconfig_create(&system)?;
            fsmount(&system, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        });
        Self(made.ok())
    }

    /// The host's own.
    #[must_use]
    pub fn host() -> Self {
        Self(None)
    }

    /// As [`set`].
    ///
    /// # Errors
    /// As [`set`].
    pub fn set(&self, name: &str, value: &str) -> Result<bool, SysctlError> {
        let error = |source| SysctlError { name: name.to_owned(), value: value.to_owned(), source };
        let mut current = String::new();
        self.open(name, OFlags::RDONLY)
            .and_then(|mut file| file.read_to_string(&mut current))
            .map_err(error)?;
        if current.trim_end() == value {
            return Ok(false);
        }
        // One write call: the kernel parses each write on its own.
        self.open(name, OFlags::WRONLY)
            .and_then(|mut file| file.write_all(value.as_bytes()))
            .map_err(error)?;
        Ok(true)
    }

    fn open(&self, name: &str, flags: OFlags) -> io::Result<std::fs::File> {
        let flags = flags | OFlags::CLOEXEC;
        let opened = match &self.0 {
            Some(proc) => openat(proc.as_fd(), format!("sys/{name}"), flags, Mode::empty()),
            None => openat(CWD, path(name), flags, Mode::empty()),
        };
        Ok(opened?.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_tells_absent_from_present() {
        assert_eq!(read("kernel/ostype").unwrap().as_deref(), Some("Linux"));
        assert_eq!(read("net/ipv4/conf/no-such-device/forwarding").unwrap(), None);
    }

    #[test]
    fn a_view_of_ones_own_shows_what_the_hosts_does() {
        for view in [View::of_ones_own(), View(None)] {
            assert!(!view.set("kernel/ostype", "Linux").unwrap());
            assert!(view.set("net/ipv4/conf/no-such-device/forwarding", "1").is_err());
        }
    }

    #[test]
    fn an_error_names_parameter_and_value() {
        let error = set("net/ipv4/conf/no-such-device/forwarding", "1").unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot set the kernel parameter net/ipv4/conf/no-such-device/forwarding to 1"
        );
        // Setting what is set needs no permission to write.
        assert!(!set("kernel/ostype", "Linux").unwrap());
    }
}
