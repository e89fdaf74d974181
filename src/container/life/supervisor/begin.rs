//! What a process does to become a supervisor.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixListener, UnixStream};

use super::stop::watched_signals;
use super::{SOCKET, SupervisorError, failed};
use crate::container::run::terminal;
use crate::names::ContainerId;
use crate::store::Layout;

/// Makes this process independent of the one that started it: a session of its own, no terminal, no
/// directory held, and standard input is nothing. Returns the connection that standard input was.
///
/// # Errors
/// Standard input is not a socket, or a system call fails that never does.
pub fn begin() -> Result<UnixStream, SupervisorError> {
    let stdin = io::stdin();
    let connection = stdin.as_fd().try_clone_to_owned().map_err(failed("keep the connection"))?;
    let nothing = File::open("/dev/null").map_err(failed("open /dev/null"))?;
    // Were it kept as standard input as well, the client would never see it close.
    nix::unistd::dup2_stdin(&nothing).map_err(failed("let go of standard input"))?;
    // A process that leads a group already cannot make a session, and has one to itself anyway.
    nix::unistd::setsid().ok();
    // One that comes while the container is being started counts once it runs.
    watched_signals().thread_block().map_err(failed("block signals"))?;
    std::env::set_current_dir("/").map_err(failed("leave the directory"))?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    // Started from a descriptor, it would be called by a number; only for listings.
    nix::sys::prctl::set_name(c"mydocker").ok();
    Ok(UnixStream::from(connection))
}

/// Lets go of the standard error that this process has from its client.
///
/// # Errors
/// A system call fails that never does.
pub fn let_go_of_stderr() -> Result<(), SupervisorError> {
    let nothing = File::open("/dev/null").map_err(failed("open /dev/null"))?;
    nix::unistd::dup2_stderr(&nothing).map_err(failed("let go of standard error"))
}

/// Makes the socket through which clients reach the container's supervisor.
///
/// # Errors
/// The container's run directory is not there, or the socket cannot be made in it.
pub fn listen(layout: &Layout, id: &ContainerId) -> Result<UnixListener, SupervisorError> {
    terminal::listen(&layout.container_run(id), SOCKET).map_err(failed("listen for clients"))
}
