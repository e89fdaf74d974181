//! Whoever needs an address or a port takes it from those who have ended.
//!
//! What another engine has attached ends only with its namespace, and that has gone when two things hold: it is not at its
//! path, and the host's end of its pair is not there, which the kernel deletes with the namespace. The path alone tells
//! nothing: it may be that of a process which ends before the namespace does, or one that only another mount namespace has.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::devices::Devices;
use super::endpoint::Endpoint;
use super::error::NetworkError;
use crate::store::{Lock, LockKind};

/// How long a device is waited for whose namespace is not at its path: the kernel deletes it a while after the namespace.
/// And how long a lock is tried for.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it is looked for meanwhile.
const LOOK: Duration = Duration::from_millis(20);

impl Devices {
    /// Those of these endpoints whose owners have ended.
    pub(super) fn ended(&mut self, endpoints: &[Endpoint]) -> Result<Vec<Endpoint>, NetworkError> {
        let begin = Instant::now();
        loop {
            let mut ended = Vec::new();
            let mut may_end = false;
            for endpoint in endpoints.iter().filter(|endpoint| endpoint.may_have_ended()) {
                if endpoint.is_alive() && self.find(&endpoint.host_if)?.is_some() {
                    may_end = true;
                } else {
                    ended.push(endpoint.clone());
                }
            }
            if !may_end || begin.elapsed() > PATIENCE {
                return Ok(ended);
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// The lock, unless somebody keeps it for long. It is not waited for without end: that one may wait for the lock that we
/// hold.
pub(super) fn try_lock(path: &Path) -> io::Result<Option<Lock>> {
    let begin = Instant::now();
    loop {
        let lock = Lock::if_free(LockKind::Namespace, path)?;
        if lock.is_some() || begin.elapsed() > PATIENCE {
            return Ok(lock);
        }
        std::thread::sleep(LOOK);
    }
}
