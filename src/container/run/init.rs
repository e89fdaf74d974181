//! `--init`: a first process that stays beside the command, hands signals on to it, and reaps what others
//! leave to it. And the same beside a command that is run apart from the others, as a health check is: there it gets the
//! orphans that the command leaves, which would otherwise become zombies of the container's first process.
//!
//! It is the container's process itself, which instead of becoming the command forks it. Nothing has to be
//! put into the image for that, and nothing of mydocker can be found there: the process has closed all its files,
//! its command line and name are overwritten, its environment was empty from the start, and it is not dumpable, so
//! that its memory and its program file (which is on a read-only mount anyway) are nobody's.

use std::convert::Infallible;

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, getpid, setpgid, tcsetpgrp};

use crate::sys;

/// The name of the process, for listings.
const NAME: &str = "mydocker-init";

/// What it stays beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    /// The container's command. With the first process end all others.
    First,
    /// A command apart. Where it leaves others behind, this process stops itself (`SIGSTOP`) once the command has
    /// ended: whoever made it ends those, lets it go on, and then it ends as well.
    Apart,
}

/// Lets `become_command` run in a child of this process, and does not return in this one: it ends with the
/// command's exit status, or 128 + N if signal N ended it.
///
/// In the child, what `become_command` fails with is returned; it has to end the process after that.
///
/// # Errors
/// No process could be made, or the child's own error.
pub(super) fn run<E: From<Errno>>(
    words: &[&str],
    beside: Beside,
    become_command: impl FnOnce() -> Result<Infallible, E>,
) -> Result<Infallible, E> {
    nix::sys::prctl::set_dumpable(false)?;
    nix::sys::prctl::set_name(c"mydocker-init")?;
    let line: Vec<&str> = [NAME, "--"].into_iter().chain(words.iter().copied()).collect();
    // A kernel without it only shows less in listings.
    sys::set_command_line(&line).ok();
    // Before there is a child, so that not even the first of its signals is missed. Blocked signals reach the
    // first process of a namespace, too, for which those with their default action are void.
    SigSet::all().thread_block()?;
    if beside == Beside::Apart {
        nix::sys::prctl::set_child_subreaper(true)?;
    }
    match sys::fork()? {
        ForkResult::Child => {
            if beside == Beside::Apart {
                nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            }
            own_the_terminal();
            become_command()
        }
        ForkResult::Parent { child } => {
            // Also the connection on which the command is reported: only the child reports it.
            sys::close_from(0);
            // Only memory is at stake.
            sys::shrink_memory().ok();
            let status = look_after(child);
            if beside == Beside::Apart {
                wait_for_orphans();
            }
            sys::end_process(status)
        }
    }
}

/// Makes the command the terminal's foreground, so that its keys (ctrl-c) reach it, and it alone.
fn own_the_terminal() {
    setpgid(Pid::from_raw(0), Pid::from_raw(0)).ok();
    // SIGTTOU is blocked still. Without a terminal there is nothing to own.
    tcsetpgrp(std::io::stdin(), getpid()).ok();
}

/// Hands signals on to the command and reaps all children until the command has ended. Returns its status.
fn look_after(command: Pid) -> i32 {
    loop {
        if let Some(status) = reap(command) {
            return status;
        }
        let signal = sys::wait_for_signal();
        if signal != libc::SIGCHLD {
            // It may have ended already: then that is noticed in the next turn.
            sys::kill(command, signal).ok();
        }
    }
}

/// Waits until there are no other children, if there are any now: somebody has to end them.
fn wait_for_orphans() {
    if matches!(waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)), Err(Errno::ECHILD)) {
        return;
    }
    kill(getpid(), Signal::SIGSTOP).ok();
    while !matches!(waitpid(Pid::from_raw(-1), None), Err(Errno::ECHILD)) {}
}

/// Takes note of all children that have ended; the command's status if it is among them.
fn reap(command: Pid) -> Option<i32> {
    let mut status = None;
    loop {
        match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == command => status = Some(code),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == command => {
                status = Some(128 + signal as libc::c_int);
            }
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return status,
            Ok(_) | Err(_) => {}
        }
    }
}
