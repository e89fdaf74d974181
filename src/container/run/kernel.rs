//! What containers need of the kernel: the calls that are younger than the rest, in one list.
//!
//! [`sys::OLDEST_KERNEL`] has them all. On an older one, which may have some by its distribution's doing, each is tried.

use nix::libc;

use crate::container::request::seccomp_profile::version;
use crate::sys;

/// The calls, each with the first kernel that has it.
const CALLS: [(&str, i64, &str); 9] = [
    ("fsopen", libc::SYS_fsopen, "5.2"),
    ("fsmount", libc::SYS_fsmount, "5.2"),
    ("open_tree", libc::SYS_open_tree, "5.2"),
    ("move_mount", libc::SYS_move_mount, "5.2"),
    ("clone3", libc::SYS_clone3, "5.3"),
    ("pidfd_open", libc::SYS_pidfd_open, "5.3"),
    ("openat2", libc::SYS_openat2, "5.6"),
    ("close_range", libc::SYS_close_range, "5.9"),
    ("mount_setattr", libc::SYS_mount_setattr, "5.12"),
];

/// What this kernel lacks, in words; nothing on one that is new enough.
#[must_use]
pub fn missing() -> Vec<String> {
    let Ok(name) = nix::sys::utsname::uname() else { return Vec::new() };
    let release = name.release().to_string_lossy();
    if version(&release).is_some_and(|release| Some(release) >= version(sys::OLDEST_KERNEL)) {
        return Vec::new();
    }
    let lacking = CALLS.iter().filter(|(_, number, _)| !sys::has_call(*number));
    lacking.map(|(name, _, since)| format!("{name} (Linux {since})")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_has_the_calls_and_a_call_that_nobody_has_is_seen() {
        assert_eq!(missing(), Vec::<String>::new());
        for (name, number, _) in CALLS {
            assert!(sys::has_call(number), "{name}");
        }
        assert!(!sys::has_call(100_000));
    }

    #[test]
    fn versions_are_compared_by_their_numbers() {
        for (text, numbers) in [("5.15", (5, 15)), ("6.1.0-50-amd64", (6, 1)), ("5.4-rc1", (5, 4))] {
            assert_eq!(version(text), Some(numbers), "{text}");
        }
        assert_eq!(version("unknown"), None);
        assert!(version("5.9.1") < version("5.15") && version("6.0") > version("5.15"));
    }
}
