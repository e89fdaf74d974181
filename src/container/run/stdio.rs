//! The standard streams of a container's process: pipes or a terminal, our ends and its ends.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fstat, major, minor};
use nix::sys::statfs::fstatfs;
use nix::unistd::{Uid, fchown, pipe2};

use crate::sys;

/// What tells a file system of terminals (`DEVPTS_SUPER_MAGIC`, linux/magic.h).
const DEVPTS_MAGIC: i64 = 0x1cd1;

/// Our ends of a process's standard streams.
#[derive(Debug)]
pub enum Streams {
    /// Pipes.
    Pipes {
        /// Where its input is written, if it has any.
        stdin: Option<OwnedFd>,
        /// Where its output is read.
        stdout: OwnedFd,
        /// Where its error output is read.
        stderr: OwnedFd,
    },
    /// The master of its terminal.
    Terminal(OwnedFd),
}

/// The other ends, until the process has them.
#[derive(Debug)]
pub(super) struct Theirs {
    pub(super) stdin: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

/// Pipes for the streams of a process of the user `uid`, who may also open them anew by `/dev/stdout`.
pub(super) fn pipes(open_stdin: bool, uid: u32) -> io::Result<(Streams, Theirs)> {
    let owned = |fd: OwnedFd| -> io::Result<OwnedFd> {
        fchown(&fd, Some(Uid::from_raw(uid)), None)?;
        Ok(fd)
    };
    let (stdout, their_stdout) = pipe2(OFlag::O_CLOEXEC)?;
    let (stderr, their_stderr) = pipe2(OFlag::O_CLOEXEC)?;
    let (stdin, their_stdin) = if open_stdin {
        let (theirs, ours) = pipe2(OFlag::O_CLOEXEC)?;
        (Some(ours), owned(theirs)?)
    } else {
        (None, File::open("/dev/null")?.into())
    };
    let theirs = Theirs { stdin: their_stdin, stdout: owned(their_stdout)?, stderr: owned(their_stderr)? };
    Ok((Streams::Pipes { stdin, stdout, stderr }, theirs))
}

/// A new terminal in the file system of terminals whose top directory is `terminals`, for a process of the user `uid`:
/// its master, and the process's ends.
pub(super) fn terminal(terminals: impl AsFd, uid: u32) -> io::Result<(OwnedFd, Theirs)> {
    // Not blocking: what is there may be anything, in a container that others are in.
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let master = openat(terminals, "ptmx", flags | OFlag::O_NOFOLLOW, Mode::empty())?;
    let device = fstat(&master)?.st_rdev;
    if (major(device), minor(device)) != (5, 2) || fstatfs(&master)?.filesystem_type().0 != DEVPTS_MAGIC {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "/dev/pts/ptmx is no terminal"));
    }
    rustix::pty::unlockpt(&master)?;
    let stdin = sys::pty_peer(&master)?;
    // The user opens /dev/tty's other name, too; only root could, as the kernel made it.
    fchown(&stdin, Some(Uid::from_raw(uid)), None)?;
    let (stdout, stderr) = (stdin.try_clone()?, stdin.try_clone()?);
    Ok((master, Theirs { stdin, stdout, stderr }))
}
