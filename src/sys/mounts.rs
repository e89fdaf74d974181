//! What the mount calls of Linux 5.2 to 5.12 lack in the libraries.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use nix::errno::Errno;
use nix::libc;

pub use rustix::mount::MountAttrFlags as MountAttributes;

/// Changes the attributes of the mount behind `mount` and, if `recursive`, of those below it (Linux 5.12).
///
/// `propagation` is one of `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`, or 0 to leave it.
///
/// # Errors
/// `EINVAL`: it is no mount; `EPERM`: an attribute is locked.
pub fn set_mount_attributes(
    mount: BorrowedFd<'_>,
    set: MountAttributes,
    propagation: libc::c_ulong,
    recursive: bool,
) -> io::Result<()> {
    let attributes =
        libc::mount_attr { attr_set: u64::from(set.bits()), attr_clr: 0, propagation, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: mount_setattr(2) reads a NUL-terminated path and `size` bytes of one `mount_attr`; both outlive the
    // call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    Errno::result(result)?;
    Ok(())
}
