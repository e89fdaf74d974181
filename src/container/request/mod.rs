//! What is asked for: values, parsed and checked, that know nothing of a running container.

pub mod cgroup_parent;
pub mod config;
pub mod device;
pub mod health;
pub mod limits;
pub mod log;
pub mod modules;
pub mod mounts;
pub mod namespaces;
pub mod resolution;
pub mod restart;
pub mod seccomp_profile;
pub mod security;
pub mod signal;
pub mod ulimit;
