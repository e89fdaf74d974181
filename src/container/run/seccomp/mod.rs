//! The system calls a container may make: an allow-list that follows Docker's default profile, compiled to
//! BPF here, or a profile of the user's, which `seccompiler` compiles.
//!
//! A call outside the list fails with `EPERM`, except those that programs only try: `clone3`, whose flags a
//! filter cannot see, and calls newer than the list fail with `ENOSYS`, and programs fall back.
//!
//! Programs for another instruction set of the same machine (32-bit x86) have their own call numbers, which
//! the list does not cover: they are killed.

mod program;
mod table;

use std::collections::BTreeMap;

use caps::{Capability, CapsHashSet};
use nix::errno::Errno;
use nix::libc;

use crate::container::request::seccomp_profile::ProfileError;
use crate::container::request::security::{Seccomp, Security};
use crate::sys::{self, FilterInstruction};
use program::Verdict;

/// Filters ready to be loaded, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filters(Vec<Vec<FilterInstruction>>);

impl Filters {
    /// The filter for a process with the capabilities `capabilities`: a capability whose use is a system
    /// call brings that call with it.
    #[must_use]
    pub fn for_capabilities(capabilities: &CapsHashSet) -> Self {
        let verdicts: Vec<(u32, Verdict)> = verdicts(capabilities).into_iter().collect();
        Self(vec![program::compile(&verdicts, table::bits(libc::EPERM))])
    }

    /// The filters that the user asked for.
    ///
    /// # Errors
    /// The profile cannot be compiled.
    pub fn of(security: &Security, capabilities: &CapsHashSet) -> Result<Self, ProfileError> {
        if security.privileged {
            return Ok(Self(Vec::new()));
        }
        let convert = |instruction: &seccompiler::sock_filter| FilterInstruction {
            code: instruction.code,
            jt: instruction.jt,
            jf: instruction.jf,
            k: instruction.k,
        };
        match &security.seccomp {
            Seccomp::Default => Ok(Self::for_capabilities(capabilities)),
            Seccomp::Unconfined => Ok(Self(Vec::new())),
            Seccomp::Profile(profile) => {
                let programs = profile.compile(capabilities)?;
                Ok(Self(programs.iter().map(|program| program.iter().map(convert).collect()).collect()))
            }
        }
    }

    /// Loads the filters into the calling process, for good.
    pub(super) fn load(&self) -> Result<(), Errno> {
        self.0.iter().try_for_each(|program| sys::load_seccomp_filter(program))
    }
}

/// What happens to each call that the list knows.
fn verdicts(capabilities: &CapsHashSet) -> BTreeMap<u32, Verdict> {
    let number = |call: i64| u32::try_from(call).unwrap_or(u32::MAX);
    let mut verdicts: BTreeMap<u32, Verdict> =
        table::ALWAYS.iter().map(|&call| (number(call), Verdict::Allow)).collect();
    for (_, calls) in table::WITH_CAPABILITY.iter().filter(|(wanted, _)| capabilities.contains(wanted)) {
        verdicts.extend(calls.iter().map(|&call| (number(call), Verdict::Allow)));
    }
    for &(call, alternatives) in table::WITH_ARGUMENTS {
        // What a capability allows without conditions stays so.
        let refused = table::bits(libc::EPERM);
        verdicts.entry(number(call)).or_insert(Verdict::If(alternatives, refused));
    }
    let unknown = Verdict::Errno(table::bits(libc::ENOSYS));
    let newer = table::NEWEST + 1..=table::NEWEST + table::NEWER;
    verdicts.extend(newer.map(|call| (number(call), unknown.clone())));
    // Its flags are behind a pointer, so that new namespaces could not be told from new threads.
    let admin = capabilities.contains(&Capability::CAP_SYS_ADMIN);
    verdicts.insert(number(libc::SYS_clone3), if admin { Verdict::Allow } else { unknown });
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capabilities(list: &[Capability]) -> CapsHashSet {
        list.iter().copied().collect()
    }

    fn of(capabilities: &CapsHashSet, call: i64) -> Option<Verdict> {
        verdicts(capabilities).remove(&u32::try_from(call).unwrap())
    }

    #[test]
    fn a_capability_brings_its_system_calls() {
        let none = capabilities(&[]);
        let admin = capabilities(&[Capability::CAP_SYS_ADMIN]);
        for call in [libc::SYS_mount, libc::SYS_unshare, libc::SYS_setns, libc::SYS_bpf] {
            assert_eq!((of(&none, call), of(&admin, call)), (None, Some(Verdict::Allow)), "{call}");
        }
        // Without the capability clone has conditions, with it none.
        assert!(matches!(of(&none, libc::SYS_clone), Some(Verdict::If(..))));
        assert_eq!(of(&admin, libc::SYS_clone), Some(Verdict::Allow));
        assert_eq!(of(&none, libc::SYS_clone3), Some(Verdict::Errno(table::bits(libc::ENOSYS))));
        assert_eq!(of(&admin, libc::SYS_clone3), Some(Verdict::Allow));
    }

    #[test]
    fn what_reaches_the_host_is_never_in_the_list() {
        let all = caps::all();
        for call in [libc::SYS_kexec_load, libc::SYS_keyctl, libc::SYS_add_key, libc::SYS_swapon] {
            assert_eq!(of(&all, call), None, "{call}");
        }
        let plain = capabilities(&[]);
        for call in [libc::SYS_io_uring_setup, libc::SYS_userfaultfd, libc::SYS_reboot, libc::SYS_init_module]
        {
            assert_eq!(of(&plain, call), None, "{call}");
        }
    }

    #[test]
    fn the_filter_is_short_and_nothing_is_listed_twice() {
        for set in [capabilities(&[]), caps::all()] {
            let Filters(programs) = Filters::for_capabilities(&set);
            assert!(programs.len() == 1 && programs[0].len() < 200, "{}", programs[0].len());
        }
        let mut calls = table::ALWAYS.to_vec();
        calls.sort_unstable();
        let before = calls.len();
        calls.dedup();
        assert_eq!(calls.len(), before);
        for (call, _) in table::WITH_ARGUMENTS {
            assert!(!table::ALWAYS.contains(call), "{call} would lose its conditions");
        }
        assert!(table::ALWAYS.iter().all(|&call| call <= table::NEWEST));
    }
}
