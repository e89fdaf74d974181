//! The capabilities of containers, and of the processes that look after them.

use caps::errors::CapsError;
use caps::{CapSet, Capability, CapsHashSet};

/// What Docker leaves a container: enough for packages to be installed and services to drop privileges.
const DEFAULT: [Capability; 14] = [
    Capability::CAP_AUDIT_WRITE,
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FOWNER,
    Capability::CAP_FSETID,
    Capability::CAP_KILL,
    Capability::CAP_MKNOD,
    Capability::CAP_NET_BIND_SERVICE,
    Capability::CAP_NET_RAW,
    Capability::CAP_SETFCAP,
    Capability::CAP_SETGID,
    Capability::CAP_SETPCAP,
    Capability::CAP_SETUID,
    Capability::CAP_SYS_CHROOT,
];

/// What no supervisor needs once its container runs. The rest it needs to take a network and mounts down
/// (`NET_ADMIN`, `SYS_ADMIN`), to remove files of any owner, to signal any user's process, or to start the
/// container anew.
const NEVER: [Capability; 15] = [
    Capability::CAP_AUDIT_CONTROL,
    Capability::CAP_AUDIT_READ,
    Capability::CAP_BLOCK_SUSPEND,
    Capability::CAP_BPF,
    Capability::CAP_LEASE,
    Capability::CAP_LINUX_IMMUTABLE,
    Capability::CAP_MAC_ADMIN,
    Capability::CAP_MAC_OVERRIDE,
    Capability::CAP_PERFMON,
    Capability::CAP_SYSLOG,
    Capability::CAP_SYS_BOOT,
    Capability::CAP_SYS_MODULE,
    Capability::CAP_SYS_RAWIO,
    Capability::CAP_SYS_TIME,
    Capability::CAP_WAKE_ALARM,
];

/// A set of capabilities of the own process cannot be read or reduced.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} capabilities")]
pub struct CapabilityError {
    /// What was tried.
    action: &'static str,
    /// What the kernel said.
    #[source]
    source: CapsError,
}

/// The capabilities of a container. Those that this process does not have itself are left out: it could not
/// give them.
///
/// Where nothing else restricts devices (`devices_controlled` is false), a container cannot make device
/// nodes.
///
/// # Errors
/// [`CapabilityError`] if the own capabilities cannot be read.
pub fn of_container(devices_controlled: bool) -> Result<CapsHashSet, CapabilityError> {
    let own = caps::read(None, CapSet::Permitted)
        .map_err(|source| CapabilityError { action: "read the own", source })?;
    let given = |capability: &Capability| {
        own.contains(capability) && (devices_controlled || *capability != Capability::CAP_MKNOD)
    };
    Ok(DEFAULT.into_iter().filter(given).collect())
}

/// Gives up, for good, what a supervisor never needs.
///
/// # Errors
/// [`CapabilityError`]; then nothing but part of the bounding set was given up.
pub fn reduce_to_supervisors() -> Result<(), CapabilityError> {
    reduce(|capability| !NEVER.contains(&capability))
}

/// Gives up, for good, everything but the right to signal other users' processes: for a supervisor that only
/// relays bytes and waits.
///
/// # Errors
/// [`CapabilityError`]; then nothing but part of the bounding set was given up.
pub fn reduce_to_relays() -> Result<(), CapabilityError> {
    reduce(|capability| capability == Capability::CAP_KILL)
}

fn reduce(keep: impl Fn(Capability) -> bool) -> Result<(), CapabilityError> {
    let error = |source| CapabilityError { action: "give up", source };
    let read = |set| caps::read(None, set).map_err(error);
    // The bounding set first: dropping from it needs SETPCAP.
    for capability in read(CapSet::Bounding)? {
        if !keep(capability) {
            caps::drop(None, CapSet::Bounding, capability).map_err(error)?;
        }
    }
    // Inheritable before permitted, effective before both: each has to stay within the next.
    for set in [CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        let kept: CapsHashSet = read(set)?.into_iter().filter(|capability| keep(*capability)).collect();
        caps::set(None, set, &kept).map_err(error)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_has_dockers_fourteen_or_what_there_is() {
        let own = caps::read(None, CapSet::Permitted).unwrap();
        let expected: CapsHashSet =
            DEFAULT.into_iter().filter(|capability| own.contains(capability)).collect();
        assert_eq!(of_container(true).unwrap(), expected);
        assert!(!of_container(false).unwrap().contains(&Capability::CAP_MKNOD));
        assert!(DEFAULT.iter().all(|capability| !NEVER.contains(capability)), "a restart gives them again");
    }

    #[test]
    fn what_is_given_up_is_gone_from_every_set() {
        // Capabilities are a thread's: this one ends with the test.
        let thread = std::thread::spawn(|| {
            reduce_to_supervisors().unwrap();
            for set in [CapSet::Bounding, CapSet::Permitted, CapSet::Effective, CapSet::Inheritable] {
                let left = caps::read(None, set).unwrap();
                assert!(NEVER.iter().all(|capability| !left.contains(capability)), "{set:?}");
            }
            let had_kill = caps::read(None, CapSet::Permitted).unwrap().contains(&Capability::CAP_KILL);
            reduce_to_relays().unwrap();
            for set in [CapSet::Bounding, CapSet::Permitted, CapSet::Effective] {
                let left = caps::read(None, set).unwrap();
                assert_eq!(left.len(), usize::from(had_kill), "{set:?}");
            }
        });
        thread.join().unwrap();
    }
}
