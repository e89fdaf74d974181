//! The run: making a container's first process, joining it, its control groups and what it may do.

pub mod capability;
pub mod cgroup;
pub mod executor;
pub mod init;
pub mod processes;
pub mod runtime;
pub mod seccomp;
pub mod spec;
pub mod stdio;
pub mod terminal;
pub mod usage;
