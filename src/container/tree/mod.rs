//! The tree of files that a container sees: its root file system, what is mounted in it, the files made for it.

pub mod copy_up;
pub(in crate::container) mod detached;
pub mod disk;
pub mod files;
#[cfg(any(test, fuzzing, doc))]
pub mod fuzz;
pub(in crate::container) mod inside;
pub mod mount_points;
mod resolv_conf;
pub mod rootfs;
pub mod user;
