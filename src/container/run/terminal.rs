//! The client's own terminal in raw mode, and the sockets through which it reaches a container's.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

/// A terminal that passes every key on; dropping it restores how the terminal was.
///
/// While this process is in the background, the terminal is another program's and stays as that one has it.
#[derive(Debug)]
pub struct RawMode<F: AsFd> {
    terminal: F,
    before: Termios,
    raw: Termios,
}

impl<F: AsFd> RawMode<F> {
    /// Switches `terminal` to raw mode.
    ///
    /// # Errors
    /// It is not a terminal (`ENOTTY`).
    pub fn enter(terminal: F) -> io::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        // Until the container writes there, who writes still are programs that expect lines to end as usual.
        raw.output_flags = before.output_flags;
        let mode = Self { terminal, before, raw };
        mode.renew()?;
        Ok(mode)
    }

    /// Passes output on as it is, too.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn complete(&mut self) -> io::Result<()> {
        cfmakeraw(&mut self.raw);
        self.renew()
    }

    /// Makes the terminal raw again, after it was in other hands.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn renew(&self) -> io::Result<()> {
        if is_in_background(&self.terminal) {
            return Ok(());
        }
        // Drained, so that nothing printed before is garbled; what was typed ahead is kept.
        Ok(tcsetattr(&self.terminal, SetArg::TCSADRAIN, &self.raw)?)
    }
}

/// Whether `terminal` is this process's terminal, and is at the moment used by another job of its session: one that
/// reads or sets it then is stopped by the kernel (`SIGTTIN`, `SIGTTOU`).
pub fn is_in_background(terminal: impl AsFd) -> bool {
    // Of another terminal, or none, there is no such group.
    nix::unistd::tcgetpgrp(terminal).is_ok_and(|group| group != nix::unistd::getpgrp())
}

impl<F: AsFd> Drop for RawMode<F> {
    fn drop(&mut self) {
        if !is_in_background(&self.terminal) {
            // A terminal that is gone needs nothing restored.
            tcsetattr(&self.terminal, SetArg::TCSADRAIN, &self.before).ok();
        }
    }
}

/// Binds a Unix socket `name` in `directory`, only for its owner, replacing what is there.
///
/// The address of a socket has room for 107 bytes (unix(7)), which a directory with a container's id in it
/// exceeds easily: the directory is named by its descriptor.
///
/// # Errors
/// Any refusal of the file system.
pub fn listen(directory: &Path, name: &str) -> io::Result<UnixListener> {
    crate::store::remove_if_exists(&directory.join(name))?;
    let (_open, short) = short_path(directory, name)?;
    // Nobody else can enter the directory, so that the socket's own mode may follow a moment later.
    let listener = UnixListener::bind(&short)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(directory.join(name), mode)?;
    Ok(listener)
}

/// A path to `name` in `directory` that is short, and the descriptor that it is valid with.
pub(in crate::container) fn short_path(directory: &Path, name: &str) -> io::Result<(OwnedFd, PathBuf)> {
    use std::os::fd::AsRawFd as _;
    let open = open(directory, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{name}", open.as_raw_fd()));
    Ok((open, path))
}

#[cfg(test)]
mod tests {
    use nix::pty::openpty;
    use nix::sys::termios::{LocalFlags, OutputFlags};

    use super::*;

    #[test]
    fn a_raw_terminal_is_restored() {
        let pty = openpty(None, None).unwrap();
        let is_raw = || !tcgetattr(&pty.slave).unwrap().local_flags.contains(LocalFlags::ICANON);
        let writes_raw = || !tcgetattr(&pty.slave).unwrap().output_flags.contains(OutputFlags::OPOST);
        let mut raw = RawMode::enter(&pty.slave).unwrap();
        assert!(is_raw() && !writes_raw());
        raw.complete().unwrap();
        assert!(is_raw() && writes_raw());
        tcsetattr(&pty.slave, SetArg::TCSANOW, &raw.before).unwrap();
        raw.renew().unwrap();
        assert!(is_raw() && writes_raw());
        drop(raw);
        assert!(!is_raw() && !writes_raw());
        assert!(RawMode::enter(std::fs::File::open("/dev/null").unwrap()).is_err());
    }

    #[test]
    fn a_socket_in_a_deep_directory_can_be_bound_and_reached() {
        use std::os::unix::fs::PermissionsExt as _;
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("d".repeat(100)).join("e".repeat(100));
        std::fs::create_dir_all(&deep).unwrap();
        for _ in 0..2 {
            let listener = listen(&deep, "attach.sock").unwrap();
            let (_open, path) = short_path(&deep, "attach.sock").unwrap();
            std::os::unix::net::UnixStream::connect(path).unwrap();
            listener.accept().unwrap();
        }
        let mode = std::fs::metadata(deep.join("attach.sock")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
