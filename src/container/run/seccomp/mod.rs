//! The system calls a container may make: an allow-list that follows Docker's default profile, compiled to
//! BPF here, or a profile of the user's, which `seccompiler` compiles.
//!
//! A call outside the list fails with `EPERM`, except those that programs only try: `clone3`, whose flags a
//! filter cannot see, and calls newer than the list fail with `ENOSYS`, and programs fall back.
//!
//! Programs for 32-bit x86 run on x86-64 as well, with call numbers of their own, and have a part of the filter of
//! their own. Those for any other instruction set of the same machine are killed.

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
use table::InstructionSet;

/// Filters ready to be loaded, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filters(Vec<Vec<FilterInstruction>>);

impl Filters {
    /// The filter for a process with the capabilities `capabilities`: a capability whose use is a system
    /// call brings that call with it.
    #[must_use]
    pub fn for_capabilities(capabilities: &CapsHashSet) -> Self {
        let sets = table::INSTRUCTION_SETS.iter().map(|set| {
            let verdicts = verdicts(capabilities, *set).into_iter();
            (set.architecture, verdicts.collect())
        });
        Self(vec![program::compile(&sets.collect::<Vec<_>>(), table::bits(libc::EPERM))])
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
fn verdicts(capabilities: &CapsHashSet, set: InstructionSet) -> BTreeMap<u32, Verdict> {
    let allowed = table::WITH_CAPABILITY.iter().filter(|(wanted, _)| capabilities.contains(wanted));
    let allowed = table::ALWAYS.iter().chain(allowed.flat_map(|(_, calls)| *calls));
    let mut verdicts: BTreeMap<u32, Verdict> =
        allowed.filter_map(|call| Some((set.number(call)?, Verdict::Allow))).collect();
    for (call, alternatives) in table::WITH_ARGUMENTS {
        // What a capability allows without conditions stays so.
        if let Some(number) = set.number(call) {
            verdicts.entry(number).or_insert(Verdict::If(alternatives, table::bits(libc::EPERM)));
        }
    }
    let unknown = Verdict::Errno(table::bits(libc::ENOSYS));
    let newer = table::NEWEST + 1..=table::NEWEST + table::NEWER;
    verdicts.extend(newer.map(|call| (call, unknown.clone())));
    let admin = capabilities.contains(&Capability::CAP_SYS_ADMIN);
    if let Some(number) = set.number(&table::CLONE3) {
        verdicts.insert(number, if admin { Verdict::Allow } else { unknown });
    }
    verdicts
}

#[cfg(test)]
mod tests;
