//! The tree of files that a container sees: its root file system, what is mounted in it, the files made for it.

pub mod copy_up;
pub mod disk;
pub mod files;
pub mod mount_points;
pub mod rootfs;
pub mod user;
