//! The run: a container's processes, made, joined and confined by system calls of our own, its control groups, and
//! what it uses.
//!
//! ```text
//! first    the first process       exec      one that joins
//!    └── mounting, hidden             │
//!    └─────────┬─ confine ────────────┘
//!              └── seccomp, init, command
//! runtime  both as their supervisor has them        step  how they talk with it
//! cgroup   limits, devices, freezing, removal       usage, processes  what is read from outside
//! ```

pub mod capability;
pub mod cgroup;
pub mod command;
mod confine;
pub mod environment;
pub mod exec;
pub mod first;
pub mod hidden;
mod init;
mod mounting;
pub mod processes;
pub mod runtime;
pub mod seccomp;
pub mod stdio;
mod step;
pub mod still;
pub mod terminal;
pub mod usage;
