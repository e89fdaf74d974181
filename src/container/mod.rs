//! Containers without their networks: from a request to a running process and its record, its root file
//! system, its output and its end.
//!
//! Each running container has one small process, its supervisor, which made it, reads its output, writes the
//! log, serves clients and records how it ended. Clients talk to it over a socket ([`protocol`]).
//!
//! ```text
//! request ─► config ─► spec ─► runtime ─► (libcontainer) ─► executor ─► the command
//!                                 │                            └ seccomp
//!                 record, index   └─► supervisor ─► log
//!                                         ▲ protocol
//!                                      attach ─► terminal
//! ```

pub mod attach;
pub mod capability;
pub mod cgroup;
pub mod changes;
pub mod config;
pub mod copy_up;
pub mod detach;
pub mod device;
pub mod disk;
pub mod executor;
pub mod files;
pub mod index;
mod init;
pub mod limits;
pub mod log;
pub mod mount_points;
pub mod mounts;
pub mod processes;
pub mod protocol;
pub mod record;
pub mod restart;
pub mod rootfs;
pub mod runtime;
pub mod seccomp;
pub mod security;
pub mod signal;
pub mod spec;
pub mod stdio;
pub mod supervisor;
pub mod terminal;
pub mod ulimit;
pub mod usage;
pub mod user;
pub mod view;
