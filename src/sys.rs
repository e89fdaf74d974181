//! The only module with `unsafe` code, and the only place that starts a process: system calls that no
//! library offers safely, and the one re-execution of our own binary.

#![expect(unsafe_code, reason = "the fence: each block states why it is sound, nothing outside needs any")]

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::process::{Child, Stdio};

use nix::libc;

/// A terminal's size in character cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSize {
    /// Rows of text.
    pub rows: u16,
    /// Columns of text.
    pub columns: u16,
}

/// The size of the terminal behind `fd`.
///
/// # Errors
/// `fd` is not a terminal (`ENOTTY`).
pub fn window_size(fd: impl AsFd) -> io::Result<WindowSize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one `winsize` (ioctl_tty(2)); `size` is one and outlives the call.
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    nix::errno::Errno::result(result)?;
    Ok(WindowSize { rows: size.ws_row, columns: size.ws_col })
}

/// Sets the size of the terminal behind `fd`; the foreground process group gets `SIGWINCH` if it changed.
///
/// # Errors
/// `fd` is not a terminal (`ENOTTY`).
pub fn set_window_size(fd: impl AsFd, size: WindowSize) -> io::Result<()> {
    let size = libc::winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one `winsize` (ioctl_tty(2)); `size` is one and outlives the call.
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    nix::errno::Errno::result(result)?;
    Ok(())
}

/// A descriptor that refers to the process `pid` and becomes readable when it ends (Linux 5.3).
///
/// # Errors
/// There is no such process (`ESRCH`).
pub fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open(2) takes two integers and returns a new descriptor or -1.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = nix::errno::Errno::result(result)?;
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel just returned this descriptor to us; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Starts our own binary again with `arguments`, with the three standard descriptors as given. This is the
/// only process that mydocker itself ever starts.
///
/// # Errors
/// The kernel could not start it.
pub fn spawn_self<S: AsRef<OsStr>>(
    arguments: &[S],
    stdin: Stdio,
    stdout: Stdio,
    stderr: Stdio,
) -> io::Result<Child> {
    // /proc/self/exe is the very file this process runs, even if the path it was started by now leads to
    // another one.
    #[expect(clippy::disallowed_methods, reason = "the one re-execution of our own binary")]
    let mut command = std::process::Command::new("/proc/self/exe");
    command.args(arguments).stdin(stdin).stdout(stdout).stderr(stderr).spawn()
}
