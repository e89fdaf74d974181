//! IPv4 forwarding of the host: switched on for the containers, without making the host a router for others,
//! and switched off again when mydocker was the one to switch it on.
//!
//! Which of the two is written down in `RUN_ROOT/network/forwarding` before anything is changed. While it says
//! that mydocker switched forwarding on, the table has a rule that drops what touches no bridge of ours.

use std::io;

use serde::{Deserialize, Serialize};

use crate::nft::Skeleton;
use crate::store::{self, Durability, Layout};
use crate::sysctl::{self, SysctlError};

const IPV4: &str = "net/ipv4/ip_forward";

/// What mydocker switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SwitchedOn {
    /// `net.ipv4.ip_forward` was 0.
    pub ipv4: bool,
}

impl SwitchedOn {
    /// What has been written down. A file that cannot be read counts as nothing: then forwarding stays as
    /// it is, which is what the host had before or what its administrator sees in `sysctl`.
    #[must_use]
    pub(super) fn load(layout: &Layout) -> Self {
        let bytes = store::read_if_exists(&layout.forwarding()).ok().flatten();
        bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Decides what has to be switched on and writes it down; nothing is switched yet. The second value is
    /// true where that is news, so that a table that is there already lacks its guard.
    ///
    /// # Errors
    /// The file cannot be written, or the parameter cannot be read.
    pub(super) fn decide(layout: &Layout) -> io::Result<(Self, bool)> {
        let mut decided = Self::load(layout);
        let news = !decided.ipv4 && sysctl::read(IPV4)?.as_deref() == Some("0");
        if news {
            decided.ipv4 = true;
            let path = layout.forwarding();
            std::fs::create_dir_all(path.parent().unwrap_or(layout.run_root()))?;
            store::write_atomic(&path, &serde_json::to_vec(&decided)?, Durability::Process)?;
        }
        Ok((decided, news))
    }

    /// The table that fits: with the rules that keep the host from forwarding for others.
    #[must_use]
    pub(super) fn skeleton(self) -> Skeleton {
        Skeleton { guard_ipv4_forwarding: self.ipv4, guard_ipv6_forwarding: false }
    }

    /// Switches forwarding off again where mydocker switched it on, and forgets about it. To be called when
    /// the last network goes, before the table with its guard is deleted.
    ///
    /// # Errors
    /// The parameter cannot be set.
    pub(super) fn undo(self, layout: &Layout) -> Result<(), SysctlError> {
        if self.ipv4 {
            sysctl::set(IPV4, "0")?;
        }
        let error = |source| SysctlError { name: IPV4.to_owned(), value: "0".to_owned(), source };
        store::remove_if_exists(&layout.forwarding()).map_err(error)
    }
}

/// Whether the host forwards.
///
/// # Errors
/// The parameter cannot be read.
pub(super) fn is_on() -> io::Result<bool> {
    Ok(sysctl::read(IPV4)?.as_deref() == Some("1"))
}

/// Switches forwarding on.
///
/// # Errors
/// The parameter cannot be set.
pub(super) fn switch_on() -> Result<(), SysctlError> {
    sysctl::set(IPV4, "1").map(drop)
}
