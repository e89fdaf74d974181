//! What takes the kernel long is not waited for to its end.
//!
//! A device that is deleted is off the list of devices at once: nobody finds it any more, and nothing passes it. Then the
//! kernel waits until no processor uses it, for 20 ms and more, and whoever asked waits as long. So a copy of this process
//! asks.

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::route::{Batch, RequestError, RouteSocket};
use crate::names::IfName;
use crate::sys;

/// How often it is looked whether a device is still there: a call that takes no lock.
const LOOK: Duration = Duration::from_micros(100);
/// How long the copy is waited for. It may have to wait for the devices' lock, which the kernel has for whoever makes or
/// deletes others.
const PATIENCE: Duration = Duration::from_secs(60);

impl RouteSocket {
    /// Deletes a device of this namespace, of a veth both ends, and returns when nobody finds it any more. One that is gone
    /// already is no error. The socket serves nothing else afterwards.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn delete_behind(mut self, device: &IfName) -> Result<(), RequestError> {
        let mut batch = Batch::new();
        batch.delete_link(device);
        if !is_there(device) {
            return Ok(());
        }
        if let Ok(copy) = sys::send_from_copy(self.socket.as_fd(), &batch.bytes) {
            let begin = Instant::now();
            while begin.elapsed() < PATIENCE {
                if !is_there(device) {
                    return Ok(());
                }
                // Ended, and the device is there: the copy was killed before it asked, or the kernel refused.
                if !matches!(
                    waitpid(Pid::from_raw(copy), Some(WaitPidFlag::WNOHANG)),
                    Ok(WaitStatus::StillAlive)
                ) {
                    break;
                }
                std::thread::sleep(LOOK);
            }
        }
        // The answer to the copy may be waiting in this socket.
        self = Self::open().map_err(|source| RequestError { action: "take a request", source })?;
        match self.run(&batch) {
            Err(error) if !error.is_already_gone() => Err(error),
            _ => Ok(()),
        }
    }
}

/// Any answer but "no" is looked into by whoever deletes it.
fn is_there(device: &IfName) -> bool {
    if_nametoindex(device.as_str()) != Err(Errno::ENODEV)
}
