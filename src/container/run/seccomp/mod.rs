//! The system calls a container may make: an allow-list that follows Docker's default profile, compiled to
//! BPF by `seccompiler` and loaded last before the command is executed.
//!
//! A call outside the list fails with `EPERM`, except those that programs only try: `clone3`, whose flags a
//! filter cannot see, and calls newer than the list fail with `ENOSYS`, and programs fall back.
//!
//! Programs for another instruction set of the same machine (32-bit x86) have their own call numbers, which
//! the list does not cover: they are killed.

mod table;

use std::collections::BTreeMap;

use caps::{Capability, CapsHashSet};
use nix::libc;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use crate::container::request::seccomp_profile::ProfileError;
use crate::container::request::security::{Seccomp, Security};

/// Why no filter could be built or loaded.
#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    /// The table and the compiler do not agree, or this machine has an instruction set without a table.
    #[error("cannot compile the seccomp filter")]
    Compile(#[source] BackendError),
    /// The user's profile.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The kernel refused the filter.
    #[error("cannot load the seccomp filter")]
    Load(#[source] seccompiler::Error),
}

/// Filters ready to be loaded, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filters(Vec<BpfProgram>);

impl Filters {
    /// The filters for a process with the capabilities `capabilities`: a capability whose use is a system
    /// call brings that call with it.
    ///
    /// # Errors
    /// [`SeccompError::Compile`].
    pub fn for_capabilities(capabilities: &CapsHashSet) -> Result<Self, SeccompError> {
        let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(SeccompError::Compile)?;
        let compile = |rules, mismatch, matched| {
            SeccompFilter::new(rules, mismatch, matched, arch)
                .and_then(BpfProgram::try_from)
                .map_err(SeccompError::Compile)
        };
        let refused = SeccompAction::Errno(table::bits(libc::EPERM));
        let allowed = compile(allowed(capabilities)?, refused, SeccompAction::Allow)?;
        // Of two filters that both answer with an error, the one loaded last gives the number.
        let unknown = SeccompAction::Errno(table::bits(libc::ENOSYS));
        let pretended = compile(pretended_missing(capabilities), SeccompAction::Allow, unknown)?;
        Ok(Self(vec![allowed, pretended]))
    }

    /// The filters that the user asked for.
    ///
    /// # Errors
    /// [`SeccompError::Compile`] or [`SeccompError::Profile`].
    pub fn of(security: &Security, capabilities: &CapsHashSet) -> Result<Self, SeccompError> {
        if security.privileged {
            return Ok(Self(Vec::new()));
        }
        match &security.seccomp {
            Seccomp::Default => Self::for_capabilities(capabilities),
            Seccomp::Unconfined => Ok(Self(Vec::new())),
            Seccomp::Profile(profile) => Ok(Self(profile.compile(capabilities)?)),
        }
    }

    /// Loads the filters into the calling process, for good. Sets "no new privileges" first.
    ///
    /// # Errors
    /// [`SeccompError::Load`].
    pub fn load(&self) -> Result<(), SeccompError> {
        self.0.iter().try_for_each(|program| seccompiler::apply_filter(program)).map_err(SeccompError::Load)
    }
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn allowed(capabilities: &CapsHashSet) -> Result<Rules, SeccompError> {
    let mut rules: Rules = table::ALWAYS.iter().map(|&call| (call, Vec::new())).collect();
    for (capability, calls) in table::WITH_CAPABILITY {
        if capabilities.contains(capability) {
            rules.extend(calls.iter().map(|&call| (call, Vec::new())));
        }
    }
    for &(call, alternatives) in table::WITH_ARGUMENTS {
        // What a capability allows without conditions stays so.
        if rules.contains_key(&call) {
            continue;
        }
        let rule = |&(argument, ref test): &(u8, table::Test)| {
            SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator(test), value(test))
                .and_then(|condition| SeccompRule::new(vec![condition]))
                .map_err(SeccompError::Compile)
        };
        rules.insert(call, alternatives.iter().map(rule).collect::<Result<_, _>>()?);
    }
    // The second filter answers for it; here it has to pass.
    rules.insert(libc::SYS_clone3, Vec::new());
    Ok(rules)
}

/// The calls that are answered as if the kernel did not have them.
fn pretended_missing(capabilities: &CapsHashSet) -> Rules {
    let newer = table::NEWEST + 1..=table::NEWEST + table::NEWER;
    let mut rules: Rules = newer.map(|call| (call, Vec::new())).collect();
    // Its flags are behind a pointer, so that new namespaces could not be told from new threads.
    if !capabilities.contains(&Capability::CAP_SYS_ADMIN) {
        rules.insert(libc::SYS_clone3, Vec::new());
    }
    rules
}

fn operator(test: &table::Test) -> SeccompCmpOp {
    match test {
        table::Test::Is(_) => SeccompCmpOp::Eq,
        table::Test::IsNot(_) => SeccompCmpOp::Ne,
        table::Test::HasNone(bits) => SeccompCmpOp::MaskedEq(u64::from(*bits)),
    }
}

fn value(test: &table::Test) -> u64 {
    match test {
        table::Test::Is(value) | table::Test::IsNot(value) => u64::from(*value),
        table::Test::HasNone(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capabilities(list: &[Capability]) -> CapsHashSet {
        list.iter().copied().collect()
    }

    #[test]
    fn a_capability_brings_its_system_calls() {
        let none = allowed(&capabilities(&[])).unwrap();
        let admin = allowed(&capabilities(&[Capability::CAP_SYS_ADMIN])).unwrap();
        for call in [libc::SYS_mount, libc::SYS_unshare, libc::SYS_setns, libc::SYS_bpf] {
            assert!(!none.contains_key(&call) && admin.contains_key(&call), "{call}");
        }
        // Without the capability clone has conditions, with it none.
        assert!(!none[&libc::SYS_clone].is_empty() && admin[&libc::SYS_clone].is_empty());
        assert!(pretended_missing(&capabilities(&[])).contains_key(&libc::SYS_clone3));
        let admin = pretended_missing(&capabilities(&[Capability::CAP_SYS_ADMIN]));
        assert!(!admin.contains_key(&libc::SYS_clone3));
    }

    #[test]
    fn what_reaches_the_host_is_never_in_the_list() {
        let all = caps::all();
        let with_everything = allowed(&all).unwrap();
        for call in [libc::SYS_kexec_load, libc::SYS_keyctl, libc::SYS_add_key, libc::SYS_swapon] {
            assert!(!with_everything.contains_key(&call), "{call}");
        }
        let plain = allowed(&capabilities(&[])).unwrap();
        for call in [libc::SYS_io_uring_setup, libc::SYS_userfaultfd, libc::SYS_reboot, libc::SYS_init_module]
        {
            assert!(!plain.contains_key(&call), "{call}");
        }
    }

    #[test]
    fn the_tables_compile_and_nothing_is_listed_twice() {
        for set in [capabilities(&[]), caps::all()] {
            let filters = Filters::for_capabilities(&set).unwrap();
            assert!(filters.0.iter().all(|program| program.len() < 4096));
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
