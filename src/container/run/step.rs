//! What a container's process does between its making and its command, step by step, and how it reports that to its
//! supervisor: by numbers, because a process that was cloned computes and allocates as little as it can. The
//! supervisor knows the names that go with the numbers.
//!
//! ```text
//! process ─► supervisor   READY                          it is confined, and waits
//!                         PID pid                        the process that goes on in its place
//!                         TERMINAL (descriptor)          the master of its terminal
//!                         FAILED step detail errno       it ends
//!                         end of file                    the command runs, or the process was killed
//! supervisor ─► process   GO                             become the command
//!                         end of file                    the supervisor has ended: end
//! ```

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, setsockopt, socketpair, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};
use nix::unistd::{read, write};

use crate::sys;

/// A step that can fail. Its number is its position in [`STEPS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    JoinGroup,
    OomScore,
    JoinNetwork,
    JoinIpc,
    JoinPids,
    JoinContainer,
    GroupNamespace,
    Propagation,
    Root,
    Place,
    FileSystem,
    Attach,
    Console,
    Sysctl,
    Hide,
    Protect,
    ReadOnlyRoot,
    Pivot,
    Hostname,
    Domainname,
    Terminal,
    Streams,
    Keyring,
    Limit,
    Bounding,
    Filter,
    User,
    Capabilities,
    Profile,
    Promise,
    Directory,
    Find,
    Session,
    Clone,
    Init,
    Exec,
}

const STEPS: [Step; 36] = [
    Step::JoinGroup,
    Step::OomScore,
    Step::JoinNetwork,
    Step::JoinIpc,
    Step::JoinPids,
    Step::JoinContainer,
    Step::GroupNamespace,
    Step::Propagation,
    Step::Root,
    Step::Place,
    Step::FileSystem,
    Step::Attach,
    Step::Console,
    Step::Sysctl,
    Step::Hide,
    Step::Protect,
    Step::ReadOnlyRoot,
    Step::Pivot,
    Step::Hostname,
    Step::Domainname,
    Step::Terminal,
    Step::Streams,
    Step::Keyring,
    Step::Limit,
    Step::Bounding,
    Step::Filter,
    Step::User,
    Step::Capabilities,
    Step::Profile,
    Step::Promise,
    Step::Directory,
    Step::Find,
    Step::Session,
    Step::Clone,
    Step::Init,
    Step::Exec,
];

/// A step that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) step: Step,
    /// Which of several things it is about: a position in a list that the supervisor has, too.
    pub(super) detail: usize,
    pub(super) errno: Errno,
}

/// Says which step a failure belongs to.
pub(super) trait At<T> {
    fn at(self, step: Step) -> Result<T, Failure>;
    fn at_nth(self, step: Step, detail: usize) -> Result<T, Failure>;
}

impl<T> At<T> for Result<T, Errno> {
    fn at(self, step: Step) -> Result<T, Failure> {
        self.at_nth(step, 0)
    }

    fn at_nth(self, step: Step, detail: usize) -> Result<T, Failure> {
        self.map_err(|errno| Failure { step, detail, errno })
    }
}

impl<T> At<T> for io::Result<T> {
    fn at(self, step: Step) -> Result<T, Failure> {
        self.at_nth(step, 0)
    }

    fn at_nth(self, step: Step, detail: usize) -> Result<T, Failure> {
        self.map_err(|error| errno_of(&error)).at_nth(step, detail)
    }
}

pub(super) fn errno_of(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(nix::libc::EIO))
}

/// What a process reports to its supervisor.
#[derive(Debug)]
pub(super) enum Message {
    Ready,
    Pid(i32),
    Terminal(OwnedFd),
    Failed(Failure),
}

const READY: u8 = b'r';
const PID: u8 = b'p';
const TERMINAL: u8 = b't';
const FAILED: u8 = b'f';
const GO: u8 = b'g';

/// The two ends of the connection between a supervisor and a process that it makes.
pub(super) fn channel() -> io::Result<(Supervisors, Processes)> {
    let kind = SockType::SeqPacket;
    let (ours, theirs) = socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC)?;
    Ok((Supervisors { socket: ours, patience: PollTimeout::NONE }, Processes(theirs)))
}

/// The supervisor's end.
#[derive(Debug)]
pub(in crate::container) struct Supervisors {
    socket: OwnedFd,
    /// How long it waits for each message.
    patience: PollTimeout,
}

impl Supervisors {
    /// Waits for each message at most so long from now on.
    pub(super) fn give_up_after(&mut self, patience: Duration) -> io::Result<()> {
        self.patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        // Zero would be for ever.
        let microseconds = i64::try_from(patience.as_micros()).unwrap_or(i64::MAX).max(1);
        Ok(setsockopt(&self.socket, sockopt::ReceiveTimeout, &TimeVal::microseconds(microseconds))?)
    }

    /// Waits for a message. `None`: there will be none.
    pub(super) fn receive(&self) -> io::Result<Option<Message>> {
        let mut text = [0_u8; 16];
        let (length, descriptor) = sys::receive_with_descriptor(&self.socket, &mut text)?;
        let strange = || io::Error::from(io::ErrorKind::InvalidData);
        let number = |at: usize| {
            let bytes = text.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map(i32::from_ne_bytes).ok_or_else(strange)
        };
        Ok(Some(match (text[..length].first(), descriptor) {
            (None, _) => return Ok(None),
            (Some(&READY), _) => Message::Ready,
            (Some(&PID), _) => Message::Pid(number(4)?),
            (Some(&TERMINAL), Some(descriptor)) => Message::Terminal(descriptor),
            (Some(&FAILED), _) => Message::Failed(Failure {
                step: *STEPS.get(usize::from(text[1])).ok_or_else(strange)?,
                detail: usize::from(u16::from_ne_bytes([text[2], text[3]])),
                errno: Errno::from_raw(number(4)?),
            }),
            _ => return Err(strange()),
        }))
    }

    /// Waits for a message, or the end of this process (a pidfd): true if there is something to receive. False also if it
    /// gives up.
    pub(super) fn is_readable_before_end_of(&self, process: impl AsFd) -> io::Result<bool> {
        let ready = |fds: &mut [PollFd<'_>], timeout| match poll(fds, timeout) {
            Err(Errno::EINTR) => Ok(None),
            Err(errno) => Err(io::Error::from(errno)),
            Ok(_) => Ok(Some(fds[0].any() == Some(true))),
        };
        loop {
            let socket = || PollFd::new(self.socket.as_fd(), PollFlags::POLLIN);
            let ended = PollFd::new(process.as_fd(), PollFlags::POLLIN);
            match ready(&mut [socket(), ended], self.patience)? {
                Some(true) => return Ok(true),
                // It may have said something between both looks, right before its end.
                Some(false) => return Ok(ready(&mut [socket()], PollTimeout::ZERO)? == Some(true)),
                None => {}
            }
        }
    }

    /// Lets the process become its command.
    pub(super) fn go(&self) -> io::Result<()> {
        match write(&self.socket, &[GO]) {
            // It has ended meanwhile: what is received next shows that.
            Ok(_) | Err(Errno::EPIPE) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// The process's end. It is never dropped: the process executes its command, or ends.
#[derive(Debug)]
pub(super) struct Processes(OwnedFd);

impl Processes {
    /// The end that has this number after everything was put in its place.
    pub(super) fn from_descriptor(fd: OwnedFd) -> Self {
        Self(fd)
    }

    pub(super) fn tell_ready(&self) {
        self.send([READY, 0, 0, 0], 0);
    }

    pub(super) fn tell_pid(&self, pid: i32) {
        self.send([PID, 0, 0, 0], pid);
    }

    pub(super) fn tell_failure(&self, failure: Failure) {
        let step = STEPS.iter().position(|step| *step == failure.step).unwrap_or_default();
        let [low, high] = u16::try_from(failure.detail).unwrap_or(u16::MAX).to_ne_bytes();
        self.send([FAILED, u8::try_from(step).unwrap_or_default(), low, high], failure.errno as i32);
    }

    pub(super) fn send_terminal(&self, master: BorrowedFd<'_>) -> Result<(), Errno> {
        let descriptors = [master.as_raw_fd()];
        let control = [ControlMessage::ScmRights(&descriptors)];
        let text = [IoSlice::new(&[TERMINAL])];
        sendmsg::<()>(self.0.as_raw_fd(), &text, &control, MsgFlags::empty(), None).map(drop)
    }

    fn send(&self, head: [u8; 4], number: i32) {
        let mut message = [0; 8];
        message[..4].copy_from_slice(&head);
        message[4..].copy_from_slice(&number.to_ne_bytes());
        // If the supervisor has gone, there is no one to report to. By write(2), which every seccomp profile
        // allows.
        write(&self.0, &message).ok();
    }

    /// Waits until the process may go on; false: it has to end.
    pub(super) fn may_go(&self) -> bool {
        let mut answer = [0];
        loop {
            match read(&self.0, &mut answer) {
                Err(Errno::EINTR) => {}
                answered => return answered == Ok(1) && answer[0] == GO,
            }
        }
    }
}

impl AsFd for Processes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_arrives_as_it_was_sent() {
        let (ours, theirs) = channel().unwrap();
        theirs.tell_ready();
        theirs.tell_pid(4711);
        let file = std::fs::File::open("/dev/null").unwrap();
        theirs.send_terminal(file.as_fd()).unwrap();
        for step in STEPS {
            theirs.tell_failure(Failure { step, detail: 300, errno: Errno::EXDEV });
        }
        assert!(matches!(ours.receive().unwrap(), Some(Message::Ready)));
        assert!(matches!(ours.receive().unwrap(), Some(Message::Pid(4711))));
        assert!(matches!(ours.receive().unwrap(), Some(Message::Terminal(_))));
        for step in STEPS {
            let Some(Message::Failed(failure)) = ours.receive().unwrap() else { panic!("{step:?}") };
            assert_eq!(failure, Failure { step, detail: 300, errno: Errno::EXDEV });
        }
        ours.go().unwrap();
        assert!(theirs.may_go());
        drop(theirs);
        assert!(ours.receive().unwrap().is_none());
        ours.go().unwrap();
        let (ours, theirs) = channel().unwrap();
        drop(ours);
        theirs.tell_ready();
        assert!(!theirs.may_go());
    }
}
