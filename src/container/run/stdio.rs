//! The standard streams of a container's process: pipes or a terminal, our ends and its ends.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::error::LibcontainerError;
use libcontainer::syscall::syscall::SyscallType;
use nix::fcntl::OFlag;
use nix::unistd::{Uid, fchown, pipe2};

use crate::container::run::executor::ContainerExecutor;
use crate::container::run::terminal::ConsoleSocket;
use crate::names::ContainerId;
use crate::store::Layout;
use crate::sys;

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
pub(super) struct Theirs {
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

/// Pipes for the streams of a process of the user `uid`, who may also open them anew by `/dev/stdout`.
fn pipes(open_stdin: bool, uid: u32) -> io::Result<(Streams, Theirs)> {
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

/// How a process is connected: the arguments of the library's builder, and what becomes [`Streams`].
pub(super) enum Connection {
    Pipes(Streams, Theirs),
    Terminal(ConsoleSocket),
}

impl Connection {
    /// Pipes or a terminal for a process of the user `uid`; sockets are made in `directory`.
    ///
    /// # Errors
    /// There are no more descriptors, or the socket cannot be made.
    pub(super) fn new(tty: bool, open_stdin: bool, uid: u32, directory: &Path) -> io::Result<Self> {
        if !tty {
            let (streams, theirs) = pipes(open_stdin, uid)?;
            return Ok(Self::Pipes(streams, theirs));
        }
        // Several processes may be about to join one container at the same time.
        let name = format!("console-{}.sock", std::process::id());
        Ok(Self::Terminal(ConsoleSocket::listen(directory, &name)?))
    }

    /// The library's builder for a process that is connected so.
    ///
    /// # Errors
    /// The library's own, and for lack of descriptors.
    pub(super) fn builder(
        &mut self,
        layout: &Layout,
        id: &ContainerId,
        executor: ContainerExecutor,
    ) -> Result<ContainerBuilder, LibcontainerError> {
        let builder = ContainerBuilder::new(id.to_string(), SyscallType::default())
            .with_root_path(layout.libcontainer())?
            .with_executor(executor);
        Ok(match self {
            Self::Terminal(socket) => builder.with_console_socket(Some(socket.path().to_owned())),
            Self::Pipes(_, theirs) => {
                let copy = |fd: &OwnedFd| fd.try_clone().map_err(LibcontainerError::OtherIO);
                builder
                    .with_stdin(copy(&theirs.stdin)?)
                    .with_stdout(copy(&theirs.stdout)?)
                    .with_stderr(copy(&theirs.stderr)?)
            }
        })
    }

    /// Our ends, once the process has its own.
    ///
    /// # Errors
    /// The process has sent no terminal.
    pub(super) fn finish(self, uid: u32) -> io::Result<Streams> {
        match self {
            Self::Pipes(streams, _) => Ok(streams),
            Self::Terminal(socket) => {
                let master = socket.receive()?;
                // The user opens /dev/tty's other name, too; only root could, as the kernel made it.
                fchown(sys::pty_peer(&master)?, Some(Uid::from_raw(uid)), None)?;
                Ok(Streams::Terminal(master))
            }
        }
    }
}
