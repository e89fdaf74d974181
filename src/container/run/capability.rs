//! The capabilities of containers, and of the processes that look after them.

use caps::errors::CapsError;
use caps::{CapSet, Capability, CapsHashSet};

use crate::container::request::security::{CapabilityName, Security};

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

/// Why a set of capabilities cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum CapabilityError {
    /// A set of the own process cannot be read or reduced.
    #[error("cannot {action} capabilities")]
    Own {
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        #[source]
        source: CapsError,
    },
    /// One was asked for that this process does not have itself.
    #[error("--cap-add {0}: mydocker does not have this capability itself, and cannot give it")]
    Missing(Capability),
}

/// The capabilities of a container. Those of the default and of "all" that this process does not have itself
/// are left out: it could not give them.
///
/// # Errors
/// [`CapabilityError::Own`] if the own capabilities cannot be read, [`CapabilityError::Missing`] for one that
/// was asked for by name and cannot be given.
pub fn of_container(security: &Security) -> Result<CapsHashSet, CapabilityError> {
    let own = caps::read(None, CapSet::Permitted)
        .map_err(|source| CapabilityError::Own { action: "read the own", source })?;
    if security.privileged {
        return Ok(own);
    }
    let Security { cap_add, cap_drop, .. } = security;
    let mut given: CapsHashSet =
        match (cap_add.contains(&CapabilityName::All), cap_drop.contains(&CapabilityName::All)) {
            (true, _) => own.clone(),
            (false, true) => CapsHashSet::new(),
            (false, false) => DEFAULT.into_iter().filter(|capability| own.contains(capability)).collect(),
        };
    for name in cap_drop {
        if let CapabilityName::One(capability) = name {
            given.remove(capability);
        }
    }
    for name in cap_add {
        if let CapabilityName::One(capability) = name {
            if !own.contains(capability) {
                return Err(CapabilityError::Missing(*capability));
            }
            given.insert(*capability);
        }
    }
    Ok(given)
}

/// All capabilities that this process has itself and could give.
///
/// # Errors
/// [`CapabilityError`] if the own capabilities cannot be read.
pub fn all() -> Result<CapsHashSet, CapabilityError> {
    caps::read(None, CapSet::Permitted)
        .map_err(|source| CapabilityError::Own { action: "read the own", source })
}

/// Gives up, for good, what a supervisor never needs, but for what its container has (see [`of_container`]).
///
/// # Errors
/// [`CapabilityError`]; then nothing but part of the bounding set was given up.
pub fn reduce_to_supervisors(security: &Security) -> Result<(), CapabilityError> {
    let given = of_container(security)?;
    reduce(|capability| !NEVER.contains(&capability) || given.contains(&capability))
}

/// Gives up, for good, everything but the right to signal other users' processes: for a supervisor that only
/// relays bytes and waits.
///
/// # Errors
/// [`CapabilityError`]; then nothing but part of the bounding set was given up.
pub fn reduce_to_relays() -> Result<(), CapabilityError> {
    reduce(|capability| capability == Capability::CAP_KILL)
}

/// Gives up, for good, every capability.
///
/// # Errors
/// [`CapabilityError`]; then nothing but part of the bounding set was given up.
pub fn give_up_all() -> Result<(), CapabilityError> {
    reduce(|_| false)
}

fn reduce(keep: impl Fn(Capability) -> bool) -> Result<(), CapabilityError> {
    let error = |source| CapabilityError::Own { action: "give up", source };
    let read = |set| caps::read(None, set).map_err(error);
    // The bounding set first: dropping from it needs SETPCAP.
    for capability in caps::all().into_iter().filter(|capability| !keep(*capability)) {
        match caps::drop(None, CapSet::Bounding, capability) {
            // One that this kernel does not have.
            Err(_) if nix::errno::Errno::last() == nix::errno::Errno::EINVAL => {}
            dropped => dropped.map_err(error)?,
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
        assert_eq!(of_container(&Security::default()).unwrap(), expected);
        assert!(DEFAULT.iter().all(|capability| !NEVER.contains(capability)), "a restart gives them again");
    }

    #[test]
    fn capabilities_are_added_and_dropped_as_dockers() {
        let own = caps::read(None, CapSet::Permitted).unwrap();
        let given = |add: &[&str], drop: &[&str]| {
            let names = |list: &[&str]| list.iter().map(|name| name.parse().unwrap()).collect();
            of_container(&Security { cap_add: names(add), cap_drop: names(drop), ..Security::default() })
        };
        assert_eq!(given(&["ALL"], &[]).unwrap(), own);
        assert_eq!(given(&[], &["ALL"]).unwrap(), CapsHashSet::new());
        assert_eq!(given(&["CHOWN"], &["ALL"]).unwrap(), [Capability::CAP_CHOWN].into_iter().collect());
        assert!(!given(&["ALL"], &["CHOWN"]).unwrap().contains(&Capability::CAP_CHOWN));
        assert!(given(&["NET_ADMIN"], &[]).unwrap().contains(&Capability::CAP_NET_ADMIN));
        if let Some(missing) = caps::all().difference(&own).next() {
            let error = given(&[&missing.to_string()], &[]).unwrap_err();
            assert!(error.to_string().contains(&missing.to_string()), "{error}");
        }
        let privileged = Security { privileged: true, ..Security::default() };
        assert_eq!(of_container(&privileged).unwrap(), own);
    }

    #[test]
    fn what_is_given_up_is_gone_from_every_set() {
        // Capabilities are a thread's: this one ends with the test.
        let thread = std::thread::spawn(|| {
            let own = caps::read(None, CapSet::Permitted).unwrap();
            let asked = Security { cap_add: vec!["SYS_TIME".parse().unwrap()], ..Security::default() };
            if own.contains(&Capability::CAP_SYS_TIME) {
                reduce_to_supervisors(&asked).unwrap();
                let left = caps::read(None, CapSet::Bounding).unwrap();
                assert!(
                    left.contains(&Capability::CAP_SYS_TIME) && !left.contains(&Capability::CAP_SYS_BOOT)
                );
                // The container can be started again.
                of_container(&asked).unwrap();
            }
            reduce_to_supervisors(&Security::default()).unwrap();
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
