//! What is asked of the host in order to know what it lacks.

use std::path::Path;

use nix::sys::statvfs::{FsFlags, statvfs};
use nix::sys::utsname::uname;
use rustix::mount::{FsOpenFlags, fsopen};

use super::sys;

/// A host that answers. What cannot be found out counts as there: who needs it will be told then.
pub trait Host {
    /// The kernel's release.
    fn release(&self) -> String;
    /// Whether the kernel has a system call.
    fn has_call(&self, number: i64) -> bool;
    /// Whether the kernel knows a kind of file system.
    fn has_file_system(&self, kind: &str) -> bool;
    /// Whether programs can restrict the devices of a control group of version 2.
    fn takes_device_programs(&self) -> bool;
    /// Whether a mount is read-only.
    fn is_read_only(&self, path: &Path) -> bool;
    /// A small file without the space at its end, where it can be read.
    fn read(&self, path: &str) -> Option<String>;
    /// Whether there is such a file.
    fn exists(&self, path: &str) -> bool;
}

/// The host that we are on.
#[derive(Debug, Clone, Copy)]
pub struct ThisHost;

impl Host for ThisHost {
    fn release(&self) -> String {
        uname().map_or_else(|_| String::new(), |name| name.release().to_string_lossy().into_owned())
    }

    fn has_call(&self, number: i64) -> bool {
        sys::has_call(number)
    }

    fn has_file_system(&self, kind: &str) -> bool {
        // Opened, and not mounted. The kernel loads the module, if there is one.
        !matches!(fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC), Err(rustix::io::Errno::NODEV))
    }

    fn takes_device_programs(&self) -> bool {
        /// `r0 = 1; exit`: every use is allowed.
        const ALLOW: [sys::BpfInstruction; 2] = [
            sys::BpfInstruction { code: 0xb7, registers: 0, offset: 0, immediate: 1 },
            sys::BpfInstruction { code: 0x95, registers: 0, offset: 0, immediate: 0 },
        ];
        // Loaded, and attached to no group.
        let loaded = sys::load_device_program(&ALLOW);
        !loaded.is_err_and(|error| {
            matches!(
                error.raw_os_error(),
                Some(nix::libc::EINVAL | nix::libc::ENOSYS | nix::libc::EOPNOTSUPP)
            )
        })
    }

    fn is_read_only(&self, path: &Path) -> bool {
        statvfs(path).is_ok_and(|found| found.flags().contains(FsFlags::ST_RDONLY))
    }

    fn read(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(path).ok().map(|text| text.trim_end().to_owned())
    }

    fn exists(&self, path: &str) -> bool {
        // What cannot be looked at is there.
        !matches!(Path::new(path).try_exists(), Ok(false))
    }
}
