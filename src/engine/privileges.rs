//! Which capabilities an operation needs, asked before anything is changed.

use caps::{CapSet, Capability};

use super::EngineError;

/// What changing networks needs.
const NETWORKS: [(Capability, &str); 1] = [(Capability::CAP_NET_ADMIN, "CAP_NET_ADMIN")];

/// What entering network namespaces needs.
const NAMESPACES: [(Capability, &str); 2] =
    [(Capability::CAP_SYS_ADMIN, "CAP_SYS_ADMIN"), (Capability::CAP_NET_ADMIN, "CAP_NET_ADMIN")];

/// What starting and ending containers needs.
const CONTAINERS: [(Capability, &str); 5] = [
    (Capability::CAP_SYS_ADMIN, "CAP_SYS_ADMIN"),
    (Capability::CAP_NET_ADMIN, "CAP_NET_ADMIN"),
    (Capability::CAP_SETUID, "CAP_SETUID"),
    (Capability::CAP_SETGID, "CAP_SETGID"),
    (Capability::CAP_MKNOD, "CAP_MKNOD"),
];

/// Asks for what changing networks needs.
pub(super) fn for_networks() -> Result<(), EngineError> {
    require("change networks", &NETWORKS)
}

/// Asks for what changing the networks of namespaces needs.
pub(super) fn for_namespaces() -> Result<(), EngineError> {
    require("change the networks of namespaces", &NAMESPACES)
}

/// Asks for what starting and ending containers needs.
pub(super) fn for_containers() -> Result<(), EngineError> {
    require("manage containers", &CONTAINERS)
}

/// The capabilities that are missing for anything that mydocker does.
pub(super) fn missing() -> Vec<Capability> {
    let Ok(effective) = caps::read(None, CapSet::Effective) else { return Vec::new() };
    CONTAINERS.into_iter().map(|(capability, _)| capability).filter(|c| !effective.contains(c)).collect()
}

fn require(action: &'static str, needed: &[(Capability, &'static str)]) -> Result<(), EngineError> {
    // Where the kernel cannot be asked, it will refuse the operation itself.
    let effective = match caps::read(None, CapSet::Effective) {
        Ok(effective) => effective,
        Err(_) => return Ok(()),
    };
    match needed.iter().find(|(capability, _)| !effective.contains(capability)) {
        Some((_, capability)) => Err(EngineError::Privilege { action, capability }),
        None => Ok(()),
    }
}
