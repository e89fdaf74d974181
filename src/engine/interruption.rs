//! Cleans up at once after an interrupted command (Ctrl-C, SIGTERM, SIGHUP), and not only with the next command.
//!
//! A thread waits for the signal and replaces the process by our own binary. That ends all other threads, whatever they
//! are waiting for, and gives all locks back; and the process stays the one whose name temporary directories carry. When
//! they are gone it ends by the signal, so that a shell sees an interrupted program.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::thread::JoinHandle;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::pipe2;

use super::containers::Record;
use super::host::hierarchy;
use super::launch::Job;
use super::{hold_up, images};
use crate::container::life::attach;
use crate::container::life::protocol::Order;
use crate::names::ContainerId;
use crate::store::Layout;
use crate::sys;

/// The signals that end a command of the user's.
const ENDING: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// As long as it is there, interruptions clear up. Threads that are made meanwhile leave the signals to it.
pub(super) struct Watch {
    /// Closed when there is nothing to be watched any more.
    over: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
    mask: SigSet,
}

impl Watch {
    /// Begins to watch. `words` are those that our own binary is called by as a supervisor; `container` is one that is
    /// paused meanwhile. Where it cannot be watched, the next command clears up.
    pub(super) fn begin(words: &[OsString], container: Option<&ContainerId>) -> Option<Self> {
        let ignored = sys::ignored_signals().ok()?;
        // What the user lets us ignore (nohup) stays so.
        let signals: SigSet =
            ENDING.into_iter().filter(|signal| ignored >> (*signal as i32 - 1) & 1 == 0).collect();
        let received = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).ok()?;
        let (ends, over) = pipe2(OFlag::O_CLOEXEC).ok()?;
        let mask = signals.thread_swap_mask(SigmaskHow::SIG_BLOCK).ok()?;
        let (words, container) = (words.to_vec(), container.cloned());
        let wait = move || {
            loop {
                let mut fds = [
                    PollFd::new(received.as_fd(), PollFlags::POLLIN),
                    PollFd::new(ends.as_fd(), PollFlags::POLLIN),
                ];
                poll(&mut fds, PollTimeout::NONE).ok();
                let [signal, ended] = fds.map(|fd| fd.any().unwrap_or(false));
                if signal && let Ok(Some(info)) = received.read_signal() {
                    let signal = ENDING.into_iter().find(|signal| info.ssi_signo == *signal as u32);
                    return interrupt(&words, signal.unwrap_or(Signal::SIGTERM), container);
                }
                if ended {
                    return;
                }
            }
        };
        let spawned = std::thread::Builder::new().name("interruption".to_owned()).spawn(wait);
        if spawned.is_err() {
            mask.thread_set_mask().ok();
        }
        Some(Self { over: Some(over), thread: Some(spawned.ok()?), mask })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.take();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
        self.mask.thread_set_mask().ok();
    }
}

/// Replaces the process by one that clears up. Where that cannot be, it ends as it would without us.
fn interrupt(words: &[OsString], signal: Signal, container: Option<ContainerId>) {
    let replaced = || -> io::Result<()> {
        let (ours, theirs) = attach::pair()?;
        let job = Job::ClearUp { signal: signal as i32, container };
        Order { job, subscribe: false, feeds: false, size: None }.send(&ours).map_err(io::Error::other)?;
        Err(sys::exec_self(words, theirs.as_fd()))
    };
    if let Err(error) = replaced() {
        tracing::debug!(%error, "cannot clear up: the next command does");
    }
    end_by(signal);
}

/// Removes what this very process has made before it was interrupted, and ends by the signal. Returns the status of a
/// process that was ended so, where it was not.
pub(super) fn clear_up(layout: &Layout, signal: i32, container: Option<&ContainerId>) -> u8 {
    if let Some(id) = container
        && let (Ok(record), Ok(hierarchy)) = (Record::load(layout, id), hierarchy())
    {
        hold_up::go_on_if_ours(layout, hierarchy, id, &record.group());
    }
    images::store(layout).remove_own_temporaries();
    if let Ok(signal) = Signal::try_from(signal) {
        end_by(signal);
    }
    u8::try_from(128 + signal).unwrap_or(u8::MAX)
}

fn end_by(signal: Signal) {
    SigSet::from_iter([signal]).thread_unblock().ok();
    raise(signal).ok();
}
