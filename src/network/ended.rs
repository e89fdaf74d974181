//! Whoever needs an address or a port takes it from those who have ended.
//!
//! What another engine has attached ends only with its namespace, and that has gone when two things hold: it is not at its
//! path, and the host's end of its pair is not there, which the kernel deletes with the namespace. The path alone tells
//! nothing: it may be that of a process which ends before the namespace does, or one that only another mount namespace has.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::Networks;
use super::devices::Devices;
use super::endpoint::Endpoint;
use super::error::NetworkError;
use super::owner::Owner;
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
                if endpoint.is_alive() && self.is_there(&endpoint.host_if)? {
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

impl Networks {
    /// Disconnects those of these endpoints whose owners have ended, for somebody, who holds a lock where it is no
    /// container. False if none of them is gone afterwards.
    pub(super) fn disconnect_ended(
        &mut self,
        endpoints: &[Endpoint],
        taker: Option<&Owner>,
    ) -> Result<bool, NetworkError> {
        let mut any = false;
        for endpoint in self.devices.ended(endpoints)? {
            any |= self.disconnect_if_same(&endpoint, taker)?;
        }
        Ok(any)
    }

    /// The record may be an old one: another engine may have attached a new container by the same names since, which has
    /// the same devices. So it is read again, while nobody attaches or takes away by these names.
    fn disconnect_if_same(
        &mut self,
        endpoint: &Endpoint,
        taker: Option<&Owner>,
    ) -> Result<bool, NetworkError> {
        let Some(attachment) = endpoint.owner.attachment() else {
            self.disconnect(endpoint)?;
            return Ok(true);
        };
        let path = attachment.key.lock_file(&self.records.layout);
        let held = match taker {
            Some(Owner::Attachment(own)) => Some(own.key.lock_file(&self.records.layout)),
            Some(Owner::Namespace { namespace, .. }) => {
                Some(self.records.layout.namespace_lock(namespace.inode()))
            }
            Some(Owner::Container { .. }) | None => None,
        };
        // Several share a lock.
        let _lock = if held.as_ref() == Some(&path) {
            None
        } else {
            match try_lock(&path).map_err(|source| {
                let action = format!("lock {}", endpoint.owner);
                NetworkError::Io { action, source }
            })? {
                None => return Ok(false),
                lock => lock,
            }
        };
        let Some(current) = self.records.current(endpoint)? else {
            // Its other address may still be on record.
            self.records.release(endpoint)?;
            return Ok(true);
        };
        if current.is_alive() && !current.may_have_ended() {
            return Ok(false);
        }
        self.disconnect(&current)?;
        Ok(true)
    }
}

/// The lock, unless somebody keeps it for long. It is not waited for without end: that one may wait for the lock that we
/// hold.
fn try_lock(path: &Path) -> io::Result<Option<Lock>> {
    let begin = Instant::now();
    loop {
        let lock = Lock::if_free(LockKind::Namespace, path)?;
        if lock.is_some() || begin.elapsed() > PATIENCE {
            return Ok(lock);
        }
        std::thread::sleep(LOOK);
    }
}
